"""What the cluster stores on: two storage classes, their drivers and the snapshot class."""

from __future__ import annotations

from virtlab.resource import Object

BLOCK_CLASS = "lab-block"
FILE_CLASS = "lab-file"
SNAPSHOT_CLASS = "lab-block-snapclass"
BLOCK_DRIVER = "openshift-storage.rbd.csi.ceph.com"
FILE_DRIVER = "kubevirt.io.hostpath-provisioner"

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_VIRT_CLASS = "storageclass.kubevirt.io/is-default-virt-class"
DEFAULT_SNAPSHOT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"

# What CDI knows of provisioners: (access mode, volume mode) best first, clone strategy, form of boot sources.
CAPABILITIES: dict[str, tuple[tuple[tuple[str, str], ...], str, str]] = {
    BLOCK_DRIVER: (
        (("ReadWriteMany", "Block"), ("ReadWriteOnce", "Block"), ("ReadWriteOnce", "Filesystem")),
        "csi-clone",
        "snapshot",
    ),
    FILE_DRIVER: ((("ReadWriteOnce", "Filesystem"),), "copy", "pvc"),
}


def storage_objects() -> list[tuple[str, Object]]:
    """(qualified resource, object) of what a new cluster has."""
    return [
        ("storageclasses.storage.k8s.io", _class(BLOCK_CLASS, BLOCK_DRIVER, "Immediate", default=True)),
        ("storageclasses.storage.k8s.io", _class(FILE_CLASS, FILE_DRIVER, "WaitForFirstConsumer", default=False)),
        ("csidrivers.storage.k8s.io", _driver(BLOCK_DRIVER)),
        ("csidrivers.storage.k8s.io", _driver(FILE_DRIVER)),
        (
            "volumesnapshotclasses.snapshot.storage.k8s.io",
            {
                "apiVersion": "snapshot.storage.k8s.io/v1",
                "kind": "VolumeSnapshotClass",
                "metadata": {"name": SNAPSHOT_CLASS, "annotations": {DEFAULT_SNAPSHOT_CLASS: "true"}},
                "driver": BLOCK_DRIVER,
                "deletionPolicy": "Delete",
            },
        ),
    ]


def _class(name: str, provisioner: str, binding: str, *, default: bool) -> Object:
    metadata: Object = {"name": name}
    if default:
        metadata["annotations"] = {DEFAULT_CLASS: "true", DEFAULT_VIRT_CLASS: "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": binding,
        "allowVolumeExpansion": True,
    }


def _driver(name: str) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": name},
        "spec": {"attachRequired": True, "podInfoOnMount": False, "fsGroupPolicy": "File"},
    }


def default_class(classes: list[Object], *, virtual: bool = False) -> Object | None:
    """The default storage class, for C(virtual) machines theirs first; of several the newest, as in Kubernetes."""
    for annotation in (DEFAULT_VIRT_CLASS, DEFAULT_CLASS) if virtual else (DEFAULT_CLASS,):
        marked = [item for item in classes if (item["metadata"].get("annotations") or {}).get(annotation) == "true"]
        if marked:
            return max(
                marked, key=lambda item: (item["metadata"].get("creationTimestamp", ""), item["metadata"]["name"])
            )
    return None
