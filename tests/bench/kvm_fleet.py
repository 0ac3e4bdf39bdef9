"""Fifty machines with their disks in one task on a KVM host, beside plain calls of libvirt, one after the other."""

from __future__ import annotations

import time
from typing import Any

from figures import Figure, Report
from kvm_stage import KvmStage, domain
from programs import hot_spots

TASK = "the machines are as they should be"
NOOP_SECONDS = 2.0


def bench(stage: KvmStage, quick: bool) -> Report:
    count = 4 if quick else 50
    names = [f"fleet-{number:02d}" for number in range(count)]
    report = Report(f"KVM: {count} machines in one task", ["what", "time", "each", "CPU of the client"])
    spent = {}
    for what in ("created", "no-op"):
        times, whole = stage.play("fleet", task(stage, names))
        took = times[TASK]
        spent[what] = took.seconds
        each = f"{1000 * took.seconds / count:.0f} ms"
        report.rows.append([f"the task, {what}", f"{took.seconds:.2f} s", each, f"{whole.cpu:.2f} s"])
        if took.changed is (what == "no-op"):
            report.notes.append(f"the task said changed={took.changed} where it {what}")
    plain = plain_calls(stage, count)
    each = f"{1000 * plain / count:.0f} ms"
    report.rows.append(["plain calls, two volumes and a domain a machine", f"{plain:.2f} s", each, ""])
    report.figures.append(Figure("no-op", spent["no-op"], NOOP_SECONDS, " s"))
    report.notes.append(f"creation, of the plain calls' time: {spent['created'] / plain:.3g} (no target)")
    if report.short:
        profile = stage.work / "fleet.prof"
        stage.play("profiled", task(stage, names), profile=profile)
        report.profile = hot_spots(profile)
    return report


def task(stage: KvmStage, names: list[str]) -> dict[str, Any]:
    """One task for all of them."""
    return {
        "name": TASK,
        "virtstack.core.kvm_vm": {
            "uri": stage.uri,
            "cpu": {"cores": 2},
            "memory": "512Mi",
            "disks": [
                {"name": "root", "blank": True, "size": "1Gi"},
                {"name": "data", "blank": True, "size": "1Gi"},
            ],
            "interfaces": [{"name": "default", "network": "pod"}],
            "run_strategy": "Halted",
            "vms": [{"name": name} for name in names],
        },
    }


def plain_calls(stage: KvmStage, count: int) -> float:
    with stage.opened() as host:
        pool = host.storagePoolLookupByName("default")
        start = time.perf_counter()
        for number in range(count):
            for disk in ("root", "data"):
                pool.createXML(
                    f"<volume><name>plain-{number}-{disk}</name><capacity unit='GiB'>1</capacity>"
                    "<target><format type='qcow2'/></target></volume>"
                )
            host.defineXML(domain(f"plain-{number}"))
        return time.perf_counter() - start
