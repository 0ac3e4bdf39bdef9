"""The status of a VirtualMachine from the machine, its instance and its volumes. Pure functions.

The order of the printable statuses and the wording of conditions are virt-controller's (pkg/virt-controller/watch/vm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtlab.controllers.conditions import find_condition, with_condition, without_condition
from virtlab.controllers.kubevirt.names import FINAL
from virtlab.controllers.kubevirt.volumes import (
    Finder,
    data_volume_error,
    phase,
    provisioning,
    template_volumes,
    unbound,
)
from virtlab.controllers.ownership import being_deleted
from virtlab.resource import Object

NOT_SYNCED = ("Ready", "Failure", "RestartRequired")  # conditions of the VM that are not the instance's
RETRY_STRATEGIES = ("Always", "RerunOnFailure", "Once")
MAX_BACKOFF = 300  # seconds


@dataclass(frozen=True)
class SyncError:
    """Why the machine could not be brought to its run strategy."""

    reason: str
    message: str


def run_strategy(vm: Object) -> str:
    spec = vm["spec"]
    if spec.get("running") is not None:
        return "Always" if spec["running"] else "Halted"
    found: str = spec.get("runStrategy") or "Halted"
    return found


def requests(vm: Object) -> list[Object]:
    return list((vm.get("status") or {}).get("stateChangeRequests") or ())


def has_start_request(vm: Object) -> bool:
    pending = requests(vm)
    return bool(pending) and pending[0]["action"] == "Start"


def has_stop_request(vm: Object, vmi: Object) -> bool:
    pending = requests(vm)
    return bool(pending) and pending[0]["action"] == "Stop" and pending[0].get("uid") == vmi["metadata"]["uid"]


def first_request_done(vm: Object, vmi: Object | None) -> bool:
    """Has the first of the state change requests been carried out, so that it can go?"""
    pending = requests(vm)
    if not pending:
        return False
    if pending[0]["action"] == "Stop":
        return vmi is None or pending[0].get("uid") != vmi["metadata"]["uid"]
    return vmi is not None and not being_deleted(vmi) and phase(vmi) not in FINAL


def set_to_start(vm: Object, vmi: Object | None) -> bool:
    strategy = run_strategy(vm)
    if strategy == "Always":
        return True
    if strategy == "Manual":
        return has_start_request(vm) if vmi is None else not has_stop_request(vm, vmi)
    if strategy == "RerunOnFailure":
        return first_run(vm) if vmi is None else phase(vmi) != "Succeeded"
    return strategy == "Once" and vmi is None


def first_run(vm: Object) -> bool:
    """Is a RerunOnFailure machine to be started: asked for, or not yet run under this strategy?"""
    return has_start_request(vm) or (vm.get("status") or {}).get("runStrategy") != "RerunOnFailure"


def printable_status(vm: Object, vmi: Object | None, find_data_volume: Finder, find_claim: Finder) -> str:
    """What C(kubectl get vm) shows; the first that holds, in virt-controller's order."""
    volumes = template_volumes(vm)
    now = phase(vmi)
    synchronized = find_condition(vmi, "Synchronized") or {}
    unsynchronized = synchronized.get("reason", "") if synchronized.get("status") == "False" else ""
    scheduled = find_condition(vmi, "PodScheduled") or {}
    if being_deleted(vm):
        return "Terminating"
    if vmi is not None and now not in FINAL and being_deleted(vmi):
        return "Stopping"
    migration = ((vmi or {}).get("status") or {}).get("migrationState") or {}
    if now == "Running":
        if migration.get("startTimestamp") and not migration.get("completed") and not migration.get("failed"):
            return "Migrating"
        return "Paused" if (find_condition(vmi, "Paused") or {}).get("status") == "True" else "Running"
    if unsynchronized == "FailedPvcNotFound":
        return "ErrorPvcNotFound"
    if data_volume_error(volumes, find_data_volume):
        return "DataVolumeError"
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return "ErrorUnschedulable"
    if provisioning(volumes, find_data_volume):
        return "Provisioning"
    if set_to_start(vm, vmi) and unbound(volumes, find_claim):
        return "WaitingForVolumeBinding"
    if unsynchronized in ("ErrImagePull", "ImagePullBackOff"):
        return unsynchronized
    if vmi is not None and now in ("", "Pending", "Scheduling", "Scheduled"):
        return "Starting"
    failure = (vm.get("status") or {}).get("startFailure") or {}
    if failure.get("consecutiveFailCount") and run_strategy(vm) in RETRY_STRATEGIES:
        return "CrashLoopBackOff"
    if run_strategy(vm) == "WaitAsReceiver" and (vmi is None or now == "WaitingForSync"):
        return "WaitingForReceiver"
    if vmi is None or now in FINAL:
        return "Stopped"
    return "Unknown"


def ready_condition(vmi: Object | None, stamp: str) -> Object:
    if vmi is None:
        text = ("VMINotExists", "VMI does not exist")
    else:
        ready = find_condition(vmi, "Ready")
        if ready is not None:
            return ready
        text = ("VMIConditionMissing", "VMI is missing the Ready condition")
    return {"type": "Ready", "status": "False", "reason": text[0], "message": text[1], "lastProbeTime": stamp}


def conditions(
    vm: Object, vmi: Object | None, error: SyncError | None, restart: str | None, stamp: str
) -> list[Object]:
    """The machine's conditions: Ready first, the instance's copied, Failure and RestartRequired its own.

    C(restart) is why a restart is needed, or None.
    """
    result = list((vm.get("status") or {}).get("conditions") or ())
    ready = ready_condition(vmi, stamp)
    old = find_condition(vm, "Ready")
    if old is None or any(old.get(key) != ready.get(key) for key in ("status", "reason", "message")):
        result = with_condition(result, ready, stamp)
    if error is None:
        result = without_condition(result, "Failure")
    else:
        failure = {"type": "Failure", "status": "True", "reason": error.reason, "message": error.message}
        result = with_condition(result, {**failure, "lastProbeTime": None}, stamp)
    theirs = {item["type"]: item for item in ((vmi or {}).get("status") or {}).get("conditions") or ()}
    if vmi is not None:
        result = [item for item in result if item["type"] in NOT_SYNCED or item["type"] in theirs]
        for kind, item in theirs.items():
            if kind not in NOT_SYNCED:
                result = with_condition(result, item, item.get("lastTransitionTime") or stamp)
    if restart is None:
        return without_condition(result, "RestartRequired")
    wanted = {"type": "RestartRequired", "status": "True", "message": restart, "lastProbeTime": None}
    return with_condition(result, wanted, stamp)


def ever_ran(vmi: Object | None) -> bool:
    transitions = ((vmi or {}).get("status") or {}).get("phaseTransitionTimestamps") or ()
    return any(item["phase"] == "Running" for item in transitions)


def backoff_seconds(count: int) -> int:
    """How long the next start waits after C(count) starts in a row that failed; without the real one's jitter."""
    return int(min(MAX_BACKOFF, 10 * count**2))


def start_failure(vm: Object, vmi: Object | None, retry_at: Any) -> Object | None:
    """The machine's status.startFailure; C(retry_at) turns seconds from now into a time stamp."""
    old: Object | None = (vm.get("status") or {}).get("startFailure")
    if ever_ran(vmi) or run_strategy(vm) not in RETRY_STRATEGIES:
        return None
    if vmi is None or phase(vmi) not in FINAL:
        return old
    uid = vmi["metadata"]["uid"]
    if old is not None and old.get("lastFailedVMIUID") == uid:
        return old
    count = (old or {}).get("consecutiveFailCount", 0) + 1
    return {
        "consecutiveFailCount": count,
        "lastFailedVMIUID": uid,
        "retryAfterTimestamp": retry_at(backoff_seconds(count)),
    }
