"""VirtualMachineSnapshots: content, volume snapshots, and the conditions in virt-controller's words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from virtlab.admission.hyperconverged import seconds
from virtlab.clock import parse_stamp
from virtlab.controllers.conditions import Condition, condition, merged
from virtlab.controllers.kubevirt.freezing import MESSAGES, Freezer, indications
from virtlab.controllers.kubevirt.names import PVCS, VMIS, VMS
from virtlab.controllers.kubevirt.volume_snapshots import snapshot_class
from virtlab.controllers.kubevirt.volumes import claim_name, phase, template_volumes
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.storage.problems import DataProblem
from virtlab.store import Event

SNAPSHOTS = "virtualmachinesnapshots.snapshot.kubevirt.io"
CONTENTS = "virtualmachinesnapshotcontents.snapshot.kubevirt.io"
VOLUME_SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"
FINALIZER = "snapshot.kubevirt.io/vmsnapshot-protection"
DEADLINE = 300.0  # real seconds that a snapshot may take which says nothing of it
RETRY = 5.0  # real seconds until a machine that could not be frozen is frozen again
SNAPSHOTTABLE = ("persistentVolumeClaim", "dataVolume", "memoryDump")
CONTENT_FINALIZER = "snapshot.kubevirt.io/vmsnapshotcontent-protection"


def pair(progress: str, ready: str, done: bool) -> list[Condition]:
    """The Progressing and Ready conditions; nothing of it is ever progressing for long."""
    return [
        condition("Progressing", False, progress, lastProbeTime=None),
        condition("Ready", done, ready, lastProbeTime=None),
    ]


def source_name(snapshot: Object) -> str:
    name: str = snapshot["spec"]["source"]["name"]
    return name


class SnapshotController(Controller):
    manager_name = "virt-controller"
    watches = (SNAPSHOTS, VOLUME_SNAPSHOTS, VMS, PVCS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._freezer = Freezer(self)
        self._by_machine = manager.index(
            SNAPSHOTS,
            lambda item: [] if phase(item) == "Succeeded" else [f"{item['metadata']['namespace']}/{source_name(item)}"],
        )

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "virtualmachinesnapshots":
            return super().keys(event)
        if event.key[1] == "virtualmachines":
            return self._by_machine.keys(f"{metadata['namespace']}/{metadata['name']}")
        if event.key[1] == "persistentvolumeclaims" and event.type != "ADDED":
            return ()
        return [
            (item["metadata"]["namespace"], item["metadata"]["name"])
            for item in self.list(SNAPSHOTS, metadata.get("namespace"))
            if phase(item) not in ("Succeeded", "Failed")
        ]

    def reconcile(self, key: Key) -> float | None:
        snapshot = self.find(SNAPSHOTS, *key)
        if snapshot is None:
            return None
        if being_deleted(snapshot):
            self._remove(snapshot)
            return None
        if phase(snapshot) in ("Succeeded", "Failed"):
            return None
        left = self._time_left(snapshot)
        if left < 0:
            self._give_up(snapshot)
            return None
        again = self._advance(key, snapshot)
        done = phase(self.find(SNAPSHOTS, *key)) in ("Succeeded", "Failed")
        if done:
            return None
        return min(left, again or left) + 0.01 if again or left < math.inf else None

    def _time_left(self, snapshot: Object) -> float:
        """Seconds until its failureDeadline; 0 is none."""
        since = parse_stamp(snapshot["metadata"]["creationTimestamp"])
        allowed = seconds(snapshot["spec"]["failureDeadline"]) if snapshot["spec"].get("failureDeadline") else DEADLINE
        return math.inf if not allowed else allowed - (self.cluster.clock.now() - since).total_seconds()

    def _give_up(self, snapshot: Object) -> None:
        self._freezer.thaw(snapshot)
        self._remove_content(snapshot)
        failed = condition("Failure", True, "snapshot deadline exceeded", lastProbeTime=None)
        self._report(snapshot, "Failed", [*pair("Operation failed", "Not ready", False), failed])

    def _advance(self, key: Key, snapshot: Object) -> float | None:
        finalizers = snapshot["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            metadata = {**snapshot["metadata"], "finalizers": [*finalizers, FINALIZER]}
            snapshot = self.update(SNAPSHOTS, {**snapshot, "metadata": metadata})
        vm = self.find(VMS, key[0], source_name(snapshot))
        if vm is None:
            self._report(snapshot, "InProgress", pair("Source does not exist", "Not ready", False))
            return None
        missing = next((n for n in self._claims(vm) if self.find(PVCS, key[0], n) is None), None)
        if missing is not None:
            text = f"Source not locked source {key[0]}/{vm['metadata']['name']} volume doesnt exist: {missing}"
            self._report(snapshot, "InProgress", pair(text, "Not ready", False), sourceUID=vm["metadata"]["uid"])
            return None
        return self._take(snapshot, vm)

    def _claims(self, vm: Object) -> list[str]:
        return [
            claim_name(volume) for volume in template_volumes(vm) if claim_name(volume) and "ephemeral" not in volume
        ]

    def _take(self, snapshot: Object, vm: Object) -> float | None:
        namespace, uid = snapshot["metadata"]["namespace"], snapshot["metadata"]["uid"]
        vmi = self.find(VMIS, namespace, vm["metadata"]["name"])
        locked = pair("Source locked and operation in progress", "Not ready", False)
        try:
            if not self._freezer.freeze(snapshot, vmi):
                self._report(snapshot, "InProgress", locked, sourceUID=vm["metadata"]["uid"])
                return None
        except DataProblem as problem:
            error = {"message": str(problem), "time": self.cluster.clock.stamp()}
            self._report(snapshot, "InProgress", pair("In error state", "Not ready", False), error=error)
            return RETRY
        included, excluded, backups, ready, problem_text = [], [], [], True, ""
        partial = False
        for volume in template_volumes(vm):
            claim = self.find(PVCS, namespace, claim_name(volume)) if claim_name(volume) else None
            chosen = snapshot_class(self, claim["spec"].get("storageClassName", "")) if claim is not None else None
            if claim is None or chosen is None:
                excluded.append(volume["name"])
                partial = partial or any(kind in volume for kind in SNAPSHOTTABLE)
                continue
            included.append(volume["name"])
            name = f"vmsnapshot-{uid}-volume-{volume['name']}"
            live = self.find(VOLUME_SNAPSHOTS, namespace, name)
            if live is None:
                live = self.create(VOLUME_SNAPSHOTS, self._volume_snapshot(snapshot, name, claim, chosen))
            state = (live or {}).get("status") or {}
            ready = ready and bool(state.get("readyToUse"))
            if state.get("error"):
                problem_text = f"VolumeSnapshot {name} error: {state['error'].get('message', '')}"
            backups.append(
                {
                    "volumeName": volume["name"],
                    "volumeSnapshotName": name,
                    "persistentVolumeClaim": {
                        "metadata": {"name": claim["metadata"]["name"], "namespace": namespace},
                        "spec": {key: value for key, value in claim["spec"].items() if key != "volumeName"},
                    },
                }
            )
        content = f"vmsnapshot-content-{uid}"
        if self.find(CONTENTS, namespace, content) is None:
            self.create(CONTENTS, self._content(snapshot, content, vm, backups))
        extra = {
            "sourceUID": vm["metadata"]["uid"],
            "virtualMachineSnapshotContentName": content,
            "snapshotVolumes": {
                **({"includedVolumes": included} if included else {}),
                **({"excludedVolumes": excluded} if excluded else {}),
            },
        }
        if not ready:
            if problem_text:
                self._freezer.thaw(snapshot)
                locked = pair("In error state", "Not ready", False)
                extra["error"] = {"message": problem_text, "time": self.cluster.clock.stamp()}
            self._report(snapshot, "InProgress", locked, **extra)
            return None
        self._freezer.thaw(snapshot)
        live = self.find(CONTENTS, namespace, content)
        if live is not None:
            self.write_status(CONTENTS, live, {"creationTime": self.cluster.clock.stamp(), "readyToUse": True})
        before = ((snapshot.get("status") or {}).get("error") or {}).get("message", "")
        said = indications(vmi, before, partial=partial)
        if said:
            extra["indications"] = said
            extra["sourceIndications"] = [{"indication": item, "message": MESSAGES[item]} for item in said]
        extra.update(creationTime=self.cluster.clock.stamp(), readyToUse=True, error=None)
        self._report(snapshot, "Succeeded", pair("Operation complete", "Ready", True), **extra)
        return None

    def _volume_snapshot(self, snapshot: Object, name: str, claim: Object, chosen: str) -> Object:
        return {
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshot",
            "metadata": {
                "name": name,
                "namespace": snapshot["metadata"]["namespace"],
                "ownerReferences": [owner_reference(snapshot)],
            },
            "spec": {
                "source": {"persistentVolumeClaimName": claim["metadata"]["name"]},
                "volumeSnapshotClassName": chosen,
            },
        }

    def _content(self, snapshot: Object, name: str, vm: Object, backups: list[Object]) -> Object:
        kept = ("name", "namespace", "labels", "annotations", "uid", "generation", "creationTimestamp")
        metadata = {key: vm["metadata"][key] for key in kept if key in vm["metadata"]}
        return {
            "apiVersion": "snapshot.kubevirt.io/v1beta1",
            "kind": "VirtualMachineSnapshotContent",
            "metadata": {
                "name": name,
                "namespace": snapshot["metadata"]["namespace"],
                "finalizers": [CONTENT_FINALIZER],
            },
            "spec": {
                "source": {"virtualMachine": {"metadata": metadata, "spec": vm["spec"], "status": {}}},
                "virtualMachineSnapshotName": snapshot["metadata"]["name"],
                **({"volumeBackups": backups} if backups else {}),
            },
        }

    def _report(self, snapshot: Object, wanted: str, conditions: list[Condition], **extra: object) -> None:
        status = {"readyToUse": False, **(snapshot.get("status") or {}), **extra, "phase": wanted}
        if not status.get("error"):
            status.pop("error", None)
        before = list((snapshot.get("status") or {}).get("conditions") or ())
        status["conditions"] = merged(before, conditions, self.cluster.clock.stamp())
        self.write_status(SNAPSHOTS, snapshot, status)

    def _remove(self, snapshot: Object) -> None:
        self._freezer.thaw(snapshot)
        if (snapshot["spec"].get("deletionPolicy") or "Delete") == "Delete":
            self._remove_content(snapshot)
        if FINALIZER in (snapshot["metadata"].get("finalizers") or ()):
            self.drop_finalizer(SNAPSHOTS, snapshot, FINALIZER)

    def _remove_content(self, snapshot: Object) -> None:
        namespace = snapshot["metadata"]["namespace"]
        content = self.find(CONTENTS, namespace, f"vmsnapshot-content-{snapshot['metadata']['uid']}")
        if content is not None:
            self.delete(CONTENTS, namespace, content["metadata"]["name"])
            live = self.find(CONTENTS, namespace, content["metadata"]["name"])
            if live is not None:
                self.drop_finalizer(CONTENTS, live, CONTENT_FINALIZER)
