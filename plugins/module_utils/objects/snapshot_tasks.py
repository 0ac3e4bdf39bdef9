# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of C(vm_snapshot) and C(vm_snapshot_info)."""

from __future__ import annotations

import datetime
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import remove
from ..cluster.errors import ClusterError, Forbidden, NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import deleted
from ..cluster.wait import wait_many
from ..task import Failure, Result, Task
from . import snapshots
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, by_name, label
from .lifecycle import Group, Made, carry_out, discard, make
from .snapshots import CLONE, CONTENT, RESTORE, SERIES, SNAPSHOT, SNAPSHOTS


def snapshot_vms(client: Client, task: Task) -> Result:
    """Run a task of C(vm_snapshot). Raises Failure."""
    params = task.params
    if params["state"] == "absent":
        return _remove(client, task)
    wanted = snapshots.retention(params)
    machines = _machines(client, params)
    by_snapshot = {_name(params, vm): vm for vm in machines}
    instances = _instances(client, params, machines)
    live = _live(client, params, list(by_snapshot))

    def one(name: str, found: Object | None) -> Made:
        vm = by_snapshot[name]
        desired = snapshots.snapshot(name, vm["metadata"]["name"], params)
        if found is None or SNAPSHOTS.has_failed(found):
            _refuse(params, vm, instances.get(vm["metadata"]["name"]))
        return make(client, SNAPSHOTS, desired, found, task), {"pruned": []}

    def finish(name: str, found: Object, made: Made) -> Result:
        if params["require_guest_agent"] and params["wait"] and not task.check_mode:
            snapshots.refuse_unfrozen(name, found)
        if not wanted.is_asked:
            return {}
        return _prune(client, task, name, at(made[0].after, "spec.source.name"), wanted)

    group = Group(
        SNAPSHOTS,
        params["namespace"],
        list(by_snapshot),
        one,
        snapshots.tell,
        "snapshots",
        finish=finish,
        live=live,
    )
    return carry_out(client, task, group)


def _name(params: Any, vm: Object) -> str:
    return params["name"] if params["vm"] else f"{vm['metadata']['name']}-{params['name']}"


def _machines(client: Client, params: Any) -> list[Object]:
    namespace = params["namespace"]
    if params["vm"] is None:
        found = client.list(VIRTUAL_MACHINE, namespace, label_selector=params["label_selector"]).items
        return sorted(found, key=lambda vm: str(vm["metadata"]["name"]))
    vm = client.get(VIRTUAL_MACHINE, params["vm"], namespace)
    if vm is None:
        raise Failure(f"There is no VirtualMachine {namespace}/{params['vm']}. Check vm and namespace.")
    return [vm]


def _instances(client: Client, params: Any, machines: list[Object]) -> dict[str, Object]:
    if not params["require_guest_agent"] or not machines:
        return {}
    return by_name(client.list(VIRTUAL_MACHINE_INSTANCE, params["namespace"]).items)


def _live(client: Client, params: Any, names: list[str]) -> dict[tuple[str | None, str], Object]:
    """One LIST where there are several; a GET for one."""
    namespace = params["namespace"]
    if len(names) == 1:
        found = client.get(SNAPSHOT, names[0], namespace)
        return {(namespace, names[0]): found} if found else {}
    listed = by_name(client.list(SNAPSHOT, namespace).items) if names else {}
    return {(namespace, name): listed[name] for name in names if name in listed}


def _refuse(params: Any, vm: Object, instance: Object | None) -> None:
    """Raises Failure for a VM of which the snapshot would not be what is asked for."""
    if not params["allow_excluded_disks"]:
        snapshots.refuse_partial(vm)
    if params["require_guest_agent"]:
        snapshots.refuse_unquiesced(vm, instance)


def _listed(client: Client, resource: Resource, namespace: str) -> list[Object]:
    """What only guards may be out of sight."""
    try:
        return client.list(resource, namespace).items
    except (Forbidden, NotServed):
        return []


def _prune(client: Client, task: Task, newest: str, vm: str, wanted: snapshots.Retention) -> Result:
    """Delete what the retention does not keep; those that a restore or a clone reads stay, with a warning."""
    namespace = task.params["namespace"]
    listed = client.list(SNAPSHOT, namespace, label_selector=f"{SERIES}={task.params['series']}").items
    series = [item for item in listed if at(item, "spec.source.name") == vm]
    doomed = snapshots.outlived(series, newest, wanted, datetime.datetime.now(datetime.UTC))
    if not doomed:
        return {"pruned": []}
    restores, clones = _listed(client, RESTORE, namespace), _listed(client, CLONE, namespace)
    pruned = []
    for item in doomed:
        readers = snapshots.users(item["metadata"]["name"], restores, clones)
        if readers:
            task.warn(f"{label(item)} is kept for now: {', '.join(readers)} reads it.")
            continue
        remove(client, SNAPSHOT, item["metadata"]["name"], namespace, live=item, check_mode=task.check_mode)
        pruned.append(item["metadata"]["name"])
    if task.params["wait"] and not task.check_mode:
        keys = [(namespace, name) for name in pruned]
        gone = wait_many(client, SNAPSHOT, keys, deleted, timeout=task.params["wait_timeout"], progress=task.progress)
        for stuck in gone.values():
            if isinstance(stuck, ClusterError):
                raise Failure(stuck.message, pruned=pruned)
    return {"pruned": pruned, "changed": bool(pruned)}


def _remove(client: Client, task: Task) -> Result:
    params = task.params
    namespace = params["namespace"]
    names = [params["name"]]
    if params["label_selector"]:
        machines = client.list(VIRTUAL_MACHINE, namespace, label_selector=params["label_selector"]).items
        names = sorted(f"{vm['metadata']['name']}-{params['name']}" for vm in machines)
    live = _live(client, params, names)
    restores = _listed(client, RESTORE, namespace) if live else []
    clones = _listed(client, CLONE, namespace) if live else []

    def guard(found: Object) -> None:
        readers = snapshots.users(found["metadata"]["name"], restores, clones)
        if readers:
            raise Failure(
                f"The snapshot {label(found)} was not deleted: {', '.join(readers)} reads it. Wait until that is done,"
                " or delete it first."
            )
        if params["vm"] and at(found, "spec.source.name") != params["vm"]:
            raise Failure(
                f"The snapshot {label(found)} was not deleted: it is of {at(found, 'spec.source.name')}, not of"
                f" {params['vm']}."
            )

    def tell(found: Object | None) -> Result:
        return {**snapshots.tell(found), "pruned": []}

    group = Group(SNAPSHOTS, namespace, names, _never, tell, "snapshots", live=live)
    return discard(client, task, group, guard)


def _never(name: str, found: Object | None) -> Made:
    raise AssertionError(f"{name} is only to be deleted, not made: {found is not None}")


def read_snapshots(client: Client, task: Task) -> Result:
    """Run a task of C(vm_snapshot_info): the snapshots, oldest first, with what is behind their volumes."""
    params = task.params
    namespaces: list[str | None] = list(params["namespaces"] or ()) or [None]
    found = [
        item
        for place in namespaces
        for item in client.list(SNAPSHOT, place, label_selector=params["label_selector"]).items
    ]
    chosen = [
        item
        for item in found
        if params["vm"] in (None, at(item, "spec.source.name")) and params["name"] in (None, item["metadata"]["name"])
    ]
    contents = {}
    if chosen:
        places = namespaces if params["namespaces"] else [None]
        contents = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): item
            for place in places
            for item in client.list(CONTENT, place).items
        }
    chosen.sort(key=lambda item: (at(item, "status.creationTime") or "9", item["metadata"]["name"]))
    return {"changed": False, "snapshots": [_facts(item, contents) for item in chosen]}


def _facts(found: Object, contents: dict[tuple[str, str], Object]) -> Result:
    metadata = found["metadata"]
    told = snapshots.tell(found)
    content = contents.get((metadata["namespace"], str(told["content_name"])))
    backups = at(content, "spec.volumeBackups") or []
    volumes = [
        {
            "name": item["volumeName"],
            "claim": at(item, "persistentVolumeClaim.metadata.name"),
            "volume_snapshot": item.get("volumeSnapshotName"),
            "size": at(item, "persistentVolumeClaim.spec.resources.requests.storage"),
            "storage_class": at(item, "persistentVolumeClaim.spec.storageClassName"),
        }
        for item in backups
    ]
    labels = metadata.get("labels") or {}
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        **told,
        "series": labels.get(SERIES),
        "labels": labels,
        "deletion_policy": str(at(found, "spec.deletionPolicy") or "Delete").lower(),
        "volumes": volumes,
    }
