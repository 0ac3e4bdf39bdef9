"""Services: addresses of load balancers, and the endpoints behind each service."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from zlib import crc32

from virtlab.controllers.conditions import is_true
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event

SLICES = "endpointslices.discovery.k8s.io"
LOAD_BALANCER_NETWORK = ipaddress.ip_network("192.168.127.0/24")


def selected(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


class ServiceController(Controller):
    """Plays the load balancer and follows the pods that its selector takes."""

    manager_name = "kube-controller-manager"
    watches = ("services", "pods")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._selectors: dict[str, dict[str, dict[str, str]]] = {}
        manager.add_observer("services", self)

    def observe(self, event: Event) -> None:
        """Remember each namespace's selectors, so that a pod without a service costs nothing."""
        metadata = event.object["metadata"]
        selectors = self._selectors.setdefault(metadata["namespace"], {})
        selectors.pop(metadata["name"], None)
        selector = event.object["spec"].get("selector")
        if event.type != "DELETED" and selector:
            selectors[metadata["name"]] = selector

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "services"):
            return super().keys(event) if event.type != "DELETED" else ()
        metadata = event.object["metadata"]
        selectors = self._selectors.get(metadata["namespace"])
        if not selectors:
            return ()
        labels = metadata.get("labels") or {}
        return [(metadata["namespace"], name) for name, wanted in selectors.items() if selected(wanted, labels)]

    def reconcile(self, key: Key) -> float | None:
        service = self.find("services", *key)
        if service is None or being_deleted(service):
            return None
        if service["spec"].get("type") == "LoadBalancer" and not (service.get("status") or {}).get("loadBalancer"):
            number = 10 + crc32(service["metadata"]["uid"].encode()) % 240
            ingress = [{"ip": str(LOAD_BALANCER_NETWORK[number]), "ipMode": "VIP"}]
            self.write_status("services", service, {"loadBalancer": {"ingress": ingress}})
        if service["spec"].get("selector"):
            self._follow(service)
        return None

    def _follow(self, service: Object) -> None:
        metadata, spec = service["metadata"], service["spec"]
        ready = [
            pod
            for pod in self.list("pods", metadata["namespace"])
            if (pod.get("status") or {}).get("podIP")
            and is_true(pod, "Ready")
            and not being_deleted(pod)
            and selected(spec["selector"], pod["metadata"].get("labels") or {})
        ]
        name = f"{metadata['name']}-{crc32(metadata['uid'].encode()) % 0xFFFFF:05x}"
        wanted = {
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [pod["status"]["podIP"]],
                    "conditions": {"ready": True, "serving": True, "terminating": False},
                    "nodeName": pod["spec"].get("nodeName", ""),
                    "targetRef": {
                        "kind": "Pod",
                        "name": pod["metadata"]["name"],
                        "namespace": metadata["namespace"],
                        "uid": pod["metadata"]["uid"],
                    },
                }
                for pod in ready
            ],
            "ports": [
                {
                    "name": port.get("name", ""),
                    "port": port["targetPort"] if isinstance(port.get("targetPort"), int) else port["port"],
                    "protocol": port.get("protocol", "TCP"),
                }
                for port in spec.get("ports") or ()
            ],
        }
        live = self.find(SLICES, metadata["namespace"], name)
        if live is None:
            self.create(
                SLICES,
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": name,
                        "namespace": metadata["namespace"],
                        "labels": {"kubernetes.io/service-name": metadata["name"]},
                        "ownerReferences": [owner_reference(service)],
                    },
                    **wanted,
                },
            )
        elif any(live.get(field) != value for field, value in wanted.items()):
            self.update(SLICES, {**live, **wanted})
