"""What differs from kind to kind in the write pipeline: the registry strategies of kube-apiserver, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtlab import builtin_kinds
from virtlab.resource import Object, Resource
from virtlab.schema import builtin_rules, decoding
from virtlab.status import Cause

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
    return [] if resource.custom else builtin_rules.problems(resource.qualified, new, old)


def check_types(resource: Resource, schema: Object, obj: Object) -> None:
    """Raises Undecodable for a value of the wrong type. Of custom resources only the metadata has Go types to fit."""
    if resource.custom:
        decoding.decode_metadata(obj)
    else:
        decoding.decode(resource.kind, schema, obj)
