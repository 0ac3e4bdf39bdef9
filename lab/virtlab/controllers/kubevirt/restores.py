"""VirtualMachineRestores: the target's spec and volumes as the snapshot has them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import orjson

from virtlab.clock import parse_stamp
from virtlab.controllers.conditions import Condition, merged
from virtlab.controllers.kubevirt.names import PVCS, VMIS, VMS
from virtlab.controllers.kubevirt.snapshots import CONTENTS, SNAPSHOTS, pair
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.patches import apply_json_patch, copied
from virtlab.resource import Object
from virtlab.store import Event

RESTORES = "virtualmachinerestores.snapshot.kubevirt.io"
GRACE = 300.0  # seconds of the played cluster that a running target may take to stop
WAITING = (
    "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore, "
    "or the operation will fail after 5m0s"
)


class RestoreController(Controller):
    manager_name = "virt-controller"
    watches = (RESTORES, SNAPSHOTS, VMIS, PVCS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "virtualmachinerestores":
            return super().keys(event)
        if event.key[1] == "persistentvolumeclaims" and not event.object["metadata"]["name"].startswith("restore-"):
            return ()
        return [
            (item["metadata"]["namespace"], item["metadata"]["name"])
            for item in self.list(RESTORES, event.object["metadata"].get("namespace"))
            if not (item.get("status") or {}).get("complete")
        ]

    def reconcile(self, key: Key) -> float | None:
        restore = self.find(RESTORES, *key)
        if restore is None or being_deleted(restore) or (restore.get("status") or {}).get("complete"):
            return None
        namespace, spec = key[0], restore["spec"]
        snapshot = self.find(SNAPSHOTS, namespace, spec["virtualMachineSnapshotName"])
        if snapshot is None or not (snapshot.get("status") or {}).get("readyToUse"):
            why = "not ready" if snapshot is not None else "does not exist"
            text = f"VMSnapshot {namespace}/{spec['virtualMachineSnapshotName']} {why}"
            self._report(restore, pair(text, text, False))
            return None
        target = self.find(VMS, namespace, spec["target"]["name"])
        if target is not None and self.find(VMIS, namespace, spec["target"]["name"]) is not None:
            return self._wait(restore)
        content = self.find(CONTENTS, namespace, snapshot["status"]["virtualMachineSnapshotContentName"])
        if content is None:
            return None
        return self._restore(restore, content, target)

    def _wait(self, restore: Object) -> float | None:
        begun = parse_stamp(restore["metadata"]["creationTimestamp"])
        clock = self.cluster.clock
        left = (begun + timedelta(seconds=clock.scaled(GRACE)) - clock.now()).total_seconds()
        policy = restore["spec"].get("targetReadinessPolicy", "WaitGracePeriod")
        if policy == "FailImmediate" or (left <= 0 and clock.factor > 0 and policy == "WaitGracePeriod"):
            text = "Operation failed: restore target failed to be ready"
            self._report(restore, pair(text, text, False))
            return None
        self._report(restore, pair(WAITING, WAITING, False))
        return left if policy == "WaitGracePeriod" and left > 0 else None

    def _restore(self, restore: Object, content: Object, target: Object | None) -> float | None:
        namespace, uid = restore["metadata"]["namespace"], restore["metadata"]["uid"]
        volumes, bound = [], True
        for backup in content["spec"].get("volumeBackups") or ():
            name = f"restore-{uid}-{backup['volumeName']}"
            claim = self.find(PVCS, namespace, name)
            if claim is None:
                claim = self.create(PVCS, self._claim(name, namespace, backup))
            bound = bound and phase(claim) == "Bound"
            volumes.append(
                {
                    "volumeName": backup["volumeName"],
                    "persistentVolumeClaim": name,
                    "volumeSnapshotName": backup["volumeSnapshotName"],
                }
            )
        if not bound:
            text = "Creating new PVCs"
            self._report(restore, pair(text, text, False), restores=volumes)
            return None
        source = content["spec"]["source"]["virtualMachine"]
        vm = self._write_target(restore, source, volumes, target)
        for volume in volumes:
            claim = self.find(PVCS, namespace, volume["persistentVolumeClaim"])
            if claim is not None and vm is not None and not claim["metadata"].get("ownerReferences"):
                metadata = {**claim["metadata"], "ownerReferences": [owner_reference(vm)]}
                self.update(PVCS, {**claim, "metadata": metadata})
        done = pair("Operation complete", "Operation complete", True)
        extra = {"restores": volumes} if volumes else {}
        self._report(restore, done, complete=True, restoreTime=self.cluster.clock.stamp(), **extra)
        self.event(
            restore,
            "VirtualMachineRestoreComplete",
            f"Successfully completed VirtualMachineRestore {restore['metadata']['name']}",
        )
        return None

    def _claim(self, name: str, namespace: str, backup: Object) -> Object:
        spec = {
            key: value
            for key, value in backup["persistentVolumeClaim"]["spec"].items()
            if key not in ("dataSource", "dataSourceRef", "volumeName")
        }
        source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": backup["volumeSnapshotName"]}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": {"restore.kubevirt.io/name": name, "volume.kubernetes.io/selected-node": "worker-0"},
            },
            "spec": {**spec, "dataSource": source},
        }

    def _write_target(
        self, restore: Object, source: Object, volumes: list[Object], target: Object | None
    ) -> Object | None:
        spec = copied(source["spec"])
        claims = {volume["volumeName"]: volume["persistentVolumeClaim"] for volume in volumes}
        replaced = set()
        kept = spec["template"]["spec"].get("volumes")
        if kept:
            # The dump of another moment is restored as a claim, and is no volume of the machine any more.
            spec["template"]["spec"]["volumes"] = [volume for volume in kept if "memoryDump" not in volume]
        for volume in spec["template"]["spec"].get("volumes") or ():
            if volume["name"] in claims:
                replaced.add((volume.pop("dataVolume", None) or {}).get("name"))
                volume["persistentVolumeClaim"] = {"claimName": claims[volume["name"]]}
        templates = [item for item in spec.get("dataVolumeTemplates") or () if item["metadata"]["name"] not in replaced]
        spec.pop("dataVolumeTemplates", None)
        if templates:
            spec["dataVolumeTemplates"] = templates
        name, namespace = restore["spec"]["target"]["name"], restore["metadata"]["namespace"]
        if target is not None:
            for field in ("runStrategy", "running"):
                spec.pop(field, None)
                if field in target["spec"]:
                    spec[field] = target["spec"][field]
            return self.update(VMS, {**target, "spec": spec})
        spec.pop("running", None)
        spec["runStrategy"] = "Halted"
        if name != source["metadata"]["name"]:
            for field in ("uuid", "serial"):
                (spec["template"]["spec"]["domain"].get("firmware") or {}).pop(field, None)
            for interface in spec["template"]["spec"]["domain"]["devices"].get("interfaces") or ():
                interface.pop("macAddress", None)
        metadata = {key: source["metadata"][key] for key in ("labels", "annotations") if key in source["metadata"]}
        manifest = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {**metadata, "name": name, "namespace": namespace},
            "spec": spec,
        }
        patches = [item for text in restore["spec"].get("patches") or () for item in _patch(text)]
        return self.create(VMS, apply_json_patch(manifest, patches) if patches else manifest)

    def _report(self, restore: Object, conditions: list[Condition], **extra: object) -> None:
        status = {"complete": False, **(restore.get("status") or {}), **extra}
        before = list((restore.get("status") or {}).get("conditions") or ())
        status["conditions"] = merged(before, conditions, self.cluster.clock.stamp())
        self.write_status(RESTORES, restore, status)


def _patch(text: str) -> list[Object]:
    found = orjson.loads(text)
    return found if isinstance(found, list) else [found]
