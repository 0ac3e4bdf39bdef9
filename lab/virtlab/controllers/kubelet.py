"""The kubelet: bound pods start, get addresses and become ready; deleted ones end within their grace period."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from zlib import crc32

from virtlab.controllers.claim_users import claim_names
from virtlab.controllers.conditions import condition, find_condition, merged, with_condition
from virtlab.controllers.ownership import being_deleted, controller_of
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event

POD_NETWORK = ipaddress.ip_network("10.128.0.0/14")
PULL = 2.0  # seconds to pull and start containers
TERMINATE = 1.0
BAD_IMAGE = "virtlab-missing"  # an image with this in its name cannot be pulled, so that pull errors can be shown
LAUNCHER = "virt-launcher"


def pod_addresses(pod: Object) -> list[str]:
    address = (pod.get("status") or {}).get("podIP")
    return [address] if address and not pod["spec"].get("hostNetwork") else []


class Kubelet(Controller):
    """Plays all nodes. Virtual machine launchers are pods like any other; what runs in them is virt-handler's."""

    manager_name = "kubelet"
    watches = ("pods", "persistentvolumeclaims")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._addresses = manager.index("pods", pod_addresses)
        self._mounting = manager.index(
            "pods", lambda pod: [f"{pod['metadata'].get('namespace')}/{name}" for name in claim_names(pod)]
        )
        self._interrupted: set[str] = set()  # pods that ran when their node went down
        self.cluster.power.follow(self._switched)

    def _switched(self, node: str) -> None:
        """A node went down, or came back and looks after its pods."""
        for pod in [pod for pod in self.list("pods") if pod["spec"].get("nodeName") == node]:
            if self.cluster.power.down(node):
                self._interrupted.add(pod["metadata"]["uid"])
            else:
                self.manager.enqueue(self, (pod["metadata"]["namespace"], pod["metadata"]["name"]))

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key == ("", "persistentvolumeclaims"):
            return self._mounting.keys(f"{metadata.get('namespace')}/{metadata['name']}")
        if event.type == "DELETED" or not (event.object["spec"].get("nodeName") or being_deleted(event.object)):
            return ()
        return super().keys(event)

    def reconcile(self, key: Key) -> float | None:
        pod = self.find("pods", *key)
        if pod is None:
            return None
        if self.cluster.power.down(pod["spec"].get("nodeName", "")):
            return None
        if being_deleted(pod):
            return self._terminate(key, pod)
        if pod["metadata"]["uid"] in self._interrupted:
            self._interrupted.remove(pod["metadata"]["uid"])
            pod = self._resumed(pod)
        if not pod["spec"].get("nodeName") or (pod.get("status") or {}).get("phase") != "Pending":
            return None
        if not self._volumes_bound(key[0], pod):
            return None
        uid = pod["metadata"]["uid"]
        bad = next((item for item in _containers(pod) if BAD_IMAGE in item.get("image", "")), None)
        if bad is not None:
            return self._pull_failure(pod, bad)
        wait = self.remaining(uid, "pull", PULL)
        if wait:
            return wait
        self.forget(uid, "pull")
        self.write_status("pods", pod, self._running(pod))
        return None

    def _resumed(self, pod: Object) -> Object:
        """A pod that ran when its node went down: a launcher has failed, the containers of others are started again."""
        status, stamp = dict(pod.get("status") or {}), self.cluster.clock.stamp()
        if status.get("phase") != "Running":
            return pod
        failed = controller_of(pod, "VirtualMachineInstance") is not None
        conditions = list(status.get("conditions") or ())
        for kind in ("Ready", "ContainersReady"):
            known = find_condition({"status": {"conditions": conditions}}, kind) or {
                "type": kind,
                "lastProbeTime": None,
            }
            known = {name: value for name, value in known.items() if name != "reason"}
            wanted = {**known, "status": "False", "reason": "PodFailed"} if failed else {**known, "status": "True"}
            conditions = with_condition(conditions, wanted, stamp)
        status["conditions"] = conditions
        if failed:
            status["phase"] = "Failed"
            ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
            status["containerStatuses"] = [
                {**item, "ready": False, "started": False, "state": {"terminated": ended}}
                for item in status.get("containerStatuses") or ()
            ]
        return self.write_status("pods", pod, status)

    def _volumes_bound(self, namespace: str, pod: Object) -> bool:
        for name in claim_names(pod):
            claim = self.find("persistentvolumeclaims", namespace, name)
            if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
                return False
        return True

    def _running(self, pod: Object) -> Object:
        node = self.find("nodes", None, pod["spec"]["nodeName"])
        addresses = ((node or {}).get("status") or {}).get("addresses") or [{"address": "192.168.126.11"}]
        host = addresses[0]["address"]
        uid = pod["metadata"]["uid"]
        address = host if pod["spec"].get("hostNetwork") else self.free_address(uid)
        return running_status(pod, uid, host, address, self.cluster.clock.stamp())

    def free_address(self, seed: str) -> str:
        """An address of the pod network that no pod has, the same for the same seed where it is free."""
        size = POD_NETWORK.num_addresses
        offset = 10 + crc32(seed.encode()) % (size - 20)
        while True:
            address = str(POD_NETWORK[offset])
            if not self._addresses.count(address):
                return address
            offset = 10 + (offset + 1) % (size - 20)

    def _pull_failure(self, pod: Object, container: Object) -> float | None:
        uid, image = pod["metadata"]["uid"], container.get("image", "")
        wait = self.remaining(uid, "pull", PULL)
        reason = "ErrImagePull" if wait else "ImagePullBackOff"
        message = (
            f"initializing source docker://{image}: reading manifest: manifest unknown"
            if wait
            else f'Back-off pulling image "{image}"'
        )
        status = dict(pod.get("status") or {})
        status["containerStatuses"] = [
            {
                "name": item["name"],
                "image": item.get("image", ""),
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": 0,
                "lastState": {},
                "state": {"waiting": {"reason": reason, "message": message}}
                if item is container
                else {"waiting": {"reason": "PodInitializing"}},
            }
            for item in _containers(pod)
        ]
        if status != pod.get("status"):
            self.write_status("pods", pod, status)
            said = f'Failed to pull image "{image}": {message}' if wait else message
            self.event(pod, "Failed" if wait else "BackOff", said, warning=True)
        return wait or None

    def _terminate(self, key: Key, pod: Object) -> float | None:
        wait = self.remaining(pod["metadata"]["uid"], "terminate", TERMINATE) if pod["spec"].get("nodeName") else 0.0
        if wait:
            return wait
        self.forget(pod["metadata"]["uid"], "terminate")
        resource = self.served("pods")
        if resource is not None and not pod["metadata"].get("finalizers"):
            self.cluster.delete(resource, key[1], key[0], options={"gracePeriodSeconds": 0})
        return None


def _containers(pod: Object) -> list[Object]:
    return [*(pod["spec"].get("initContainers") or ()), *(pod["spec"].get("containers") or ())]


def running_status(pod: Object, uid: str, host: str, address: str, stamp: str) -> Object:
    """The status of a pod whose containers run and are ready."""
    kinds = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    status = dict(pod.get("status") or {})
    ready = [condition(kind, True, lastProbeTime=None) for kind in kinds]
    status.update(
        phase="Running",
        conditions=merged(list(status.get("conditions") or ()), ready, stamp),
        hostIP=host,
        hostIPs=[{"ip": host}],
        podIP=address,
        podIPs=[{"ip": address}],
        startTime=stamp,
        qosClass=status.get("qosClass") or "Burstable",
        containerStatuses=[
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": container.get("image", ""),
                "containerID": f"cri-o://{crc32(container['name'].encode()):08x}{uid.replace('-', '')}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": stamp}},
                "lastState": {},
            }
            for container in pod["spec"].get("containers") or ()
        ],
    )
    return status
