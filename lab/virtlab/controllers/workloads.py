"""Deployments, replica sets and daemon sets: the pods they want, and the status that counts them."""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import orjson

from virtlab.controllers.conditions import condition, is_true, merged
from virtlab.controllers.ownership import being_deleted, controller_of, owner_reference, owner_uids
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.controllers.scheduler import selects, tolerates
from virtlab.resource import Object
from virtlab.store import Event

DEPLOYMENTS = "deployments.apps"
REPLICA_SETS = "replicasets.apps"
DAEMON_SETS = "daemonsets.apps"
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: Object) -> str:
    """A short name for a pod template, the same for the same template."""
    number, text = crc32(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)), ""
    for _ in range(9):
        number, digit = divmod(number, len(ALPHABET)) if number else (0, 0)
        text += ALPHABET[digit]
    return text


def pod_from(template: Object, owner: Object, *, name: str = "", generate: str = "") -> Object:
    """A pod of C(owner) from its template."""
    metadata: Object = {
        **{key: dict(value) for key, value in (template.get("metadata") or {}).items() if isinstance(value, dict)},
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(owner)],
    }
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = generate
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


class _PodOwner(Controller):
    """What replica sets and daemon sets have in common: pods by owner."""

    manager_name = "kube-controller-manager"
    kind = ""
    plural = ""

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._owned = manager.index("pods", owner_uids)

    def pods_of(self, owner: Object) -> list[Object]:
        pods = (self.find("pods", *key) for key in self._owned.keys(owner["metadata"]["uid"]))
        return [pod for pod in pods if pod is not None and not being_deleted(pod)]

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "pods"):
            owner = controller_of(event.object, self.kind)
            return [(event.object["metadata"]["namespace"], owner["name"])] if owner else ()
        return super().keys(event)


class ReplicaSetController(_PodOwner):
    watches = (REPLICA_SETS, "pods")
    kind = "ReplicaSet"

    def reconcile(self, key: Key) -> float | None:
        owner = self.find(REPLICA_SETS, *key)
        if owner is None or being_deleted(owner):
            return None
        wanted = owner["spec"].get("replicas", 1)
        pods = self.pods_of(owner)
        for _ in range(wanted - len(pods)):
            pod = self.create("pods", pod_from(owner["spec"]["template"], owner, generate=f"{key[1]}-"))
            if pod is not None:
                self.event(owner, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        for pod in pods[wanted:]:
            self.delete("pods", key[0], pod["metadata"]["name"])
            self.event(owner, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        pods = self.pods_of(owner)
        ready = sum(is_true(pod, "Ready") for pod in pods)
        status: Object = {
            "replicas": len(pods),
            "fullyLabeledReplicas": len(pods),
            "observedGeneration": owner["metadata"].get("generation", 1),
        }
        if ready:
            status.update(readyReplicas=ready, availableReplicas=ready)
        self.write_status(REPLICA_SETS, owner, status)
        return None


class DaemonSetController(_PodOwner):
    watches = (DAEMON_SETS, "pods", "nodes")
    kind = "DaemonSet"

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key != ("", "nodes"):
            return super().keys(event)
        if event.type == "MODIFIED" and event.previous is not None:
            before, after = event.previous.object, event.object
            same = before["metadata"].get("labels") == after["metadata"].get("labels")
            if same and (before.get("spec") or {}) == (after.get("spec") or {}):
                return ()
        return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.list(DAEMON_SETS)]

    def reconcile(self, key: Key) -> float | None:
        owner = self.find(DAEMON_SETS, *key)
        if owner is None or being_deleted(owner):
            return None
        spec = owner["spec"]["template"]["spec"]
        have = {pod["spec"].get("nodeName", ""): pod for pod in self.pods_of(owner)}
        wanted = {
            node["metadata"]["name"]
            for node in self.list("nodes")
            if _runs_on(spec, node, is_there=node["metadata"]["name"] in have)
        }
        for node in sorted(wanted - have.keys()):
            pod = pod_from(owner["spec"]["template"], owner, generate=f"{key[1]}-")
            pod["spec"] = {**pod["spec"], "nodeName": node}
            self.create("pods", pod)
        for node in have.keys() - wanted:
            self.delete("pods", key[0], have[node]["metadata"]["name"])
        ready = sum(is_true(pod, "Ready") for pod in self.pods_of(owner))
        status: Object = {
            "currentNumberScheduled": len(wanted),
            "desiredNumberScheduled": len(wanted),
            "updatedNumberScheduled": len(wanted),
            "numberMisscheduled": 0,
            "numberReady": ready,
            "numberAvailable": ready,
            "observedGeneration": owner["metadata"].get("generation", 1),
        }
        if ready < len(wanted):
            status["numberUnavailable"] = len(wanted) - ready
        self.write_status(DAEMON_SETS, owner, status)
        return None


def _runs_on(spec: Object, node: Object, *, is_there: bool) -> bool:
    """Daemon pods tolerate a cordoned node, and one that is there goes for no taint but one with NoExecute."""
    taints = [
        taint
        for taint in (node.get("spec") or {}).get("taints") or ()
        if taint["key"] != "node.kubernetes.io/unschedulable" and not (is_there and taint["effect"] == "NoSchedule")
    ]
    return selects(spec, node) and all(tolerates(spec, taint) for taint in taints)


class DeploymentController(Controller):
    """One replica set a template; the older ones are scaled down and removed."""

    manager_name = "kube-controller-manager"
    watches = (DEPLOYMENTS, REPLICA_SETS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._owned = manager.index(REPLICA_SETS, owner_uids)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("apps", "replicasets"):
            owner = controller_of(event.object, "Deployment")
            return [(event.object["metadata"]["namespace"], owner["name"])] if owner else ()
        return super().keys(event)

    def reconcile(self, key: Key) -> float | None:
        deployment = self.find(DEPLOYMENTS, *key)
        if deployment is None or being_deleted(deployment):
            return None
        spec, wanted = deployment["spec"], deployment["spec"].get("replicas", 1)
        name = f"{key[1]}-{template_hash(spec['template'])}"
        current = self.find(REPLICA_SETS, key[0], name)
        if current is None:
            current = self.create(REPLICA_SETS, self._replica_set(deployment, name))
            message = f"Scaled up replica set {name} from 0 to {wanted}"
            self.event(deployment, "ScalingReplicaSet", message, component="deployment-controller")
        if current is None:
            return None
        if current["spec"].get("replicas", 1) != wanted:
            current = self.update(REPLICA_SETS, {**current, "spec": {**current["spec"], "replicas": wanted}})
        count = current.get("status") or {}
        ready = count.get("readyReplicas", 0)
        for owned in self._owned.keys(deployment["metadata"]["uid"]):
            if owned[1] != name and ready >= wanted:
                self.delete(REPLICA_SETS, *owned)
        self.write_status(DEPLOYMENTS, deployment, self._status(deployment, name, count.get("replicas", 0), ready))
        return None

    def _replica_set(self, deployment: Object, name: str) -> Object:
        spec = deployment["spec"]
        label = {"pod-template-hash": name.rpartition("-")[2]}
        template = spec["template"]
        metadata = template.get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), **label}
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": deployment["metadata"]["namespace"],
                "labels": labels,
                "annotations": {"deployment.kubernetes.io/desired-replicas": str(spec.get("replicas", 1))},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": spec.get("replicas", 1),
                "selector": {"matchLabels": {**(spec["selector"].get("matchLabels") or {}), **label}},
                "template": {**template, "metadata": {**metadata, "labels": labels}},
            },
        }

    def _status(self, deployment: Object, replica_set: str, replicas: int, ready: int) -> Object:
        wanted = deployment["spec"].get("replicas", 1)
        old = deployment.get("status") or {}
        stamp = self.cluster.clock.stamp()
        up = ready >= wanted
        conditions = [
            condition(
                "Available",
                up,
                "MinimumReplicasAvailable" if up else "MinimumReplicasUnavailable",
                f"Deployment {'has' if up else 'does not have'} minimum availability.",
            ),
            condition(
                "Progressing",
                True,
                "NewReplicaSetAvailable" if up else "ReplicaSetUpdated",
                f'ReplicaSet "{replica_set}" {"has successfully progressed" if up else "is progressing"}.',
            ),
        ]
        before = [
            {key: value for key, value in item.items() if key != "lastUpdateTime"}
            for item in old.get("conditions") or ()
        ]
        after = merged(before, conditions, stamp)
        if after != before:
            after = [{**item, "lastUpdateTime": stamp} for item in after]
        else:
            after = list(old.get("conditions") or ())
        status: Object = {
            "observedGeneration": deployment["metadata"].get("generation", 1),
            "replicas": replicas,
            "updatedReplicas": replicas,
            "conditions": after,
        }
        if ready:
            status.update(readyReplicas=ready, availableReplicas=ready)
        if replicas > ready:
            status["unavailableReplicas"] = replicas - ready
        return status
