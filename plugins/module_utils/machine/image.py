# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk image is, by its first bytes and its length.

Pure. qcow2: https://www.qemu.org/docs/master/interop/qcow2.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .refusal import Refused

# Bytes from the beginning that tell everything that is asked here.
HEAD = 64 * 1024
_ISO_AT = 32769
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_FOREIGN = {b"KDMV": "VMDK", b"COWD": "VMDK", b"# Disk DescriptorFile": "VMDK", b"vhdxfile": "VHDX", b"conectix": "VHD"}
_VDI_AT, _VDI = 64, b"\x7f\x10\xda\xbe"
# Bits of qcow2's incompatible features that make a file alone useless.
_CORRUPT, _EXTERNAL_DATA = 1 << 1, 1 << 2


@dataclass(frozen=True)
class Image:
    """An image. C(format) is V(raw), V(iso) or V(qcow2), C(length) its bytes, C(capacity) those of the disk in it."""

    format: str
    length: int
    capacity: int

    @property
    def is_raw(self) -> bool:
        """Whether its bytes are the disk's bytes."""
        return self.format in ("raw", "iso")


def recognized(head: bytes, length: int, label: str) -> Image:
    """The image of C(length) bytes that begins with C(head). Raises Refused for one that no guest could use."""
    if length == 0:
        raise Refused(f"{label} is empty")
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise Refused(f"{label} is packed with {name}; unpack it first")
    foreign = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)
    if head[_VDI_AT : _VDI_AT + 4] == _VDI:
        foreign = "VDI"
    if foreign:
        raise Refused(f"{label} is a {foreign} image; convert it first: qemu-img convert -O qcow2 IMAGE NEW.qcow2")
    if head[:200].lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise Refused(f"{label} is a web page, not an image")
    if head.startswith(b"QFI\xfb"):
        return _qcow2(head, length, label)
    return Image("iso" if head[_ISO_AT : _ISO_AT + 5] == b"CD001" else "raw", length, length)


def _qcow2(head: bytes, length: int, label: str) -> Image:
    if len(head) < 72:
        raise Refused(f"{label} is a qcow2 image that was cut off in its header")
    version, backing, _backing_length, cluster_bits, capacity = struct.unpack(">IQIIQ", head[4:32])
    l1_size, l1_at, counts_at, counts = struct.unpack(">IQQI", head[36:60])
    if version not in (2, 3) or not 9 <= cluster_bits <= 21:
        raise Refused(f"{label} is a qcow2 image of version {version}, which is not known; 2 and 3 are")
    features = int.from_bytes(head[72:80], "big") if version == 3 else 0
    if backing:
        raise Refused(f"{label} builds on another file; flatten it first: qemu-img convert -O qcow2 IMAGE NEW.qcow2")
    if features & _EXTERNAL_DATA:
        raise Refused(f"{label} keeps its data in another file; convert it first: qemu-img convert -O qcow2 IMAGE NEW")
    if features & _CORRUPT:
        raise Refused(f"{label} is marked as corrupt; repair it first: qemu-img check -r all IMAGE")
    needed = max(l1_at + l1_size * 8, counts_at + (counts << cluster_bits))
    if length < needed:
        raise Refused(f"{label} was cut off: its tables end at byte {needed}, it has {length}")
    return Image("qcow2", length, capacity)
