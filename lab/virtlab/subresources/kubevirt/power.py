"""start, stop, restart and migrate of a VirtualMachine: pkg/virt-api/rest/lifecycle.go.

What a run strategy allows, and whether it changes the spec or leaves a request in the status, is virt-api's.
"""

from __future__ import annotations

from typing import Any

from virtlab.resource import Object
from virtlab.status import bad_request
from virtlab.subresources.kubevirt.request import (
    ACCEPTED,
    NOT_RUNNING,
    condition,
    find_instance,
    guarded,
    instance,
    internal_error,
    is_dry_run,
    is_final,
    machine,
    machine_conflict,
    on_machine,
    options,
    phase,
    write,
    write_status,
)
from virtlab.subresources.registry import Answer, Call

VIRTUAL_MACHINES = "virtualmachines.kubevirt.io"
INSTANCES = "virtualmachineinstances.kubevirt.io"
MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"

SPEC_STRATEGIES = ("Always", "Once")
REQUEST_STRATEGIES = ("Manual", "RerunOnFailure")
RECOVERY_REQUIRED = (
    "VM recovery required: Volume migration failed, leaving some volumes pointing to non-consistent targets; manual "
    "intervention is needed to reassign them to their original volumes."
)


def run_strategy(vm: Object) -> str:
    """The strategy in force. Raises 500 when the deprecated C(running) contradicts it."""
    spec = vm["spec"]
    running, strategy = spec.get("running"), spec.get("runStrategy")
    if running is not None and strategy is not None:
        raise internal_error("running and runStrategy are mutually exclusive. Note that running is deprecated")
    if running is not None:
        return "Always" if running else "Halted"
    return strategy or "Halted"


def change_requests(vm: Object, changes: list[Object]) -> list[Object]:
    """The status' state change requests after C(changes). Raises 500 while others are under way."""
    pending = (vm.get("status") or {}).get("stateChangeRequests") or []
    only_stop = len(changes) == 1 and changes[0]["action"] == "Stop"
    if pending and not only_stop:
        raise internal_error("unable to complete request: stop/start already underway")
    return changes


def _request(call: Call, vm: Object, changes: list[Object], *, dry_run: bool) -> None:
    wanted = change_requests(vm, changes)

    def edit(status: dict[str, Any]) -> None:
        status["stateChangeRequests"] = wanted
        status.pop("startFailure", None)

    guarded(lambda: write_status(call, vm, edit, dry_run=dry_run))


def _set_running(call: Call, vm: Object, running: bool, *, dry_run: bool) -> None:
    def edit(obj: Object) -> None:
        if obj["spec"].get("runStrategy") is not None:
            obj["spec"]["runStrategy"] = "Always" if running else "Halted"
        else:
            obj["spec"]["running"] = running

    guarded(lambda: write(call, VIRTUAL_MACHINES, vm, edit, dry_run=dry_run))


def _set_grace_period(call: Call, vmi: Object, seconds: int, *, dry_run: bool) -> int:
    """Sets the instance's termination grace period; returns what it was."""
    before = vmi["spec"].get("terminationGracePeriodSeconds") or 0

    def edit(obj: Object) -> None:
        obj["spec"]["terminationGracePeriodSeconds"] = seconds

    guarded(lambda: write(call, INSTANCES, vmi, edit, dry_run=dry_run))
    return int(before)


def _stop_request(vmi: Object) -> Object:
    return {"action": "Stop", "uid": vmi["metadata"]["uid"]}


@on_machine("start", "PUT")
def start(call: Call) -> Answer:
    vm = machine(call)
    vmi = find_instance(call)
    if vmi is not None and phase(vmi) not in ("", "Unknown", "Succeeded", "Failed"):
        raise machine_conflict(call, "VM is already running")
    if condition(vm, "ManualRecoveryRequired") == "True":
        raise machine_conflict(call, RECOVERY_REQUIRED)
    body = options(call, "StartOptions")
    dry_run, paused = is_dry_run(body), bool(body.get("paused"))
    request: Object = {"action": "Start", "data": {"paused": "true"}} if paused else {"action": "Start"}
    strategy = run_strategy(vm)
    if strategy in SPEC_STRATEGIES:
        raise machine_conflict(call, f"{strategy} does not support manual start requests")
    if strategy == "Halted" and not paused:
        _set_running(call, vm, True, dry_run=dry_run)
    elif strategy == "Halted":
        _request(call, vm, [request], dry_run=dry_run)
    elif strategy in REQUEST_STRATEGIES:
        if strategy == "RerunOnFailure" and phase(vmi) == "Failed":
            raise machine_conflict(call, f"{strategy} does not support starting VM from failed state")
        changes = [_stop_request(vmi), request] if vmi is not None and is_final(vmi) else [request]
        _request(call, vm, changes, dry_run=dry_run)
    return ACCEPTED


@on_machine("stop", "PUT")
def stop(call: Call) -> Answer:
    body = options(call, "StopOptions")
    dry_run, grace = is_dry_run(body), body.get("gracePeriod")
    vm = machine(call)
    strategy = run_strategy(vm)
    vmi = find_instance(call)
    before = 0
    alive = vmi is not None and not is_final(vmi)
    if vmi is not None and alive and grace is not None:
        before = _set_grace_period(call, vmi, grace, dry_run=dry_run)
    if strategy in SPEC_STRATEGIES:
        _set_running(call, vm, False, dry_run=dry_run)
    elif strategy in ("Halted", *REQUEST_STRATEGIES):
        if vmi is None or not alive:
            raise machine_conflict(call, NOT_RUNNING)
        limited = vmi["spec"].get("terminationGracePeriodSeconds") is not None
        if strategy == "Halted" and (grace is None or (limited and grace >= before)):
            raise machine_conflict(call, "Halted only supports manual stop requests with a shorter graceperiod")
        _request(call, vm, [_stop_request(vmi)], dry_run=dry_run)
    return ACCEPTED


@on_machine("restart", "PUT")
def restart(call: Call) -> Answer:
    body = options(call, "RestartOptions")
    grace = body.get("gracePeriodSeconds")
    if grace is not None and grace > 0:
        raise bad_request("For force restart, only gracePeriod=0 is supported for now")
    if grace is not None and grace < 0:
        raise bad_request("gracePeriod has to be greater or equal to 0")
    dry_run = is_dry_run(body)
    vm = machine(call)
    if condition(vm, "VolumesChange") == "True":
        raise machine_conflict(call, RECOVERY_REQUIRED)
    strategy = run_strategy(vm)
    if strategy in ("Halted", "Once"):
        raise machine_conflict(call, f"RunStategy {strategy} does not support manual restart requests")
    vmi = find_instance(call)
    if vmi is None:
        raise machine_conflict(call, f"{NOT_RUNNING}: Halted")
    changes = [_stop_request(vmi), {"action": "Start"}]
    change_requests(vm, changes)
    if grace == 0:
        _set_grace_period(call, vmi, 1, dry_run=dry_run)
    _request(call, vm, changes, dry_run=dry_run)
    return ACCEPTED


@on_machine("migrate", "PUT")
def migrate(call: Call) -> Answer:
    body = options(call, "MigrateOptions")
    machine(call)
    vmi = instance(call)
    if phase(vmi) != "Running":
        raise machine_conflict(call, NOT_RUNNING)
    resource = call.cluster.resource(MIGRATIONS)
    if resource is None:
        raise internal_error(f"the server could not find the requested resource ({MIGRATIONS})")
    spec: Object = {"vmiName": call.name}
    if body.get("addedNodeSelector"):
        spec["addedNodeSelector"] = body["addedNodeSelector"]
    migration = {"metadata": {"generateName": "kubevirt-migrate-vm-"}, "spec": spec}
    guarded(
        lambda: call.cluster.create(
            resource, migration, namespace=call.namespace, manager="virt-api", dry_run=is_dry_run(body)
        )
    )
    return ACCEPTED
