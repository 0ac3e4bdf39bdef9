# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting machines without losing what their user did not name: the running guest, the disks, a saved memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from ..task import Failure, Result
from .domain_disks import SEED
from .errors import NotThere, asking
from .kept import kept
from .library import libvirt
from .view import DiskView, view
from .vm_fleet import Fleet, document, volume_at
from .vm_power import ACTIVE, Waiting, shut_down, status, switch_off
from .xml import shown


@dataclass(frozen=True)
class Removal:
    """How machines are deleted. C(disks) are the names of those that go with it; None for all that were made for it."""

    disks: frozenset[str] | None = frozenset()
    force: bool = False
    check_mode: bool = False
    diff: bool = False
    waiting: Waiting = field(default_factory=Waiting)

    @property
    def deletes_all(self) -> bool:
        return self.disks is None


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
    result: Result = {
        "name": name,
        "changed": False,
        "action": "unchanged",
        "disks_kept": [],
        "disks_deleted": [],
        "removed": [],
    }
    if domain is None:
        return result
    before = document(domain)
    _refuse_running(domain, removal)
    deleted, kept_disks = _disks(fleet, before, removal)
    result.update(
        changed=True,
        action="deleted",
        disks_deleted=sorted(volume.path() for volume in deleted.values()),
        disks_kept=sorted(source for disk, source in kept_disks.items() if disk not in deleted),
        removed=list(_removed(domain, before, removal)),
    )
    if removal.diff:
        result["diff"] = {"before": shown(before), "after": ""}
    if removal.check_mode:
        return result
    if status(domain) in ACTIVE:
        _stop(fleet, domain, before, removal)
    _undefine(domain, removal)
    _delete(fleet, before, deleted)
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


def _disks(fleet: Fleet, before: Element, removal: Removal) -> tuple[dict[str, libvirt.virStorageVol], dict[str, str]]:
    """The volumes that go, and the sources of all disks but the seed. Raises Failure for a name that is no disk."""
    found = view(before)
    sources = {disk.name: disk.source for disk in found.disks if disk.source and disk.name != SEED}
    made = {disk: key for disk, key in kept(before).volumes.items() if disk != SEED}
    names = set(made) & set(sources) if removal.disks is None else set(removal.disks)
    unknown = sorted(names - set(sources))
    if unknown:
        has = ", ".join(sorted(sources)) or "none"
        raise Failure(f"delete_disks: virtual machine {found.name} has no disk {', '.join(unknown)}; it has {has}.")
    deleted = {}
    for name in sorted(names):
        disk = found.disk(name)
        volume = _volume(fleet, disk) if disk is not None else None
        if volume is None:
            raise Failure(
                f"delete_disks: no storage pool of the host knows {sources[name]}, the disk {name} of {found.name};"
                " leave it out, or make it known with a pool."
            )
        deleted[name] = volume
    going = {volume.path() for volume in deleted.values()}
    for name, volume in deleted.items():
        _refuse_used(fleet, found.name, name, volume, going)
    return deleted, {name: str(source) for name, source in sources.items()}


def _volume(fleet: Fleet, disk: DiskView) -> libvirt.virStorageVol | None:
    connection = fleet.host.connection
    if disk.pool is not None:
        pool = fleet.host.pool(disk.pool)
        return fleet.host.volume(pool, disk.source or "") if pool is not None else None
    return volume_at(connection, disk.source or "")


def _refuse_used(fleet: Fleet, machine: str, disk: str, volume: libvirt.virStorageVol, going: Collection[str]) -> None:
    """Raises Failure for a volume that is another machine's, too, or below a volume that does not go as well."""
    path = volume.path()
    with asking(f"look up the pool of {path}"):
        pool = volume.storagePoolLookupByVolume().name()
    other = fleet.user(path, pool, volume.name(), machine)
    if other is not None:
        raise Failure(f"delete_disks: {path}, the disk {disk} of {machine}, is one of virtual machine {other}, too.")
    above = fleet.overlay(path, going)
    if above is not None:
        raise Failure(
            f"delete_disks: volume {above.pool}/{above.volume} is built on {path}, the disk {disk} of {machine}, and"
            f" would be lost. Delete that first, or leave {disk} out."
        )


def _removed(domain: libvirt.virDomain, before: Element, removal: Removal) -> Iterator[str]:
    """What goes with the machine besides disks, in words."""
    with asking(f"read virtual machine {domain.name()}"):
        if domain.hasManagedSaveImage(0):
            yield "the memory it was saved with"
        snapshots = domain.snapshotNum(0)
        checkpoints = len(_checkpoints(domain))
    if snapshots:
        yield f"what libvirt knew of {snapshots} snapshots; their data stay in the disks that are kept"
    if checkpoints:
        yield f"what libvirt knew of {checkpoints} checkpoints"
    found = view(before)
    if removal.deletes_all:
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


def _undefine(domain: libvirt.virDomain, removal: Removal) -> None:
    """EFI variables and the TPM's state stay with disks that stay: what is sealed with them could not be read again."""
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    flags |= libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    state = "" if removal.deletes_all else "KEEP_"
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


def _delete(fleet: Fleet, before: Element, deleted: dict[str, libvirt.virStorageVol]) -> None:
    volumes = list(deleted.values())
    key = kept(before).volumes.get(SEED)
    if key is not None:
        pool_name, _slash, name = key.partition("/")
        pool = fleet.host.pool(pool_name)
        seed = fleet.host.volume(pool, name) if pool is not None and pool.isActive() else None
        volumes += [seed] if seed is not None else []
    for volume in volumes:
        with asking(f"delete volume {volume.name()}"):
            volume.delete(0)
