"""Devices of a domain: disks and interfaces, each as it is plugged at the start or later. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from virtlab.resource import Object

PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd"}
MODELS = {"virtio": "virtio", "e1000": "e1000", "e1000e": "e1000e", "rtl8139": "rtl8139", "ne2k_pci": "ne2k_pci"}
LETTERS = 26


@dataclass(frozen=True)
class DiskFile:
    """What a volume of an instance is on the nodes."""

    path: Path
    format: str  # raw or qcow2
    readonly: bool = False


@dataclass(frozen=True)
class Nic:
    """What an interface of an instance is plugged into."""

    bridge: str
    mac: str


def element(name: str, text: str = "", /, **attributes: str) -> ET.Element:
    """An element with attributes."""
    made = ET.Element(name, attributes)
    made.text = text or None
    return made


def add(parent: ET.Element, name: str, text: str = "", /, **attributes: str) -> ET.Element:
    """A new element in C(parent)."""
    made = element(name, text, **attributes)
    parent.append(made)
    return made


def kind_of(disk: Object) -> tuple[str, Object]:
    """disk, cdrom or lun, with what is said of it."""
    for kind in ("cdrom", "lun", "disk"):
        if kind in disk:
            return kind, disk[kind] or {}
    return "disk", {}


def targets(disks: list[Object]) -> dict[str, str]:
    """The name each disk gets on its bus: vda, vdb, sda ..."""
    count: dict[str, int] = {}
    found = {}
    for disk in disks:
        _kind, said = kind_of(disk)
        prefix = PREFIXES.get(said.get("bus") or "sata", "sd")
        number = count.get(prefix, 0)
        count[prefix] = number + 1
        letters = chr(ord("a") + number % LETTERS)
        found[disk["name"]] = prefix + (chr(ord("a") + number // LETTERS - 1) if number >= LETTERS else "") + letters
    return found


def free_target(bus: str, taken: set[str]) -> str:
    """A name on the bus that no disk of a running domain has."""
    prefix = PREFIXES.get(bus, "sd")
    return next(name for letter in range(LETTERS) if (name := f"{prefix}{chr(ord('a') + letter)}") not in taken)


def disk_element(disk: Object, file: DiskFile, target: str) -> ET.Element:
    """C(disk) of an instance's devices. Its alias is its name, by which it is found again."""
    kind, said = kind_of(disk)
    readonly = kind == "cdrom" or file.readonly or bool(said.get("readonly"))
    made = element("disk", type="file", device="cdrom" if kind == "cdrom" else "disk")
    # Other caches would be stale after a migration, and libvirt refuses one then.
    cache = disk.get("cache") if disk.get("cache") in ("none", "writethrough", "writeback") else "none"
    add(made, "driver", name="qemu", type=file.format, cache=str(cache), discard="unmap")
    add(made, "source", file=str(file.path))
    add(made, "target", dev=target, bus=said.get("bus") or "sata")
    if readonly:
        add(made, "readonly")
    if disk.get("shareable"):
        add(made, "shareable")
    if disk.get("serial"):
        add(made, "serial", disk["serial"])
    if disk.get("bootOrder"):
        add(made, "boot", order=str(disk["bootOrder"]))
    add(made, "alias", name=f"ua-{disk['name']}")
    return made


def interface_element(interface: Object, nic: Nic) -> ET.Element:
    """C(interface) of an instance's devices, in a bridge of the node."""
    made = element("interface", type="bridge")
    add(made, "mac", address=nic.mac)
    add(made, "source", bridge=nic.bridge)
    add(made, "model", type=MODELS.get(interface.get("model") or "virtio", "virtio"))
    if interface.get("state") == "down":
        add(made, "link", state="down")
    if interface.get("bootOrder"):
        add(made, "boot", order=str(interface["bootOrder"]))
    add(made, "alias", name=f"ua-{interface['name']}")
    return made
