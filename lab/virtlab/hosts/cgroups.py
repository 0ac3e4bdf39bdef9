"""A host's own cgroups, so that its guests' CPU, memory and block limits work and nobody else's are touched.

Only of version 1: below a version 2 hierarchy that somebody else manages none can be made safely, and a host has none.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
PATIENCE = 5.0  # seconds that a cgroup of ended processes stays busy, at most


def mounted() -> list[str]:
    """The controllers that are mounted as version 1."""
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    points = {fields[1] for fields in lines if fields[2] == "cgroup"}
    return [name for name in CONTROLLERS if str(ROOT / name) in points]


def places(group: str) -> list[Path]:
    return [ROOT / controller / group for controller in mounted()]


def make(group: str) -> list[Path]:
    """Make the group below every controller."""
    made = places(group)
    for place in made:
        place.mkdir(exist_ok=True)
        if place.parent.name == "cpuset":  # a new one is empty, and takes in no process then
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (place / setting).write_text((place.parent / setting).read_text())
    return made


def remove(group: str) -> None:
    """Remove the group and all below it, once its processes are gone; raises OSError when it stays busy."""
    until = time.monotonic() + PATIENCE
    for place in places(group):
        clear(place, until)


def clear(place: Path, until: float) -> None:
    """Remove a cgroup and all below it, if it is there; raises OSError when it is busy at that time of the clock."""
    if place.exists():
        for directory in (*sorted(place.rglob("*/"), reverse=True), place):
            _remove(directory, until)


def _remove(directory: Path, until: float) -> None:
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            try:
                directory.rmdir()
            except OSError:
                time.sleep(0.01)
                continue
        return
    directory.rmdir()
