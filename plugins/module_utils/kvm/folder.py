# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of a host, as files that libvirt can make, read, write and delete there."""

from __future__ import annotations

import posixpath
import random
import uuid
from contextlib import suppress
from xml.etree.ElementTree import Element

from ..task import Failure
from .connection import Host
from .errors import NotThere, asking
from .library import libvirt
from .xml import ensure, make, parse, written

# A directory can be the target of one pool only, as a text: this many spellings of it are to be had for tasks of ours.
_SPELLINGS = 200
_ATTEMPTS = 10


class Folder:
    """The files in a directory of a host, for the time of a C(with) block.

    libvirt gives access to files by pools only. This one has a pool of its own that is not defined, so that neither a
    pool of the user's that has the directory nor another task is disturbed. Raises Failure for what is no absolute
    path, KvmError where the directory does not exist and C(create) is not asked for.
    """

    def __init__(self, host: Host, path: str, *, create: bool = False) -> None:
        if not path.startswith("/"):
            raise Failure(f"The directory {path} is no absolute path on {host.uri}; write it from / on.")
        self.host = host
        self.path = posixpath.normpath(path)
        self._create = create
        self._pool: libvirt.virStoragePool | None = None

    def __enter__(self) -> Folder:
        for attempt in range(_ATTEMPTS):
            try:
                self._pool = self._opened()
                return self
            except libvirt.libvirtError as error:
                # Another task may have the same spelling at this moment.
                taken = error.get_error_code() == libvirt.VIR_ERR_OPERATION_FAILED and "conflict" in str(error)
                if not taken or attempt == _ATTEMPTS - 1:
                    with asking(f"open the directory {self.path} on {self.host.uri}"):
                        raise
        raise AssertionError("unreachable")

    def _opened(self) -> libvirt.virStoragePool:
        spelling = self.path + "/." * random.randint(1, _SPELLINGS)
        pool = make("pool", type="dir")
        pool.append(make("name", f"virtstack-{uuid.uuid4().hex[:12]}"))
        ensure(pool, "target/path").text = spelling
        flags = libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD if self._create else 0
        return self.host.connection.storagePoolCreateXML(written(pool), flags)

    def __exit__(self, *_error: object) -> None:
        # With the connection lost, libvirt forgets the pool at its next start.
        with suppress(libvirt.libvirtError):
            self.pool.destroy()

    @property
    def pool(self) -> libvirt.virStoragePool:
        if self._pool is None:
            raise AssertionError("a folder is used in a with block")
        return self._pool

    @property
    def available(self) -> int:
        """Bytes that are free in the file system of the directory."""
        with asking(f"ask {self.host.uri} for the space in {self.path}"):
            return int(self.pool.info()[3])

    def names(self) -> list[str]:
        """The names of the files, in order."""
        with asking(f"list the directory {self.path} on {self.host.uri}"):
            self.pool.refresh()
            return sorted(volume.name() for volume in self.pool.listAllVolumes())

    def file(self, name: str) -> libvirt.virStorageVol | None:
        """The file of that name, None where there is none. What came after the folder was opened, C(names) finds."""
        return self.host.volume(self.pool, name)

    def there(self, name: str) -> libvirt.virStorageVol:
        """The file of that name. Raises NotThere where there is none."""
        volume = self.file(name)
        if volume is None:
            raise NotThere(f"There is no file {self.path}/{name} on {self.host.uri}.")
        return volume

    def make(self, name: str, volume: Element) -> libvirt.virStorageVol:
        """A new file, made as the XML of a volume says. Raises KvmError where there is one of the name already."""
        with asking(f"make the file {self.path}/{name} on {self.host.uri}"):
            return self.pool.createXML(written(volume))

    def delete(self, name: str) -> bool:
        """Delete a file; whether there was one."""
        volume = self.file(name)
        if volume is None:
            return False
        with asking(f"delete the file {self.path}/{name} on {self.host.uri}"):
            volume.delete()
        return True


def delete_file(host: Host, path: str) -> bool:
    """Delete the file at a path of the host; whether there was one."""
    directory, name = posixpath.split(path)
    with Folder(host, directory) as folder:
        return folder.delete(name)


def volume_xml(
    name: str,
    capacity: int,
    format_: str = "raw",
    *,
    compat: str | None = "1.1",
    backing: tuple[str, str] | None = None,
) -> Element:
    """A volume that only its owner reads and that takes no space before it is written to. C(capacity) is in bytes.

    C(compat) is that of qcow2; 0.10 has no dirty bitmaps. C(backing) is path and format of the file behind it.
    """
    volume = make("volume")
    volume.append(make("name", name))
    volume.append(make("capacity", str(capacity), unit="bytes"))
    volume.append(make("allocation", "0", unit="bytes"))
    target = ensure(volume, "target")
    target.append(make("format", type=format_))
    ensure(target, "permissions/mode").text = "0600"
    if format_ == "qcow2" and compat is not None:
        target.append(make("compat", compat))
    if backing is not None:
        ensure(volume, "backingStore/path").text = backing[0]
        volume[-1].append(make("format", type=backing[1]))
    return volume


def described(volume: libvirt.virStorageVol) -> Element:
    """The XML of a volume as libvirt has it."""
    with asking(f"read volume {volume.name()}"):
        return parse(volume.XMLDesc())
