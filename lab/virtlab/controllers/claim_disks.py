"""The files behind claims: made or copied before a claim is bound, grown with it, gone with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtlab.datapath.jobs import Job
from virtlab.datapath.volumes import PREALLOCATION, Volumes, disk_size
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.storage.problems import DataProblem

if TYPE_CHECKING:
    from pathlib import Path

    from virtlab.controllers.claim_users import ClaimUsers
    from virtlab.controllers.runtime import Controller

PVCS = "persistentvolumeclaims"
SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"


class Unprovided(Exception):
    """Why a claim has no disk; the text is for its event."""


class ClaimDisks:
    """Does for the claim controller what a CSI driver does; nothing where volumes are played."""

    def __init__(self, controller: Controller, users: ClaimUsers) -> None:
        self._controller, self._users = controller, users

    @property
    def volumes(self) -> Volumes | None:
        return self._controller.cluster.volumes

    def provide(self, claim: Object) -> bool:
        """Whether the claim's disk is there; one that is copied comes later. Raises Unprovided."""
        volumes = self.volumes
        if volumes is None:
            return True
        path, size = volumes.disk(claim), disk_size(self._controller.cluster, claim)
        origin = None if path.exists() else self._origin(volumes, claim)
        if origin is None:
            try:
                preallocate = (claim["metadata"].get("annotations") or {}).get(PREALLOCATION) == "true"
                volumes.disks.ensure(path, size, preallocate=preallocate)
            except (OSError, DataProblem) as error:
                raise Unprovided(str(error)) from error
            return True
        metadata = claim["metadata"]

        def work(job: Job) -> None:
            volumes.disks.copy(origin, path, size=size, progress=lambda done: job.report(0.0))

        key = f"claim/{metadata['uid']}"
        found = (metadata["namespace"], metadata["name"])
        manager = self._controller.manager
        job = volumes.jobs.begin(key, work, lambda: manager.enqueue(self._controller, found))
        if not job.over:
            return False
        volumes.jobs.drop(key)
        if job.problem is not None:
            raise Unprovided(str(job.problem))
        return True

    def _origin(self, volumes: Volumes, claim: Object) -> Path | None:
        """The file that the claim begins as a copy of."""
        source = claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef") or {}
        namespace = source.get("namespace") or claim["metadata"]["namespace"]
        path = None
        if source.get("kind") == "VolumeSnapshot":
            snapshot = self._controller.find(SNAPSHOTS, namespace, source["name"])
            handle = ((snapshot or {}).get("status") or {}).get("boundVolumeSnapshotContentName")
            path = volumes.disks.snapshot(handle) if handle else None
        elif source.get("kind") == "PersistentVolumeClaim":
            other = self._controller.find(PVCS, namespace, source["name"])
            path = volumes.disk(other) if other is not None else None
        return path if path is not None and path.exists() else None

    def grow(self, claim: Object, want: str) -> None:
        """The claim's volume is to have the size C(want); guests that run with it are told."""
        volumes = self.volumes
        if volumes is None:
            return
        path, size = volumes.disk(claim), disk_size(self._controller.cluster, claim, int(parse(want)))
        volumes.disks.ensure(path, size)
        metadata, quiescer = claim["metadata"], volumes.quiescer
        guests = self._users.guests(metadata["namespace"], metadata["name"])
        if not guests:
            return
        key = f"grow/{metadata['uid']}"

        def work(job: Job) -> None:
            for guest in guests:
                quiescer.grown(*guest, path, size)

        def told() -> None:
            job = volumes.jobs.find(key)
            volumes.jobs.drop(key)
            if job is not None and job.problem is not None:
                text = str(job.problem)
                self._controller.event(claim, "FileSystemResizeFailed", text, warning=True, component="kubelet")

        if volumes.jobs.begin(key, work, told).over:
            told()

    def release(self, claim: Object, retained: str = "") -> None:
        """The claim is gone, and its disk with it, unless a volume of that name retains it."""
        if self.volumes is None:
            return
        self.volumes.jobs.drop(f"claim/{claim['metadata']['uid']}")
        path = self.volumes.disk(claim)
        if retained:
            self.volumes.disks.move(path, self.volumes.disks.released(retained))
        self.volumes.disks.remove(path)

    def take(self, claim: Object, volume: str) -> None:
        """The claim is bound to a volume that another claim left."""
        if self.volumes is not None:
            self.volumes.disks.move(self.volumes.disks.released(volume), self.volumes.disk(claim))
            self.provide(claim)

    def forget(self, volume: str) -> None:
        """A volume that was retained is deleted, by hand."""
        if self.volumes is not None:
            self.volumes.disks.released(volume).unlink(missing_ok=True)
