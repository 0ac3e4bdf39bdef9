"""A task for a KVM host that finds a machine as it should be, in a loop of twenty."""

from __future__ import annotations

from functools import partial
from typing import Any

from figures import Figure, Report
from kvm_stage import KvmStage, domain
from programs import best, hot_spots

TARGET = 1 / 10
TASK = "everything is as it should be"


def of_virtstack(stage: KvmStage, name: str) -> dict[str, Any]:
    return {
        "virtstack.core.kvm_vm": {
            "name": name,
            "uri": stage.uri,
            "cpu": {"cores": 2},
            "memory": "512Mi",
            "disks": [
                {"name": "root", "blank": True, "size": "1Gi"},
                {"name": "data", "blank": True, "size": "1Gi"},
            ],
            "interfaces": [{"name": "default", "network": "pod"}],
            "run_strategy": "Halted",
        }
    }


def of_libvirt(stage: KvmStage, name: str) -> dict[str, Any]:
    """The peer is given what libvirt itself says of the machine, so that there is nothing to find out."""
    with stage.opened() as host:
        document = host.defineXML(domain(name)).XMLDesc(2)  # as it is the next time it starts
    return {"community.libvirt.virt": {"command": "define", "uri": stage.uri, "xml": document}}


WAYS = {"virtstack.core": of_virtstack, "community.libvirt": of_libvirt}


def bench(stage: KvmStage, quick: bool) -> Report:
    times = 3 if quick else 20
    report = Report(
        f"KVM: a no-op task in a loop of {times}", ["collection", "task", "of that, each", "whole run", "CPU"]
    )
    seconds: dict[str, float] = {}
    for collection, module in WAYS.items():
        if not stage.has(collection):
            continue
        name = f"noop-{collection.replace('.', '-')}"
        task = {"name": TASK, "loop": list(range(times)), **module(stage, name)}
        stage.play(name, task)
        told, whole = best(partial(stage.play, name, task), lambda run: run[0][TASK].seconds, quick)
        took = told[TASK]
        if took.changed:
            report.notes.append(f"{collection} changed something in every run")
        seconds[collection] = took.seconds
        each = f"{1000 * took.seconds / times:.0f} ms"
        report.rows.append([collection, f"{took.seconds:.2f} s", each, f"{whole.seconds:.2f} s", f"{whole.cpu:.2f} s"])
    theirs = seconds.get("community.libvirt")
    value = seconds["virtstack.core"] / theirs if theirs else None
    report.figures.append(Figure("task time, of community.libvirt.virt's", value, TARGET))
    if report.short:
        profile = stage.work / "noop.prof"
        stage.measure("ansible-playbook", stage.work / "noop-virtstack-core.yml", profile=profile)
        report.profile = hot_spots(profile)
    return report
