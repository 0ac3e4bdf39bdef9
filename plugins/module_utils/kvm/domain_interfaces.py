# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces in a domain's XML: new ones, and changes of those that are there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from ..machine.interfaces import BRIDGE_PREFIX, MACVTAP_PREFIX, Interface
from ..machine.refusal import Problems, Refused
from .domain_disks import order_of_devices
from .view import ALIAS_PREFIX, InterfaceView, view
from .xml import ensure, make, remove

# The network of libvirt that stands for the pod network of a cluster.
DEFAULT_NETWORK = "default"
_PREFIXES = {BRIDGE_PREFIX: ("bridge", "bridge"), MACVTAP_PREFIX: ("direct", "dev")}


@dataclass(frozen=True)
class Attachment:
    """What an interface is attached to: libvirt's type, and the source of that type."""

    type: str
    source: Mapping[str, str]


def attachment(interface: Interface) -> Attachment:
    """What the option C(network) names: C(pod), a network of libvirt, C(bridge:br0) or C(macvtap:eth0)."""
    network = interface.network or ""
    for prefix, (type_, attribute) in _PREFIXES.items():
        if network.startswith(prefix):
            source = {attribute: network.removeprefix(prefix)}
            return Attachment(type_, {**source, "mode": "bridge"} if type_ == "direct" else source)
    name = DEFAULT_NETWORK if interface.on_pod_network else network
    source = {"network": name}
    if interface.portgroup:
        source["portgroup"] = interface.portgroup
    return Attachment("network", source)


def check_interfaces(interfaces: Sequence[Interface]) -> None:
    """Raises Refused for what a KVM host cannot attach."""
    problems = Problems()
    for interface in interfaces:
        label = f"interface {interface.name}"
        if interface.binding not in (None, "bridge", "masquerade"):
            problems.add(
                f"{label}: binding: {interface.binding} is not for a KVM host; name a network of libvirt, or the host's"
                f" own device with network: {MACVTAP_PREFIX}<device>"
            )
        network = interface.network or ""
        if "/" in network:
            problems.add(f"{label}: network: a host has no namespaces; write {network.rpartition('/')[2]}")
        if interface.portgroup and network.startswith(tuple(_PREFIXES)):
            problems.add(f"{label}: portgroup: only a network of libvirt has port groups")
    problems.refuse()


def merge_interfaces(domain: Element, interfaces: Sequence[Interface] | None, *, replace: bool) -> None:
    """Write the interfaces into the domain; those that are not listed stay, unless the list is the whole list."""
    problems = Problems()
    for interface in interfaces or ():
        found = view(domain).interface(interface.name)
        if interface.absent:
            if found is not None:
                ensure(domain, "devices").remove(found.element)
        elif found is None:
            problems.take(lambda item=interface: _add(domain, item))  # type: ignore[misc]
        else:
            _change(domain, interface, found)
    if replace and interfaces is not None:
        listed = {interface.name for interface in interfaces}
        # Their names are read once: taking one away renumbers those without a name of their own.
        for found in view(domain).interfaces:
            if found.name not in listed:
                ensure(domain, "devices").remove(found.element)
    problems.refuse()
    order_of_devices(domain)


def _add(domain: Element, interface: Interface) -> None:
    if interface.network is None:
        raise Refused(f"interface {interface.name}: has no network; set it to pod or to a network's name")
    to = attachment(interface)
    element = make("interface", type=to.type)
    if interface.mac is not None:
        element.append(make("mac", address=interface.mac))
    SubElement(element, "source", dict(to.source))
    element.append(make("model", type=interface.model or "virtio"))
    if interface.link == "down":
        element.append(make("link", state="down"))
    element.append(make("alias", name=f"{ALIAS_PREFIX}{interface.name}"))
    if interface.boot_order is not None:
        ensure(element, "boot").set("order", str(interface.boot_order))
    ensure(domain, "devices").append(element)


def _change(domain: Element, interface: Interface, found: InterfaceView) -> None:
    element = found.element
    if interface.network is not None:
        _attach(element, attachment(interface))
    elif interface.portgroup is not None and found.type == "network":
        ensure(element, "source").set("portgroup", interface.portgroup)
    if interface.mac is not None and (found.mac or "").lower() != interface.mac:
        ensure(element, "mac").set("address", interface.mac)
    if interface.model is not None and found.model != interface.model:
        ensure(element, "model").set("type", interface.model)
    if interface.link is not None and found.link != interface.link:
        if interface.link == "up":
            remove(element, "link")
        else:
            ensure(element, "link").set("state", "down")
    if interface.boot_order is not None and found.boot_order != interface.boot_order:
        ensure(element, "boot").set("order", str(interface.boot_order))


def _attach(element: Element, to: Attachment) -> None:
    source = ensure(element, "source")
    is_there = element.get("type") == to.type and all(source.get(name) == value for name, value in to.source.items())
    if is_there:
        return
    element.set("type", to.type)
    element.remove(source)
    remove(element, "virtualport")
    SubElement(element, "source", dict(to.source))
