# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XML of a network: what options say of it, and what it says itself.

Pure. https://libvirt.org/formatnetwork.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ..machine.refusal import Refused
from .network_options import MACVTAP_MODES
from .overlay import Keys, attributes, gone, instead, laid_over, whole
from .xml import make, parse, remove, same

DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
# The modes whose bridge libvirt makes, and whose addresses it serves.
OWN_BRIDGE = ("nat", "route", "isolated", "open")
# Options that belong to networks whose bridge libvirt makes.
_OF_OWN_BRIDGE = (
    "stp", "bridge_delay", "zone", "mtu", "mac", "ipv6", "domain", "domain_local_only", "dns", "ips", "routes",
    "dnsmasq_options",
)  # fmt: skip
# Options that a mode does not have.
FOREIGN: Mapping[str, tuple[str, ...]] = {
    "nat": ("macvtap_mode", "vlan"),
    "route": ("macvtap_mode", "nat", "vlan"),
    "open": ("macvtap_mode", "nat", "vlan", "devices"),
    "isolated": ("macvtap_mode", "nat", "vlan", "devices"),
    "bridge": ("macvtap_mode", "nat", "devices", "vlan", *_OF_OWN_BRIDGE),
    "ovs": ("macvtap_mode", "nat", "devices", *_OF_OWN_BRIDGE),
    "macvtap": ("nat", "bridge", "vlan", *_OF_OWN_BRIDGE),
}


address_of = attributes("address")


def _reservation(host: Element) -> object:
    """A reservation is told by its client: the MAC address, else the DUID, else the name."""
    for name in ("mac", "id", "name"):
        if host.get(name):
            return name, str(host.get(name)).lower()
    return "ip", host.get("ip")


def _route(route: Element) -> object:
    return subnet(route)


KEYS: Keys = {
    "network/ip": address_of,
    "network/route": _route,
    "network/portgroup": attributes("name"),
    "dns/forwarder": attributes("domain", "addr"),
    "dns/txt": attributes("name"),
    "dns/srv": attributes("service", "protocol", "domain", "target"),
    "dns/host": attributes("ip"),
    "dhcp/range": attributes("start", "end"),
    "dhcp/host": _reservation,
    "forward/interface": attributes("dev"),
    "forward/pf": attributes("dev"),
    "forward/address": attributes("type", "domain", "bus", "slot", "function"),
    "host/hostname": lambda element: (element.text or "").strip(),
    "vlan/tag": attributes("id"),
    f"{{{DNSMASQ}}}options/{{{DNSMASQ}}}option": attributes("value"),
}


def mode_of(network: Element) -> str:
    """The mode of a network, as the option has it; libvirt's own word for one that the option does not have."""
    forward = network.find("forward")
    if forward is None:
        return "isolated"
    mode = forward.get("mode") or "nat"
    if mode not in MACVTAP_MODES:
        return mode
    if network.find("bridge") is None:
        return "macvtap"
    port = network.find("virtualport")
    return "ovs" if port is not None and port.get("type") == "openvswitch" else "bridge"


def subnet(element: Element) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The subnet of an C(ip) or a C(route); None for what is not one."""
    address = element.get("address") or ""
    length = element.get("prefix") or element.get("netmask")
    try:
        if length is None:
            length = str(ipaddress.ip_address(address).max_prefixlen)
        return ipaddress.ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        return None


def without_state(network: Element) -> Element:
    """The document without what tells of the moment: how many guests are connected. Changes the element."""
    for element in (network, *network.iter("forward"), *network.iter("interface")):
        element.attrib.pop("connections", None)
    return network


def declared(name: str, options: Mapping[str, Any], live: Element | None) -> Element:
    """The network that is wanted: the options laid over the one that is there. Raises Refused for what cannot be."""
    extra = _extra(name, options["xml"])
    base = live if live is not None else make("network")
    if live is None:
        base.append(make("name", name))
    if extra is not None:
        base = laid_over(base, extra, KEYS)
    if live is None and options["mode"] is None and extra is None:
        raise Refused("mode: is missing; a new network needs one, e.g. nat")
    mode = options["mode"] or mode_of(base)
    _refuse_foreign(mode, options)
    base = _cleared(base, mode, options)
    wanted = laid_over(base, _overlay(mode, options, base), KEYS)
    forward = wanted.find("forward")
    devices = [str(item.get("dev")) for item in wanted.findall("forward/interface")]
    if forward is not None and devices:
        # libvirt wants the first of the interfaces here as well.
        forward.set("dev", devices[0])
    _tidied(wanted, options)
    if extra is not None and not same(laid_over(wanted, extra, KEYS), wanted):
        raise Refused("xml: says something else than the options do; say each thing once")
    return wanted


def _tidied(wanted: Element, options: Mapping[str, Any]) -> None:
    """Leave out what libvirt leaves out, so that it compares equal; one portgroup at most is the default."""
    if wanted.get("ipv6") == "no":
        del wanted.attrib["ipv6"]
    chosen = {item["name"]: item["default"] for item in options["portgroups"] or () if item["default"] is not None}
    for group in wanted.findall("portgroup"):
        if not chosen.get(str(group.get("name")), not any(chosen.values())):
            group.attrib.pop("default", None)


def _extra(name: str, text: str | None) -> Element | None:
    if not text:
        return None
    extra = parse(text)
    if extra.tag != "network":
        raise Refused(f"xml: begins with <{extra.tag}>; the document of a network begins with <network>")
    told = (extra.findtext("name") or name).strip()
    if told != name:
        raise Refused(f"xml: names the network {told}, the task names it {name}; leave the name out of xml")
    return extra


def _refuse_foreign(mode: str, options: Mapping[str, Any]) -> None:
    foreign = [option for option in FOREIGN.get(mode, ()) if options[option] is not None]
    if foreign:
        raise Refused(f"A network of mode {mode} has no {' and no '.join(foreign)}; leave it out or change mode")
    if options["macvtap_mode"] is not None and mode != "macvtap":
        raise Refused(f"macvtap_mode: is for mode macvtap, not for {mode}")


def _cleared(base: Element, mode: str, options: Mapping[str, Any]) -> Element:
    """Where the mode changes, without what libvirt had made for the other one."""
    before = mode_of(base)
    if before == mode or (before == "bridge" and mode == "ovs"):
        return base
    base = laid_over(base, make(base.tag), KEYS)
    remove(base, "forward/nat")
    if (before in OWN_BRIDGE) != (mode in OWN_BRIDGE):
        remove(base, "mac")
        remove(base, "bridge")
    if before == "ovs":
        remove(base, "virtualport")
        remove(base, "vlan")
    if mode in ("isolated", "open", "bridge", "ovs"):
        for interface in base.findall("forward"):
            interface.attrib.pop("dev", None)
        remove(base, "forward/interface")
    if mode in ("bridge", "ovs") and options["bridge"] is None and base.find("bridge") is None:
        raise Refused(f"bridge: is missing; mode {mode} needs the name of the host's bridge")
    return base


def _overlay(mode: str, options: Mapping[str, Any], live: Element) -> Element:
    everything = bool(options["replace_lists"])
    network = make(
        "network",
        ipv6=_yes(options["ipv6"]),
        trustGuestRxFilters=_yes(options["trust_guest_rx_filters"]),
    )
    _add(network, _forward(mode, options, live, everything))
    bridge = make(
        "bridge",
        name=options["bridge"],
        stp=_on(options["stp"]),
        delay=_number(options["bridge_delay"]),
        zone=options["zone"],
    )
    if bridge.attrib:
        network.append(bridge)
    for tag, attribute, option in (("mtu", "size", "mtu"), ("mac", "address", "mac")):
        if options[option] is not None:
            network.append(make(tag, None, **{attribute: str(options[option])}))
    if options["domain"] is not None or options["domain_local_only"] is not None:
        local = _yes(options["domain_local_only"])
        network.append(make("domain", None, name=options["domain"], localOnly=local))
    if mode == "ovs":
        network.append(make("virtualport", None, type="openvswitch"))
    _add(network, _vlan(options["vlan"]))
    if options["isolate_guests"] is not None:
        network.append(make("port", None, isolated=_yes(options["isolate_guests"])))
    _add(network, _dns(options["dns"], everything))
    _items(network, "ip", options["ips"], lambda item: _ip(item, live, everything), everything)
    _items(network, "route", options["routes"], lambda item: _static_route(item, live), everything)
    _items(network, "portgroup", options["portgroups"], _portgroup, everything)
    if options["dnsmasq_options"] is not None:
        served = SubElement(network, f"{{{DNSMASQ}}}options")
        for value in options["dnsmasq_options"]:
            served.append(make(f"{{{DNSMASQ}}}option", None, value=value))
        if everything:
            whole(served, f"{{{DNSMASQ}}}option")
    return network


def _add(parent: Element, child: Element | None) -> None:
    if child is not None:
        parent.append(child)


def _items(
    parent: Element,
    tag: str,
    items: Sequence[Mapping[str, Any]] | None,
    built: Callable[[Mapping[str, Any]], Element],
    everything: bool,
) -> None:
    """Add the items of a list, those that are to be absent with their mark."""
    if items is None:
        return
    for item in items:
        element = built(item)
        parent.append(gone(element) if item["state"] == "absent" else element)
    if everything:
        whole(parent, tag)


def _forward(mode: str, options: Mapping[str, Any], live: Element, everything: bool) -> Element | None:
    if options["mode"] is None and options["devices"] is None and options["nat"] is None:
        return None
    if mode == "isolated":
        return gone(make("forward"))
    before = live.find("forward")
    written = {"ovs": "bridge", "macvtap": options["macvtap_mode"] or (before is not None and before.get("mode"))}
    forward = make("forward", None, mode=written.get(mode, mode) or "bridge")
    for device in options["devices"] or ():
        forward.append(make("interface", None, dev=device))
    if options["devices"] is not None and everything:
        whole(forward, "interface")
    nat = options["nat"]
    if nat is not None:
        element = SubElement(forward, "nat", {} if nat["ipv6"] is None else {"ipv6": _yes(nat["ipv6"]) or "no"})
        for tag in ("address", "port"):
            start, end = nat[f"{tag}_start"], nat[f"{tag}_end"]
            if start is not None or end is not None:
                element.append(make(tag, None, start=str(start or end), end=str(end or start)))
    return forward


def _dns(dns: Mapping[str, Any] | None, everything: bool) -> Element | None:
    if dns is None:
        return None
    element = make("dns", None, enable=_yes(dns["enabled"]), forwardPlainNames=_yes(dns["forward_plain_names"]))
    _items(
        element,
        "forwarder",
        dns["forwarders"],
        lambda item: make("forwarder", None, domain=item["domain"], addr=item["address"]),
        everything,
    )
    _items(
        element,
        "txt",
        dns["txt"],
        lambda item: make("txt", None, name=item["name"], value=item["value"]),
        everything,
    )
    _items(element, "srv", dns["srv"], _srv, everything)
    _items(element, "host", dns["hosts"], _dns_host, everything)
    return element


def _srv(item: Mapping[str, Any]) -> Element:
    numbers = {name: _number(item[name]) for name in ("port", "priority", "weight")}
    texts = {name: item[name] for name in ("service", "protocol", "domain", "target")}
    return make("srv", None, **texts, **numbers)


def _dns_host(item: Mapping[str, Any]) -> Element:
    host = make("host", None, ip=item["ip"])
    host.extend(make("hostname", name) for name in item["hostnames"] or ())
    return instead(host)


def _ip(item: Mapping[str, Any], live: Element, everything: bool) -> Element:
    is_v6 = ":" in item["address"]
    element = make("ip", None, family="ipv6" if is_v6 else None, address=item["address"])
    _set_length(element, item, [ip for ip in live.findall("ip") if address_of(ip) == address_of(element)])
    if item["tftp_root"] is not None:
        element.append(make("tftp", None, root=item["tftp_root"]))
    dhcp = make("dhcp")
    _items(dhcp, "range", item["ranges"], _range, everything)
    _items(dhcp, "host", item["reservations"], _dhcp_host, everything)
    if item["bootp_file"] is not None:
        dhcp.append(make("bootp", None, file=item["bootp_file"], server=item["bootp_server"]))
    if len(dhcp) or (everything and dhcp.attrib):
        element.append(dhcp)
    return element


def _set_length(element: Element, item: Mapping[str, Any], live: Iterable[Element]) -> None:
    """The length of the prefix, written the way the network has it already."""
    length = item.get("netmask") or item["prefix"]
    if length is None:
        return
    try:
        wanted = ipaddress.ip_network(f"{item['address']}/{length}", strict=False)
    except ValueError:
        raise Refused(f"{item['address']}/{length} is no address with a prefix or netmask") from None
    if any(found.get("netmask") for found in live):
        element.set("netmask", str(wanted.netmask))
    else:
        element.set("prefix", str(wanted.prefixlen))


def _range(item: Mapping[str, Any]) -> Element:
    element = make("range", None, start=item["start"], end=item["end"])
    _add(element, _lease(item["lease_seconds"]))
    return element


def _dhcp_host(item: Mapping[str, Any]) -> Element:
    element = make("host", None, mac=item["mac"], id=item["duid"], name=item["name"], ip=item["ip"])
    _add(element, _lease(item["lease_seconds"]))
    return element


def _lease(seconds: int | None) -> Element | None:
    if seconds is None:
        return None
    return instead(make("lease", None, expiry=str(seconds), unit="seconds" if seconds else None))


def _static_route(item: Mapping[str, Any], live: Element) -> Element:
    family = "ipv6" if ":" in item["address"] else None
    route = make("route", None, family=family, address=item["address"], gateway=item["gateway"])
    wanted = make("route", None, address=item["address"], prefix=str(item["prefix"]))
    _set_length(route, item, [found for found in live.findall("route") if _route(found) == _route(wanted)])
    if item["metric"] is not None:
        route.set("metric", str(item["metric"]))
    return route


def _portgroup(item: Mapping[str, Any]) -> Element:
    group = make(
        "portgroup",
        None,
        name=item["name"],
        default="yes" if item["default"] else None,
        trustGuestRxFilters=_yes(item["trust_guest_rx_filters"]),
    )
    _add(group, _vlan(item["vlan"]))
    return group


def _vlan(vlan: Mapping[str, Any] | None) -> Element | None:
    if vlan is None:
        return None
    tags = list(dict.fromkeys([*vlan["tags"], *([vlan["native"]] if vlan["native"] is not None else [])]))
    trunk = vlan["trunk"] or len(tags) > 1 or vlan["native"] is not None
    element = make("vlan", None, trunk="yes" if trunk else None)
    for tag in tags:
        mode = vlan["native_mode"] if tag == vlan["native"] else None
        element.append(make("tag", None, id=str(tag), nativeMode=mode))
    return instead(element)


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _on(value: bool | None) -> str | None:
    return None if value is None else "on" if value else "off"


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def restored(text: str) -> Element:
    """The document that libvirt gave out, without what tells of the moment."""
    return without_state(parse(text))
