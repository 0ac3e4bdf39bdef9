"""The parts of the tiny image that are made without any package."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from virtlab.tiny import disk
from virtlab.tiny.cpio import Archive
from virtlab.tiny.initramfs import GUEST, LIBRARY
from virtlab.tiny.packages import ImageError, run


def archive() -> bytes:
    stream = io.BytesIO()
    made = Archive(stream)
    made.file("usr/share/text", b"hello", 0o640)
    made.link("bin/sh", "busybox")
    made.device("dev/console", 5, 1)
    made.file("usr/share/text", b"again")
    made.close()
    return stream.getvalue()


def test_directories_of_an_archive_come_before_what_is_in_them() -> None:
    names = []
    content = archive()
    position = 0
    while True:
        fields = [int(content[position + 6 + 8 * i : position + 14 + 8 * i], 16) for i in range(13)]
        size, length = fields[6], fields[11]
        names.append(content[position + 110 : position + 109 + length].decode())
        if names[-1] == "TRAILER!!!":
            break
        position += (110 + length + 3) // 4 * 4 + (size + 3) // 4 * 4
    assert names == ["usr", "usr/share", "usr/share/text", "bin", "bin/sh", "dev", "dev/console", "TRAILER!!!"]


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_reads_the_archive() -> None:
    shown = subprocess.run(["cpio", "-tv"], input=archive(), capture_output=True, check=True).stdout.decode()
    assert "-rw-r-----" in shown and "bin/sh -> busybox" in shown and "5,   1" in shown


def test_the_boot_record_has_an_active_boot_partition_and_one_for_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mbr.bin").write_bytes(b"\xfa" * 440)
    monkeypatch.setattr(disk, "MBR", (str(tmp_path / "mbr.bin"),))
    record = disk._boot_record((disk.BOOT_START, disk.BOOT_SIZE), (disk.DATA_START, disk.DATA_SIZE))
    assert len(record) == 512 and record.endswith(b"\x55\xaa")
    lines = [struct.unpack("<B3sB3sII", record[446 + 16 * i : 462 + 16 * i]) for i in range(2)]
    assert [(line[0], line[2], line[4], line[5]) for line in lines] == [
        (0x80, 0xEF, 2048, 46 * 2048),
        (0, 0x83, 47 * 2048, 16 * 2048),
    ]


def test_partitions_lie_side_by_side_on_the_disk() -> None:
    assert disk.BOOT_START + disk.BOOT_SIZE <= disk.DATA_START
    assert disk.DATA_START + disk.DATA_SIZE <= disk.SIZE


def test_a_missing_boot_sector_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "MBR", ("/nowhere",))
    with pytest.raises(ImageError, match="install syslinux-common"):
        disk._boot_record((disk.BOOT_START, disk.BOOT_SIZE), (disk.DATA_START, disk.DATA_SIZE))


@pytest.mark.parametrize("path", [GUEST / "init", *sorted((GUEST / "bin").iterdir())], ids=lambda path: str(path.name))
def test_the_guest_s_scripts_are_whole(path: Path) -> None:
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", path], check=True)


def test_libraries_are_read_from_what_ldd_prints() -> None:
    listed = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/libz.so.1 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n"
    assert [match[1] for match in LIBRARY.finditer(listed)] == ["/lib/libz.so.1", "/lib64/ld-linux-x86-64.so.2"]


def test_a_tool_that_fails_says_what_it_was_asked_and_why() -> None:
    with pytest.raises(ImageError, match=r"^ls failed: .*No such file.*\(ls /nowhere\)$"):
        run("ls", "/nowhere")
    with pytest.raises(ImageError, match="no-such-tool is missing"):
        run("no-such-tool")
