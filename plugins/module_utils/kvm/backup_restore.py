# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring a machine from a backup: into new files, which take the place of the old ones when all are there."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from contextlib import suppress
from xml.etree.ElementTree import Element

from ..task import Failure, Result, Task
from .backup_manifest import (
    RESTORE,
    BackedUp,
    Manifest,
    Unfinished,
    announce,
    chain_of,
    damaged,
    file_name,
    missing_files,
    unfinished,
)
from .connection import Host
from .errors import KvmError, asking
from .folder import Folder, delete_file, volume_xml
from .jobs import busy
from .library import libvirt
from .naming import file_part
from .view import DomainView, view
from .xml import ensure, parse, written


def restore(host: Host, backups: Folder, task: Task, chosen: Manifest, among: Sequence[Manifest]) -> Result:
    """Restore a backup as C(kvm_vm_backup) has it: RV(restored), RV(replaced), RV(defined).

    Raises Failure where the machine runs, and where the chain is not whole; nothing was changed then.
    """
    return _Restore(host, backups, task, chosen, among).run()


class _Restore:
    def __init__(self, host: Host, backups: Folder, task: Task, chosen: Manifest, among: Sequence[Manifest]) -> None:
        self.host, self.backups, self.task, self.chosen = host, backups, task, chosen
        self.chain = chain_of(chosen, among)
        self.domain = None if task.params["files_only"] else host.domain(chosen.vm)
        self.files_only: bool = task.params["files_only"]

    def run(self) -> Result:
        seen, element = self._machine()
        self._refuse_damaged()
        places = self._places(seen)
        if self.task.check_mode:
            files = {disk.name: posixpath.join(places[disk.name], self._stem(disk)) for disk in self.chosen.disks}
            return {"restored": files, "replaced": self._old(seen), "defined": self._defines}
        made = self._make(places)
        replaced: dict[str, str] = {}
        if not self.files_only:
            replaced = self._old(seen)
            try:
                self._define(element, made)
            except Failure:
                self._take_away(made)
                raise
        self._done(places)
        if self.task.params["delete_replaced"]:
            for path in replaced.values():
                delete_file(self.host, path)
        return {"restored": made, "replaced": replaced, "defined": self._defines}

    @property
    def _defines(self) -> bool:
        return self.domain is None and not self.files_only

    def _machine(self) -> tuple[DomainView | None, Element]:
        """The machine that gets the disks: the one that is there, or else the one of the backup."""
        if self.domain is None:
            element = parse(self.chosen.domain)
            return (None, element)
        name = self.chosen.vm
        if self.domain.isActive():
            raise Failure(
                f"{name} runs; it is not restored under the feet of its guest. Stop it, or restore the files alone"
                " (files_only: true)."
            )
        with asking(f"read {name}"):
            if self.domain.UUIDString() != self.chosen.uuid:
                raise Failure(
                    f"The backup {self.chosen.name} is of another machine of the name {name} (uuid {self.chosen.uuid})."
                    " Restore its files alone (files_only: true)."
                )
            element = parse(self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE))
            snapshots = self.domain.snapshotListNames()
            if self.domain.hasManagedSaveImage():
                raise Failure(f"The memory of {name} is saved and fits the disks of now. Start it, or remove the save.")
        seen = view(element)
        job = busy(self.domain, seen)
        if job:
            raise KvmError(f"{name} is not restored: {job}. Wait for its end, or cancel it.")
        if snapshots:
            raise Failure(
                f"{name} has snapshots ({', '.join(snapshots)}), which are of the disks of now. Delete them before, or"
                " restore the files alone (files_only: true)."
            )
        lacking = [disk.name for disk in self.chosen.disks if seen.disk(disk.name) is None]
        if lacking:
            raise Failure(f"{name} has no disk {lacking[0]} any more. Restore the files alone (files_only: true).")
        return seen, element

    def _refuse_damaged(self) -> None:
        gone = missing_files(self.backups, self.chain)
        wrong = [f"{file} is missing" for file in gone] or damaged(self.backups, self.chain, self.task.progress)
        if wrong:
            lines = "".join(f"\n- {text}" for text in wrong)
            raise Failure(
                f"The backup {self.chosen.name} of {self.chosen.vm} is damaged, and nothing was restored:{lines}",
                damaged=wrong,
            )

    def _places(self, seen: DomainView | None) -> dict[str, str]:
        """The directory of each disk."""
        directory = self.task.params["restore_directory"]
        if directory is not None:
            return {disk.name: posixpath.normpath(directory) for disk in self.chosen.disks}
        if self.files_only:
            raise Failure("files_only: say with restore_directory where the files are to be.")
        found = {}
        there = seen or view(parse(self.chosen.domain))
        for disk in self.chosen.disks:
            old = there.disk(disk.name)
            if old is None or old.type != "file" or not old.source:
                raise Failure(f"Disk {disk.name} is no file; say with restore_directory where it is to be.")
            found[disk.name] = posixpath.dirname(old.source)
        return found

    def _old(self, seen: DomainView | None) -> dict[str, str]:
        if seen is None:
            return {}
        old = {disk.name: seen.disk(disk.name) for disk in self.chosen.disks}
        return {name: disk.source for name, disk in old.items() if disk is not None and disk.source}

    def _stem(self, disk: BackedUp) -> str:
        return f"{file_part(self.chosen.vm)}-{disk.name}.{self.chosen.name}.qcow2"

    def _make(self, places: dict[str, str]) -> dict[str, str]:
        """Write each disk into a new file; the paths by the disks' names."""
        made: dict[str, str] = {}
        for directory in dict.fromkeys(places.values()):
            with Folder(self.host, directory) as folder:
                self._clear(folder)
                there = set(folder.names())
                disks = [disk for disk in self.chosen.disks if places[disk.name] == directory]
                names = {disk.name: self._free(self._stem(disk), there) for disk in disks}
                announce(folder, self.chosen.vm, Unfinished(RESTORE, tuple(names.values())))
                for disk in disks:
                    self._write(folder, names[disk.name], disk)
                    made[disk.name] = posixpath.join(directory, names[disk.name])
        return made

    def _write(self, folder: Folder, name: str, disk: BackedUp) -> None:
        self.task.progress(f"{self.chosen.vm}: disk {disk.name} is restored to {folder.path}/{name}")
        with asking(f"restore disk {disk.name} of {self.chosen.vm} to {folder.path}/{name}"):
            element = volume_xml(name, disk.capacity, "qcow2")
            folder.pool.createXMLFrom(written(element), self.backups.there(disk.file), 0)

    def _clear(self, folder: Folder) -> None:
        """Take away what a restore that was cut off has made, unless the machine has it by now."""
        in_use = set(self._old(view(parse(self.domain.XMLDesc()))).values()) if self.domain is not None else set()
        for left in unfinished(folder, self.chosen.vm):
            if left.name != RESTORE:
                continue
            for name in left.files:
                if posixpath.join(folder.path, name) not in in_use:
                    folder.delete(name)
            folder.delete(file_name(self.chosen.vm, RESTORE, "partial"))

    @staticmethod
    def _free(name: str, there: set[str]) -> str:
        """The name, or the first with a number that no file has: nothing is overwritten."""
        stem, number = name.removesuffix(".qcow2"), 1
        while name in there:
            number += 1
            name = f"{stem}-{number}.qcow2"
        return name

    def _define(self, element: Element, made: dict[str, str]) -> None:
        """Let the machine have its restored disks; until here it had its old ones."""
        targets = {disk.target: made[disk.name] for disk in self.chosen.disks}
        for disk in element.findall("devices/disk"):
            target = disk.find("target")
            path = targets.get(target.get("dev") or "") if target is not None else None
            if path is None:
                continue
            disk.set("type", "file")
            for child in disk.findall("source") + disk.findall("backingStore"):
                disk.remove(child)
            ensure(disk, "source").set("file", path)
            driver = ensure(disk, "driver")
            driver.set("name", "qemu")
            driver.set("type", "qcow2")
        if self.domain is not None:
            # They tell what changed in the disks that are replaced.
            with asking(f"forget the checkpoints of {self.chosen.vm}"):
                for checkpoint in self.domain.listAllCheckpoints():
                    checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
        with asking(f"define {self.chosen.vm} with its restored disks"):
            self.host.connection.defineXML(written(element))

    def _take_away(self, made: dict[str, str]) -> None:
        for path in made.values():
            with suppress(Failure):
                delete_file(self.host, path)

    def _done(self, places: dict[str, str]) -> None:
        for directory in dict.fromkeys(places.values()):
            with Folder(self.host, directory) as folder:
                folder.delete(file_name(self.chosen.vm, RESTORE, "partial"))
