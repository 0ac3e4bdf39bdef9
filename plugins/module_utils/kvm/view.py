# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's XML as everything here reads it: its devices by their names, and its size. Pure.

A disk or interface that this collection made carries its name as a user alias (C(ua-root)). One that something else
made is called by what it has: a disk by its target (C(vda)), an interface by its place (C(net0)).
Format: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

ALIAS_PREFIX = "ua-"
AGENT_CHANNEL = "org.qemu.guest_agent.0"

# Bytes of the units that libvirt writes memory in (https://libvirt.org/formatdomain.html#memory-allocation).
_UNITS = {
    "b": 1,
    "bytes": 1,
    "KB": 1000,
    "k": 1024,
    "KiB": 1024,
    "MB": 1000**2,
    "M": 1024**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "G": 1024**3,
    "GiB": 1024**3,
    "TB": 1000**4,
    "T": 1024**4,
    "TiB": 1024**4,
}
# How the source of a disk is named, by its type.
_DISK_SOURCES = {"file": "file", "block": "dev", "dir": "dir", "network": "name", "volume": "volume"}
# How the source of an interface is named, by its type.
_INTERFACE_SOURCES = {
    "network": "network",
    "bridge": "bridge",
    "direct": "dev",
    "vdpa": "dev",
    "vhostuser": "path",
    "ethernet": "dev",
}


@dataclass(frozen=True)
class DiskView:
    """A disk of a domain. C(source) is a path, a device, a volume's or an image's name; None for an empty drive."""

    name: str
    element: Element
    target: str
    bus: str | None
    device: str
    type: str
    source: str | None
    pool: str | None
    format: str | None
    readonly: bool
    shareable: bool
    boot_order: int | None
    serial: str | None


@dataclass(frozen=True)
class InterfaceView:
    """An interface of a domain. C(source) is the name of the network, bridge or device that it is attached to."""

    name: str
    element: Element
    type: str
    source: str | None
    portgroup: str | None
    mac: str | None
    model: str | None
    target: str | None
    link: str
    boot_order: int | None


@dataclass(frozen=True)
class DomainView:
    """A domain as its XML has it. Memory is in bytes; C(vcpus) is what the guest starts with."""

    name: str
    uuid: str | None
    title: str | None
    memory: int
    memory_current: int
    vcpus: int
    vcpus_maximum: int
    topology: Mapping[str, int]
    cpu_mode: str | None
    cpu_model: str | None
    machine_type: str | None
    architecture: str | None
    efi: bool
    tpm: bool
    disks: tuple[DiskView, ...]
    interfaces: tuple[InterfaceView, ...]

    def disk(self, name: str) -> DiskView | None:
        """The disk of that name or target."""
        return next((disk for disk in self.disks if name in (disk.name, disk.target)), None)

    def interface(self, name: str) -> InterfaceView | None:
        """The interface of that name."""
        return next((interface for interface in self.interfaces if interface.name == name), None)


def view(domain: Element) -> DomainView:
    """The view of a domain's XML."""
    # Names of one step only: paths of several cost many times as much, and an inventory reads hundreds of domains.
    cpu, vcpu, os_, devices = (domain.find(tag) for tag in ("cpu", "vcpu", "os", "devices"))
    maximum = int(vcpu.text or 1) if vcpu is not None else 1
    type_, loader = (os_.find("type"), os_.find("loader")) if os_ is not None else (None, None)
    efi = (os_ is not None and os_.get("firmware") == "efi") or (loader is not None and loader.get("type") == "pflash")
    topology = cpu.find("topology") if cpu is not None else None
    memory = bytes_of(domain.find("memory"))
    return DomainView(
        name=domain.findtext("name") or "",
        uuid=_text(domain, "uuid"),
        title=_text(domain, "title"),
        memory=memory,
        memory_current=bytes_of(domain.find("currentMemory")) or memory,
        vcpus=int(vcpu.get("current") or maximum) if vcpu is not None else maximum,
        vcpus_maximum=maximum,
        topology={
            part: int(topology.get(part) or 1) for part in ("sockets", "cores", "threads") if topology is not None
        },
        cpu_mode=cpu.get("mode") if cpu is not None else None,
        cpu_model=_text(cpu, "model") if cpu is not None else None,
        machine_type=type_.get("machine") if type_ is not None else None,
        architecture=type_.get("arch") if type_ is not None else None,
        efi=efi,
        tpm=devices is not None and devices.find("tpm") is not None,
        disks=tuple(_disks(devices)) if devices is not None else (),
        interfaces=tuple(_interfaces(devices)) if devices is not None else (),
    )


def device_name(device: Element) -> str | None:
    """The name that this collection gave to a device, None where it gave none."""
    alias = device.find("alias")
    name = alias.get("name") if alias is not None else None
    return name.removeprefix(ALIAS_PREFIX) if name and name.startswith(ALIAS_PREFIX) else None


def is_agent_connected(domain: Element) -> bool:
    """Whether something in the guest has opened the agent's channel, as the document of a running guest says."""
    devices = domain.find("devices")
    targets = [channel.find("target") for channel in devices.findall("channel")] if devices is not None else []
    return any(
        one is not None and one.get("name") == AGENT_CHANNEL and one.get("state") == "connected" for one in targets
    )


def _disks(devices: Element) -> Iterator[DiskView]:
    for element in devices.findall("disk"):
        type_ = element.get("type") or "file"
        source, target, driver = element.find("source"), element.find("target"), element.find("driver")
        place = (target.get("dev") if target is not None else None) or ""
        yield DiskView(
            name=device_name(element) or place,
            element=element,
            target=place,
            bus=target.get("bus") if target is not None else None,
            device=element.get("device") or "disk",
            type=type_,
            source=source.get(_DISK_SOURCES.get(type_, "file")) if source is not None else None,
            pool=source.get("pool") if source is not None else None,
            format=driver.get("type") if driver is not None else None,
            readonly=element.find("readonly") is not None,
            shareable=element.find("shareable") is not None,
            boot_order=_order(element),
            serial=_text(element, "serial"),
        )


def _interfaces(devices: Element) -> Iterator[InterfaceView]:
    for index, element in enumerate(devices.findall("interface")):
        type_ = element.get("type") or "network"
        source = element.find("source")
        yield InterfaceView(
            name=device_name(element) or f"net{index}",
            element=element,
            type=type_,
            source=source.get(_INTERFACE_SOURCES.get(type_, "network")) if source is not None else None,
            portgroup=source.get("portgroup") if source is not None else None,
            mac=_attribute(element, "mac", "address"),
            model=_attribute(element, "model", "type"),
            target=_attribute(element, "target", "dev"),
            link=_attribute(element, "link", "state") or "up",
            boot_order=_order(element),
        )


def bytes_of(element: Element | None, number: str | None = None) -> int:
    """The bytes of an element like C(<memory unit="MiB">512</memory>), or of the number that an attribute holds."""
    if element is None:
        return 0
    text = number if number is not None else element.text
    return int(text or 0) * _UNITS.get(element.get("unit") or "KiB", 1024)


def _text(element: Element, path: str) -> str | None:
    text = element.findtext(path)
    return text.strip() if text else None


def _attribute(element: Element, path: str, name: str) -> str | None:
    child = element.find(path)
    return child.get(name) if child is not None else None


def _order(element: Element) -> int | None:
    order = _attribute(element, "boot", "order")
    return int(order) if order else None
