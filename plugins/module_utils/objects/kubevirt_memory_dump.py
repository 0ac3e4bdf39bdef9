# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory dumps of running guests, each as a file on a claim that is attached for it and taken off again.

Sources: virt-api's memorydump.go, virt-controller's pkg/storage/memorydump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError, Conflict, NotFound
from ..cluster.resource import Object
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from ..cluster.wait import wait
from ..machine import quantity
from ..task import Failure, Result, Task
from .core import PVC
from .kubevirt import MACHINE_ACTIONS, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, label, printable_status
from .kubevirt_power import is_live

# Bytes that a dump takes beyond the guest's memory, as virt-api reckons.
OVERHEAD = 100 * 1024**2
# Room for the claim's own file system; CDI's default is 0.06.
FILE_SYSTEM = Decimal("1.1")
_MIB = 1024**2
# Of the pods that attach claims to running guests.
_PODS = "kubevirt.io=hotplug-disk"
_BUSY = frozenset({"Associating", "InProgress", "Unmounting", "Dissociating"})

# Parts of virt-api's refusals, and what they mean.
MEANINGS: Mapping[str, str] = {
    "pvc should be filesystem pvc": "the claim is of volume mode Block; use one of mode Filesystem",
    "pvc access mode can't be read only": "the claim can only be read",
    "should be bigger then": "the claim is too small for the guest's memory",
    "while pvc": "another claim is still kept for its dumps; set state: absent first",
    "feature gate to use this API": "hot plug of volumes, which a dump takes, is not enabled in KubeVirt",
    "already in progress": "a dump is being taken",
    "VMI is not running": "its guest is not running",
}


def request_of(vm: Object | None) -> Mapping[str, Any]:
    """The memory dump that a VM's status tells of; empty where there is none."""
    found: Mapping[str, Any] = at(vm, "status.memoryDumpRequest") or {}
    return found


def needed(instance: Object) -> str:
    """The size of a claim that holds a dump of this guest, as a quantity."""
    memory = at(instance, "spec.domain.memory.guest") or at(instance, "spec.domain.resources.requests.memory") or "1Gi"
    size = (quantity.amount(memory) + OVERHEAD) * FILE_SYSTEM
    return f"{math.ceil(size / _MIB)}Mi"


def dumped(claim: str) -> Check:
    """Whether the dump that was asked for on this claim is done: what was told of one before went with the request."""

    def check(vm: Object | None) -> Verdict:
        if vm is None:
            return Failed("it was deleted")
        request = request_of(vm)
        if not request:
            return Failed("the dump was given up: its claim is no longer associated")
        if request.get("claimName") != claim:
            return Failed(f"another claim, {request.get('claimName')}, was taken meanwhile")
        phase = str(request.get("phase") or "")
        if phase == "Failed":
            return Failed(str(request.get("message") or "the memory dump failed"))
        if phase == "Completed":
            return Ready()
        return Progress(f"memory dump {phase}")

    return check


def dissociated(vm: Object | None) -> Verdict:
    """Whether a VM's status tells of no dump any more."""
    request = request_of(vm)
    return Progress(f"memory dump {request.get('phase')}") if request else Ready()


def manage_dump(client: Client, task: Task) -> Result:
    """Run a task of C(vm_memory_dump). Raises Failure."""
    name, namespace = task.params["name"], task.params["namespace"]
    vm = client.get(VIRTUAL_MACHINE, name, namespace)
    if vm is None:
        raise Failure(f"There is no VirtualMachine {namespace}/{name}. Check name and namespace.")
    return _remove(client, task, vm) if task.params["state"] == "absent" else _dump(client, task, vm)


def _dump(client: Client, task: Task, vm: Object) -> Result:
    params, request = task.params, request_of(vm)
    name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
    claim = params["claim"] or request.get("claimName")
    if not claim:
        raise Failure("claim: is missing; name the PersistentVolumeClaim that takes the dump.")
    if request and request.get("claimName") != claim:
        raise Failure(
            f"The dumps of {label(vm)} are on the claim {request.get('claimName')}, not on {claim}. Set state: absent"
            " first; the claim and the dump on it are kept."
        )
    before = _told(vm)
    under_way = request.get("phase") in _BUSY
    done = request.get("phase") == "Completed"
    if (done and not params["renew"]) or under_way:
        if under_way and params["wait"] and not task.check_mode:
            vm = _await(client, task, vm, claim, dumped(claim))
        return _result(task, vm, before, False)
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
    if not is_live(instance) or instance is None:
        raise Failure(
            f"Cannot dump the memory of {label(vm)}: its guest is not running (status {printable_status(vm)})."
        )
    created = _ensure_claim(client, task, claim, namespace, needed(instance))
    if not (created and task.check_mode):
        _call(client, task, vm, "memorydump", {"claimName": claim})
    after = vm
    if params["wait"] and not task.check_mode:
        after = _await(client, task, vm, claim, dumped(claim), claim_created=created)
    elif not task.check_mode:
        after = client.get(VIRTUAL_MACHINE, name, namespace) or vm
    return {**_result(task, after, before, True, wanted=claim), "claim_created": created}


def _ensure_claim(client: Client, task: Task, claim: str, namespace: str, size: str) -> bool:
    """Look at the claim, or make it; whether it was made. Raises Failure for one that cannot take the dump."""
    params = task.params
    found = client.get(PVC, claim, namespace)
    if found is not None:
        if at(found, "spec.volumeMode") == "Block":
            raise Failure(f"claim: {claim} is of volume mode Block; a dump is a file, so use one of mode Filesystem.")
        return False
    if not params["create"]:
        raise Failure(
            f"claim: there is no PersistentVolumeClaim {namespace}/{claim}. Make one of {size} or more, of mode"
            " Filesystem, or set create: true."
        )
    spec: Object = {
        "accessModes": [params["access_mode"]],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": params["size"] or size}},
    }
    if params["storage_class"]:
        spec["storageClassName"] = params["storage_class"]
    metadata = {"name": claim, "namespace": namespace}
    body = {"apiVersion": PVC.api_version, "kind": PVC.kind, "metadata": metadata, "spec": spec}
    client.create(PVC, body, dry_run=task.check_mode)
    return True


def _call(client: Client, task: Task, vm: Object, subresource: str, body: Object) -> None:
    """Ask virt-api, which has no dry run for these."""
    if task.check_mode:
        return
    name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
    try:
        client.call(MACHINE_ACTIONS, name, namespace, subresource, body)
    except (Conflict, NotFound) as error:
        meaning = next((text for words, text in MEANINGS.items() if words in error.server_message), None)
        if meaning is None:
            raise
        verb = "dump the memory of" if subresource == "memorydump" else "take the dump off"
        raise Failure(f"Cannot {verb} {label(vm)}: {meaning}. The server said: {error.server_message}") from error


def _await(client: Client, task: Task, vm: Object, claim: str, check: Check, **told: Any) -> Object:
    name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
    try:
        timeout = task.params["wait_timeout"]
        return wait(client, VIRTUAL_MACHINE, name, namespace, check, timeout=timeout, progress=task.progress) or vm
    except ClusterError as error:
        raise Failure(f"The memory of {label(vm)} was not dumped: {error.message}", **{**_told(vm), **told}) from error


def _binding(claim: Object | None) -> Verdict:
    """What a claim says that is not bound: the dump waits for it."""
    phase = at(claim, "status.phase")
    if phase == "Lost":
        return Failed("it has lost its volume")
    if claim is None or phase == "Bound":
        return Progress()
    return Progress(f"waits for the claim {claim['metadata']['name']}, which is {phase or 'Pending'}")


def _remove(client: Client, task: Task, vm: Object) -> Result:
    request, before = request_of(vm), _told(vm)
    claim = task.params["claim"]
    if not request or (claim and request.get("claimName") != claim):
        return _result(task, vm, before, False)
    asked = not request.get("remove")
    if asked:
        _call(client, task, vm, "removememorydump", {})
    after: Object | None = vm
    if task.params["wait"] and not task.check_mode:
        name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
        timeout = task.params["wait_timeout"]
        after = wait(client, VIRTUAL_MACHINE, name, namespace, dissociated, timeout=timeout, progress=task.progress)
    return _result(task, after or vm, before, asked, wanted=None)


def _told(vm: Object) -> Result:
    request = request_of(vm)
    return {
        "claim": request.get("claimName"),
        "phase": request.get("phase"),
        "file": request.get("fileName"),
        "started": request.get("startTimestamp"),
        "ended": request.get("endTimestamp"),
        "claim_created": False,
    }


def _result(task: Task, vm: Object, before: Result, changed: bool, wanted: str | None = "") -> Result:
    told = _told(vm)
    result: Result = {"changed": changed, **told}
    if task.diff:
        first = {"claim": before["claim"], "file": before["file"]}
        last = {"claim": told["claim"], "file": told["file"]}
        if changed and task.check_mode:
            last = {"claim": wanted, "file": "the new dump" if wanted else None}
        result["diff"] = {"before": first, "after": last}
    return result
