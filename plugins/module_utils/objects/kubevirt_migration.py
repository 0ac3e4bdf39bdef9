# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migration: what keeps a guest from migrating, what a migration is doing, and how it ended. Pure.

Source: KubeVirt's migration controller (pkg/virt-controller/watch/migration) and
https://kubevirt.io/user-guide/compute/live_migration/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict, no_room
from ..task import Failure
from .kubevirt import GROUP, HINT, at, conditions, holds

MIGRATION = Resource(GROUP, "v1", "virtualmachineinstancemigrations", "VirtualMachineInstanceMigration", hint=HINT)

HOSTNAME = "kubernetes.io/hostname"
SCHEDULABLE = "kubevirt.io/schedulable"
# On the pod in which the guest is to go on, with the UID of the migration.
JOB_LABEL = "kubevirt.io/migrationJobUID"

OVER = frozenset({"Succeeded", "Failed"})
_QUOTA = "migrationRejectedByResourceQuota"
# A volume that is about to be bound makes a pod unschedulable for a moment.
_PASSING = ("unbound immediate PersistentVolumeClaims",)


def phase(migration: Object | None) -> str:
    """The migration's phase; empty before the controller has seen it."""
    return str(at(migration, "status.phase") or "")


def is_over(migration: Object) -> bool:
    return phase(migration) in OVER


def under_way(migrations: Iterable[Object], name: str) -> Object | None:
    """The migration of this instance that has not ended, the newest if there are several."""
    found = [item for item in migrations if at(item, "spec.vmiName") == name and not is_over(item)]
    return max(found, key=lambda item: str(item["metadata"].get("creationTimestamp") or ""), default=None)


def obstacle(instance: Object | None, added_selector: Mapping[str, str] | None = None) -> str | None:
    """Why the guest cannot be migrated, None where nothing is in the way.

    C(added_selector) chooses the nodes to migrate to. KubeVirt lets the machine's own node selector win over it.
    """
    if instance is None or at(instance, "status.phase") in OVER:
        return "it has no running guest; start it first"
    if at(instance, "metadata.deletionTimestamp"):
        return "its guest is being stopped"
    now = str(at(instance, "status.phase") or "Pending")
    if now != "Running":
        return f"its guest does not run yet (phase {now})"
    able = conditions(instance).get("LiveMigratable", {})
    if able.get("status") == "False":
        why = ": ".join(str(able[part]) for part in ("reason", "message") if able.get(part))
        return why or "KubeVirt says that it is not live-migratable"
    own = at(instance, "spec.nodeSelector") or {}
    for key, value in (added_selector or {}).items():
        if key in own and own[key] != value:
            return f"its own node selector wants {key}={own[key]}, which excludes {key}={value}"
    return None


def node_selector(node: Object) -> dict[str, str]:
    """What selects this node alone. Raises Failure where no machine can come to it."""
    name = node["metadata"]["name"]
    labels = at(node, "metadata.labels") or {}
    if at(node, "spec.unschedulable"):
        raise Failure(f"node: {name} is cordoned, so that no machine can come to it. Uncordon it, or choose another.")
    if labels.get(SCHEDULABLE) != "true":
        raise Failure(
            f"node: {name} takes no virtual machines: its label {SCHEDULABLE} is {labels.get(SCHEDULABLE, 'missing')}."
            " Look at the virt-handler pod of that node, or choose another."
        )
    return {HOSTNAME: str(labels.get(HOSTNAME) or name)}


def selects(selector: Mapping[str, str], node: Object | None) -> bool:
    """Whether the node has all labels of C(selector)."""
    labels = at(node, "metadata.labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def manifest(name: str, instance: Object, selector: Mapping[str, str] | None) -> Object:
    """A migration of this instance, to the nodes that C(selector) chooses or to any."""
    metadata = instance["metadata"]
    spec: Object = {"vmiName": metadata["name"]}
    if selector:
        spec["addedNodeSelector"] = dict(selector)
    return {
        "apiVersion": MIGRATION.api_version,
        "kind": MIGRATION.kind,
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "spec": spec,
    }


def migrated(migration: Object | None) -> Verdict:
    """Whether a migration has come to its end."""
    if migration is None:
        return Failed("it was cancelled: the migration was deleted")
    now = phase(migration)
    if now == "Succeeded":
        return Ready()
    if now == "Failed":
        return Failed(failure(migration))
    if holds(migration, _QUOTA):
        return Failed("a resource quota of the namespace leaves no room for the second pod that a migration takes")
    if at(migration, "metadata.deletionTimestamp"):
        return Progress("being cancelled")
    return Progress("Pending, waiting for its turn" if now == "Pending" else now or "not yet seen by KubeVirt")


def failure(migration: Object) -> str:
    """Why a migration failed, as far as it says so itself; events tell the rest."""
    state = at(migration, "status.migrationState") or {}
    if state.get("abortStatus") == "Succeeded" or holds(migration, "migrationAbortRequested"):
        return "it was cancelled"
    return str(state.get("failureReason") or "the migration failed")


def ended(migration: Object | None) -> Verdict:
    """Whether a migration that is cancelled has ended, one way or the other."""
    if migration is None or is_over(migration):
        return Ready()
    return Progress(f"{phase(migration) or 'Pending'}, being cancelled")


def target_pod(pod: Object | None) -> Verdict:
    """What the pod in which the guest shall go on says: no node may have room for it."""
    scheduled = conditions(pod).get("PodScheduled", {})
    if pod is None or scheduled.get("status") != "False" or scheduled.get("reason") != "Unschedulable":
        return Progress()
    message = str(scheduled.get("message") or "no node takes it")
    if any(text in message for text in _PASSING):
        return Progress()
    return no_room(f"no node can take the guest: {message}")


def transfer(uid: str) -> Check:
    """What the instance tells of the migration with this UID: from where to where, and in which way."""

    def check(instance: Object | None) -> Verdict:
        if instance is None:
            return Failed("its guest was stopped meanwhile")
        state = at(instance, "status.migrationState") or {}
        if state.get("migrationUid") != uid or state.get("completed") or not state.get("startTimestamp"):
            return Progress()
        way = f", {state['mode']}" if state.get("mode") else ""
        return Progress(f"the guest moves from {state.get('sourceNode')} to {state.get('targetNode')}{way}")

    return check


def seconds(state: Mapping[str, Any]) -> float | None:
    """How long a migration took, by its time stamps, None where one is missing."""
    start, end = state.get("startTimestamp"), state.get("endTimestamp")
    if not start or not end:
        return None
    return max(0.0, (_time(str(end)) - _time(str(start))).total_seconds())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
