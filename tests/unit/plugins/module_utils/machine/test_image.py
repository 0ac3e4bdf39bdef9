from __future__ import annotations

import struct

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine.image import HEAD, Image, recognized
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

GIB = 1024**3


def qcow2(*, version: int = 3, backing: int = 0, features: int = 0, cluster_bits: int = 16) -> bytes:
    """A header as the specification has it: L1 table in cluster 3, refcount table in cluster 1."""
    first = b"QFI\xfb" + struct.pack(">IQIIQ", version, backing, 0, cluster_bits, GIB)
    return first + bytes(4) + struct.pack(">IQQI", 2, 3 << 16, 1 << 16, 1) + bytes(12) + features.to_bytes(8, "big")


def test_the_size_of_a_qcow2_is_that_of_the_disk_in_it() -> None:
    assert recognized(qcow2(), 1024**2, "it") == Image("qcow2", 1024**2, GIB)
    assert recognized(qcow2(version=2, features=7), 1024**2, "it").capacity == GIB


def test_what_is_no_format_is_raw_and_a_cd_is_an_iso() -> None:
    assert recognized(b"\xeb\x63" + bytes(600), 4096, "it") == Image("raw", 4096, 4096)
    cd = bytearray(HEAD)
    cd[32769:32774] = b"CD001"
    assert recognized(bytes(cd), 10 * HEAD, "it").format == "iso"
    assert recognized(bytes(cd), 10 * HEAD, "it").is_raw


@pytest.mark.parametrize(
    ("head", "length", "told"),
    [
        (b"", 0, "is empty"),
        (b"\xfd7zXZ\x00", 9, "packed with xz"),
        (b"vhdxfile", 9, "is a VHDX image"),
        (bytes(64) + b"\x7f\x10\xda\xbe", 100, "is a VDI image"),
        (b"\n <HTML><body>", 99, "is a web page"),
        (qcow2()[:60], 60, "cut off in its header"),
        (qcow2(), 4096, "was cut off: its tables end at byte 196624, it has 4096"),
        (qcow2(version=4), GIB, "of version 4"),
        (qcow2(cluster_bits=40), GIB, "not known"),
        (qcow2(backing=104), GIB, "builds on another file"),
        (qcow2(features=2), GIB, "marked as corrupt"),
        (qcow2(features=4), GIB, "keeps its data in another file"),
    ],
)
def test_an_image_that_no_guest_could_use_is_refused(head: bytes, length: int, told: str) -> None:
    with pytest.raises(Refused, match=f"^it .*{told}|^it {told}"):
        recognized(head, length, "it")
