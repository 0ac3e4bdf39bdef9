"""The image of a Debian with cloud-init, made once by mmdebstrap and kept by what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from virtlab.cloud_image import debian
from virtlab.tiny import disk
from virtlab.tiny.packages import KERNEL_METAPACKAGE, ImageError, Packages, run

__all__ = ["Debian", "ImageError", "make"]
MIB = 1 << 20
BOOT_SIZE = 96 * MIB
ROOT_START, ROOT_SIZE = disk.BOOT_START + BOOT_SIZE, 1920 * MIB
SIZE = ROOT_START + ROOT_SIZE
LABEL = "cloud-root"
LOADER = disk.LOADER.replace("tiny", "debian").format(f"root=LABEL={LABEL} ro console=tty0 console=ttyS0,115200")
PACKAGES = (
    KERNEL_METAPACKAGE,
    "initramfs-tools",
    "cloud-init",
    "cloud-guest-utils",
    "fdisk",
    "openssh-server",
    "qemu-guest-agent",
    "python3-minimal",
    "systemd-sysv",
    "dbus",
    "udev",
    "iproute2",
    "sudo",
)
# What the kernel of Debian's clouds needs to find its root; the rest is read from there.
MODULES = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ext4", "crc32c_generic")
FILES = {
    "etc/fstab": f"LABEL={LABEL} / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "debian\n",
    # Made at the first boot. An empty file, unlike none, does not have systemd set every unit up anew.
    "etc/machine-id": "",
    "etc/cloud/cloud.cfg.d/95_virtlab.cfg": (
        "datasource_list: [NoCloud, ConfigDrive, None]\n"
        "system_info: {network: {renderers: [networkd]}}\n"
        # Without the packages of locales, setting one would be an error.
        "locale: false\napt_preserve_sources_list: true\n"
    ),
}
UNITS = {"enable": ("systemd-networkd",), "mask": ("apt-daily.timer", "apt-daily-upgrade.timer")}


@dataclass(frozen=True)
class Debian:
    """The file of the image. It boots by itself, with BIOS and UEFI, and does what a seed of cloud-init says."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "debian.qcow2"


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "virtlab" / "debian"


def make(directory: Path, cache: Path | None = None) -> Debian:
    """Put the image into C(directory) unless it is there. Raises ImageError."""
    kept = _made(cache or cache_directory())
    made = Debian(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # An image that a guest wrote into is as large or larger; this one's content is told by its recipe.
    note = directory / ".debian.recipe"
    recipe = f"{kept.directory.name} {kept.disk.stat().st_size}"
    if not (made.disk.exists() and note.exists() and note.read_text() == recipe):
        note.unlink(missing_ok=True)
        disk.copy(kept.disk, made.disk)
        note.write_text(recipe)
    return made


def _made(cache: Path) -> Debian:
    made = Debian(cache / _recipe())
    if not made.disk.exists():
        if os.geteuid() != 0:
            raise ImageError("mmdebstrap has to be run by root here")
        sources = debian.sources()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as name:
            making = Debian(Path(name) / "image")
            making.directory.mkdir()
            _write(making, sources, Path(name))
            try:
                making.directory.rename(made.directory)
            except OSError:
                if not made.directory.is_dir():  # else another process was faster
                    raise
    return made


def _recipe() -> str:
    """What the image is made of, as a name; its packages are as new as on the day when it was made."""
    digest = hashlib.sha256(debian.codename().encode())
    for path in (Path(__file__), Path(debian.__file__), Path(disk.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _write(image: Debian, sources: str, work: Path) -> None:
    root, listed = work / "root", work / "sources.list"
    listed.write_text(sources)
    lines = " ".join(MODULES)
    prepare = (
        'mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"'
        ' && echo MODULES=list >"$1/etc/initramfs-tools/conf.d/virtlab"'
        f' && printf "%s\\n" {lines} >"$1/usr/share/initramfs-tools/modules.d/virtlab"'
    )
    units = [f'--customize-hook=chroot "$1" systemctl {verb} {" ".join(names)}' for verb, names in UNITS.items()]
    debian.unpack(root, listed, PACKAGES, f"--essential-hook={prepare}", *units)
    for name, content in FILES.items():
        (root / name).write_text(content)
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    kernel, initramfs = (next((root / "boot").glob(f"{name}-*")) for name in ("vmlinuz", "initrd.img"))
    raw = work / "disk.raw"
    disk.partition(raw, SIZE, (disk.BOOT_START, BOOT_SIZE), (ROOT_START, ROOT_SIZE))
    disk.make_bootable(raw, BOOT_SIZE, "BOOT", LOADER, kernel, initramfs, Packages(work / "packages"))
    place = f"offset={ROOT_START}"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", LABEL, "-E", place, "-d", root, raw, f"{ROOT_SIZE >> 10}k")
    disk.finish(raw, image.disk)
    shutil.rmtree(root)
