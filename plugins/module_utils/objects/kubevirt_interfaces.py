# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and networks of a VirtualMachine, from the description of a machine. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..cluster.resource import Object
from ..machine.interfaces import Interface, Port
from .kubevirt import BINDINGS, DEVICES, at, by_name


@dataclass
class InterfacePlan:
    """What the VM shall hold for its interfaces."""

    interfaces: list[Object] = field(default_factory=list)
    networks: list[Object] = field(default_factory=list)


def default_interface() -> InterfacePlan:
    """What a new VM gets for which no interface is declared: the pod network."""
    return InterfacePlan([{"name": "default", "masquerade": {}}], [{"name": "default", "pod": {}}])


def plan_interfaces(interfaces: tuple[Interface, ...], live: Object | None) -> InterfacePlan:
    """What C(interfaces) makes of the VM."""
    plan = InterfacePlan()
    known = by_name(at(live, f"{DEVICES}.interfaces"))
    for interface in interfaces:
        if interface.absent:
            plan.interfaces.append({"name": interface.name, "state": "absent"})
            plan.networks.append({"name": interface.name, "state": "absent"})
            continue
        plan.interfaces.append(_interface(interface, known.get(interface.name)))
        if interface.network is not None:
            network: Object = {"pod": {}}
            if not interface.on_pod_network:
                network = {"multus": {"networkName": interface.network}}
            plan.networks.append({"name": interface.name, **network})
    return plan


def _interface(interface: Interface, live: Object | None) -> Object:
    found: Object = {"name": interface.name}
    binding = interface.binding
    leaves_pod_network = "masquerade" in (live or {}) and interface.network is not None and not interface.on_pod_network
    if binding is None and (live is None or leaves_pod_network):
        binding = "masquerade" if interface.on_pod_network else "bridge"
    if binding in BINDINGS:
        found[binding] = {}
    elif binding is not None:
        found["binding"] = {"name": binding}
    attributes = {
        "model": interface.model,
        "macAddress": interface.mac,
        "bootOrder": interface.boot_order,
        "state": interface.link,
    }
    found.update({key: value for key, value in attributes.items() if value is not None})
    if interface.ports or (interface.ports is not None and (live or {}).get("ports")):
        found["ports"] = [_port(port) for port in interface.ports]
    return found


def _port(port: Port) -> Object:
    return {**({"name": port.name} if port.name else {}), "port": port.port, "protocol": port.protocol}
