"""How lists and maps of built-in kinds merge: x-kubernetes-list-type and the patch strategies of k8s.io/api.

A list that is not named here is atomic, for server-side apply as for the strategic merge patch.
"""

from __future__ import annotations

from typing import Any


def _map(*keys: str, replace: bool = False) -> dict[str, Any]:
    """A list whose items are found by C(keys); C(replace): the strategic merge patch replaces it all the same."""
    markers: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    if not replace:
        markers |= {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": keys[0]}
    return markers


_SET: dict[str, Any] = {"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}
_SET_REPLACED: dict[str, Any] = {"x-kubernetes-list-type": "set"}
_CONDITIONS = _map("type")
_CONTAINER: dict[str, dict[str, Any]] = {
    "env": _map("name"),
    "ports": _map("containerPort", "protocol"),
    "volumeDevices": _map("devicePath"),
    "volumeMounts": _map("mountPath"),
}
_CONDITIONS_OF = (
    "APIServiceStatus",
    "ComponentStatus",
    "DaemonSetStatus",
    "DeploymentStatus",
    "FlowSchemaStatus",
    "HorizontalPodAutoscalerStatus",
    "NamespaceStatus",
    "NodeStatus",
    "PersistentVolumeClaimStatus",
    "PodDisruptionBudgetStatus",
    "PodStatus",
    "PriorityLevelConfigurationStatus",
    "ReplicaSetStatus",
    "ReplicationControllerStatus",
    "ServiceCIDRStatus",
    "ServiceStatus",
    "StatefulSetStatus",
)
_ATOMIC_MAP: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}
_MERGED_RETAINING = {**_map("name"), "x-kubernetes-patch-strategy": "merge,retainKeys"}

# (Go type, field) -> markers
LISTS: dict[tuple[str, str], dict[str, Any]] = {
    **{(kind, "conditions"): _CONDITIONS for kind in _CONDITIONS_OF},
    **{
        (kind, "conditions"): _map("type", replace=True)
        for kind in (
            "CertificateSigningRequestStatus",
            "CustomResourceDefinitionStatus",
            "ValidatingAdmissionPolicyStatus",
        )
    },
    ("JobStatus", "conditions"): {
        "x-kubernetes-list-type": "atomic",
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": "type",
    },
    **{("Container", field): markers for field, markers in _CONTAINER.items()},
    **{("EphemeralContainer", field): markers for field, markers in _CONTAINER.items()},
    # A key that may be left out counts with its default.
    ("ContainerPort", "protocol"): {"default": "TCP"},
    ("ServicePort", "protocol"): {"default": "TCP"},
    ("ContainerStatus", "allocatedResourcesStatus"): _map("name"),
    ("ContainerStatus", "volumeMounts"): _map("mountPath"),
    ("CSIDriverSpec", "volumeLifecycleModes"): _SET_REPLACED,
    ("CSINodeSpec", "drivers"): _map("name"),
    ("DeploymentSpec", "strategy"): {"x-kubernetes-patch-strategy": "retainKeys"},
    ("Endpoint", "addresses"): _SET_REPLACED,
    ("MutatingWebhook", "matchConditions"): _map("name"),
    ("MutatingWebhookConfiguration", "webhooks"): _map("name"),
    ("NodeSpec", "podCIDRs"): _SET,
    ("NodeStatus", "addresses"): _map("type"),
    ("NonResourcePolicyRule", "nonResourceURLs"): _SET_REPLACED,
    ("NonResourcePolicyRule", "verbs"): _SET_REPLACED,
    ("ObjectMeta", "finalizers"): _SET,
    ("ObjectMeta", "ownerReferences"): _map("uid"),
    ("PersistentVolumeSpec", "claimRef"): {"x-kubernetes-map-type": "granular"},
    ("PodDisruptionBudgetSpec", "selector"): {"x-kubernetes-patch-strategy": "replace"},
    ("PodFailurePolicyOnExitCodesRequirement", "values"): _SET_REPLACED,
    ("PodSpec", "containers"): _map("name"),
    ("PodSpec", "ephemeralContainers"): _map("name"),
    ("PodSpec", "hostAliases"): _map("ip"),
    ("PodSpec", "imagePullSecrets"): _map("name"),
    ("PodSpec", "initContainers"): _map("name"),
    ("PodSpec", "nodeSelector"): _ATOMIC_MAP,
    ("PodSpec", "resourceClaims"): _MERGED_RETAINING,
    ("PodSpec", "schedulingGates"): _map("name"),
    ("PodSpec", "topologySpreadConstraints"): _map("topologyKey", "whenUnsatisfiable"),
    ("PodSpec", "volumes"): _MERGED_RETAINING,
    ("PodStatus", "hostIPs"): {
        "x-kubernetes-list-type": "atomic",
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": "ip",
    },
    ("PodStatus", "podIPs"): _map("ip"),
    ("PodStatus", "resourceClaimStatuses"): _MERGED_RETAINING,
    ("ReplicationControllerSpec", "selector"): _ATOMIC_MAP,
    **{("ResourcePolicyRule", field): _SET_REPLACED for field in ("apiGroups", "namespaces", "resources", "verbs")},
    ("ResourceRequirements", "claims"): _map("name", replace=True),
    ("ResourceStatus", "resources"): _map("resourceID", replace=True),
    ("Scheduling", "nodeSelector"): _ATOMIC_MAP,
    ("ServiceAccount", "secrets"): _map("name"),
    ("ServiceSpec", "ports"): _map("port", "protocol"),
    ("ServiceSpec", "selector"): _ATOMIC_MAP,
    ("UncountedTerminatedPods", "failed"): _SET_REPLACED,
    ("UncountedTerminatedPods", "succeeded"): _SET_REPLACED,
    ("ValidatingAdmissionPolicyBindingSpec", "validationActions"): _SET_REPLACED,
    ("ValidatingAdmissionPolicySpec", "matchConditions"): _map("name"),
    ("ValidatingAdmissionPolicySpec", "variables"): _map("name"),
    ("ValidatingWebhook", "matchConditions"): _map("name"),
    ("ValidatingWebhookConfiguration", "webhooks"): _map("name"),
}

# Structs that server-side apply takes as a whole.
MAPS = frozenset(
    {
        "ConfigMapKeySelector",
        "CrossVersionObjectReference",
        "EndpointAddress",
        "EndpointPort",
        "FileKeySelector",
        "LabelSelector",
        "LocalObjectReference",
        "MatchResources",
        "NamedRuleWithOperations",
        "NodeSelector",
        "NodeSelectorTerm",
        "ObjectFieldSelector",
        "ObjectReference",
        "OwnerReference",
        "ParamKind",
        "ParamRef",
        "ResourceFieldSelector",
        "RoleRef",
        "ScopeSelector",
        "SecretKeySelector",
        "SecretReference",
        "ServiceBackendPort",
        "Subject",
        "TopologySelectorTerm",
        "TypedLocalObjectReference",
        "Variable",
    }
)
