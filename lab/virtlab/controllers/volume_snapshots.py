"""VolumeSnapshots: the CSI snapshotter's content object and readiness."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.claim_users import ClaimUsers
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.datapath.copying import still
from virtlab.datapath.jobs import Job
from virtlab.resource import Object
from virtlab.store import Event

SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"
CONTENTS = "volumesnapshotcontents.snapshot.storage.k8s.io"
CLASSES = "volumesnapshotclasses.snapshot.storage.k8s.io"
TAKE = 2.0  # seconds
RETRY = 10.0  # real seconds until a copy that failed is made again


def source_claim(snapshot: Object) -> str:
    name: str = (snapshot["spec"].get("source") or {}).get("persistentVolumeClaimName") or ""
    return name


class VolumeSnapshotController(Controller):
    """Takes the snapshot once its source claim is bound."""

    manager_name = "snapshot-controller"
    watches = (SNAPSHOTS, "persistentvolumeclaims")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._users = ClaimUsers(self, manager)
        self._of_claim = manager.index(
            SNAPSHOTS, lambda snapshot: [f"{snapshot['metadata']['namespace']}/{source_claim(snapshot)}"]
        )

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "persistentvolumeclaims"):
            metadata = event.object["metadata"]
            return self._of_claim.keys(f"{metadata.get('namespace')}/{metadata['name']}")
        if event.type == "DELETED":
            self._forget(event.object)
            return ()
        return super().keys(event)

    def reconcile(self, key: Key) -> float | None:
        snapshot = self.find(SNAPSHOTS, *key)
        if snapshot is None or being_deleted(snapshot) or (snapshot.get("status") or {}).get("readyToUse"):
            return None
        claim = self.find("persistentvolumeclaims", key[0], source_claim(snapshot))
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            self.write_status(SNAPSHOTS, snapshot, {"readyToUse": False, "error": self._pending(snapshot, claim)})
            return None
        content = f"snapcontent-{snapshot['metadata']['uid']}"
        if self.find(CONTENTS, None, content) is None:
            self.create(CONTENTS, self._content(content, snapshot))
            message = f"Waiting for a snapshot {key[0]}/{key[1]} to be created by the CSI driver."
            self.event(snapshot, "CreatingSnapshot", message)
        status = {"boundVolumeSnapshotContentName": content, "readyToUse": False}
        problem = self._cut(snapshot, claim, content)
        if problem is not None:
            if problem:
                status["error"] = self._error(snapshot, f"Failed to check and update snapshot content: {problem}")
            self.write_status(SNAPSHOTS, snapshot, status)
            return RETRY if problem else None
        wait = self.remaining(snapshot["metadata"]["uid"], "take", TAKE)
        if wait:
            self.write_status(SNAPSHOTS, snapshot, status)
            return wait
        size = claim["status"]["capacity"]["storage"]
        status.update(readyToUse=True, creationTime=self.cluster.clock.stamp(), restoreSize=size)
        self.write_status(SNAPSHOTS, snapshot, status)
        self.event(snapshot, "SnapshotReady", f"Snapshot {key[0]}/{key[1]} is ready to use.")
        return None

    def _pending(self, snapshot: Object, claim: Object | None) -> Object:
        name = source_claim(snapshot)
        text = (
            f"Failed to create snapshot content with error snapshot controller failed to update {name} on API server: "
            f"cannot get claim from snapshot"
            if claim is None
            else f"Failed to create snapshot content with error: the PVC {name} is not yet bound to a PV"
        )
        return self._error(snapshot, text)

    def _error(self, snapshot: Object, text: str) -> Object:
        old = ((snapshot.get("status") or {}).get("error")) or {}
        return old if old.get("message") == text else {"message": text, "time": self.cluster.clock.stamp()}

    def _cut(self, snapshot: Object, claim: Object, content: str) -> str | None:
        """Copy the claim's disk: None once that is done, why it failed, or nothing while it goes on."""
        volumes = self.cluster.volumes
        if volumes is None:
            return None
        source, target = volumes.disk(claim), volumes.disks.snapshot(content)
        if target.exists() or not source.exists():
            return None
        metadata = snapshot["metadata"]
        key, size = f"snapshot/{metadata['uid']}", max(1, source.stat().st_size)
        guests = self._users.guests(metadata["namespace"], claim["metadata"]["name"])

        def work(job: Job) -> None:
            with still(volumes, guests):
                volumes.disks.copy(source, target, progress=lambda done: job.report(done / size))

        found = (metadata["namespace"], metadata["name"])
        job = volumes.jobs.begin(key, work, lambda: self.manager.enqueue(self, found))
        if not job.over:
            return ""
        volumes.jobs.drop(key)
        return str(job.problem) if job.problem is not None else None

    def _forget(self, snapshot: Object) -> None:
        """The snapshot is gone, and with it what was copied, unless its class retains that."""
        name: str = (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName") or ""
        content = self.find(CONTENTS, None, name) if name else None
        volumes = self.cluster.volumes
        if volumes is not None:
            volumes.jobs.drop(f"snapshot/{snapshot['metadata']['uid']}")
        if content is None or content["spec"].get("deletionPolicy", "Delete") != "Delete":
            return
        self.delete(CONTENTS, None, name)
        if volumes is not None:
            volumes.disks.remove(volumes.disks.snapshot(name))

    def _content(self, name: str, snapshot: Object) -> Object:
        metadata = snapshot["metadata"]
        classes = self.list(CLASSES)
        wanted = snapshot["spec"].get("volumeSnapshotClassName") or (classes[0]["metadata"]["name"] if classes else "")
        chosen = next((item for item in classes if item["metadata"]["name"] == wanted), None)
        return {
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshotContent",
            "metadata": {"name": name},
            "spec": {
                "deletionPolicy": (chosen or {}).get("deletionPolicy", "Delete"),
                "driver": (chosen or {}).get("driver", "unknown"),
                "source": {"volumeHandle": f"lab-{metadata['uid']}"},
                "volumeSnapshotClassName": wanted,
                "volumeSnapshotRef": {
                    "apiVersion": "snapshot.storage.k8s.io/v1",
                    "kind": "VolumeSnapshot",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                },
            },
        }
