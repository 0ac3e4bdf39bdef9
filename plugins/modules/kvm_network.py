#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_network
short_description: Declare a network of a KVM host
description:
  - Makes sure that a libvirt network exists as declared, that it is active or not, or that it is gone.
  - What the task does not mention stays as it is. Lists are merged - addresses and routes by their address,
    reservations by their client, DNS entries by their address or name, portgroups by their name. An item with
    C(state=absent) is taken away.
  - An active network is changed in place where libvirt can - DHCP ranges and reservations, DNS hosts, TXT and SRV
    records, devices to forward through, portgroups. Guests do not notice. Everything else waits for the next start of
    the network, see O(apply).
  - A network that is stopped cuts its running guests off, and they stay cut off after it was started again, until their
    interfaces are attached again (or libvirtd is restarted). It is therefore refused while running guests are attached,
    unless O(force=true).
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: The options are checked and compared. libvirt has no dry run, so what only libvirt knows (a bridge that
      is not there, say) shows when the change is made.
  diff_mode:
    support: full
    description: Shows the persistent configuration, whether the network is active and whether it starts with the host.
options:
  name:
    description: The name of the network, by which interfaces of machines refer to it.
    type: str
    required: true
  state:
    description:
      - V(present) - it is defined, and as active as it is. V(active) - it is defined and runs. V(inactive) - it is
        defined and does not run. V(absent) - it is stopped and removed.
    type: str
    choices: [present, absent, active, inactive]
    default: present
  autostart:
    description: Whether the network starts with the host. Of a new network, libvirt's default is V(false).
    type: bool
  mode:
    description:
      - How the network is connected; needed for a new one, unless O(xml) says it.
      - V(nat), V(route), V(open) (routed, without firewall rules of libvirt) and V(isolated) have a bridge that libvirt
        makes, with addresses, DHCP and DNS as declared.
      - V(bridge) and V(ovs) use a bridge of the host, a Linux bridge or one of Open vSwitch, which has to be there when
        a guest starts. V(macvtap) connects guests directly to a device of the host.
      - An option that the mode does not have is refused.
    type: str
    choices: [nat, route, isolated, open, bridge, ovs, macvtap]
  devices:
    description:
      - With O(mode=macvtap), the devices of the host that guests are connected to. With O(mode=nat) and O(mode=route),
        the only devices through which packets leave; all without it.
    type: list
    elements: str
  macvtap_mode:
    description: With O(mode=macvtap), how guests on one device reach each other. Default is V(bridge).
    type: str
    choices: [bridge, private, vepa, passthrough]
  bridge:
    description:
      - The name of the bridge, of at most 15 characters. With O(mode=bridge) and O(mode=ovs) it is the host's, and
        needed. Otherwise libvirt makes it, and names it C(virbr) and a number by default.
    type: str
  stp:
    description: Whether the bridge that libvirt makes takes part in the spanning tree protocol. libvirt's default is
      V(true), with which a guest waits some seconds for its first packet.
    type: bool
  bridge_delay:
    description: Forward delay of the bridge that libvirt makes, in seconds, 0 to 30. libvirt's default is V(0).
    type: int
  zone:
    description: The firewalld zone of the bridge that libvirt makes.
    type: str
  mtu:
    description: The largest packet on the bridge that libvirt makes, in bytes, 68 to 65535.
    type: int
  mac:
    description: The MAC address of the bridge that libvirt makes. libvirt chooses one by default.
    type: str
  nat:
    description: With O(mode=nat), how addresses are translated.
    type: dict
    suboptions:
      ipv6:
        description: Whether IPv6 is translated as well.
        type: bool
      address_start:
        description: The first of the host's addresses to translate to.
        type: str
      address_end:
        description: The last of them; default is O(nat.address_start).
        type: str
      port_start:
        description: The first port to translate to. libvirt's default is 1024.
        type: int
      port_end:
        description: The last port to translate to. libvirt's default is 65535.
        type: int
  ipv6:
    description: Whether guests may speak IPv6 with each other although the network has no IPv6 address of its own.
    type: bool
  domain:
    description: The DNS domain of the network.
    type: str
  domain_local_only:
    description: Whether questions for names in O(domain) are never forwarded.
    type: bool
  dns:
    description: The DNS server of the network.
    type: dict
    suboptions:
      enabled:
        description: Whether there is one. libvirt's default is V(true).
        type: bool
      forward_plain_names:
        description: Whether names without a dot are forwarded. libvirt's default is V(true).
        type: bool
      forwarders:
        description: The servers to ask, told apart by domain and address.
        type: list
        elements: dict
        suboptions:
          address:
            description: Address of the server. Without it, the host's own servers are asked.
            type: str
          domain:
            description: The domain it is asked for; all without it.
            type: str
          state:
            description: Whether it is listed.
            type: str
            choices: [present, absent]
            default: present
      hosts:
        description: Names that the server knows, a line for each address.
        type: list
        elements: dict
        suboptions:
          ip:
            description: The address.
            type: str
            required: true
          hostnames:
            description: All of its names.
            type: list
            elements: str
          state:
            description: Whether the address has names.
            type: str
            choices: [present, absent]
            default: present
      txt:
        description: TXT records, told apart by their name.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the record.
            type: str
            required: true
          value:
            description: Its text.
            type: str
          state:
            description: Whether there is such a record.
            type: str
            choices: [present, absent]
            default: present
      srv:
        description: SRV records, told apart by service, protocol, domain and target.
        type: list
        elements: dict
        suboptions:
          service:
            description: The service, without an underscore.
            type: str
            required: true
          protocol:
            description: The protocol, without an underscore.
            type: str
            required: true
          domain:
            description: The domain the service is in.
            type: str
          target:
            description: The name of the machine that has the service.
            type: str
          port:
            description: The service's port.
            type: int
          priority:
            description: The record's priority.
            type: int
          weight:
            description: The record's weight.
            type: int
          state:
            description: Whether there is such a record.
            type: str
            choices: [present, absent]
            default: present
  ips:
    description:
      - The host's own addresses in the network, IPv4 and IPv6, told apart by O(ips[].address). Another address is
        another item; the one before it goes with O(ips[].state=absent), or with O(replace_lists).
      - libvirt announces itself as a router for each IPv6 address, unless O(mode=isolated).
      - Addresses that are none, outside of their subnet, or given twice are refused, and so is starting a network whose
        addresses another active network has.
    type: list
    elements: dict
    suboptions:
      address:
        description: The address.
        type: str
        required: true
      prefix:
        description: Length of the subnet's prefix, in bits.
        type: int
      netmask:
        description: The same for IPv4, as a netmask. One of the two is enough.
        type: str
      ranges:
        description: Ranges of addresses that DHCP gives out, told apart by start and end.
        type: list
        elements: dict
        suboptions:
          start:
            description: The first address.
            type: str
            required: true
          end:
            description: The last address.
            type: str
            required: true
          lease_seconds:
            description: How long a guest may keep an address, in seconds, 120 or more; V(0) is for ever. The default of
              libvirt is an hour.
            type: int
          state:
            description: Whether the range is given out.
            type: str
            choices: [present, absent]
            default: present
      reservations:
        description: Addresses kept for a guest, told apart by O(ips[].reservations[].mac), else
          O(ips[].reservations[].duid), else O(ips[].reservations[].name).
        type: list
        elements: dict
        suboptions:
          mac:
            description: MAC address of the guest, for IPv4.
            type: str
          duid:
            description: DHCP unique identifier of the guest, for IPv6.
            type: str
          ip:
            description: The address that it gets.
            type: str
          name:
            description: The host name that it gets, and that the DNS server knows.
            type: str
          lease_seconds:
            description: How long the guest may keep it, as in O(ips[].ranges[].lease_seconds).
            type: int
          state:
            description: Whether there is such a reservation.
            type: str
            choices: [present, absent]
            default: present
      bootp_file:
        description: The file that guests boot from over the network.
        type: str
      bootp_server:
        description: The server that has the file. Default is the host.
        type: str
      tftp_root:
        description: A directory on the host that is served by TFTP.
        type: path
      state:
        description: Whether the host has the address.
        type: str
        choices: [present, absent]
        default: present
  routes:
    description: Static routes of the host into networks behind guests, told apart by the network.
    type: list
    elements: dict
    suboptions:
      address:
        description: Address of the network.
        type: str
        required: true
      prefix:
        description: Length of its prefix, in bits.
        type: int
        required: true
      gateway:
        description: The address, within this network, of the guest that leads to it.
        type: str
      metric:
        description: The metric of the route.
        type: int
      state:
        description: Whether there is such a route.
        type: str
        choices: [present, absent]
        default: present
  vlan:
    description:
      - With O(mode=ovs), the VLANs of guests that name no portgroup. The declared VLANs are all of them.
    type: dict
    suboptions:
      tags:
        description: The VLANs, 1 to 4094. Several make a trunk.
        type: list
        elements: int
        required: true
      native:
        description: The VLAN that untagged packets of a trunk belong to.
        type: int
      native_mode:
        description: Whether packets of the native VLAN leave with a tag.
        type: str
        choices: [untagged, tagged]
        default: untagged
      trunk:
        description: Whether guests tag their packets themselves, also where there is but one VLAN.
        type: bool
        default: false
  portgroups:
    description: Groups of guests with settings of their own, told apart by their name.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the group, by which interfaces of machines refer to it.
        type: str
        required: true
      default:
        description: Whether it is the one of interfaces that name none. One group can be.
        type: bool
      vlan:
        description: With O(mode=ovs), the VLANs of the group. The declared VLANs are all of them.
        type: dict
        suboptions:
          tags:
            description: The VLANs, 1 to 4094. Several make a trunk.
            type: list
            elements: int
            required: true
          native:
            description: The VLAN that untagged packets of a trunk belong to.
            type: int
          native_mode:
            description: Whether packets of the native VLAN leave with a tag.
            type: str
            choices: [untagged, tagged]
            default: untagged
          trunk:
            description: Whether guests tag their packets themselves, also where there is but one VLAN.
            type: bool
            default: false
      trust_guest_rx_filters:
        description: Whether the host follows guests of the group that change their MAC addresses and filters.
        type: bool
      state:
        description: Whether there is such a group.
        type: str
        choices: [present, absent]
        default: present
  trust_guest_rx_filters:
    description: With O(mode=macvtap), whether the host follows guests that change their MAC addresses and filters.
    type: bool
  isolate_guests:
    description: Whether guests on the bridge cannot reach each other.
    type: bool
  dnsmasq_options:
    description: Lines for the configuration of dnsmasq, such as V(ra-param=*,60,1200), which libvirt does not check.
    type: list
    elements: str
  xml:
    description:
      - Any other part of the network, as libvirt's XML has it, C(<network>...</network>). It is merged as the options
        are. What an option says as well has to be the same.
    type: str
  replace_lists:
    description: Whether the lists that the task gives (O(devices), O(ips) and their ranges and reservations, O(routes),
      O(portgroups), O(dnsmasq_options), those in O(dns)) are the whole lists, so that what is not listed goes.
    type: bool
    default: false
  apply:
    description:
      - When changes reach a network that is active. All are written to its configuration.
      - V(live) - at once what can be changed in place; for the rest RV(restart_required) is true. V(next_start) - none
        now. V(restart) - the network is stopped and started where a change needs it.
    type: str
    choices: [live, next_start, restart]
    default: live
  force:
    description: Whether the network is stopped, restarted or removed although running guests are attached. B(They are
      cut off.)
    type: bool
    default: false
seealso:
  - module: virtstack.core.kvm_host
  - name: Network XML format
    description: What O(xml) takes.
    link: https://libvirt.org/formatnetwork.html
"""

EXAMPLES = r"""
- name: A network with addresses, names and one reservation, which starts with the host
  virtstack.core.kvm_network:
    name: lan
    state: active
    autostart: true
    mode: nat
    bridge: virbr-lan
    stp: false
    domain: lan.example
    domain_local_only: true
    ips:
      - address: 192.168.130.1
        prefix: 24
        ranges:
          - {start: 192.168.130.100, end: 192.168.130.199, lease_seconds: 7200}
        reservations:
          - {mac: "52:54:00:00:01:05", ip: 192.168.130.5, name: db}
      - address: fd00:130::1
        prefix: 64
        ranges:
          - {start: "fd00:130::100", end: "fd00:130::1ff"}

- name: One more reservation and a name, while guests run
  virtstack.core.kvm_network:
    name: lan
    ips:
      - address: 192.168.130.1
        reservations:
          - {mac: "52:54:00:00:01:06", ip: 192.168.130.6, name: web}
    dns:
      hosts:
        - {ip: 192.168.130.1, hostnames: [gateway, ntp]}

- name: One reservation less
  virtstack.core.kvm_network:
    name: lan
    ips:
      - address: 192.168.130.1
        reservations:
          - {mac: "52:54:00:00:01:06", state: absent}

- name: Guests behind a guest that is a router
  virtstack.core.kvm_network:
    name: lan
    apply: restart
    routes:
      - {address: 10.20.0.0, prefix: 16, gateway: 192.168.130.5}

- name: A network without a way out
  virtstack.core.kvm_network:
    name: backend
    state: active
    mode: isolated
    mtu: 9000
    ips:
      - {address: 192.168.131.1, prefix: 24}

- name: VLANs of a bridge of Open vSwitch
  virtstack.core.kvm_network:
    name: vlans
    mode: ovs
    bridge: ovsbr0
    portgroups:
      - {name: office, default: true, vlan: {tags: [10]}}
      - {name: routers, vlan: {tags: [10, 20, 30], native: 10}}

- name: The network without a way out is gone
  virtstack.core.kvm_network:
    name: backend
    state: absent
"""

RETURN = r"""
network:
  description: The network as it is then; in check mode, as it would be. Null where it is gone.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    uuid:
      description: Its UUID; null where check mode does not know it yet.
      type: str
    mode:
      description: Its mode, as O(mode) has it; libvirt's word for any other.
      type: str
    bridge:
      description: The name of its bridge, null where it has none.
      type: str
    active:
      description: Whether it runs.
      type: bool
    autostart:
      description: Whether it starts with the host.
      type: bool
    persistent:
      description: Whether it has a configuration that outlives the time it runs.
      type: bool
    xml:
      description: Its configuration, as libvirt has it.
      type: str
restart_required:
  description: Whether the network runs with something else than its configuration says, until it is restarted.
  returned: always
  type: bool
actions:
  description: What was done to the running network (in check mode, what would be), in this order.
  returned: always
  type: list
  elements: str
  sample: [added ip-dhcp-host 52:54:00:00:01:06 web 192.168.130.6]
attached:
  description: The running guests that stand in the way.
  returned: when it was refused because of them
  type: list
  elements: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.network import declare_network
from ansible_collections.virtstack.core.plugins.module_utils.kvm.network_options import NETWORK_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent", "active", "inactive"], "default": "present"},
        "autostart": {"type": "bool"},
        **NETWORK_OPTIONS,
        "replace_lists": {"type": "bool", "default": False},
        "apply": {"type": "str", "choices": ["live", "next_start", "restart"], "default": "live"},
        "force": {"type": "bool", "default": False},
    },
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return declare_network(host, task)


if __name__ == "__main__":
    main(SPEC, run)
