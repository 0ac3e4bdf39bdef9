"""Import crons: the first import at once, its data source, and a snapshot where the storage wants that form.

The schedule is not played: a lab's day is too short for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from virtlab.controllers.cdi.names import (
    BIND_IMMEDIATE,
    CLASSES,
    DATA_SOURCES,
    DATA_VOLUMES,
    IMPORT_CRONS,
    PROFILES,
    PVCS,
    SNAPSHOTS,
)
from virtlab.controllers.conditions import condition, merged
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.controllers.storage import default_class
from virtlab.resource import Object
from virtlab.store import Event

CRON_LABEL = "cdi.kubevirt.io/dataImportCron"


def digest(url: str) -> str:
    """What the played registry has under C(url)."""
    return f"sha256:{sha256(url.encode()).hexdigest()}"


class ImportCronController(Controller):
    manager_name = "cdi-controller"
    watches = (IMPORT_CRONS, DATA_VOLUMES, SNAPSHOTS, DATA_SOURCES, PROFILES)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "dataimportcrons":
            return super().keys(event)
        if event.key[1] == "storageprofiles":
            return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.list(IMPORT_CRONS)]
        name = (metadata.get("labels") or {}).get(CRON_LABEL)
        return ((metadata["namespace"], name),) if name else ()

    def reconcile(self, key: Key) -> float | None:
        cron = self.find(IMPORT_CRONS, *key)
        if cron is None or being_deleted(cron):
            return None
        spec, namespace = cron["spec"], key[0]
        source = spec["template"]["spec"].get("source") or {}
        url = (source.get("registry") or {}).get("url", "")
        wanted = digest(url)
        name = f"{spec['managedDataSource']}-{wanted.partition(':')[2][:12]}"
        virtual_class = self._class(spec["template"])
        profile = self.find(PROFILES, None, virtual_class) if virtual_class else None
        if profile is None:
            self._status(cron, wanted, name, None)
            return None
        snapshots = ((profile.get("status") or {}).get("dataImportCronSourceFormat")) == "snapshot"
        data_volume = self.find(DATA_VOLUMES, namespace, name)
        snapshot = self.find(SNAPSHOTS, namespace, name) if snapshots else None
        imported = ((data_volume or {}).get("status") or {}).get("phase") == "Succeeded"
        ready = bool((snapshot or {}).get("status", {}).get("readyToUse"))
        if data_volume is None and not ready and self.find(PVCS, namespace, name) is None:
            data_volume = self.create(DATA_VOLUMES, self._data_volume(cron, name, wanted))
        if snapshots and imported and snapshot is None:
            snapshot = self.create(SNAPSHOTS, self._snapshot(cron, name, profile))
        if snapshots and ready and data_volume is not None and not being_deleted(data_volume):
            self.delete(DATA_VOLUMES, namespace, name)
        origin = {"snapshot" if snapshots else "pvc": {"name": name, "namespace": namespace}}
        self._data_source(cron, origin)
        self._status(cron, wanted, name, ready if snapshots else imported)
        return None

    def _class(self, template: Object) -> str | None:
        storage = template["spec"].get("storage") or template["spec"].get("pvc") or {}
        if storage.get("storageClassName"):
            name: str = storage["storageClassName"]
            return name
        chosen = default_class(self.list(CLASSES), virtual=True)
        return chosen["metadata"]["name"] if chosen is not None else None

    def _labels(self, cron: Object) -> dict[str, str]:
        labels = {
            name: value
            for name, value in (cron["metadata"].get("labels") or {}).items()
            if name.startswith("instancetype.kubevirt.io/")
        }
        return {**labels, CRON_LABEL: cron["metadata"]["name"], "app": "containerized-data-importer"}

    def _data_volume(self, cron: Object, name: str, image: str) -> Object:
        return {
            "apiVersion": "cdi.kubevirt.io/v1beta1",
            "kind": "DataVolume",
            "metadata": {
                "name": name,
                "namespace": cron["metadata"]["namespace"],
                "labels": self._labels(cron),
                "annotations": {BIND_IMMEDIATE: "true", "cdi.kubevirt.io/storage.import.sourceImageDigest": image},
                "ownerReferences": [owner_reference(cron)],
            },
            "spec": cron["spec"]["template"]["spec"],
        }

    def _snapshot(self, cron: Object, name: str, profile: Object) -> Object:
        return {
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshot",
            "metadata": {
                "name": name,
                "namespace": cron["metadata"]["namespace"],
                "labels": self._labels(cron),
                "ownerReferences": [owner_reference(cron)],
            },
            "spec": {
                "source": {"persistentVolumeClaimName": name},
                "volumeSnapshotClassName": profile["status"].get("snapshotClass", ""),
            },
        }

    def _data_source(self, cron: Object, origin: Object) -> None:
        namespace, name = cron["metadata"]["namespace"], cron["spec"]["managedDataSource"]
        live = self.find(DATA_SOURCES, namespace, name)
        labels = self._labels(cron)
        if live is None:
            metadata = {"name": name, "namespace": namespace, "labels": labels}
            if cron["spec"].get("retentionPolicy", "All") == "None":
                metadata["ownerReferences"] = [owner_reference(cron)]
            manifest = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": metadata}
            self.create(DATA_SOURCES, {**manifest, "spec": {"source": origin}})
        elif live["spec"].get("source") != origin:
            metadata = {**live["metadata"], "labels": {**(live["metadata"].get("labels") or {}), **labels}}
            self.update(DATA_SOURCES, {**live, "metadata": metadata, "spec": {**live["spec"], "source": origin}})

    def _status(self, cron: Object, image: str, name: str, done: bool | None) -> None:
        status = dict(cron.get("status") or {})
        stamp = self.cluster.clock.stamp()
        if done is None:
            current = condition("UpToDate", False, "NoDigest", "No source digest")
            running = condition("Progressing", False, "NotScheduled", "Import is not scheduled")
        elif done:
            current = condition("UpToDate", True, "UpToDate", "Latest import is up to date")
            running = condition("Progressing", False, "NoImport", "No current import")
        else:
            current = condition("UpToDate", False, "ImportProgressing", "Import is progressing")
            running = condition("Progressing", True, "ImportProgressing", "Import is progressing")
        before = [
            {k: v for k, v in item.items() if k != "lastHeartbeatTime"} for item in status.get("conditions") or ()
        ]
        after = merged(before, [running, current], stamp)
        if after == before:
            return
        status["conditions"] = [{**item, "lastHeartbeatTime": stamp} for item in after]
        if done is not None:
            status["currentImports"] = [] if done else [{"DataVolumeName": name, "Digest": image}]
            if done:
                status["lastImportedPVC"] = {"name": name, "namespace": cron["metadata"]["namespace"]}
                status["lastImportTimestamp"] = stamp
                status["sourceFormat"] = (
                    "snapshot" if self.find(SNAPSHOTS, cron["metadata"]["namespace"], name) else "pvc"
                )
            status["lastExecutionTimestamp"] = stamp
        self.write_status(IMPORT_CRONS, cron, status)
