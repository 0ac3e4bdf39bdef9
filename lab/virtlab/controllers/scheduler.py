"""The scheduler: which node a pod fits on, and what it says when it fits on none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from virtlab.controllers import direct
from virtlab.controllers.claim_users import claim_names
from virtlab.controllers.claims import SELECTED_NODE
from virtlab.controllers.conditions import condition, with_condition
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.store import Event

FINAL = ("Succeeded", "Failed")
RETRY = 1.0  # real seconds until a pod that a fault rule holds is tried again


@dataclass(frozen=True)
class Request:
    """What a pod asks of a node: CPUs, bytes of memory."""

    cpu: float = 0.0
    memory: float = 0.0

    def __add__(self, other: Request) -> Request:
        return Request(self.cpu + other.cpu, self.memory + other.memory)

    def __sub__(self, other: Request) -> Request:
        return Request(self.cpu - other.cpu, self.memory - other.memory)


def request_of(pod: Object) -> Request:
    total = Request()
    for container in pod["spec"].get("containers") or ():
        asked = (container.get("resources") or {}).get("requests") or {}
        total += Request(float(parse(asked.get("cpu", "0"))), float(parse(asked.get("memory", "0"))))
    return total


def matches(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    """One node selector requirement against labels."""
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    value = labels.get(key)
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def selects(spec: Object, node: Object) -> bool:
    """Do nodeSelector and the required node affinity of a pod take the node?"""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        all(matches(expression, labels) for expression in term.get("matchExpressions") or ())
        and all(matches(expression, fields) for expression in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def tolerates(spec: Object, taint: Object) -> bool:
    for toleration in spec.get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if not toleration.get("key") and toleration.get("operator") == "Exists":
            return True
        if toleration.get("key") != taint["key"]:
            continue
        if toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def refusal(pod: Object, request: Request, node: Object, used: Request, pods: int) -> str | None:
    """Why C(pod) does not fit on C(node), in kube-scheduler's words; None when it fits."""
    spec = pod["spec"]
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not tolerates(spec, taint):
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return "node(s) were unschedulable"
            return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    if not selects(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    room = (node.get("status") or {}).get("allocatable") or {}
    if pods + 1 > int(parse(room.get("pods", "110"))):
        return "Too many pods"
    if used.cpu + request.cpu > float(parse(room.get("cpu", "0"))):
        return "Insufficient cpu"
    if used.memory + request.memory > float(parse(room.get("memory", "0"))):
        return "Insufficient memory"
    return None


def unschedulable_message(reasons: Counter[str], nodes: int) -> str:
    """kube-scheduler's summary of why no node took the pod."""
    texts = [f"{count} {reason}" for reason, count in reasons.items()]
    said = ", ".join(sorted(texts)) or "no nodes available to schedule pods"
    helpless = "Preemption is not helpful for scheduling."
    return (
        f"0/{nodes} nodes are available: {said}. no new claims to deallocate, "
        f"preemption: 0/{nodes} nodes are available: {nodes} {helpless}"
    )


class Usage:
    """What the pods of each node ask for in sum; kept by events."""

    def __init__(self) -> None:
        self.requests: dict[str, Request] = {}
        self.pods: Counter[str] = Counter()

    def observe(self, event: Event) -> None:
        if event.previous is not None:
            self._count(event.previous.object, -1)
        if event.type != "DELETED":
            self._count(event.object, 1)

    def _count(self, pod: Object, sign: int) -> None:
        node = pod["spec"].get("nodeName")
        if not node or (pod.get("status") or {}).get("phase") in FINAL:
            return
        self.pods[node] += sign
        request, used = request_of(pod), self.requests.get(node, Request())
        self.requests[node] = used + request if sign > 0 else used - request


class Scheduler(Controller):
    """Binds pods without a node to the least used one that fits; pods that fit nowhere are tried when nodes change."""

    manager_name = "kube-scheduler"
    watches = ("pods", "nodes")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._usage = Usage()
        manager.add_observer("pods", self._usage)
        self._waiting: dict[Key, None] = {}

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "nodes"):
            if event.previous is not None and event.type == "MODIFIED" and _same_room(event):
                return ()
            return list(self._waiting)
        pod = event.object
        if event.type == "DELETED":
            return list(self._waiting)
        return () if pod["spec"].get("nodeName") or being_deleted(pod) else super().keys(event)

    def reconcile(self, key: Key) -> float | None:
        pod = self.find("pods", *key)
        if pod is None or pod["spec"].get("nodeName") or being_deleted(pod) or pod["spec"].get("schedulingGates"):
            self._waiting.pop(key, None)
            return None
        told = self._told_not_to(pod)
        if told is not None:
            self._refuse(key, pod, told)
            return RETRY
        missing = [name for name in claim_names(pod) if self.find("persistentvolumeclaims", key[0], name) is None]
        nodes = self.list("nodes")
        reasons: Counter[str] = Counter()
        fitting: list[tuple[float, int, str]] = []
        request = request_of(pod)
        for node in nodes:
            name = node["metadata"]["name"]
            used, pods = self._usage.requests.get(name, Request()), self._usage.pods[name]
            reason = refusal(pod, request, node, used, pods)
            if reason is None:
                fitting.append((used.memory, pods, name))
            else:
                reasons[reason] += 1
        if missing:
            message = f'0/{len(nodes)} nodes are available: persistentvolumeclaim "{missing[0]}" not found.'
            self._refuse(key, pod, message)
            return None
        if not fitting:
            self._refuse(key, pod, unschedulable_message(reasons, len(nodes)))
            return None
        self._bind(pod, min(fitting)[2])
        self._waiting.pop(key, None)
        return None

    def _told_not_to(self, pod: Object) -> str | None:
        """Why a fault rule of the lab keeps this launcher pod from a node."""
        machine = (pod["metadata"].get("labels") or {}).get("vm.kubevirt.io/name")
        if machine is None:
            return None
        return self.cluster.faults.unschedulable(f"{pod['metadata'].get('namespace')}/{machine}")

    def _refuse(self, key: Key, pod: Object, message: str) -> None:
        self._waiting[key] = None
        status = dict(pod.get("status") or {"phase": "Pending"})
        wanted = condition("PodScheduled", False, "Unschedulable", message, lastProbeTime=None)
        before = list(status.get("conditions") or ())
        status["conditions"] = with_condition(before, wanted, self.cluster.clock.stamp())
        if status != pod.get("status"):
            self.write_status("pods", pod, status)
            self.event(pod, "FailedScheduling", message, warning=True, component="default-scheduler")

    def _bind(self, pod: Object, node: str) -> None:
        metadata = pod["metadata"]
        for name in claim_names(pod):
            claim = self.find("persistentvolumeclaims", metadata["namespace"], name)
            if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
                continue
            annotations = {**(claim["metadata"].get("annotations") or {}), SELECTED_NODE: node}
            self.update(
                "persistentvolumeclaims", {**claim, "metadata": {**claim["metadata"], "annotations": annotations}}
            )
        status = dict(pod.get("status") or {"phase": "Pending"})
        status["conditions"] = with_condition(
            list(status.get("conditions") or ()),
            condition("PodScheduled", True, lastProbeTime=None),
            self.cluster.clock.stamp(),
        )
        bound = {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}
        resource = self.served("pods")
        if resource is not None:
            live = direct.live_of(self.cluster, resource, pod)
            direct.put(
                self.cluster, resource, live, bound, self.manager_name, "status", {"f:status": direct.owned(status)}
            )


def _same_room(event: Event) -> bool:
    """Did the node change in nothing that scheduling looks at?"""
    old, new = event.previous.object if event.previous else {}, event.object
    return (
        old.get("spec") == new.get("spec")
        and old["metadata"].get("labels") == new["metadata"].get("labels")
        and (old.get("status") or {}).get("allocatable") == (new.get("status") or {}).get("allocatable")
    )
