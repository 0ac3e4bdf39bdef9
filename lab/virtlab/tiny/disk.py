"""A disk that boots the tiny guest with BIOS and UEFI, made without root and without loop devices."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from virtlab.tiny.packages import ImageError, Packages, run

SECTOR = 512
MIB = 1 << 20
BOOT_START, BOOT_SIZE = 1 * MIB, 46 * MIB
DATA_START, DATA_SIZE = 47 * MIB, 16 * MIB
SIZE = 64 * MIB
EFI_SYSTEM, LINUX = 0xEF, 0x83  # partition types; BIOS looks at the active flag alone
DATA_LABEL = "tiny-data"
OPTIONS = "console=tty0 console=ttyS0,115200 panic=-1"
MBR = ("/usr/lib/syslinux/mbr/mbr.bin", "/usr/share/syslinux/mbr.bin")
LOADER = (
    "SERIAL 0 115200\nDEFAULT tiny\nPROMPT 0\nTIMEOUT 1\nLABEL tiny\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND {}\n"
)


def write(target: Path, kernel: Path, initramfs: Path, packages: Packages, work: Path) -> None:
    """Write a qcow2 disk of 64 MiB; C(work) takes what is needed on the way. Raises ImageError."""
    raw = work / "disk.raw"
    partition(raw, SIZE, (BOOT_START, BOOT_SIZE), (DATA_START, DATA_SIZE))
    make_bootable(raw, BOOT_SIZE, "TINY", LOADER.format(OPTIONS), kernel, initramfs, packages)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", DATA_LABEL, "-E", f"offset={DATA_START}", raw, f"{DATA_SIZE >> 10}k")
    finish(raw, target)


def partition(raw: Path, size: int, boot: tuple[int, int], other: tuple[int, int]) -> None:
    """Make a raw disk with two partitions, each a start and a size in bytes, the first of which boots."""
    with open(raw, "wb") as disk:
        disk.truncate(size)
        disk.write(_boot_record(boot, other))


def finish(raw: Path, target: Path) -> None:
    """Turn a raw disk into a qcow2 one."""
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", raw, target)
    raw.unlink()


def _boot_record(boot: tuple[int, int], other: tuple[int, int]) -> bytes:
    place = next((Path(path) for path in MBR if Path(path).exists()), None)
    if place is None:
        raise ImageError("mbr.bin is missing: install syslinux-common (Debian) or syslinux (Fedora)")
    code = place.read_bytes()[:440].ljust(440, b"\0")
    table = _entry(True, EFI_SYSTEM, *boot) + _entry(False, LINUX, *other)
    return code + struct.pack("<IH", 0x56495254, 0) + table + bytes(32) + b"\x55\xaa"


def _entry(active: bool, kind: int, start: int, size: int) -> bytes:
    """A line of the partition table; places are told in sectors alone (the old geometry says: look there)."""
    beyond = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", 0x80 * active, beyond, kind, beyond, start // SECTOR, size // SECTOR)


def make_bootable(
    raw: Path, size: int, label: str, loader: str, kernel: Path, initramfs: Path, packages: Packages
) -> None:
    """Fill the first partition, of so many bytes at BOOT_START, with a loader for BIOS and UEFI, and what it loads."""
    run("mkfs.vfat", "-F", "16", "-n", label, "--offset", str(BOOT_START // SECTOR), "-h", "2048", raw, str(size >> 10))
    run("syslinux", "--offset", str(BOOT_START), "--install", raw)
    settings = raw.with_name("syslinux.cfg")
    settings.write_text(loader)
    efi = "/usr/lib/SYSLINUX.EFI/efi64/syslinux.efi"
    module = "/usr/lib/syslinux/modules/efi64/ldlinux.e64"
    content = {
        "vmlinuz": kernel,
        "initrd": initramfs,
        "syslinux.cfg": settings,
        "EFI/BOOT/BOOTX64.EFI": packages.file("syslinux-efi", efi),
        "EFI/BOOT/ldlinux.e64": packages.file("syslinux-common", module),
        "EFI/BOOT/syslinux.cfg": settings,
    }
    place = f"{raw}@@{BOOT_START}"
    run("mmd", "-i", place, "::EFI", "::EFI/BOOT")
    for name, source in content.items():
        run("mcopy", "-i", place, source, f"::{name}")


def copy(source: Path, target: Path) -> None:
    """Copy a file so that it is there whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(target)
