# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_migration): guests moved to other nodes, a few at a time, or their migrations cancelled."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cluster.client import CONCURRENCY, Client
from ..cluster.errors import ClusterError, Denied, Forbidden, Invalid
from ..cluster.resource import Object
from ..cluster.wait import LATE, Related, WaitFailed, wait
from ..known import known
from ..task import Failure, Result, Task
from . import kubevirt_migration as migration
from .core import NODE, POD
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, printable_status
from .kubevirt_migration import JOB_LABEL, MIGRATION
from .kubevirt_task import Key, for_each

# Longest name of an object, less what makes it the only one.
_LONGEST = 253 - 9


@dataclass(frozen=True)
class Target:
    """Where guests are to go: a node, nodes by their labels, or with neither any other node."""

    node: str | None = None
    selector: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str | None:
        chosen = self.node or ",".join(f"{key}={value}" for key, value in sorted(self.selector.items()))
        return chosen or None


@dataclass(frozen=True)
class Found:
    """What there is of the selected machines, by namespace and name, and the nodes by name where they matter."""

    machines: Mapping[Key, Object]
    instances: Mapping[Key, Object]
    migrations: Mapping[Key, Object]
    nodes: Mapping[str, Object]


@dataclass(frozen=True)
class Policy:
    """How a task migrates. C(timeout) is in seconds, None where nothing is waited for."""

    target: Target
    check_mode: bool
    diff: bool
    skip_stopped: bool
    timeout: float | None
    progress: Callable[[str], None]


def migrate_vms(client: Client, task: Task) -> Result:
    """Run a task of C(vm_migration). Raises Failure where one of the guests could not be moved."""
    params = task.params
    limit = params["parallel"]
    if not 1 <= limit <= CONCURRENCY:
        raise Failure(f"parallel: {limit} is not between 1 and {CONCURRENCY}.")
    if params["state"] == "cancelled" and (params["node"] or params["node_selector"]):
        raise Failure("node and node_selector: mean nothing with state: cancelled; leave them out.")
    nodes = _nodes(client, params)
    target = _target(params, nodes)
    keys, found = _select(client, params, nodes)
    policy = Policy(
        target,
        task.check_mode,
        task.diff,
        params["name"] is None and not params["names"],
        params["wait_timeout"] if params["wait"] else None,
        task.progress,
    )
    act = _cancel if params["state"] == "cancelled" else _migrate
    return for_each(
        client, task, keys, lambda key: act(client, policy, key, found), single=params["name"] is not None, limit=limit
    )


# What is there


def _nodes(client: Client, params: Mapping[str, Any]) -> dict[str, Object]:
    """The nodes that the options speak of, or all where labels choose. Raises Failure for one that is not there."""
    if params["node_selector"]:
        return {node["metadata"]["name"]: node for node in client.list(NODE).items}
    found = {}
    for option in ("node", "from_node"):
        name = params[option]
        if not name:
            continue
        node = client.get(NODE, name)
        if node is None:
            there = ", ".join(sorted(item["metadata"]["name"] for item in client.list(NODE).items))
            raise Failure(f"{option}: there is no node {name}. The cluster has: {there}.")
        found[name] = node
    return found


def _target(params: Mapping[str, Any], nodes: Mapping[str, Object]) -> Target:
    if params["node"]:
        if params["node"] == params["from_node"]:
            raise Failure(f"node: {params['node']} is the node that from_node empties; name another.")
        return Target(params["node"], migration.node_selector(nodes[params["node"]]))
    selector = {str(key): str(value) for key, value in (params["node_selector"] or {}).items()}
    if selector and not any(migration.selects(selector, node) for node in nodes.values()):
        raise Failure(
            f"node_selector: no node has the labels {Target(None, selector).text()}."
            f" The cluster has the nodes {', '.join(sorted(nodes))}."
        )
    return Target(None, selector)


def _select(client: Client, params: Mapping[str, Any], nodes: Mapping[str, Object]) -> tuple[list[Key], Found]:
    """The machines that the task is about, in order. Raises Failure for one that is missing."""
    namespace, names = params["namespace"], params["names"] or ([params["name"]] if params["name"] else [])
    if not namespace and not params["from_node"]:
        raise Failure("namespace: is missing; only from_node goes without.")
    machines: dict[Key, Object] = {}
    if names:
        keys = [(namespace, name) for name in dict.fromkeys(names)]
        found = [client.get(VIRTUAL_MACHINE, name, namespace) for _namespace, name in keys]
        machines = {_key(vm): vm for vm in found if vm is not None}
    elif params["label_selector"]:
        listed = client.list(VIRTUAL_MACHINE, namespace, label_selector=params["label_selector"]).items
        machines = {_key(vm): vm for vm in listed}
        keys = sorted(machines)
    instances = _by_key(client, VIRTUAL_MACHINE_INSTANCE, namespace, names)
    if params["from_node"] and not names and not params["label_selector"]:
        keys = sorted(key for key, item in instances.items() if _node_of(item) == params["from_node"])
    elif params["from_node"]:
        keys = [key for key in keys if _node_of(instances.get(key)) == params["from_node"]]
    missing = sorted(key[1] for key in keys if key not in machines and key not in instances)
    if missing and names:
        raise Failure(f"There is no VirtualMachine {namespace}/{missing[0]}. Check name and namespace.")
    listed = client.list(MIGRATION, namespace).items if keys else []
    active = {key: migration.under_way([item for item in listed if _key(item)[0] == key[0]], key[1]) for key in keys}
    migrations = {key: item for key, item in active.items() if item is not None}
    return keys, Found(machines, instances, migrations, nodes)


def _by_key(client: Client, resource: Any, namespace: str | None, names: list[str]) -> dict[Key, Object]:
    if len(names) == 1:
        found = client.get(resource, names[0], namespace)
        return {_key(found): found} if found else {}
    return {_key(item): item for item in client.list(resource, namespace).items}


def _key(found: Object) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _node_of(instance: Object | None) -> str | None:
    return at(instance, "status.nodeName") or None


# Moving


def move(client: Client, instance: Object, *, timeout: float, progress: Callable[[str], None]) -> Result:
    """Migrate one guest to any other node, or follow the migration that is under way. Raises Failure."""
    key = _key(instance)
    active = migration.under_way(client.list(MIGRATION, key[0]).items, key[1])
    found = Found({}, {key: instance}, {key: active} if active else {}, {})
    policy = Policy(Target(), False, False, False, timeout, progress)
    return _moved(client, policy, _told(key, instance), key, found)


def _migrate(client: Client, policy: Policy, key: Key, found: Found) -> Result | Failure:
    instance = found.instances.get(key)
    told = _told(key, instance)
    try:
        return _moved(client, policy, told, key, found)
    except Failure as failure:
        told.pop("diff", None)
        return Failure(failure.message, **{**told, **failure.result})


def _moved(client: Client, policy: Policy, told: Result, key: Key, found: Found) -> Result:
    instance = found.instances.get(key)
    running = found.migrations.get(key)
    if running is not None:
        told = _follow(client, policy, {**told, "action": "adopted"}, running)
        if policy.timeout is None or policy.check_mode:
            return told
        instance = client.get(VIRTUAL_MACHINE_INSTANCE, key[1], key[0])
        if not policy.target.selector or _is_there(client, policy.target, instance, found):
            return told
    elif _is_there(client, policy.target, instance, found):
        return {**told, "action": "none"}
    why = migration.obstacle(instance, policy.target.selector)
    if why is not None:
        if instance is None and policy.skip_stopped:
            return {**told, "action": "skipped", "reason": why}
        status = printable_status(found.machines[key]) if key in found.machines else ""
        seen = f" (status {status})" if status and instance is None else ""
        raise Failure(f"Cannot migrate {key[0]}/{key[1]}: {why.rstrip('.')}{seen}.")
    made = _start(client, policy, known(instance))
    told = {**told, "action": "started", "changed": True, "migration": made["metadata"]["name"]}
    if policy.diff:
        before = {"name": key[1], "node": told["source_node"]}
        told["diff"] = {"before": before, "after": {**before, "node": policy.target.text() or "another node"}}
    if policy.check_mode:
        return {**told, "migration": None}
    return _follow(client, policy, told, made, own=True)


def _is_there(client: Client, target: Target, instance: Object | None, found: Found) -> bool:
    """Whether the guest is where the task wants it; without a target it is never."""
    node = _node_of(instance)
    if not target.selector or node is None:
        return False
    return node == target.node if target.node else migration.selects(target.selector, found.nodes.get(node))


def _start(client: Client, policy: Policy, instance: Object) -> Object:
    """Ask for a migration. A name of our own makes it safe to ask again when the answer is lost."""
    name = f"{instance['metadata']['name'][:_LONGEST].rstrip('-.')}-{secrets.token_hex(4)}"
    place = f"{instance['metadata']['namespace']}/{instance['metadata']['name']}"
    body = migration.manifest(name, instance, policy.target.selector)
    try:
        return client.create(MIGRATION, body, dry_run=policy.check_mode)
    except Denied as error:
        raise Failure(f"Cannot migrate {place}: {error.server_message or error.message}") from error
    except Forbidden as error:
        raise Failure(
            f"Cannot migrate {place}: {error.message} KubeVirt leaves migrations to administrators; the ClusterRole"
            " kubevirt.io:migrate grants them."
        ) from error
    except Invalid as error:
        if "addedNodeSelector" not in error.message:
            raise
        raise Failure(
            f"Cannot migrate {place} to {policy.target.text()}: this version of KubeVirt does not let a migration"
            " choose its node. Leave out node and node_selector, or update it."
        ) from error


def _follow(client: Client, policy: Policy, told: Result, found: Object, own: bool = False) -> Result:
    """Wait for a migration, if the task waits, and tell how it ended. One of our own that cannot come is taken back."""
    name, namespace, uid = (found["metadata"][part] for part in ("name", "namespace", "uid"))
    told = {**told, "migration": name, "phase": migration.phase(found) or "Pending"}
    if policy.timeout is None or policy.check_mode:
        return told
    vm = told["name"]
    try:
        ended = wait(
            client,
            MIGRATION,
            name,
            namespace,
            migration.migrated,
            timeout=policy.timeout,
            progress=lambda text: policy.progress(f"{vm}: {text.partition(': ')[2] or text}"),
            related=[
                Related(POD, migration.target_pod, namespace, label_selector=f"{JOB_LABEL}={uid}"),
                Related(VIRTUAL_MACHINE_INSTANCE, migration.transfer(uid), namespace, vm),
            ],
        )
    except ClusterError as error:
        raise _explained(client, told, error, found, own) from error
    return _completed(client, told, ended or found)


def _explained(client: Client, told: Result, error: ClusterError, found: Object, own: bool) -> Failure:
    """The failure of a migration, with where the guest is now and what became of the migration."""
    name, namespace, uid = (found["metadata"][part] for part in ("name", "namespace", "uid"))
    reader = client.until(time.monotonic() + LATE)
    message, phase = error.message, told["phase"]
    try:
        now = reader.get(MIGRATION, name, namespace)
        phase = migration.phase(now) or "Pending"
        if isinstance(error, WaitFailed) and own and now is not None and not migration.is_over(now):
            reader.delete(MIGRATION, name, namespace, uid=uid)
            message += " The migration was cancelled; the guest stays where it is."
        elif not isinstance(error, WaitFailed) and now is not None and not migration.is_over(now):
            message += " It goes on: run this again to wait for it, or with state: cancelled to stop it."
        instance = reader.get(VIRTUAL_MACHINE_INSTANCE, told["name"], namespace)
        told = {**told, "node": _node_of(instance)}
        reason = at(instance, "status.migrationState.failureReason")
        if reason and at(instance, "status.migrationState.migrationUid") == uid and str(reason) not in message:
            message += f" The guest's node said: {reason}."
    except ClusterError:
        phase = told["phase"]
    return Failure(f"Cannot migrate {namespace}/{told['name']}: {message}", **{**told, "phase": phase})


def _completed(client: Client, told: Result, ended: Object) -> Result:
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, told["name"], told["namespace"])
    uid = ended["metadata"]["uid"]
    state = at(ended, "status.migrationState") or {}
    if at(instance, "status.migrationState.migrationUid") == uid:
        state = at(instance, "status.migrationState")
    return {
        **told,
        "action": "adopted" if told["action"] == "adopted" else "migrated",
        "phase": migration.phase(ended),
        "source_node": state.get("sourceNode") or told["source_node"],
        "node": state.get("targetNode") or _node_of(instance),
        "duration": migration.seconds(state),
        "mode": state.get("mode"),
        "policy": state.get("migrationPolicyName"),
        "annotations": at(ended, "metadata.annotations") or {},
        **_diff_to(told, state.get("targetNode")),
    }


def _diff_to(told: Result, node: str | None) -> Result:
    if "diff" not in told or not node:
        return {}
    return {"diff": {**told["diff"], "after": {**told["diff"]["after"], "node": node}}}


def _told(key: Key, instance: Object | None) -> Result:
    node = _node_of(instance)
    return {
        "name": key[1],
        "namespace": key[0],
        "changed": False,
        "action": "none",
        "reason": None,
        "migration": None,
        "phase": None,
        "source_node": node,
        "node": node,
        "duration": None,
        "mode": None,
        "policy": None,
        "annotations": {},
    }


# Cancelling


def _cancel(client: Client, policy: Policy, key: Key, found: Found) -> Result | Failure:
    told = _told(key, found.instances.get(key))
    running = found.migrations.get(key)
    if running is None:
        return told
    name, namespace, uid = (running["metadata"][part] for part in ("name", "namespace", "uid"))
    told = {**told, "migration": name, "phase": migration.phase(running) or "Pending"}
    try:
        asked = not at(running, "metadata.deletionTimestamp")
        if asked:
            client.delete(MIGRATION, name, namespace, dry_run=policy.check_mode, uid=uid)
        told = {**told, "changed": asked, "action": "cancelled"}
        if policy.diff:
            before = {"name": key[1], "migration": name}
            told["diff"] = {"before": before, "after": {**before, "migration": None if asked else name}}
        if policy.timeout is None or policy.check_mode:
            return told
        wait(client, MIGRATION, name, namespace, migration.ended, timeout=policy.timeout, progress=policy.progress)
        instance = client.get(VIRTUAL_MACHINE_INSTANCE, key[1], namespace)
    except Failure as failure:
        told.pop("diff", None)
        return Failure(failure.message, **told)
    state = at(instance, "status.migrationState") or {}
    done = state.get("migrationUid") == uid and state.get("completed") and not state.get("failed")
    if done:
        # It had ended before the request came.
        return {**told, "action": "migrated", "phase": "Succeeded", "node": _node_of(instance)}
    return {**told, "phase": "Failed", "node": _node_of(instance)}
