"""What differs from kind to kind in the write pipeline: the registry strategies of kube-apiserver, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from virtlab import builtin_kinds
from virtlab.resource import Object, Resource
from virtlab.status import Cause, bad_request

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

# Built-in kinds that may not be updated without a resourceVersion; custom resources never may.
CONDITIONAL_UPDATE = frozenset(
    {
        "apiservices.apiregistration.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "endpointslices.discovery.k8s.io",
        "leases.coordination.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "poddisruptionbudgets.policy",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    }
)
# Kinds that a PUT creates.
CREATE_ON_UPDATE = frozenset(
    {
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "endpoints",
        "events",
        "leases.coordination.k8s.io",
        "limitranges",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
    }
)
# Built-in kinds whose metadata has a generation, raised by what changes below spec.
GENERATION = frozenset(
    {
        "apiservices.apiregistration.k8s.io",
        "cronjobs.batch",
        "customresourcedefinitions.apiextensions.k8s.io",
        "daemonsets.apps",
        "deployments.apps",
        "ingresses.networking.k8s.io",
        "jobs.batch",
        "networkpolicies.networking.k8s.io",
        "poddisruptionbudgets.policy",
        "pods",
        "replicasets.apps",
        "replicationcontrollers",
        "statefulsets.apps",
    }
)
SPECIAL_SUBRESOURCES = frozenset({"status", "binding", "resize", "ephemeralcontainers"})


def unconditional_update(resource: Resource) -> bool:
    return not resource.custom and resource.qualified not in CONDITIONAL_UPDATE


def created_on_update(resource: Resource) -> bool:
    return resource.qualified in CREATE_ON_UPDATE


def _has_generation(resource: Resource) -> bool:
    return resource.custom or resource.qualified in GENERATION


def prepare_create(cluster: Cluster, resource: Resource, new: Object) -> None:
    """Server-side fields of a new object, in place."""
    if "status" in resource.subresources:
        new.pop("status", None)
    metadata = new["metadata"]
    metadata.pop("generation", None)
    if _has_generation(resource):
        metadata["generation"] = 1
    if not resource.custom:
        builtin_kinds.complete(cluster, resource, new)


def prepare_update(resource: Resource, new: Object, live: Object, subresource: str | None) -> Object:
    """What of C(new) the endpoint may write: a main endpoint no status, a status endpoint nothing else."""
    if subresource == "status":
        metadata = dict(live["metadata"])
        for field in ("managedFields", "resourceVersion"):
            metadata.pop(field, None)
            if field in new["metadata"]:
                metadata[field] = new["metadata"][field]
        if not resource.custom:
            metadata.update({key: new["metadata"][key] for key in ("labels", "annotations") if key in new["metadata"]})
        prepared = {key: value for key, value in live.items() if key != "status"}
        prepared["metadata"] = metadata
        if "status" in new:
            prepared["status"] = new["status"]
        return prepared
    if "status" in resource.subresources:
        new.pop("status", None)
        if "status" in live:
            new["status"] = live["status"]
    if not resource.custom:
        builtin_kinds.complete_update(resource, new, live)
    return new


def generation_rises(resource: Resource, new: Object, live: Object) -> bool:
    if not _has_generation(resource):
        return False
    if not resource.custom:
        return new.get("spec") != live.get("spec")
    ignored = {"apiVersion", "kind", "metadata"}
    if "status" in resource.subresources:
        ignored.add("status")
    return any(new.get(key) != live.get(key) for key in (new.keys() | live.keys()) - ignored)


def grace_seconds(resource: Resource, live: Object, asked: Any) -> int:
    """How long the object may still be there; only pods that run somewhere get any time."""
    if resource.qualified != "pods":
        return 0
    spec, phase = live.get("spec") or {}, (live.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    grace = spec.get("terminationGracePeriodSeconds", 30) if asked is None else int(asked)
    return max(grace, 0)


def convert_input(resource: Resource, obj: Object) -> None:
    """Fields that are only there to be written, such as stringData."""
    if not resource.custom:
        builtin_kinds.convert_input(resource, obj)


def problems(cluster: Cluster, resource: Resource, new: Object, old: Object | None) -> list[Cause]:
    """What kube-apiserver's own validation of a built-in kind objects to."""
    return [] if resource.custom else builtin_kinds.problems(resource, new, old)


# Types of built-in kinds are checked while their JSON is decoded

GO_TYPES = {"string": "string", "boolean": "bool", "integer": "int32", "number": "float64"}


def check_types(resource: Resource, schema: Object, obj: Object) -> None:
    """Raises the 400 of Go's JSON decoder when a built-in object holds a value of the wrong type."""
    if resource.custom:
        if not isinstance(obj.get("metadata"), dict):
            raise bad_request(f"{resource.kind} has no metadata")
        return
    for path, found, wanted in _mismatches(schema, obj, ""):
        raise bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"json: cannot unmarshal {found} into Go struct field {resource.kind}.{path} of type {wanted}"
        )


def _mismatches(schema: Object, value: Any, path: str) -> Iterator[tuple[str, str, str]]:
    wanted = schema.get("type")
    if value is None or schema.get("x-kubernetes-int-or-string") or wanted is None:
        return
    if wanted == "object":
        if not isinstance(value, dict):
            if path:
                yield path, _json_name(value), "map[string]interface {}"
            return
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            child = properties.get(key)
            if child is None and isinstance(values, dict):
                yield from _mismatches(values, item, path)
            elif child is not None and key != "metadata":
                yield from _mismatches(child, item, f"{path}.{key}" if path else key)
    elif wanted == "array":
        if not isinstance(value, list):
            yield path, _json_name(value), "[]interface {}"
            return
        for item in value:
            yield from _mismatches(schema.get("items", {}), item, path)
    elif _json_name(value) != {"boolean": "bool", "integer": "number"}.get(wanted, wanted):
        go_type = "int64" if schema.get("format") == "int64" else GO_TYPES[wanted]
        if not (schema.get("format") == "quantity" or "quantity" in str(schema.get("pattern", ""))):
            yield path, _json_name(value), go_type


def _json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
