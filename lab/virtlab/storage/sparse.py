"""Sparse files: what is zero takes no room, neither when it is written nor when it is copied."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from virtlab.storage.problems import Cancelled, DataProblem, NoCapacity

BLOCK = 64 * 1024  # what is looked at for being all zero
CHUNK = 1024 * 1024  # what is read and copied at once
ZERO = bytes(BLOCK)
ZEROS = bytes(CHUNK)
FICLONE = 0x40049409  # ioctl: share the extents of another file (XFS, btrfs)
MODE = 0o660

Progress = Callable[[int], None]  # told of bytes done; may raise Cancelled


def _ignore(done: int) -> None:
    return None


class SparseWriter:
    """Writes a stream to a new file of at most C(limit) bytes; a block of zeros becomes a hole."""

    def __init__(self, path: Path, limit: int | None = None, shown: str = "/data/disk.img") -> None:
        self.path, self.limit, self.shown = path, limit, shown
        self.offset = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)

    def write(self, data: bytes) -> None:
        """Raises NoCapacity where the limit is passed or the machine's own disk is full."""
        if self.limit is not None and self.offset + len(data) > self.limit:
            raise self._full()
        try:
            for start, end in filled(data):
                _write_all(self._file, memoryview(data)[start:end], self.offset + start)
        except OSError as error:
            raise self._full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else DataProblem(str(error)) from error
        self.offset += len(data)

    def _full(self) -> NoCapacity:
        return NoCapacity(f"unable to write to file: write {self.shown}: no space left on device")

    def close(self, size: int | None = None) -> None:
        """Make it as long as what was written, holes at the end included, or C(size) bytes, and whole on disk."""
        if self._file >= 0:
            os.ftruncate(self._file, self.offset if size is None else size)
            os.fsync(self._file)
            self.abandon()

    def abandon(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def filled(data: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of blocks that are not all zero."""
    begun = None
    for start in range(0, len(data), BLOCK):
        empty = not data[start] and data[start : start + BLOCK] == ZERO[: len(data) - start]
        if empty and begun is not None:
            yield begun, start
            begun = None
        elif not empty and begun is None:
            begun = start
    if begun is not None:
        yield begun, len(data)


def _write_all(file: int, view: memoryview, offset: int) -> None:
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


def create(path: Path, size: int, *, preallocate: bool = False) -> None:
    """A file of C(size) zero bytes; there at once whole or not at all."""
    part = path.with_name(f".{path.name}.new")
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    try:
        os.ftruncate(file, size)
        if preallocate and size:
            os.posix_fallocate(file, 0, size)
    finally:
        os.close(file)
    part.rename(path)


def grow(path: Path, size: int, *, preallocate: bool = False) -> None:
    """Make the file C(size) bytes long; it is never made shorter."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        have = os.fstat(file).st_size
        if have < size:
            os.ftruncate(file, size)
        if preallocate and max(have, size):
            os.posix_fallocate(file, 0, max(have, size))
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoCapacity("unable to write to file: no space left on device") from error
    finally:
        os.close(file)


def allocated(path: Path) -> int:
    """Bytes that the file takes on disk."""
    return path.stat().st_blocks * 512


def extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what holds data in the first C(size) bytes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(file, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        position = min(os.lseek(file, start, os.SEEK_HOLE), size)
        if start < size:
            yield start, position


def copy(source: Path, target: Path, *, size: int | None = None, progress: Progress = _ignore) -> None:
    """C(target) with the bytes of C(source), holes as holes, sharing extents where the file system can.

    C(size) bytes long at least. The target is there whole or not at all; C(progress) is told how far it got.
    """
    part = target.with_name(f".{target.name}.copy")
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
        try:
            have = os.fstat(reading).st_size
            if not _shared(writing, reading):
                _copy_extents(reading, writing, have, progress)
            os.ftruncate(writing, max(have, size or 0))
            os.fsync(writing)
        finally:
            os.close(writing)
        part.rename(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoCapacity(f"unable to write to file: write {target.name}: no space left on device") from error
        raise DataProblem(str(error)) from error
    except Cancelled:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(reading)


def _shared(writing: int, reading: int) -> bool:
    try:
        fcntl.ioctl(writing, FICLONE, reading)
    except OSError:
        return False
    return True


def _copy_extents(reading: int, writing: int, size: int, progress: Progress) -> None:
    for start, end in extents(reading, size):
        position = start
        while position < end:
            data = os.pread(reading, min(CHUNK, end - position), position)
            if not data:
                return
            for first, last in filled(data):
                _write_all(writing, memoryview(data)[first:last], position + first)
            position += len(data)
            progress(position)
    progress(size)


def chunks(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes from C(start) to C(end) in pieces of a mebibyte at most; holes are not read."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        last = size if end is None else min(end, size)
        position = start
        for begin, until in extents(file, last):
            if until <= position:
                continue
            while position < begin:
                piece = ZEROS[: min(CHUNK, begin - position)]
                yield piece
                position += len(piece)
            while position < until:
                data = os.pread(file, min(CHUNK, until - position), position)
                if not data:
                    return
                yield data
                position += len(data)
        while position < last:
            piece = ZEROS[: min(CHUNK, last - position)]
            yield piece
            position += len(piece)
    finally:
        os.close(file)


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of the file's bytes."""
    digest = hashlib.new(algorithm)
    for piece in chunks(path):
        digest.update(piece)
    return digest.hexdigest()
