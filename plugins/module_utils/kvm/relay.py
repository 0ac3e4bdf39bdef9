# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of volumes, through libvirt's streams: from host to host, into a checksum, to and from memory.

Holes stay holes, and no more than a piece of a volume is in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..task import Failure
from .connection import Host
from .errors import asking
from .library import libvirt

_PIECE = 256 * 1024
_ZEROS = bytes(1024 * 1024)
# What recvFlags returns in the place of data where a hole begins.
_HOLE = -3

Told = Callable[[int], None]


@contextmanager
def _stream(host: Host) -> Iterator[libvirt.virStream]:
    """A stream that is aborted when the block is left before it was finished."""
    stream = host.connection.newStream(0)
    done = False
    try:
        yield stream
        stream.finish()
        done = True
    finally:
        if not done:
            with suppress(libvirt.libvirtError):
                stream.abort()


def _pieces(stream: libvirt.virStream) -> Iterator[bytes | int]:
    """What a sparse stream brings: data, or the length of a hole."""
    while True:
        piece = stream.recvFlags(_PIECE, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE)
        if piece == _HOLE:
            yield int(stream.recvHole())
        elif not piece:
            return
        else:
            yield piece


def _send(stream: libvirt.virStream, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.send(bytes(rest)) :]


def copy(
    source: Host, volume: libvirt.virStorageVol, target: Host, copied: libvirt.virStorageVol, told: Told | None = None
) -> int:
    """Copy all bytes of a volume over another one, which may be on another host; how many there are.

    C(told) hears how many are through.
    """
    through = 0
    asked = f"copy {volume.path()} on {source.uri} to {copied.path()} on {target.uri}"
    with asking(asked), _stream(source) as from_, _stream(target) as to:
        volume.download(from_, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        copied.upload(to, 0, 0, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        for piece in _pieces(from_):
            if isinstance(piece, int):
                to.sendHole(piece)
                through += piece
            else:
                _send(to, piece)
                through += len(piece)
            if told is not None:
                told(through)
    return through


def sha256(host: Host, volume: libvirt.virStorageVol) -> tuple[str, int]:
    """The SHA-256 of a volume's bytes, and how many there are."""
    digest, size = hashlib.sha256(), 0
    with asking(f"read {volume.path()} on {host.uri}"), _stream(host) as stream:
        volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        for piece in _pieces(stream):
            if isinstance(piece, int):
                size += piece
                for start in range(0, piece, len(_ZEROS)):
                    digest.update(_ZEROS[: min(len(_ZEROS), piece - start)])
            else:
                size += len(piece)
                digest.update(piece)
    return digest.hexdigest(), size


def read(host: Host, volume: libvirt.virStorageVol, at_most: int) -> bytes:
    """All bytes of a small volume. Raises Failure for one that has more than C(at_most)."""
    found = bytearray()
    with asking(f"read {volume.path()} on {host.uri}"), _stream(host) as stream:
        volume.download(stream, 0, 0, 0)
        while piece := stream.recv(_PIECE):
            found += piece
            if len(found) > at_most:
                raise Failure(f"{volume.path()} on {host.uri} has more than {at_most} bytes and is not read.")
    return bytes(found)


def write(host: Host, volume: libvirt.virStorageVol, data: bytes) -> None:
    """Put bytes at the beginning of a volume."""
    with asking(f"write {volume.path()} on {host.uri}"), _stream(host) as stream:
        volume.upload(stream, 0, len(data), 0)
        _send(stream, data)
