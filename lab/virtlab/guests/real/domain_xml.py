"""The domain of an instance, as libvirt takes it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from virtlab.controllers.kubevirt.launchers import guest_memory, vcpus
from virtlab.guests.real.devices import DiskFile, Nic, add, disk_element, element, interface_element, targets
from virtlab.resource import Object
from virtlab.schema.quantity import parse

SPARE_PORTS = 10  # of PCI, for what is plugged later
BUILT_IN_CPUS = ("host-model", "host-passthrough")


@dataclass(frozen=True)
class Places:
    """Files of a guest. The sockets are paths inside of the node."""

    console_log: Path
    console_socket: str
    vnc_socket: str


def domain_name(vmi: Object) -> str:
    """As KubeVirt calls it."""
    metadata = vmi["metadata"]
    return f"{metadata['namespace']}_{metadata['name']}"


def domain_xml(
    vmi: Object, disks: Mapping[str, DiskFile], nics: Mapping[str, Nic], places: Places, acceleration: str = "qemu"
) -> str:
    """The domain; disks and interfaces without a file or a bridge are left out, being absent or not plugged yet."""
    metadata, spec = vmi["metadata"], vmi["spec"]
    described = spec["domain"]
    domain = element("domain", type=acceleration)
    add(domain, "name", domain_name(vmi))
    add(domain, "uuid", metadata["uid"])
    add(domain, "title", f"{metadata['namespace']}/{metadata['name']}")
    _add_size(domain, spec)
    _add_firmware(domain, described)
    features = add(domain, "features")
    if ((described.get("features") or {}).get("acpi") or {}).get("enabled") is not False:
        add(features, "acpi")
    add(features, "apic")
    if _secure_boot(described):
        add(features, "smm", state="on")
    add(domain, "clock", offset="utc")
    add(domain, "on_poweroff", "destroy")
    add(domain, "on_reboot", "restart")
    add(domain, "on_crash", "destroy")
    devices = add(domain, "devices")
    _add_controllers(devices)
    own = described.get("devices") or {}
    names = targets(own.get("disks") or [])
    for disk in own.get("disks") or ():
        if disk["name"] in disks:
            devices.append(disk_element(disk, disks[disk["name"]], names[disk["name"]]))
    for interface in own.get("interfaces") or ():
        if interface["name"] in nics and interface.get("state") != "absent":
            devices.append(interface_element(interface, nics[interface["name"]]))
    _add_consoles(devices, own, places)
    _add_others(devices, own)
    return ET.tostring(domain, encoding="unicode")


def _add_size(domain: ET.Element, spec: Object) -> None:
    cpu = spec["domain"].get("cpu") or {}
    size = guest_memory(spec) >> 10
    most = int(parse((spec["domain"].get("memory") or {}).get("maxGuest") or "0")) >> 10
    if most > size:
        add(domain, "maxMemory", str(most), slots="1", unit="KiB")
    add(domain, "memory", str(size), unit="KiB")
    add(domain, "currentMemory", str(size), unit="KiB")
    count = vcpus(spec)
    cores, threads = cpu.get("cores") or 1, cpu.get("threads") or 1
    sockets = max(int(cpu.get("maxSockets") or 0), -(-count // (cores * threads)))
    add(domain, "vcpu", str(sockets * cores * threads), placement="static", current=str(count))
    model = cpu.get("model") or "host-model"
    if model in BUILT_IN_CPUS:  # what software emulation has instead of the host's processor
        chosen = add(domain, "cpu", mode="custom", match="exact", check="none")
        add(chosen, "model", "qemu64", fallback="allow")
    else:
        chosen = add(domain, "cpu", mode="custom", match="exact", check="none")
        add(chosen, "model", model, fallback="allow")
    add(chosen, "topology", sockets=str(sockets), cores=str(cores), threads=str(threads))
    if most > size:  # memory is plugged into a NUMA cell
        numa = add(chosen, "numa")
        every = f"0-{sockets * cores * threads - 1}"
        add(numa, "cell", id="0", cpus=every, memory=str(size), unit="KiB")


def _efi(described: Object) -> Object | None:
    bootloader = (described.get("firmware") or {}).get("bootloader") or {}
    return (bootloader["efi"] or {}) if "efi" in bootloader else None


def _secure_boot(described: Object) -> bool:
    efi = _efi(described)
    return efi is not None and efi.get("secureBoot") is not False


def _add_firmware(domain: ET.Element, described: Object) -> None:
    efi = _efi(described)
    system = add(domain, "os", **({"firmware": "efi"} if efi is not None else {}))
    machine = (described.get("machine") or {}).get("type") or "q35"
    add(system, "type", "hvm", arch="x86_64", machine="q35" if "q35" in machine else machine)
    if efi is not None:
        secure = "yes" if _secure_boot(described) else "no"
        firmware = add(system, "firmware")
        add(firmware, "feature", enabled=secure, name="secure-boot")
        add(firmware, "feature", enabled=secure, name="enrolled-keys")
    else:
        add(system, "bios", useserial="yes", rebootTimeout="-1")


def _add_controllers(devices: ET.Element) -> None:
    add(devices, "controller", type="pci", model="pcie-root", index="0")
    for number in range(SPARE_PORTS):
        add(devices, "controller", type="pci", model="pcie-root-port", index=str(number + 1))
    add(devices, "controller", type="scsi", model="virtio-scsi", index="0")
    add(devices, "controller", type="virtio-serial", index="0")


def _add_consoles(devices: ET.Element, own: Object, places: Places) -> None:
    if own.get("autoattachSerialConsole") is not False:
        serial = add(devices, "serial", type="unix")
        add(serial, "source", mode="bind", path=places.console_socket)
        # Without append a migration would cut off what was said before.
        add(serial, "log", file=str(places.console_log), append="on")
        add(serial, "target", port="0")
    if own.get("autoattachGraphicsDevice") is not False:
        graphics = add(devices, "graphics", type="vnc")
        add(graphics, "listen", type="socket", socket=places.vnc_socket)
        video = add(devices, "video")
        add(video, "model", type="vga", vram="16384", heads="1")


def _add_others(devices: ET.Element, own: Object) -> None:
    channel = add(devices, "channel", type="unix")
    add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    random = add(devices, "rng", model="virtio")
    add(random, "backend", "/dev/urandom", model="random")
    if own.get("autoattachMemBalloon") is not False:
        add(devices, "memballoon", model="virtio")
    else:
        add(devices, "memballoon", model="none")
    if "tpm" in own and (own["tpm"] or {}).get("enabled") is not False:
        tpm = add(devices, "tpm", model="tpm-crb")
        add(tpm, "backend", type="emulator", version="2.0")
    for item in own.get("inputs") or ():
        add(devices, "input", type=item.get("type", "tablet"), bus=item.get("bus") or "usb")
    if own.get("watchdog"):
        action = (own["watchdog"].get("i6300esb") or {}).get("action") or "reset"
        add(devices, "watchdog", model="i6300esb", action=action)
