"""The Node Maintenance Operator: a node of a NodeMaintenance is cordoned and drained, until the object is deleted.

internal/controller/nodemaintenance_controller.go; it drains as C(kubectl drain --force --delete-emptydir-data
--ignore-daemonsets) does.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.ownership import being_deleted, controller_of
from virtlab.controllers.runtime import Controller, Key
from virtlab.operation import User
from virtlab.resource import Object
from virtlab.status import StatusError
from virtlab.store import Event
from virtlab.subresources.core import evict
from virtlab.subresources.registry import Call

MAINTENANCES = "nodemaintenances.nodemaintenance.medik8s.io"
FINALIZER = "foregroundDeleteNodeMaintenance"
DRAIN_TAINT = {"key": "medik8s.io/drain", "effect": "NoSchedule"}
EXCLUDED = "remediation.medik8s.io/exclude-from-remediation"
MIRROR = "kubernetes.io/config.mirror"
RETRY = 5.0  # seconds after a drain that did not empty the node
ACCOUNT = User("system:serviceaccount:openshift-workload-availability:node-maintenance-operator-controller-manager")


def to_evict(pods: Iterable[Object], node: str) -> list[Object]:
    """The pods that a drain takes off a node: all but those of daemon sets and the kubelet's own."""
    return [
        pod
        for pod in pods
        if pod["spec"].get("nodeName") == node
        and controller_of(pod, "DaemonSet") is None
        and MIRROR not in (pod["metadata"].get("annotations") or {})
    ]


class NodeMaintenanceController(Controller):
    manager_name = "node-maintenance-operator"
    watches = (MAINTENANCES, "pods")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "nodemaintenances":
            return super().keys(event) if event.type != "DELETED" else ()
        if event.type != "DELETED" or self.served(MAINTENANCES) is None:
            return ()
        node = event.object["spec"].get("nodeName")
        return [("", item["metadata"]["name"]) for item in self.list(MAINTENANCES) if item["spec"]["nodeName"] == node]

    def reconcile(self, key: Key) -> float | None:
        maintenance = self.find(MAINTENANCES, None, key[1])
        if maintenance is None:
            return None
        name = maintenance["spec"]["nodeName"]
        finalizers = maintenance["metadata"].get("finalizers") or []
        if being_deleted(maintenance):
            if FINALIZER in finalizers:
                self._stop(name)
                self.drop_finalizer(MAINTENANCES, maintenance, FINALIZER)
                self.event(maintenance, "RemovedMaintenance", "Removed a node maintenance")
            return None
        if FINALIZER not in finalizers:
            metadata = {**maintenance["metadata"], "finalizers": [*finalizers, FINALIZER]}
            maintenance = self.update(MAINTENANCES, {**maintenance, "metadata": metadata})
            self.event(maintenance, "BeginMaintenance", "Begin a node maintenance")
        if self.find("nodes", None, name) is None:
            self._write(maintenance, phase="Failed", lastError=f'nodes "{name}" not found')
            return None
        if (maintenance.get("status") or {}).get("phase") is None:
            on_node = [pod for pod in self.list("pods") if pod["spec"].get("nodeName") == name]
            pending = to_evict(on_node, name)
            counts = {"totalpods": len(on_node), "evictionPods": len(pending)}
            maintenance = self._write(maintenance, phase="Running", **counts, **_named(pending))
        self._start(name)
        return self._drain(maintenance, name)

    def _write(self, maintenance: Object, **fields: object) -> Object:
        before = maintenance.get("status") or {}
        status = {**before, **fields}
        status = {field: value for field, value in status.items() if value not in (None, [])}
        if status == before:
            return maintenance
        return self.write_status(MAINTENANCES, maintenance, {**status, "lastUpdate": self.cluster.clock.stamp()})

    def _start(self, name: str) -> None:
        node = self.find("nodes", None, name)
        if node is None:
            return
        spec, labels = dict(node.get("spec") or {}), dict(node["metadata"].get("labels") or {})
        taints = list(spec.get("taints") or ())
        if not any(taint["key"] == DRAIN_TAINT["key"] for taint in taints):
            spec["taints"] = [*taints, dict(DRAIN_TAINT)]
        spec["unschedulable"] = True
        labels[EXCLUDED] = "true"
        self._update(node, spec, labels)

    def _stop(self, name: str) -> None:
        node = self.find("nodes", None, name)
        if node is None:
            return
        spec, labels = dict(node.get("spec") or {}), dict(node["metadata"].get("labels") or {})
        taints = [taint for taint in spec.get("taints") or () if taint["key"] != DRAIN_TAINT["key"]]
        spec = {field: value for field, value in spec.items() if field not in ("taints", "unschedulable")}
        if taints:
            spec["taints"] = taints
        labels.pop(EXCLUDED, None)
        self._update(node, spec, labels)
        self.event(node, "UncordonNode", "Uncordon a node")

    def _update(self, node: Object, spec: Object, labels: Object) -> None:
        if spec != node.get("spec") or labels != node["metadata"].get("labels"):
            self.update("nodes", {**node, "spec": spec, "metadata": {**node["metadata"], "labels": labels}})

    def _drain(self, maintenance: Object, name: str) -> float | None:
        refused = [error for pod in to_evict(self.list("pods"), name) if (error := self._evict(pod)) is not None]
        pending = to_evict(self.list("pods"), name)
        if not pending:
            if (maintenance.get("status") or {}).get("phase") != "Succeeded":
                self.event(maintenance, "SucceedMaintenance", "Node maintenance was succeeded")
            self._write(
                maintenance,
                phase="Succeeded",
                drainProgress=100,
                pendingPods=None,
                pendingPodsRefs=None,
                lastError=None,
            )
            return None
        total = (maintenance.get("status") or {}).get("evictionPods") or len(pending)
        self._write(
            maintenance,
            drainProgress=max(0, (total - len(pending)) * 100 // total) or None,
            lastError=f"[{', '.join(refused)}]" if refused else None,
            **_named(pending),
        )
        return max(0.05, self.cluster.clock.scaled(RETRY))

    def _evict(self, pod: Object) -> str | None:
        """Ask for a pod's eviction; why it is refused, as drain's errors read."""
        resource = self.served("pods")
        if resource is None or being_deleted(pod):
            return None
        metadata = pod["metadata"]
        call = Call(self.cluster, resource, "eviction", "POST", metadata["namespace"], metadata["name"], user=ACCOUNT)
        try:
            evict(call)
        except StatusError as error:
            if error.code == 404:
                return None
            return f'error when evicting pods/"{metadata["name"]}" -n "{metadata["namespace"]}": {error.message}'
        return None


def _named(pods: Iterable[Object]) -> dict[str, object]:
    names = [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods]
    return {
        "pendingPods": [name for _namespace, name in names],
        "pendingPodsRefs": [{"namespace": namespace, "name": name} for namespace, name in names],
    }
