"""Built-in kinds: what the server allocates and fills in when they are created, and its events."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from virtlab.resource import Object, Resource
from virtlab.status import StatusError

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

Completion = Callable[["Cluster", Object], None]


def complete(cluster: Cluster, resource: Resource, new: Object) -> None:
    """Allocations and first status of a new object, whose defaults are filled in already; in place."""
    completion = COMPLETIONS.get(resource.qualified)
    if completion is not None:
        completion(cluster, new)


def complete_update(resource: Resource, new: Object, live: Object) -> None:
    """What an update of the main endpoint may leave out, in place."""
    if resource.qualified == "services":
        spec, old = new.get("spec") or {}, live.get("spec") or {}
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "type", "sessionAffinity"):
            if field in old and not spec.get(field):
                spec[field] = old[field]
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            _allocate_node_ports(spec, old)
    elif resource.qualified == "namespaces":
        new["spec"] = live.get("spec", {})


def convert_input(resource: Resource, obj: Object) -> None:
    """Secret.stringData becomes data."""
    if resource.qualified != "secrets":
        return
    texts = obj.pop("stringData", None) or {}
    if texts:
        data = obj.setdefault("data", {})
        data.update({key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()})


# Completion


def _namespace(cluster: Cluster, new: Object) -> None:
    labels = new["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = new["metadata"].get("name", "")
    new["spec"] = {**(new.get("spec") or {}), "finalizers": ["kubernetes"]}
    new["status"] = {"phase": "Active"}


def _service(cluster: Cluster, new: Object) -> None:
    spec = new["spec"]
    if spec["type"] != "ExternalName":
        if not spec.get("clusterIP"):
            spec["clusterIP"] = _free_address(cluster)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _allocate_node_ports(spec, {})
    new["status"] = {"loadBalancer": {}}


def _allocate_node_ports(spec: Object, old: Object) -> None:
    kept = {port.get("name", ""): port.get("nodePort") for port in old.get("ports") or ()}
    for index, port in enumerate(spec.get("ports") or ()):
        if not port.get("nodePort"):
            digest = binascii.crc32(f"{spec.get('clusterIP')}/{index}".encode())
            port["nodePort"] = kept.get(port.get("name", "")) or 30000 + digest % 2768


def _free_address(cluster: Cluster) -> str:
    taken = {entry.object.get("spec", {}).get("clusterIP") for entry in cluster.store.entries(("", "services"))}
    while True:
        address = f"172.30.{cluster.random.randrange(256)}.{cluster.random.randrange(1, 255)}"
        if address not in taken:
            return address


def _claim(cluster: Cluster, new: Object) -> None:
    spec = new["spec"]
    for source in ("dataSource", "dataSourceRef"):
        other = "dataSourceRef" if source == "dataSource" else "dataSource"
        if spec.get(source) and not spec.get(other) and not spec[source].get("namespace"):
            spec[other] = {key: value for key, value in spec[source].items() if key != "namespace"}
    new["metadata"].setdefault("finalizers", [])
    if "kubernetes.io/pvc-protection" not in new["metadata"]["finalizers"]:
        new["metadata"]["finalizers"].append("kubernetes.io/pvc-protection")
    new["status"] = {"phase": "Pending"}


def _volume(cluster: Cluster, new: Object) -> None:
    new["status"] = {"phase": "Pending"}


def _pod(cluster: Cluster, new: Object) -> None:
    spec = new["spec"]
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("priority", 0)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    new["status"] = {"phase": "Pending", "qosClass": _quality(spec)}


def _quality(spec: Object) -> str:
    resources = [container.get("resources") or {} for container in spec.get("containers") or ()]
    if not any(item.get("requests") or item.get("limits") for item in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(item.get("limits") or {})
        and (item.get("requests") or item["limits"]) == item["limits"]
        for item in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


COMPLETIONS: dict[str, Completion] = {
    "namespaces": _namespace,
    "services": _service,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume,
    "pods": _pod,
}


# Events


def record_event(cluster: Cluster, involved: Object, kind: str, reason: str, message: str, component: str) -> None:
    """A core/v1 Event; one that says the same of the same object only counts up, as client-go's recorder does."""
    resource = cluster.resource("events")
    if resource is None:
        return
    metadata = involved["metadata"]
    namespace = metadata.get("namespace") or "default"
    stamp = cluster.clock.stamp()
    digest = binascii.crc32("\0".join((metadata["uid"], kind, reason, message, component)).encode())
    name = f"{metadata['name']}.{digest:016x}"
    live = cluster.find(resource, name, namespace)
    if live is not None:
        cluster.stored(resource, {**live, "count": live.get("count", 1) + 1, "lastTimestamp": stamp})
        return
    about = {
        "apiVersion": involved["apiVersion"],
        "kind": involved["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }
    if metadata.get("namespace"):
        about["namespace"] = metadata["namespace"]
    event: Object = {
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "type": kind,
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": "",
    }
    try:
        cluster.create(resource, event, namespace=namespace, manager=component)
    except StatusError as error:
        if error.code not in (403, 404):
            raise
