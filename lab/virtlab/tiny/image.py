"""The tiny image, made once and kept by what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from virtlab.tiny import disk, initramfs
from virtlab.tiny.initramfs import GUEST, PROGRAMS
from virtlab.tiny.packages import ImageError, Packages

__all__ = ["ImageError", "Tiny", "make"]
SOURCES = (Path(disk.__file__), Path(initramfs.__file__), *sorted(path for path in GUEST.rglob("*") if path.is_file()))


@dataclass(frozen=True)
class Tiny:
    """The files of an image. Booted by its kernel it takes the load options of C(options) and these: C(name=NAME),
    C(dirty=MIB) keeps memory changing, C(tick=quiet) counts in /run/tick alone, C(tick_us=MICROSECONDS)."""

    directory: Path
    options: str = disk.OPTIONS

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.directory / "initrd"

    @property
    def disk(self) -> Path:
        """It boots by itself, with BIOS and UEFI."""
        return self.directory / "tiny.qcow2"

    @property
    def files(self) -> tuple[Path, ...]:
        return self.kernel, self.initramfs, self.disk


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "virtlab" / "tiny"


def make(directory: Path, cache: Path | None = None) -> Tiny:
    """Put the image into C(directory); what is there and the same stays. Raises ImageError."""
    cache = cache or cache_directory()
    kept = _made(cache)
    directory.mkdir(parents=True, exist_ok=True)
    for source in kept.files:
        target = directory / source.name
        if not (target.exists() and _same(source, target)):
            disk.copy(source, target)
    return Tiny(directory)


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and _digest(one) == _digest(other)


def _digest(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _made(cache: Path) -> Tiny:
    packages = Packages(cache / "packages")
    kernel = packages.kernel()
    made = Tiny(cache / _recipe(kernel))
    if not made.directory.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=cache) as name:
            making = Tiny(Path(name) / "image")
            making.directory.mkdir()
            _write(making, kernel, packages, Path(name))
            try:
                making.directory.rename(made.directory)
            except OSError:
                if not made.directory.is_dir():  # else another process was faster
                    raise
    return made


def _write(tiny: Tiny, kernel: Path, packages: Packages, work: Path) -> None:
    version = next((kernel / "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
    shutil.copyfile(kernel / "boot" / f"vmlinuz-{version}", tiny.kernel)
    modules = next(path for path in kernel.rglob(f"lib/modules/{version}") if path.is_dir())
    initramfs.write(tiny.initramfs, modules, packages)
    disk.write(tiny.disk, tiny.kernel, tiny.initramfs, packages, work)


def _recipe(kernel: Path) -> str:
    """What the image is made of, as a name."""
    digest = hashlib.sha256(kernel.name.encode())
    programs = [Path(place) for _, places in PROGRAMS.values() for place in places]
    for path in (*SOURCES, *(program for program in programs if program.exists())):
        digest.update(path.name.encode() + _digest(path))
    return digest.hexdigest()[:16]
