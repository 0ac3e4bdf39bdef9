"""Copies of disks that a running guest may be writing to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from virtlab.datapath.jobs import Job
from virtlab.datapath.volumes import Volumes
from virtlab.storage.receive import Target


@contextmanager
def still(volumes: Volumes, guests: Sequence[tuple[str, str]]) -> Iterator[None]:
    """None of the guests (namespace and name) writes meanwhile."""
    held = []
    try:
        for guest in guests:
            volumes.hold(*guest)
            held.append(guest)
        yield
    finally:
        for guest in held:
            volumes.let_go(*guest)


def copy_still(
    volumes: Volumes, source: Path | None, target: Target, guests: Sequence[tuple[str, str]], job: Job
) -> None:
    """C(target) becomes a copy of C(source), or blank where that was never written. Raises DataProblem."""
    if source is None or not source.exists():
        volumes.disks.ensure(target.path, target.size, preallocate=target.preallocate)
        return
    size = max(1, source.stat().st_size)
    with still(volumes, guests):
        volumes.disks.copy(source, target.path, size=target.size, progress=lambda done: job.report(done / size))
