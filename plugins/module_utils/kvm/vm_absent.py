# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting machines without losing what their user did not name: the running guest, the disks, a saved memory."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from ..task import Failure, Result
from .backing import Overlay
from .domain_disks import SEED
from .errors import NotThere, asking
from .folder import Folder, delete_file
from .kept import kept
from .library import libvirt
from .snapshot_view import SnapshotView, snapshots
from .view import DiskView, view
from .vm_fleet import Fleet, document, volume_at
from .vm_power import ACTIVE, Waiting, shut_down, status, switch_off
from .xml import parse, shown


@dataclass(frozen=True)
class Removal:
    """How machines are deleted. C(disks) are the names of those that go with it; None for all that were made for it."""

    disks: frozenset[str] | None = frozenset()
    force: bool = False
    check_mode: bool = False
    diff: bool = False
    waiting: Waiting = field(default_factory=Waiting)


def read_delete_disks(value: Any) -> frozenset[str] | None:
    """The disks that C(delete_disks) names: none, all (C(true)), or those of a list. Raises Failure."""
    if value in (None, False, "", []) or str(value).lower() in ("false", "no"):
        return frozenset()
    if value is True or str(value).lower() in ("true", "yes"):
        return None
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return frozenset(value)
    raise Failure("delete_disks: is neither true nor false nor a list of disks' names.")


def absent(fleet: Fleet, name: str, domain: libvirt.virDomain | None, removal: Removal) -> Result:
    """Delete one machine; the task's result for it. Raises Failure."""
    nothing = {"changed": False, "action": "unchanged", "disks_kept": [], "disks_deleted": [], "removed": []}
    if domain is None:
        return {"name": name, **nothing}
    try:
        return {"name": name, **nothing, **_absent(fleet, domain, removal)}
    except NotThere:
        if fleet.host.domain(name) is not None:
            raise
        # Something else has deleted it at the same time.
        return {"name": name, **nothing}


def _absent(fleet: Fleet, domain: libvirt.virDomain, removal: Removal) -> Result:
    before = document(domain)
    _refuse_running(domain, removal)
    files = _files(fleet, domain, before, removal)
    result: Result = {
        "changed": True,
        "action": "deleted",
        "disks_deleted": sorted(files.deleted),
        "disks_kept": files.kept,
        "removed": list(_removed(domain, before, files)),
    }
    if removal.diff:
        result["diff"] = {"before": shown(before), "after": ""}
    if removal.check_mode:
        return result
    if status(domain) in ACTIVE:
        _stop(fleet, domain, before, removal)
    _undefine(domain, files)
    _delete(fleet, before, files)
    return result


def _refuse_running(domain: libvirt.virDomain, removal: Removal) -> None:
    if removal.force:
        return
    name, now = domain.name(), status(domain)
    if now in ACTIVE:
        raise Failure(
            f"Virtual machine {name} was not deleted: its guest is {now}. Stop it with virtstack.core.kvm_vm_power and"
            " state: stopped, or set force: true to shut it down and delete it."
        )
    with asking(f"read virtual machine {name}"):
        is_saved = bool(domain.hasManagedSaveImage(0))
    if is_saved:
        raise Failure(
            f"Virtual machine {name} was not deleted: its guest was saved while it ran, and its memory would be lost."
            " Start it with virtstack.core.kvm_vm_power and stop it, or set force: true."
        )


def _stop(fleet: Fleet, domain: libvirt.virDomain, before: Element, removal: Removal) -> None:
    """Shut the guest down; within the machine's grace period, or half a minute, else it is switched off."""
    grace = kept(before).grace_period
    # A transient domain ends with its guest.
    with suppress(NotThere):
        if status(domain) == "paused":
            switch_off(domain)
        else:
            shut_down(fleet.host, domain, 30 if grace is None else grace, removal.waiting)


@dataclass
class _Files:
    """What becomes of the files of a machine's disks: C(deleted) in the order in which they can go, and C(kept).

    C(all_go) says that all were asked for that were made for it, and that none stays which its guest wrote to.
    """

    all_go: bool = False
    deleted: dict[str, libvirt.virStorageVol | None] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def _files(fleet: Fleet, domain: libvirt.virDomain, before: Element, removal: Removal) -> _Files:
    """Raises Failure for a name that is no disk, and for a disk that is not this machine's alone."""
    found = view(before)
    if removal.disks != frozenset():
        fleet.images(anew=True)
    disks = {disk.name: disk for disk in found.disks if disk.source and disk.name != SEED}
    made = {disk: key for disk, key in kept(before).volumes.items() if disk != SEED}
    if removal.disks is None:
        names = {name for name, key in made.items() if name in disks and _is_made(fleet, disks[name], key)}
    else:
        names = set(removal.disks)
    unknown = sorted(names - set(disks))
    if unknown:
        has = ", ".join(sorted(disks)) or "none"
        raise Failure(f"delete_disks: virtual machine {found.name} has no disk {', '.join(unknown)}; it has {has}.")
    taken = snapshots(domain)
    stays = any(disk.device == "disk" and not disk.readonly for name, disk in disks.items() if name not in names)
    files = _Files(all_go=removal.disks is None and not stays)
    tops: dict[str, str] = {}
    chains: dict[str, list[str]] = {}
    for name, disk in disks.items():
        volume = _volume(fleet, disk)
        tops[name] = volume.path() if volume is not None else str(fleet.place(disk) or disk.source)
        chains[name] = fleet.chain(tops[name])
        if name in names:
            _refuse_unknown(found.name, disk, volume)
            if volume is not None or _exists(fleet, tops[name]):
                files.deleted[tops[name]] = volume
    for name in sorted(names):
        # Layers that it had before its snapshots are its own; what else is below, such as a template, is not.
        own = _former(fleet, domain, disks[name], made.get(name), taken)
        for path in chains[name]:
            if path not in own or _others(fleet, found.name, path, {*files.deleted}) != (None, None):
                break
            files.deleted[path] = volume_at(fleet.host.connection, path)
    for name in sorted(names):
        _refuse_used(fleet, found.name, name, tops[name], {*files.deleted})
    everything = {*tops.values(), *(path for below in chains.values() for path in below)}
    everything |= _of_snapshots(fleet, taken, files)
    files.kept = sorted(everything - set(files.deleted))
    return files


def _is_made(fleet: Fleet, disk: DiskView, key: str) -> bool:
    """Whether a disk still is, or is built on, the volume that was made for it: somebody may have put another there."""
    pool, _slash, name = key.partition("/")
    now, target = fleet.place(disk) or disk.source or "", fleet.target(pool)
    own = fleet.images().names(f"{target}/{name}") if target else frozenset()
    return (disk.pool, disk.source) == (pool, name) or not own.isdisjoint([posixpath.normpath(now), *fleet.chain(now)])


def _volume(fleet: Fleet, disk: DiskView) -> libvirt.virStorageVol | None:
    connection = fleet.host.connection
    if disk.pool is not None:
        pool = fleet.host.pool(disk.pool)
        return fleet.host.volume(pool, disk.source or "") if pool is not None and pool.isActive() else None
    return volume_at(connection, disk.source or "") if disk.type in ("file", "block") else None


def _refuse_unknown(machine: str, disk: DiskView, volume: libvirt.virStorageVol | None) -> None:
    """A file can be deleted wherever it is; other disks only as volumes."""
    if volume is None and (disk.type != "file" or disk.pool is not None):
        raise Failure(
            f"delete_disks: no storage pool of the host that runs knows {disk.source}, the disk {disk.name} of"
            f" {machine}; leave it out, or make it known with a pool."
        )


def _former(
    fleet: Fleet, domain: libvirt.virDomain, disk: DiskView, made: str | None, taken: Sequence[SnapshotView]
) -> set[str]:
    """The files that a disk of the machine was before layers came over them."""
    found = {path for item in taken for target, path in item.files.items() if target == disk.target}
    for item in taken:
        with asking(f"read the snapshot {item.name} of {domain.name()}"):
            then = parse(domain.snapshotLookupByName(item.name).getXMLDesc(0)).find("domain")
        was = view(then).disk(disk.target) if then is not None else None
        found |= {str(fleet.place(was))} if was is not None and was.source else set()
    if made is not None:
        pool_name, _slash, name = made.partition("/")
        pool = fleet.host.pool(pool_name)
        volume = fleet.host.volume(pool, name) if pool is not None and pool.isActive() else None
        found |= {volume.path()} if volume is not None else set()
    return found


def _of_snapshots(fleet: Fleet, taken: Sequence[SnapshotView], files: _Files) -> set[str]:
    """What snapshots have made besides layers of disks; memory that no disk fits any more goes with all disks."""
    memory = {item.memory_file for item in taken if item.memory_file and _exists(fleet, item.memory_file)}
    if files.all_go:
        files.deleted |= dict.fromkeys(sorted(memory))
    layers = {path for item in taken for path in item.files.values()} - set(files.deleted)
    return memory | {path for path in layers if _exists(fleet, path)}


def _exists(fleet: Fleet, path: str) -> bool:
    with suppress(Failure), Folder(fleet.host, posixpath.dirname(path)) as folder:
        return folder.file(posixpath.basename(path)) is not None
    return False


def _others(fleet: Fleet, machine: str, path: str, going: Collection[str]) -> tuple[str | None, Overlay | None]:
    """Another machine that has the file, and an image that is built on it and does not go as well."""
    volume = volume_at(fleet.host.connection, path)
    pool = name = ""
    if volume is not None:
        with asking(f"look up the pool of {path}"):
            pool, name = volume.storagePoolLookupByVolume().name(), volume.name()
    return fleet.user(path, pool, name, machine), fleet.overlay(path, going)


def _refuse_used(fleet: Fleet, machine: str, disk: str, path: str, going: Collection[str]) -> None:
    """Raises Failure for a disk that is another machine's, too, or below an image that does not go as well."""
    other, above = _others(fleet, machine, path, going)
    if other is not None:
        raise Failure(f"delete_disks: {path}, the disk {disk} of {machine}, is one of virtual machine {other}, too.")
    if above is not None:
        raise Failure(
            f"delete_disks: {above.label} is built on {path}, the disk {disk} of {machine}, and would be lost. Delete"
            f" that first, or leave {disk} out."
        )


def _removed(domain: libvirt.virDomain, before: Element, files: _Files) -> Iterator[str]:
    """What goes with the machine besides disks, in words."""
    with asking(f"read virtual machine {domain.name()}"):
        if domain.hasManagedSaveImage(0):
            yield "the memory it was saved with"
        count = domain.snapshotNum(0)
        checkpoints = len(_checkpoints(domain))
    if count:
        stay = "; their data stay in the disks that are kept" if files.kept else ""
        yield f"what libvirt knew of {count} snapshots{stay}"
    if checkpoints:
        yield f"what libvirt knew of {checkpoints} checkpoints"
    found = view(before)
    if files.all_go:
        if found.efi:
            yield "its EFI variables"
        if found.tpm:
            yield "the state of its TPM"
    if found.disk(SEED) is not None and SEED in kept(before).volumes:
        yield "its cloud-init seed"


def _checkpoints(domain: libvirt.virDomain) -> Sequence[object]:
    try:
        return list(domain.listAllCheckpoints(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return ()
        raise


def _undefine(domain: libvirt.virDomain, files: _Files) -> None:
    """EFI variables and the TPM's state stay with disks that stay: what is sealed with them could not be read again."""
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    flags |= libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    state = "" if files.all_go else "KEEP_"
    flags |= getattr(libvirt, f"VIR_DOMAIN_UNDEFINE_{state}NVRAM")
    tpm = getattr(libvirt, f"VIR_DOMAIN_UNDEFINE_{state}TPM", 0)
    with asking(f"delete virtual machine {domain.name()}"):
        try:
            domain.undefineFlags(flags | tpm)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
                raise
            # A libvirt before 8.9, or another driver, does not know the last of them.
            try:
                domain.undefineFlags(flags & ~tpm)
            except libvirt.libvirtError as again:
                if again.get_error_code() not in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
                    raise
                domain.undefine()


def _delete(fleet: Fleet, before: Element, files: _Files) -> None:
    volumes = [volume for volume in files.deleted.values() if volume is not None]
    key = kept(before).volumes.get(SEED)
    if key is not None:
        pool_name, _slash, name = key.partition("/")
        pool = fleet.host.pool(pool_name)
        seed = fleet.host.volume(pool, name) if pool is not None and pool.isActive() else None
        volumes += [seed] if seed is not None else []
    for volume in volumes:
        with asking(f"delete volume {volume.name()}"):
            volume.delete(0)
    for path, found in files.deleted.items():
        if found is None:
            delete_file(fleet.host, path)
