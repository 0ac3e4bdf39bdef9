"""VirtualMachineClones: a snapshot of the source, restored to a new machine."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import merged
from virtlab.controllers.kubevirt.names import VMS
from virtlab.controllers.kubevirt.restores import RESTORES
from virtlab.controllers.kubevirt.snapshots import SNAPSHOTS, pair
from virtlab.controllers.kubevirt.volume_snapshots import snapshot_statuses
from virtlab.controllers.kubevirt.volumes import claim_name, phase, template_volumes
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

CLONES = "virtualmachineclones.clone.kubevirt.io"


class CloneController(Controller):
    manager_name = "virt-controller"
    watches = (CLONES, SNAPSHOTS, RESTORES, VMS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "virtualmachineclones":
            return super().keys(event)
        return [
            (item["metadata"]["namespace"], item["metadata"]["name"])
            for item in self.list(CLONES, event.object["metadata"].get("namespace"))
            if phase(item) != "Failed"
        ]

    def reconcile(self, key: Key) -> float | None:
        clone = self.find(CLONES, *key)
        if clone is None or being_deleted(clone) or phase(clone) == "Failed":
            return None
        if phase(clone) == "Succeeded":
            # The record of a machine that is gone would say that there is one.
            if self.find(VMS, key[0], clone["status"].get("targetName", "")) is None:
                self.delete(CLONES, *key)
            return None
        namespace, uid, source = key[0], clone["metadata"]["uid"], clone["spec"]["source"]
        target = (clone["spec"].get("target") or {}).get("name") or f"clone-{source['name']}-{uid[:5]}"
        snapshot_name = source["name"]
        if source["kind"] == "VirtualMachine":
            vm = self.find(VMS, namespace, source["name"])
            if vm is None:
                text = f"Source doesnt exist: VirtualMachine {namespace}/{source['name']}"
                self._report(clone, "", "Pending", text)
                return None
            bad = self._unsnapshottable(vm)
            if bad is not None:
                self._report(clone, "", "Pending", f"Virtual Machine volume {bad} does not support snapshots")
                return None
            snapshot_name = f"tmp-snapshot-{uid}"
            if self.find(SNAPSHOTS, namespace, snapshot_name) is None and phase(clone) in ("", "SnapshotInProgress"):
                self.create(SNAPSHOTS, self._snapshot(clone, snapshot_name))
        snapshot = self.find(SNAPSHOTS, namespace, snapshot_name)
        if snapshot is None or not (snapshot.get("status") or {}).get("readyToUse"):
            self._report(
                clone, "SnapshotInProgress", "Still in progress", "Still in progress", snapshotName=snapshot_name
            )
            return None
        restore_name = f"tmp-restore-{uid}"
        restore = self.find(RESTORES, namespace, restore_name)
        if restore is None:
            restore = self.create(RESTORES, self._restore(clone, restore_name, snapshot_name, target))
        if restore is None or not (restore.get("status") or {}).get("complete"):
            names = {"snapshotName": snapshot_name, "restoreName": restore_name}
            self._report(clone, "RestoreInProgress", "Still in progress", "Still in progress", **names)
            return None
        self._report(clone, "Succeeded", "Ready", "Ready", targetName=target, done=True)
        self.delete(RESTORES, namespace, restore_name)
        if source["kind"] == "VirtualMachine":
            self.delete(SNAPSHOTS, namespace, snapshot_name)
        return None

    def _unsnapshottable(self, vm: Object) -> str | None:
        volumes = template_volumes(vm)
        claimed = {volume["name"] for volume in volumes if claim_name(volume)}
        for status in snapshot_statuses(self, vm["metadata"]["namespace"], volumes):
            if status["name"] in claimed and not status["enabled"]:
                name: str = status["name"]
                return name
        return None

    def _snapshot(self, clone: Object, name: str) -> Object:
        return {
            "apiVersion": "snapshot.kubevirt.io/v1beta1",
            "kind": "VirtualMachineSnapshot",
            "metadata": {
                "name": name,
                "namespace": clone["metadata"]["namespace"],
                "ownerReferences": [owner_reference(clone)],
            },
            "spec": {
                "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": clone["spec"]["source"]["name"]}
            },
        }

    def _restore(self, clone: Object, name: str, snapshot: str, target: str) -> Object:
        return {
            "apiVersion": "snapshot.kubevirt.io/v1beta1",
            "kind": "VirtualMachineRestore",
            "metadata": {
                "name": name,
                "namespace": clone["metadata"]["namespace"],
                "ownerReferences": [owner_reference(clone)],
            },
            "spec": {
                "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": target},
                "virtualMachineSnapshotName": snapshot,
                **({"patches": clone["spec"]["patches"]} if clone["spec"].get("patches") else {}),
            },
        }

    def _report(
        self, clone: Object, wanted: str, progress: str, ready: str, *, done: bool = False, **extra: str
    ) -> None:
        status = {**(clone.get("status") or {}), **extra}
        if done:
            status = {key: value for key, value in status.items() if key not in ("snapshotName", "restoreName")}
            status["creationTime"] = self.cluster.clock.stamp()
        if wanted:
            status["phase"] = wanted
        before = list((clone.get("status") or {}).get("conditions") or ())
        status["conditions"] = merged(before, pair(progress, ready, done), self.cluster.clock.stamp())
        self.write_status(CLONES, clone, status)
