# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup made by libvirt: full or incremental, of a machine that runs, or a copy of the disks of one that is off."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..task import Failure
from .backup_manifest import (
    BackedUp,
    Manifest,
    Unfinished,
    announce,
    checkpoint_name,
    checkpoint_prefix,
    file_name,
    store,
)
from .connection import Host
from .errors import KvmError, asking
from .events import Watch
from .folder import Folder, described, volume_xml
from .library import libvirt
from .relay import sha256
from .view import DiskView, DomainView
from .xml import make, parse, written

_FOREVER = 10.0 * 365 * 24 * 3600


def _now() -> str:
    """The time (UTC): to the millisecond, as backups are told in its order."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Backup:
    """One backup of a machine into a directory."""

    host: Host
    folder: Folder
    domain: libvirt.virDomain
    view: DomainView
    told: Callable[[str], None]
    checksums: bool = True
    quiesce: bool = False
    timeout: int | None = None

    def run(self, name: str, disks: Sequence[DiskView], parent: Manifest | None, *, tracked: bool) -> Manifest:
        """Make a backup. C(tracked) is whether an incremental one can follow. Raises Failure, with nothing left."""
        manifest = self._planned(name, disks, parent, tracked)
        announce(self.folder, self.view.name, self._note(manifest))
        try:
            if self.domain.isActive():
                self._make_files(manifest, parent)
                self._begin(manifest, parent)
            else:
                self._copy(manifest, disks)
            return self.finish(manifest)
        except Failure:
            with suppress(Failure):
                self.clean(self._note(manifest))
            raise

    @staticmethod
    def _note(manifest: Manifest) -> Unfinished:
        return Unfinished(manifest.name, tuple(manifest.files), manifest.checkpoint, manifest)

    def _planned(self, name: str, disks: Sequence[DiskView], parent: Manifest | None, tracked: bool) -> Manifest:
        vm = self.view.name
        found = []
        for disk in disks:
            with asking(f"read the size of disk {disk.name} of {vm}"):
                capacity = int(self.domain.blockInfo(disk.target)[0])
            found.append(BackedUp(disk.name, disk.target, file_name(vm, name, f"{disk.name}.qcow2"), capacity))
        with asking(f"read {vm}"):
            # The declaration, which a restored machine gets; its passwords are not in it.
            domain = self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        return Manifest(
            vm=vm,
            uuid=self.view.uuid or "",
            name=name,
            type="incremental" if parent else "full",
            created=_now(),
            parent=parent.name if parent else None,
            chain=parent.chain if parent else name,
            checkpoint=checkpoint_name(self.folder.path, name) if tracked else None,
            disks=tuple(found),
            domain=domain,
        )

    def _make_files(self, manifest: Manifest, parent: Manifest | None) -> None:
        behind = {disk.name: disk.file for disk in parent.disks} if parent else {}
        for disk in manifest.disks:
            backing = (posixpath.join(self.folder.path, behind[disk.name]), "qcow2") if disk.name in behind else None
            self.folder.delete(disk.file)
            self.folder.make(disk.file, volume_xml(disk.file, disk.capacity, "qcow2", backing=backing))

    def _begin(self, manifest: Manifest, parent: Manifest | None) -> None:
        """Begin the backup with the file systems at rest, and wait for its end."""
        with self.host.watch(self.domain, "JOB_COMPLETED", "LIFECYCLE") as watch:
            frozen = self._freeze()
            try:
                with asking(f"begin the backup {manifest.name} of {manifest.vm}"):
                    self.domain.backupBegin(
                        self._backup_xml(manifest, parent),
                        self._checkpoint_xml(manifest),
                        libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL,
                    )
            finally:
                if frozen:
                    with asking(f"thaw the file systems of {manifest.vm}"):
                        self.domain.fsThaw()
            self.wait(manifest.name, watch)

    def _freeze(self) -> bool:
        if not self.quiesce:
            return False
        with asking(f"freeze the file systems of {self.view.name}"):
            self.domain.fsFreeze()
        return True

    def _backup_xml(self, manifest: Manifest, parent: Manifest | None) -> str:
        element = make("domainbackup", mode="push")
        if parent is not None:
            element.append(make("incremental", parent.checkpoint))
        disks = make("disks")
        wanted = {disk.target: disk for disk in manifest.disks}
        for disk in self.view.disks:
            saved = wanted.get(disk.target)
            item = make("disk", name=disk.target, backup="yes" if saved else "no")
            if saved:
                item.set("type", "file")
                item.append(make("target", file=posixpath.join(self.folder.path, saved.file)))
                item.append(make("driver", type="qcow2"))
            disks.append(item)
        element.append(disks)
        return written(element)

    def _checkpoint_xml(self, manifest: Manifest) -> str | None:
        if manifest.checkpoint is None:
            return None
        element = make("domaincheckpoint")
        element.append(make("name", manifest.checkpoint))
        disks = make("disks")
        wanted = {disk.target for disk in manifest.disks}
        for disk in self.view.disks:
            disks.append(make("disk", name=disk.target, checkpoint="bitmap" if disk.target in wanted else "no"))
        element.append(disks)
        return written(element)

    def wait(self, name: str, watch: Watch) -> None:
        """Wait for the end of a backup that is under way. Raises KvmError where it fails or takes too long."""
        started, last = time.monotonic(), -1

        def look() -> dict[str, Any] | None:
            nonlocal last
            told: list[dict[str, Any]] = [
                dict(seen[0])  # type: ignore[call-overload]
                for kind, seen in watch.seen
                if kind == "JOB_COMPLETED"
            ]
            if told:
                return told[-1]
            with asking(f"ask for the backup {name} of {self.view.name}"):
                counted = self.domain.jobStats()
            if counted.get("type", 0) == libvirt.VIR_DOMAIN_JOB_NONE:
                # It ended before anybody listened, and libvirt knows how.
                return dict(self.domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))
            step = int(counted.get("disk_processed", 0)) * 10 // max(int(counted.get("disk_total", 0)), 1)
            if step > last:
                last = step
                self.told(f"{self.view.name}: {step * 10} % backed up")
            if self.timeout is not None and time.monotonic() - started > self.timeout:
                raise KvmError(f"The backup {name} of {self.view.name} took more than {self.timeout} s.")
            return None

        try:
            end = watch.until(look, _FOREVER, str)
        except BaseException:
            with suppress(libvirt.libvirtError):
                self.domain.abortJob()
            raise
        if not end.get("success", True):
            reason = end.get("errmsg") or "it was cancelled, or the guest ended"
            raise KvmError(f"The backup {name} of {self.view.name} failed: {reason}.")

    def _copy(self, manifest: Manifest, disks: Sequence[DiskView]) -> None:
        """Copy the disks of a machine that is off, each with all of its layers, into one file."""
        for disk, saved in zip(disks, manifest.disks, strict=True):
            self.told(f"{self.view.name}: disk {disk.name} is copied")
            directory, name = posixpath.split(disk.source or "")
            with Folder(self.host, directory) as from_:
                source = from_.there(name)
                self.folder.delete(saved.file)
                with asking(f"copy disk {disk.name} of {self.view.name}"):
                    element = volume_xml(saved.file, saved.capacity, "qcow2")
                    self.folder.pool.createXMLFrom(written(element), source, 0)

    def finish(self, manifest: Manifest) -> Manifest:
        """Write down what was made, at which it becomes a backup."""
        self._settle()
        self.folder.names()
        done = []
        for disk in manifest.disks:
            volume = self.folder.there(disk.file)
            size = int(described(volume).findtext("physical") or 0)
            digest = None
            if self.checksums:
                digest, size = sha256(self.host, volume)
            done.append(replace(disk, size=size, sha256=digest))
        finished = replace(manifest, disks=tuple(done))
        store(self.folder, finished)
        return finished

    def _settle(self) -> None:
        """Wait until QEMU has closed the files: libvirt tells the end of a backup before, but answers this after."""
        if self.domain.isActive():
            with asking(f"ask for the jobs of {self.view.name}"):
                for disk in self.view.disks:
                    if disk.source is not None:
                        self.domain.blockJobInfo(disk.target)

    def clean(self, left: Unfinished) -> None:
        """Take away what was made for a backup that has not come about."""
        self.folder.names()
        for file in left.files:
            self.folder.delete(file)
        self.forget(left.checkpoint)
        self.folder.delete(file_name(self.view.name, left.name, "partial"))

    def forget(self, checkpoint: str | None) -> None:
        """Delete a checkpoint, where it is there; with the machine off, libvirt cannot, and the next backup does."""
        if checkpoint is None or not self.domain.isActive():
            return
        try:
            found = self.domain.checkpointLookupByName(checkpoint)
        except libvirt.libvirtError:
            return
        with asking(f"delete the checkpoint {checkpoint} of {self.view.name}"):
            try:
                found.delete(0)
            except libvirt.libvirtError:
                # Its bitmap is gone, e.g. with a disk that was replaced.
                found.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)

    def checkpoints(self) -> list[str]:
        """The checkpoints of the machine that belong to backups in this directory."""
        prefix = checkpoint_prefix(self.folder.path)
        with asking(f"list the checkpoints of {self.view.name}"):
            names = [item.getName() for item in self.domain.listAllCheckpoints()]
        return [name for name in names if name.startswith(prefix)]

    def is_ours(self, left: Unfinished) -> bool:
        """Whether the backup that is under way writes the files of that one."""
        try:
            under_way = parse(self.domain.backupGetXMLDesc())
        except libvirt.libvirtError:
            return False
        files = {target.get("file") for target in under_way.findall("disks/disk/target")}
        return bool(left.files) and files == {posixpath.join(self.folder.path, file) for file in left.files}
