"""Fifty simulated guests and four real ones, started at the same time by a task each, on two labs of one machine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from figures import Report
from real_stage import MACHINE, RealStage
from stage import Stage

TASK = "they run"
NAMESPACE = "together"
INSTANCES = f"/apis/kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachineinstances"
PATIENCE = 300.0  # seconds


def bench(stage: RealStage, quick: bool) -> Report:
    simulated, real = (5, 1) if quick else (50, 4)
    report = Report(f"{simulated} simulated and {real} real guests together", ["what", "task", "CPU of the client"])
    with Stage(stage.work / "simulated", stage.python, stage.lab_python) as other:
        begin = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            runs = {
                f"{count} {kind}": pool.submit(started, place, count)
                for kind, place, count in (("simulated", other, simulated), ("real", stage, real))
            }
        for what, run in runs.items():
            seconds, cpu = run.result()
            report.rows.append([what, f"{seconds:.2f} s", f"{cpu:.2f} s"])
        booted = answering(stage, real, begin)
        report.rows.append([f"the agents of all {real} answer, from the start of Ansible", f"{booted:.2f} s", ""])
        for place, count in ((other, simulated), (stage, real)):
            listed = place.ask("GET", INSTANCES)["items"]
            running = sum(item["status"]["phase"] == "Running" for item in listed)
            if running != count:
                report.notes.append(f"of {count} guests {running} run")
    report.notes.append("a lab's guests are of one kind: these are two labs, and two runs of Ansible at the same time")
    return report


def started(stage: Stage, count: int) -> tuple[float, float]:
    stage.namespace(NAMESPACE)
    machines = [{"name": f"vm-{number:02d}"} for number in range(count)]
    task = {"name": TASK, "virtstack.core.vm": {"namespace": NAMESPACE, **MACHINE, "vms": machines}}
    times, whole = stage.play("together", task)
    return times[TASK].seconds, whole.cpu


def answering(stage: Stage, count: int, begin: float) -> float:
    """Seconds from C(begin) on until the agents of so many guests are connected."""
    while True:
        conditions = (item["status"].get("conditions") or () for item in stage.ask("GET", INSTANCES)["items"])
        if sum(any(one["type"] == "AgentConnected" for one in found) for found in conditions) >= count:
            return time.perf_counter() - begin
        if time.perf_counter() - begin > PATIENCE:
            raise SystemExit(f"not every one of {count} guests has its agent after {PATIENCE:.0f} s")
        time.sleep(0.1)
