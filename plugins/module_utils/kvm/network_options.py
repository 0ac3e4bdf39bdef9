# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that describe a network of a KVM host."""

from __future__ import annotations

from typing import Any

Options = dict[str, Any]

# How a network is connected; C(route) and C(routed) are libvirt's and its documentation's words for one thing.
MODES = ("nat", "route", "isolated", "open", "bridge", "ovs", "macvtap")
MACVTAP_MODES = ("bridge", "private", "vepa", "passthrough")

_STATE: Options = {"type": "str", "choices": ["present", "absent"], "default": "present"}


def _list(**options: Options) -> Options:
    return {"type": "list", "elements": "dict", "options": options}


_TEXT: Options = {"type": "str"}
_NEEDED: Options = {"type": "str", "required": True}
_NUMBER: Options = {"type": "int"}
_SWITCH: Options = {"type": "bool"}

_VLAN: Options = {
    "type": "dict",
    "options": {
        "tags": {"type": "list", "elements": "int", "required": True},
        "native": _NUMBER,
        "native_mode": {"type": "str", "choices": ["untagged", "tagged"], "default": "untagged"},
        "trunk": {"type": "bool", "default": False},
    },
}
_DNS: Options = {
    "type": "dict",
    "options": {
        "enabled": _SWITCH,
        "forward_plain_names": _SWITCH,
        "forwarders": _list(address=_TEXT, domain=_TEXT, state=_STATE),
        "hosts": _list(ip=_NEEDED, hostnames={"type": "list", "elements": "str"}, state=_STATE),
        "txt": _list(name=_NEEDED, value=_TEXT, state=_STATE),
        "srv": _list(
            service=_NEEDED,
            protocol=_NEEDED,
            domain=_TEXT,
            target=_TEXT,
            port=_NUMBER,
            priority=_NUMBER,
            weight=_NUMBER,
            state=_STATE,
        ),
    },
}
_IPS = _list(
    address=_NEEDED,
    prefix=_NUMBER,
    netmask=_TEXT,
    ranges=_list(start=_NEEDED, end=_NEEDED, lease_seconds=_NUMBER, state=_STATE),
    reservations=_list(mac=_TEXT, duid=_TEXT, ip=_TEXT, name=_TEXT, lease_seconds=_NUMBER, state=_STATE),
    bootp_file=_TEXT,
    bootp_server=_TEXT,
    tftp_root={"type": "path"},
    state=_STATE,
)

NETWORK_OPTIONS: Options = {
    "mode": {"type": "str", "choices": list(MODES)},
    "devices": {"type": "list", "elements": "str"},
    "macvtap_mode": {"type": "str", "choices": list(MACVTAP_MODES)},
    "bridge": _TEXT,
    "stp": _SWITCH,
    "bridge_delay": _NUMBER,
    "zone": _TEXT,
    "mtu": _NUMBER,
    "mac": _TEXT,
    "nat": {
        "type": "dict",
        "options": {"ipv6": _SWITCH, "address_start": _TEXT, "address_end": _TEXT, "port_start": _NUMBER,
                    "port_end": _NUMBER},
    },
    "ipv6": _SWITCH,
    "domain": _TEXT,
    "domain_local_only": _SWITCH,
    "dns": _DNS,
    "ips": _IPS,
    "routes": _list(address=_NEEDED, prefix={"type": "int", "required": True}, gateway=_TEXT, metric=_NUMBER,
                    state=_STATE),
    "vlan": _VLAN,
    "portgroups": _list(name=_NEEDED, default=_SWITCH, vlan=_VLAN, trust_guest_rx_filters=_SWITCH, state=_STATE),
    "trust_guest_rx_filters": _SWITCH,
    "isolate_guests": _SWITCH,
    "dnsmasq_options": {"type": "list", "elements": "str"},
    "xml": _TEXT,
}  # fmt: skip
