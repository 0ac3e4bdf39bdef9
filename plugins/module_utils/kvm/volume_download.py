# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume's bytes in a file: the file is there when it is whole, and not before."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..task import Failure
from .errors import KvmError
from .image_source import Digest
from .library import libvirt
from .transfer import is_same, received, sections_of, telling, write
from .volume_store import Pool
from .volume_xml import Volume

PART = ".part"


def is_there(path: str, digest: Digest, pool: Pool, volume: libvirt.virStorageVol, *, compare: bool) -> bool:
    """Whether the file is there, has the checksum, and with C(compare) the volume's bytes. Reads until they differ."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Failure(f"Cannot read {path}, where the task runs: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Failure(f"dest: {path} is there, and is no file.")
        length = os.fstat(descriptor).st_size
        if digest:
            try:
                digest.verify(sections_of(descriptor, length), path)
            except Failure as failure:
                if not compare:
                    raise Failure(f"{failure.message} overwrite: true replaces the file.") from failure
                return False
            return True
        if not compare:
            return True
        sections = received(pool.host, volume, f"read volume {pool.name}/{volume.name()}")
        return is_same(sections, descriptor, length) and length == sum(_lengths(pool, volume))
    finally:
        os.close(descriptor)


def _lengths(pool: Pool, volume: libvirt.virStorageVol) -> Iterator[int]:
    """The length of what a download gives: that of the file, where the volume is one."""
    live = pool.read(volume)
    yield live.physical if live.is_file else live.capacity


def refuse_place(path: str, volume: Volume) -> None:
    """Refuse a directory that is not there or may not be written, or has not enough space for the data."""
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise Failure(f"dest: {path} is a directory; name a file in it.")
    if not os.path.isdir(directory):
        raise Failure(f"dest: the directory {directory} is not there, where the task runs.")
    if not os.access(directory, os.W_OK):
        raise Failure(f"dest: the directory {directory} may not be written by the user who runs the task.")
    space = os.statvfs(directory)
    if space.f_bavail * space.f_frsize < volume.allocation:
        raise Failure(
            f"dest: {directory} has {space.f_bavail * space.f_frsize} bytes left, the volume has {volume.allocation}."
        )


def download(
    path: str, digest: Digest, pool: Pool, volume: libvirt.virStorageVol, live: Volume, progress: Callable[[str], None]
) -> int:
    """Write a volume into a file, sparse, with the rights of a new file of the user's own; the number of bytes."""
    name = f"{pool.name}/{volume.name()}"
    tell = telling(progress, name, live.physical if live.is_file else live.capacity, "downloaded")
    with _part(path) as descriptor:
        try:
            sections = digest.of(received(pool.host, volume, f"download volume {name}"), f"volume {name}")
            size = write(sections, descriptor, tell)
        except OSError as error:
            raise Failure(f"Cannot write {path}: {error.strerror}. The file is as it was.") from error
        except KvmError as error:
            error.add(f"{path} is as it was; run this again.")
            raise
        os.fsync(descriptor)
    return size


@contextmanager
def _part(path: str) -> Iterator[int]:
    """A new file beside another one, which takes its place at the end. One that was left behind is not continued."""
    part = path + PART
    with suppress(FileNotFoundError):
        os.unlink(part)
    try:
        # Nobody else may read a disk; who wants others to, says so afterwards.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"Cannot write {part}: {error.strerror}.") from error
    try:
        yield descriptor
        with suppress(FileNotFoundError):
            os.fchmod(descriptor, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    finally:
        os.close(descriptor)
