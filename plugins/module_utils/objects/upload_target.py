# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is uploaded into: whether it has it already, has room for it, and can take it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from ..machine import quantity
from ..machine.image_file import Image
from ..task import Failure, Result
from . import cdi, data_volumes
from .cdi import DATA_VOLUME
from .core import PVC
from .data_volumes import BIND_NOW, PREFIX
from .kubevirt import at

# The image that was uploaded, by which a second run knows it.
CHECKSUM = "virtstack.core/image-sha256"
TARGET = f"{PREFIX}storage.upload.target"
CONTENT = f"{PREFIX}storage.contentType"
POD_PHASE, POD_READY, RESTARTS = (f"{PREFIX}storage.pod.{name}" for name in ("phase", "ready", "restarts"))
_RUNNING = f"{PREFIX}storage.condition.running"
_MEBIBYTE = 1024**2
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_VIRT_CLASS = "storageclass.kubevirt.io/is-default-virt-class"
HONORS_CONSUMERS = "HonorWaitForFirstConsumer"
CONSUMER_ADVICE = (
    "Set bind_immediately: true (which virtctl calls --force-bind), or let a pod use the volume first, or choose"
    " another storage_class"
)


@dataclass(frozen=True)
class Place:
    """A target as it is now: C(volume) the DataVolume, where that is what is uploaded into, and its C(claim)."""

    kind: str
    name: str
    namespace: str
    volume: Object | None
    claim: Object | None

    @property
    def resource(self) -> Resource:
        return DATA_VOLUME if self.kind == "data_volume" else PVC

    @property
    def found(self) -> Object | None:
        return self.volume if self.kind == "data_volume" else self.claim

    @property
    def label(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}"

    @property
    def annotations(self) -> Mapping[str, str]:
        return {**(at(self.claim, "metadata.annotations") or {}), **(at(self.volume, "metadata.annotations") or {})}

    @property
    def is_there(self) -> bool:
        return self.found is not None or data_volumes.is_collected(self.claim)

    @property
    def is_filled(self) -> bool:
        if self.kind == "data_volume":
            return cdi.phase(self.volume) == "Succeeded" or (
                self.volume is None and data_volumes.is_collected(self.claim)
            )
        annotations = self.annotations
        return self.claim is not None and (TARGET not in annotations or annotations.get(POD_PHASE) == "Succeeded")

    def refuse_other(self, image: Image, path: str) -> None:
        """Raises Failure where something else is in it, that an upload would not replace unasked."""
        if not self.is_filled:
            if self.volume is not None and at(self.volume, "spec.source.upload") is None:
                raise Failure(f"{self.label} is not for an upload: it gets its content from another source.")
            return
        known = self.annotations.get(CHECKSUM)
        if known != image.sha256:
            what = f"another image (sha256 {known})" if known else "content that this module did not upload"
            raise Failure(
                f"{self.label} holds {what}, not {path} (sha256 {image.sha256}). Choose another name, or set replace:"
                " true to delete it with its content and to upload anew."
            )

    def refuse_small(self, image: Image, share: float) -> None:
        """Raises Failure where the disk of the image has no room in what is there."""
        if self.claim is not None:
            usable = _usable(self.claim, share)
        elif self.volume is not None:
            size = at(self.volume, "spec.storage.resources.requests.storage")
            usable = int(quantity.amount(size)) if size else image.virtual_size
        else:
            return
        if usable < image.virtual_size:
            raise Failure(
                f"{self.label} has room for {data_volumes.text(usable)}, but the disk in the image has"
                f" {data_volumes.text(image.virtual_size)}. Nothing was sent. Let it grow with"
                " virtstack.core.data_volume, or choose another."
            )

    def refuse_waiting(self) -> None:
        """Raises Failure where it waits for a first consumer, and would do so for ever."""
        waits = cdi.phase(self.volume) in cdi.WAITS_FOR_CONSUMER
        if waits and self.annotations.get(BIND_NOW) != "true":
            raise Failure(
                f"{self.label} waits for its first consumer, as its storage class is told to, and takes no upload until"
                f" then. {CONSUMER_ADVICE}."
            )


def _usable(claim: Object, share: float) -> int:
    present = quantity.amount(at(claim, "spec.resources.requests.storage") or "0")
    if at(claim, "spec.volumeMode") == "Block":
        return int(present)
    return data_volumes.disk_size(present, share)


def disk_size(params: Mapping[str, Any], image: Image) -> str:
    """The size of the disk to make. Raises Failure for one that is too small, Refused for what is no size."""
    needed = -(-image.virtual_size // _MEBIBYTE) * _MEBIBYTE
    if params["size"] is None:
        return data_volumes.text(needed)
    size = quantity.size(params["size"], "size")
    if quantity.amount(size) < image.virtual_size:
        packed = f", {image.packed}-packed" if image.packed else ""
        raise Failure(
            f"size: {params['size']} is smaller than the disk in the image ({image.format}{packed}), which has"
            f" {data_volumes.text(image.virtual_size)}. Nothing was made. Give that or more, or leave size out."
        )
    return size


def claim(params: Mapping[str, Any], marks: Mapping[str, str], size: str, share: float) -> Object:
    """A claim to upload into, of which its file system takes its C(share)."""
    block = params["volume_mode"] == "Block"
    needed = data_volumes.claim_size(quantity.amount(size), 0.0 if block else share)
    annotations = {**(params["annotations"] or {}), **marks, TARGET: "", CONTENT: "kubevirt"}
    if params["bind_immediately"]:
        annotations[BIND_NOW] = "true"
    spec: Object = {
        "accessModes": params["access_modes"] or ["ReadWriteOnce"],
        "resources": {"requests": {"storage": data_volumes.text(needed)}},
    }
    for option, field in (("storage_class", "storageClassName"), ("volume_mode", "volumeMode")):
        if params[option]:
            spec[field] = params[option]
    metadata: Object = {"name": params["name"], "namespace": params["namespace"], "annotations": annotations}
    if params["labels"]:
        metadata["labels"] = dict(params["labels"])
    return {"apiVersion": PVC.api_version, "kind": PVC.kind, "metadata": metadata, "spec": spec}


def candidates(earlier: str | None, image: Image) -> str:
    """The mark of what is not filled yet: the image, and any whose upload another run may still go on with."""
    listed = (earlier or "").split()
    return " ".join(listed if image.sha256 in listed else [*listed, image.sha256])


def storage_class(params: Mapping[str, Any], classes: Iterable[Object]) -> Object | None:
    """The storage class that will be taken: the one that is named, or the default for machines, or the default."""
    listed = list(classes)
    if params["storage_class"]:
        return next((item for item in listed if item["metadata"]["name"] == params["storage_class"]), None)
    marked = (DEFAULT_VIRT_CLASS, DEFAULT_CLASS) if params["target"] == "data_volume" else (DEFAULT_CLASS,)
    for annotation in marked:
        for item in listed:
            if (item["metadata"].get("annotations") or {}).get(annotation) == "true":
                return item
    return None


def refuse_lazy_class(params: Mapping[str, Any], found: Object | None, config: Object | None) -> None:
    """Raises Failure where a new volume would wait for its first consumer, and no upload could begin."""
    if found is None or params["bind_immediately"] or found.get("volumeBindingMode") != "WaitForFirstConsumer":
        return
    gates = at(config, "spec.featureGates")
    if params["target"] == "data_volume" and gates is not None and HONORS_CONSUMERS not in gates:
        return
    raise Failure(
        f"The storage class {found['metadata']['name']} waits for the first consumer of a volume, so that no upload"
        f" could begin. Nothing was made. {CONSUMER_ADVICE}."
    )


def ready(kind: str) -> Check:
    """Whether an upload can begin."""

    def checked(found: Object | None) -> Verdict:
        if found is None:
            return Failed("it was deleted meanwhile")
        if kind == "data_volume":
            phase = cdi.phase(found)
            if phase in ("UploadReady", "Succeeded"):
                return Ready()
            if phase in cdi.WAITS_FOR_CONSUMER and at(found, "metadata.annotations", {}).get(BIND_NOW) != "true":
                return Failed(f"it waits for its first consumer. {CONSUMER_ADVICE}")
            reason = cdi.trouble(found) if not _is_past(found) else None
            return Failed(reason) if reason else Progress(phase or "not yet seen by CDI")
        annotations = at(found, "metadata.annotations") or {}
        if annotations.get(POD_READY) == "true" or annotations.get(POD_PHASE) == "Succeeded":
            return Ready()
        return Progress(f"its upload server is {annotations.get(POD_PHASE) or 'not there yet'}")

    return checked


def is_filled(kind: str, found: Object | None) -> bool:
    """Whether what was waited for by C(ready) has an image already, that another run sent."""
    told = cdi.phase(found) if kind == "data_volume" else (at(found, "metadata.annotations") or {}).get(POD_PHASE)
    return told == "Succeeded"


def _is_past(found: Object) -> bool:
    """Whether what failed was an earlier upload, of which nothing is left."""
    return restarts(found) > 0


def restarts(found: Object | None) -> int:
    """How often the upload server began anew."""
    told = at(found, "status.restartCount") or (at(found, "metadata.annotations") or {}).get(RESTARTS) or 0
    return int(told)


def done(kind: str, before: int) -> Check:
    """Whether the image that was sent is in its place; C(before) are the restarts that were counted until then."""

    def checked(found: Object | None) -> Verdict:
        if found is None:
            return Failed("it was deleted meanwhile")
        annotations = at(found, "metadata.annotations") or {}
        phase = cdi.phase(found) if kind == "data_volume" else annotations.get(POD_PHASE, "")
        if phase == "Succeeded":
            return Ready()
        if restarts(found) > before or phase == "Failed":
            return Failed(_words(found) or "the image could not be used")
        return Progress(cdi.progress(found) if kind == "data_volume" else f"upload {phase}")

    return checked


def _words(found: Object) -> str:
    """What the upload server said when it ended."""
    told = {item["type"]: item for item in at(found, "status.conditions") or () if item.get("type") == "Running"}
    text = told.get("Running", {}).get("message") if told else None
    return str(text or (at(found, "metadata.annotations") or {}).get(f"{_RUNNING}.message") or "")


def tell(place: Place, image: Image, uploaded: bool) -> Result:
    """What a task says of an upload."""
    found = data_volumes.tell(place.volume, place.claim)
    return {
        "name": place.name,
        "namespace": place.namespace,
        "target": place.kind,
        "uploaded": uploaded,
        "phase": found["phase"] if place.kind == "data_volume" else place.annotations.get(POD_PHASE),
        "size": found["size"],
        "storage_class": found["storage_class"],
        "format": image.format,
        "packed": image.packed,
        "file_size": image.file_size,
        "virtual_size": image.virtual_size,
        "sha256": image.sha256,
    }
