"""Data sources: whether what they point at is there and filled."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.cdi.names import DATA_SOURCES, DATA_VOLUMES, PVCS, SNAPSHOTS
from virtlab.controllers.conditions import Condition, condition, merged
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event


def targets(data_source: Object) -> list[str]:
    source = (data_source.get("spec") or {}).get("source") or {}
    namespace = data_source["metadata"].get("namespace")
    found = [source.get("pvc"), source.get("snapshot"), source.get("dataSource")]
    return [f"{item.get('namespace') or namespace}/{item['name']}" for item in found if item]


class DataSourceController(Controller):
    manager_name = "cdi-controller"
    watches = (DATA_SOURCES, DATA_VOLUMES, PVCS, SNAPSHOTS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._by_target = manager.index(DATA_SOURCES, targets)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        users = self._by_target.keys(f"{metadata.get('namespace')}/{metadata['name']}")
        return [*users, *super().keys(event)] if event.key[1] == "datasources" else users

    def reconcile(self, key: Key) -> float | None:
        data_source = self.find(DATA_SOURCES, *key)
        if data_source is None or being_deleted(data_source):
            return None
        source = (data_source.get("spec") or {}).get("source") or {}
        source = {name: value for name, value in source.items() if value is not None}
        status = dict(data_source.get("status") or {})
        ready = self._ready(key[0], source)
        wanted = [
            ready,
            condition("Running", ready["status"] == "True", ready.get("reason", ""), ready.get("message", "")),
        ]
        before = [
            {k: v for k, v in item.items() if k != "lastHeartbeatTime"} for item in status.get("conditions") or ()
        ]
        after = merged(before, wanted, self.cluster.clock.stamp())
        if after != before or status.get("source") != source:
            stamp = self.cluster.clock.stamp()
            status["conditions"] = [{**item, "lastHeartbeatTime": stamp} for item in after]
            status["source"] = source
            self.write_status(DATA_SOURCES, data_source, status)
        return None

    def _ready(self, namespace: str, source: Object) -> Condition:
        if source.get("snapshot"):
            origin = source["snapshot"]
            snapshot = self.find(SNAPSHOTS, origin.get("namespace") or namespace, origin["name"])
            if snapshot is None:
                return condition("Ready", False, "NotFound", "Snapshot not found")
            if (snapshot.get("status") or {}).get("readyToUse"):
                return condition("Ready", True, "Ready", "DataSource is ready to be consumed")
            return condition("Ready", False, "SnapshotNotReady", "Snapshot phase is not ready")
        if source.get("pvc"):
            origin = source["pvc"]
            place = origin.get("namespace") or namespace
            data_volume = self.find(DATA_VOLUMES, place, origin["name"])
            claim = self.find(PVCS, place, origin["name"])
            if claim is None:
                return condition("Ready", False, "NotFound", "PVC not found")
            phase = ((data_volume or {}).get("status") or {}).get("phase", "Succeeded")
            if phase == "Succeeded":
                return condition("Ready", True, "Ready", "DataSource is ready to be consumed")
            return condition("Ready", False, phase, f"Import DataVolume phase {phase}")
        if source.get("dataSource"):
            origin = source["dataSource"]
            found = self.find(DATA_SOURCES, origin.get("namespace") or namespace, origin["name"])
            if found is None:
                return condition("Ready", False, "NotFound", "DataSource not found")
            return condition("Ready", True, "Ready", "DataSource is ready to be consumed")
        return condition("Ready", False, "NoSource", "No source PVC set")
