"""Built-in kinds: what the server completes in them, and what its validation refuses."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from virtlab.resource import Object, Resource
from virtlab.status import Cause, StatusError, bad_request

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

Completion = Callable[["Cluster", Object], None]
Check = Callable[[Object, Object | None], list[Cause]]


def complete(cluster: Cluster, resource: Resource, new: Object) -> None:
    """Defaults and allocations of a new object, in place."""
    completion = COMPLETIONS.get(resource.qualified)
    if completion is not None:
        completion(cluster, new)


def complete_update(resource: Resource, new: Object, live: Object) -> None:
    """What an update of the main endpoint may leave out, in place."""
    if resource.qualified == "services":
        _complete_ports(new)
        spec, old = new.get("spec") or {}, live.get("spec") or {}
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "type", "sessionAffinity"):
            if field in old and not spec.get(field):
                spec[field] = old[field]
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            _allocate_node_ports(spec, old)
    elif resource.qualified == "namespaces":
        new["spec"] = live.get("spec", {})


def convert_input(resource: Resource, obj: Object) -> None:
    """Secret.stringData becomes data; base64 is checked as decoding does."""
    if resource.qualified != "secrets":
        return
    for value in (obj.get("data") or {}).values():
        _check_base64(value or "", "Secret", resource.version)
    texts = obj.pop("stringData", None) or {}
    if texts:
        data = obj.setdefault("data", {})
        data.update({key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()})


def _check_base64(value: str, kind: str, version: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        plain = value.rstrip("=")
        alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        index = next((i for i, char in enumerate(plain) if char not in alphabet), len(plain) // 4 * 4)
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {kind}: illegal base64 data at input byte {index}'
        ) from None


# Completion


def _namespace(cluster: Cluster, new: Object) -> None:
    labels = new["metadata"].setdefault("labels", {})
    labels["kubernetes.io/metadata.name"] = new["metadata"].get("name", "")
    new["spec"] = {**(new.get("spec") or {}), "finalizers": ["kubernetes"]}
    new["status"] = {"phase": "Active"}


def _secret(cluster: Cluster, new: Object) -> None:
    new.setdefault("type", "Opaque")


def _service(cluster: Cluster, new: Object) -> None:
    spec = new.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    _complete_ports(new)
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if not spec.get("clusterIP"):
            spec["clusterIP"] = _free_address(cluster)
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if kind in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
        _allocate_node_ports(spec, {})
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    new["status"] = {"loadBalancer": {}}


def _complete_ports(service: Object) -> None:
    for port in (service.get("spec") or {}).get("ports") or ():
        port.setdefault("protocol", "TCP")
        if "targetPort" not in port and "port" in port:
            port["targetPort"] = port["port"]


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
    spec = new.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    for source in ("dataSource", "dataSourceRef"):
        other = "dataSourceRef" if source == "dataSource" else "dataSource"
        if spec.get(source) and not spec.get(other) and not spec[source].get("namespace"):
            spec[other] = {key: value for key, value in spec[source].items() if key != "namespace"}
    new["metadata"].setdefault("finalizers", [])
    if "kubernetes.io/pvc-protection" not in new["metadata"]["finalizers"]:
        new["metadata"]["finalizers"].append("kubernetes.io/pvc-protection")
    new["status"] = {"phase": "Pending"}


def _volume(cluster: Cluster, new: Object) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    new["status"] = {"phase": "Pending"}


def _storage_class(cluster: Cluster, new: Object) -> None:
    new.setdefault("reclaimPolicy", "Delete")
    new.setdefault("volumeBindingMode", "Immediate")


POD_DEFAULTS: Object = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "priority": 0,
}
CONTAINER_DEFAULTS: Object = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}


def _pod_spec(spec: Object) -> None:
    for field, value in POD_DEFAULTS.items():
        spec.setdefault(field, value)
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for field, value in CONTAINER_DEFAULTS.items():
            container.setdefault(field, value)
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")


def _pod(cluster: Cluster, new: Object) -> None:
    spec = new.setdefault("spec", {})
    _pod_spec(spec)
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


def _deployment(cluster: Cluster, new: Object) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault(
        "strategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    )
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    _template(spec)


def _workload(cluster: Cluster, new: Object) -> None:
    _template(new.setdefault("spec", {}))


def _replicated(cluster: Cluster, new: Object) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)


def _template(spec: Object) -> None:
    pod = (spec.get("template") or {}).get("spec")
    if isinstance(pod, dict):
        _pod_spec(pod)
        for field in ("preemptionPolicy", "priority", "enableServiceLinks"):
            pod.pop(field, None)


def _binding(cluster: Cluster, new: Object) -> None:
    for subject in new.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _definition(cluster: Cluster, new: Object) -> None:
    spec = new.setdefault("spec", {})
    spec.setdefault("conversion", {"strategy": "None"})
    names = spec.setdefault("names", {})
    if names.get("kind"):
        names.setdefault("listKind", f"{names['kind']}List")
        names.setdefault("singular", names["kind"].lower())


COMPLETIONS: dict[str, Completion] = {
    "namespaces": _namespace,
    "secrets": _secret,
    "services": _service,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume,
    "storageclasses.storage.k8s.io": _storage_class,
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _replicated,
    "statefulsets.apps": _replicated,
    "daemonsets.apps": _workload,
    "jobs.batch": _workload,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
}


# Validation


def problems(resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    check = CHECKS.get(resource.qualified)
    return check(new, old) if check is not None else []


def _required(path: str) -> Cause:
    return Cause("Required value", path, "FieldValueRequired")


def _forbidden(path: str, text: str) -> Cause:
    return Cause(f"Forbidden: {text}", path, "FieldValueForbidden")


def _check_immutable(*fields: str) -> Check:
    def check(new: Object, old: Object | None) -> list[Cause]:
        if old is None or not old.get("immutable"):
            return []
        found = []
        if not new.get("immutable"):
            found.append(_forbidden("immutable", "field is immutable when `immutable` is set"))
        changed = (field for field in fields if new.get(field) != old.get(field))
        return found + [_forbidden(field, "field is immutable when `immutable` is set") for field in changed]

    return check


def _check_secret(new: Object, old: Object | None) -> list[Cause]:
    found = _check_immutable("data")(new, old)
    if old is not None and new.get("type") != old.get("type"):
        text = f'Invalid value: "{new.get("type", "")}": field is immutable'
        found.append(Cause(text, "type", "FieldValueInvalid"))
    return found


def _check_service(new: Object, old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    found = []
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        found.append(_required("spec.ports"))
    was = (old or {}).get("spec", {}).get("clusterIP")
    if was and spec.get("clusterIP") != was and spec.get("type") != "ExternalName":
        text = f'Invalid value: ["{spec.get("clusterIP")}"]: may not change once set'
        found.append(Cause(text, "spec.clusterIPs[0]", "FieldValueInvalid"))
    return found


def _check_claim(new: Object, old: Object | None) -> list[Cause]:
    spec = new.get("spec") or {}
    if old is None:
        found = []
        if not spec.get("accessModes"):
            found.append(Cause("Required value: at least 1 access mode is required", "spec.accessModes", "FieldValueRequired"))
        if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
            found.append(_required("spec.resources[storage]"))
        return found
    mutable = ("resources", "volumeName", "volumeAttributesClassName")

    def fixed(value: Object) -> Object:
        return {key: item for key, item in value.items() if key not in mutable}

    if fixed(spec) != fixed(old.get("spec") or {}):
        text = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        return [_forbidden("spec", text)]
    return []


def _check_role_reference(new: Object, old: Object | None) -> list[Cause]:
    if old is not None and new.get("roleRef") != old.get("roleRef"):
        return [Cause("Invalid value: cannot change roleRef", "roleRef", "FieldValueInvalid")]
    return []


CHECKS: dict[str, Check] = {
    "secrets": _check_secret,
    "configmaps": _check_immutable("data", "binaryData"),
    "services": _check_service,
    "persistentvolumeclaims": _check_claim,
    "rolebindings.rbac.authorization.k8s.io": _check_role_reference,
    "clusterrolebindings.rbac.authorization.k8s.io": _check_role_reference,
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
