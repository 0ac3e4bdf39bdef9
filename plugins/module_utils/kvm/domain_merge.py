# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is declared of a machine, written into its domain; nothing is touched that already means it. Pure.

The domain is a copy of what libvirt has, or the skeleton of a new one. Disks and interfaces have files of their own.
"""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element, SubElement

from ..machine.firmware import Firmware
from ..machine.processor import Cpu
from ..machine.refusal import Problems, Refused
from .domain_new import memory_bytes
from .kept import Kept, keep, kept
from .platform import is_same_family, is_same_machine
from .view import bytes_of
from .vm_options import RERUN_ON_FAILURE, Declaration
from .xml import ensure, make, remove

CPU_MODES = ("host-model", "host-passthrough", "maximum")
_TOPOLOGY = ("sockets", "cores", "threads")


def merge(domain: Element, declaration: Declaration, *, is_new: bool) -> None:
    """Write all but disks and interfaces into the domain. Raises Refused for what cannot follow what is there."""
    problems = Problems()
    machine = declaration.machine
    if machine.memory.guest is not None:
        _memory(domain, memory_bytes(machine.memory.guest))
    if machine.memory.hugepages is not None:
        _hugepages(domain, memory_bytes(machine.memory.hugepages))
    if machine.cpu is not None:
        _cpu(domain, machine.cpu)
    if machine.machine_type is not None:
        problems.take(lambda: _machine_type(domain, machine.machine_type or ""))
    if machine.firmware is not None:
        problems.take(lambda: _firmware(domain, machine.firmware or Firmware(), is_new))
    if declaration.architecture is not None:
        problems.take(lambda: _architecture(domain, declaration.architecture or ""))
    problems.refuse()
    for tag, text in (("title", declaration.title), ("description", declaration.description)):
        if text is not None:
            _text(domain, tag, text)
    if declaration.run_strategy is not None:
        _on_crash(domain, declaration.run_strategy)
    keep(domain, _kept(kept(domain), declaration))


def _kept(before: Kept, declaration: Declaration) -> Kept:
    settings = dict(before.settings)
    for name, value in (
        ("run_strategy", declaration.run_strategy),
        ("termination_grace_period", declaration.grace_period),
        ("hostname", declaration.machine.hostname),
    ):
        if value is not None:
            settings[name] = str(value)
    return replace(
        before,
        labels=before.labels if declaration.labels is None else declaration.labels,
        annotations=before.annotations if declaration.annotations is None else declaration.annotations,
        settings=settings,
    )


def _text(domain: Element, tag: str, text: str) -> None:
    if not text:
        remove(domain, tag)
    elif (domain.findtext(tag) or "").strip() != text.strip():
        ensure(domain, tag).text = text


def _memory(domain: Element, size: int) -> None:
    for tag in ("memory", "currentMemory"):
        found = domain.find(tag)
        if found is None or bytes_of(found) != size:
            found = ensure(domain, tag)
            found.attrib["unit"] = "KiB"
            found.text = str(size // 1024)


def _hugepages(domain: Element, size: int) -> None:
    pages = domain.findall("memoryBacking/hugepages/page")
    if len(pages) == 1 and bytes_of(pages[0], pages[0].get("size")) == size:
        return
    huge = ensure(domain, "memoryBacking/hugepages")
    for page in list(huge):
        huge.remove(page)
    huge.append(make("page", size=str(size // 1024), unit="KiB"))


def _cpu(domain: Element, cpu: Cpu) -> None:
    if (cpu.sockets, cpu.cores, cpu.threads) != (None, None, None):
        _vcpus(domain, cpu)
    if cpu.model is not None:
        _model(domain, cpu.model)
    for name, policy in cpu.features:
        element = ensure(domain, "cpu")
        feature = next((item for item in element.findall("feature") if item.get("name") == name), None)
        if feature is None:
            feature = SubElement(element, "feature", name=name)
        feature.set("policy", policy)
        if element.get("mode") is None:
            # A CPU without a model would have nothing to add features to.
            element.set("mode", "host-model")


def _vcpus(domain: Element, cpu: Cpu) -> None:
    """Their number, and how they are arranged. Where there is room for more than run, the room is kept."""
    vcpu = ensure(domain, "vcpu")
    room, running = int(vcpu.text or 1), int(vcpu.get("current") or vcpu.text or 1)
    topology = domain.find("cpu/topology")
    parts = {part: int((topology.get(part) if topology is not None else None) or 1) for part in _TOPOLOGY}
    if topology is None and running > 1:
        # What libvirt makes of a number alone.
        parts["sockets"] = running
    elif topology is not None and running < room:
        parts["sockets"] = max(1, running // (parts["cores"] * parts["threads"]))
    declared = {part: getattr(cpu, part) for part in _TOPOLOGY if getattr(cpu, part) is not None}
    wanted = {**parts, **declared}
    count = wanted["sockets"] * wanted["cores"] * wanted["threads"]
    arranged = all(topology is not None and topology.get(part) == str(wanted[part]) for part in ("cores", "threads"))
    if running < room and count <= room and (arranged or topology is None):
        vcpu.set("current", str(count))
        return
    if count == running == room and wanted == parts:
        return
    vcpu.text = str(count)
    vcpu.attrib.pop("current", None)
    place = ensure(domain, "cpu/topology")
    for part in _TOPOLOGY:
        place.set(part, str(wanted[part]))
    for part in ("dies", "clusters"):
        if place.get(part) not in (None, "1"):
            del place.attrib[part]


def _model(domain: Element, model: str) -> None:
    cpu = ensure(domain, "cpu")
    if model in CPU_MODES:
        if cpu.get("mode") != model:
            _forget_model(cpu)
            cpu.set("mode", model)
        return
    if cpu.get("mode") in (None, "custom") and (cpu.findtext("model") or "").strip() == model:
        return
    _forget_model(cpu)
    cpu.set("mode", "custom")
    cpu.set("match", "exact")
    cpu.insert(0, make("model", model, fallback="forbid"))


def _forget_model(cpu: Element) -> None:
    """What belongs to the model before; how CPUs are arranged, and features that are demanded, stay."""
    for name in ("match", "check", "migratable", "deprecated_features"):
        cpu.attrib.pop(name, None)
    for tag in ("model", "vendor"):
        remove(cpu, tag)


def _machine_type(domain: Element, wanted: str) -> None:
    type_ = ensure(domain, "os/type")
    have = type_.get("machine") or ""
    if is_same_machine(have, wanted):
        return
    if not is_same_family(have, wanted):
        raise Refused(
            f"machine_type: the machine is a {have}; another chipset is another machine to its guest. Delete it, which"
            f" keeps its disks, and declare it anew as {wanted}"
        )
    type_.set("machine", wanted)


def _architecture(domain: Element, wanted: str) -> None:
    have = ensure(domain, "os/type").get("arch")
    if have != wanted:
        raise Refused(f"architecture: the machine is a {have}; delete it and declare it anew as {wanted}")


def _firmware(domain: Element, firmware: Firmware, is_new: bool) -> None:
    os = ensure(domain, "os")
    loader = os.find("loader")
    is_efi = os.get("firmware") == "efi" or (loader is not None and loader.get("type") == "pflash")
    if firmware.mode == "bios" and is_efi:
        os.attrib.pop("firmware", None)
        for tag in ("loader", "nvram", "firmware"):
            remove(os, tag)
    if firmware.mode == "efi":
        if not is_efi:
            os.set("firmware", "efi")
        if not is_efi or (firmware.secure_boot is not None and firmware.secure_boot != boots_securely(os)):
            _secure_boot(domain, bool(firmware.secure_boot))
    if firmware.tpm is not None:
        _tpm(domain, firmware.tpm)
    if firmware.uuid is not None:
        _uuid(domain, firmware.uuid, is_new)
    if firmware.serial is not None:
        _serial(domain, firmware.serial)


def boots_securely(os: Element) -> bool:
    """Whether EFI boots only what is signed."""
    feature = os.find("firmware/feature[@name='secure-boot']")
    if feature is not None:
        return feature.get("enabled") == "yes"
    loader = os.find("loader")
    return loader is not None and loader.get("secure") == "yes"


def _secure_boot(domain: Element, wanted: bool) -> None:
    """Say which of libvirt's EFI firmwares is meant: left to itself it takes the one that boots securely."""
    os = ensure(domain, "os")
    os.set("firmware", "efi")
    for tag in ("loader", "nvram", "firmware"):
        remove(os, tag)
    features = SubElement(os, "firmware")
    for name in ("enrolled-keys", "secure-boot"):
        features.append(make("feature", enabled="yes" if wanted else "no", name=name))
    if not wanted:
        smm = domain.find("features/smm")
        if smm is not None:
            ensure(domain, "features").remove(smm)


def _tpm(domain: Element, wanted: bool) -> None:
    found = domain.find("devices/tpm")
    if not wanted:
        remove(domain, "devices/tpm")
    elif found is None:
        arch = ensure(domain, "os/type").get("arch")
        tpm = make("tpm", model="tpm-crb" if arch == "x86_64" else "tpm-tis")
        tpm.append(make("backend", type="emulator", version="2.0"))
        ensure(domain, "devices").append(tpm)


def _uuid(domain: Element, wanted: str, is_new: bool) -> None:
    have = (domain.findtext("uuid") or "").strip()
    if have == wanted:
        return
    if not is_new:
        raise Refused(
            f"firmware.uuid: the machine's UUID is {have}, which libvirt never changes; delete it, which keeps its"
            f" disks, and declare it anew"
        )
    ensure(domain, "uuid").text = wanted


def _serial(domain: Element, serial: str) -> None:
    entry = domain.find("sysinfo[@type='smbios']/system/entry[@name='serial']")
    if entry is not None and (entry.text or "").strip() == serial:
        return
    if entry is None:
        sysinfo = domain.find("sysinfo[@type='smbios']")
        if sysinfo is None:
            sysinfo = SubElement(domain, "sysinfo", type="smbios")
        entry = SubElement(ensure(sysinfo, "system"), "entry", name="serial")
    entry.text = serial
    ensure(domain, "os/smbios").set("mode", "sysinfo")


def _on_crash(domain: Element, strategy: str) -> None:
    """A guest that panics is started anew where that was asked for; a panic device tells libvirt of it."""
    wanted = "restart" if strategy == RERUN_ON_FAILURE else "destroy"
    have = (domain.findtext("on_crash") or "destroy").strip()
    if strategy == RERUN_ON_FAILURE and domain.find("devices/panic") is None:
        arch = ensure(domain, "os/type").get("arch")
        if arch == "x86_64":
            ensure(domain, "devices").append(make("panic", model="isa"))
    if have != wanted and (wanted == "restart" or have == "restart"):
        ensure(domain, "on_crash").text = wanted
