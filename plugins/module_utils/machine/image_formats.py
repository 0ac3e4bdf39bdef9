# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every format of disk images that CDI takes: the size of the disk, and signs that the file is not whole."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from .image import recognized as header
from .refusal import Refused

# Bytes at the beginning that tell an image's format and size; those of an ISO lie behind 32 KiB.
HEAD = 512 * 1024

_OFFSET_MASK = 0x00FFFFFFFFFFFE00
_COMPRESSED = 1 << 62
_EXTENDED_L2 = 1 << 4


class Broken(Exception):
    """What is wrong with an image: the rest of a sentence that its file begins."""


def recognized(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    """(format, bytes of the disk). C(file) is None where the image is packed, so that only its beginning is known.

    C(size) is that of the unpacked image. Raises Broken for one that is truncated or depends on other files.
    """
    for magic, offset, read in _FORMATS:
        if head[offset : offset + len(magic)] == magic:
            return read(file, head, size)
    if head[:200].lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise Broken("is a web page, not an image")
    if head.startswith(b"# Disk DescriptorFile"):
        raise Broken("is the description of a VMDK whose data are in other files; convert it to one file first")
    return "raw", size


def _qcow2(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    try:
        image = header(head, size, "")
    except Refused as refused:
        raise Broken("; ".join(refused.problems).strip()) from None
    bits, crypt = struct.unpack(">I", head[20:24])[0], struct.unpack(">I", head[32:36])[0]
    if crypt:
        raise Broken("is encrypted, which is not supported; decrypt it first: qemu-img convert")
    if file is not None:
        wide = 16 if head[4:8] == b"\0\0\0\x03" and head[79] & _EXTENDED_L2 else 8
        level1_size, level1_at = struct.unpack(">IQ", head[36:48])
        needed = max([0, *_qcow2_ends(file, _table(file, level1_at, level1_size), bits, wide, size)])
        if needed > size:
            raise Broken(_truncated("qcow2", size, needed))
    return "qcow2", image.capacity


def _truncated(what: str, size: int, needed: int) -> str:
    return f"is truncated: the {what} image refers to byte {needed}, but the file ends at {size}. Fetch it again"


def _table(file: BinaryIO, offset: int, count: int) -> tuple[int, ...]:
    file.seek(offset)
    data = file.read(8 * count)
    return struct.unpack(f">{len(data) // 8}Q", data[: len(data) // 8 * 8])


def _qcow2_ends(file: BinaryIO, level1: tuple[int, ...], bits: int, wide: int, size: int) -> Iterator[int]:
    """Where the tables end, and where the data clusters begin: the last of these may be shorter than a cluster."""
    cluster = 1 << bits
    packed_mask = (1 << (62 - (bits - 8))) - 1
    for entry in level1:
        offset = entry & _OFFSET_MASK
        if not offset:
            continue
        yield offset + cluster
        if offset + cluster > size:
            return
        for found in _table(file, offset, cluster // 8)[:: wide // 8]:
            if found:
                begin = found & packed_mask if found & _COMPRESSED else found & _OFFSET_MASK
                if begin >= size:
                    yield begin + 1


def _vmdk(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    (capacity,) = struct.unpack("<Q", head[12:20])
    directory = struct.unpack("<Q", head[56:64])[0]
    if directory not in (0, 0xFFFFFFFFFFFFFFFF) and directory * 512 >= size:
        raise Broken(_truncated("VMDK", size, directory * 512))
    return "vmdk", int(capacity) * 512


def _vdi(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    (virtual,) = struct.unpack("<Q", head[0x170:0x178])
    data_offset, block, allocated = struct.unpack("<I", head[0x158:0x15C])[0], *_vdi_blocks(head)
    needed = data_offset + block * allocated
    if needed > size:
        raise Broken(_truncated("VDI", size, needed))
    return "vdi", int(virtual)


def _vdi_blocks(head: bytes) -> tuple[int, int]:
    """(bytes of a block, blocks that are in the file)."""
    block = struct.unpack("<I", head[0x178:0x17C])[0]
    allocated = struct.unpack("<I", head[0x184:0x188])[0]
    return block, allocated


def _vhd(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    (virtual,) = struct.unpack(">Q", head[48:56])
    if file is not None:
        file.seek(max(0, size - 512))
        if file.read(8) != b"conectix":
            raise Broken("is truncated: the VHD image has no footer at its end. Fetch it again")
    return "vhd", int(virtual)


# GUIDs as they lie in the file (MS-VHDX 2.2.3.2 and 2.6.2).
_METADATA_REGION = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
_DISK_SIZE_ITEM = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")
_REGION_TABLE = 192 * 1024


def _vhdx(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    regions = head[_REGION_TABLE:]
    if regions[:4] != b"regi":
        raise Broken("is a damaged VHDX image: it has no table of regions")
    (count,) = struct.unpack("<I", regions[8:12])
    offset = _found(regions, 16, count, _METADATA_REGION, 32)
    if offset is None:
        raise Broken("is a damaged VHDX image: it has no metadata")
    table = _bytes_at(file, head, offset, 65536 + 4096)
    (items,) = struct.unpack("<H", table[10:12])
    item = _found(table, 32, items, _DISK_SIZE_ITEM, 32, width="<I")
    if item is None:
        raise Broken("is a damaged VHDX image: it does not say how large its disk is")
    value = _bytes_at(file, head, offset + item, 8)
    return "vhdx", int(struct.unpack("<Q", value)[0])


def _found(table: bytes, begin: int, count: int, guid: bytes, length: int, width: str = "<Q") -> int | None:
    """The offset in the entry of a table that has that GUID."""
    for number in range(min(count, 2047)):
        entry = table[begin + number * length :][:length]
        if entry[:16] == guid:
            return int(struct.unpack(width, entry[16 : 16 + struct.calcsize(width)])[0])
    return None


def _bytes_at(file: BinaryIO | None, head: bytes, offset: int, count: int) -> bytes:
    if file is None or offset + count <= len(head):
        return head[offset : offset + count]
    file.seek(offset)
    return file.read(count)


def _iso(file: BinaryIO | None, head: bytes, size: int) -> tuple[str, int]:
    descriptor = head[32768 : 32768 + 2048]
    blocks, block = struct.unpack("<I", descriptor[80:84])[0], struct.unpack("<H", descriptor[128:130])[0]
    needed = blocks * (block or 2048)
    if needed > size:
        raise Broken(_truncated("ISO", size, needed))
    return "iso", size


_Reader = Callable[["BinaryIO | None", bytes, int], "tuple[str, int]"]
_FORMATS: tuple[tuple[bytes, int, _Reader], ...] = (
    (b"QFI\xfb", 0, _qcow2),
    (b"KDMV", 0, _vmdk),
    (b"\x7f\x10\xda\xbe", 0x40, _vdi),
    (b"conectix", 0, _vhd),
    (b"vhdxfile", 0, _vhdx),
    (b"CD001", 32769, _iso),
)
