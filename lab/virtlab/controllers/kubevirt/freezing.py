"""Machines that are kept still while their volumes are cut, and what a snapshot of one says of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtlab.controllers.conditions import is_true
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.datapath.jobs import Job
from virtlab.resource import Object
from virtlab.storage.problems import DataProblem

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller

MESSAGES = {
    "Online": "Snapshot taken while the VM was running. Consistency depends on guest-agent quiescing.",
    "GuestAgent": ("Guest agent was active and attempted to quiesce the filesystem for application consistency."),
    "NoGuestAgent": (
        "Guest agent was not available. Snapshot is crash-consistent and may not be application-consistent."
    ),
    "QuiesceTimeout": (
        "Guest agent quiesced the filesystem, but the freeze window timed out before completion. "
        "Snapshot is crash-consistent and may not be application-consistent."
    ),
    "PartialSnapshot": (
        "Not all snapshotable volumes were included in the snapshot. "
        "Check status.snapshotVolumes for excluded volumes and VM VolumeSnapshotStatus for details."
    ),
    "Paused": (
        "Snapshot taken while the VM was paused. Snapshot is crash-consistent and may not be application-consistent."
    ),
}


VSS_LIMIT = "fsfreeze is limited"  # what the agent of a Windows says that cannot stand still any longer


def indications(vmi: Object | None, error: str = "", *, partial: bool = False) -> list[str]:
    """Of a snapshot of a machine with that instance, sorted as KubeVirt does; none when it does not run.

    C(error) is what went wrong before; C(partial): volumes that could be in it are not.
    """
    found = []
    if vmi is not None and phase(vmi) == "Running":
        if is_true(vmi, "Paused"):
            found = ["Online", "Paused"]
        elif is_true(vmi, "AgentConnected"):
            found = ["GuestAgent", "Online", *(["QuiesceTimeout"] if VSS_LIMIT in error else [])]
        else:
            found = ["NoGuestAgent", "Online"]
    return [*found, *(["PartialSnapshot"] if partial else [])]


class Freezer:
    """Freezes and thaws for snapshots, by the snapshot's uid; at once where volumes are played."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._frozen: dict[str, tuple[str, str]] = {}

    def freeze(self, snapshot: Object, vmi: Object | None) -> bool:
        """Whether the machine is still by now. Raises DataProblem where it cannot be kept still."""
        volumes = self._controller.cluster.volumes
        uid = snapshot["metadata"]["uid"]
        if volumes is None or uid in self._frozen or vmi is None or phase(vmi) != "Running":
            return True
        machine = (vmi["metadata"]["namespace"], vmi["metadata"]["name"])
        key = f"freeze/{uid}"

        def work(job: Job) -> None:
            volumes.hold(*machine)

        job = volumes.jobs.begin(key, work, lambda: self._again(snapshot))
        if not job.over:
            return False
        volumes.jobs.drop(key)
        if job.problem is not None:
            raise DataProblem(str(job.problem))
        self._frozen[uid] = machine
        return True

    def thaw(self, snapshot: Object) -> None:
        """Let the machine go on; it does so a little later."""
        volumes = self._controller.cluster.volumes
        machine = self._frozen.pop(snapshot["metadata"]["uid"], None)
        if volumes is None or machine is None:
            return
        key, jobs = f"thaw/{snapshot['metadata']['uid']}", volumes.jobs

        def work(job: Job) -> None:
            volumes.let_go(*machine)

        if jobs.begin(key, work, lambda: jobs.drop(key)).over:
            jobs.drop(key)

    def _again(self, snapshot: Object) -> None:
        metadata = snapshot["metadata"]
        self._controller.manager.enqueue(self._controller, (metadata["namespace"], metadata["name"]))
