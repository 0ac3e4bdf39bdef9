# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a network that is wanted, said before anything is changed.

Pure. libvirt checks some of this when the network is defined, some when it is started, some never.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

from ..machine.names import repeated
from ..machine.refusal import Refused
from .network_xml import subnet

# The longest name that Linux takes for a device.
_DEVICE_NAME = 15
# dnsmasq takes no shorter lease; seconds.
_SHORTEST_LEASE = 120
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Subnet: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def refuse_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse values that are none, with every mistake named."""
    problems = [*_of_names(name, options), *_of_vlans(options)]
    for option, low, high in (("mtu", 68, 65535), ("bridge_delay", 0, 30)):
        value = options[option]
        if value is not None and not low <= value <= high:
            problems.append(f"{option}: {value} is not from {low} to {high}")
    problems += [
        f"{option}: {value} is not {_SHORTEST_LEASE} seconds or more, or 0 for no end"
        for option, value in _leases(options)
        if value != 0 and value < _SHORTEST_LEASE
    ]
    for ip in options["ips"] or ():
        if ip["prefix"] is not None and ip["netmask"] is not None:
            problems.append(f"ips: {ip['address']} has a prefix and a netmask; leave one out")
        for item in ip["reservations"] or ():
            if not (item["mac"] or item["duid"] or item["name"]):
                problems.append(f"ips.reservations: {item['ip']} needs mac, duid or name")
            if not item["ip"] and not item["name"] and item["state"] == "present":
                problems.append(f"ips.reservations: {item['mac'] or item['duid']} needs ip or name")
        clients = [(item["mac"] or item["duid"] or item["name"] or "").lower() for item in ip["reservations"] or ()]
        problems += [
            f"ips.reservations: {client} is given twice; give it one address" for client in repeated(clients) if client
        ]
    for host in (options["dns"] or {}).get("hosts") or ():
        if not host["hostnames"] and host["state"] == "present":
            problems.append(f"dns.hosts: {host['ip']} needs hostnames")
    if problems:
        raise Refused(*problems)


def _of_names(name: str, options: Mapping[str, Any]) -> Iterator[str]:
    if not name or "/" in name or name != name.strip():
        yield f"name: {name!r} is no name of a network; it has no slash and no space at its ends"
    names = [("bridge", options["bridge"]), *(("devices", device) for device in options["devices"] or ())]
    for option, device in names:
        if device is not None and (not 1 <= len(device) <= _DEVICE_NAME or re.search(r"[/\s]", device)):
            yield f"{option}: {device!r} is no name of a device: 1 to {_DEVICE_NAME} characters, no slash or space"
    if options["mac"] is not None and not _MAC.fullmatch(options["mac"]):
        yield f"mac: {options['mac']} is no MAC address; write it as 52:54:00:12:34:56"


def _of_vlans(options: Mapping[str, Any]) -> Iterator[str]:
    groups = options["portgroups"] or ()
    vlans = [("vlan", options["vlan"]), *((f"portgroups.{group['name']}.vlan", group["vlan"]) for group in groups)]
    for option, vlan in vlans:
        if vlan is None:
            continue
        for tag in [*vlan["tags"], *([] if vlan["native"] is None else [vlan["native"]])]:
            if not 1 <= tag <= 4094:
                yield f"{option}: {tag} is no VLAN; they are numbered from 1 to 4094"
        if not vlan["tags"] and vlan["native"] is None:
            yield f"{option}.tags: is empty; name at least one VLAN"
    if sum(bool(group["default"]) for group in groups) > 1:
        yield "portgroups: several are the default; one can be"


def _leases(options: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for ip in options["ips"] or ():
        for part in ("ranges", "reservations"):
            for item in ip[part] or ():
                if item["lease_seconds"] is not None:
                    yield f"ips.{part}.lease_seconds", item["lease_seconds"]


def refuse_network(network: Element) -> None:
    """Refuse addresses that are none, lie outside of their subnet, or are given twice."""
    problems: list[str] = []
    subnets: list[Subnet] = []
    for ip in network.findall("ip"):
        own = subnet(ip)
        if own is None:
            problems.append(f"ips: {ip.get('address')} with its prefix or netmask is no address of a network")
            continue
        if own.prefixlen == own.max_prefixlen and ip.find("dhcp") is not None:
            problems.append(f"ips: {ip.get('address')} needs a prefix or netmask, for there is to be DHCP")
        problems += [f"ips: {own} and {other} overlap" for other in subnets if _overlap(own, other)]
        subnets.append(own)
        problems += _of_dhcp(ip, own)
    for route in network.findall("route"):
        if subnet(route) is None or _address(route.get("gateway")) is None:
            problems.append(f"routes: {route.get('address')} by {route.get('gateway')} is no route to a network")
    problems += [
        f"dns.hosts: {host.get('ip')} is no IP address"
        for host in network.findall("dns/host")
        if _address(host.get("ip")) is None
    ]
    if problems:
        raise Refused(*problems)


def _of_dhcp(ip: Element, own: Subnet) -> Iterator[str]:
    for item in ip.findall("dhcp/range"):
        start, end = _address(item.get("start")), _address(item.get("end"))
        told = f"{item.get('start')} to {item.get('end')}"
        if start is None or end is None:
            yield f"ips.ranges: {told} is no range of addresses"
        elif start not in own or end not in own:
            yield f"ips.ranges: {told} is not within {own}"
        elif int(start) > int(end):
            yield f"ips.ranges: {told} ends before it begins"
    seen: dict[tuple[str, str], str] = {}
    for item in ip.findall("dhcp/host"):
        told = str(item.get("mac") or item.get("id") or item.get("name"))
        address, mac = item.get("ip"), item.get("mac")
        if address is not None and (_address(address) is None or _address(address) not in own):
            yield f"ips.reservations: {address} for {told} is no address within {own}"
        if mac is not None and not _MAC.fullmatch(mac):
            yield f"ips.reservations: {mac} is no MAC address; write it as 52:54:00:12:34:56"
        for kind, value in (("address", str(_address(address) or address)), ("MAC address", (mac or "").lower())):
            if not value or value == "None":
                continue
            if (kind, value) in seen:
                yield f"ips.reservations: the {kind} {value} is given twice, to {seen[kind, value]} and {told}"
            seen[kind, value] = told if kind == "address" else str(address or item.get("name"))


def _address(text: str | None) -> Address | None:
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and one.overlaps(other)


def refuse_overlap(network: Element, others: Sequence[Element]) -> None:
    """Refuse to start a network whose addresses another one, which is active, serves already."""
    for other in others:
        for theirs in map(subnet, other.findall("ip")):
            for ours in map(subnet, network.findall("ip")):
                if ours is not None and theirs is not None and _overlap(ours, theirs):
                    raise Refused(
                        f"ips: {ours} overlaps with {theirs} of the active network {other.findtext('name')};"
                        " choose other addresses, or stop that network"
                    )
