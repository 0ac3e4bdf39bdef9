"""DefaultStorageClass of kube-apiserver: a claim that names no storage class gets the default one."""

from __future__ import annotations

from virtlab.admission.registry import mutating
from virtlab.controllers.storage import default_class
from virtlab.operation import Operation


@mutating("persistentvolumeclaims", "CREATE")
def fill(operation: Operation) -> None:
    claim = operation.object
    if claim is None or claim["spec"].get("storageClassName") is not None:
        return
    annotations = claim["metadata"].get("annotations") or {}
    if "volume.beta.kubernetes.io/storage-class" in annotations:
        return
    classes = [entry.object for entry in operation.cluster.store.entries(("storage.k8s.io", "storageclasses"), None)]
    chosen = default_class(classes)
    if chosen is not None:
        claim["spec"]["storageClassName"] = chosen["metadata"]["name"]
