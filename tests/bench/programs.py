"""Ansible's programs, run with their time, memory and CPU measured."""

from __future__ import annotations

import json
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

OURS = "virtstack.core"
LONG = 20.0  # seconds

Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """One run of a program: seconds on the clock and of CPU, peak memory in MiB, requests that reached the lab."""

    seconds: float
    cpu: float
    peak: float
    requests: int
    output: str
    kinds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskTime:
    """What Ansible itself says of a task."""

    seconds: float
    changed: bool


@dataclass
class Programs:
    """The Python environment whose Ansible is measured, and a directory for what is made on the way."""

    work: Path
    python: Path

    def lacking(self) -> str | None:
        """Why nothing can be measured here."""
        return None

    def forget(self) -> None:
        """Forget the requests that were counted."""

    def counted(self) -> tuple[int, Mapping[str, int]]:
        """The requests since they were forgotten: how many, and of which kinds."""
        return 0, {}

    def variables(self) -> Mapping[str, str]:
        """What the programs have in their environment beside what everybody has."""
        return {}

    def has(self, collection: str) -> bool:
        """Whether a collection is installed beside the Ansible that is measured. Ours is taken from this checkout."""
        namespace, name = collection.split(".")
        places = self.python.parent.parent.glob(f"lib*/python3*/site-packages/ansible_collections/{namespace}/{name}")
        return collection == OURS or any(places)

    def measure(self, program: str, *arguments: str | Path, profile: Path | None = None) -> Measured:
        """Run one of Ansible's programs, or a script by C(python). Raises SystemExit with its output when it fails."""
        self.forget()
        observer = ["-m", "cProfile", "-o", str(profile)] if profile else []
        programs = [] if program == "python" else [str(self.python.with_name(program))]
        command = [str(self.python), *observer, *programs, *map(str, arguments)]
        printed = self.work / "output"
        with printed.open("wb") as output:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=self._environment(), cwd=self.work
            )
            # wait4 tells the memory of this one process.
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        text = printed.read_text(errors="replace")
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{text[-4000:]}")
        total, kinds = self.counted()
        in_mib = 1024 * 1024 if sys.platform == "darwin" else 1024
        cpu = usage.ru_utime + usage.ru_stime
        return Measured(seconds, cpu, usage.ru_maxrss / in_mib, total, text, kinds)

    def play(
        self, name: str, *tasks: Mapping[str, Any], profile: Path | None = None
    ) -> tuple[dict[str, TaskTime], Measured]:
        """Run tasks on localhost; the time of each by its name, and the whole run."""
        path = self.work / f"{name}.yml"
        path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]))
        measured = self.measure("ansible-playbook", path, profile=profile)
        times = {}
        for line in measured.output.splitlines():
            if line.startswith("took "):
                _, seconds, changed, task = line.split(" ", 3)
                times[task] = TaskTime(float(seconds), changed == "True")
        return times, measured

    def _environment(self) -> dict[str, str]:
        """An environment without the user's own settings."""
        own = ("K8S_AUTH_", "ANSIBLE_", "LIBVIRT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        return {
            **kept,
            "HOME": str(home),
            **self.variables(),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_seconds",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
        }


def best(measure: Callable[[], Result], seconds: Callable[[Result], float], quick: bool, times: int = 2) -> Result:
    """The best of some runs; what takes long is not repeated, chance has had its time in it."""
    found = measure()
    for _number in range(0 if quick or seconds(found) > LONG else times - 1):
        found = min(found, measure(), key=seconds)
    return found


def in_turns(ways: Mapping[str, Callable[[], float]], quick: bool, times: int) -> dict[str, list[float]]:
    """The seconds of each way, all taken one after another again and again, the shortest first.

    Others may share the machine; and what was written before each is on the disk, so that nobody pays for another.
    """
    found: dict[str, list[float]] = {what: [] for what in ways}
    for _number in range(1 if quick else times):
        for what, measure in ways.items():
            os.sync()
            found[what].append(measure())
    return {what: sorted(seconds) for what, seconds in found.items()}


def hot_spots(profile: Path, count: int = 12) -> Sequence[str]:
    """Where a profiled program's own time went, the largest first: seconds, file and function."""
    stats = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    spots = sorted(((entry[2], where) for where, entry in stats.items()), reverse=True)[:count]
    return [f"{seconds:7.2f} s  {'/'.join(Path(file).parts[-2:])}:{name}" for seconds, (file, _, name) in spots]
