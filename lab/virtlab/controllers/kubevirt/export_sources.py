"""What an export is made from: its claims, whether they can be read now, and why not, in virt-controller's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtlab.controllers.conditions import Condition, condition
from virtlab.controllers.kubevirt.names import PVCS, VMIS, VMS
from virtlab.controllers.kubevirt.snapshots import CONTENTS, SNAPSHOTS
from virtlab.controllers.kubevirt.volumes import claim_name, phase, template_volumes
from virtlab.controllers.ownership import owner_reference
from virtlab.resource import Object

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller, Index

DATA_VOLUMES = "datavolumes.cdi.kubevirt.io"
CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


def _ready(reason: str = "Initializing", message: str = "") -> Condition:
    return condition("Ready", False, reason, message)


@dataclass
class Source:
    """C(ready): the condition while nothing is served; C(told): the condition of the source itself."""

    claims: list[Object] = field(default_factory=list)
    in_use: bool = False
    populated: bool = False
    ready: Condition = field(default_factory=_ready)
    told: Condition | None = None
    machine: str = ""
    skipped: bool = False

    @property
    def available(self) -> bool:
        return self.populated and not self.in_use and bool(self.claims)


def source_of(controller: Controller, users: Index, export: Object) -> Source:
    kind = export["spec"]["source"]["kind"]
    if kind == "PersistentVolumeClaim":
        return _claim(controller, users, export)
    if kind == "VirtualMachineSnapshot":
        return _snapshot(controller, export)
    return _machine(controller, export)


def _populated(controller: Controller, claim: Object) -> bool:
    """Has the data volume that owns the claim, if any, succeeded?"""
    metadata = claim["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == "DataVolume":
            return phase(controller.find(DATA_VOLUMES, metadata["namespace"], owner["name"])) == "Succeeded"
    return True


def _claim(controller: Controller, users: Index, export: Object) -> Source:
    namespace, name = export["metadata"]["namespace"], export["spec"]["source"]["name"]
    claim = controller.find(PVCS, namespace, name)
    if claim is None:
        text = f"PersistentVolumeClaim {namespace}/{name} not found"
        return Source(told=condition("PVCReady", False, "PVCNotFound", text))
    bound = phase(claim) == "Bound"
    told = condition("PVCReady", bound, "PVCBound" if bound else "PVCPending")
    source = Source([claim], populated=_populated(controller, claim) and bound, told=told)
    if not source.populated:
        source.ready = _ready("PVCPending", f"PersistentVolumeClaim {namespace}/{name} is not populated")
    elif users.count(f"{namespace}/{name}"):
        source.in_use = True
        source.ready = _ready("InUse", f"PersistentVolumeClaim {namespace}/{name} is in use")
    return source


def _machine(controller: Controller, export: Object) -> Source:
    namespace, name = export["metadata"]["namespace"], export["spec"]["source"]["name"]
    vm = controller.find(VMS, namespace, name)
    if vm is None:
        text = f"Virtual Machine {namespace}/{name} not found"
        return Source(ready=_ready("VMNotFound", text), machine=name, skipped=True)
    source = Source(populated=True, machine=name)
    missing = False
    for volume in template_volumes(vm):
        claim = controller.find(PVCS, namespace, claim_name(volume)) if claim_name(volume) else None
        if claim is not None:
            source.claims.append(claim)
            missing = missing or not (_populated(controller, claim) and phase(claim) == "Bound")
        else:
            missing = missing or "dataVolume" in volume
    if not source.claims:
        source.ready = _ready("VMNoVolumes", f"Virtual Machine {namespace}/{name} has no volumes")
        source.skipped = True
    elif missing:
        source.populated = False
        text = f"Not all volumes in the Virtual Machine {namespace}/{name} are populated"
        source.ready = _ready("VolumesNotPopulated", text)
    else:
        vmi = controller.find(VMIS, namespace, name)
        if vmi is not None and phase(vmi) not in ("Succeeded", "Failed"):
            source.in_use = True
            source.ready = _ready("InUse", f"Virtual Machine {namespace}/{name} is running")
    return source


def _volumes_created(done: bool, reason: str, message: str = "") -> Condition:
    return condition("VolumesCreated", done, reason, message)


def _snapshot(controller: Controller, export: Object) -> Source:
    namespace, name = export["metadata"]["namespace"], export["spec"]["source"]["name"]
    snapshot = controller.find(SNAPSHOTS, namespace, name)
    empty = _volumes_created(
        False,
        "VMSnapshotNoVolumes",
        f"VirtualMachineSnapshot {namespace}/{name} does not contain any volume snapshots",
    )
    if snapshot is None:
        text = f"VirtualMachineSnapshot {namespace}/{name} not found"
        return Source(ready=_ready("VMSnapshotNotFound", text), told=empty, skipped=True)
    machine: str = snapshot["spec"]["source"]["name"]
    status = snapshot.get("status") or {}
    if not status.get("readyToUse"):
        text = f"VirtualMachineSnapshot {namespace}/{name} is not ready to use"
        told = _volumes_created(False, "NotAllPVCsCreated", text)
        return Source(ready=_ready("NotAllPVCsCreated", text), told=told, machine=machine)
    content = controller.find(CONTENTS, namespace, status.get("virtualMachineSnapshotContentName", ""))
    backups = ((content or {}).get("spec") or {}).get("volumeBackups") or ()
    claims = [claim for claim in (_restored(controller, export, backup) for backup in backups) if claim is not None]
    if not backups:
        return Source(told=empty, machine=machine, skipped=True)
    bound = len(claims) == len(backups) and all(phase(claim) == "Bound" for claim in claims)
    told = (
        _volumes_created(True, "AllPVCsReady")
        if bound
        else _volumes_created(False, "NotAllPVCsReady", "Not all PVCs are ready")
    )
    return Source(claims, populated=bound, told=told, machine=machine)


def _restored(controller: Controller, export: Object, backup: Object) -> Object | None:
    """The claim that a volume of a snapshot is restored to for the export, and goes with it."""
    namespace, claim = export["metadata"]["namespace"], backup["persistentVolumeClaim"]
    name = f"{export['metadata']['name']}-{claim['metadata']['name']}"
    found = controller.find(PVCS, namespace, name)
    if found is not None:
        return found
    spec = {
        key: value for key, value in claim["spec"].items() if key not in ("dataSource", "dataSourceRef", "volumeName")
    }
    origin = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": backup["volumeSnapshotName"]}
    return controller.create(
        PVCS,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {CONTENT_TYPE: "kubevirt", SELECTED_NODE: "worker-0"},
                "ownerReferences": [owner_reference(export)],
            },
            "spec": {**spec, "dataSource": origin},
        },
    )
