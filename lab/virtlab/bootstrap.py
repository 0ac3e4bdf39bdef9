"""What a cluster holds before anybody asks: made where it is missing, at every start."""

from __future__ import annotations

from virtlab.auth import roles
from virtlab.cluster import Cluster
from virtlab.controllers.definitions import CRDS, definitions_of
from virtlab.controllers.initial import initial_objects
from virtlab.resource import Object
from virtlab.schema.kinds import BASE

NAMESPACES = (
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "openshift",
    "openshift-config",
    "openshift-config-managed",
    "openshift-marketplace",
    "openshift-monitoring",
    "openshift-operator-lifecycle-manager",
    "openshift-operators",
)


def fill(cluster: Cluster) -> None:
    for namespace in NAMESPACES:
        _ensure(cluster, "namespaces", {"metadata": {"name": namespace}})
    for definition in definitions_of(cluster, BASE):
        _ensure(cluster, CRDS, definition)
    for obj in roles.kubernetes_roles():
        _ensure(cluster, f"{obj['kind'].lower()}s.rbac.authorization.k8s.io", obj)
    for qualified, obj in initial_objects():
        _ensure(cluster, qualified, obj)
    if cluster.ca_certificate:
        # What verifies the routes of a cluster; in the lab one authority signs for all but exports.
        metadata = {"name": "default-ingress-cert", "namespace": "openshift-config-managed"}
        _ensure(cluster, "configmaps", {"metadata": metadata, "data": {"ca-bundle.crt": cluster.ca_certificate}})


def _ensure(cluster: Cluster, qualified: str, obj: Object) -> None:
    resource = cluster.resource(qualified)
    metadata = obj["metadata"]
    if resource is None or cluster.store.find(resource.key, metadata.get("namespace"), metadata["name"]) is not None:
        return
    cluster.create(resource, obj, namespace=metadata.get("namespace"), manager="kube-apiserver")
