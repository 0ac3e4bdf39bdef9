"""The inventory of a large cluster: ten thousand machines, half of them running, in two hundred namespaces."""

from __future__ import annotations

import json
from functools import partial

from figures import Figure, Report
from programs import Measured, best, hot_spots
from stage import Stage

WAYS = {
    "virtstack.core": ("virtstack.core.cluster", "bench.virtstack.yml"),
    "kubevirt.core": ("kubevirt.core.kubevirt", "bench.kubevirt.yml"),
}
TIME_RATIO = 1 / 4
MEMORY_RATIO = 1 / 2


def bench(stage: Stage, quick: bool) -> Report:
    vms, running, namespaces = (60, 30, 6) if quick else (10_000, 5_000, 200)
    stage.load(vms, running, namespaces)
    report = Report(
        f"Inventory of {vms} machines, {running} running, in {namespaces} namespaces",
        ["collection", "`ansible-inventory --list`", "CPU", "peak memory", "requests"],
    )
    spent: dict[str, Measured] = {}
    for collection, (plugin, file) in WAYS.items():
        if not stage.has(collection):
            continue
        (stage.work / file).write_text(f"plugin: {plugin}\n")
        arguments = ("-i", stage.work / file, "--list", "--output", stage.work / f"{collection}.json")
        found = best(partial(stage.measure, "ansible-inventory", *arguments), lambda run: run.seconds, quick)
        spent[collection] = found
        listed = len(json.loads((stage.work / f"{collection}.json").read_text())["_meta"]["hostvars"])
        if listed != vms:
            raise SystemExit(f"{collection} listed {listed} machines of {vms}:\n{found.output[-4000:]}")
        report.rows.append(
            [
                collection,
                f"{found.seconds:.1f} s",
                f"{found.cpu:.1f} s",
                f"{found.peak:.0f} MiB",
                str(found.requests),
            ]
        )
    ours, theirs = spent["virtstack.core"], spent.get("kubevirt.core")
    report.figures.append(Figure("time, of kubevirt.core's", theirs and ours.seconds / theirs.seconds, TIME_RATIO))
    report.figures.append(Figure("CPU time, of kubevirt.core's", theirs and ours.cpu / theirs.cpu, TIME_RATIO))
    report.figures.append(Figure("peak memory, of kubevirt.core's", theirs and ours.peak / theirs.peak, MEMORY_RATIO))
    report.notes.append("our requests: " + ", ".join(f"{count} x {kind}" for kind, count in ours.kinds.items()))
    if report.short:
        profile = stage.work / "listing.prof"
        file = stage.work / WAYS["virtstack.core"][1]
        stage.measure("ansible-inventory", "-i", file, "--list", "--output", stage.work / "ours.json", profile=profile)
        report.profile = hot_spots(profile)
    return report
