"""An image that comes in as a stream becomes a raw sparse disk: unpacked, converted, checked, sized, then put in place.

Whatever happens before the last step, the disk that was there before is still there, and nothing half-made is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from virtlab.storage import qemu
from virtlab.storage.formats import CONVERTED, HEADER, PACKED, Unpacker, sniff, unpacker
from virtlab.storage.problems import DataProblem
from virtlab.storage.sparse import SparseWriter, grow

TARGET_FILE = "Unable to transfer source data to target file"
SCRATCH_SPACE = "Unable to transfer source data to scratch space"
NO_INFORMATION = "Unable to obtain information about data source"
PULL_FAILED = "failed to pull image"


@dataclass(frozen=True)
class Target:
    """A disk to be filled. C(size): how long it is in the end at least; C(available): how long an image may be."""

    path: Path
    size: int
    available: int
    preallocate: bool = False


def _silent(fraction: float) -> None:
    return None


class Receiver:
    """Takes a stream piece by piece with C(feed), its end with C(end); C(finish) makes the disk of it.

    C(always_scratch): tell of every transfer as one to scratch space, as CDI's importer does. C(raw_only): convert
    nothing. C(tag) goes into the names of what is there meanwhile, so that two for one path do not meet.
    """

    def __init__(
        self, target: Target, *, always_scratch: bool = False, raw_only: bool = False, tag: str = "image"
    ) -> None:
        self.target = target
        self.format = ""  # known once the first bytes are there
        self.received = 0
        self._always_scratch, self._raw_only = always_scratch, raw_only
        self._part = target.path.with_name(f".{target.path.name}.{tag}.part")
        self._scratch = target.path.with_name(f".{target.path.name}.{tag}.scratch")
        self._unpackers: list[Unpacker] = []
        self._seen: set[str] = set()
        self._head = b""
        self._writer: SparseWriter | None = None
        target.path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def place(self) -> str:
        """The stage that a problem belongs to."""
        raw = self.format == "raw" and not self._always_scratch
        return TARGET_FILE if raw else SCRATCH_SPACE

    @property
    def is_plain(self) -> bool:
        """Whether what comes in is known to be the raw disk itself, byte by byte."""
        return self.format == "raw" and not self._unpackers and not self._raw_only

    def feed(self, data: bytes) -> None:
        """Raises DataProblem; the receiver is of no use then."""
        self.received += len(data)
        try:
            self._through(0, data)
        except DataProblem:
            self.abandon()
            raise

    def _through(self, stage: int, data: bytes) -> None:
        if stage < len(self._unpackers):
            try:
                for piece in self._unpackers[stage].feed(data):
                    self._through(stage + 1, piece)
            except DataProblem as problem:
                raise self._unpacking(problem) from None
            return
        if self._writer is None:
            self._head += data
            if len(self._head) >= HEADER:
                self._look()
            return
        try:
            self._writer.write(data)
        except DataProblem as problem:
            raise problem.within(self.place) from None

    def _unpacking(self, problem: DataProblem) -> DataProblem:
        """A problem of unpacking; one that comes from further down says its stage already."""
        if problem.staged:
            return problem
        if self._writer is None:
            return problem.within(f"{NO_INFORMATION}: could not process image header")
        return problem.within(f"{self.place}: {PULL_FAILED}")

    def _look(self) -> None:
        """The first bytes are there: another compression to take off, or the image itself."""
        head, self._head = self._head, b""
        found = sniff(head)
        if found in PACKED and found not in self._seen:
            self._seen.add(found)
            stage = len(self._unpackers)
            try:
                self._unpackers.append(unpacker(found))
            except DataProblem as problem:
                raise self._unpacking(problem) from None
            self._through(stage, head)
            return
        self.format = found if found in CONVERTED and not self._raw_only else "raw"
        converted = self.format in CONVERTED
        path = self._scratch if converted else self._part
        shown = qemu.SHOWN if converted or self._always_scratch else "/data/disk.img"
        self._writer = SparseWriter(path, self.target.available, shown)
        self._through(len(self._unpackers), head)

    def end(self) -> None:
        """The stream is over. Raises DataProblem where it ended too early, or what it brought cannot be a disk."""
        try:
            for stage in self._unpackers:
                try:
                    stage.finish()
                except DataProblem as problem:
                    raise self._unpacking(problem) from None
            if self._writer is None:
                raise DataProblem(f"{NO_INFORMATION}: could not process image header: {self._too_short()}")
            self._writer.close()
            if self.format in CONVERTED:
                qemu.validate(self._scratch, CONVERTED[self.format], self.target.available)
                qemu.check_whole(self._scratch, CONVERTED[self.format])
        except DataProblem:
            self.abandon()
            raise

    def finish(self, progress: Callable[[float], None] = _silent) -> None:
        """Make the disk and put it in place. Raises DataProblem; then nothing is left of it."""
        try:
            if self.format in CONVERTED:
                try:
                    qemu.convert(self._scratch, CONVERTED[self.format], self._part, progress)
                except DataProblem as problem:
                    raise problem.within("Unable to convert source data to target format") from None
            grow(self._part, self.target.size, preallocate=self.target.preallocate)
            self._part.rename(self.target.path)
        except DataProblem:
            self.abandon()
            raise
        except OSError as error:  # the volume's directory is gone, say
            self.abandon()
            raise DataProblem(str(error)) from error
        self._scratch.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Forget what came in."""
        if self._writer is not None:
            self._writer.abandon()
        for path in (self._part, self._scratch):
            path.unlink(missing_ok=True)

    def _too_short(self) -> str:
        return "unexpected EOF" if self.received else "EOF"
