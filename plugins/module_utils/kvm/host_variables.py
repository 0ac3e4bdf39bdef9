# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory tells of a domain: the host variables that a machine of a cluster has, too. Pure.

Only what is listed in C(docs/inventory.md) is copied. Passwords of consoles and the seed's content are never among it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from sys import intern
from typing import Any
from xml.etree.ElementTree import Element

from ..inventory.guests import leads_to_guest, os_family, way_in
from ..machine.quantity import canonical
from .kept import Kept, kept
from .view import DomainView, InterfaceView, is_agent_connected, view

AGENT, LEASE, ARP = "agent", "lease", "arp"
SOURCES = (AGENT, LEASE, ARP)

_LIBOSINFO = "{http://libosinfo.org/xmlns/libvirt/domain/1.0}libosinfo"
_OS_ANNOTATION = "vm.kubevirt.io/os"
_GUEST_OS = ("name", "version", "kernel")


@dataclass(frozen=True)
class Reach:
    """What the user says about reaching guests, under the names of the inventory's options."""

    address: Sequence[str] = (AGENT, LEASE)
    networks: Sequence[str] = ()
    address_family: str = "any"
    windows_connection: str = "winrm"


@dataclass
class Found:
    """A domain as its host tells of it; of its document, which is large, only the facts stay.

    C(sizes) are those of its disks in bytes, by their targets. C(report) is what its agent told (see C(agent.report)),
    C(addresses) are those of its interfaces by their MACs, for each of the sources that were asked.
    """

    document: InitVar[Element]
    node: str
    uri: str
    status: str
    autostart: bool = False
    persistent: bool = True
    sizes: Mapping[str, int] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    addresses: dict[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    seen: DomainView = field(init=False)
    kept: Kept = field(init=False)
    agent_connected: bool = field(init=False)
    os_noted: str | None = field(init=False)

    def __post_init__(self, document: Element) -> None:
        self.seen, self.kept = view(document), kept(document)
        self.agent_connected = is_agent_connected(document)
        self.os_noted = _os_noted(document)

    @property
    def is_running(self) -> bool:
        return self.status == "Running"

    def take_report(self, report: Mapping[str, Any]) -> None:
        """Keep what the agent told, and its addresses by their MACs: those of a bond count for its first member."""
        self.report = report
        found: dict[str, list[str]] = {}
        for interface in report["interfaces"]:
            found.setdefault(interface["mac"] or "", []).extend(ip["address"] for ip in interface["ips"])
        self.addresses[AGENT] = found


def variables(found: Found, reach: Reach) -> dict[str, Any]:
    """The host variables of a domain, with those that say how to connect."""
    seen, values = found.seen, found.kept
    told: dict[str, Any] = {
        "virtstack_kind": "Domain",
        "virtstack_name": seen.name,
        "virtstack_namespace": None,
        "virtstack_uid": seen.uuid,
        "virtstack_created": None,
        "virtstack_labels": dict(values.labels),
        "virtstack_annotations": dict(values.annotations),
        "virtstack_status": found.status,
        "virtstack_ready": found.is_running,
        "virtstack_conditions": {},
        "virtstack_run_strategy": values.run_strategy,
        "virtstack_node": intern(found.node),
        "virtstack_instancetype": None,
        "virtstack_preference": None,
        "virtstack_vcpus": seen.vcpus,
        "virtstack_cpu": {**seen.topology, **({"model": seen.cpu_model or seen.cpu_mode} if seen.cpu_mode else {})},
        "virtstack_memory": _quantity(seen.memory_current),
        "virtstack_disks": _disks(found),
        "virtstack_networks": _networks(found, reach),
        "virtstack_os": _os(found),
        "virtstack_guest_os": {key: value for key in _GUEST_OS if (value := found.report.get("os", {}).get(key))},
        "virtstack_agent_connected": found.agent_connected,
        "virtstack_uri": intern(found.uri),
        "virtstack_title": seen.title,
        "virtstack_autostart": found.autostart,
        "virtstack_persistent": found.persistent,
        "virtstack_architecture": seen.architecture,
        "virtstack_machine_type": seen.machine_type,
    }
    told |= way_in(told, reach.windows_connection)[1]
    address = address_of(found, reach)
    if address is not None:
        told["ansible_host"] = address
    return told


def address_of(found: Found, reach: Reach) -> str | None:
    """The first address that leads to the guest, of the wanted sources, networks and family, in this order."""
    for source in reach.address:
        known = found.addresses.get(source, {})
        for interface in _wanted(found.seen.interfaces, reach.networks):
            for address in known.get(interface.mac or "", ()):
                if leads_to_guest(address, reach.address_family):
                    return address
    return None


def _wanted(interfaces: Sequence[InterfaceView], networks: Sequence[str]) -> list[InterfaceView]:
    """Those on the named networks, in the order of the names; a name is the interface's own, or its network's."""
    if not networks:
        return [*interfaces]
    return [one for name in networks for one in interfaces if name in (one.name, one.source)]


def _disks(found: Found) -> dict[str, dict[str, Any]]:
    disks: dict[str, dict[str, Any]] = {}
    for disk in found.seen.disks:
        size = found.sizes.get(disk.target)
        facts = {
            "volume": intern(disk.type),
            "pool": disk.pool,
            "source": disk.source,
            "size": _quantity(size) if size else None,
            "device": intern(disk.device),
            "bus": disk.bus,
            "boot_order": disk.boot_order,
        }
        disks[disk.name] = {key: value for key, value in facts.items() if value is not None}
    return disks


def _networks(found: Found, reach: Reach) -> dict[str, dict[str, Any]]:
    """The interfaces by name; one that the guest made itself (a bridge, say) has its name in the guest."""
    networks: dict[str, dict[str, Any]] = {}
    told = [one for one in found.report.get("interfaces", ()) if one["name"] != "lo"]
    devices = {one["mac"]: one["name"] for one in reversed(told)}
    sources = [*reach.address, *(source for source in SOURCES if source not in reach.address)]
    for interface in found.seen.interfaces:
        mac = interface.mac or ""
        ips = next((ips for source in sources if (ips := found.addresses.get(source, {}).get(mac))), None)
        facts = {
            "network": interface.source,
            "mac": interface.mac,
            "ips": list(ips) if ips else None,
            "device": devices.get(mac),
        }
        networks[interface.name] = {key: value for key, value in facts.items() if value is not None}
    ours = {interface.mac for interface in found.seen.interfaces}
    for one in told:
        if one["mac"] not in ours and one["name"] not in networks:
            facts = {"mac": one["mac"], "device": one["name"], "ips": [ip["address"] for ip in one["ips"]] or None}
            networks[one["name"]] = {key: value for key, value in facts.items() if value is not None}
    return networks


def _os(found: Found) -> str | None:
    """The family of the guest's system: by its agent, else by what virt-install or an annotation says of it."""
    told = found.report.get("os", {}).get("id") or found.kept.annotations.get(_OS_ANNOTATION) or found.os_noted
    return os_family(str(told)) if told else None


def _os_noted(document: Element) -> str | None:
    """The system that virt-install noted."""
    metadata = document.find("metadata")
    noted = metadata.find(_LIBOSINFO) if metadata is not None else None
    for element in noted if noted is not None else ():
        # http://debian.org/debian/12, http://microsoft.com/win/2k22
        parts = (element.get("id") or "").split("/")
        if len(parts) > 3:
            return parts[3]
    return None


@lru_cache(maxsize=1024)
def _quantity(size: int) -> str:
    """A number of bytes as Kubernetes writes it: C(4Gi)."""
    return intern(canonical(f"{size // 1024}Ki", "size") if size and size % 1024 == 0 else str(size))
