# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hot plug: which disks and interfaces reach a running guest, and when they are there or gone. Pure.

Sources: virt-api's volumes.go and storagehotplug.go, virt-controller's watch/vmi/storage.go, pkg/network/controllers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.resource import Object
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict, no_room
from ..machine.disks import Disk
from .kubevirt import DEVICES, DISK_DEVICES, SPEC, at, by_name, conditions

# virt-api plugs no others.
HOT_BUSES = {"disk": ("scsi", "virtio"), "lun": ("scsi",)}
HOT_SOURCES = frozenset({"pvc", "data_volume"})
INSTANCE_DEVICES = "spec.domain.devices"
# Bindings that virt-controller plugs in.
HOT_BINDINGS = ("bridge", "sriov")


def cold_reason(disk: Disk) -> str | None:
    """Why a disk that is new cannot be plugged into a running guest; None where it can."""
    device = disk.device or "disk"
    if disk.source is not None and disk.source.creates != "volume" and disk.source.option not in HOT_SOURCES:
        return f"{disk.source.option} is no DataVolume or PersistentVolumeClaim"
    if device not in HOT_BUSES:
        return f"device {device} is neither disk nor lun"
    if disk.bus is not None and disk.bus not in HOT_BUSES[device]:
        return f"bus {disk.bus} cannot be plugged; {' and '.join(HOT_BUSES[device])} can"
    if disk.dedicated_io_thread and disk.bus != "virtio":
        return "dedicated_io_thread needs the bus virtio"
    return None


def hotpluggable(volume: Mapping[str, Any] | None) -> bool:
    return any(at(volume, f"{kind}.hotpluggable") for kind in ("dataVolume", "persistentVolumeClaim"))


def is_up(instance: Object | None) -> bool:
    """Whether a guest runs, which is what can be plugged into."""
    return bool(at(instance, "status.phase") == "Running")


def claim_of(volume: Mapping[str, Any] | None) -> str | None:
    """The DataVolume or claim behind a volume."""
    found = at(volume, "dataVolume.name") or at(volume, "persistentVolumeClaim.claimName")
    return str(found) if found else None


def volumes_of(found: Object | None) -> dict[str, Object]:
    """The volumes of a VM or of an instance, by name."""
    path = f"{SPEC}.volumes" if at(found, "spec.template") is not None else "spec.volumes"
    return by_name(at(found, path))


def disks_of(found: Object | None) -> dict[str, Object]:
    """The disks of a VM or of an instance, by name."""
    path = DEVICES if at(found, "spec.template") is not None else INSTANCE_DEVICES
    return by_name(at(found, f"{path}.disks"))


def boots_from(vm: Object) -> str | None:
    """The disk that a machine boots from: the first by boot order, and where nothing has one, the first there is.

    None where that is an interface, or what comes and goes: a CD-ROM, or a disk that was plugged in. KubeVirt makes a
    disk of each volume that has none, such as those of machines that OpenShift's console makes.
    """
    declared: list[Object] = at(vm, f"{DEVICES}.disks") or []
    shown = {*by_name(declared), *by_name(at(vm, f"{DEVICES}.filesystems"))}
    disks = [*declared, *({"name": name} for name in volumes_of(vm) if name not in shown)]
    devices: list[Object] = [
        item for item in (*disks, *(at(vm, f"{DEVICES}.interfaces") or [])) if item.get("bootOrder")
    ]
    first = min(devices, key=lambda item: int(item["bootOrder"])) if devices else (disks[0] if disks else None)
    if first is None or first not in disks or "cdrom" in first:
        return None
    if not first.get("bootOrder") and hotpluggable(volumes_of(vm).get(first["name"])):
        return None
    return str(first["name"])


def requested(vm: Object, kind: str) -> dict[str, Object]:
    """The volumes that earlier requests of C(kind) (add, remove) name and the VM's controller has not seen to yet."""
    field = f"{kind}VolumeOptions"
    return {item[field]["name"]: item[field] for item in at(vm, "status.volumeRequests") or () if item.get(field)}


def differs(wanted: Any, live: Any) -> bool:
    """Whether something that is wanted is not there; what is there beyond it does not matter."""
    if isinstance(wanted, Mapping):
        return not isinstance(live, Mapping) or any(differs(value, live.get(key)) for key, value in wanted.items())
    return bool(wanted != live)


def device_of(disk: Object) -> str:
    return next((device for device in DISK_DEVICES if device in disk), "disk")


def plugged(name: str, uid: str) -> Check:
    """Whether the instance with this UID has the volume in its guest."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or instance["metadata"]["uid"] != uid:
            return Failed("its guest was stopped meanwhile")
        status = by_name(at(instance, "status.volumeStatus")).get(name)
        if status is None:
            return Progress(f"{name} is not yet seen by KubeVirt")
        # A volume with which the guest was started has no phase.
        if status.get("phase") == "Ready" or (status.get("hotplugVolume") is None and status.get("target")):
            return Ready()
        return Progress(f"{name} {status.get('phase') or 'waits'}: {status.get('message') or 'no reason given'}")

    return check


def unplugged(name: str) -> Check:
    """Whether the volume has left the guest, or the guest has gone."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or at(instance, "metadata.deletionTimestamp"):
            return Ready()
        status = by_name(at(instance, "status.volumeStatus")).get(name)
        if status is None and name not in volumes_of(instance):
            return Ready()
        message = (status or {}).get("message")
        return Progress(
            f"{name} {(status or {}).get('phase') or 'is being unplugged'}{f': {message}' if message else ''}"
        )

    return check


def attachment(claim: str) -> Check:
    """What the pod that attaches a claim says: it may not come to the guest's node."""

    def check(pod: Object | None) -> Verdict:
        names = {at(volume, "persistentVolumeClaim.claimName") for volume in at(pod, "spec.volumes") or ()}
        scheduled = conditions(pod).get("PodScheduled", {})
        if pod is None or claim not in names or scheduled.get("reason") != "Unschedulable":
            return Progress()
        message = str(scheduled.get("message") or "the guest's node does not take the pod that attaches it")
        if "unbound immediate PersistentVolumeClaims" in message:
            return Progress()
        return no_room(f"{claim} cannot be attached at the guest's node: {message}")

    return check


def shown_interface(instance: Object | None, name: str) -> Object | None:
    """What the instance tells of an interface."""
    return by_name(item for item in at(instance, "status.interfaces") or () if item.get("name")).get(name)


def connected(name: str, uid: str, link: str | None = None) -> Check:
    """Whether the guest of this instance has the interface, and its link as wanted."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or instance["metadata"]["uid"] != uid:
            return Failed("its guest was stopped meanwhile")
        shown = shown_interface(instance, name)
        if shown is None or "domain" not in str(shown.get("infoSource") or ""):
            return _hindered(instance) or Progress(f"{name} is not in the guest yet{_migration_text(instance)}")
        if link is not None and shown.get("linkState") not in (link, None):
            return Progress(f"the link of {name} is {shown['linkState']}")
        return Ready()

    return check


def disconnected(name: str) -> Check:
    """Whether the guest has let the interface go, and its pod as well."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or at(instance, "metadata.deletionTimestamp") or shown_interface(instance, name) is None:
            return Ready()
        source = str((shown_interface(instance, name) or {}).get("infoSource") or "")
        if "domain" in source:
            return Progress(f"{name} is still in the guest")
        told = Progress(f"{name} has left the guest, its pod still has it{_migration_text(instance)}")
        return _hindered(instance) or told

    return check


def _hindered(instance: Object) -> Failed | None:
    """Why the migration that an interface waits for cannot be."""
    known = conditions(instance)
    able = known.get("LiveMigratable", {})
    if known.get("MigrationRequired", {}).get("status") != "True" or able.get("status") != "False":
        return None
    return Failed(
        f"it takes a migration, and the guest cannot be migrated: {able.get('message') or able.get('reason')}"
    )


def _migration_text(instance: Object) -> str:
    required = conditions(instance).get("MigrationRequired", {}).get("status")
    state = at(instance, "status.migrationState") or {}
    if state.get("startTimestamp") and not state.get("completed") and not state.get("failed"):
        return ", it migrates"
    told = {"True": ", it waits for a migration", "False": ", a migration follows if no other way is found"}
    return told.get(str(required), "")
