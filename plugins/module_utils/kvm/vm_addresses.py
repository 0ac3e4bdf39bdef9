# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MAC and IP addresses of a machine that something else on the host has already."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ..machine.names import repeated
from ..machine.network_data import static_addresses
from ..machine.refusal import Problems
from .domain_interfaces import attachment
from .view import DomainView, view
from .vm_fleet import Fleet
from .vm_options import Declaration


def check_addresses(fleet: Fleet, declaration: Declaration, before: Element | None) -> None:
    """Raises Refused for an address that another interface, machine or reservation has."""
    known = view(before) if before is not None else None
    problems = Problems()
    problems.take(lambda: _check_macs(fleet, declaration, known))
    problems.take(lambda: _check_static(fleet, declaration, known))
    problems.refuse()


def _check_macs(fleet: Fleet, declaration: Declaration, known: DomainView | None) -> None:
    problems = Problems()
    for interface in declaration.machine.interfaces or ():
        if interface.mac is None or interface.absent:
            continue
        found = known.interface(interface.name) if known is not None else None
        if found is not None and (found.mac or "").lower() == interface.mac:
            continue
        own = [other.name for other in (known.interfaces if known else ()) if other.mac == interface.mac]
        if own and own[0] not in [item.name for item in declaration.machine.interfaces or () if item.absent]:
            problems.add(f"interface {interface.name}: mac: {interface.mac} is that of interface {own[0]}")
        label = f"interface {interface.name}"
        problems.take(lambda mac=interface.mac, label=label: fleet.check_mac(mac, declaration.name, label))  # type: ignore[misc]
    problems.refuse()


def check_macs_of_xml(fleet: Fleet, name: str, before: Element | None, desired: Element) -> None:
    """Raises Refused for a MAC address that came with libvirt's own XML and is another interface's or machine's."""
    had = {(item.mac or "").lower() for item in view(before).interfaces} if before is not None else set()
    macs = [item.mac.lower() for item in view(desired).interfaces if item.mac]
    problems = Problems()
    for mac in repeated(macs):
        problems.add(f"xml: two interfaces have the MAC address {mac}; give each its own")
    for mac in sorted({*macs} - had):
        problems.take(lambda mac=mac: fleet.check_mac(mac, name, "xml: interface"))  # type: ignore[misc]
    problems.refuse()


def _check_static(fleet: Fleet, declaration: Declaration, known: DomainView | None) -> None:
    """The addresses that cloud-init is to give the guest, on the networks of libvirt that it is on."""
    seed = declaration.machine.cloud_init
    addresses = static_addresses(seed.network_data) if seed is not None else []
    if not addresses:
        return
    interfaces = declaration.machine.interfaces or ()
    macs = {interface.mac for interface in interfaces if interface.mac}
    macs |= {(interface.mac or "").lower() for interface in known.interfaces} if known is not None else set()
    problems = Problems()
    for network in sorted({*_networks(declaration, known)}):
        for address in addresses:
            problems.take(
                lambda network=network, address=address: fleet.check_address(address, network, macs, declaration.name)  # type: ignore[misc]
            )
    problems.refuse()


def _networks(declaration: Declaration, known: DomainView | None) -> Iterator[str]:
    declared = {item.name: item for item in declaration.machine.interfaces or ()}
    for interface in declared.values():
        name = attachment(interface).source.get("network") if interface.network and not interface.absent else None
        if name is not None:
            yield name
    for found in known.interfaces if known is not None else ():
        moved = declared.get(found.name)
        if found.type == "network" and found.source and (moved is None or not (moved.absent or moved.network)):
            yield found.source
