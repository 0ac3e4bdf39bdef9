# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DataVolumes as declared: source, size, and what their claims say of how they were filled. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ..cluster.resource import Object
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from ..machine import quantity
from ..task import Failure, Result
from . import cdi
from .cdi import BOOT_SOURCES, DATA_VOLUME
from .kubevirt import at, conditions

PREFIX = f"{cdi.GROUP}/"
ADOPT = f"{PREFIX}allowClaimAdoption"
BIND_NOW = f"{PREFIX}storage.bind.immediate.requested"
POPULATED_FOR = f"{PREFIX}storage.populatedFor"
# Older CDI deletes a DataVolume that is done, and leaves this on its claim.
COLLECTED = f"{PREFIX}garbageCollected"
CLONE_TYPE, CLONE_PHASE, FALLBACK = (f"{PREFIX}{name}" for name in ("cloneType", "clonePhase", "cloneFallbackReason"))
_MEBIBYTE = 1024**2

# Option -> (field of spec.source, its parts by the names of their options).
_CREDENTIALS = {"url": "url", "secret": "secretRef", "cert_config_map": "certConfigMap"}
SOURCES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "http": (
        "http",
        {
            **_CREDENTIALS,
            "extra_headers": "extraHeaders",
            "secret_extra_headers": "secretExtraHeaders",
            "checksum": "checksum",
        },
    ),
    "registry": (
        "registry",
        {
            **_CREDENTIALS,
            "image_stream": "imageStream",
            "pull_method": "pullMethod",
            "architecture": "platform.architecture",
        },
    ),
    "s3": ("s3", _CREDENTIALS),
    "gcs": ("gcs", {"url": "url", "secret": "secretRef"}),
    "imageio": (
        "imageio",
        {**_CREDENTIALS, "disk_id": "diskId", "insecure_skip_verify": "insecureSkipVerify"},
    ),
    "vddk": (
        "vddk",
        {
            "url": "url",
            "secret": "secretRef",
            "uuid": "uuid",
            "backing_file": "backingFile",
            "thumbprint": "thumbprint",
            "init_image_url": "initImageURL",
            "extra_args": "extraArgs",
        },
    ),
    "clone_pvc": ("pvc", {"name": "name", "namespace": "namespace"}),
    "clone_snapshot": ("snapshot", {"name": "name", "namespace": "namespace"}),
    "blank": ("blank", {}),
    "upload": ("upload", {}),
}
SOURCE_OPTIONS = (*SOURCES, "boot_source")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """C(over) laid over C(base): mappings join, anything else takes the place."""
    result = dict(base)
    for name, value in over.items():
        inner = result.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[name] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def _put(found: Object, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for part in parents:
        found = found.setdefault(part, {})
    found[last] = value


def source_of(params: Mapping[str, Any]) -> Object:
    """C(source) or C(sourceRef) of the spec, as the options have it; empty where none says."""
    namespace = params["namespace"]
    reference = params.get("boot_source")
    if reference:
        home = reference.get("namespace") or BOOT_SOURCES
        return {"sourceRef": {"kind": "DataSource", "name": reference["name"], "namespace": home}}
    for option, (field, parts) in SOURCES.items():
        given = params.get(option)
        if not given:
            continue
        source: Object = {}
        for part, path in parts.items():
            if given is not True and given.get(part) not in (None, []):
                _put(source, path, given[part])
        if option in ("clone_pvc", "clone_snapshot"):
            source.setdefault("namespace", namespace)
        return {"source": {field: source}}
    return {}


def manifest(name: str, params: Mapping[str, Any], live: Object | None, claim: Object | None) -> Object:
    """The DataVolume that is declared. Raises Refused for a size that is none, Failure for no source or two.

    The size of one that exists is left as it is: it grows by its claim.
    """
    storage: Object = {}
    for option, field in (
        ("storage_class", "storageClassName"),
        ("access_modes", "accessModes"),
        ("volume_mode", "volumeMode"),
    ):
        if params[option]:
            storage[field] = params[option]
    size = quantity.size(params["size"], "size") if params["size"] is not None else None
    definition = params["definition"] or {}
    api = "pvc" if at(definition, "spec.pvc") is not None else "storage"
    present = at(live, f"spec.{api}.resources.requests.storage")
    if live is None and size is None and params["adopt"] and claim is not None:
        size = str(at(claim, "spec.resources.requests.storage"))
    wanted = present if live is not None and present is not None else size
    if wanted is not None:
        storage["resources"] = {"requests": {"storage": wanted}}
    spec: Object = {**_source(params, definition), api: storage}
    for option, field in (
        ("content_type", "contentType"),
        ("preallocation", "preallocation"),
        ("priority_class", "priorityClassName"),
    ):
        if params[option] is not None:
            spec[field] = params[option]
    metadata: Object = {"name": name, "namespace": params["namespace"]}
    annotations = dict(params["annotations"] or {})
    if params["adopt"]:
        annotations[ADOPT] = "true"
    if params["bind_immediately"]:
        annotations[BIND_NOW] = "true"
    if annotations:
        metadata["annotations"] = annotations
    if params["labels"]:
        metadata["labels"] = dict(params["labels"])
    typed = {"apiVersion": DATA_VOLUME.api_version, "kind": DATA_VOLUME.kind, "metadata": metadata, "spec": spec}
    return merged(definition, typed)


def _source(params: Mapping[str, Any], definition: Mapping[str, Any]) -> Object:
    typed = source_of(params)
    given = at(definition, "spec.source") or at(definition, "spec.sourceRef")
    populated = [at(definition, f"spec.{api}.{field}") for api in ("pvc", "storage") for field in _POPULATORS]
    if typed and given:
        raise Failure("definition: has a source beside the option that names one; give one of them.")
    if typed or given or any(populated):
        return typed
    if params["adopt"]:
        return {"source": {"blank": {}}}
    raise Failure(f"A data volume needs a source: one of {', '.join(SOURCE_OPTIONS)}, or definition.")


_POPULATORS = ("dataSource", "dataSourceRef")


def origin(desired: Object) -> tuple[str, str, str] | None:
    """(kind, namespace, name) of what is cloned, C(PersistentVolumeClaim) or C(VolumeSnapshot); None where nothing."""
    for field, kind in (("pvc", "PersistentVolumeClaim"), ("snapshot", "VolumeSnapshot")):
        source = at(desired, f"spec.source.{field}")
        if source:
            namespace = source.get("namespace") or desired["metadata"]["namespace"]
            return kind, str(namespace), str(source.get("name"))
    return None


# Growing


def overhead(config: Object | None, storage_class: str | None) -> float:
    """The share of a file system that CDI keeps for the file system itself, 0 to 1."""
    told = at(config, "status.filesystemOverhead") or {}
    by_class = (told.get("storageClass") or {}).get(storage_class or "")
    return float(by_class or told.get("global") or 0)


def claim_size(size: Decimal, share: float) -> int:
    """Bytes of a claim that has C(size) bytes for a disk. Source: GetRequiredSpace in CDI's pkg/util."""
    aligned = math.ceil(size / _MEBIBYTE) * _MEBIBYTE
    return math.ceil(aligned / (1 - share))


def disk_size(claim: Decimal, share: float) -> int:
    """Bytes for a disk in a claim of that size. Source: GetUsableSpace in CDI's pkg/util."""
    return int(float(claim) * (1 - share)) // _MEBIBYTE * _MEBIBYTE


def growth(name: str, wanted: str, declared: str | None, claim: Object, share: float) -> int | None:
    """Bytes that the claim has to have for a disk of the C(wanted) size; None where it has them.

    C(declared) is the size that the DataVolume was made with, C(share) what its file system takes. Raises Failure where
    it would have to shrink.
    """
    present = quantity.amount(at(claim, "spec.resources.requests.storage") or "0")
    size = quantity.parse(wanted, "size")
    if declared is not None and quantity.amount(declared) == size:
        return None
    needed = claim_size(size, share)
    if needed > present:
        return needed
    if needed < present and disk_size(present, share) > size:
        usable = disk_size(present, share)
        raise Failure(
            f"size: the volume {name} has {usable // _MEBIBYTE}Mi for its disk (its claim has {text(present)}), and"
            f" cannot shrink to {wanted}. Declare its size or more, or clone it into a smaller one."
        )
    return None


def text(size: Decimal | int) -> str:
    """A size in bytes as a quantity, with a unit where it is whole."""
    count = int(size)
    return quantity.canonical(f"{count // 1024}Ki", "size") if count % 1024 == 0 else str(count)


# Waiting


def check(*, bind_now: bool, counted: Mapping[str, int] | None = None) -> Check:
    """Whether a DataVolume is as far as it gets by itself: filled, ready for an upload, or waiting for a consumer.

    C(counted) are restarts until now, see cdi.check_since.
    """
    filled = cdi.check_since(counted or {})

    def checked(volume: Object | None) -> Verdict:
        if volume is None:
            return Failed("it was deleted while it was waited for")
        phase = cdi.phase(volume)
        if phase == "UploadReady" and at(volume, "spec.source.upload") is not None:
            return Ready()
        if phase in cdi.WAITS_FOR_CONSUMER and not bind_now:
            return Ready()
        return filled(volume)

    return checked


def resized(wanted: int) -> Check:
    """Whether a claim has grown; its file system may have to wait until something mounts it."""

    def checked(claim: Object | None) -> Verdict:
        if claim is None:
            return Failed("its claim was deleted meanwhile")
        known = conditions(claim)
        if quantity.amount(at(claim, "status.capacity.storage") or "0") >= wanted:
            return Ready()
        if known.get("FileSystemResizePending", {}).get("status") == "True":
            return Ready()
        for name in ("ControllerResizeError", "NodeResizeError"):
            if known.get(name, {}).get("status") == "True":
                return Failed(str(known[name].get("message") or name))
        states = (at(claim, "status.allocatedResourceStatuses") or {}).values()
        if any(str(state).endswith("Infeasible") for state in states):
            return Failed("its storage cannot give it that size")
        return Progress("growing")

    return checked


# Telling


def is_collected(claim: Object | None) -> bool:
    """Whether a claim is all that is left of a DataVolume that was filled."""
    return at(claim, "metadata.annotations", {}).get(COLLECTED) == "true" if claim else False


def tell(volume: Object | None, claim: Object | None) -> Result:
    """What a task says of a DataVolume and its claim."""
    annotations = {**(at(volume, "metadata.annotations") or {}), **(at(claim, "metadata.annotations") or {})}
    phase = cdi.phase(volume) or None
    if volume is None and is_collected(claim):
        phase = "Succeeded"
    return {
        "phase": phase,
        "progress": at(volume, "status.progress"),
        "waits_for_consumer": phase in cdi.WAITS_FOR_CONSUMER,
        "claim": at(volume, "status.claimName") or at(claim, "metadata.name"),
        "claim_phase": at(claim, "status.phase"),
        "size": at(claim, "spec.resources.requests.storage"),
        "capacity": at(claim, "status.capacity.storage"),
        "storage_class": at(claim, "spec.storageClassName"),
        "volume_mode": at(claim, "spec.volumeMode"),
        "access_modes": at(claim, "spec.accessModes") or [],
        "clone_type": annotations.get(CLONE_TYPE),
        "clone_fallback_reason": annotations.get(FALLBACK),
    }
