"""What a cluster holds before anybody asks: made where it is missing, at every start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from virtlab.auth import roles
from virtlab.catalog import definition_of
from virtlab.cluster import Cluster
from virtlab.resource import Object, Resource
from virtlab.schema.kinds import BASE, owner

NAMESPACES = (
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "openshift",
    "openshift-config",
    "openshift-marketplace",
    "openshift-monitoring",
    "openshift-operator-lifecycle-manager",
    "openshift-operators",
)


def fill(cluster: Cluster) -> None:
    for namespace in NAMESPACES:
        _ensure(cluster, "namespaces", {"metadata": {"name": namespace}})
    for resources in base_kinds(cluster):
        _ensure(cluster, "customresourcedefinitions.apiextensions.k8s.io", definition_of(resources))
    for obj in roles.kubernetes_roles():
        _ensure(cluster, f"{obj['kind'].lower()}s.rbac.authorization.k8s.io", obj)


def base_kinds(cluster: Cluster) -> Iterable[list[Resource]]:
    """The custom kinds that the platform itself brings, each with its versions."""
    return (versions for versions in custom_kinds(cluster) if owner(versions[0]) == BASE)


def custom_kinds(cluster: Cluster) -> Iterator[list[Resource]]:
    found: dict[str, list[Resource]] = defaultdict(list)
    for resource in cluster.schemas.resources if cluster.schemas is not None else ():
        if resource.custom:
            found[resource.qualified].append(resource)
    yield from found.values()


def _ensure(cluster: Cluster, qualified: str, obj: Object) -> None:
    resource = cluster.resource(qualified)
    metadata = obj["metadata"]
    if resource is None or cluster.store.find(resource.key, metadata.get("namespace"), metadata["name"]) is not None:
        return
    cluster.create(resource, obj, namespace=metadata.get("namespace"), manager="kube-apiserver")
