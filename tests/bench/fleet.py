"""A thousand machines in one task: made, and found as they should be; beside plain requests, as many at a time."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from figures import Figure, Report
from manifest import IMAGE, INSTANCETYPE, LABELS, definition
from programs import hot_spots
from stage import Stage

TASK = "the fleet is as it should be"
AT_ONCE = 16
NOOP_SECONDS = 2.0
CREATION_RATIO = 1.5


def bench(stage: Stage, quick: bool) -> Report:
    count = 20 if quick else 1000
    report = Report(f"{count} machines in one task", ["what", "time", "CPU of the client", "requests"])
    names = [f"vm-{number:04d}" for number in range(count)]
    # Before and after, since others may share the machine.
    before = post_all(stage, "fleet-before", names)
    spent = {}
    stage.namespace("fleet")
    for what in ("created", "no-op"):
        times, whole = stage.play("fleet", task("fleet", names))
        took = times[TASK]
        spent[what] = took.seconds
        report.rows.append([f"the task, {what}", f"{took.seconds:.2f} s", f"{whole.cpu:.2f} s", str(whole.requests)])
        if took.changed is (what == "no-op"):
            report.notes.append(f"the task said changed={took.changed} where it {what}")
    after = post_all(stage, "fleet-after", names)
    for when, seconds in (("before", before), ("after", after)):
        report.rows.append([f"plain POSTs, {AT_ONCE} at a time, {when}", f"{seconds:.2f} s", "", str(count)])
    raw = (before + after) / 2
    report.figures.append(Figure("no-op", spent["no-op"], NOOP_SECONDS, " s"))
    report.figures.append(Figure("creation, of the plain POSTs' time", spent["created"] / raw, CREATION_RATIO))
    if report.short:
        profile = stage.work / "fleet.prof"
        stage.namespace("fleet-profiled")
        stage.play("fleet-profiled", task("fleet-profiled", names), profile=profile)
        report.profile = hot_spots(profile)
    return report


def task(namespace: str, names: list[str]) -> dict[str, Any]:
    """One task for all of them."""
    return {
        "name": TASK,
        "virtstack.core.vm": {
            "namespace": namespace,
            "labels": LABELS,
            "instancetype": INSTANCETYPE,
            "run_strategy": "Halted",
            "disks": [{"name": "root", "container_disk": IMAGE}],
            "interfaces": [{"name": "default", "network": "pod"}],
            "vms": [{"name": name} for name in names],
        },
    }


def post_all(stage: Stage, namespace: str, names: list[str]) -> float:
    """Seconds that creating machines takes with nothing but requests on kept connections."""
    stage.namespace(namespace)
    server = urlsplit(stage.url)
    own = threading.local()
    headers = {"Authorization": f"Bearer {stage.token}", "Content-Type": "application/json"}

    def post(name: str) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPSConnection(server.hostname or "", server.port, context=stage.trust)
        path = f"/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines"
        own.connection.request("POST", path, json.dumps(definition(name, namespace)), headers)
        answer = own.connection.getresponse()
        body = answer.read()
        if answer.status != 201:
            raise SystemExit(f"creating {name} was answered {answer.status}: {body[:500]!r}")

    start = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(post, names))
    return time.perf_counter() - start
