"""Storage profiles, one a storage class, and CDI's own configuration object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from virtlab.controllers.cdi.names import CDIS, CLASSES, CONFIGS, PROFILES
from virtlab.controllers.conditions import is_true
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.controllers.storage import CAPABILITIES
from virtlab.resource import Object
from virtlab.store import Event

SNAPSHOT_CLASSES = "volumesnapshotclasses.snapshot.storage.k8s.io"


def profile_status(storage_class: Object, spec: Object, snapshot_classes: list[Object]) -> Object:
    """What CDI derives for a class: its own knowledge of the provisioner, overridden by the profile's spec."""
    provisioner = storage_class["provisioner"]
    modes, clone, form = CAPABILITIES.get(provisioner, ((), "", ""))
    status: dict[str, Any] = {"provisioner": provisioner, "storageClass": storage_class["metadata"]["name"]}
    sets = spec.get("claimPropertySets") or [
        {"accessModes": [access], "volumeMode": volume_mode} for access, volume_mode in modes
    ]
    if sets:
        status["claimPropertySets"] = sets
    strategy = spec.get("cloneStrategy") or clone
    if strategy:
        status["cloneStrategy"] = strategy
    source_format = spec.get("dataImportCronSourceFormat") or form
    if source_format:
        status["dataImportCronSourceFormat"] = source_format
    chosen = spec.get("snapshotClass") or next(
        (item["metadata"]["name"] for item in snapshot_classes if item["driver"] == provisioner), None
    )
    if chosen:
        status["snapshotClass"] = chosen
    return status


class StorageProfileController(Controller):
    manager_name = "cdi-controller"
    watches = (CDIS, CLASSES, PROFILES, SNAPSHOT_CLASSES)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] in ("storageclasses", "storageprofiles"):
            return (("", event.object["metadata"]["name"]),)
        return [("", item["metadata"]["name"]) for item in self.list(CLASSES)]

    def reconcile(self, key: Key) -> float | None:
        owner = next((item for item in self.list(CDIS) if not being_deleted(item) and is_true(item, "Available")), None)
        if owner is None or self.served(PROFILES) is None:
            return None
        storage_class, profile = self.find(CLASSES, None, key[1]), self.find(PROFILES, None, key[1])
        if storage_class is None:
            if profile is not None:
                self.delete(PROFILES, None, key[1])
            return None
        if profile is None:
            profile = self.create(
                PROFILES,
                {
                    "apiVersion": "cdi.kubevirt.io/v1beta1",
                    "kind": "StorageProfile",
                    "metadata": {
                        "name": key[1],
                        "labels": {"app": "containerized-data-importer", "cdi.kubevirt.io": ""},
                        "ownerReferences": [owner_reference(owner)],
                    },
                    "spec": {},
                },
            )
        if profile is None or being_deleted(profile):
            return None
        status = profile_status(storage_class, profile.get("spec") or {}, self.list(SNAPSHOT_CLASSES))
        self.write_status(PROFILES, profile, status)
        return None


class ConfigController(Controller):
    """CDIConfig follows the CDI object's configuration."""

    manager_name = "cdi-operator"
    watches = (CDIS,)

    def reconcile(self, key: Key) -> float | None:
        cdi = self.find(CDIS, None, key[1])
        if cdi is None or being_deleted(cdi) or self.served(CONFIGS) is None:
            return None
        spec = cdi["spec"].get("config") or {}
        live = self.find(CONFIGS, None, "config")
        if live is None:
            live = self.create(
                CONFIGS,
                {
                    "apiVersion": "cdi.kubevirt.io/v1beta1",
                    "kind": "CDIConfig",
                    "metadata": {"name": "config", "ownerReferences": [owner_reference(cdi)]},
                    "spec": spec,
                },
            )
        if live is None:
            return None
        if live.get("spec") != spec:
            live = self.update(CONFIGS, {**live, "spec": spec})
        served = self.cluster.volumes.upload_host if self.cluster.volumes is not None else ""
        overhead = spec.get("filesystemOverhead") or {}
        classes = {item["metadata"]["name"]: overhead.get("global", "0.055") for item in self.list(CLASSES)}
        status = {
            "filesystemOverhead": {
                "global": overhead.get("global", "0.055"),
                "storageClass": {**classes, **(overhead.get("storageClass") or {})},
            },
            "scratchSpaceStorageClass": spec.get("scratchSpaceStorageClass", ""),
            "uploadProxyURL": f"https://{served}" if served else "cdi-uploadproxy-openshift-cnv.apps.lab",
        }
        self.write_status(CONFIGS, live, status)
        return None
