# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces of a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import names
from .refusal import Problems, Refused

POD_NETWORK = "pod"
# Before the name of a device of a KVM host that an interface is attached to without a network of libvirt.
BRIDGE_PREFIX, MACVTAP_PREFIX = HOST_PREFIXES = ("bridge:", "macvtap:")
MODELS = ("virtio", "e1000", "e1000e", "igb", "rtl8139", "pcnet", "ne2k_pci")
PROTOCOLS = ("TCP", "UDP")
# libvirt's migration ports: what arrives there never reaches the guest.
RESERVED_PORTS = (49152, 49153)


@dataclass(frozen=True)
class Port:
    """A port of the guest that the pod network lets through."""

    port: int
    protocol: str = "TCP"
    name: str | None = None


@dataclass(frozen=True)
class Interface:
    """One interface. None is what the description leaves to the system."""

    name: str
    network: str | None = None
    absent: bool = False
    binding: str | None = None
    model: str | None = None
    mac: str | None = None
    boot_order: int | None = None
    ports: tuple[Port, ...] | None = None
    link: str | None = None
    portgroup: str | None = None

    @property
    def on_pod_network(self) -> bool:
        return self.network == POD_NETWORK


def read_interfaces(options: Sequence[Mapping[str, Any]] | None) -> tuple[Interface, ...] | None:
    """The interfaces that C(interfaces:) lists, None when the list is not declared. Refuses two of one name or MAC."""
    if options is None:
        return None
    problems = Problems()
    read = [problems.take(lambda item=item: read_interface(item)) for item in options]  # type: ignore[misc]
    interfaces = [interface for interface in read if interface]
    for name in names.repeated([item["name"] for item in options]):
        problems.add(f'interfaces: two interfaces are named "{name}"; give each a name of its own')
    for mac in names.repeated([interface.mac for interface in interfaces if interface.mac]):
        problems.add(f'interfaces: two interfaces have the MAC address "{mac}"')
    if sum(interface.on_pod_network and not interface.absent for interface in interfaces) > 1:
        problems.add("interfaces: two interfaces are on the pod network; a machine has one there")
    problems.refuse()
    return tuple(interfaces)


def read_interface(options: Mapping[str, Any]) -> Interface:
    """One interface. Refuses a MAC address or port that is none, and masquerade beyond the pod network."""
    label = f"interface {options['name']}"
    problems = Problems()
    problems.take(lambda: names.device_name(options["name"], "interfaces: name"))
    network, binding, order = options.get("network"), options.get("binding"), options.get("boot_order")
    mac = None
    if options.get("mac") is not None:
        mac = problems.take(lambda: names.mac_address(options["mac"], f"{label}: mac"))
    if binding == "masquerade" and network not in (None, POD_NETWORK):
        problems.add(
            f'{label}: binding: masquerade exists on the pod network only, not on "{network}"; use bridge or sriov'
        )
    if binding == "sriov" and network == POD_NETWORK:
        problems.add(f"{label}: binding: the pod network has no SR-IOV; use masquerade")
    if order is not None and order < 1:
        problems.add(f"{label}: boot_order: {order} is less than 1")
    given = options.get("ports")
    ports = problems.take(lambda: _ports(given, label)) if given is not None else None
    if ports and network not in (None, POD_NETWORK):
        problems.add(f"{label}: ports: only the pod network filters ports; leave them out")
    problems.refuse()
    return Interface(
        name=options["name"],
        network=network,
        absent=options.get("state") == "absent",
        binding=binding,
        model=options.get("model"),
        mac=mac,
        boot_order=order,
        ports=ports,
        link=options.get("link"),
        portgroup=options.get("portgroup"),
    )


def _ports(items: Sequence[Mapping[str, Any]], label: str) -> tuple[Port, ...]:
    problems = Problems()
    ports = []
    for item in items:
        number = item["port"]
        if not 1 <= number <= 65535:
            problems.add(f"{label}: ports: {number} is no port; use 1 to 65535")
        if number in RESERVED_PORTS:
            problems.add(f"{label}: ports: {number} is kept for live migration and never reaches the guest")
        ports.append(Port(number, item.get("protocol") or "TCP", item.get("name")))
    problems.refuse()
    return tuple(ports)


def require_networks(interfaces: Sequence[Interface], known: Sequence[str] = ()) -> None:
    """Refuse interfaces that would be new and say not what they are connected to. C(known) names those that exist."""
    missing = [item.name for item in interfaces if item.network is None and not item.absent and item.name not in known]
    if missing:
        raise Refused(*(f"interface {name}: has no network; set it to pod or to a network's name" for name in missing))
