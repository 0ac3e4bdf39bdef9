"""Figures beside their targets, as text and as Markdown."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Figure:
    """A ratio or a time that has a target. C(value) None: there was nothing to compare with."""

    name: str
    value: float | None
    target: float
    unit: str = ""

    @property
    def short(self) -> bool:
        return self.value is not None and self.value > self.target

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not measured, the other collection is not installed"
        verdict = "falls short of" if self.short else "within"
        return f"{self.name}: {self.value:.3g}{self.unit}, {verdict} {self.target:.3g}{self.unit}"


def compared(name: str, ours: Sequence[float], theirs: Sequence[float], target: float) -> list[Figure]:
    """Our seconds in parts of theirs: of the shortest runs, and of those in the middle."""
    return [
        Figure(f"{name}, best of {len(ours)}", min(ours) / min(theirs), target),
        Figure(f"{name}, in the middle", median(ours) / median(theirs), target),
    ]


def speeds(what: str, seconds: Sequence[float], mebibytes: int) -> list[str]:
    """A row of the shortest run, of the one in the middle, and of how fast the shortest was."""
    return [what, f"{min(seconds):.2f} s", f"{median(seconds):.2f} s", f"{mebibytes / min(seconds):.0f}"]


@dataclass
class Report:
    """What one benchmark found: a table of runs, the figures, and the profile of what fell short."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    profile: Sequence[str] = ()

    @property
    def short(self) -> bool:
        return any(figure.short for figure in self.figures)

    def markdown(self) -> str:
        table = [self.columns, ["---"] * len(self.columns), *self.rows]
        parts = [f"## {self.title}", "\n".join("| " + " | ".join(row) + " |" for row in table)]
        parts.append("\n".join(f"- {line}" for line in [*map(str, self.figures), *self.notes]))
        if self.profile:
            spots = "\n".join(self.profile)
            parts.append(f"Where our time went, by the profiler (which itself takes time):\n\n```text\n{spots}\n```")
        return "\n\n".join(parts)


TITLE = """\
# Benchmarks

What `tests/bench/run --write` measured, beside the collections of PyPI's `ansible`, in one run on one machine for each
of the parts."""
CLUSTER = """\
# Clusters

The cluster is **simulated**: the lab (`virtlab`) on the same machine, sharing its CPUs with what is measured. Its
answers come at once, so the figures are about what the clients do, not about a network or a real control plane."""
KVM = """\
# KVM hosts

The host is a real libvirtd in namespaces of the same machine, sharing its CPUs with what is measured. Its machines are
defined and do not run, where nothing else is said."""

REAL = """\
# Real guests

The cluster is simulated; its guests are real: QEMU on KVM hosts in namespaces of the same machine, emulated in
software, sharing its CPUs with what is measured."""


def part(head: str, reports: Sequence[Report], versions: str) -> str:
    """What was measured of one side, with the machine and the date."""
    cpus = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[1]
    machine = f"{cpus} CPUs ({_cpu_model()}), {memory:.0f} GiB of memory, {platform.system()} {platform.release()}"
    facts = f"""\
- Date: {datetime.date.today().isoformat()}
- Machine: {machine}; load average over five minutes at the end: {load:.1f}
- {versions}"""
    return "\n\n".join([head, facts, *(report.markdown() for report in reports)])


def document(before: str, new: str) -> str:
    """The document with a part that was measured again; the other one stays as it was."""
    parts = {}
    for text in (f"\n{before}".split("\n# ")[1:], [new.removeprefix("# ")]):
        for found in text:
            parts[found.partition("\n")[0]] = f"# {found.strip()}"
    ordered = [parts[head] for head in ("Clusters", "KVM hosts", "Real guests") if head in parts]
    return "\n\n".join([TITLE, *ordered]) + "\n"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
