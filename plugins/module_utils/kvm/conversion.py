# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between the description of a machine and libvirt's XML of it, both ways, without a host. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element

from ..machine.disks import Disk
from ..machine.interfaces import BRIDGE_PREFIX, MACVTAP_PREFIX, POD_NETWORK, Interface
from ..machine.quantity import canonical
from ..machine.refusal import Refused
from .domain_disks import SEED, Place, check_boot_order, merge_disks
from .domain_interfaces import check_interfaces, merge_interfaces
from .domain_merge import boots_securely, merge
from .domain_new import in_order, skeleton
from .domain_overlay import overlay
from .kept import kept
from .naming import file_part
from .platform import Platform
from .view import DiskView, InterfaceView, bytes_of, view
from .vm_options import ARCHITECTURES, Declaration
from .vm_seed import DISK as SEED_DISK
from .vm_volumes import DEFAULT_POOL
from .xml import parse, remove, written

_MACHINES = {"x86_64": "q35", "aarch64": "virt", "s390x": "s390-ccw-virtio"}
# What a new domain is made for where no host is asked: any one that has its architecture.
_CAPABILITIES = """
<domainCapabilities>
  <cpu><mode name='host-model' supported='yes'/></cpu>
</domainCapabilities>"""
_CPU_MODES = ("host-model", "host-passthrough", "maximum")


def to_xml(declaration: Declaration, type_: str = "kvm") -> str:
    """The domain that a declaration describes, for a host with C(type_) (kvm or qemu). Raises Refused.

    Volumes that C(kvm_vm) would make stand there by pool and name; nothing is made.
    """
    machine = declaration.machine
    arch = declaration.architecture or "x86_64"
    platform = Platform(type_, arch, machine.machine_type or _MACHINES[arch], parse(_CAPABILITIES))
    if machine.interfaces is None:
        machine = replace(machine, interfaces=(Interface("default", network=POD_NETWORK),))
    domain = skeleton(replace(declaration, machine=machine), platform)
    check_interfaces(machine.interfaces or ())
    merge(domain, replace(declaration, architecture=None, machine=replace(machine, machine_type=None)), is_new=True)
    disks = list(machine.disks or ())
    if machine.cloud_init is not None or machine.hostname is not None:
        disks.append(SEED_DISK)
    places = {disk.name: _place(declaration.name, disk) for disk in disks if not disk.absent}
    merge_disks(domain, disks, places, replace=False, keeps_seed=True)
    merge_interfaces(domain, machine.interfaces, replace=False)
    if declaration.xml is not None:
        overlay(domain, declaration.xml)
    if domain.find("memory") is None:
        raise Refused("memory: is missing; write e.g. 2Gi")
    check_boot_order(domain)
    return written(in_order(domain))


def _place(machine: str, disk: Disk) -> Place:
    if disk.name == SEED:
        return Place("volume", {"pool": DEFAULT_POOL, "volume": f"{file_part(machine)}-{SEED}.iso"})
    if disk.source is None:
        if disk.device == "cdrom":
            return Place("file")
        raise Refused(f"disk {disk.name}: has no source; add one of blank, boot_source, http, volume, path")
    if disk.source.option == "path":
        path = disk.origin["path"]
        kind, attribute = ("block", "dev") if path.startswith("/dev/") else ("file", "file")
        by_name = "qcow2" if path.endswith(".qcow2") else "raw"
        return Place(kind, {attribute: path}, disk.format or ("raw" if kind == "block" else by_name))
    if disk.source.option == "volume":
        name = disk.origin["name"]
        format_ = disk.format or ("qcow2" if name.endswith(".qcow2") else "raw")
        return Place("volume", {"pool": disk.origin["pool"], "volume": name}, format_)
    format_ = disk.format or ("raw" if disk.shareable else "qcow2")
    return Place("volume", {"pool": disk.pool or DEFAULT_POOL, "volume": f"{file_part(machine)}-{disk.name}"}, format_)


def from_xml(text: str, *, rest: bool = False) -> dict[str, Any]:
    """The options of C(kvm_vm) that describe a domain. Raises Refused for what is no domain.

    What no option covers is left out; with C(rest) it is there as C(xml).
    """
    domain = parse(text, "domain")
    if domain.tag != "domain":
        raise Refused(f"domain: is a <{domain.tag}>, not a <domain>")
    found, values = view(domain), kept(domain)
    options: dict[str, Any] = {
        "name": found.name,
        "title": found.title,
        "description": (domain.findtext("description") or "").strip() or None,
        "cpu": _cpu(domain),
        "memory": canonical(f"{found.memory // 1024}Ki", "memory") if found.memory else None,
        "hugepages": _hugepages(domain),
        "firmware": _firmware(domain, found.uuid),
        "machine_type": found.machine_type,
        "architecture": next((ours for ours, name in ARCHITECTURES.items() if name == found.architecture), None),
        "hostname": values.hostname,
        "disks": [_disk(disk) for disk in found.disks if disk.name != SEED],
        "interfaces": [_interface(interface) for interface in found.interfaces],
        "labels": dict(values.labels) or None,
        "annotations": dict(values.annotations) or None,
        "run_strategy": values.run_strategy,
        "termination_grace_period": values.grace_period,
    }
    if rest:
        options["xml"] = _rest(domain)
    return {name: value for name, value in options.items() if value is not None}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, False, [], {})}


def _cpu(domain: Element) -> dict[str, Any] | None:
    found, cpu = view(domain), domain.find("cpu")
    parts: dict[str, Any] = dict(found.topology) or {"sockets": found.vcpus, "cores": 1, "threads": 1}
    if found.vcpus < found.vcpus_maximum and found.topology:
        # There is room for more; the number that runs is what is declared.
        parts["sockets"] = max(1, found.vcpus // (found.topology["cores"] * found.topology["threads"]))
    if cpu is not None:
        mode = cpu.get("mode") or "custom"
        parts["model"] = mode if mode in _CPU_MODES else (cpu.findtext("model") or "").strip() or None
        parts["features"] = [
            {"name": item.get("name"), "policy": item.get("policy") or "require"} for item in cpu.findall("feature")
        ]
    return _given(parts)


def _hugepages(domain: Element) -> str | None:
    page = domain.find("memoryBacking/hugepages/page")
    return canonical(f"{bytes_of(page, page.get('size')) // 1024}Ki", "hugepages") if page is not None else None


def _firmware(domain: Element, uuid: str | None) -> dict[str, Any] | None:
    found, os = view(domain), domain.find("os")
    secure = os is not None and boots_securely(os)
    return _given(
        {
            "mode": "efi" if found.efi else None,
            "secure_boot": secure,
            "tpm": found.tpm,
            "uuid": uuid,
            "serial": domain.findtext("sysinfo[@type='smbios']/system/entry[@name='serial']"),
        }
    )


def _disk(disk: DiskView) -> dict[str, Any]:
    driver = disk.element.find("driver")
    attributes = dict(driver.attrib) if driver is not None else {}
    source: dict[str, Any] = {}
    if disk.type == "volume":
        source = {"volume": {"pool": disk.pool, "name": disk.source}}
    elif disk.type in ("file", "block") and disk.source:
        source = {"path": disk.source}
    return _given(
        {
            "name": disk.name,
            **source,
            "format": disk.format if source and disk.format in ("raw", "qcow2") and disk.device == "disk" else None,
            "device": disk.device if disk.device in ("disk", "cdrom", "lun") else None,
            "bus": disk.bus,
            "boot_order": disk.boot_order,
            "readonly": disk.readonly and disk.device != "cdrom",
            "serial": disk.serial,
            "shareable": disk.shareable,
            "cache": attributes.get("cache"),
            "io": attributes.get("io"),
            "error_policy": attributes.get("error_policy"),
            "dedicated_io_thread": "iothread" in attributes,
        }
    )


def _interface(interface: InterfaceView) -> dict[str, Any]:
    prefix = {"bridge": BRIDGE_PREFIX, "direct": MACVTAP_PREFIX}.get(interface.type, "")
    return _given(
        {
            "name": interface.name,
            "network": f"{prefix}{interface.source}" if interface.source else None,
            "portgroup": interface.portgroup,
            "model": interface.model,
            "mac": interface.mac,
            "boot_order": interface.boot_order,
            "link": "down" if interface.link == "down" else None,
        }
    )


_COVERED = (
    "name",
    "uuid",
    "title",
    "description",
    "metadata",
    "memory",
    "currentMemory",
    "vcpu",
    "cpu",
    "iothreads",
    "devices/disk",
    "devices/interface",
    "devices/tpm",
    "devices/emulator",
    "os/type",
    "os/firmware",
    "os/loader",
    "os/nvram",
    "memoryBacking/hugepages",
)


def _rest(domain: Element) -> str:
    """The domain without what options say, and without addresses, which libvirt gives."""
    left = deepcopy(domain)
    for path in _COVERED:
        remove(left, path)
    for device in left.findall("devices/*"):
        remove(device, "address")
    firmware = left.find("os")
    if firmware is not None:
        firmware.attrib.pop("firmware", None)
    return written(left)
