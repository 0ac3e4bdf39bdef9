"""PersistentVolumeClaims: provisioned, bound, expanded, protected while in use, and gone with their volume."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from virtlab.controllers.claim_disks import ClaimDisks, Unprovided
from virtlab.controllers.claim_users import ClaimUsers, claim_names
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.store import Event

PVCS = "persistentvolumeclaims"
PVS = "persistentvolumes"
CLASSES = "storageclasses.storage.k8s.io"
PROTECTION = "kubernetes.io/pvc-protection"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
POPULATED = "cdi.kubevirt.io/storage.pod.phase"  # of a claim that CDI fills: bound once this says Succeeded
POPULATED_KINDS = ("VolumeImportSource", "VolumeUploadSource", "VolumeCloneSource")
PROVISION = 1.0  # seconds to make and bind a volume
EXPAND = 2.0
RETRY = 10.0  # real seconds
BIND_IMMEDIATE = "cdi.kubevirt.io/storage.bind.immediate.requested"
UPLOAD_TARGET = "cdi.kubevirt.io/storage.upload.target"


def waits_for_population(claim: Object) -> bool:
    """Does a CDI populator still have to fill the claim?"""
    source = claim["spec"].get("dataSourceRef") or {}
    if source.get("kind") not in POPULATED_KINDS:
        return False
    return (claim["metadata"].get("annotations") or {}).get(POPULATED) != "Succeeded"


def requested(claim: Object) -> str:
    size: str = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "1Gi")
    return size


class ClaimController(Controller):
    """The persistentvolume controller and the CSI provisioner, resizer and protection in one."""

    manager_name = "kube-controller-manager"
    watches = (PVCS, "pods", CLASSES, PVS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._users = ClaimUsers(self, manager)
        self._disks = ClaimDisks(self, self._users)
        self._by_class = manager.index(PVCS, lambda claim: [claim["spec"].get("storageClassName") or ""])

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "pods"):
            namespace = event.object["metadata"].get("namespace", "")
            ended = event.type == "DELETED" or (event.object.get("status") or {}).get("phase") in (
                "Succeeded",
                "Failed",
            )
            return [(namespace, name) for name in claim_names(event.object)] if ended else ()
        if event.key == ("storage.k8s.io", "storageclasses"):
            return self._by_class.keys(event.object["metadata"]["name"]) if event.type == "ADDED" else ()
        if event.key == ("", "persistentvolumes"):
            if event.type == "DELETED":
                self._disks.forget(event.object["metadata"]["name"])
            return ()
        if event.type == "DELETED":
            self._release(event.object)
            return ()
        return super().keys(event)

    def reconcile(self, key: Key) -> float | None:
        namespace, name = key
        claim = self.find(PVCS, namespace, name)
        if claim is None:
            return None
        if being_deleted(claim):
            finalizers = claim["metadata"].get("finalizers") or ()
            if PROTECTION in finalizers and not self._users.pods(namespace, name):
                self.drop_finalizer(PVCS, claim, PROTECTION)
            return None
        phase = (claim.get("status") or {}).get("phase")
        if phase == "Bound":
            return self._expand(claim)
        if phase is None:
            claim = self.write_status(PVCS, claim, {"phase": "Pending"})
        return self._provision(claim)

    def _provision(self, claim: Object) -> float | None:
        metadata, spec = claim["metadata"], claim["spec"]
        annotations = metadata.get("annotations") or {}
        if spec.get("volumeName"):
            volume = self.find(PVS, None, spec["volumeName"])
            if volume is not None:
                self._disks.take(claim, spec["volumeName"])
                self._bind(claim, volume)
            return None
        storage_class = spec.get("storageClassName")
        if not storage_class:
            self._once(
                claim,
                "FailedBinding",
                "no persistent volumes available for this claim and no storage class is set",
                "persistentvolume-controller",
                warning=False,
            )
            return None
        found = self.find(CLASSES, None, storage_class)
        if found is None:
            message = f'storageclass.storage.k8s.io "{storage_class}" not found'
            self._once(claim, "ProvisioningFailed", message, "persistentvolume-controller")
            return None
        if waits_for_population(claim):
            return None
        waits = found.get("volumeBindingMode") == "WaitForFirstConsumer" and annotations.get(POPULATED) != "Succeeded"
        consumed = annotations.get(SELECTED_NODE) or (UPLOAD_TARGET in annotations and BIND_IMMEDIATE in annotations)
        if waits and not consumed:
            message = "waiting for first consumer to be created before binding"
            self._once(claim, "WaitForFirstConsumer", message, "persistentvolume-controller", warning=False)
            return None
        wait = self.remaining(metadata["uid"], "provision", PROVISION)
        if wait:
            self._once(
                claim,
                "Provisioning",
                f'External provisioner is provisioning volume for claim "{metadata["namespace"]}/{metadata["name"]}"',
                found["provisioner"],
                warning=False,
            )
            return wait
        try:
            if not self._disks.provide(claim):
                return None
        except Unprovided as problem:
            text = f'failed to provision volume with StorageClass "{storage_class}": {problem}'
            self.event(claim, "ProvisioningFailed", text, warning=True, component=found["provisioner"])
            return RETRY
        volume = self.create(PVS, volume_for(claim, found)) or self.find(PVS, None, f"pvc-{metadata['uid']}")
        if volume is None:
            return None
        message = f"Successfully provisioned volume {volume['metadata']['name']}"
        self.event(claim, "ProvisioningSucceeded", message, component=found["provisioner"])
        self._bind(claim, volume, found["provisioner"])
        return None

    def _bind(self, claim: Object, volume: Object, provisioner: str = "") -> None:
        metadata = claim["metadata"]
        annotations = {
            **(metadata.get("annotations") or {}),
            "pv.kubernetes.io/bind-completed": "yes",
            "pv.kubernetes.io/bound-by-controller": "yes",
        }
        if provisioner:
            annotations["volume.kubernetes.io/storage-provisioner"] = provisioner
        finalizers = list(dict.fromkeys([*(metadata.get("finalizers") or ()), PROTECTION]))
        claim = self.update(
            PVCS,
            {
                **claim,
                "metadata": {**metadata, "annotations": annotations, "finalizers": finalizers},
                "spec": {**claim["spec"], "volumeName": volume["metadata"]["name"]},
            },
        )
        if (volume.get("status") or {}).get("phase") != "Bound":
            self.write_status(PVS, volume, {"phase": "Bound"})
        status = {
            "phase": "Bound",
            "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
            "capacity": {"storage": volume["spec"]["capacity"]["storage"]},
        }
        self.write_status(PVCS, claim, status)
        self.forget(metadata["uid"], "provision")

    def _expand(self, claim: Object) -> float | None:
        status = claim["status"]
        have = (status.get("capacity") or {}).get("storage")
        want = requested(claim)
        if not have or parse(want) <= parse(have):
            return None
        found = self.find(CLASSES, None, claim["spec"].get("storageClassName", ""))
        if found is None or not found.get("allowVolumeExpansion"):
            return None
        wait = self.remaining(claim["metadata"]["uid"], "expand", EXPAND)
        if wait:
            self._once(claim, "Resizing", "External resizer is resizing volume", found["provisioner"], warning=False)
            return wait
        self._disks.grow(claim, want)
        volume = self.find(PVS, None, claim["spec"].get("volumeName", ""))
        if volume is not None:
            self.update(PVS, {**volume, "spec": {**volume["spec"], "capacity": {"storage": want}}})
        self.write_status(PVCS, claim, {**status, "capacity": {"storage": want}})
        self.event(claim, "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded", component="kubelet")
        self.forget(claim["metadata"]["uid"], "expand")
        return None

    def _release(self, claim: Object) -> None:
        volume = self.find(PVS, None, claim["spec"].get("volumeName") or "")
        if volume is None or (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"].get("uid"):
            self._disks.release(claim)
            return
        name = volume["metadata"]["name"]
        if volume["spec"].get("persistentVolumeReclaimPolicy", "Delete") == "Delete":
            self._disks.release(claim)
            self.delete(PVS, None, name)
        else:
            self._disks.release(claim, retained=name)
            self.write_status(PVS, volume, {"phase": "Released"})

    def _once(self, claim: Object, reason: str, message: str, component: str, *, warning: bool = True) -> None:
        """Say it once for each claim: a reconcile of the same state repeats nothing."""
        step = ("said", f"{claim['metadata']['uid']}/{reason}/{message}")
        if step not in self._since:
            self._since[step] = 0.0
            self.event(claim, reason, message, warning=warning, component=component)


def volume_for(claim: Object, storage_class: Object) -> Object:
    """The volume that a CSI driver makes for C(claim)."""
    metadata, spec = claim["metadata"], claim["spec"]
    source: dict[str, Any] = {"driver": storage_class["provisioner"], "volumeHandle": f"lab-{metadata['uid']}"}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"pvc-{metadata['uid']}",
            "annotations": {"pv.kubernetes.io/provisioned-by": storage_class["provisioner"]},
        },
        "spec": {
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "capacity": {"storage": requested(claim)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "csi": source,
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
        },
        "status": {"phase": "Bound"},
    }
