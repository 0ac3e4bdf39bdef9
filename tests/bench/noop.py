"""A task that finds everything as it should be, in a loop of twenty."""

from __future__ import annotations

from functools import partial

from figures import Figure, Report
from manifest import of_kubernetes, of_kubevirt, of_virtstack
from programs import Measured, best, hot_spots
from stage import Stage

WAYS = {"virtstack.core": of_virtstack, "kubevirt.core": of_kubevirt, "kubernetes.core": of_kubernetes}
TARGETS = {"kubevirt.core": 1 / 10, "kubernetes.core": 1 / 5}
TASK = "everything is as it should be"


def bench(stage: Stage, quick: bool) -> Report:
    times = 3 if quick else 20
    report = Report(
        f"A no-op task in a loop of {times}",
        ["collection", "task", "of that, each", "whole run", "CPU", "requests"],
    )
    seconds: dict[str, float] = {}
    for collection, module in WAYS.items():
        if not stage.has(collection):
            continue
        namespace = f"noop-{collection.replace('.', '-')}"
        stage.namespace(namespace)
        task = {"name": TASK, "loop": list(range(times)), **module("vm-{{ item }}", namespace)}
        stage.play(namespace, task)
        times_of, whole = best(partial(stage.play, namespace, task), lambda run: run[0][TASK].seconds, quick)
        took = times_of[TASK]
        if took.changed:
            report.notes.append(f"{collection} changed something in every run")
        seconds[collection] = took.seconds
        report.rows.append(_row(collection, took.seconds, times, whole))
    for collection, target in TARGETS.items():
        value = seconds["virtstack.core"] / seconds[collection] if collection in seconds else None
        report.figures.append(Figure(f"task time, of {collection}'s", value, target))
    if report.short:
        profile = stage.work / "noop.prof"
        stage.measure("ansible-playbook", stage.work / "noop-virtstack-core.yml", profile=profile)
        report.profile = hot_spots(profile)
    return report


def _row(collection: str, seconds: float, times: int, whole: Measured) -> list[str]:
    return [
        collection,
        f"{seconds:.2f} s",
        f"{1000 * seconds / times:.0f} ms",
        f"{whole.seconds:.2f} s",
        f"{whole.cpu:.2f} s",
        str(whole.requests),
    ]
