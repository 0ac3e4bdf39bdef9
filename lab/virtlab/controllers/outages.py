"""Nodes that say nothing any more: what the node lifecycle, taint eviction and pod garbage collectors do about them."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import condition, find_condition, with_condition
from virtlab.controllers.ownership import being_deleted, controller_of
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.controllers.scheduler import tolerates
from virtlab.resource import Object
from virtlab.store import Event

GRACE = 40.0  # seconds that a node may say nothing (node-monitor-grace-period)
TOLERATED = 300.0  # seconds that pods tolerate it unless they say otherwise (admission plugin DefaultTolerationSeconds)
UNREACHABLE = "node.kubernetes.io/unreachable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
FINAL = ("Succeeded", "Failed")


def silent_conditions() -> list[Object]:
    """A node's conditions once its kubelet was not heard of for too long."""
    text = "Kubelet stopped posting node status."
    kinds = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    return [condition(kind, "Unknown", "NodeStatusUnknown", text) for kind in kinds]


def outage_taints(taints: Iterable[Object], *, silent: bool, stamp: str) -> list[Object]:
    """C(taints) with those of a node that is silent, or without them."""
    kept = [taint for taint in taints if taint["key"] != UNREACHABLE]
    if not silent:
        return kept
    since = {taint["effect"]: taint.get("timeAdded", stamp) for taint in taints if taint["key"] == UNREACHABLE}
    own = ({"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute"))
    return [*kept, *({**taint, "timeAdded": since.get(taint["effect"], stamp)} for taint in own)]


def patience(pod: Object, taint: Object) -> float | None:
    """Seconds that a pod stays on a node with this taint; None for ever."""
    if not tolerates(pod["spec"], taint):
        return TOLERATED if taint["key"] == UNREACHABLE else 0.0
    found = [item for item in pod["spec"].get("tolerations") or () if tolerates({"tolerations": [item]}, taint)]
    limits = [item["tolerationSeconds"] for item in found if item.get("tolerationSeconds") is not None]
    return float(min(limits)) if limits else None


class OutageController(Controller):
    """Marks, evicts and finally removes the pods of nodes that are silent, and of nodes that are gone."""

    manager_name = "kube-controller-manager"
    watches = ("nodes", "pods")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self.cluster.power.follow(lambda node: manager.enqueue(self, ("", node)))

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "nodes"):
            return super().keys(event)
        node = event.object["spec"].get("nodeName")
        return [("", node)] if node and event.type != "DELETED" and self.cluster.power.down(node) else ()

    def reconcile(self, key: Key) -> float | None:
        node = self.find("nodes", None, key[1])
        uid = node["metadata"]["uid"] if node is not None else ""
        if node is not None and (find_condition(node, "Ready") or {}).get("status") != "Unknown":
            self.forget(uid, *(step for known, step in list(self._since) if known == uid))
            return None
        taints = [] if node is None else (node.get("spec") or {}).get("taints") or ()
        given_up = node is None or any(taint["key"] == OUT_OF_SERVICE for taint in taints)
        waits = []
        for pod in [pod for pod in self.list("pods") if pod["spec"].get("nodeName") == key[1]]:
            metadata = pod["metadata"]
            if given_up and (node is None or being_deleted(pod)):
                self._remove(pod)
                continue
            pod = self._unready(pod)
            if being_deleted(pod) or controller_of(pod, "DaemonSet") is not None:
                continue
            spans = [patience(pod, taint) for taint in taints if taint["effect"] == "NoExecute"]
            limits = [span for span in spans if span is not None]
            if not limits:
                continue
            wait = self.remaining(uid, f"pod {metadata['uid']}", min(limits))
            if wait:
                waits.append(wait)
                continue
            text = f"Marking for deletion Pod {metadata['namespace']}/{metadata['name']}"
            self.event(pod, "TaintManagerEviction", text, component="taint-eviction-controller")
            self.delete("pods", metadata["namespace"], metadata["name"])
        return min(waits) if waits else None

    def _unready(self, pod: Object) -> Object:
        ready = find_condition(pod, "Ready")
        if ready is None or ready["status"] != "True":
            return pod
        wanted = {**ready, "status": "False"}
        conditions = with_condition(pod["status"]["conditions"], wanted, self.cluster.clock.stamp())
        self.event(pod, "NodeNotReady", "Node is not ready", warning=True, component="node-controller")
        return self.write_status("pods", pod, {**pod["status"], "conditions": conditions})

    def _remove(self, pod: Object) -> None:
        """Nobody will say that it has ended."""
        resource = self.served("pods")
        if resource is not None:
            metadata = pod["metadata"]
            self.cluster.delete(resource, metadata["name"], metadata["namespace"], options={"gracePeriodSeconds": 0})
