# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is and what it has left: asked of its libvirt, and of /dev/kvm where the task runs.

https://libvirt.org/formatcaps.html, https://libvirt.org/formatdomaincaps.html
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .connection import Host
from .errors import KvmError, asking
from .library import libvirt
from .network_xml import mode_of
from .xml import parse

Facts = dict[str, Any]
_KVM = "/dev/kvm"
# ioctl KVM_GET_API_VERSION and what it has answered since Linux 2.6.22.
_GET_API_VERSION, _API_VERSION = 0xAE00, 12


def tell_host(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_host_info)."""
    params = task.params
    try:
        found = _facts(host, params)
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused
    if params["devices"]:
        found["devices"] = _devices(host)
    return {"changed": False, "host": found}


def _facts(host: Host, params: Mapping[str, Any]) -> Facts:
    with asking("ask the host for its capabilities"):
        connection = host.connection
        capabilities = parse(connection.getCapabilities())
        version, kind = connection.getVersion(), connection.getType()
        domains = connection.listAllDomains(0)
    own = capabilities.findtext("host/cpu/arch") or ""
    architecture = params["architecture"] or own
    guest = _guest(capabilities, architecture)
    types = sorted({str(domain.get("type")) for domain in guest.iter("domain")})
    accelerated = _domain_capabilities(host, architecture, params["machine"], "kvm") if "kvm" in types else None
    offered = accelerated or _domain_capabilities(host, architecture, params["machine"], None)
    return {
        "name": host.name,
        "uri": host.uri,
        "uuid": capabilities.findtext("host/uuid"),
        "architecture": own,
        "versions": {"libvirt": dotted(host.version), kind.lower(): dotted(version)},
        "cpu": _cpu(capabilities),
        "memory": _memory(host),
        "numa": _cells(host, capabilities),
        "acceleration": {"types": types, "kvm": accelerated is not None, "device": asked_device()},
        "guests": _guests(host, domains),
        "machines": _machines(guest),
        "offered": _offered(offered),
        "pools": _pools(host),
        "networks": _networks(host),
    }


def dotted(version: int) -> str:
    """A version of libvirt's counting, as people write it."""
    return f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}"


def asked_device() -> Facts:
    """Whether /dev/kvm, where the task runs, is there, can be opened, and answers as KVM does.

    That it answers is no proof that guests run: nothing but a guest proves that.
    """
    told: Facts = {"path": _KVM, "exists": os.path.exists(_KVM), "opens": False, "answers": False, "error": None}
    try:
        descriptor = os.open(_KVM, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        told["error"] = None if error.errno == errno.ENOENT else error.strerror
        return told
    try:
        told["opens"] = True
        told["answers"] = fcntl.ioctl(descriptor, _GET_API_VERSION, 0) == _API_VERSION
    except OSError as error:
        told["error"] = error.strerror
    finally:
        os.close(descriptor)
    return told


def _guest(capabilities: Element, architecture: str) -> Element:
    guests = {str(guest.find("arch").get("name")): guest for guest in capabilities.findall("guest")}  # type: ignore[union-attr]
    if architecture not in guests:
        raise Refused(
            f"architecture: guests of {architecture} cannot run here; those of {', '.join(sorted(guests))} can"
        )
    return guests[architecture]


def _domain_capabilities(host: Host, architecture: str, machine: str | None, type_: str | None) -> Element | None:
    """What guests of a type can have; None where the host does not offer the type."""
    try:
        with asking(
            f"ask for the capabilities of {type_ or 'any'} guests of {architecture} on {machine or 'any'} machine"
        ):
            return parse(host.connection.getDomainCapabilities(None, architecture, machine, type_, 0))
    except KvmError as error:
        if error.code == libvirt.VIR_ERR_NO_SUPPORT or type_ == "kvm":
            return None
        raise


def _cpu(capabilities: Element) -> Facts:
    cpu = capabilities.find("host/cpu")
    topology = cpu.find("topology") if cpu is not None else None
    counted = (
        {part: int(topology.get(part) or 1) for part in ("sockets", "dies", "cores", "threads")}
        if topology is not None
        else {}
    )
    return {
        "model": capabilities.findtext("host/cpu/model"),
        "vendor": capabilities.findtext("host/cpu/vendor"),
        "count": len(capabilities.findall("host/topology/cells/cell/cpus/cpu")),
        "topology": counted,
        "features": sorted(str(feature.get("name")) for feature in capabilities.findall("host/cpu/feature")),
    }


def _memory(host: Host) -> Facts:
    """In bytes. What is free is what could be given to guests: unused, or used by caches and buffers alone."""
    with asking("ask the host for its memory"):
        total = int(host.connection.getInfo()[1]) * 1024**2
        try:
            stats = host.connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
        except libvirt.libvirtError:
            return {"total": total, "unused": None, "free": None}
    kib = {name: int(value) * 1024 for name, value in stats.items()}
    free = kib.get("free", 0) + kib.get("cached", 0) + kib.get("buffers", 0)
    return {"total": kib.get("total", total), "unused": kib.get("free"), "free": free}


def _cells(host: Host, capabilities: Element) -> list[Facts]:
    cells = capabilities.findall("host/topology/cells/cell")
    try:
        unused = host.connection.getCellsFreeMemory(0, len(cells)) if cells else []
    except libvirt.libvirtError:
        unused = []
    return [
        {
            "id": int(cell.get("id") or 0),
            "memory": int(cell.findtext("memory") or 0) * 1024,
            "unused": int(unused[index]) if index < len(unused) else None,
            "cpus": [int(cpu.get("id") or 0) for cpu in cell.findall("cpus/cpu")],
            "hugepages": {
                str(int(page.get("size") or 0) * 1024): int(page.text or 0) for page in cell.findall("pages")
            },
        }
        for index, cell in enumerate(cells)
    ]


def _guests(host: Host, domains: Sequence[libvirt.virDomain]) -> Facts:
    """How much of the host its guests may take; those that vanish meanwhile are left out."""

    def info(domain: libvirt.virDomain) -> tuple[bool, int, int]:
        try:
            _state, most, _now, vcpus, _time = domain.info()
            return bool(domain.isActive()), int(most) * 1024, int(vcpus)
        except libvirt.libvirtError:
            return False, 0, 0

    found = host.in_parallel(info, domains)
    return {
        "defined": len(domains),
        "running": sum(active for active, _memory, _vcpus in found),
        "memory": sum(memory for active, memory, _vcpus in found if active),
        "vcpus": sum(vcpus for active, _memory, vcpus in found if active),
    }


def _machines(guest: Element) -> list[Facts]:
    """The machine types, each once; C(alias) is the name that always means the newest."""
    found: dict[str, Facts] = {}
    for machine in guest.findall("arch/machine"):
        name = machine.get("canonical") or machine.text or ""
        entry = found.setdefault(name, {"name": name, "alias": None, "vcpus": int(machine.get("maxCpus") or 0) or None})
        if machine.get("canonical"):
            entry["alias"] = machine.text
    return [found[name] for name in sorted(found)]


def _offered(capabilities: Element | None) -> Facts | None:
    """What the guests of the best type can have; None where the driver does not say."""
    if capabilities is None:
        return None
    models = capabilities.findall("cpu/mode[@name='custom']/model")
    loaders = [value.text for value in capabilities.findall("os/loader/value")]
    return {
        "type": capabilities.findtext("domain"),
        "machine": capabilities.findtext("machine"),
        "vcpus": _count(capabilities.find("vcpu")),
        "cpu_modes": [str(mode.get("name")) for mode in capabilities.findall("cpu/mode") if _is_yes(mode)],
        "cpu_models": sorted(str(model.text) for model in models if model.get("usable") == "yes"),
        "cpu_models_unusable": sorted(str(model.text) for model in models if model.get("usable") != "yes"),
        "host_model": capabilities.findtext("cpu/mode[@name='host-model']/model"),
        "firmwares": ["bios", *_values(capabilities.find("os"), "firmware")],
        "secure_boot": "yes" in _values(capabilities.find("os/loader"), "secure"),
        "loaders": [loader for loader in loaders if loader],
        "disk_buses": _values(capabilities.find("devices/disk"), "bus"),
        "video_models": _values(capabilities.find("devices/video"), "modelType"),
        "tpm_models": _values(capabilities.find("devices/tpm"), "model"),
        "tpm_backends": _values(capabilities.find("devices/tpm"), "backendModel"),
    }


def _count(vcpu: Element | None) -> int | None:
    return int(vcpu.get("max") or 0) or None if vcpu is not None else None


def _is_yes(element: Element) -> bool:
    return element.get("supported") == "yes"


def _values(element: Element | None, name: str) -> list[str]:
    if element is None or not _is_yes(element):
        return []
    return [str(value.text) for value in element.findall(f"enum[@name='{name}']/value")]


def _pools(host: Host) -> list[Facts]:
    with asking("list the pools of the host"):
        pools = host.connection.listAllStoragePools(0)

    def told(pool: libvirt.virStoragePool) -> Facts | None:
        try:
            document = parse(pool.XMLDesc(0))
            active = bool(pool.isActive())
            sizes = [int(document.findtext(name) or 0) if active else None for name in _SIZES]
            return {
                "name": pool.name(),
                "type": document.get("type"),
                "active": active,
                "autostart": bool(pool.autostart()),
                "target": document.findtext("target/path"),
                **dict(zip(_SIZES, sizes, strict=True)),
            }
        except libvirt.libvirtError:
            return None

    return _by_name(host.in_parallel(told, pools))


_SIZES = ("capacity", "allocation", "available")


def _networks(host: Host) -> list[Facts]:
    with asking("list the networks of the host"):
        networks = host.connection.listAllNetworks(0)

    def told(network: libvirt.virNetwork) -> Facts | None:
        try:
            document = parse(network.XMLDesc(0))
            bridge = document.find("bridge")
            return {
                "name": network.name(),
                "mode": mode_of(document),
                "bridge": bridge.get("name") if bridge is not None else None,
                "active": bool(network.isActive()),
                "autostart": bool(network.autostart()),
            }
        except libvirt.libvirtError:
            return None

    return _by_name(host.in_parallel(told, networks))


def _by_name(found: Sequence[Facts | None]) -> list[Facts]:
    """What is there, by name; what vanished while it was asked is None."""
    return sorted((one for one in found if one is not None), key=lambda one: str(one["name"]))


def _devices(host: Host) -> list[Facts]:
    with asking("list the devices of the host"):
        devices = host.connection.listAllDevices(0)

    def told(device: libvirt.virNodeDevice) -> Facts | None:
        try:
            document = parse(device.XMLDesc(0))
        except libvirt.libvirtError:
            return None
        capability = document.find("capability")
        return {
            "name": document.findtext("name"),
            "parent": document.findtext("parent"),
            "path": document.findtext("path"),
            "driver": document.findtext("driver/name"),
            "type": capability.get("type") if capability is not None else None,
            "vendor": document.findtext("capability/vendor"),
            "product": document.findtext("capability/product"),
            "address": _address(capability) if capability is not None else None,
            "iommu_group": _iommu_group(document),
        }

    return _by_name(host.in_parallel(told, devices))


def _address(capability: Element) -> str | None:
    """The PCI address, as lspci prints it."""
    if capability.get("type") != "pci":
        return None
    numbers = [int(capability.findtext(part) or 0) for part in ("domain", "bus", "slot", "function")]
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers)


def _iommu_group(document: Element) -> int | None:
    group = document.find("capability/iommuGroup")
    return int(group.get("number") or 0) if group is not None else None
