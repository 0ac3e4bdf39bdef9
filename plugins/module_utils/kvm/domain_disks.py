# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks in a domain's XML: new ones, and changes of those that are there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from string import ascii_lowercase
from xml.etree.ElementTree import Element, SubElement

from ..machine.disks import Disk
from ..machine.refusal import Problems, Refused
from .view import ALIAS_PREFIX, DiskView, view
from .xml import ensure, make, remove

SEED = "cloudinit"
_DEFAULT_BUS = {"disk": "virtio", "cdrom": "sata", "lun": "scsi"}
_PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd"}


@dataclass(frozen=True)
class Place:
    """Where the content of a disk is: the type and source of libvirt's C(<disk>), and the image's format."""

    type: str
    source: Mapping[str, str] = field(default_factory=dict)
    format: str = "raw"


def merge_disks(
    domain: Element, disks: Sequence[Disk] | None, places: Mapping[str, Place], *, replace: bool, keeps_seed: bool
) -> None:
    """Write the disks into the domain; those that are not listed stay, unless the list is the whole list.

    C(places) say where the content of disks is that the domain does not have yet. Raises Refused.
    """
    problems = Problems()
    for disk in disks or ():
        found = view(domain).disk(disk.name)
        if disk.absent:
            if found is not None:
                ensure(domain, "devices").remove(found.element)
        elif found is None:
            problems.take(lambda disk=disk: _add(domain, disk, places[disk.name]))  # type: ignore[misc]
        else:
            if found.device == "cdrom" and disk.name in places:
                _insert(found, places[disk.name])
            problems.take(lambda disk=disk, found=found: _change(domain, disk, found))  # type: ignore[misc]
    if replace and disks is not None:
        listed = {disk.name for disk in disks} | ({SEED} if keeps_seed else set())
        for found in view(domain).disks:
            if found.name not in listed and found.target not in listed:
                ensure(domain, "devices").remove(found.element)
    problems.refuse()
    order_of_devices(domain)


def order_of_devices(domain: Element) -> None:
    """Either devices have a place in the boot order or the machine has: libvirt takes one of both."""
    if domain.find("devices/*/boot") is not None:
        remove(domain, "os/boot")


def _add(domain: Element, disk: Disk, place: Place) -> None:
    device = disk.device or "disk"
    bus = disk.bus or _DEFAULT_BUS[device]
    element = make("disk", type=place.type, device=device)
    driver = SubElement(element, "driver", name="qemu", type=place.format)
    if device == "disk":
        # What the guest deletes is free for others; zeros that it writes take no space.
        driver.set("discard", "unmap")
    if place.source:
        SubElement(element, "source", dict(place.source))
    element.append(make("target", dev=_free_target(domain, _PREFIX[bus]), bus=bus))
    element.append(make("alias", name=f"{ALIAS_PREFIX}{disk.name}"))
    if device == "cdrom":
        element.append(make("readonly"))
    _attributes(domain, element, disk, bus)
    if bus == "scsi" and domain.find("devices/controller[@type='scsi']") is None:
        ensure(domain, "devices").append(make("controller", type="scsi", index="0", model="virtio-scsi"))
    ensure(domain, "devices").append(element)


def _free_target(domain: Element, prefix: str) -> str:
    taken = {target.get("dev") for target in domain.findall("devices/disk/target")}
    return next(name for name in (prefix + _letters(number) for number in count()) if name not in taken)


def _letters(number: int) -> str:
    """a to z, then aa, ab."""
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = ascii_lowercase[rest] + name
    return name


def _change(domain: Element, disk: Disk, found: DiskView) -> None:
    element, bus = found.element, found.bus or "virtio"
    if disk.device is not None and disk.device != found.device:
        element.set("device", disk.device)
        if disk.device == "cdrom":
            ensure(element, "readonly")
    if disk.bus is not None and disk.bus != bus:
        bus = disk.bus
        target = ensure(element, "target")
        target.set("bus", bus)
        target.set("dev", _free_target(domain, _PREFIX[bus]))
        # The address was one on the bus before; libvirt finds a new one.
        remove(element, "address")
        if bus == "scsi" and domain.find("devices/controller[@type='scsi']") is None:
            ensure(domain, "devices").append(make("controller", type="scsi", index="0", model="virtio-scsi"))
    _attributes(domain, element, disk, bus)


def _insert(found: DiskView, place: Place) -> None:
    """Put another medium into a cdrom drive."""
    source = found.element.find("source")
    is_there = source is not None and all(source.get(name) == value for name, value in place.source.items())
    if is_there and found.type == place.type:
        return
    remove(found.element, "source")
    found.element.set("type", place.type)
    ensure(found.element, "driver").set("type", place.format)
    if place.source:
        SubElement(found.element, "source", dict(place.source))


def _attributes(domain: Element, element: Element, disk: Disk, bus: str) -> None:
    """What the guest and the host see of it, as far as it is declared."""
    driver = ensure(element, "driver")
    for name, value in (("cache", disk.cache), ("error_policy", disk.error_policy)):
        if value is not None:
            driver.set(name, value)
    if disk.io == "default":
        driver.attrib.pop("io", None)
    elif disk.io is not None:
        driver.set("io", disk.io)
    if disk.io == "native" and driver.get("cache") not in ("none", "directsync"):
        raise Refused(f"disk {disk.name}: io: native needs a disk that the host does not cache; set cache to none")
    if disk.shareable:
        driver.set("cache", "none")
    for tag, wanted in (("readonly", disk.readonly), ("shareable", disk.shareable)):
        if wanted:
            ensure(element, tag)
        elif wanted is False and not (tag == "readonly" and element.get("device") == "cdrom"):
            remove(element, tag)
    if disk.serial is not None and (element.findtext("serial") or "") != disk.serial:
        ensure(element, "serial").text = disk.serial
    if disk.boot_order is not None:
        ensure(element, "boot").set("order", str(disk.boot_order))
    if disk.dedicated_io_thread is not None:
        _io_thread(domain, driver, disk, bus)


def check_boot_order(domain: Element) -> None:
    """Raises Refused when two devices have the same place in the boot order."""
    taken: dict[int, str] = {}
    found = view(domain)
    named = [(f"disk {disk.name}", disk.boot_order) for disk in found.disks]
    named += [(f"interface {interface.name}", interface.boot_order) for interface in found.interfaces]
    for label, order in named:
        if order is not None and order in taken:
            raise Refused(f"boot_order: {taken[order]} and {label} are both {order}; declare both of them")
        if order is not None:
            taken[order] = label


def _io_thread(domain: Element, driver: Element, disk: Disk, bus: str) -> None:
    if not disk.dedicated_io_thread:
        driver.attrib.pop("iothread", None)
        return
    if driver.get("iothread") is not None:
        return
    if bus != "virtio":
        raise Refused(f"disk {disk.name}: dedicated_io_thread: is for disks on the bus virtio")
    taken = {int(item.get("iothread") or 0) for item in domain.findall("devices/disk/driver[@iothread]")}
    number = next(number for number in count(1) if number not in taken)
    driver.set("iothread", str(number))
    threads = ensure(domain, "iothreads")
    listed = domain.find("iothreadids")
    if int(threads.text or 0) < number or listed is not None:
        threads.text = str(max(int(threads.text or 0), number))
        if listed is not None and listed.find(f"iothread[@id='{number}']") is None:
            listed.append(make("iothread", id=str(number)))
            threads.text = str(max(int(threads.text), len(listed)))
