# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a host that are built on others, wherever they are: in pools that run, and beside them."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from xml.etree.ElementTree import Element

from ..task import Failure
from .connection import Host
from .errors import KvmError, asking
from .folder import Folder
from .library import libvirt
from .snapshot_view import snapshots
from .usage import uses
from .volume_xml import SPARSE_POOLS, volume_of
from .xml import parse

# No images are looked for in these, which hold devices and the system's own files.
_NO_DIRECTORIES = ("/", "/dev", "/proc", "/sys")


@dataclass(frozen=True)
class Times:
    """When a file was changed, what is known of it was, and it was read: the same by every name that leads to it."""

    changed: str
    noted: str
    read: str

    def are_of(self, name: str, other: Times, other_name: str) -> bool:
        """Whether both are of one file; of files that are called otherwise, all must be the same."""
        same = (self.changed, self.noted) == (other.changed, other.noted)
        return same and (self.read == other.read or posixpath.basename(name) == posixpath.basename(other_name))


@dataclass(frozen=True)
class Overlay:
    """An image that another one, the backing file, is below. C(pool) is None where none that runs has it."""

    pool: str | None
    volume: str
    path: str
    backing: str
    backing_times: Times | None = None

    @property
    def label(self) -> str:
        """What it is, for a message."""
        return f"volume {self.pool}/{self.volume}" if self.pool is not None else f"file {self.path}"


@dataclass(frozen=True)
class Images:
    """What is known of the images of a host: those with a backing file, and the times of all files, by their paths."""

    overlays: Sequence[Overlay]
    times: Mapping[str, Times] = field(default_factory=dict)

    def names(self, path: str) -> frozenset[str]:
        """The path, and others that lead to the same file, as by symbolic links."""
        path = posixpath.normpath(path)
        own = self.times.get(path)
        others = (other for other, times in self.times.items() if own is not None and own.are_of(path, times, other))
        return frozenset({path, *others})

    def above(self, path: str, but: Collection[str] = ()) -> Iterator[Overlay]:
        """The images that are built on a file, none of those C(but)."""
        names, others = self.names(path), {name for other in but for name in self.names(other)}
        own = self.times.get(posixpath.normpath(path))
        for item in self.overlays:
            times = item.backing_times
            is_same = own is not None and times is not None and own.are_of(path, times, item.backing)
            if (item.backing in names or is_same) and item.path not in others:
                yield item

    def chain(self, path: str) -> list[str]:
        """The files that an image is built on, the nearest first."""
        below = {item.path: item.backing for item in self.overlays}
        found: list[str] = []
        while (path := below.get(path, "")) and path not in found:
            found.append(path)
        return found


def images(host: Host, *, anew: bool = False) -> Images:
    """The images in pools and in directories that machines have disks, or layers of disks, in.

    With C(anew) pools look for what came to be behind their backs, as before something is deleted.
    """
    search = _Search(host, anew)
    return Images(list(search.found.values()), search.times)


def is_there(host: Host, item: Overlay) -> bool:
    """Whether an image that was found is still there."""
    with suppress(Failure), Folder(host, posixpath.dirname(item.path)) as folder:
        return folder.file(posixpath.basename(item.path)) is not None
    # It was there before: what cannot be looked at is not taken for gone.
    return True


class _Search:
    """What is found on a host, directory by directory, beginning with those of pools and of machines' disks."""

    def __init__(self, host: Host, anew: bool) -> None:
        self.host = host
        self.anew = anew
        self.times: dict[str, Times] = {}
        self.found: dict[tuple[str | None, str], Overlay] = {}
        self._seen: set[str] = set()
        self._pools: dict[str, libvirt.virStoragePool] = {}
        self._read: set[str] = set(_NO_DIRECTORIES)
        with asking("list the pools"):
            pools = host.connection.listAllStoragePools(0)
        for pool in pools:
            # One that was stopped or deleted since it was listed has nothing to tell.
            with suppress(libvirt.libvirtError):
                self._pool(pool)
        wanted = [use.path for use in uses(host, running_only=False) if use.path.startswith("/")]
        wanted += [item.backing for item in self.found.values()]
        wanted += self._of_snapshots() if anew else []
        while wanted:
            wanted = [path for one in wanted for path in self._look(posixpath.normpath(one))]

    def _of_snapshots(self) -> list[str]:
        """The layers that snapshots have made, also of disks that their machines have no more."""
        with asking("list the guests that have snapshots"):
            domains = self.host.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
        paths = []
        for domain in domains:
            try:
                paths += [path for item in snapshots(domain) for path in item.files.values() if path.startswith("/")]
            except KvmError as error:
                # Machines and snapshots may be deleted since they were listed.
                if error.code not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT):
                    raise
        return paths

    def _pool(self, pool: libvirt.virStoragePool) -> None:
        document = parse(pool.XMLDesc(0))
        target = posixpath.normpath((document.findtext("target/path") or "/").strip())
        if pool.isActive():
            if self.anew and document.get("type") in SPARSE_POOLS:
                with suppress(libvirt.libvirtError):
                    pool.refresh(0)
            self._take(pool.name(), pool.listAllVolumes(0))
            self._pools[target] = pool
            self._read.add(target)
        elif document.get("type") in SPARSE_POOLS:
            self._folder(target)

    def _look(self, path: str) -> list[str]:
        """See to an image that somebody names; the backing files that come to light."""
        directory, before = posixpath.dirname(path), set(self.found)
        pool = self._pools.pop(directory, None) if path not in self._seen else None
        if pool is not None:
            # It came to be behind its pool's back, as layers of snapshots do. A pool that is filled cannot look again.
            with suppress(libvirt.libvirtError):
                pool.refresh(0)
                self._take(pool.name(), pool.listAllVolumes(0))
        elif directory not in self._read and not directory.startswith(("/dev/", "/proc/", "/sys/")):
            self._folder(directory)
        return [self.found[new].backing for new in set(self.found) - before]

    def _folder(self, directory: str) -> None:
        self._read.add(directory)
        # A directory that is not there, or cannot be read, has nothing that could be lost.
        with suppress(Failure, libvirt.libvirtError), Folder(self.host, directory) as folder:
            self._take(None, folder.pool.listAllVolumes(0), directory)

    def _take(self, pool: str | None, volumes: Sequence[libvirt.virStorageVol], directory: str | None = None) -> None:
        for described in self.host.in_parallel(partial(_described, pool, directory), volumes):
            if described is not None:
                item, times = described
                self._seen.add(item.path)
                if times is not None:
                    self.times[item.path] = times
                if item.backing:
                    self.found[pool, item.path] = item


def _described(
    pool: str | None, directory: str | None, volume: libvirt.virStorageVol
) -> tuple[Overlay, Times | None] | None:
    try:
        name, found = volume.name(), volume_of(str(volume.XMLDesc(0)))
    except libvirt.libvirtError:
        # It was deleted since it was listed.
        return None
    path = posixpath.join(directory, name) if directory is not None else found.path
    backing = _local(found.backing or "")
    own = _times(found.element.find("target/timestamps")) if found.is_file else None
    return Overlay(pool, name, path, backing, _times(found.element.find("backingStore/timestamps"))), own


def _local(backing: str) -> str:
    """The path in what an image says of its backing file, which libvirt gives out as it stands there."""
    if backing.startswith("json:"):
        with suppress(ValueError):
            backing = _file_name(json.loads(backing.removeprefix("json:"))) or backing
    backing = backing.removeprefix("file:")
    return posixpath.normpath(backing) if backing.startswith("/") else backing


def _file_name(options: object) -> str | None:
    """The file in QEMU's options of a node, or of one that is below it."""
    if not isinstance(options, Mapping):
        return None
    for key, value in options.items():
        if key.rpartition(".")[2] == "filename" and isinstance(value, str):
            return value
    return next((name for value in options.values() if (name := _file_name(value)) is not None), None)


def _times(element: Element | None) -> Times | None:
    """None where a file system tells them by the second, which many files share."""
    found = [element.findtext(name) or "" for name in ("mtime", "ctime", "atime")] if element is not None else []
    return Times(*found) if found and all("." in time for time in found[:2]) else None
