"""Kinds that a virtualization cluster serves and the published schemas lack, written from their Go types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_BOOLEAN: Schema = {"type": "boolean"}
_INT64: Schema = {"type": "integer", "format": "int64"}
_TIME: Schema = {"type": "string", "format": "date-time", "nullable": True}
_STRINGS: Schema = {"type": "array", "items": _STRING, "nullable": True}
_STRING_MAP: Schema = {"type": "object", "additionalProperties": _STRING, "nullable": True}
_OPAQUE: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


_LABEL_SELECTOR: Schema = {
    **_object(
        matchLabels={"type": "object", "additionalProperties": _STRING},
        matchExpressions={
            "type": "array",
            "items": _object(("key", "operator"), key=_STRING, operator=_STRING, values=_STRINGS),
        },
    ),
    "nullable": True,
    "x-kubernetes-map-type": "atomic",
}
_CONDITION = _object(
    ("lastTransitionTime", "message", "reason", "status", "type"),
    lastTransitionTime={"type": "string", "format": "date-time"},
    message={"type": "string", "maxLength": 32768},
    observedGeneration={**_INT64, "minimum": 0},
    reason={"type": "string", "maxLength": 1024, "minLength": 1},
    status={"type": "string", "enum": ["True", "False", "Unknown"]},
    type={"type": "string", "maxLength": 316},
)
_CONDITIONS: Schema = {
    "type": "array",
    "items": _CONDITION,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}


@dataclass(frozen=True)
class Lacking:
    """One kind; C(spec) and C(status) are its parts, C(parts) any other field of the first level."""

    group: str
    version: str
    kind: str
    namespaced: bool = True
    spec: Schema | None = None
    status: Schema | None = None
    description: str = ""
    parts: dict[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def schema(self) -> Schema:
        properties: dict[str, Schema] = {
            "apiVersion": dict(_STRING),
            "kind": dict(_STRING),
            "metadata": {"type": "object"},
            **self.parts,
        }
        if self.spec is not None:
            properties["spec"] = self.spec
        if self.status is not None:
            properties["status"] = self.status
        schema: Schema = {"type": "object", "properties": properties}
        if self.required:
            schema["required"] = list(self.required)
        if self.description:
            schema["description"] = self.description
        return schema


_VELERO_PHASE = _object(
    completionTimestamp=_TIME,
    errors={"type": "integer"},
    expiration=_TIME,
    failureReason=_STRING,
    formatVersion=_STRING,
    phase={
        "type": "string",
        "enum": [
            "New",
            "Queued",
            "ReadyToStart",
            "FailedValidation",
            "InProgress",
            "WaitingForPluginOperations",
            "WaitingForPluginOperationsPartiallyFailed",
            "Finalizing",
            "FinalizingPartiallyFailed",
            "Completed",
            "PartiallyFailed",
            "Failed",
            "Deleting",
        ],
    },
    progress={**_object(itemsBackedUp={"type": "integer"}, totalItems={"type": "integer"}), "nullable": True},
    startTimestamp=_TIME,
    validationErrors=_STRINGS,
    version={"type": "integer"},
    warnings={"type": "integer"},
    backupItemOperationsAttempted={"type": "integer"},
    backupItemOperationsCompleted={"type": "integer"},
    backupItemOperationsFailed={"type": "integer"},
    csiVolumeSnapshotsAttempted={"type": "integer"},
    csiVolumeSnapshotsCompleted={"type": "integer"},
    volumeSnapshotsAttempted={"type": "integer"},
    volumeSnapshotsCompleted={"type": "integer"},
    hookStatus=_OPAQUE,
)

LACKING: tuple[Lacking, ...] = (
    Lacking(
        "nodemaintenance.medik8s.io",
        "v1beta1",
        "NodeMaintenance",
        namespaced=False,
        description="NodeMaintenance is the Schema for the nodemaintenances API",
        spec=_object(("nodeName",), nodeName=_STRING, reason=_STRING),
        status=_object(
            drainProgress={"type": "integer"},
            errorOnLeaseCount={"type": "integer"},
            evictionPods={"type": "integer"},
            lastError=_STRING,
            lastUpdate={"type": "string", "format": "date-time"},
            pendingPods={"type": "array", "items": _STRING},
            pendingPodsRefs={"type": "array", "items": _object(("name", "namespace"), name=_STRING, namespace=_STRING)},
            phase=_STRING,
            totalpods={"type": "integer"},
        ),
    ),
    Lacking(
        "velero.io",
        "v1",
        "Backup",
        description="Backup represents the capture of Kubernetes cluster state at a point in time",
        spec=_object(
            csiSnapshotTimeout=_STRING,
            datamover=_STRING,
            defaultVolumesToFsBackup={"type": "boolean", "nullable": True},
            defaultVolumesToRestic={"type": "boolean", "nullable": True},
            excludedClusterScopedResources=_STRINGS,
            excludedNamespaces=_STRINGS,
            excludedNamespaceScopedResources=_STRINGS,
            excludedResources=_STRINGS,
            hooks=_OPAQUE,
            includeClusterResources={"type": "boolean", "nullable": True},
            includedClusterScopedResources=_STRINGS,
            includedNamespaces=_STRINGS,
            includedNamespaceScopedResources=_STRINGS,
            includedResources=_STRINGS,
            itemOperationTimeout=_STRING,
            labelSelector=_LABEL_SELECTOR,
            metadata=_object(labels=_STRING_MAP),
            orderedResources=_STRING_MAP,
            orLabelSelectors={"type": "array", "items": _LABEL_SELECTOR, "nullable": True},
            resourcePolicy={
                **_object(("kind", "name"), apiGroup=_STRING, kind=_STRING, name=_STRING),
                "nullable": True,
                "x-kubernetes-map-type": "atomic",
            },
            snapshotMoveData={"type": "boolean", "nullable": True},
            snapshotVolumes={"type": "boolean", "nullable": True},
            storageLocation=_STRING,
            ttl=_STRING,
            uploaderConfig={**_object(parallelFilesUpload={"type": "integer"}), "nullable": True},
            volumeSnapshotLocations=_STRINGS,
        ),
        status=_VELERO_PHASE,
    ),
    Lacking(
        "upload.cdi.kubevirt.io",
        "v1beta1",
        "UploadTokenRequest",
        description="UploadTokenRequest is the CR used to initiate a CDI upload",
        spec=_object(("pvcName",), pvcName=_STRING),
        status=_object(token=_STRING),
        required=("spec",),
    ),
    Lacking(
        "filerestore.kubevirt.io",
        "v1alpha1",
        "FileRestoreOperator",
        namespaced=False,
        spec=_OPAQUE,
        status=_OPAQUE,
    ),
    Lacking("filerestore.kubevirt.io", "v1alpha1", "VirtualMachineFileRestore", spec=_OPAQUE, status=_OPAQUE),
    Lacking("ifo.kubevirt.io", "v1alpha1", "InFlightOperation", spec=_OPAQUE, status=_OPAQUE),
    Lacking("ifo.kubevirt.io", "v1alpha1", "OperationRuleSet", namespaced=False, spec=_OPAQUE, status=_OPAQUE),
    Lacking("plugin.kubevirt.io", "v1alpha1", "Plugin", namespaced=False, spec=_OPAQUE, status=_OPAQUE),
)
