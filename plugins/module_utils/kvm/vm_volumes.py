# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes behind a machine's disks: where each is, which are made, which grow."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element, SubElement

from ..machine.disks import Disk
from ..machine.refusal import Problems, Refused
from .domain_disks import Place
from .domain_new import memory_bytes
from .errors import KvmError, asking
from .library import libvirt
from .naming import file_part
from .view import DomainView, view
from .vm_fleet import LOCAL_POOLS, Fleet, Pool, volume_at
from .vm_image import check_url, fill_from_url
from .xml import make, parse, written

DEFAULT_POOL = "default"
# Formats by the end of a file's name, for files that no pool knows.
_BY_NAME = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw", ".iso": "raw"}


@dataclass(frozen=True)
class Making:
    """A volume that is made for a disk. C(size) is in bytes; None takes that of what is copied.

    One that is C(unfinished) is there, as an interrupted task has left it, and is made anew.
    """

    disk: Disk
    pool: Pool
    name: str
    format: str
    size: int | None
    unfinished: bool = False

    @property
    def key(self) -> str:
        return f"{self.pool.name}/{self.name}"

    @property
    def label(self) -> str:
        return f"disk {self.disk.name}"


@dataclass
class Volumes:
    """Where the disks of a machine are that it does not have yet, and what is made for them.

    C(growth) are the sizes, in bytes, of disks whose images are there and smaller.
    """

    places: dict[str, Place] = field(default_factory=dict)
    makings: list[Making] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    adopted: dict[str, str] = field(default_factory=dict)
    growth: dict[str, int] = field(default_factory=dict)


def plan_volumes(fleet: Fleet, machine: str, disks: Sequence[Disk], unfinished: Mapping[str, str]) -> Volumes:
    """The places of disks that are new to a machine. Asks the host, and changes nothing. Raises Refused.

    C(unfinished) are volumes that an interrupted task has left (by disk): they are made anew.
    """
    plan = Volumes()
    problems = Problems()
    for disk in disks:
        problems.take(lambda disk=disk: _plan(fleet, machine, disk, plan, unfinished))  # type: ignore[misc]
    problems.refuse()
    return plan


def _plan(fleet: Fleet, machine: str, disk: Disk, plan: Volumes, unfinished: Mapping[str, str]) -> None:
    label = f"disk {disk.name}"
    if disk.source is None:
        if disk.device != "cdrom":
            raise Refused(f"{label}: has no source; add one of blank, boot_source, http, volume, path")
        plan.places[disk.name] = Place("file")
    elif disk.source.option == "volume":
        plan.places[disk.name] = _existing(fleet, machine, disk)
    elif disk.source.option == "path":
        plan.places[disk.name] = _path(fleet, machine, disk)
        if disk.size is not None:
            _plan_file(fleet, machine, disk, plan, unfinished)
    else:
        making = _making(fleet, machine, disk)
        plan.places[disk.name] = _place(making.pool, making.name, making.format)
        making = replace(making, unfinished=unfinished.get(disk.name) == making.key)
        found = fleet.volume(making.pool, making.name)
        if found is not None and not making.unfinished:
            plan.places[disk.name] = _adopt(fleet, machine, making, found, plan)
            plan.adopted[disk.name] = making.key
            plan.notes.append(f"{label}: the volume {making.key} was there and is used with what is on it")
            return
        _check_source(fleet, making)
        fleet.check_free(making.pool.path(making.name), making.pool.name, making.name, machine, label)
        plan.makings.append(making)


def _making(fleet: Fleet, machine: str, disk: Disk) -> Making:
    label = f"disk {disk.name}"
    pool = fleet.pool(disk.pool or DEFAULT_POOL, label)
    if not pool.is_local:
        raise Refused(
            f"{label}: volumes for disks are not made in a pool of type {pool.type}; make it with"
            " virtstack.core.kvm_volume and use it with volume"
        )
    format_ = disk.format or ("raw" if disk.shareable or not pool.makes_files else "qcow2")
    if format_ != "raw" and not pool.makes_files:
        raise Refused(f"{label}: format: a pool of type {pool.type} holds raw images; leave format out")
    if format_ != "raw" and disk.shareable:
        raise Refused(f"{label}: format: only raw images can be shared by machines; use raw")
    size = memory_bytes(disk.size) if disk.size is not None else None
    return Making(disk, pool, f"{file_part(machine)}-{disk.name}", format_, size)


def _check_source(fleet: Fleet, making: Making) -> None:
    """What is copied or downloaded must be there and fit."""
    option = making.disk.source.option if making.disk.source is not None else None
    if option == "http":
        origin = making.disk.origin
        check_url(origin["url"], making.label, making.disk.format, making.size, origin.get("checksum"))
    if option != "boot_source":
        return
    source_pool, volume = _source(fleet, making)
    with asking(f"read volume {source_pool.name}/{volume.name()}"):
        capacity = int(volume.info()[1])
    _check_fits(making, capacity, f"{source_pool.name}/{volume.name()}")


def _source(fleet: Fleet, making: Making) -> tuple[Pool, libvirt.virStorageVol]:
    origin = making.disk.origin
    pool = fleet.pool(origin.get("pool") or making.pool.name, f"{making.label}: boot_source")
    names = [origin["name"], *(f"{origin['name']}{end}" for end in _BY_NAME)]
    found = next((volume for name in names if (volume := fleet.host.volume(pool.pool, name)) is not None), None)
    if found is None:
        with asking(f"list the volumes of pool {pool.name}"):
            known = sorted(pool.pool.listVolumes())
        has = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        raise Refused(
            f"{making.label}: boot_source: the pool {pool.name} has no volume {origin['name']}; it has {has or 'none'}."
            " Put the image there with virtstack.core.kvm_volume, or name its pool with boot_source.pool"
        )
    return pool, found


def _check_fits(making: Making, capacity: int, image: str) -> None:
    if making.size is not None and making.size < capacity:
        raise Refused(
            f"{making.label}: size: {making.disk.size} is smaller than the image {image}, which has"
            f" {readable(capacity)}; give at least that"
        )


def readable(size: int) -> str:
    """A number of bytes, for a message."""
    for unit, factor in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if size >= factor:
            return f"{-(-size * 10 // factor) / 10:g}{unit}"
    return str(size)


def _plan_file(fleet: Fleet, machine: str, disk: Disk, plan: Volumes, unfinished: Mapping[str, str]) -> None:
    """A path with a size: the file is made where it is not there, as a volume of the pool that has its directory."""
    label, (directory, name) = f"disk {disk.name}", posixpath.split(posixpath.normpath(disk.origin["path"]))
    place, size = plan.places[disk.name], memory_bytes(disk.size or "0")
    if disk.device == "cdrom" or place.type != "file" or disk.readonly:
        raise Refused(f"{label}: size: is for a file that guests write to; leave size out")
    found = volume_at(fleet.host.connection, disk.origin["path"])
    pool = fleet.pool_of(directory)
    if pool is None:
        raise Refused(
            f"{label}: size: no storage pool that runs has the directory {directory}, so that a file could be made or"
            " grow there; declare one with virtstack.core.kvm_pool, or leave size out where the file is there"
        )
    making = Making(disk, pool, name, place.format, size, unfinished.get(disk.name) == f"{pool.name}/{name}")
    if found is not None and not making.unfinished:
        plan.places[disk.name] = _adopt(fleet, machine, making, found, plan)
    else:
        plan.places[disk.name] = _place(pool, name, place.format)
        plan.makings.append(making)


def _adopt(fleet: Fleet, machine: str, making: Making, volume: libvirt.virStorageVol, plan: Volumes) -> Place:
    with asking(f"read volume {making.key}"):
        path, document, capacity = volume.path(), parse(volume.XMLDesc(0)), int(volume.info()[1])
    if not making.disk.shareable:
        fleet.check_free(path, making.pool.name, making.name, machine, making.label)
    if making.size is not None and making.size < capacity:
        raise Refused(
            f"{making.label}: size: the volume {making.key} is there and has {readable(capacity)}, more than"
            f" {making.disk.size}; disks do not shrink"
        )
    if making.size is not None and making.size > capacity:
        plan.growth[making.disk.name] = making.size
    format_ = document.find("target/format")
    return _place(making.pool, making.name, (format_.get("type") if format_ is not None else None) or "raw")


def _place(pool: Pool, name: str, format_: str) -> Place:
    if not pool.is_local:
        return Place("volume", {"pool": pool.name, "volume": name}, format_)
    kind = LOCAL_POOLS[pool.type]
    return Place(kind, {"dev" if kind == "block" else "file": pool.path(name)}, format_)


def _existing(fleet: Fleet, machine: str, disk: Disk) -> Place:
    label = f"disk {disk.name}"
    pool = fleet.pool(disk.origin["pool"], f"{label}: volume")
    volume = fleet.host.volume(pool.pool, disk.origin["name"])
    if volume is None:
        raise Refused(
            f"{label}: volume: the pool {pool.name} has no volume {disk.origin['name']}; virtstack.core.kvm_volume"
            " makes one, or refreshes the pool"
        )
    with asking(f"read volume {pool.name}/{disk.origin['name']}"):
        path, document = volume.path(), parse(volume.XMLDesc(0))
    if not (disk.shareable or disk.readonly or disk.device == "cdrom"):
        fleet.check_free(path, pool.name, disk.origin["name"], machine, label)
    format_ = document.find("target/format")
    name = (format_.get("type") if format_ is not None else None) or "raw"
    if not pool.is_local and document.get("type") in ("file", "block"):
        return Place(str(document.get("type")), {"dev" if document.get("type") == "block" else "file": path}, "raw")
    place = _place(pool, disk.origin["name"], disk.format or ("raw" if name == "iso" else name))
    return Place(place.type, dict.fromkeys(place.source, path), place.format) if pool.is_local else place


def _path(fleet: Fleet, machine: str, disk: Disk) -> Place:
    """A file or device; a pool that knows it says its format, else its name does."""
    path, label = disk.origin["path"], f"disk {disk.name}"
    if not path.startswith("/"):
        raise Refused(f"{label}: path: {path} does not begin with /; give the whole path on the host")
    if not (disk.shareable or disk.readonly or disk.device == "cdrom"):
        fleet.check_free(path, None, None, machine, label)
    if path.startswith("/dev/"):
        return Place("block", {"dev": path}, disk.format or "raw")
    format_ = disk.format or _known_format(fleet, path) or _BY_NAME.get(f".{path.rpartition('.')[2].lower()}")
    if format_ is None:
        if disk.device != "cdrom":
            raise Refused(f"{label}: format: no pool knows {path}, and its name tells no format; give raw or qcow2")
        format_ = "raw"
    return Place("file", {"file": path}, format_)


def _known_format(fleet: Fleet, path: str) -> str | None:
    try:
        volume = fleet.host.connection.storageVolLookupByPath(path)
        format_ = parse(volume.XMLDesc(0)).find("target/format")
    except libvirt.libvirtError:
        return None
    known = format_.get("type") if format_ is not None else None
    return known if known in ("raw", "qcow2") else "raw" if known == "iso" else None


def check_disks_of_xml(fleet: Fleet, name: str, before: Element | None, desired: Element) -> None:
    """Raises Refused for a disk that came with libvirt's own XML and that another machine, or an image, needs."""
    had = {fleet.place(disk) for disk in view(before).disks} if before is not None else set()
    problems = Problems()
    for disk in view(desired).disks:
        path = fleet.place(disk)
        if path is None or path in had or disk.readonly or disk.shareable or disk.device != "disk":
            continue
        problems.take(lambda path=path, disk=disk: fleet.check_free(path, disk.pool, disk.source, name, "xml: disk"))  # type: ignore[misc]
    problems.refuse()


def notes_of_places(fleet: Fleet, disks: Sequence[Disk], known: DomainView) -> list[str]:
    """That disks which a machine has are not where they are declared to be, where that is so: they stay."""
    notes = []
    for disk in disks:
        found = known.disk(disk.name)
        if found is None or found.source is None or disk.absent or found.device == "cdrom":
            continue
        option = disk.source.option if disk.source is not None else None
        now = posixpath.normpath(fleet.place(found) or found.source)
        if option == "path":
            wanted = posixpath.normpath(disk.origin["path"])
        elif option == "volume" and (found.pool, found.source) != (disk.origin["pool"], disk.origin["name"]):
            wanted = f"{fleet.target(disk.origin['pool'])}/{disk.origin['name']}"
        elif option != "volume" and disk.pool not in (None, found.pool):
            wanted = f"{fleet.target(disk.pool or '')}/{posixpath.basename(now)}"
        else:
            continue
        # A disk that has layers is what they are built on, too.
        if wanted == now or wanted in (below := fleet.chain(now)):
            continue
        if option != "path" and option != "volume" and posixpath.dirname(wanted) in map(posixpath.dirname, below):
            continue
        notes.append(
            f"disk {disk.name}: is {now} and stays so, although {wanted} is declared; to have another one, take it away"
            " (state: absent), and declare that by a name of its own"
        )
    return notes


def make_volumes(fleet: Fleet, makings: Sequence[Making], progress: Callable[[str], None]) -> None:
    """Make the volumes, one after the other; one that does not become whole is taken away. Raises Failure."""
    for making in makings:
        left = fleet.host.volume(making.pool.pool, making.name)
        if left is not None:
            if not making.unfinished:
                raise _occupied(making)
            with asking(f"delete the unfinished volume {making.key}"):
                left.delete(0)
        option = making.disk.source.option if making.disk.source else "path"
        try:
            _MAKERS[option](fleet, making, progress)
        except BaseException as error:
            if isinstance(error, KvmError) and _is_occupied(error):
                raise _occupied(making) from error
            _discard(fleet, making)
            raise


class Occupied(KvmError):
    """A volume that was to be made is there by now, and is somebody else's."""


def _occupied(making: Making) -> Occupied:
    return Occupied(
        f"Cannot make volume {making.key} for {making.label}: it is there by now, made by something else. Run this"
        " again to use it with what is on it, or move it away."
    )


def _is_occupied(error: KvmError) -> bool:
    """Whether libvirt found a volume, or a file that its pool did not know of, in the place of a new one."""
    return error.code == libvirt.VIR_ERR_STORAGE_VOL_EXIST or (
        error.code == libvirt.VIR_ERR_OPERATION_INVALID and "already exists" in error.message
    )


def _discard(fleet: Fleet, making: Making) -> None:
    """Take a volume away that did not become whole; the error that stopped it is the one to tell."""
    try:
        left = fleet.host.volume(making.pool.pool, making.name)
        if left is not None:
            left.delete(0)
    except (libvirt.libvirtError, KvmError):
        return


def volume_xml(name: str, capacity: int, format_: str, *, preallocated: bool = False) -> str:
    """The document of a volume. qcow2 of version 1.1, since that of libvirt's default has no dirty bitmaps."""
    volume = make("volume")
    volume.append(make("name", name))
    volume.append(make("capacity", str(capacity), unit="bytes"))
    volume.append(make("allocation", str(capacity if preallocated else 0), unit="bytes"))
    target = SubElement(volume, "target")
    target.append(make("format", type=format_))
    if format_ == "qcow2":
        target.append(make("compat", "1.1"))
    return written(volume)


def create_volume(making: Making, capacity: int) -> libvirt.virStorageVol:
    """An empty volume for a disk."""
    text = volume_xml(making.name, capacity, making.format, preallocated=bool(making.disk.preallocation))
    with asking(f"make volume {making.key}"):
        return making.pool.pool.createXML(text, 0)


def _blank(_fleet: Fleet, making: Making, _progress: Callable[[str], None]) -> None:
    create_volume(making, making.size or 0)


def _copy(fleet: Fleet, making: Making, progress: Callable[[str], None]) -> None:
    source_pool, source = _source(fleet, making)
    with asking(f"read volume {source_pool.name}/{source.name()}"):
        capacity = int(source.info()[1])
    progress(f"{making.label}: copying {source_pool.name}/{source.name()} to {making.key}")
    text = volume_xml(making.name, max(capacity, making.size or 0), making.format)
    with asking(f"copy volume {source_pool.name}/{source.name()} to {making.key}"):
        volume = making.pool.pool.createXMLFrom(text, source, 0)
        if making.size is not None and int(volume.info()[1]) < making.size:
            volume.resize(making.size, 0)


def _download(fleet: Fleet, making: Making, progress: Callable[[str], None]) -> None:
    origin = making.disk.origin
    fill_from_url(
        fleet.host,
        making.pool.pool,
        origin["url"],
        label=making.label,
        name=making.name,
        wanted_format=making.disk.format,
        size=making.size,
        checksum=origin.get("checksum"),
        make_volume=volume_xml,
        progress=progress,
    )


_MAKERS: dict[str, Callable[[Fleet, Making, Callable[[str], None]], None]] = {
    "blank": _blank,
    "path": _blank,
    "boot_source": _copy,
    "http": _download,
}
