# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VirtualMachine object that a declaration makes, given the one that is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cluster.resource import Object
from ..machine.disks import Disk, require_sources
from ..machine.firmware import Firmware
from ..machine.interfaces import Interface, require_networks
from ..machine.processor import Cpu, Memory
from ..machine.refusal import Refused
from .kubevirt import ALWAYS, DEVICES, LIST_KEYS, SPEC, at, by_name
from .kubevirt_carried import carry
from .kubevirt_disks import DiskPlan, growth, plan_cloud_init, plan_disks
from .kubevirt_interfaces import InterfacePlan, default_interface, plan_interfaces
from .kubevirt_options import Declaration

_DISK_LISTS = (f"{DEVICES}.disks", f"{SPEC}.volumes")
_INTERFACE_LISTS = (f"{DEVICES}.interfaces", f"{SPEC}.networks")


@dataclass
class Plan:
    """What to declare, and what goes with it.

    C(growth) maps claims to the size they are expanded to, C(storage_classes) names those that new disks want.
    """

    body: Object
    growth: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    storage_classes: list[str] = field(default_factory=list)


def plan(declaration: Declaration, live: Object | None, replace_lists: bool = False) -> Plan:
    """The object to declare. Raises Refused for what cannot be, given the VM that is there.

    With C(replace_lists) the disks and interfaces that a task lists are all there are to be; see also whole_lists().
    """
    body: Object = {"metadata": {"name": declaration.name, "namespace": declaration.namespace}}
    for path, value in declaration.fields.items():
        put(body, path, value)
    machine = declaration.machine
    domain = {
        "cpu": _cpu(machine.cpu),
        **_memory(machine.memory),
        "machine": {"type": machine.machine_type} if machine.machine_type else None,
    }
    for part, value in domain.items():
        if value:
            put(body, f"{SPEC}.domain.{part}", value)
    if machine.firmware is not None:
        _put_firmware(body, machine.firmware, live)
    if machine.hostname is not None:
        put(body, f"{SPEC}.hostname", machine.hostname)
    disks = _put_devices(body, declaration, live, replace_lists)
    body = merge(body, declaration.definition)
    if live is None:
        _complete(body)
    else:
        _take_turns(body, live)
        carry(body, live)
    templates = at(body, "spec.dataVolumeTemplates") or []
    present = at(live, "spec.dataVolumeTemplates") or []
    return Plan(body, growth(templates, present), disks.notes, _storage_classes(templates, present))


def _take_turns(body: Object, live: Object) -> None:
    """The run strategy takes the place of the deprecated field that says the same, and that one its."""
    for given, other in (("runStrategy", "running"), ("running", "runStrategy")):
        if at(body, f"spec.{given}") is not None and at(live, f"spec.{other}") is not None:
            put(body, f"spec.{other}", None)


def _storage_classes(templates: list[Object], present: list[Object]) -> list[str]:
    """The storage classes that new dataVolumeTemplates name."""
    known = by_name(present)
    new = [item for item in templates if at(item, "metadata.name") not in known]
    named = {at(item, f"spec.{form}.storageClassName") for item in new for form in ("storage", "pvc")}
    return sorted(name for name in named if name)


def put(body: Object, path: str, value: Any) -> None:
    """Set the value at a dotted path, making what is missing on the way."""
    *parents, last = path.split(".")
    for part in parents:
        body = body.setdefault(part, {})
    body[last] = value


def _cpu(cpu: Cpu | None) -> Object | None:
    if cpu is None:
        return None
    values = {
        "cores": cpu.cores,
        "sockets": cpu.sockets,
        "threads": cpu.threads,
        "model": cpu.model,
        "features": [{"name": name, "policy": policy} for name, policy in cpu.features] or None,
        "dedicatedCpuPlacement": cpu.dedicated,
    }
    return {key: value for key, value in values.items() if value is not None}


def _memory(memory: Memory) -> Object:
    found: Object = {}
    if memory.guest is not None:
        found["guest"] = memory.guest
    if memory.hugepages is not None:
        found["hugepages"] = {"pageSize": memory.hugepages}
    return {"memory": found}


def _put_firmware(body: Object, firmware: Firmware, live: Object | None) -> None:
    domain = f"{SPEC}.domain"
    if firmware.mode == "bios":
        put(body, f"{domain}.firmware.bootloader", {"bios": {}, "efi": None})
    if firmware.mode == "efi":
        secure = firmware.secure_boot
        if secure is None:
            # KubeVirt's own default is secure boot, which it then refuses for want of SMM.
            secure = bool(at(live, f"{domain}.firmware.bootloader.efi.secureBoot", False))
        efi: Object = {"secureBoot": secure}
        if firmware.persistent is not None:
            efi["persistent"] = firmware.persistent
        put(body, f"{domain}.firmware.bootloader", {"efi": efi, "bios": None})
        if secure:
            put(body, f"{domain}.features.smm.enabled", True)
    for name in ("uuid", "serial"):
        if getattr(firmware, name) is not None:
            put(body, f"{domain}.firmware.{name}", getattr(firmware, name))
    if firmware.tpm:
        tpm: Object = {} if firmware.persistent is None else {"persistent": firmware.persistent}
        if "enabled" in at(live, f"{DEVICES}.tpm", {}):
            # Older versions know no such field; a VM that has it needs it said.
            tpm["enabled"] = True
        put(body, f"{DEVICES}.tpm", tpm)
    elif firmware.tpm is False:
        put(body, f"{DEVICES}.tpm", {"enabled": False})


def _put_devices(body: Object, declaration: Declaration, live: Object | None, replace_lists: bool) -> DiskPlan:
    machine = declaration.machine
    suits_preference = any(at(source, "spec.preference") is not None for source in (body, declaration.definition, live))
    disks = DiskPlan()
    if machine.disks is not None:
        known = list(by_name(at(live, f"{DEVICES}.disks"))) + list(by_name(at(live, f"{SPEC}.volumes")))
        _require_sources(declaration, known)
        gone = _undeclared(declaration, live, known) if replace_lists else ()
        disks = plan_disks((*machine.disks, *gone), (declaration.namespace, declaration.name), live, suits_preference)
    if machine.cloud_init is not None:
        disk, volume = plan_cloud_init(machine.cloud_init, live, suits_preference)
        if any(item["name"] == disk["name"] for item in disks.disks):
            raise Refused(f"disk {disk['name']}: is the name of the disk that cloud_init makes; choose another")
        disks.disks.append(disk)
        disks.volumes.append(volume)
    for path, items in (
        (f"{DEVICES}.disks", disks.disks),
        (f"{SPEC}.volumes", disks.volumes),
        ("spec.dataVolumeTemplates", disks.templates),
    ):
        # The last template that goes leaves an empty list, which is not the same as none declared.
        if items or (machine.disks is not None and at(live, path)):
            put(body, path, items)
    if machine.interfaces is not None:
        known = list(by_name(at(live, f"{DEVICES}.interfaces")))
        _require_networks(declaration, known)
        unlisted = _unlisted(declaration, known) if replace_lists else ()
        _put_interfaces(body, plan_interfaces((*machine.interfaces, *unlisted), live))
        if not machine.interfaces and len(unlisted) == len(known):
            put(body, f"{DEVICES}.autoattachPodInterface", False)
    return disks


def _undeclared(declaration: Declaration, live: Object | None, known: list[str]) -> tuple[Disk, ...]:
    """The disks of a VM that a task leaves out, as such that are to go."""
    named = {disk.name for disk in declaration.machine.disks or ()} | _defined(declaration, _DISK_LISTS)
    if declaration.machine.cloud_init is not None:
        named.add(plan_cloud_init(declaration.machine.cloud_init, live, False)[0]["name"])
    return tuple(Disk(name, absent=True) for name in dict.fromkeys(known) if name not in named)


def _unlisted(declaration: Declaration, known: list[str]) -> tuple[Interface, ...]:
    """The interfaces of a VM that a task leaves out, as such that are to go."""
    named = {item.name for item in declaration.machine.interfaces or ()} | _defined(declaration, _INTERFACE_LISTS)
    return tuple(Interface(name, absent=True) for name in known if name not in named)


def _defined(declaration: Declaration, paths: tuple[str, ...]) -> set[str]:
    return {name for path in paths for name in by_name(at(declaration.definition, path))}


def whole_lists(declaration: Declaration) -> list[str]:
    """The lists that a task with C(replace_lists) replaces as they are.

    Those of typed options are not among them: what they leave out is declared as absent, so that what they list keeps
    what it has. And a seed alone is not the whole list of disks.
    """
    typed = (
        *(_DISK_LISTS if declaration.machine.disks is not None else ()),
        *(_INTERFACE_LISTS if declaration.machine.interfaces is not None else ()),
    )
    return [path for path in LIST_KEYS if path not in typed and at(declaration.definition, path) is not None]


def _require_sources(declaration: Declaration, known: list[str]) -> None:
    defined = list(by_name(at(declaration.definition, f"{SPEC}.volumes")))
    require_sources(declaration.machine.disks or (), known + defined)


def _require_networks(declaration: Declaration, known: list[str]) -> None:
    defined = list(by_name(at(declaration.definition, f"{SPEC}.networks")))
    require_networks(declaration.machine.interfaces or (), known + defined)


def _put_interfaces(body: Object, planned: InterfacePlan) -> None:
    if planned.interfaces:
        put(body, f"{DEVICES}.interfaces", planned.interfaces)
    if planned.networks:
        put(body, f"{SPEC}.networks", planned.networks)


def _complete(body: Object) -> None:
    """What a new VM cannot be without, where nothing declares it."""
    spec = body.setdefault("spec", {})
    if "runStrategy" not in spec and "running" not in spec:
        spec["runStrategy"] = ALWAYS
    devices = _below(body, DEVICES)
    template = at(body, SPEC)
    sized = at(body, "spec.instancetype") or at(template, "domain.memory.guest") or at(template, "domain.resources")
    if not sized and not at(template, "domain.memory.hugepages"):
        raise Refused("memory: is missing; set memory (e.g. 4Gi) or instancetype (e.g. u1.medium)")
    automatic = devices.get("autoattachPodInterface", True)
    if "interfaces" not in devices and "networks" not in template and automatic:
        _put_interfaces(body, default_interface())


def _below(body: Object, path: str) -> Object:
    for part in path.split("."):
        body = body.setdefault(part, {})
    return body


def merge(typed: Object, definition: Mapping[str, Any]) -> Object:
    """Typed options and C(definition) together. What both declare must be the same; Refused names what is not."""
    conflicts: list[str] = []
    merged = _merge(typed, definition, "", conflicts)
    if conflicts:
        raise Refused(
            *(f"definition.{path}: a typed option declares another value; give it once" for path in conflicts)
        )
    found: Object = merged
    return found


def _merge(typed: Any, defined: Any, path: str, conflicts: list[str]) -> Any:
    if isinstance(typed, Mapping) and isinstance(defined, Mapping):
        merged = dict(typed)
        for key, value in defined.items():
            inner = f"{path}.{key}" if path else str(key)
            merged[key] = _merge(typed[key], value, inner, conflicts) if typed.get(key) is not None else value
        return merged
    key = _NAMED.get(path)
    if key and isinstance(typed, list) and isinstance(defined, list):
        return _merge_named(typed, defined, path, conflicts)
    if typed != defined:
        conflicts.append(path)
    return typed


# dataVolumeTemplates are told apart by the name in their metadata, which the table of the resource cannot say.
_NAMED = {**LIST_KEYS, "spec.dataVolumeTemplates": "metadata.name"}


def _merge_named(typed: list[Any], defined: list[Any], path: str, conflicts: list[str]) -> list[Any]:
    for item in defined:
        if not isinstance(item, Mapping) or at(item, _NAMED[path]) is None:
            raise Refused(f"definition.{path}: every item needs its {_NAMED[path]}")
    others = {at(item, _NAMED[path]): item for item in defined}
    merged = []
    for item in typed:
        other = others.pop(at(item, _NAMED[path]), None)
        name = at(item, _NAMED[path])
        merged.append(item if other is None else _merge(item, other, f"{path}[{name}]", conflicts))
    return merged + list(others.values())
