# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of what a machine is to be can reach its running guest, and what the guest has then. Pure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from .kept import METADATA
from .view import DiskView, InterfaceView, view
from .xml import ensure, make, remove, same

ATTACH, DETACH, UPDATE, MEMORY, VCPUS, TITLE, DESCRIPTION, LABELS = (
    "attach",
    "detach",
    "update",
    "memory",
    "vcpus",
    "title",
    "description",
    "labels",
)
# Buses on which a disk can come and go while the guest runs.
_PLUGGABLE = ("virtio", "scsi", "usb")


@dataclass(frozen=True)
class Change:
    """One thing to be done to a running guest. C(name) is that of the device, C(value) a number or a text."""

    kind: str
    name: str
    element: Element | None = None
    value: int | str | None = None


def live_changes(live: Element, desired: Element) -> tuple[list[Change], Element]:
    """What can be done to the running guest, in order, and the document that it has then if all succeeds."""
    after = deepcopy(live)
    changes = [*_memory(after, desired), *_vcpus(after, desired), *_texts(after, desired)]
    changes += _disks(after, desired)
    changes += _interfaces(after, desired)
    return changes, after


def _memory(after: Element, desired: Element) -> list[Change]:
    now, then = view(after), view(desired)
    wanted = then.memory_current
    if wanted == now.memory_current or wanted > now.memory or desired.find("maxMemory") is not None:
        return []
    found = ensure(after, "currentMemory")
    found.text, found.attrib["unit"] = str(wanted // 1024), "KiB"
    return [Change(MEMORY, "memory", value=wanted // 1024)]


def _vcpus(after: Element, desired: Element) -> list[Change]:
    now, then = view(after), view(desired)
    if then.vcpus == now.vcpus or then.vcpus > now.vcpus_maximum:
        return []
    ensure(after, "vcpu").set("current", str(then.vcpus))
    return [Change(VCPUS, "cpu", value=then.vcpus)]


def _texts(after: Element, desired: Element) -> list[Change]:
    changes = []
    for kind in (TITLE, DESCRIPTION):
        text = (desired.findtext(kind) or "").strip()
        if text != (after.findtext(kind) or "").strip():
            changes.append(Change(kind, kind, value=text))
            if text:
                ensure(after, kind).text = text
            else:
                remove(after, kind)
    ours, theirs = after.find(METADATA), desired.find(METADATA)
    if theirs is not None and (ours is None or not same(ours, theirs)):
        metadata = ensure(after, "metadata")
        if ours is not None:
            metadata.remove(ours)
        metadata.append(deepcopy(theirs))
        changes.append(Change(LABELS, "labels", element=theirs))
    return changes


def _disks(after: Element, desired: Element) -> list[Change]:
    changes = []
    devices = ensure(after, "devices")
    now, then = view(after), view(desired)
    plugged = [disk for disk in then.disks if now.disk(disk.name) is None and _comes_and_goes(disk)]
    controller = desired.find("devices/controller[@type='scsi']")
    has_controller = after.find("devices/controller[@type='scsi']") is not None
    if controller is not None and not has_controller and any(disk.bus == "scsi" for disk in plugged):
        # Left to itself, libvirt adds one that has no place in a PCIe machine.
        changes.append(Change(ATTACH, "scsi controller", controller))
        devices.append(deepcopy(controller))
    for disk in now.disks:
        if then.disk(disk.name) is None and _comes_and_goes(disk):
            changes.append(Change(DETACH, f"disk {disk.name}", disk.element))
            devices.remove(disk.element)
    for disk in then.disks:
        live = now.disk(disk.name)
        if live is None:
            if disk in plugged:
                changes.append(Change(ATTACH, f"disk {disk.name}", disk.element))
                devices.append(deepcopy(disk.element))
        elif live.device == disk.device == "cdrom" and _medium(live) != _medium(disk):
            medium = deepcopy(live.element)
            _give_medium(medium, disk.element)
            changes.append(Change(UPDATE, f"disk {disk.name}", medium))
            _give_medium(live.element, disk.element)
    return changes


def _comes_and_goes(disk: DiskView) -> bool:
    driver = disk.element.find("driver")
    has_thread = driver is not None and driver.get("iothread") is not None
    return disk.device in ("disk", "lun") and disk.bus in _PLUGGABLE and not has_thread


def _medium(disk: DiskView) -> tuple[str | None, str | None]:
    return disk.pool, disk.source


def _give_medium(element: Element, other: Element) -> None:
    for tag in ("source", "backingStore"):
        remove(element, tag)
    element.set("type", other.get("type") or "file")
    source, driver = other.find("source"), other.find("driver")
    if source is not None:
        element.append(deepcopy(source))
    if driver is not None and driver.get("type"):
        ensure(element, "driver").set("type", str(driver.get("type")))


def _interfaces(after: Element, desired: Element) -> list[Change]:
    changes = []
    devices = ensure(after, "devices")
    now, then = view(after), view(desired)
    for interface in now.interfaces:
        if then.interface(interface.name) is None:
            changes.append(Change(DETACH, f"interface {interface.name}", interface.element))
            devices.remove(interface.element)
    for interface in then.interfaces:
        live = now.interface(interface.name)
        if live is None:
            changes.append(Change(ATTACH, f"interface {interface.name}", interface.element))
            devices.append(deepcopy(interface.element))
        elif _can_follow(live, interface) and _differ(live, interface):
            update = deepcopy(live.element)
            _connect(update, interface)
            changes.append(Change(UPDATE, f"interface {interface.name}", update))
            _connect(live.element, interface)
    return changes


def _can_follow(live: InterfaceView, wanted: InterfaceView) -> bool:
    """Whether the running interface can become it: only what it is plugged into changes, between bridges."""
    kinds = ("network", "bridge")
    is_bridge = live.type in kinds and wanted.type in kinds
    same_place = (live.type, live.source, live.portgroup) == (wanted.type, wanted.source, wanted.portgroup)
    is_same_device = (live.mac or "").lower() == (wanted.mac or live.mac or "").lower() and live.model == wanted.model
    return is_same_device and live.boot_order == wanted.boot_order and (is_bridge or same_place)


def _differ(live: InterfaceView, wanted: InterfaceView) -> bool:
    return (live.type, live.source, live.portgroup, live.link) != (
        wanted.type,
        wanted.source,
        wanted.portgroup,
        wanted.link,
    )


def _connect(element: Element, wanted: InterfaceView) -> None:
    if (element.get("type"), wanted.source) != (wanted.type, _source_of(element)):
        element.set("type", wanted.type)
        remove(element, "source")
        source = wanted.element.find("source")
        if source is not None:
            element.append(deepcopy(source))
    remove(element, "link")
    element.append(make("link", state=wanted.link))


def _source_of(element: Element) -> str | None:
    source = element.find("source")
    if source is None:
        return None
    return source.get("network") if element.get("type") == "network" else source.get("bridge")
