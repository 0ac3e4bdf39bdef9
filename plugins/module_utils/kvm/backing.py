# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a host that are built on others, wherever they are: in pools that run, and beside them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ..task import Failure
from .connection import Host
from .errors import asking
from .folder import Folder
from .library import libvirt
from .usage import uses
from .volume_xml import SPARSE_POOLS, volume_of
from .xml import parse

# No images are looked for in these, which hold devices and the system's own files.
_NO_DIRECTORIES = ("/", "/dev", "/proc", "/sys")


@dataclass(frozen=True)
class Overlay:
    """An image that another one, the backing file, is below. C(pool) is None where none that runs has it."""

    pool: str | None
    volume: str
    path: str
    backing: str

    @property
    def label(self) -> str:
        """What it is, for a message."""
        return f"volume {self.pool}/{self.volume}" if self.pool is not None else f"file {self.path}"


def overlays(host: Host) -> list[Overlay]:
    """All images with a backing file in pools and in directories that machines have disks, or layers of disks, in."""
    return list(_Search(host).found.values())


def chain(path: str, among: Iterable[Overlay]) -> list[str]:
    """The files that an image is built on, the nearest first."""
    below = {item.path: item.backing for item in among}
    found: list[str] = []
    while (path := below.get(path, "")) and path not in found:
        found.append(path)
    return found


def is_there(host: Host, item: Overlay) -> bool:
    """Whether an image that was found is still there."""
    with suppress(Failure), Folder(host, posixpath.dirname(item.path)) as folder:
        return folder.file(posixpath.basename(item.path)) is not None
    return False


class _Search:
    """What is found on a host, directory by directory, beginning with those of pools and of machines' disks."""

    def __init__(self, host: Host) -> None:
        self.host = host
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
        while wanted:
            wanted = [path for one in wanted for path in self._look(posixpath.normpath(one))]

    def _pool(self, pool: libvirt.virStoragePool) -> None:
        document = parse(pool.XMLDesc(0))
        target = posixpath.normpath((document.findtext("target/path") or "/").strip())
        if pool.isActive():
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
        for item in self.host.in_parallel(partial(_described, pool, directory), volumes):
            if item is not None:
                self._seen.add(item.path)
                if item.backing:
                    self.found[pool, item.path] = item


def _described(pool: str | None, directory: str | None, volume: libvirt.virStorageVol) -> Overlay | None:
    try:
        name, found = volume.name(), volume_of(str(volume.XMLDesc(0)))
    except libvirt.libvirtError:
        # It was deleted since it was listed.
        return None
    path = posixpath.join(directory, name) if directory is not None else found.path
    backing = found.backing or ""
    return Overlay(pool, name, path, posixpath.normpath(backing) if backing.startswith("/") else backing)
