"""What an image is, by its first bytes, and how compressed streams are unpacked piece by piece."""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from virtlab.storage.problems import DataProblem
from virtlab.storage.zstd import Unzstd

HEADER = 512  # bytes that CDI looks at
CHUNK = 1024 * 1024  # the most that is unpacked at once


@dataclass(frozen=True)
class Magic:
    format: str
    bytes: bytes
    offset: int = 0


MAGICS = (
    Magic("gz", b"\x1f\x8b"),
    Magic("zst", b"\x28\xb5\x2f\xfd"),
    Magic("xz", b"\xfd7zXZ\x00"),
    Magic("qcow2", b"QFI\xfb"),
    Magic("vmdk", b"KDMV"),
    Magic("vdi", b"\x7f\x10\xda\xbe", 0x40),
    Magic("vhd", b"conectix"),
    Magic("vhdx", b"vhdxfile"),
    Magic("tar", b"ustar", 0x101),
)
PACKED = frozenset({"gz", "xz", "zst"})
# What qemu-img calls the formats that it has to make raw.
CONVERTED = {"qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}


def sniff(head: bytes) -> str:
    """The format that begins with C(head): C(raw) when it is none that is known."""
    for magic in MAGICS:
        if head[magic.offset : magic.offset + len(magic.bytes)] == magic.bytes:
            return magic.format
    return "raw"


class Unpacker(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """What C(data) unpacks to. Raises DataProblem for a damaged stream."""
        ...

    def finish(self) -> None:
        """Raises DataProblem for a stream that ended early."""
        ...


class Gunzip:
    """One or more gzip members after another, as gzip -c a b makes them."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._stream.eof:
                    if not data.strip(b"\0"):  # padding after the last member
                        return
                    self._stream, self._begun = zlib.decompressobj(zlib.MAX_WBITS | 16), False
                self._begun = True
                found = self._stream.decompress(data, CHUNK)
                if found:
                    yield found
                data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        except zlib.error:
            raise DataProblem("gzip: invalid checksum or damaged data") from None

    def finish(self) -> None:
        if not self._stream.eof:
            raise DataProblem("unexpected EOF")


class Unxz:
    def __init__(self) -> None:
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data or not (self._stream.needs_input or self._stream.eof):
                if self._stream.eof:
                    if not data.strip(b"\0"):
                        return
                    self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
                found = self._stream.decompress(data, CHUNK)
                if found:
                    yield found
                data = self._stream.unused_data if self._stream.eof else b""
        except lzma.LZMAError as error:
            raise DataProblem(f"xz: {error}") from None

    def finish(self) -> None:
        if not self._stream.eof:
            raise DataProblem("unexpected EOF")


def unpacker(format: str) -> Unpacker:
    """Raises DataProblem for a compression that cannot be unpacked here."""
    if format == "gz":
        return Gunzip()
    return Unxz() if format == "xz" else Unzstd()
