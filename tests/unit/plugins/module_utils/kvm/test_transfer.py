from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.image_source import Digest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.transfer import (
    PIECE,
    Section,
    filled,
    is_same,
    is_zero,
    sections_of,
    telling,
    write,
)
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

MIB = 1024**2
CONTENT = b"a" * MIB + bytes(3 * MIB) + b"b" * (MIB + 7) + bytes(MIB)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file with holes."""
    opened = os.open(tmp_path / "sparse", os.O_RDWR | os.O_CREAT)
    os.pwrite(opened, b"a" * MIB, 0)
    os.pwrite(opened, b"b" * (MIB + 7), 4 * MIB)
    os.ftruncate(opened, len(CONTENT))
    yield opened
    os.close(opened)


def test_a_file_is_read_in_pieces_with_its_holes(descriptor: int) -> None:
    sections = list(sections_of(descriptor, len(CONTENT)))
    assert b"".join(filled(sections)) == CONTENT
    assert max(len(section) for section in sections if isinstance(section, bytes)) <= PIECE
    # File systems keep holes in blocks; what is data is data whatever they keep.
    assert sum(section for section in sections if isinstance(section, int)) <= 4 * MIB


def test_a_file_that_became_shorter_ends_earlier(descriptor: int) -> None:
    os.ftruncate(descriptor, 100)
    sections = list(sections_of(descriptor, 100))
    assert b"".join(filled(sections)) == CONTENT[:100]


def test_holes_stay_holes_in_a_file(descriptor: int, tmp_path: Path) -> None:
    copy = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    told: list[int] = []
    assert write(sections_of(descriptor, len(CONTENT)), copy, told.append) == len(CONTENT)
    assert (tmp_path / "copy").read_bytes() == CONTENT
    assert os.fstat(copy).st_blocks <= os.fstat(descriptor).st_blocks
    assert told == sorted(told) and told[-1] == len(CONTENT)
    os.close(copy)


@pytest.mark.parametrize(
    ("sections", "same"),
    [
        ([CONTENT], True),
        ([CONTENT[:MIB], 3 * MIB, CONTENT[4 * MIB : 5 * MIB + 7], MIB], True),
        ([CONTENT, 5 * MIB], True),
        ([CONTENT, bytes(10)], True),
        ([CONTENT, b"x"], False),
        ([CONTENT[:-1]], False),
        ([b"x" + CONTENT[1:]], False),
        ([MIB, CONTENT[MIB:]], False),
        ([], False),
    ],
)
def test_sections_are_a_files_bytes_or_not(descriptor: int, sections: list[Section], same: bool) -> None:
    assert is_same(sections, descriptor, len(CONTENT)) is same


def test_a_piece_of_zeros_is_one_whatever_its_length() -> None:
    assert is_zero(b"") and is_zero(bytes(PIECE)) and is_zero(bytes(7))
    assert not is_zero(bytes(PIECE - 1) + b"\x01")


def test_a_checksum_counts_holes_as_zeros(descriptor: int) -> None:
    import hashlib

    digest = Digest(f"SHA256:{hashlib.sha256(CONTENT).hexdigest()}")
    digest.verify(sections_of(descriptor, len(CONTENT)), "it")
    with pytest.raises(Failure, match=r"The checksum of it is md5:[0-9a-f]{32}, not md5:0{32}"):
        Digest("md5:" + "0" * 32).verify(sections_of(descriptor, len(CONTENT)), "it")


@pytest.mark.parametrize("text", ["sha256", "sha256:12", "none:00", "shake_128:00", "md5:" + "z" * 32])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="checksum: "):
        Digest(text)


def test_a_short_transfer_is_not_told_of() -> None:
    told: list[str] = []
    tell = telling(told.append, "a/b", 10, "uploaded")
    for done in range(10):
        tell(done)
    assert told == []
