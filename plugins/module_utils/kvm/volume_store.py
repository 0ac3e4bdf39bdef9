# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pools and volumes of a host, as the tasks of C(kvm_volume) look them up, make and delete them.

A volume that is being filled has another one beside it, C(NAME.incomplete): it is made before and deleted after, so
that whatever dies in between, the next run knows that what is there was never whole.
"""

from __future__ import annotations

import posixpath
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from xml.etree.ElementTree import Element

from ..task import Failure
from .backing import images
from .connection import Host
from .errors import KvmError, NotThere, asking
from .library import libvirt
from .usage import Use, uses, uses_of_saved
from .volume_xml import MARKED_POOLS, UNFINISHED, Volume, volume_of
from .xml import make, parse, written

# Seconds that a transfer of somebody who has just gone may still hold a volume.
_PATIENCE = 10.0
# Seconds that clones, which this task may be making itself, may keep a pool from being looked at again.
_REFRESH_PATIENCE = 3600.0
_LOOK_EVERY = 0.2


class Pool:
    """An active pool."""

    def __init__(self, host: Host, name: str) -> None:
        found = host.pool(name)
        if found is None:
            raise NotThere(f"There is no pool {name} at {host.uri}. Declare it with virtstack.core.kvm_pool.")
        with asking(f"read pool {name}"):
            if not found.isActive():
                raise KvmError(f"Pool {name} is not active. Start it with virtstack.core.kvm_pool (state: active).")
            self.type = str(parse(found.XMLDesc(0)).get("type"))
        self.host, self.name, self.pool = host, name, found
        self._refreshed = False
        self._lock = threading.Lock()

    @property
    def available(self) -> int:
        """Bytes that are left."""
        with asking(f"read pool {self.name}"):
            return int(self.pool.info()[3])

    def find(self, name: str) -> libvirt.virStorageVol | None:
        """The volume; the pool is asked to look again, once, before one is said to be missing."""
        found = self.host.volume(self.pool, name)
        if found is not None:
            return found
        with self._lock:
            if self._refreshed:
                return None
            # While others clone in it, a pool cannot look again; it knows well enough what they make.
            with suppress(KvmError):
                self.refresh(patience=0)
            self._refreshed = True
        return self.host.volume(self.pool, name)

    def refresh(self, patience: float = _REFRESH_PATIENCE) -> None:
        """Look again what is there. Waits so many seconds for other jobs on the pool."""
        _patiently(lambda: self.pool.refresh(0), f"refresh pool {self.name}", patience)

    def make(self, document: Element, flags: int = 0) -> libvirt.virStorageVol:
        with asking(f"make volume {self.name}/{document.findtext('name')}"):
            return self.pool.createXML(written(document), flags)

    def clone(self, document: Element, source: libvirt.virStorageVol) -> libvirt.virStorageVol:
        with asking(f"clone volume {source.name()} into {self.name}/{document.findtext('name')}"):
            return self.pool.createXMLFrom(written(document), source, 0)

    def delete(self, volume: libvirt.virStorageVol) -> None:
        _patiently(lambda: volume.delete(0), f"delete volume {self.name}/{volume.name()}")

    def read(self, volume: libvirt.virStorageVol) -> Volume:
        with asking(f"read volume {self.name}/{volume.name()}"):
            return volume_of(volume.XMLDesc(0))

    def mark(self, name: str) -> libvirt.virStorageVol | None:
        """The mark that says that a volume is not whole."""
        return self.host.volume(self.pool, name + UNFINISHED) if self.type in MARKED_POOLS else None

    def set_mark(self, name: str) -> None:
        if self.type not in MARKED_POOLS or self.mark(name) is not None:
            return
        document = make("volume")
        document.append(make("name", name + UNFINISHED))
        document.append(make("capacity", "1", unit="bytes"))
        self.make(document)

    def unmark(self, name: str) -> None:
        mark = self.mark(name)
        if mark is not None:
            self.delete(mark)

    def forget(self, name: str) -> None:
        """Take away a volume that was not finished, and its mark. Where the host is gone, the mark stays and tells."""
        with suppress(KvmError, libvirt.libvirtError):
            volume = self.host.volume(self.pool, name)
            if volume is not None:
                self.delete(volume)
            self.unmark(name)

    def uses(self, volume: Volume, name: str, *, held_only: bool = True) -> list[Use]:
        """The guests' uses of a volume: those of guests that run or are saved, or of all."""
        found = uses(self.host, running_only=held_only)
        if held_only:
            found += uses_of_saved(self.host)
        directory = posixpath.dirname(volume.path)
        by_path = [use for use in found if use.path]
        # Only from elsewhere a link leads to it.
        is_near = all(posixpath.dirname(use.path) == directory for use in by_path)
        names = {volume.path} if is_near or not volume.path else images(self.host).names(volume.path)
        here = [use for use in by_path if posixpath.normpath(use.path) in names]
        return here + [use for use in found if use not in here and use.is_of(volume.path, self.name, name)]

    def built_on(self, volume: Volume) -> list[str]:
        """What it is the backing file of: names of this pool's volumes, C(POOL/NAME) of others', and paths."""
        above = list(images(self.host, anew=True).above(volume.path))
        # A directory may be that of several pools.
        here = {item.path for item in above if item.pool == self.name}
        return sorted(
            item.volume if item.pool == self.name else item.path if item.pool is None else f"{item.pool}/{item.volume}"
            for item in above
            if item.pool == self.name or item.path not in here
        )


def _patiently(step: Callable[[], object], asked: str, patience: float = _PATIENCE) -> None:
    """Do something, again and again for a while where somebody else has not let go yet."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with asking(asked):
                step()
            return
        except KvmError as error:
            is_held = error.code == libvirt.VIR_ERR_OPERATION_INVALID or (
                error.code == libvirt.VIR_ERR_INTERNAL_ERROR and "asynchronous job" in error.message
            )
            if not is_held or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_EVERY)


class Store:
    """The pools that a task works with, each looked up once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._pools: dict[str, Pool | Failure] = {}
        self._lock = threading.Lock()

    def pool(self, name: str) -> Pool:
        with self._lock:
            if name not in self._pools:
                try:
                    self._pools[name] = Pool(self.host, name)
                except Failure as failure:
                    self._pools[name] = failure
            found = self._pools[name]
        if isinstance(found, Failure):
            raise found
        return found
