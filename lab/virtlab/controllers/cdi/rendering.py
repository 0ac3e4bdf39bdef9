"""The claim that a data volume asks for, completed from the storage profile. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtlab.controllers.cdi.names import (
    ADOPT,
    BIND_IMMEDIATE,
    CONTENT_TYPE,
    DELETE_AFTER,
    IMPORTER_LABELS,
    PREFIX,
    UPLOAD_TARGET,
    USE_POPULATOR,
)
from virtlab.controllers.ownership import owner_reference
from virtlab.controllers.storage import default_class
from virtlab.resource import Object
from virtlab.schema.quantity import canonical, parse
from virtlab.storage.sizes import required

NO_CLASS = "PVC spec is missing accessMode and no storageClass to choose profile"
# source: the populator's object that the claim names
SOURCE_KINDS = {"pvc": "VolumeCloneSource", "snapshot": "VolumeCloneSource", "upload": "VolumeUploadSource"}


@dataclass(frozen=True)
class Unrenderable(Exception):
    """The claim cannot be made: reason and message of the data volume's Bound condition."""

    reason: str
    message: str


def source_kind(source: Object) -> str:
    """blank, http, registry, pvc, snapshot, upload ..."""
    return next(iter(source), "blank")


def claim_spec(data_volume: Object, classes: list[Object], profiles: dict[str, Object]) -> Object:
    """spec of the claim. Raises Unrenderable."""
    spec = data_volume["spec"]
    if spec.get("pvc"):
        result: Object = {**spec["pvc"]}
        if not result.get("storageClassName"):
            chosen = default_class(classes)
            if chosen is not None:
                result["storageClassName"] = chosen["metadata"]["name"]
        result.setdefault("volumeMode", "Filesystem")
        return result
    storage = spec.get("storage") or {}
    result = {key: value for key, value in storage.items() if value not in (None, "")}
    virtual = spec.get("contentType", "kubevirt") == "kubevirt"
    name = storage.get("storageClassName")
    if not name:
        chosen = default_class(classes, virtual=virtual)
        name = chosen["metadata"]["name"] if chosen else None
    if name:
        result["storageClassName"] = name
    if result.get("accessModes") and result.get("volumeMode"):
        return result
    known = name in {item["metadata"]["name"] for item in classes}
    if not known:
        if result.get("accessModes"):
            return {**result, "volumeMode": result.get("volumeMode", "Filesystem")}
        raise Unrenderable("ErrClaimNotValid", NO_CLASS)
    sets = _property_sets(profiles.get(str(name)))
    if not sets:
        text = f"Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile {name}"
        raise Unrenderable("ErrClaimNotValid", text)
    for candidate in sets:
        if result.get("volumeMode") not in (None, candidate["volumeMode"]):
            continue
        if result.get("accessModes") and not set(result["accessModes"]) <= set(candidate["accessModes"]):
            continue
        result.setdefault("volumeMode", candidate["volumeMode"])
        result.setdefault("accessModes", list(candidate["accessModes"]))
        return result
    result.setdefault("volumeMode", "Filesystem")
    result.setdefault("accessModes", list(sets[0]["accessModes"]))
    return result


def _property_sets(profile: Object | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ((profile or {}).get("status") or {}).get("claimPropertySets") or []
    return found


def inflated(spec: Object, overhead: float) -> Object:
    """C(spec) of a claim, large enough for a file system around a disk of the size that it asks for."""
    resources = spec.get("resources") or {}
    size = int(parse((resources.get("requests") or {}).get("storage", "0")))
    requests = {**(resources.get("requests") or {}), "storage": canonical(str(required(overhead, size)))}
    return {**spec, "resources": {**resources, "requests": requests}}


def claim_for(data_volume: Object, spec: Object, source: Object) -> Object:
    """The claim of C(data_volume), to be filled by a populator from C(source)."""
    metadata = data_volume["metadata"]
    kind = source_kind(source)
    annotations = {
        **{
            name: value
            for name, value in (metadata.get("annotations") or {}).items()
            if name not in (DELETE_AFTER, ADOPT) and not name.startswith("kubectl.kubernetes.io/")
        },
        CONTENT_TYPE: data_volume["spec"].get("contentType", "kubevirt"),
        f"{PREFIX}/storage.preallocation.requested": str(bool(data_volume["spec"].get("preallocation"))).lower(),
        USE_POPULATOR: "true",
    }
    if kind == "http":
        annotations[f"{PREFIX}/storage.import.endpoint"] = source["http"].get("url", "")
    if kind == "upload":  # in CDI on a claim of its own, until the volume is handed over
        annotations[UPLOAD_TARGET] = ""
    populator = SOURCE_KINDS.get(kind, "VolumeImportSource")
    reference = {
        "apiGroup": PREFIX,
        "kind": populator,
        "name": f"{populator.lower().replace('volume', 'volume-', 1).replace('source', '-source')}-{metadata['uid']}",
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**(metadata.get("labels") or {}), **IMPORTER_LABELS},
            "annotations": annotations,
            "ownerReferences": [owner_reference(data_volume)],
        },
        "spec": {**spec, "dataSourceRef": reference},
    }


def fills_by_upload(claim: Object) -> bool:
    """Is the claim bound only after something was uploaded for it?"""
    return (claim["spec"].get("dataSourceRef") or {}).get("kind") == "VolumeUploadSource"


def bind_now(data_volume: Object, storage_class: Object | None, claim: Object) -> bool:
    """May the claim be filled before anything uses it?"""
    annotations = data_volume["metadata"].get("annotations") or {}
    if annotations.get(BIND_IMMEDIATE) is not None and annotations[BIND_IMMEDIATE] != "false":
        return True
    if (claim["metadata"].get("annotations") or {}).get("volume.kubernetes.io/selected-node"):
        return True
    return (storage_class or {}).get("volumeBindingMode") != "WaitForFirstConsumer"
