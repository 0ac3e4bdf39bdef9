"""What a file holds: format, size of the disk, and whether it is whole. QEMU makes the images, where it is there."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine.image_file import read_image
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

MEBIBYTE = 1024**2
QEMU_IMG = shutil.which("qemu-img")
needs_qemu = pytest.mark.skipif(QEMU_IMG is None, reason="qemu-img is not installed")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """8 MiB with data at the beginning, in the middle and at the end."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(8 * MEBIBYTE)
        for place in (0, 5 * MEBIBYTE, 8 * MEBIBYTE - 512):
            file.seek(place)
            file.write(os.urandom(512))
    return path


def converted(raw: Path, to: str, *options: str) -> Path:
    path = raw.with_suffix(f".{to}")
    subprocess.run(["qemu-img", "convert", "-O", to, *options, str(raw), str(path)], check=True, timeout=60)
    return path


def told(path: Path, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read_image(str(path))


def test_what_is_nothing_known_is_raw(raw: Path) -> None:
    image = read_image(str(raw))
    assert (image.format, image.packed, image.virtual_size) == ("raw", None, 8 * MEBIBYTE)
    assert image.sha256 == hashlib.sha256(raw.read_bytes()).hexdigest()


@needs_qemu
@pytest.mark.parametrize(
    ("to", "name", "options"),
    [
        ("qcow2", "qcow2", ()),
        ("qcow2", "qcow2", ("-c",)),
        ("qcow2", "qcow2", ("-o", "compat=0.10")),
        ("qcow2", "qcow2", ("-o", "extended_l2=on,cluster_size=65536")),
        ("vmdk", "vmdk", ()),
        ("vmdk", "vmdk", ("-o", "subformat=streamOptimized")),
        ("vdi", "vdi", ()),
        ("vpc", "vhd", ("-o", "force_size=on")),
        ("vhdx", "vhdx", ()),
    ],
)
def test_the_size_of_the_disk_is_read_from_its_header(raw: Path, to: str, name: str, options: tuple[str, ...]) -> None:
    image = read_image(str(converted(raw, to, *options)))
    assert (image.format, image.virtual_size) == (name, 8 * MEBIBYTE)


@needs_qemu
@pytest.mark.parametrize("packed", ["gz", "xz"])
@pytest.mark.parametrize("inner", ["raw", "qcow2"])
def test_a_packed_image_is_known_by_what_is_in_it(raw: Path, inner: str, packed: str) -> None:
    path = raw if inner == "raw" else converted(raw, inner)
    archive = path.with_suffix(f".{inner}.{packed}")
    archive.write_bytes((gzip if packed == "gz" else lzma).compress(path.read_bytes()))
    image = read_image(str(archive))
    assert (image.format, image.packed, image.virtual_size) == (inner, packed, 8 * MEBIBYTE)


def test_packed_streams_after_another_are_one_image(raw: Path) -> None:
    data = raw.read_bytes()
    path = raw.with_suffix(".gz")
    path.write_bytes(gzip.compress(data[:MEBIBYTE]) + gzip.compress(data[MEBIBYTE:]) + b"\0" * 512)
    assert read_image(str(path)).virtual_size == 8 * MEBIBYTE


@needs_qemu
@pytest.mark.parametrize(("to", "options"), [("qcow2", ()), ("qcow2", ("-c",)), ("vdi", ()), ("vpc", ())])
def test_an_image_whose_end_is_missing_is_refused(raw: Path, to: str, options: tuple[str, ...]) -> None:
    path = converted(raw, to, *options)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 5)
    told(path, "is truncated|was cut off")


@pytest.mark.parametrize("packed", ["gz", "xz"])
def test_a_packed_image_whose_end_is_missing_is_refused(raw: Path, packed: str) -> None:
    path = raw.with_suffix(f".{packed}")
    data = (gzip if packed == "gz" else lzma).compress(raw.read_bytes())
    path.write_bytes(data[:-20])
    told(path, "is truncated")


def test_a_packed_image_that_is_damaged_is_refused(raw: Path) -> None:
    path = raw.with_suffix(".gz")
    data = bytearray(gzip.compress(os.urandom(MEBIBYTE)))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    told(path, "is damaged")


@needs_qemu
def test_an_image_over_another_file_is_refused(raw: Path) -> None:
    path = raw.with_name("over.qcow2")
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(raw), "-F", "raw", str(path)]
    subprocess.run(command, check=True, timeout=60)
    told(path, "builds on another file")


def test_an_iso_tells_how_long_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "cd.iso"
    descriptor = bytearray(2048)
    descriptor[0:6] = b"\x01CD001"
    descriptor[80:84] = (20).to_bytes(4, "little")
    descriptor[128:130] = (2048).to_bytes(2, "little")
    path.write_bytes(bytes(32768) + descriptor + bytes(2048 * 3))
    image = read_image(str(path))
    assert (image.format, image.virtual_size) == ("iso", 20 * 2048)
    path.write_bytes(path.read_bytes()[:-2048])
    told(path, "is truncated: the ISO image")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"BZh91AY" + bytes(600), "packed with bzip2"),
        (b"PK\x03\x04" + bytes(600), "packed with zip"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "packed with zstd"),
        (bytes(257) + b"ustar" + bytes(600), "tar archive"),
        (b"# Disk DescriptorFile\nversion=1\n", "in other files"),
        (b"QFI\xfb\0\0\0\x09" + bytes(600), "version 9, which is not known"),
        (b"QFI\xfb\0\0", "cut off in its header"),
        (b"\n<!DOCTYPE html><title>404</title>", "is a web page"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(content)
    told(path, words)


@pytest.mark.parametrize("name", ["disk.qcow2", "disk.VHDX", "disk.raw.gz", "disk.qcow2.xz"])
def test_an_image_that_is_not_what_it_is_named_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(lzma.compress(b"no such image") if name.endswith(".xz") else b"no such image")
    told(path, "fetch it again, or rename it")
    path.rename(tmp_path / "disk-flat.vmdk")
    assert read_image(str(tmp_path / "disk-flat.vmdk")).format == "raw"


def test_a_directory_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    told(tmp_path, "directory")
    told(tmp_path / "none", "No such file")


def test_a_checksum_is_compared_and_has_to_be_one(raw: Path) -> None:
    digest = hashlib.sha512(raw.read_bytes()).hexdigest()
    assert read_image(str(raw), checksum=f"SHA512:{digest.upper()}").format == "raw"
    with pytest.raises(Refused, match="another file, or damaged"):
        read_image(str(raw), checksum="sha256:" + "0" * 64)
    for nonsense in ("sha256:12", "crc:1234", digest):
        with pytest.raises(Refused, match="is none"):
            read_image(str(raw), checksum=nonsense)


def test_a_large_image_is_never_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(96 * MEBIBYTE)
    archive = tmp_path / "large.gz"
    archive.write_bytes(gzip.compress(path.read_bytes()))
    tracemalloc.start()
    try:
        for image in (path, archive):
            assert read_image(str(image)).virtual_size == 96 * MEBIBYTE
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
