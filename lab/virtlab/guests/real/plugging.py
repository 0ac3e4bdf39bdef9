"""Which devices of a running guest differ from its instance's, and how they are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from virtlab.guests.real.devices import DiskFile, Nic, disk_element, free_target, interface_element, kind_of
from virtlab.guests.real.guest import ALIAS, Guest
from virtlab.resource import Object

MOUNTED = ("MountedToPod", "Ready")  # phases in which a hot-pluggable volume is where the guest can have it
HOT_BUS = "scsi"  # of a disk that is plugged later and names none


@dataclass
class Changes:
    """Devices by name: to be plugged, to be taken out, and links to be set."""

    disks: list[Object] = field(default_factory=list)
    interfaces: list[Object] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)  # disk or interface, and its name
    links: list[Object] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.disks or self.interfaces or self.gone or self.links)


def changes(guest: Guest, vmi: Object) -> Changes:
    """What makes the guest's devices those of the instance."""
    own = vmi["spec"]["domain"].get("devices") or {}
    found = Changes()
    disks = {disk["name"]: disk for disk in own.get("disks") or ()}
    volumes = _reachable(vmi)
    found.disks = [disk for name, disk in disks.items() if name not in guest.disks and name in volumes]
    found.gone = [("disk", name) for name in guest.disks if name not in disks or name not in volumes]
    shown = {item["name"] for item in vmi["status"].get("interfaces") or ()}  # what the launcher's pod has
    for interface in own.get("interfaces") or ():
        name = interface["name"]
        absent = interface.get("state") == "absent"
        if name in guest.nics:
            if absent:
                found.gone.append(("interface", name))
            elif guest.links.get(name, True) == (interface.get("state") == "down"):
                found.links.append(interface)
        elif not absent and name in shown:
            found.interfaces.append(interface)
    known = {interface["name"] for interface in own.get("interfaces") or ()}
    found.gone += [("interface", name) for name in guest.nics if name not in known]
    return found


def _reachable(vmi: Object) -> set[str]:
    """The volumes that are on the node: those that are no hot-pluggable ones, and of these what is mounted."""
    phases = {item["name"]: item.get("phase") for item in vmi["status"].get("volumeStatus") or ()}
    found = set()
    for volume in vmi["spec"].get("volumes") or ():
        hot = any((volume.get(kind) or {}).get("hotpluggable") for kind in ("dataVolume", "persistentVolumeClaim"))
        if not hot or phases.get(volume["name"]) in MOUNTED:
            found.add(volume["name"])
    return found


def apply(domain: Any, wanted: Changes, files: Mapping[str, DiskFile], nics: Mapping[str, Nic]) -> dict[str, str]:
    """Change the devices of a running domain; why some could not be, by name. The guest may let go of some later."""
    refused: dict[str, str] = {}
    live = ET.fromstring(domain.XMLDesc(0))
    taken = {target.get("dev", "") for target in live.iterfind("./devices/disk/target")}
    for disk in wanted.disks:
        kind, said = kind_of(disk)
        bus = said.get("bus") or HOT_BUS
        target = free_target(bus, taken)
        taken.add(target)
        if disk["name"] in files:
            made = disk_element({**disk, kind: {**said, "bus": bus}}, files[disk["name"]], target)
            _try(refused, disk["name"], domain.attachDeviceFlags, made)
    for interface in wanted.interfaces:
        if interface["name"] in nics:
            _try(
                refused,
                interface["name"],
                domain.attachDeviceFlags,
                interface_element(interface, nics[interface["name"]]),
            )
    for kind, name in wanted.gone:
        device = _device(live, kind, name)
        if device is not None:
            _try(refused, name, domain.detachDeviceFlags, device)
    for interface in wanted.links:
        device = _device(live, "interface", interface["name"])
        if device is not None:
            link = device.find("link")
            link = ET.SubElement(device, "link") if link is None else link
            link.set("state", "down" if interface.get("state") == "down" else "up")
            _try(refused, interface["name"], domain.updateDeviceFlags, device)
    return refused


def _device(live: ET.Element, kind: str, name: str) -> ET.Element | None:
    for device in live.iterfind(f"./devices/{kind}"):
        alias = device.find("alias")
        if alias is not None and alias.get("name") == ALIAS + name:
            return device
    return None


def _try(refused: dict[str, str], name: str, change: Any, device: ET.Element) -> None:
    try:
        change(ET.tostring(device, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        refused[name] = str(error)
