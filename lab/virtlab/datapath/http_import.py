"""CDI's importer for HTTP sources: an image or an archive becomes the disk or the files of a volume."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from virtlab.datapath.archive import ArchiveReceiver
from virtlab.datapath.fetch import Access, Answer, asked
from virtlab.datapath.jobs import Job
from virtlab.storage import qemu
from virtlab.storage.problems import DataProblem, NoCapacity
from virtlab.storage.receive import PULL_FAILED, Receiver, Target

CANNOT_CONNECT = "Unable to connect to http data source"
UNPROCESSED = "Unable to process data"
FETCHED = 0.9  # of the whole work, where something is left to convert
ALGORITHMS = ("md5", "sha1", "sha256", "sha512")


@dataclass(frozen=True)
class HttpSource:
    """C(checksum): algorithm:hexadecimal of what the server sends, empty for none."""

    url: str
    access: Access
    archive: bool = False
    checksum: str = ""


def import_http(source: HttpSource, target: Target, tag: str, job: Job) -> None:
    """Fill C(target). Raises DataProblem with what the importer's pod would say at its end."""
    try:
        with asked("GET", source.url, source.access) as answer:
            if answer.status != 200:
                text = f"expected status code 200, got {answer.status}. Status: {answer.status} {answer.reason}"
                raise DataProblem(text)
            _take(source, answer, target, tag, job)
    except _Unprocessed as problem:
        raise DataProblem(f"{UNPROCESSED}: {problem}") from None
    except DataProblem as problem:
        raise problem.within(CANNOT_CONNECT) from None


class _Unprocessed(DataProblem):
    """A problem with what came, not with asking for it."""


def _take(source: HttpSource, answer: Answer, target: Target, tag: str, job: Job) -> None:
    receiver = ArchiveReceiver(target, tag) if source.archive else Receiver(target, always_scratch=True, tag=tag)
    algorithm, wanted = (part.strip().lower() for part in source.checksum.partition(":")[::2])
    if source.checksum and algorithm not in ALGORITHMS:
        raise DataProblem(f"invalid checksum: unsupported algorithm {algorithm}")
    digest = hashlib.new(algorithm) if source.checksum else None
    try:
        pieces = answer.pieces()
        while piece := _next(pieces, receiver):
            receiver.feed(piece)
            if digest is not None:
                digest.update(piece)
            _check_size(receiver, answer, target)
            if answer.length:
                job.report(FETCHED * receiver.received / answer.length)
            else:
                job.report(job.fraction)
        if digest is not None and digest.hexdigest() != wanted:
            text = f"checksum mismatch: expected {source.checksum}, calculated {algorithm}:{digest.hexdigest()}"
            raise DataProblem(f"{receiver.place}: checksum validation failed: {text}")
        receiver.end()
        receiver.finish(lambda fraction: job.report(FETCHED + (1 - FETCHED) * fraction))
    except DataProblem as problem:
        receiver.abandon()
        raise _Unprocessed(str(problem)) from None
    except BaseException:
        receiver.abandon()
        raise


def _next(pieces: object, receiver: Receiver) -> bytes:
    """The next piece, empty at the end; a stream that breaks off is told as part of the transfer."""
    try:
        return next(pieces, b"")  # type: ignore[call-overload, no-any-return]
    except DataProblem as problem:
        raise problem.within(f"{receiver.place}: {PULL_FAILED}") from None


def _check_size(receiver: Receiver, answer: Answer, target: Target) -> None:
    """A raw image that does not fit is known by its length, before it is there."""
    if receiver.is_plain and answer.length is not None and answer.length > target.available:
        problem: NoCapacity = qemu.too_large(answer.length, target.available)
        raise problem
