"""Images that come in as streams: what they are, how they are unpacked, what becomes of those that are no good."""

from __future__ import annotations

import gzip
import lzma
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from virtlab.storage import qemu
from virtlab.storage.formats import sniff, unpacker
from virtlab.storage.problems import DataProblem, NoCapacity
from virtlab.storage.receive import Receiver, Target
from virtlab.storage.sizes import required, usable
from volumes import MIB, digest, image, zstd_compress

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


PACKS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstd_compress}


def receive(target: Target, data: bytes, step: int = 70_001) -> Receiver:
    receiver = Receiver(target)
    for start in range(0, len(data), step):
        receiver.feed(data[start : start + step])
    receiver.end()
    receiver.finish()
    return receiver


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path / "volume/disk.img", 8 * MIB, 8 * MIB)


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"", "raw"),
        (b"just data", "raw"),
        (b"\x1f\x8b\x08", "gz"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x28\xb5\x2f\xfd", "zst"),
        (b"QFI\xfb", "qcow2"),
        (b"KDMV", "vmdk"),
        (bytes(0x40) + b"\x7f\x10\xda\xbe", "vdi"),
        (b"conectix", "vhd"),
        (b"vhdxfile", "vhdx"),
        (bytes(0x101) + b"ustar", "tar"),
    ],
)
def test_a_format_is_known_by_its_first_bytes(head: bytes, format: str) -> None:
    assert sniff(head) == format


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize("format", PACKS)
def test_a_compressed_stream_is_unpacked_whatever_its_pieces(format: str, step: int) -> None:
    data = b"some data " * 500
    packed = PACKS[format](data)
    packed += packed  # one member after another
    unpack = unpacker(format)
    found = b"".join(
        piece for start in range(0, len(packed), step) for piece in unpack.feed(packed[start : start + step])
    )
    unpack.finish()
    assert found == data + data
    cut = unpacker(format)
    list(cut.feed(packed[:-3]))
    with pytest.raises(DataProblem, match="unexpected EOF"):
        cut.finish()


@needs_qemu
@pytest.mark.parametrize("format", ["qcow2", "vmdk", "vdi", "vhdx", "raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_becomes_the_same_disk(tmp_path: Path, target: Target, format: str, packed: bool) -> None:
    raw, made = image(tmp_path / "raw"), tmp_path / "made"
    subprocess.run(["qemu-img", "convert", "-O", format, raw, made], check=True)
    data = made.read_bytes()
    target = replace(target, available=32 * MIB)  # an empty vhdx is larger than such a small disk
    assert receive(target, gzip.compress(data, 1) if packed else data).format == format
    assert digest(target.path) == digest(raw)
    assert target.path.stat().st_blocks * 512 < MIB
    assert [item.name for item in target.path.parent.iterdir()] == ["disk.img"]


@needs_qemu
def test_an_old_vhd_becomes_a_disk_as_well(tmp_path: Path) -> None:
    """Its size is rounded to cylinders."""
    raw, made = image(tmp_path / "raw"), tmp_path / "made"
    subprocess.run(["qemu-img", "convert", "-O", "vpc", raw, made], check=True)
    target = Target(tmp_path / "volume/disk.img", 8 * MIB, 9 * MIB)
    assert receive(target, made.read_bytes()).format == "vhd"
    assert digest(target.path, 8 * MIB) == digest(raw)


def test_a_small_image_is_enlarged_to_its_volume(tmp_path: Path, target: Target) -> None:
    raw = image(tmp_path / "raw", MIB)
    receive(target, raw.read_bytes())
    assert target.path.stat().st_size == 8 * MIB
    assert digest(target.path, MIB) == digest(raw)


def test_what_was_there_stays_when_an_image_is_no_good(target: Target) -> None:
    receive(target, b"before" + bytes(1000))
    before = digest(target.path)
    with pytest.raises(NoCapacity):
        receive(target, bytes(9 * MIB))
    with pytest.raises(DataProblem):
        receive(target, gzip.compress(b"after" * 1000)[:-5])
    assert digest(target.path) == before
    assert [item.name for item in target.path.parent.iterdir()] == ["disk.img"]


@needs_qemu
@pytest.mark.parametrize("format", ["qcow2", "vmdk", "vhdx"])
def test_an_image_that_was_cut_off_is_known(tmp_path: Path, target: Target, format: str) -> None:
    made = tmp_path / "made"
    subprocess.run(["qemu-img", "convert", "-O", format, image(tmp_path / "raw"), made], check=True)
    data = made.read_bytes()
    with pytest.raises(DataProblem, match=r"truncated|Could not open"):
        receive(target, data[: len(data) // 2])


def test_without_qemu_img_raw_images_still_work_and_others_say_what_is_missing(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    receive(target, gzip.compress(random.Random(1).randbytes(1000)))
    with pytest.raises(DataProblem, match="qemu-img is not installed") as found:
        receive(target, b"QFI\xfb" + bytes(1000))
    assert str(found.value) == qemu.MISSING


def test_an_image_within_an_image_of_the_same_compression_is_not_unpacked_twice(target: Target) -> None:
    inner = gzip.compress(random.Random(1).randbytes(1000), mtime=0)
    receive(target, gzip.compress(inner))
    assert target.path.read_bytes()[: len(inner)] == inner


@pytest.mark.parametrize("size", [MIB, 10 << 30, (10 << 30) + 1])
def test_a_file_system_has_room_for_the_disk_that_it_was_made_for(size: int) -> None:
    assert usable(0.055, required(0.055, size)) >= size
    assert required(0.055, size) < size * 1.06 + 2 * MIB
