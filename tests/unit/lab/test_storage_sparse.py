"""Sparse files: what is zero takes no room, and comes back as zero."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from virtlab.storage import sparse
from virtlab.storage.problems import Cancelled, DataProblem, NoCapacity

MIB = 1 << 20


def scattered(path: Path, size: int = 8 * MIB) -> bytes:
    """A sparse file with data at odd places; its bytes."""
    data = bytearray(size)
    for offset, length in ((0, 10), (65_530, 20), (3 * MIB + 1, 100_000), (size - 1, 1)):
        data[offset : offset + length] = random.Random(offset).randbytes(length)
    writer = sparse.SparseWriter(path)
    for start in range(0, size, 77_777):
        writer.write(bytes(data[start : start + 77_777]))
    writer.close()
    return bytes(data)


def test_what_is_written_in_any_pieces_is_read_again_and_zeros_take_no_room(tmp_path: Path) -> None:
    data = scattered(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == data
    assert sparse.allocated(tmp_path / "file") < MIB


def test_a_writer_takes_no_more_than_its_limit(tmp_path: Path) -> None:
    writer = sparse.SparseWriter(tmp_path / "file", 100)
    writer.write(bytes(100))
    with pytest.raises(NoCapacity, match=r"write /data/disk\.img: no space left on device"):
        writer.write(b"x")
    writer.abandon()


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("there is no /dev/full")
    writer = sparse.SparseWriter(tmp_path / "file")
    writer.abandon()
    writer._file = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(NoCapacity):
        writer.write(b"x" * 10)
    writer.abandon()


def test_a_copy_has_the_bytes_the_holes_and_the_size_that_is_asked(tmp_path: Path) -> None:
    data = scattered(tmp_path / "file")
    told: list[int] = []
    sparse.copy(tmp_path / "file", tmp_path / "copy", size=9 * MIB, progress=told.append)
    assert (tmp_path / "copy").read_bytes() == data + bytes(MIB)
    assert sparse.allocated(tmp_path / "copy") < MIB
    assert told == sorted(told)
    sparse.copy(tmp_path / "copy", tmp_path / "smaller", size=MIB)
    assert (tmp_path / "smaller").stat().st_size == 9 * MIB  # never shorter than what it is a copy of


def test_data_that_is_zero_becomes_a_hole_when_it_is_copied(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MIB))
    sparse.copy(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_size == MIB
    assert sparse.allocated(tmp_path / "copy") in (0, sparse.allocated(tmp_path / "file"))  # shared where that works


def test_a_copy_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    scattered(tmp_path / "file")

    def stop(done: int) -> None:
        raise Cancelled("cancelled")

    with pytest.raises(Cancelled):
        sparse.copy(tmp_path / "file", tmp_path / "copy", progress=stop)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    with pytest.raises(DataProblem):
        sparse.copy(tmp_path / "file", tmp_path / "no/such/directory")


@pytest.mark.parametrize(
    "part", [(0, None), (1, None), (65_535, 65_545), (3 * MIB, 4 * MIB), (8 * MIB - 1, None), (100, 100), (0, 99 * MIB)]
)
def test_any_part_is_read_as_it_is(tmp_path: Path, part: tuple[int, int | None]) -> None:
    data = scattered(tmp_path / "file")
    assert b"".join(sparse.chunks(tmp_path / "file", *part)) == data[part[0] : part[1]]


def test_a_file_that_is_all_hole_has_no_extents(tmp_path: Path) -> None:
    sparse.create(tmp_path / "blank", 30 << 30)
    file = os.open(tmp_path / "blank", os.O_RDONLY)
    assert list(sparse.extents(file, 30 << 30)) == []
    os.close(file)
    assert sparse.allocated(tmp_path / "blank") == 0


def test_a_file_grows_and_never_shrinks(tmp_path: Path) -> None:
    sparse.create(tmp_path / "file", MIB)
    (tmp_path / "file").write_bytes(b"kept" + bytes(MIB - 4))
    sparse.grow(tmp_path / "file", 2 * MIB)
    sparse.grow(tmp_path / "file", 100)
    assert (tmp_path / "file").stat().st_size == 2 * MIB
    assert (tmp_path / "file").read_bytes()[:5] == b"kept\0"


def test_preallocation_takes_the_room(tmp_path: Path) -> None:
    sparse.create(tmp_path / "file", MIB, preallocate=True)
    assert sparse.allocated(tmp_path / "file") >= MIB


def test_the_checksum_of_a_sparse_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    import hashlib

    data = scattered(tmp_path / "file")
    assert sparse.checksum(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert sparse.checksum(tmp_path / "file", "md5") == hashlib.md5(data).hexdigest()
