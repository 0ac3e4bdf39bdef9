# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk image in a file: its format, the size of the disk in it, whether it is whole, and its checksum.

Read once from the beginning to the end, in pieces, by nothing but Python. Formats: docs/interop/qcow2.txt of QEMU,
"Virtual Disk Format" of VMware, MS-VHDX, and what CDI takes (pkg/image/filefmt.go).
"""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from .image_formats import HEAD, Broken, recognized
from .refusal import Refused

PIECE = 1 << 20
# Seconds between two lines of progress.
_PROGRESS_EVERY = 3.0
CHECKSUMS = ("sha256", "sha512", "sha1", "md5")
# Endings that raw disks do not have. VMware gives them that of a VMDK.
_TELLING_NAMES = frozenset({".qcow2", ".vdi", ".vhdx"})
_UNPACKABLE = {
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True)
class Image:
    """What a file holds. Sizes are in bytes: C(file_size) of the file, C(virtual_size) of the disk that it is of."""

    format: str
    packed: str | None
    file_size: int
    virtual_size: int
    sha256: str


def read_image(path: str, progress: Callable[[str], None] | None = None, checksum: str | None = None) -> Image:
    """The image in a file. Raises Refused for what is none, is not whole, or is not the one with that checksum.

    C(checksum) is an algorithm and a digest, e.g. C(sha256:4e1d...).
    """
    wanted = checksum_of(checksum)
    try:
        with open(path, "rb") as file:
            return _read(file, path, wanted, progress or (lambda text: None))
    except IsADirectoryError:
        raise Refused(f"path: {path} is a directory, not an image") from None
    except OSError as error:
        raise Refused(f"path: {path} cannot be read: {error.strerror}") from None


def checksum_of(text: str | None) -> tuple[str, str] | None:
    """Algorithm and digest, e.g. of C(sha256:4e1d...). Raises Refused for what is neither."""
    if text is None:
        return None
    algorithm, _colon, digest = text.strip().lower().partition(":")
    if algorithm not in CHECKSUMS or len(digest) != hashlib.new(algorithm).digest_size * 2:
        names = ", ".join(CHECKSUMS)
        raise Refused(f"checksum: {text!r} is none; write an algorithm ({names}), a colon and its hexadecimal digits")
    return algorithm, digest


def _read(file: BinaryIO, path: str, wanted: tuple[str, str] | None, progress: Callable[[str], None]) -> Image:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"path: {path} is no regular file; an image has to be one, since it is read more than once")
    if status.st_size == 0:
        raise Refused(f"path: {path} is empty")
    head = file.read(HEAD)
    packed = _packing(head, path)
    digests = {name: hashlib.new(name) for name in {"sha256", *([wanted[0]] if wanted else [])}}
    unpacker = _Unpacker(packed) if packed else None
    file.seek(0)
    done, said = 0, time.monotonic()
    while piece := file.read(PIECE):
        for digest in digests.values():
            digest.update(piece)
        if unpacker is not None:
            _unpack(unpacker, piece, path)
        done += len(piece)
        if time.monotonic() - said > _PROGRESS_EVERY:
            said = time.monotonic()
            progress(f"{done * 100 // status.st_size} % of {os.path.basename(path)} read")
    if done != status.st_size:
        raise Refused(f"path: {path} changed while it was read; wait until it is complete")
    if wanted is not None and digests[wanted[0]].hexdigest() != wanted[1]:
        found = digests[wanted[0]].hexdigest()
        raise Refused(f"checksum: {path} has {wanted[0]}:{found}, not {wanted[1]}; it is another file, or damaged")
    if unpacker is not None:
        kind, size = _within(unpacker, path)
    else:
        kind, size = _recognized(file, path, head, status.st_size)
    _refuse_misnamed(path, kind, packed)
    return Image(kind, packed, status.st_size, size, digests["sha256"].hexdigest())


def _refuse_misnamed(path: str, kind: str, packed: str | None) -> None:
    """Whatever is nothing known counts as a raw disk, an error message in place of an image as well."""
    name, ending = os.path.splitext(os.path.basename(path).lower())
    if ending in (".gz", ".xz"):
        if packed is None and kind == "raw":
            raise Refused(f"path: {path} is not packed as its name says; fetch it again, or rename it if it is a disk")
        ending = os.path.splitext(name)[1]
    if kind == "raw" and ending in _TELLING_NAMES:
        raise Refused(
            f"path: {path} is named like a {ending[1:]} image and holds none; fetch it again, or rename it if it is a"
            " raw disk"
        )


def _packing(head: bytes, path: str) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "gz"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    for magic, name in _UNPACKABLE.items():
        if head.startswith(magic):
            raise Refused(
                f"path: {path} is packed with {name}, which is not supported here; unpack it, or use gz or xz"
            )
    if head[257:262] == b"ustar":
        raise Refused(f"path: {path} is a tar archive, not a disk image; unpack it")
    return None


def _unpack(unpacker: _Unpacker, piece: bytes, path: str) -> None:
    try:
        unpacker.feed(piece)
    except (zlib.error, lzma.LZMAError) as error:
        raise Refused(f"path: {path} is damaged: it cannot be unpacked ({error})") from None


def _within(unpacker: _Unpacker, path: str) -> tuple[str, int]:
    """Format and size of what was packed, of which only the beginning is kept."""
    if not unpacker.is_whole:
        raise Refused(f"path: {path} is truncated: its packed content ends before its end")
    if unpacker.size == 0:
        raise Refused(f"path: {path} holds nothing")
    return _recognized(None, path, unpacker.head, unpacker.size)


def _recognized(file: BinaryIO | None, path: str, head: bytes, size: int) -> tuple[str, int]:
    try:
        return recognized(file, head, size)
    except (Broken, struct.error) as error:
        text = str(error) if isinstance(error, Broken) else "is truncated: its header is not whole"
        raise Refused(f"path: {path} {text}") from None


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Unpacker:
    """Counts what a packed stream unpacks to, and keeps its beginning. Several streams may follow each other."""

    def __init__(self, packing: str) -> None:
        self._packing = packing
        self._stream = self._new()
        self.head = b""
        self.size = 0

    def _new(self) -> _Stream:
        if self._packing == "gz":
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        return lzma.LZMADecompressor(lzma.FORMAT_XZ)

    @property
    def is_whole(self) -> bool:
        return self._stream.eof

    def feed(self, data: bytes) -> None:
        for piece in self._unpacked(data):
            if len(self.head) < HEAD:
                self.head += piece[: HEAD - len(self.head)]
            self.size += len(piece)

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        while data or self._has_more():
            if self._stream.eof:
                # Another stream, or padding, may follow.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._stream = self._new()
            yield self._stream.decompress(data, PIECE)
            data = (
                self._stream.unused_data if self._stream.eof else bytes(getattr(self._stream, "unconsumed_tail", b""))
            )

    def _has_more(self) -> bool:
        return not self._stream.eof and getattr(self._stream, "needs_input", True) is False
