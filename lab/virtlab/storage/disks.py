"""Where the disks of a lab are: one directory a claim, below its storage class and namespace."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from virtlab.storage import sparse

DISK = "disk.img"
SNAPSHOTS = ".snapshots"  # no storage class has such a name
RELEASED = ".released"
Named = Callable[[str, str], bool]


class Disks:
    """The files below C(root). Names are those of API objects, which the API server has checked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, storage_class: str, namespace: str, claim: str) -> Path:
        """The raw disk of a claim, whether or not it is there."""
        return self.root / storage_class / namespace / claim / DISK

    def snapshot(self, handle: str) -> Path:
        """What a VolumeSnapshotContent of that name keeps."""
        return self.root / SNAPSHOTS / f"{handle}.img"

    def released(self, volume: str) -> Path:
        """What a PersistentVolume holds that was retained and has no claim any more."""
        return self.root / RELEASED / f"{volume}.img"

    def ensure(self, path: Path, size: int, *, preallocate: bool = False) -> None:
        """There is a disk at C(path) afterwards, of C(size) bytes at least; what it holds stays."""
        if path.exists():
            sparse.grow(path, size)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        sparse.create(path, size, preallocate=preallocate)

    def copy(self, source: Path, target: Path, *, size: int = 0, progress: sparse.Progress | None = None) -> None:
        """Raises DataProblem; then there is no target."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if progress is None:
            sparse.copy(source, target, size=size)
        else:
            sparse.copy(source, target, size=size, progress=progress)

    def remove(self, path: Path) -> None:
        """Take the disk, whatever is beside it, and directories that are empty then."""
        if path.name != DISK:
            path.unlink(missing_ok=True)
            return
        shutil.rmtree(path.parent, ignore_errors=True)
        for directory in path.parents[1:3]:
            if directory != self.root:
                with contextlib.suppress(OSError):
                    directory.rmdir()

    def move(self, path: Path, target: Path) -> None:
        if path.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)

    def claims(self) -> Iterator[tuple[str, str, str]]:
        """(storage class, namespace, claim) of every directory there is."""
        for directory in self.root.glob("[!.]*/*/*"):
            if directory.is_dir():
                claim, namespace = directory.name, directory.parent.name
                yield directory.parent.parent.name, namespace, claim

    def sweep(self, is_claim: Named, is_snapshot: Callable[[str], bool], is_volume: Callable[[str], bool]) -> None:
        """Take away what a lab that was killed left half-made, and what belongs to nothing any more.

        The questions are asked with (namespace, claim), the handle of a snapshot, and the name of a volume.
        """
        for pattern in ("*/*/*/.disk.img.*", ".containerdisks/*/.disk.img.*", f"{SNAPSHOTS}/.*", f"{RELEASED}/.*"):
            for path in self.root.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        for storage_class, namespace, claim in list(self.claims()):
            if not is_claim(namespace, claim):
                self.remove(self.path(storage_class, namespace, claim))
        for directory, known in ((SNAPSHOTS, is_snapshot), (RELEASED, is_volume)):
            for path in self.root.glob(f"{directory}/*.img"):
                if not known(path.stem):
                    path.unlink(missing_ok=True)
