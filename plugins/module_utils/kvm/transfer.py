# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a volume, sent and received as streams: holes stay holes, and nothing large is ever in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeAlias

from .connection import Host
from .errors import asking
from .library import libvirt

# Bytes that fit into one message of libvirt's protocol (VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX).
PIECE = 262120
# A piece of data, or the length of a hole.
Section: TypeAlias = "bytes | int"
Told = Callable[[int], None]


def sections_of(descriptor: int, length: int) -> Iterator[Section]:
    """The first C(length) bytes of an open file, in order, its holes as such. A file that ends earlier ends earlier."""
    at = 0
    while at < length:
        data = _seek(descriptor, at, os.SEEK_DATA, length)
        if data > at:
            yield data - at
        at, end = data, _seek(descriptor, data, os.SEEK_HOLE, length)
        while at < end:
            piece = os.pread(descriptor, min(PIECE, end - at), at)
            if not piece:
                return
            yield piece
            at += len(piece)


def _seek(descriptor: int, at: int, whence: int, length: int) -> int:
    """The next data or hole. Beyond the last data there is nothing but a hole; where holes are unknown all is data."""
    if at >= length:
        return length
    try:
        return min(os.lseek(descriptor, at, whence), length)
    except OSError:
        is_known = os.fstat(descriptor).st_blocks * 512 < length
        return length if whence == os.SEEK_HOLE or is_known else at


def send(
    host: Host, volume: libvirt.virStorageVol, sections: Iterable[Section], length: int, told: Told, asked: str
) -> int:
    """Write sections into a volume from its beginning; the number of bytes. C(told) hears how many have gone so far."""
    sent = 0
    with asking(asked):
        stream = host.connection.newStream(0)
        try:
            volume.upload(stream, 0, length, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
            for section in sections:
                if isinstance(section, int):
                    stream.sendHole(section)
                    sent += section
                else:
                    _send(stream, section)
                    sent += len(section)
                told(sent)
            stream.finish()
        except BaseException:
            with suppress(libvirt.libvirtError):
                stream.abort()
            raise
    return sent


def _send(stream: libvirt.virStream, piece: bytes) -> None:
    done = stream.send(piece)
    while done < len(piece):
        piece = piece[done:]
        done = stream.send(piece)


def received(host: Host, volume: libvirt.virStorageVol, asked: str) -> Iterator[Section]:
    """The sections of a volume. Who stops before the end ends the transfer."""
    with asking(asked):
        stream = host.connection.newStream(0)
        is_whole = False
        try:
            volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
            while True:
                got = stream.recvFlags(PIECE, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
                if isinstance(got, bytes):
                    if not got:
                        break
                    yield got
                else:
                    yield int(stream.recvHole())
            stream.finish()
            is_whole = True
        finally:
            if not is_whole:
                with suppress(libvirt.libvirtError):
                    stream.abort()


# Seconds between two words about a transfer.
_TELL_EVERY = 2.0


def telling(progress: Callable[[str], None], label: str, length: int, verb: str) -> Told:
    """Says now and then how much of a transfer is done; nothing of one that takes no time."""
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL_EVERY:
            last = now
            progress(f"{label}: {done * 100 // max(length, 1)} % of {length} bytes {verb}")

    return tell


_ZEROS = bytes(PIECE)


def is_zero(piece: bytes) -> bool:
    """Whether a piece of at most PIECE bytes is all zeros."""
    return piece == _ZEROS if len(piece) == PIECE else piece == _ZEROS[: len(piece)]


def filled(sections: Iterable[Section]) -> Iterator[bytes]:
    """The sections as bytes, holes as zeros."""
    for section in sections:
        if isinstance(section, int):
            for at in range(0, section, PIECE):
                yield _ZEROS[: min(PIECE, section - at)]
        else:
            yield section


def is_same(sections: Iterable[Section], descriptor: int, length: int) -> bool:
    """Whether sections hold the C(length) bytes of an open file, followed by zeros at most. Ends where they differ."""
    at = 0
    for section in sections:
        size = section if isinstance(section, int) else len(section)
        inside = max(0, min(size, length - at))
        if isinstance(section, int):
            if not _is_hole(descriptor, at, inside):
                return False
        elif section[:inside] != os.pread(descriptor, inside, at) or not is_zero(section[inside:]):
            return False
        at += size
    return at >= length


def _is_hole(descriptor: int, at: int, size: int) -> bool:
    """Whether a part of a file is zeros; what is a hole there too is not read."""
    end = at + size
    while at < end:
        at = _seek(descriptor, at, os.SEEK_DATA, end)
        if at < end:
            piece = os.pread(descriptor, min(PIECE, end - at), at)
            if not piece or not is_zero(piece):
                return False
            at += len(piece)
    return True


# Bytes that are written at once: for more Linux takes large pages, which a busy or virtual machine has to find first.
_WRITTEN = 65536


def write(sections: Iterable[Section], descriptor: int, told: Told) -> int:
    """Write sections into an open empty file, holes as holes; the number of bytes."""
    at = 0
    for section in sections:
        if isinstance(section, int):
            at += section
        else:
            view = memoryview(section)
            while view:
                done = os.pwrite(descriptor, view[:_WRITTEN], at)
                view, at = view[done:], at + done
        told(at)
    os.ftruncate(descriptor, at)
    return at
