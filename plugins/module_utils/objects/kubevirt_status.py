# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a VirtualMachine has become what was declared, and when it cannot any more. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..cluster.resource import Object
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict, no_room
from . import cdi
from .kubevirt import (
    ALWAYS,
    FINAL_PHASES,
    HALTED,
    MANUAL,
    ONCE,
    RERUN_ON_FAILURE,
    conditions,
    holds,
    printable_status,
    run_strategy,
)

# PrintableStatus that waiting does not mend, and the conditions that say why.
HOPELESS = {
    "ErrorUnschedulable": ("PodScheduled",),
    "ErrorPvcNotFound": ("Synchronized", "PodScheduled"),
    "ErrorDataVolumeNotFound": ("Synchronized", "PodScheduled"),
    "DataVolumeError": ("DataVolumesReady", "Synchronized"),
    "ErrImagePull": ("Synchronized", "Ready"),
    "ImagePullBackOff": ("Synchronized", "Ready"),
    "CrashLoopBackOff": ("Synchronized", "Ready"),
}
# A volume that is about to be bound makes a pod unschedulable for a moment.
_PASSING = ("unbound immediate PersistentVolumeClaims",)

_RUNNING = frozenset({"Running", "Migrating"})
_DOWN = frozenset({"Stopped", "WaitingForVolumeBinding"})


def trouble(vm: Object) -> str | None:
    """Why the VM cannot start, in the words of scheduler, CDI or KubeVirt; None where nothing is wrong."""
    known = conditions(vm)
    if holds(vm, "Failure"):
        failure = known["Failure"]
        return ": ".join(str(failure[part]) for part in ("reason", "message") if failure.get(part))
    status = printable_status(vm)
    if status not in HOPELESS or _failed_starts(vm) == 1:
        return None
    told = [known[name] for name in HOPELESS[status] if known.get(name, {}).get("status") == "False"]
    message = next((str(condition["message"]) for condition in told if condition.get("message")), "")
    if any(text in message for text in _PASSING):
        return None
    return f"{status}: {message}" if message else status


def failing(vm: Object) -> Failed | None:
    """The same for waits: that no node has room may pass."""
    reason = trouble(vm)
    if reason is None:
        return None
    is_for_a_node = printable_status(vm) == "ErrorUnschedulable" and not holds(vm, "Failure")
    return no_room(reason) if is_for_a_node else Failed(reason)


def _failed_starts(vm: Object) -> int:
    """How often the VM failed to start; once may be an instance that was stopped on its way up, and is tried again."""
    return int(((vm.get("status") or {}).get("startFailure") or {}).get("consecutiveFailCount") or 0)


def is_seen(vm: Object) -> bool:
    """Whether the controller has acted on the VM as it is now, so that its status speaks of it."""
    generation = int(vm["metadata"].get("generation") or 0)
    status = vm.get("status") or {}
    return bool(status.get("printableStatus")) and int(status.get("desiredGeneration") or generation) >= generation


def _text(vm: Object) -> str:
    """What is worth telling of a VM that is on its way."""
    ready = conditions(vm).get("Ready", {})
    status = printable_status(vm)
    if status in _RUNNING and ready.get("message"):
        return f"{status}, {ready['message']}"
    return status or "not yet seen by KubeVirt"


def _check(settled: Callable[[Object], bool]) -> Check:
    def check(vm: Object | None) -> Verdict:
        if vm is None:
            return Failed("it was deleted while it was waited for")
        if not is_seen(vm):
            return Progress("not yet seen by KubeVirt")
        failed = failing(vm)
        if failed is not None:
            return failed
        return Ready() if settled(vm) else Progress(_text(vm))

    return check


def _is_running(vm: Object) -> bool:
    """A guest that is paused is where somebody wanted it."""
    return printable_status(vm) == "Paused" or (printable_status(vm) in _RUNNING and holds(vm, "Ready"))


running = _check(_is_running)
stopped = _check(lambda vm: printable_status(vm) in _DOWN)
paused = _check(lambda vm: printable_status(vm) == "Paused")
# For a VM whose strategy leaves it open whether it runs.
settled = _check(lambda vm: _is_running(vm) or printable_status(vm) in _DOWN)
# Halted, with volumes that may still be filled.
provisioning = _check(lambda vm: printable_status(vm) in _DOWN | {"Provisioning"})


def expected(vm: Object, created: bool) -> Check:
    """The check that fits the run strategy. A VM that was just C(created) is started by all but Halted and Manual."""
    strategy = run_strategy(vm)
    if strategy == ALWAYS or (created and strategy in (RERUN_ON_FAILURE, ONCE)):
        return running
    if strategy == HALTED or (created and strategy == MANUAL):
        return stopped
    return settled


def volume_check(disk: str) -> Check:
    """How a DataVolume of a disk comes along. One that waits for its first consumer is as far as a stopped VM gets."""

    def check(volume: Object | None) -> Verdict:
        if cdi.phase(volume) in cdi.WAITS_FOR_CONSUMER:
            return Ready()
        verdict = cdi.check(volume)
        if isinstance(verdict, Progress):
            return Progress(f"{disk} {verdict.text}")
        return verdict

    return check


def instance_is_over(instance: Object | None) -> bool:
    """Whether an instance is gone or about to be removed, its guest having ended."""
    return instance is None or (instance.get("status") or {}).get("phase") in FINAL_PHASES
