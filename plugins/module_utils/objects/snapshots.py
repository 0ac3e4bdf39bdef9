# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of virtual machines: what one is, which can be taken, which may go, and how long a series is kept. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cluster.resource import Object, Resource
from ..task import Failure, Result
from .kubevirt import HINT, at, by_name, claims, holds, label
from .lifecycle import Course, duration

GROUP = "snapshot.kubevirt.io"
SNAPSHOT = Resource(GROUP, "v1beta1", "virtualmachinesnapshots", "VirtualMachineSnapshot", hint=HINT)
CONTENT = Resource(GROUP, "v1beta1", "virtualmachinesnapshotcontents", "VirtualMachineSnapshotContent", hint=HINT)
RESTORE = Resource(GROUP, "v1beta1", "virtualmachinerestores", "VirtualMachineRestore", hint=HINT)
CLONE = Resource("clone.kubevirt.io", "v1beta1", "virtualmachineclones", "VirtualMachineClone", hint=HINT)

YES = frozenset({True})
SNAPSHOTS = Course(
    SNAPSHOT,
    "snapshot",
    ready={"status.readyToUse": YES},
    failed={"status.phase": frozenset({"Failed"})},
    hopeless=re.compile(r"does(nt|n't| not) exist|deadline exceeded", re.IGNORECASE),
)
RESTORES = Course(
    RESTORE,
    "restore",
    ready={"status.complete": YES},
    failed={},
    hopeless=re.compile(r"operation failed|does(nt|n't| not) exist", re.IGNORECASE),
)
CLONES = Course(
    CLONE,
    "clone",
    ready={"status.phase": frozenset({"Succeeded"})},
    failed={"status.phase": frozenset({"Failed"})},
    telling=("Failure", "Ready", "Progressing"),
    hopeless=re.compile(r"does not support snapshots|does(nt|n't| not) exist|denied the request", re.IGNORECASE),
)

# The series that a snapshot was taken for, by which its retention finds it.
SERIES = "virtstack.core/series"
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
POLICIES: Mapping[str, str] = {"delete": "Delete", "retain": "Retain"}


def machine(name: str) -> Object:
    """A reference to a VM, as these kinds have it."""
    return {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": name}


def manifest(resource: Resource, name: str, params: Mapping[str, Any], spec: Object) -> Object:
    """An object with the labels and annotations of the task."""
    metadata: Object = {"name": name, "namespace": params["namespace"]}
    for part in ("labels", "annotations"):
        if params.get(part):
            metadata[part] = dict(params[part])
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def snapshot(name: str, vm: str, params: Mapping[str, Any]) -> Object:
    """The snapshot of a VM that is declared. Raises Failure for a series or a deadline that cannot be."""
    spec: Object = {"source": machine(vm)}
    if params["deletion_policy"]:
        spec["deletionPolicy"] = POLICIES[params["deletion_policy"]]
    if params["failure_deadline"] is not None:
        spec["failureDeadline"] = duration(params["failure_deadline"], "failure_deadline")
    found = manifest(SNAPSHOT, name, params, spec)
    if params["series"]:
        if not _LABEL_VALUE.fullmatch(params["series"]):
            raise Failure(
                f"series: {params['series']!r} cannot be a label's value; use up to 63 letters, digits, dashes, dots."
            )
        found["metadata"]["labels"] = {**found["metadata"].get("labels", {}), SERIES: params["series"]}
    return found


def tell(found: Object | None) -> Result:
    """What a task says of a snapshot."""
    return {
        "vm": at(found, "spec.source.name"),
        "phase": at(found, "status.phase"),
        "ready": bool(at(found, "status.readyToUse")),
        "creation_time": at(found, "status.creationTime"),
        "indications": at(found, "status.indications") or [],
        "included_volumes": at(found, "status.snapshotVolumes.includedVolumes") or [],
        "excluded_volumes": at(found, "status.snapshotVolumes.excludedVolumes") or [],
        "content_name": at(found, "status.virtualMachineSnapshotContentName"),
        "error": (SNAPSHOTS.words(found) or None) if found and SNAPSHOTS.has_failed(found) else None,
    }


def excluded_disks(vm: Object) -> dict[str, str]:
    """The disks on claims that a snapshot would leave out, with KubeVirt's reason."""
    told = by_name(at(vm, "status.volumeSnapshotStatuses"))
    return {
        name: str(told[name].get("reason") or "no reason is given")
        for name in claims(vm)
        if name in told and not told[name].get("enabled")
    }


def refuse_partial(vm: Object) -> None:
    """Raises Failure when a snapshot of the VM would not hold all of its disks."""
    excluded = excluded_disks(vm)
    if excluded:
        told = "; ".join(f"{name}: {reason}" for name, reason in sorted(excluded.items()))
        raise Failure(
            f"No snapshot of {label(vm)} was taken: it would not hold all of its disks. {told}. Move them to a storage"
            " class with a VolumeSnapshotClass, or set allow_excluded_disks: true."
        )


def refuse_unquiesced(vm: Object, instance: Object | None) -> None:
    """Raises Failure when a guest runs whose agent could not freeze its file systems."""
    if instance is not None and at(instance, "status.phase") == "Running" and not holds(instance, "AgentConnected"):
        raise Failure(
            f"No snapshot of {label(vm)} was taken: its guest runs and its agent is not connected, so that its file"
            " systems would not be frozen. Start qemu-guest-agent in it, stop the VM, or leave require_guest_agent out."
        )


def refuse_unfrozen(name: str, found: Object) -> None:
    """Raises Failure when a snapshot that was taken turns out not to be quiesced."""
    indications = at(found, "status.indications") or []
    failed = {"QuiesceFailed", "QuiesceTimeout"} & set(indications)  # the names of different KubeVirts
    if "Online" in indications and ("GuestAgent" not in indications or failed):
        raise Failure(
            f"The snapshot {name} was taken, but the guest's file systems were not frozen (indications"
            f" {', '.join(indications)}), which require_guest_agent demands."
        )


def users(name: str, restores: Iterable[Object], clones: Iterable[Object]) -> list[str]:
    """The restores and clones underway that read a snapshot."""
    found = [
        f"restore {item['metadata']['name']}"
        for item in restores
        if at(item, "spec.virtualMachineSnapshotName") == name
        and not RESTORES.is_ready(item)
        and not RESTORES.has_failed(item)
    ]
    return found + [
        f"clone {item['metadata']['name']}"
        for item in clones
        if at(item, "spec.source.kind") == SNAPSHOT.kind
        and at(item, "spec.source.name") == name
        and not CLONES.is_ready(item)
        and not CLONES.has_failed(item)
    ]


@dataclass(frozen=True)
class Retention:
    """How much of a series is kept for a machine: a snapshot stays that any of the two keeps."""

    keep: int | None = None
    keep_days: int | None = None

    @property
    def is_asked(self) -> bool:
        return self.keep is not None or self.keep_days is not None


def retention(params: Mapping[str, Any]) -> Retention:
    """The retention of a task. Raises Failure where it could take more than its user named."""
    found = Retention(params["keep"], params["keep_days"])
    for option in ("keep", "keep_days"):
        if params[option] is not None and params[option] < 1:
            raise Failure(f"{option}: {params[option]} is less than 1; with state: absent a snapshot is deleted.")
    if found.is_asked and not params["series"]:
        raise Failure("keep and keep_days need a series: only snapshots taken for it are ever deleted.")
    return found


def outlived(series: Sequence[Object], newest: str, wanted: Retention, now: datetime.datetime) -> list[Object]:
    """The snapshots of a machine's series that go, oldest first. C(newest) is the one just declared; it stays.

    Those that are ready count; those underway stay; those that failed hold nothing, and go.
    """
    others = [item for item in series if item["metadata"]["name"] != newest]
    ready = sorted((item for item in others if SNAPSHOTS.is_ready(item)), key=_age, reverse=True)
    kept = set()
    if wanted.keep is not None:
        kept |= {item["metadata"]["name"] for item in ready[: wanted.keep - 1]}
    if wanted.keep_days is not None:
        oldest = now - datetime.timedelta(days=wanted.keep_days)
        kept |= {item["metadata"]["name"] for item in ready if _taken(item) >= oldest}
    gone = [item for item in ready if item["metadata"]["name"] not in kept]
    gone += [item for item in others if SNAPSHOTS.has_failed(item)]
    alive = [item for item in gone if not at(item, "metadata.deletionTimestamp")]
    return sorted(alive, key=_age)


def _age(found: Object) -> tuple[datetime.datetime, str]:
    """Those of the same second are told apart by their names, which mostly count or hold a date."""
    return _taken(found), str(found["metadata"]["name"])


def _taken(found: Object) -> datetime.datetime:
    stamp = at(found, "status.creationTime") or found["metadata"]["creationTimestamp"]
    return datetime.datetime.fromisoformat(stamp)
