# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_restore): a VM brought back to a snapshot, its guest stopped and started only when told."""

from __future__ import annotations

import time
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError
from ..cluster.resource import Object
from ..cluster.wait import wait
from ..task import Failure, Result, Task
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, printable_status, run_strategy
from .kubevirt_power import Waiting, Wish, act, is_live
from .lifecycle import Group, Made, carry_out, discard, make
from .snapshots import RESTORE, RESTORES, SNAPSHOT, SNAPSHOTS, machine, manifest

# Who else sees to it that the guest is off: KubeVirt itself, or whoever was told to wait for.
_PATIENT_POLICIES = ("StopTarget", "WaitEventually")
READINESS = ("WaitGracePeriod", "FailImmediate", *_PATIENT_POLICIES)


def restore_vm(client: Client, task: Task) -> Result:
    """Run a task of C(vm_restore). Raises Failure before anything is changed where the restore could not be done."""
    params = task.params
    name = params["name"] or f"{params['vm']}-{params['snapshot']}"
    if params["state"] == "absent":
        group = Group(RESTORES, params["namespace"], [name], _never, tell, "restores")
        return discard(client, task, group)
    if params["start_vm"] and not params["wait"]:
        raise Failure("start_vm: the VM can only be started when the restore is done; set wait: true as well.")
    desired = manifest(RESTORE, name, params, _spec(params))
    was_strategy: list[str] = []

    def one(_name: str, found: Object | None) -> Made:
        if found is not None and not RESTORES.has_failed(found) and not _hopeless(found):
            return make(client, RESTORES, desired, found, task), {"stopped": False, "started": False}
        _ready_snapshot(client, task)
        vm, stopped = _off(client, task)
        was_strategy.append(run_strategy(vm) if vm else "")
        return make(client, RESTORES, desired, found, task), {"stopped": stopped, "started": False}

    def finish(_name: str, found: Object, made: Made) -> Result:
        if not (params["start_vm"] and made[0].changed and was_strategy):
            return {}
        return {"started": _on(client, task)}

    group = Group(RESTORES, params["namespace"], [name], one, tell, "restores", finish=finish)
    return carry_out(client, task, group)


def _never(name: str, found: Object | None) -> Made:
    raise AssertionError(f"{name} is only to be deleted, not made: {found is not None}")


def tell(found: Object | None) -> Result:
    """What a task says of a restore."""
    return {
        "vm": at(found, "spec.target.name"),
        "snapshot": at(found, "spec.virtualMachineSnapshotName"),
        "complete": bool(at(found, "status.complete")),
        "restore_time": at(found, "status.restoreTime"),
        "volumes": [
            {
                "name": item.get("volumeName"),
                "claim": item.get("persistentVolumeClaim"),
                "data_volume": item.get("dataVolumeName"),
                "volume_snapshot": item.get("volumeSnapshotName"),
            }
            for item in at(found, "status.restores") or ()
        ],
        "deleted_data_volumes": at(found, "status.deletedDataVolumes") or [],
    }


def _spec(params: Any) -> Object:
    spec: Object = {"target": machine(params["vm"]), "virtualMachineSnapshotName": params["snapshot"]}
    for option, field in (
        ("target_readiness_policy", "targetReadinessPolicy"),
        ("volume_restore_policy", "volumeRestorePolicy"),
        ("volume_ownership_policy", "volumeOwnershipPolicy"),
        ("patches", "patches"),
    ):
        if params[option]:
            spec[field] = params[option]
    return spec


def _hopeless(found: Object) -> bool:
    """Whether a restore has ended without being complete; KubeVirt says so only in words."""
    words = RESTORES.words(found)
    return not RESTORES.is_ready(found) and "Operation failed" in words


def _ready_snapshot(client: Client, task: Task) -> None:
    """Raises Failure where the snapshot cannot be restored; one that is underway is waited for when told to wait."""
    name, namespace = task.params["snapshot"], task.params["namespace"]
    found = client.get(SNAPSHOT, name, namespace)
    if found is None:
        if task.check_mode:
            task.warn(f"There is no snapshot {namespace}/{name} yet: whether it can be restored could not be checked.")
            return
        raise Failure(f"There is no VirtualMachineSnapshot {namespace}/{name}. Check snapshot and namespace.")
    if SNAPSHOTS.has_failed(found):
        raise Failure(f"The snapshot {namespace}/{name} failed and cannot be restored: {SNAPSHOTS.words(found)}.")
    if SNAPSHOTS.is_ready(found) or task.check_mode:
        return
    if not task.params["wait"]:
        raise Failure(f"The snapshot {namespace}/{name} is not ready yet. Wait for it with vm_snapshot, or wait: true.")
    timeout = task.params["wait_timeout"]
    wait(client, SNAPSHOT, name, namespace, SNAPSHOTS.check, timeout=timeout, progress=task.progress)


def _off(client: Client, task: Task) -> tuple[Object | None, bool]:
    """The target with its guest off, and whether it was stopped for this. Raises Failure for a guest that may run on.

    The restore itself would wait five minutes for the guest, and then fail.
    """
    params = task.params
    name, namespace = params["vm"], params["namespace"]
    vm = client.get(VIRTUAL_MACHINE, name, namespace)
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace) if vm else None
    if vm is None or not is_live(instance):
        return vm, False
    if not params["stop_vm"]:
        if params["target_readiness_policy"] in _PATIENT_POLICIES:
            return vm, False
        raise Failure(
            f"VirtualMachine {namespace}/{name} was not restored: its guest is running (status"
            f" {printable_status(vm)}). Set stop_vm: true to stop it first, or stop it with virtstack.core.vm_power."
        )
    waiting = Waiting(params["wait_timeout"], task.progress)
    acted = act(client, Wish("stopped"), vm, instance, check_mode=task.check_mode, waiting=waiting)
    return vm, acted.changed


def _on(client: Client, task: Task) -> bool:
    """Start the restored VM and wait for its guest; whether it took an action."""
    params = task.params
    name, namespace = params["vm"], params["namespace"]
    if task.check_mode:
        return True
    vm = client.get(VIRTUAL_MACHINE, name, namespace)
    if vm is None:
        raise Failure(f"VirtualMachine {namespace}/{name} was restored, but has been deleted since.")
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
    started = time.monotonic()
    try:
        acted = act(
            client,
            Wish("started"),
            vm,
            instance,
            check_mode=False,
            waiting=Waiting(params["wait_timeout"], task.progress),
        )
    except ClusterError as error:
        took = time.monotonic() - started
        raise Failure(
            f"VirtualMachine {namespace}/{name} was restored, but did not start within {took:.0f} s: {error.message}"
        ) from error
    return acted.changed
