# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the guests and the pods of a node that is drained, and what keeps them there. Pure.

Sources: KubeVirt's pod-eviction-admitter.go, and the filters of C(kubectl drain)
(https://kubernetes.io/docs/tasks/administer-cluster/safely-drain-node/).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from .kubevirt import FINAL_PHASES, at, conditions, holds, label
from .kubevirt_migration import SCHEDULABLE

BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NODE_MAINTENANCE = Resource(
    "nodemaintenance.medik8s.io",
    "v1beta1",
    "nodemaintenances",
    "NodeMaintenance",
    namespaced=False,
    hint="the Node Maintenance Operator is not installed; leave out operator: true to drain without it",
)

LIVE_MIGRATE, IF_POSSIBLE, NONE, EXTERNAL = "LiveMigrate", "LiveMigrateIfPossible", "None", "External"
# Part of what virt-api answers when it sees to a guest instead of letting its pod go.
SEEN_TO = ("triggered evacuation", "Evacuation in progress", "Eviction request for target Pod")

MIGRATED, SHUT_DOWN, EVICTED, LEAVING, BLOCKED = "migrated", "shut_down", "evicted", "leaving", "blocked"

_MIRROR = "kubernetes.io/config.mirror"
_OF_KUBEVIRT = frozenset({"virt-launcher", "hotplug-disk"})
_BUDGET_NAME = re.compile(r"disruption budget (\S+) needs")


@dataclass(frozen=True)
class Fate:
    """What happens to a guest or a pod, and why it stays or is lost."""

    action: str
    reason: str | None = None


def strategy(instance: Object, default: str | None) -> str:
    """The eviction strategy of a guest; C(default) is the cluster's, for instances older than it."""
    return str(at(instance, "spec.evictionStrategy") or default or NONE)


@dataclass(frozen=True)
class Elsewhere:
    """The nodes of the cluster but for the one that is drained; C(known) is false where they may not be read.

    C(endured) are the taints of that one, with which its guests live: what lets a launcher's pod do so may come from
    its namespace, and not be told of the guest.
    """

    nodes: tuple[Object, ...] = ()
    known: bool = False
    endured: tuple[Object, ...] = ()

    def lacks_for_guest(self, instance: Object) -> str | None:
        """Why no other node can take a guest, as far as that is plain; the scheduler has the last word."""
        if not self.known:
            return None
        selector = at(instance, "spec.nodeSelector") or {}
        tolerations = [*(at(instance, "spec.tolerations") or ())]
        endured = [{key: taint.get(key) for key in _TAINT} for taint in self.endured]
        tolerations += [{**taint, "operator": "Equal"} for taint in endured]
        return self._lacking(lambda node: _keeps_guest_out(node, selector, tolerations))

    def lacks_for_pods(self) -> str | None:
        """Why no other node takes any pod."""
        return self._lacking(_keeps_out) if self.known else None

    def _lacking(self, hinders: Callable[[Object], str | None]) -> str | None:
        if not self.nodes:
            return "the cluster has no other node"
        told = [(node["metadata"]["name"], hinders(node)) for node in self.nodes]
        if any(why is None for _name, why in told):
            return None
        listed = ", ".join(f"{name} {why}" for name, why in told[:5])
        return f"no other node takes it: {listed}{f' and {len(told) - 5} more' if len(told) > 5 else ''}"


def _keeps_out(node: Object) -> str | None:
    if at(node, "spec.unschedulable"):
        return "is cordoned"
    return None if holds(node, "Ready") else "is not ready"


def _keeps_guest_out(node: Object, selector: Mapping[str, str], tolerations: Sequence[Object]) -> str | None:
    why = _keeps_out(node)
    if why is not None:
        return why
    labels = at(node, "metadata.labels") or {}
    if labels.get(SCHEDULABLE) != "true":
        return "takes no guests"
    lacking = [f"{key}={value}" for key, value in selector.items() if labels.get(key) != value]
    if lacking:
        return f"is not labelled {', '.join(lacking)}"
    for taint in at(node, "spec.taints") or ():
        if taint.get("effect") in _KEEPING_OUT and not any(_tolerates(item, taint) for item in tolerations):
            return f"has the taint {taint['key']}"
    return None


_KEEPING_OUT = ("NoSchedule", "NoExecute")
_TAINT = ("key", "value", "effect")


def _tolerates(toleration: Object, taint: Object) -> bool:
    """Source: Toleration.ToleratesTaint in k8s.io/api/core/v1."""
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") not in (None, "", taint.get("key")):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def guest_fate(instance: Object, default: str | None, force: bool, elsewhere: Elsewhere = Elsewhere()) -> Fate:
    """What the eviction of a guest comes to. What would shut it down is done only with C(force)."""
    if at(instance, "status.phase") in FINAL_PHASES or at(instance, "metadata.deletionTimestamp"):
        return Fate(LEAVING)
    wish = strategy(instance, default)
    if wish == EXTERNAL:
        return Fate(EVICTED, "another controller sees to it (eviction strategy External)")
    if wish in (LIVE_MIGRATE, IF_POSSIBLE) and holds(instance, "LiveMigratable"):
        nowhere = elsewhere.lacks_for_guest(instance)
        if nowhere is None:
            return Fate(MIGRATED)
        return Fate(SHUT_DOWN if force else BLOCKED, f"it has nowhere to go: {nowhere}")
    if wish in (LIVE_MIGRATE, IF_POSSIBLE):
        able = conditions(instance).get("LiveMigratable", {})
        why = ": ".join(str(able[part]) for part in ("reason", "message") if able.get(part))
        told = f"it cannot be migrated ({why or 'its guest does not run yet'}), its eviction strategy is {wish}"
    else:
        told = f"its eviction strategy is {wish}, by which it would be shut down"
    return Fate(SHUT_DOWN if force else BLOCKED, told)


def pod_fate(pod: Object, force: bool, delete_emptydir_data: bool, elsewhere: Elsewhere = Elsewhere()) -> Fate | None:
    """What becomes of a pod that is no guest's; None for one that stays on a drained node, or goes with its guest."""
    metadata = pod["metadata"]
    owner = next((item for item in metadata.get("ownerReferences") or () if item.get("controller")), None)
    is_over = at(pod, "status.phase") in FINAL_PHASES
    if _MIRROR in (metadata.get("annotations") or {}) or (owner or {}).get("kind") == "DaemonSet":
        return None
    if (metadata.get("labels") or {}).get("kubevirt.io") in _OF_KUBEVIRT and not is_over:
        return None
    if metadata.get("deletionTimestamp"):
        return Fate(LEAVING)
    if is_over:
        return Fate(EVICTED)
    if owner is None and not force:
        return Fate(BLOCKED, "no controller would make it anew elsewhere")
    if not delete_emptydir_data and any("emptyDir" in volume for volume in at(pod, "spec.volumes") or ()):
        return Fate(BLOCKED, "it has an emptyDir volume, whose data would be lost")
    nowhere = elsewhere.lacks_for_pods()
    if nowhere is not None and not force:
        return Fate(BLOCKED, f"it has nowhere to go: {nowhere}")
    return Fate(EVICTED)


def left(node: str, uid: str) -> Check:
    """Whether the guest with this UID is off the node."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or instance["metadata"]["uid"] != uid or at(instance, "status.phase") in FINAL_PHASES:
            return Ready()
        if at(instance, "status.nodeName") != node:
            return Ready()
        state = at(instance, "status.migrationState") or {}
        if state.get("failed"):
            return Progress(
                f"its migration failed ({state.get('failureReason') or 'no reason given'}); KubeVirt tries again"
            )
        if state.get("startTimestamp") and not state.get("completed"):
            return Progress(f"moves to {state.get('targetNode')}")
        if at(instance, "metadata.deletionTimestamp"):
            return Progress("shuts down")
        return Progress("waits for its migration" if at(instance, "status.evacuationNodeName") else "is on the node")

    return check


def pod_gone(uid: str) -> Check:
    """Whether the pod with this UID is no more."""

    def check(pod: Object | None) -> Verdict:
        if pod is None or pod["metadata"]["uid"] != uid:
            return Ready()
        return Progress("is ending" if pod["metadata"].get("deletionTimestamp") else "is on the node")

    return check


def budget_allows(budget: Object | None) -> Verdict:
    """Whether a disruption budget lets a pod go."""
    if budget is None or int(at(budget, "status.disruptionsAllowed") or 0) > 0:
        return Ready()
    status = at(budget, "status") or {}
    numbers = f"{status.get('currentHealthy', 0)} of at least {status.get('desiredHealthy', 0)} pods are healthy"
    return Progress(f"held by the disruption budget {budget['metadata']['name']}: {numbers}")


def budget_named(text: str) -> str | None:
    """The name of the disruption budget in the API server's refusal of an eviction."""
    found = _BUDGET_NAME.search(text)
    return found[1] if found else None


def maintained(maintenance: Object | None) -> Verdict:
    """How far the Node Maintenance Operator is."""
    if maintenance is None:
        return Failed("it was deleted")
    status = at(maintenance, "status") or {}
    phase = status.get("phase")
    if phase == "Succeeded":
        return Ready()
    if phase == "Failed":
        return Failed(str(status.get("lastError") or "the maintenance failed"))
    if phase is None:
        return Progress("not yet seen by the Node Maintenance Operator")
    pending = status.get("pendingPods") or []
    names = f": {', '.join(pending[:3])}{' and more' if len(pending) > 3 else ''}" if pending else ""
    return Progress(f"{status.get('drainProgress', 0)} % drained, {len(pending)} pods left{names}")


def spelled_out(blocked: list[tuple[Object, Fate]]) -> str:
    """What keeps a node from being drained, the first ones by name."""
    told = [f"{label(found)}: {fate.reason}" for found, fate in blocked[:10]]
    if len(blocked) > len(told):
        told.append(f"and {len(blocked) - len(told)} more")
    return "; ".join(told)
