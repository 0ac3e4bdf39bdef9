# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a machine's disks on the other host: which are copied, made before and taken away again.

What a migration makes is noted before it is made, so that a run after one that was cut off knows its leftovers.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..task import Failure
from .connection import Host
from .errors import asking
from .folder import Folder, delete_file, described, volume_xml
from .library import libvirt
from .relay import copy
from .view import DiskView, DomainView


@dataclass(frozen=True)
class CopiedDisk:
    """A disk whose content is copied. Sizes are in bytes; C(physical) is how long the file is."""

    view: DiskView
    path: str
    capacity: int
    physical: int
    allocation: int
    backing: tuple[str, str] | None

    @property
    def format(self) -> str:
        return self.view.format or "raw"


def to_copy(
    domain: libvirt.virDomain, view: DomainView, chosen: Sequence[str] | None, *, incremental: bool
) -> list[CopiedDisk]:
    """The disks to copy: the chosen ones, else all that are written to and not shared. Raises Failure for unknown ones.

    Only the files of disks are made here; what is no file must be on the other host.
    """
    if chosen is not None:
        unknown = [name for name in chosen if view.disk(name) is None]
        if unknown:
            there = ", ".join(disk.name for disk in view.disks)
            raise Failure(f"copy_disks: {view.name} has no disk {unknown[0]}; it has {there}.")
    found = []
    for disk in view.disks:
        if chosen is None and (disk.readonly or disk.shareable or disk.source is None or disk.device != "disk"):
            continue
        if chosen is not None and disk.name not in chosen and disk.target not in chosen:
            continue
        if disk.type != "file" or disk.source is None:
            raise Failure(
                f"Disk {disk.name} of {view.name} is no file but of the type {disk.type}; only files are copied."
                f" Leave it out of copy_disks, with storage that both hosts reach."
            )
        with asking(f"read the size of disk {disk.name} of {view.name}"):
            capacity, allocation, physical = domain.blockInfo(disk.target)
        backing = _backing(disk) if incremental else None
        if incremental and backing is None:
            raise Failure(f"Disk {disk.name} of {view.name} has no backing file; copy it with copy_storage: all.")
        found.append(CopiedDisk(disk, disk.source, capacity, physical, allocation, backing))
    return found


def _backing(disk: DiskView) -> tuple[str, str] | None:
    store = disk.element.find("backingStore")
    source, format_ = (store.find("source"), store.find("format")) if store is not None else (None, None)
    path = source.get("file") if source is not None else None
    return (path, (format_.get("type") if format_ is not None else None) or "raw") if path else None


def make_files(target: Host, disks: Sequence[CopiedDisk]) -> None:
    """Make the empty files that a live migration writes the disks to."""
    for disk in disks:
        directory, name = posixpath.split(disk.path)
        with Folder(target, directory) as folder:
            # Left over from a run that was cut off; what is anybody else's was refused before.
            folder.delete(name)
            folder.make(name, volume_xml(name, disk.capacity, disk.format, backing=disk.backing))


def copy_files(source: Host, target: Host, disks: Sequence[CopiedDisk], told: Callable[[str], None]) -> int:
    """Copy the files of a machine that is off, bit for bit; how many bytes."""
    copied = 0
    for disk in disks:
        directory, name = posixpath.split(disk.path)
        with Folder(source, directory) as from_, Folder(target, directory) as to:
            to.delete(name)
            volume = from_.there(name)
            length = max(disk.physical, _length(volume))
            steps = _steps(length, lambda percent, name=disk.view.name: told(f"disk {name}: {percent} % copied"))  # type: ignore[misc]
            copied += copy(source, volume, target, to.make(name, volume_xml(name, length)), steps)
    return copied


def _length(volume: libvirt.virStorageVol) -> int:
    return int(described(volume).findtext("physical") or 0)


def _steps(total: int, told: Callable[[int], None]) -> Callable[[int], None]:
    """Tells every tenth of the way once."""
    last = 0

    def through(count: int) -> None:
        nonlocal last
        step = count * 10 // max(total, 1)
        if step > last:
            last = step
            told(step * 10)

    return through


def delete_files(target: Host, paths: Sequence[str]) -> list[str]:
    """Delete what a migration made; the paths that could not be deleted."""
    left = []
    for path in paths:
        try:
            delete_file(target, path)
        except Failure:
            left.append(path)
    return left
