"""Every resource of the schemas: which versions are served and stored, what is built in, and what installs a CRD."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from virtlab.resource import Resource
from virtlab.schema.names import (
    CATEGORIES,
    CRDS_WITH_SCALE,
    CRDS_WITHOUT_STATUS,
    SHORT_NAMES,
    SUBRESOURCES,
    plural,
)

# Served by kube-apiserver itself.
CORE_GROUPS = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)
# Served by an aggregated API server: no CRD stands behind them.
AGGREGATED_GROUPS = frozenset(
    {
        "apps.openshift.io",
        "authorization.openshift.io",
        "build.openshift.io",
        "image.openshift.io",
        "metrics.k8s.io",
        "oauth.openshift.io",
        "packages.operators.coreos.com",
        "project.openshift.io",
        "quota.openshift.io",
        "route.openshift.io",
        "security.openshift.io",
        "subresources.kubevirt.io",
        "template.openshift.io",
        "upload.cdi.kubevirt.io",
        "user.openshift.io",
    }
)
# CRDs that live in a group which is otherwise aggregated.
_CRDS_IN_AGGREGATED_GROUPS = frozenset(
    {
        ("authorization.openshift.io", "RoleBindingRestriction"),
        ("quota.openshift.io", "ClusterResourceQuota"),
        ("security.openshift.io", "SecurityContextConstraints"),
    }
)

# What installs the CRDs of a group; the operator's CSV owns the CRDs that OLM installs with it.
BASE = "base"
NMSTATE = "kubernetes-nmstate-operator"
HYPERCONVERGED = "kubevirt-hyperconverged"
KUBEVIRT = "kubevirt"
CDI = "cdi"
SSP = "ssp"
NETWORK_ADDONS = "cluster-network-addons"
OWNERS: dict[str, str] = {
    "config.openshift.io": BASE,
    "console.openshift.io": BASE,
    "cloudcredential.openshift.io": BASE,
    "helm.openshift.io": BASE,
    "imageregistry.operator.openshift.io": BASE,
    "ingress.operator.openshift.io": BASE,
    "authorization.openshift.io": BASE,
    "gateway.networking.k8s.io": BASE,
    "k8s.cni.cncf.io": BASE,
    "k8s.ovn.org": BASE,
    "machine.openshift.io": BASE,
    "machineconfiguration.openshift.io": BASE,
    "metal3.io": BASE,
    "monitoring.coreos.com": BASE,
    "monitoring.openshift.io": BASE,
    "network.operator.openshift.io": BASE,
    "olm.operatorframework.io": BASE,
    "operator.openshift.io": BASE,
    "operators.coreos.com": BASE,
    "performance.openshift.io": BASE,
    "policy.networking.k8s.io": BASE,
    "quota.openshift.io": BASE,
    "security.internal.openshift.io": BASE,
    "security.openshift.io": BASE,
    "snapshot.storage.k8s.io": BASE,
    "tuned.openshift.io": BASE,
    "whereabouts.cni.cncf.io": BASE,
    "nmstate.io": NMSTATE,
    "nodemaintenance.medik8s.io": "node-maintenance-operator",
    "oadp.openshift.io": "redhat-oadp-operator",
    "velero.io": "redhat-oadp-operator",
    "forklift.konveyor.io": "mtv-operator",
    "sriovnetwork.openshift.io": "sriov-network-operator",
    "self-node-remediation.medik8s.io": "self-node-remediation",
    "remediation.medik8s.io": "node-healthcheck-operator",
    "fence-agents-remediation.medik8s.io": "fence-agents-remediation",
    "migration.openshift.io": "mtc-operator",
    "aaq.kubevirt.io": HYPERCONVERGED,
    "hco.kubevirt.io": HYPERCONVERGED,
    "hostpathprovisioner.kubevirt.io": HYPERCONVERGED,
    "networkaddonsoperator.network.kubevirt.io": HYPERCONVERGED,
    "ssp.kubevirt.io": HYPERCONVERGED,
    "migrations.kubevirt.io": KUBEVIRT,
    "backup.kubevirt.io": KUBEVIRT,
    "clone.kubevirt.io": KUBEVIRT,
    "export.kubevirt.io": KUBEVIRT,
    "instancetype.kubevirt.io": KUBEVIRT,
    "kubevirt.io": KUBEVIRT,
    "plugin.kubevirt.io": KUBEVIRT,
    "pool.kubevirt.io": KUBEVIRT,
    "snapshot.kubevirt.io": KUBEVIRT,
    "cdi.kubevirt.io": CDI,
    "forklift.cdi.kubevirt.io": CDI,
    "template.kubevirt.io": SSP,
    "filerestore.kubevirt.io": HYPERCONVERGED,
    "ifo.kubevirt.io": KUBEVIRT,
}
# CRDs whose owner differs from that of the rest of their group.
_OWNERS_OF_ONE: dict[str, str] = {
    "cdis.cdi.kubevirt.io": HYPERCONVERGED,
    "kubevirts.kubevirt.io": HYPERCONVERGED,
    "migcontrollers.migrations.kubevirt.io": HYPERCONVERGED,
    "virtualmachinestoragemigrations.migrations.kubevirt.io": HYPERCONVERGED,
    "virtualmachinestoragemigrationplans.migrations.kubevirt.io": HYPERCONVERGED,
    "multinamespacevirtualmachinestoragemigrations.migrations.kubevirt.io": HYPERCONVERGED,
    "multinamespacevirtualmachinestoragemigrationplans.migrations.kubevirt.io": HYPERCONVERGED,
}


@dataclass(frozen=True)
class Version:
    """A version of a CRD. C(like): the version whose schema it shares because the schemas lack its own."""

    name: str
    stored: bool = False
    deprecated: bool = False
    like: str = ""


def _versions(*served: str, stored: str, deprecated: Iterable[str] = ()) -> tuple[Version, ...]:
    return tuple(Version(name, name == stored, name in set(deprecated)) for name in served)


# Resources with several versions, or fewer than the schemas hold. Recorded from a real control plane.
VERSIONS: dict[str, tuple[Version, ...]] = {
    "hyperconvergeds.hco.kubevirt.io": _versions("v1", "v1beta1", stored="v1"),
    "networkaddonsconfigs.networkaddonsoperator.network.kubevirt.io": _versions("v1", "v1alpha1", stored="v1"),
    "nmstates.nmstate.io": _versions("v1", "v1beta1", stored="v1", deprecated=["v1beta1"]),
    "nodenetworkconfigurationenactments.nmstate.io": _versions("v1beta1", stored="v1beta1"),
    "nodenetworkconfigurationpolicies.nmstate.io": _versions("v1", "v1beta1", stored="v1", deprecated=["v1beta1"]),
    "nodenetworkstates.nmstate.io": _versions("v1beta1", stored="v1beta1"),
    "ssps.ssp.kubevirt.io": _versions("v1beta2", "v1beta3", stored="v1beta3", deprecated=["v1beta2"]),
    "virtualmachineclones.clone.kubevirt.io": _versions("v1alpha1", "v1beta1", stored="v1beta1"),
    "virtualmachineexports.export.kubevirt.io": (
        Version("v1beta1", deprecated=True),
        Version("v1", stored=True, like="v1beta1"),
    ),
    "virtualmachineinstancepresets.kubevirt.io": _versions(
        "v1", "v1alpha3", stored="v1alpha3", deprecated=["v1", "v1alpha3"]
    ),
    **{
        f"{name}.kubevirt.io": _versions("v1", "v1alpha3", stored="v1", deprecated=["v1alpha3"])
        for name in (
            "kubevirts",
            "virtualmachineinstancemigrations",
            "virtualmachineinstancereplicasets",
            "virtualmachineinstances",
            "virtualmachines",
        )
    },
    **{
        f"{name}.instancetype.kubevirt.io": _versions("v1beta1", stored="v1beta1")
        for name in (
            "virtualmachineclusterinstancetypes",
            "virtualmachineclusterpreferences",
            "virtualmachineinstancetypes",
            "virtualmachinepreferences",
        )
    },
    **{
        f"{name}.snapshot.kubevirt.io": _versions("v1alpha1", "v1beta1", stored="v1beta1")
        for name in ("virtualmachinerestores", "virtualmachinesnapshotcontents", "virtualmachinesnapshots")
    },
    "virtualmachinepools.pool.kubevirt.io": _versions("v1alpha1", "v1beta1", stored="v1beta1"),
}

_READ = frozenset({"get", "list", "watch"})
_CREATE = frozenset({"create"})
# Resources that cannot be written, or only asked.
VERBS: dict[str, frozenset[str]] = {
    "bindings": _CREATE,
    "componentstatuses": frozenset({"get", "list"}),
    "localsubjectaccessreviews.authorization.k8s.io": _CREATE,
    "namespaces": frozenset({"create", "delete", "get", "list", "patch", "update", "watch"}),
    "nodes.metrics.k8s.io": frozenset({"get", "list"}),
    "packagemanifests.packages.operators.coreos.com": _READ,
    "pods.metrics.k8s.io": frozenset({"get", "list"}),
    "selfsubjectaccessreviews.authorization.k8s.io": _CREATE,
    "selfsubjectreviews.authentication.k8s.io": _CREATE,
    "selfsubjectrulesreviews.authorization.k8s.io": _CREATE,
    "subjectaccessreviews.authorization.k8s.io": _CREATE,
    "tokenreviews.authentication.k8s.io": _CREATE,
    "uploadtokenrequests.upload.cdi.kubevirt.io": _CREATE,
}

# Bodies of subresources and of requests: kinds that no list holds.
NOT_RESOURCES = frozenset(
    {
        "APIGroup",
        "APIVersions",
        "BuildLog",
        "BuildRequest",
        "DeleteOptions",
        "DeploymentConfigRollback",
        "DeploymentLog",
        "DeploymentRequest",
        "Eviction",
        "ImageStreamLayers",
        "NamespacedDNSNameResolver",
        "PodAttachOptions",
        "PodExecOptions",
        "PodPortForwardOptions",
        "PodProxyOptions",
        "ProcessedTemplate",
        "Scale",
        "Status",
        "TemplateConfig",
        "TokenRequest",
        "WatchEvent",
    }
)


def is_custom(group: str, kind: str) -> bool:
    """Whether a CRD defines the kind."""
    if (group, kind) in _CRDS_IN_AGGREGATED_GROUPS:
        return True
    return group not in CORE_GROUPS and group not in AGGREGATED_GROUPS


def owner(resource: Resource) -> str | None:
    """What installs the resource's CRD: BASE, an operator's package, KUBEVIRT, CDI, SSP; None when no CRD defines it.

    A group that no component of the lab installs belongs to itself.
    """
    if not resource.custom:
        return None
    return _OWNERS_OF_ONE.get(resource.qualified) or OWNERS.get(resource.group) or resource.group


def deprecated(resource: Resource) -> bool:
    """Whether the CRD marks this version as deprecated: using it draws a warning."""
    known = VERSIONS.get(resource.qualified, ())
    return any(version.deprecated for version in known if version.name == resource.version)


def schema_version(qualified: str, version: str) -> str:
    """The version whose schema describes C(version): itself unless the schemas lack it."""
    return next((v.like for v in VERSIONS.get(qualified, ()) if v.name == version and v.like), version)


@dataclass(frozen=True)
class Kind:
    """One kind that has a schema, before it is known what of it is served."""

    group: str
    version: str
    kind: str
    namespaced: bool
    has_status: bool


def resources_of(kinds: Iterable[Kind]) -> list[Resource]:
    """The resources of these kinds in every version that is served, each with the version in which it is stored."""
    by_key: dict[tuple[str, str], dict[str, Kind]] = {}
    for kind in kinds:
        if kind.kind not in NOT_RESOURCES:
            by_key.setdefault((kind.group, kind.kind), {})[kind.version] = kind
    found = []
    for (group, name), versions in by_key.items():
        resource = plural(group, name)
        qualified = f"{resource}.{group}" if group else resource
        known = VERSIONS.get(qualified)
        if known is None:
            latest = min(versions, key=_preference)
            known = tuple(Version(version, version == latest) for version in sorted(versions, key=_preference))
        stored = next(version.name for version in known if version.stored)
        for version in known:
            kind = versions[version.like or version.name]
            found.append(_resource(kind, version.name, resource, qualified, stored))
    return found


def _resource(kind: Kind, version: str, plural_name: str, qualified: str, stored: str) -> Resource:
    custom = is_custom(kind.group, kind.kind)
    if custom:
        subresources = {"status"} if kind.has_status and qualified not in CRDS_WITHOUT_STATUS else set()
        subresources |= {"scale"} if qualified in CRDS_WITH_SCALE else set()
    else:
        subresources = set(SUBRESOURCES.get(qualified, ()))
    resource = Resource(
        group=kind.group,
        version=version,
        kind=kind.kind,
        plural=plural_name,
        namespaced=kind.namespaced,
        singular=kind.kind.lower(),
        short_names=SHORT_NAMES.get(qualified, ()),
        categories=CATEGORIES.get(qualified, ()),
        subresources=frozenset(subresources),
        custom=custom,
        storage_version=stored,
    )
    verbs = VERBS.get(qualified)
    if verbs is None:
        return resource
    return Resource(**{**resource.__dict__, "verbs": verbs})


def _preference(version: str) -> tuple[int, int, int]:
    """Sorts as kube-aggregator does: v2, v1, v1beta2, v1beta1, v1alpha1."""
    digits = version[1:]
    for rank, mark in ((1, "beta"), (2, "alpha")):
        major, found, minor = digits.partition(mark)
        if found:
            return (rank, -_number(major), -_number(minor))
    return (0, -_number(digits), 0)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
