"""Whether each volume of a machine can be snapshotted, in virt-controller's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtlab.controllers.kubevirt.names import PVCS
from virtlab.controllers.kubevirt.volumes import claim_name
from virtlab.resource import Object

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller

CLASSES = "storageclasses.storage.k8s.io"
SNAPSHOT_CLASSES = "volumesnapshotclasses.snapshot.storage.k8s.io"


def snapshot_class(controller: Controller, storage_class: str) -> str | None:
    """The VolumeSnapshotClass for a storage class: that of the same driver."""
    found = controller.find(CLASSES, None, storage_class)
    if found is None:
        return None
    for item in controller.list(SNAPSHOT_CLASSES):
        if item["driver"] == found["provisioner"]:
            name: str = item["metadata"]["name"]
            return name
    return None


def snapshot_status(controller: Controller, namespace: str, volume: Object) -> Object:
    name = volume["name"]
    claim = claim_name(volume)
    if not claim or "ephemeral" in volume:
        reason = f"Snapshot is not supported for this volumeSource type [{name}]"
        return {"enabled": False, "name": name, "reason": reason}
    found = controller.find(PVCS, namespace, claim)
    if found is None:
        return {"enabled": False, "name": name, "reason": "PVC not found"}
    storage_class = found["spec"].get("storageClassName", "")
    if snapshot_class(controller, storage_class) is None:
        reason = (
            "No VolumeSnapshotClass: Volume snapshots are not configured for this StorageClass "
            f"[{storage_class}] [{name}]"
        )
        return {"enabled": False, "name": name, "reason": reason}
    return {"enabled": True, "name": name}


def snapshot_statuses(controller: Controller, namespace: str, volumes: list[Object]) -> list[Object]:
    return [snapshot_status(controller, namespace, volume) for volume in volumes]
