# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host can run: virtualization type, architectures, machine types, CPU models, firmware, devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from xml.etree.ElementTree import Element

from ..machine.refusal import Refused
from .connection import Host
from .errors import asking
from .library import libvirt
from .xml import parse

# The machine type of a new machine, by architecture.
_MACHINES = {"x86_64": "q35", "aarch64": "virt", "s390x": "s390-ccw-virtio"}
# What an unversioned machine type stands for.
_ALIASES = {"q35": "pc-q35-", "pc": "pc-i440fx-", "virt": "virt-", "s390-ccw-virtio": "s390-ccw-virtio-"}


@dataclass(frozen=True)
class Platform:
    """What libvirt says of one architecture and machine type of a host. C(type) is C(kvm) where that is usable."""

    type: str
    architecture: str
    machine: str
    capabilities: Element | None = field(default=None, compare=False)

    @property
    def is_x86(self) -> bool:
        return self.architecture in ("x86_64", "i686")

    @property
    def has_pcie(self) -> bool:
        return is_same_machine(self.machine, "q35") or is_same_machine(self.machine, "virt")

    @cached_property
    def cpu_mode(self) -> str | None:
        """The mode for a new machine: the model of the host where libvirt can give it, None for libvirt's default."""
        supported = self._cpu_modes()
        return next((mode for mode in ("host-model", "maximum") if supported.get(mode)), None)

    def _cpu_modes(self) -> dict[str, bool]:
        if self.capabilities is None:
            return {}
        modes = self.capabilities.findall("cpu/mode")
        return {str(mode.get("name")): mode.get("supported") == "yes" for mode in modes}

    def check_cpu(self, model: str) -> None:
        """Raises Refused for a CPU mode or model that the host cannot give."""
        if self.capabilities is None:
            return
        modes = self._cpu_modes()
        if model in modes and model != "custom":
            if not modes[model]:
                usable = ", ".join(mode for mode, is_usable in modes.items() if is_usable and mode != "custom")
                raise Refused(f"cpu.model: {model} is not possible with type {self.type} on this host; use {usable}")
            return
        models = {
            (item.text or "").strip(): item.get("usable") != "no"
            for item in self.capabilities.findall("cpu/mode[@name='custom']/model")
        }
        if models and model not in models:
            names = ", ".join(sorted(name for name, is_usable in models.items() if is_usable))
            raise Refused(f'cpu.model: this host knows no CPU model "{model}"; it can run {names}')
        if models and not models[model]:
            names = ", ".join(sorted(name for name, is_usable in models.items() if is_usable))
            raise Refused(f"cpu.model: this host cannot run {model}; it can run {names}")

    def check_firmware(self, mode: str | None, tpm: bool | None) -> None:
        """Raises Refused for firmware or a TPM that the host does not have."""
        if self.capabilities is None:
            return
        offered = {value.text for value in self.capabilities.findall("os/enum[@name='firmware']/value")}
        if mode == "efi" and "efi" not in offered:
            raise Refused(
                f"firmware.mode: this host has no EFI firmware for {self.machine}; install OVMF (ovmf or edk2-ovmf)"
            )
        backend = {value.text for value in self.capabilities.findall("devices/tpm/enum[@name='backendModel']/value")}
        if tpm and "emulator" not in backend:
            raise Refused("firmware.tpm: this host cannot emulate a TPM; install swtpm and swtpm-tools on it")


def is_same_machine(full: str, wanted: str) -> bool:
    """Whether a machine type is the one wanted, where C(q35) stands for all of its versions."""
    return full == wanted or full.startswith(_ALIASES.get(wanted, "\0")) or wanted.startswith(_ALIASES.get(full, "\0"))


def is_same_family(one: str, other: str) -> bool:
    """Whether two machine types have the same chipset, so that one can follow the other."""
    return any(is_same_machine(one, alias) and is_same_machine(other, alias) for alias in _ALIASES) or one == other


def platform(host: Host, architecture: str | None, machine: str | None, type_: str | None = None) -> Platform:
    """What the host offers for an architecture and machine type; of the host, and the best there is, where None.

    Raises Refused for what it does not have.
    """
    driver = _driver(host)
    if driver != "QEMU":
        return Platform(driver.lower(), architecture or "i686", machine or "pc")
    arch = architecture or _own_architecture(host)
    chosen = machine or _MACHINES.get(arch)
    refused: list[Exception] = []
    for kind in (type_,) if type_ else ("kvm", "qemu"):
        try:
            text = host.connection.getDomainCapabilities(None, arch, chosen, kind, 0)
        except libvirt.libvirtError as error:
            refused.append(error)
            continue
        found = parse(text)
        return Platform(kind, arch, found.findtext("machine") or chosen or "", found)
    raise _unavailable(host, arch, machine, refused[-1])


def _driver(host: Host) -> str:
    with asking(f"ask {host.uri} for its driver"):
        return str(host.connection.getType())


def _own_architecture(host: Host) -> str:
    with asking(f"ask {host.uri} for its architecture"):
        return str(host.connection.getInfo()[0])


def _unavailable(host: Host, arch: str, machine: str | None, error: Exception) -> Refused:
    with asking(f"ask {host.uri} for its capabilities"):
        guests = parse(host.connection.getCapabilities()).findall("guest")
    offered = {
        str(item.get("name")): [str(machine.text) for machine in item.findall("machine")]
        for guest in guests
        for item in guest.findall("arch")
    }
    if arch not in offered:
        has = ", ".join(sorted(offered)) or "no emulator at all"
        return Refused(f"architecture: this host cannot run {arch}; it has {has}. Install the QEMU of {arch} on it")
    if machine is not None and machine not in offered[arch]:
        has = ", ".join(sorted(offered[arch]))
        return Refused(f'machine_type: this host knows no machine type "{machine}" for {arch}; it has {has}')
    return Refused(f"machine_type: {machine or arch} is not possible on this host: {error}")
