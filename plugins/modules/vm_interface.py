#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_interface
short_description: Plug a network interface into a virtual machine of a cluster, or out of it
description:
  - Gives one network interface to a machine, changes it, or takes it away, without another word about the machine.
  - A running guest gets an interface with the binding V(bridge) or V(sriov) on a secondary network, and its link goes
    up and down. It lets one with the binding V(bridge) go. Everything else waits for its next start, and
    RV(restart_required) says so.
  - The guest's pod has to get the network, too. Where the cluster has no controller that does that in place, it takes a
    live migration. KubeVirt asks for one itself after some minutes, if it is configured to; O(migrate=true) does it at
    once.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
  - virtstack.core.wait
  - virtstack.core.plug
attributes:
  check_mode:
    support: full
    description: The change is sent as a dry run, so that the cluster says what it would accept.
  diff_mode:
    support: full
    description: Shows the interface and its network as the machine has them, before and after.
seealso:
  - module: virtstack.core.vm
  - module: virtstack.core.vm_disk
  - module: virtstack.core.vm_migration
  - module: virtstack.core.network_attachment
options:
  network:
    description: V(pod) for the pod network, or the name of a NetworkAttachmentDefinition, with its namespace before a
      slash where it is another than the machine's. One that is not there is refused. A new interface needs it.
    type: str
  binding:
    description: How the interface is attached - V(masquerade), V(bridge), V(sriov), or the name of a network binding
      plugin such as V(l2bridge). A new interface on the pod network is V(masquerade), another one V(bridge).
    type: str
  model:
    description: Device model the guest sees. A new interface uses what the preference, or the system, says.
    type: str
    choices: [virtio, e1000, e1000e, igb, rtl8139, pcnet, ne2k_pci]
  mac:
    description: MAC address, six octets. Default is one that the system chooses. What is none is refused.
    type: str
  boot_order:
    description: Place in the boot order, from 1, unique among disks and interfaces.
    type: int
  ports:
    description: Ports the pod network lets through. Default is all.
    type: list
    elements: dict
    suboptions:
      port:
        description: Port number, 1 to 65535 without 49152 and 49153, which live migration uses.
        type: int
        required: true
      protocol:
        description: Protocol.
        type: str
        choices: [TCP, UDP]
        default: TCP
      name:
        description: Name of the port.
        type: str
  link:
    description: State of the link. A new interface is up.
    type: str
    choices: [up, down]
  migrate:
    description: With O(wait=true), whether to live-migrate the guest where that is what the change waits for. The
      connections of the pod network are interrupted by it.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the guest has the interface, or has let it go. A machine that does not run is not waited
        for.
      - The wait ends at once, with the reason, when the change takes a migration that cannot be.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: There is a network for machines
  virtstack.core.network_attachment:
    name: backend
    namespace: prod
    type: layer2

- name: The database server is on it, while it runs
  virtstack.core.vm_interface:
    vm: db
    namespace: prod
    name: backend
    network: backend
    migrate: true
    wait: true
  register: backend

- name: Its address there
  ansible.builtin.debug:
    msg: "{{ backend.mac }}: {{ backend.addresses }}"

- name: Its link is down
  virtstack.core.vm_interface:
    vm: db
    namespace: prod
    name: backend
    link: down
    wait: true

- name: It has left the network
  virtstack.core.vm_interface:
    vm: db
    namespace: prod
    name: backend
    state: absent
    migrate: true
    wait: true
"""

RETURN = r"""
action:
  description: V(plugged) or V(unplugged), while the guest runs. V(attached) or V(detached), for the next start.
    V(updated) or V(none).
  returned: always
  type: str
vm:
  description: Name of the machine.
  returned: always
  type: str
namespace:
  description: Its namespace.
  returned: always
  type: str
name:
  description: Name of the interface.
  returned: always
  type: str
running:
  description: Whether the machine's guest was running.
  returned: always
  type: bool
mac:
  description: MAC address of the interface, null where it is not known.
  returned: always
  type: str
addresses:
  description: Addresses of the interface as far as the guest tells them.
  returned: always
  type: list
  elements: str
link:
  description: State of its link, null where no guest has it.
  returned: always
  type: str
migrated:
  description: Whether the guest was migrated for it, with O(migrate=true).
  returned: always
  type: bool
restart_required:
  description: Whether the guest has to be restarted to be what its machine says.
  returned: always
  type: bool
restart_reasons:
  description: Why.
  returned: always
  type: list
  elements: str
restarted:
  description: Whether it was restarted, with O(apply=restart).
  returned: always
  type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.machine.options import INTERFACE_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_interface_task import (
    INTERFACE_OPTION_NAMES,
    manage_interface,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.plugging import PLUG_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        **PLUG_OPTIONS,
        **{name: INTERFACE_OPTIONS[name] for name in INTERFACE_OPTION_NAMES},
        "migrate": {"type": "bool", "default": False},
    }
)


def run(task: Task) -> Result:
    return manage_interface(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
