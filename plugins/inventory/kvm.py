# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kvm
short_description: The virtual machines of KVM hosts as inventory
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
description:
  - Lists the virtual machines of one or many KVM hosts, running and stopped, through libvirt.
  - The hosts are read side by side, each in one pass. Only guest agents are asked that are there, several at a time.
  - A host that does not answer is named in a warning, and its machines are left out. It is an error with O(strict), and
    when no host answers.
  - Takes files whose names end in V(kvm.yml), V(kvm.yaml), V(virtstack.yml) or V(virtstack.yaml).
  - Host variables are those of P(virtstack.core.cluster#inventory), so that one playbook serves both. What a KVM host
    does not have is null or empty.
  - Every option takes Jinja templates and vaulted values. In O(compose), O(groups), O(keyed_groups), O(hostnames) and
    O(filters) the expressions see the host variables, which all begin with C(virtstack_).
  - Host variables hold no secrets. Passwords of consoles and cloud-init data are never copied.
  - Host variables are data. An expression in a label of a virtual machine stays the text that it is.
extends_documentation_fragment:
  - virtstack.core.inventory
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description:
      - The name of this plugin, which makes the file its own.
    type: str
    required: true
    choices:
      - virtstack.core.kvm
  uris:
    description:
      - The libvirts of the hosts, each a libvirt URI such as V(qemu+ssh://root@kvm1.example.com/system), or a
        dictionary of C(uri) and C(name), the name that the host has in the inventory.
      - Without a name, a host is called what it calls itself.
    type: list
    elements: raw
    default:
      - qemu:///system
    env:
      - name: LIBVIRT_DEFAULT_URI
  timeout:
    description:
      - Seconds that a host has for all of its answers.
    type: float
    default: 60.0
  agent_timeout:
    description:
      - Seconds that the guest agents of a host have together. Those that do not answer in time are named in a warning,
        and what they would tell is left out.
      - With V(0) no agent is asked.
    type: float
    default: 10.0
  hostnames:
    description:
      - Jinja expressions over the host variables. The first that gives a text names the host.
      - By default, and when none of them gives a text, a host is named C(<name>.<KVM host>).
      - When several machines come to the same name, all of them are named C(<name>.<KVM host>) instead.
    type: list
    elements: str
    default: []
  address:
    description:
      - The ways to find C(ansible_host), tried in this order. A machine that none of them finds gets no
        C(ansible_host).
      - V(agent) takes the first address that the guest agent reports of an interface. Link-local addresses do not
        count.
      - V(lease) takes the leases that libvirt's own networks gave, one question for each network.
      - V(arp) looks into the host's table of neighbours, one question for each machine without an address.
    type: list
    elements: str
    choices:
      - agent
      - lease
      - arp
    default:
      - agent
      - lease
  networks:
    description:
      - The networks of a machine whose addresses to take, the preferred first, by the name of the interface in the
        machine or of the network or bridge that it is on.
      - By default all of them, in the machine's own order.
    type: list
    elements: str
    default: []
  windows_connection:
    description:
      - The connection for Windows guests, told by the guest agent, or else by the annotation C(vm.kubevirt.io/os) or
        the operating system that virt-install noted.
      - With V(ssh), C(ansible_shell_type) is V(cmd), the shell that Windows' own server starts.
      - With V(none), Windows guests are treated like all others.
    type: str
    choices:
      - winrm
      - psrp
      - ssh
      - none
    default: winrm
  group_by:
    description:
      - Of what to make groups. Each is named after its kind and value, for example C(node_kvm1), C(status_running),
        C(os_rhel) and C(architecture_x86_64).
      - What Ansible does not take in the name of a group becomes an underscore.
    type: list
    elements: str
    choices:
      - architecture
      - machine_type
      - node
      - os
      - run_strategy
      - status
    default:
      - node
      - status
      - os
  group_prefix:
    description:
      - What to put before the name of every group of O(group_by) and O(group_by_labels).
    type: str
    default: ''
notes:
  - With O(cache=true) the host variables are cached, under a name that depends on the options. Inventories of other
    options are never read. A directory in which others may write is not used. What a host or an agent left unanswered
    is not cached.
  - A template in the value of an option sees extra variables and lookups only.
  - To enter the guests through their agents instead of the network, set the one variable C(ansible_connection) to
    V(virtstack.core.kvm_agent); see P(virtstack.core.kvm_agent#connection).
requirements:
  - libvirt-python (C(python3-libvirt)), at least 9.0, on the controller
"""

EXAMPLES = r"""
# prod.kvm.yml: all machines of the host that virsh would talk to
plugin: virtstack.core.kvm

---
# Several hosts, by the names that they get here
plugin: virtstack.core.kvm
uris:
  - {uri: "qemu+ssh://root@kvm1.example.com/system", name: kvm1}
  - {uri: "qemu+tls://kvm2.example.com/system", name: kvm2}

---
# Running Linux machines by short names, on the network called lan, entered through their agents
plugin: virtstack.core.kvm
filters:
  - virtstack_status == 'Running'
  - virtstack_os != 'windows'
hostnames:
  - virtstack_labels.hostname
  - virtstack_name
networks: [lan]
address: [lease, agent, arp]
address_family: ipv4
compose:
  ansible_connection: "'virtstack.core.kvm_agent'"
groups:
  big: virtstack_vcpus | int >= 8
keyed_groups:
  - key: virtstack_labels.role
    prefix: role
group_by_labels: [app]
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleParserError
from ansible_collections.virtstack.core.plugins.plugin_utils.machine_inventory import MachineInventory, Variables

_REACH = ("address", "networks", "address_family", "windows_connection")
_PATIENCE = ("timeout", "agent_timeout")


class InventoryModule(MachineInventory):  # type: ignore[misc]
    """Hosts from the virtual machines of KVM hosts."""

    NAME = "virtstack.core.kvm"
    FILE_ENDINGS = ("kvm.yml", "kvm.yaml", "virtstack.yml", "virtstack.yaml")

    def gathered(self) -> tuple[list[Variables], bool]:
        # libvirt takes a moment to import, which a cached inventory need not wait for.
        from ansible_collections.virtstack.core.plugins.module_utils.kvm.gather import Patience, Place, gather
        from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_variables import Reach

        places = [Place(*place) for place in self._places()]
        patience = Patience(self.get_option("timeout"), self.get_option("agent_timeout"))
        reach = Reach(**self.options_named(_REACH))
        return gather(places, reach, patience, self.display.warning, self.get_option("strict"))

    def asked(self) -> Mapping[str, Any]:
        # Which machines a user sees, and whether at all, is decided by who asks.
        return {"uris": self._places(), "user": os.getuid(), **self.options_named((*_REACH, *_PATIENCE))}

    def _places(self) -> list[tuple[str, str | None]]:
        places = []
        for given in self.get_option("uris"):
            if isinstance(given, str) and given.strip():
                places.append((given.strip(), None))
            elif isinstance(given, Mapping) and given.get("uri") and given.keys() <= {"uri", "name"}:
                places.append((str(given["uri"]), str(given["name"]) if given.get("name") else None))
            else:
                raise AnsibleParserError(
                    f"uris: {given!r} is neither a libvirt URI nor a dictionary of uri and name. Write e.g."
                    " qemu+ssh://root@kvm1.example.com/system."
                )
        if not places:
            raise AnsibleParserError("uris: names no host. Write e.g. qemu+ssh://root@kvm1.example.com/system.")
        return places
