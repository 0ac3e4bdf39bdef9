# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(node_maintenance): a node is cordoned, emptied of guests and pods by eviction, and given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import declare, remove
from ..cluster.errors import ClusterError, Conflict, Denied, Forbidden, NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, deleted
from ..cluster.wait import Related, wait
from ..task import Failure, Result, Task
from . import kubevirt_migration as migration
from . import node_drain as drain
from .core import NODE, POD
from .kubevirt import GROUP, HINT, VIRTUAL_MACHINE_INSTANCE, at, holds, label
from .node_drain import BLOCKED, BUDGET, NODE_MAINTENANCE, SHUT_DOWN, Elsewhere, Fate

KUBEVIRT = Resource(GROUP, "v1", "kubevirts", "KubeVirt", hint=HINT)
NODE_LABEL = "kubevirt.io/nodeName"
CREATED_BY = "kubevirt.io/created-by"
# How often the node is looked at again for what came to it meanwhile.
_PASSES = 4

Fated = tuple[Object, Fate]


@dataclass
class Load:
    """What is on a node, with what becomes of it."""

    guests: list[Fated] = field(default_factory=list)
    pods: list[Fated] = field(default_factory=list)

    @property
    def blocked(self) -> list[Fated]:
        return [item for item in (*self.guests, *self.pods) if item[1].action == BLOCKED]


def maintain(client: Client, task: Task) -> Result:
    """Run a task of C(node_maintenance). Raises Failure with what keeps the node from it."""
    params = task.params
    name, state = params["name"], params["state"]
    if params["operator"] and state == "cordoned":
        raise Failure("operator: the Node Maintenance Operator always drains; use state: drained, or leave it out.")
    if params["reason"] is not None and not params["operator"]:
        raise Failure("reason: is kept by the Node Maintenance Operator only; set operator: true, or leave it out.")
    node = client.get(NODE, name)
    if node is None:
        there = ", ".join(sorted(item["metadata"]["name"] for item in client.list(NODE).items))
        raise Failure(f"There is no node {name}. The cluster has: {there}.")
    job = _Job(client, task, node)
    if state == "uncordoned":
        return job.released()
    if state == "cordoned":
        return job.result(job.cordon(True))
    return job.drained()


class _Job:
    """One node in maintenance."""

    def __init__(self, client: Client, task: Task, node: Object) -> None:
        self.client = client
        self.task = task
        self.node = node
        self.name: str = node["metadata"]["name"]
        self._was = bool(at(node, "spec.unschedulable"))
        self._is = self._was
        timeout = task.params["wait_timeout"] if task.params["wait"] and not task.check_mode else None
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self._strategy: str | None = None
        self._load = Load()
        self._ends: dict[tuple[str, str], Result] = {}

    def result(self, changed: bool) -> Result:
        """The task's result, as far as it came."""
        told: Result = {
            "changed": changed,
            "node": {"name": self.name, "unschedulable": self._is},
            "vms": [self._guest_told(instance, fate) for instance, fate in self._load.guests],
            "pods": [self._pod_told(pod, fate) for pod, fate in self._load.pods],
        }
        if self.task.diff:
            names = [label(instance) for instance, _fate in self._load.guests]
            staying = [label(instance) for instance, fate in self._load.guests if fate.action == BLOCKED]
            before = {"node": self.name, "unschedulable": self._was, "vms": names}
            after = {"node": self.name, "unschedulable": self._is, "vms": staying if changed else names}
            told["diff"] = {"before": before, "after": after}
        return told

    def _guest_told(self, instance: Object, fate: Fate) -> Result:
        metadata = instance["metadata"]
        return {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "eviction_strategy": drain.strategy(instance, self._strategy),
            "action": fate.action,
            "reason": fate.reason,
            "node": at(instance, "status.nodeName"),
            **self._ends.get((metadata["namespace"], metadata["name"]), {}),
        }

    def _pod_told(self, pod: Object, fate: Fate) -> Result:
        metadata = pod["metadata"]
        told = {"name": metadata["name"], "namespace": metadata["namespace"]}
        return {**told, "action": fate.action, "reason": fate.reason}

    # Cordoning

    def cordon(self, wanted: bool) -> bool:
        """Bring the node to C(wanted); whether that took anything."""
        if self._is is wanted:
            return False
        body = {"spec": {"unschedulable": True if wanted else None}}
        self.client.patch(NODE, self.name, None, body, dry_run=self.task.check_mode)
        self._is = wanted
        return True

    def released(self) -> Result:
        """Let machines come to the node again, and end its maintenance."""
        maintenance = self._maintenance() if self._was or self.task.params["operator"] else None
        if maintenance is None:
            return self.result(self.cordon(False))
        given = maintenance["metadata"]["name"]
        if not self.task.params["operator"]:
            raise Failure(
                f"The node {self.name} is in maintenance by the NodeMaintenance {given}. End that with operator: true.",
                **self.result(False),
            )
        outcome = remove(self.client, NODE_MAINTENANCE, given, live=maintenance, check_mode=self.task.check_mode)
        if self.deadline is not None:
            self._wait(NODE_MAINTENANCE, given, None, deleted)
        self._is = False
        return self.result(outcome.changed)

    def _maintenance(self) -> Object | None:
        """The NodeMaintenance of the node, whatever its name."""
        try:
            found = self.client.list(NODE_MAINTENANCE).items
        except (NotServed, Forbidden):
            if self.task.params["operator"]:
                raise
            return None
        return next((item for item in found if at(item, "spec.nodeName") == self.name), None)

    # Draining

    def drained(self) -> Result:
        """Empty the node. Raises Failure before anything is changed where a guest or a pod stands against it."""
        self._strategy = self._default_strategy()
        self._load = self._look()
        if self._load.blocked:
            count = len(self._load.blocked)
            raise Failure(
                f"The node {self.name} was not drained, and nothing was changed: {count} of its guests and pods"
                f" {'stands' if count == 1 else 'stand'} against it: {drain.spelled_out(self._load.blocked)}."
                f" {self._advice()}",
                **self.result(False),
            )
        if self.task.params["operator"]:
            return self._by_operator()
        changed = self.cordon(True)
        if self.task.check_mode:
            held = self._each(self._rehearse, self._load.pods)
            self._load.pods = [
                (pod, fate if why is None else Fate(fate.action, why))
                for (pod, fate), why in zip(self._load.pods, held, strict=True)
            ]
            return self.result(changed or bool(self._load.guests) or bool(self._load.pods))
        return self._empty(changed)

    def _advice(self) -> str:
        told = []
        kinds = {found.get("kind") for found, _fate in self._load.blocked}
        if VIRTUAL_MACHINE_INSTANCE.kind in kinds:
            told.append(
                "Stop the machines or change their eviction strategy, or set force: true to have them shut down."
            )
        if any("emptyDir" in str(fate.reason) for _found, fate in self._load.blocked):
            told.append("delete_emptydir_data: true lets pods go with their emptyDir volumes.")
        if any("no controller" in str(fate.reason) for _found, fate in self._load.blocked):
            told.append("force: true evicts pods that nothing makes anew.")
        if any("nowhere to go" in str(fate.reason) for _found, fate in self._load.blocked):
            told.append("Give them another node first: uncordon one, or add one.")
        if POD.kind in kinds:
            told.append("pods: false leaves all pods that are no guests where they are.")
        return " ".join(told)

    def _default_strategy(self) -> str | None:
        try:
            found = self.client.list(KUBEVIRT).items
        except (Forbidden, NotServed):
            return None
        return next((at(item, "spec.configuration.evictionStrategy") for item in found), None)

    def _look(self) -> Load:
        """What is on the node now."""
        params = self.task.params
        try:
            listed = self.client.list(VIRTUAL_MACHINE_INSTANCE, label_selector=f"{NODE_LABEL}={self.name}").items
        except NotServed:
            listed = []
        elsewhere = self._elsewhere()
        guests = [item for item in listed if at(item, "status.nodeName") == self.name]
        load = Load(
            [
                (item, drain.guest_fate(item, self._strategy, params["force"], elsewhere))
                for item in sorted(guests, key=label)
            ]
        )
        if params["pods"]:
            for pod in self.client.list(POD, field_selector=f"spec.nodeName={self.name}").items:
                fate = drain.pod_fate(pod, params["force"], params["delete_emptydir_data"], elsewhere)
                if fate is not None:
                    load.pods.append((pod, fate))
        return load

    def _elsewhere(self) -> Elsewhere:
        try:
            nodes = self.client.list(NODE).items
        except Forbidden:
            return Elsewhere()
        others = tuple(node for node in nodes if node["metadata"]["name"] != self.name)
        own = next((node for node in nodes if node["metadata"]["name"] == self.name), None)
        return Elsewhere(others, known=True, endured=tuple(at(own, "spec.taints") or ()))

    def _rehearse(self, item: Fated) -> str | None:
        """Why a pod could not be evicted at this moment."""
        try:
            self._evict(item[0], dry_run=True)
        except (Conflict, Denied) as error:
            return error.server_message or error.message
        return None

    def _empty(self, changed: bool) -> Result:
        """Evict what is on the node and, if the task waits, see it go; look again for what came meanwhile.

        The guests go first, and pods only when these have left: some may be what moves guests.
        """
        seen: set[str] = set()
        problems: list[str] = []
        for _pass in range(_PASSES):
            load = self._look() if seen else self._load
            new = Load(
                *(
                    [item for item in part if item[0]["metadata"]["uid"] not in seen]
                    for part in (load.guests, load.pods)
                )
            )
            if not new.guests and not new.pods:
                break
            if seen:
                self._load.guests += new.guests
                self._load.pods += new.pods
            seen |= {found["metadata"]["uid"] for found, _fate in (*new.guests, *new.pods)}
            changed = True
            for send, part in ((self._send_guest, new.guests), (self._send_pod, new.pods)):
                problems += [why for why in self._each(send, part) if why]
                if self.deadline is not None and not problems:
                    problems += [why for why in self._each(self._see_off, part) if why]
                if problems:
                    break
            if self.deadline is None or problems:
                break
        if problems:
            told = "\n".join(problems[:10])
            more = f"\nand {len(problems) - 10} more" if len(problems) > 10 else ""
            raise Failure(
                f"The node {self.name} is cordoned, but not empty. What is still there:\n{told}{more}\n"
                "Run this again to go on, or use state: uncordoned to give the node back.",
                **self.result(True),
            )
        return self.result(changed)

    def _each(self, act: Callable[[Fated], str | None], items: Sequence[Fated]) -> list[str | None]:
        """C(act) of all items in parallel; what went wrong with each."""
        found = self.client.in_parallel(act, items)
        return [
            f"{label(item[0])}: {outcome.message}" if isinstance(outcome, ClusterError) else outcome
            for item, outcome in zip(items, found, strict=True)
        ]

    def _send_guest(self, item: Fated) -> str | None:
        instance, fate = item
        metadata = instance["metadata"]
        if fate.action in (BLOCKED, drain.LEAVING):
            return None if fate.action == drain.LEAVING else f"{label(instance)}: {fate.reason}"
        is_kept = drain.strategy(instance, self._strategy) == drain.LIVE_MIGRATE or holds(instance, "LiveMigratable")
        if fate.action == SHUT_DOWN and is_kept:
            # KubeVirt refuses to evict it, or tries to migrate it; its eviction would come to the instance's deletion.
            self.client.delete(VIRTUAL_MACHINE_INSTANCE, metadata["name"], metadata["namespace"], uid=metadata["uid"])
            return None
        selector = f"{CREATED_BY}={metadata['uid']}"
        launchers = self.client.list(POD, metadata["namespace"], label_selector=selector).items
        for pod in launchers:
            on_node = at(pod, "spec.nodeName") == self.name and at(pod, "metadata.labels", {}).get("kubevirt.io")
            if on_node != "virt-launcher" or at(pod, "metadata.deletionTimestamp"):
                continue
            try:
                self._evict(pod)
            except Denied as error:
                if not any(words in error.server_message for words in drain.SEEN_TO):
                    return f"{label(instance)}: {error.message}"
            except Conflict as error:
                return f"{label(instance)}: {error.message}"
        return None

    def _send_pod(self, item: Fated) -> str | None:
        pod, fate = item
        if fate.action == BLOCKED:
            return f"{label(pod)}: {fate.reason}"
        if fate.action == drain.LEAVING:
            return None
        while True:
            try:
                self._evict(pod)
                return None
            except Denied as error:
                return f"{label(pod)}: {error.message}"
            except Conflict as error:
                if self.deadline is None:
                    return f"{label(pod)}: {error.message}"
                self._await_budget(pod, error)

    def _evict(self, pod: Object, dry_run: bool = False) -> None:
        metadata = pod["metadata"]
        self.client.evict(metadata["name"], metadata["namespace"], uid=metadata["uid"], dry_run=dry_run)

    def _await_budget(self, pod: Object, error: Conflict) -> None:
        """Wait until the disruption budget that refused a pod's eviction may allow it. Raises ClusterError."""
        told = [str(cause.get("message") or "") for cause in error.causes]
        name = next((found for text in told if (found := drain.budget_named(text))), None)
        if name is None or self._remaining() <= 0:
            raise error
        self._wait(BUDGET, name, pod["metadata"]["namespace"], drain.budget_allows)
        # Another pod of the budget may have been quicker.
        time.sleep(min(0.2, self._remaining()))

    def _see_off(self, item: Fated) -> str | None:
        found, _fate = item
        metadata = found["metadata"]
        name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
        if found["kind"] == POD.kind:
            self._wait(POD, name, namespace, drain.pod_gone(uid))
            return None
        launchers = Related(POD, migration.target_pod, namespace, label_selector=f"{CREATED_BY}={uid}")
        now = self._wait(VIRTUAL_MACHINE_INSTANCE, name, namespace, drain.left(self.name, uid), [launchers])
        self._note(found, now)
        return None

    def _note(self, instance: Object, now: Object | None) -> None:
        """Keep where a guest went; one that is still named by the node has ended there."""
        metadata = instance["metadata"]
        node = at(now, "status.nodeName") if at(now, "metadata.uid") == metadata["uid"] else None
        self._ends[metadata["namespace"], metadata["name"]] = {"node": None if node == self.name else node}

    def _remaining(self) -> float:
        return max(0.0, (self.deadline or 0.0) - time.monotonic())

    def _wait(
        self, resource: Resource, name: str, namespace: str | None, check: Check, related: Sequence[Related] = ()
    ) -> Object | None:
        return wait(
            self.client,
            resource,
            name,
            namespace,
            check,
            timeout=self._remaining(),
            progress=self.task.progress,
            related=related,
        )

    # By the operator

    def _by_operator(self) -> Result:
        """Have the Node Maintenance Operator drain the node."""
        live = self._maintenance()
        spec: dict[str, Any] = {"nodeName": self.name}
        if self.task.params["reason"] is not None:
            spec["reason"] = self.task.params["reason"]
        body = {"metadata": {"name": live["metadata"]["name"] if live else self.name}, "spec": spec}
        outcome = declare(
            self.client,
            NODE_MAINTENANCE,
            {"apiVersion": NODE_MAINTENANCE.api_version, "kind": NODE_MAINTENANCE.kind, **body},
            live=live,
            check_mode=self.task.check_mode,
        )
        self._is = True
        if self.deadline is not None:
            try:
                self._wait(NODE_MAINTENANCE, body["metadata"]["name"], None, drain.maintained)
            except ClusterError as error:
                seen = self.client.get(NODE_MAINTENANCE, body["metadata"]["name"])
                why = at(seen, "status.lastError")
                told = f" Its last error: {why}" if why and str(why) not in error.message else ""
                raise Failure(f"{error.message}{told}", **self.result(outcome.changed)) from error
            for instance, _fate in self._load.guests:
                metadata = instance["metadata"]
                self._note(instance, self.client.get(VIRTUAL_MACHINE_INSTANCE, metadata["name"], metadata["namespace"]))
        return self.result(outcome.changed)
