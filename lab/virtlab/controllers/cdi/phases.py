"""The phases of a data volume, its conditions and the events that go with them. Pure functions, CDI's wording."""

from __future__ import annotations

from dataclasses import dataclass

from virtlab.controllers.conditions import Condition, condition
from virtlab.resource import Object

SCRATCHLESS = "Pod is running"
TOO_SMALL = "DataVolume too small to contain image"
PULL_FAILED = "failed to pull image"
COMPLETE = {"pvc": "Clone Complete", "snapshot": "Clone Complete", "upload": "Upload Complete"}


@dataclass(frozen=True)
class Flow:
    """How volumes of one kind of source are filled: the phases before Succeeded with their seconds, and the words."""

    phases: tuple[tuple[str, float], ...]
    scheduled: str
    running: str
    done: str


IMPORT = Flow(
    (("ImportScheduled", 2.0), ("ImportInProgress", 8.0)),
    "Import into {name} scheduled",
    "Import into {name} in progress",
    "Successfully imported into PVC {name}",
)
CLONE_WORDS = (
    "Cloning from {source} into {target} scheduled",
    "Cloning from {source} into {target} in progress",
    "Successfully cloned from {source} into {target}",
)
FLOWS: dict[str, Flow] = {
    "import": IMPORT,
    "csi-clone": Flow((("CloneScheduled", 1.0), ("CSICloneInProgress", 2.0)), *CLONE_WORDS),
    "snapshot": Flow((("CloneScheduled", 1.0), ("CloneFromSnapshotSourceInProgress", 2.0)), *CLONE_WORDS),
    "copy": Flow((("CloneScheduled", 2.0), ("CloneInProgress", 10.0)), *CLONE_WORDS),
    "upload": Flow(
        (("UploadScheduled", 2.0),),
        "Upload into {name} scheduled",
        "Upload into {name} ready",
        "Successfully uploaded into {name}",
    ),
}
PENDING = ("Pending", "PendingPopulation", "WaitForFirstConsumer", "")


def flow_of(source_kind: str, clone_type: str) -> str:
    if source_kind in ("pvc", "snapshot"):
        return clone_type
    return "upload" if source_kind == "upload" else "import"


def bound_condition(claim: Object | None, why: tuple[str, str] | None) -> Condition:
    """C(why): reason and message when there is no claim."""
    if claim is None:
        reason, message = why or ("NotFound", "No PVC found")
        return condition("Bound", False, reason, message)
    name = claim["metadata"]["name"]
    if (claim.get("status") or {}).get("phase") == "Bound":
        return condition("Bound", True, "Bound", f"PVC {name} Bound")
    return condition("Bound", False, "Pending", f"PVC {name} Pending")


def running_condition(phase: str, error: str | None, kind: str = "") -> Condition:
    """C(error): why the transfer stopped. C(kind): of the source."""
    if error is not None:
        return condition("Running", False, "ImagePullFailed" if PULL_FAILED in error else "Error", error)
    if phase == "Succeeded":
        return condition("Running", False, "Completed", COMPLETE.get(kind, "Import Complete"))
    if phase.endswith("InProgress") or phase == "UploadReady":
        return condition("Running", True, SCRATCHLESS)
    if phase.endswith("Scheduled"):
        return condition("Running", False, "ContainerCreating")
    return condition("Running", False)


def simplified(problem: str) -> str:
    """What CDI's controller makes of a pod's last words."""
    too_small = ("is larger than the reported available", "no space left on device", "disk quota exceeded")
    return TOO_SMALL if any(text in problem for text in too_small) else problem


def ready_condition(phase: str, running: bool) -> Condition:
    if phase == "Succeeded":
        return condition("Ready", True)
    return condition("Ready", False, "TransferRunning") if running else condition("Ready", False)


def conditions(
    phase: str, claim: Object | None, error: str | None, why: tuple[str, str] | None, kind: str = ""
) -> list[Condition]:
    running = running_condition(phase, error, kind)
    return [bound_condition(claim, why), ready_condition(phase, running["status"] == "True"), running]


def progress(phase: str, fraction: float) -> str | None:
    """status.progress: N/A until something moves, then percent."""
    if phase == "Succeeded":
        return "100.0%"
    if phase.endswith("InProgress"):
        return f"{fraction * 100:.2f}%"
    if phase == "":
        return None
    return "N/A"
