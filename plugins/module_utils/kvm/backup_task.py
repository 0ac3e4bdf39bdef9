# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_vm_backup): backups of a machine made, deleted, thinned out and restored."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Sequence
from typing import Any

from ..task import Failure, Result, Task
from .backup import Backup
from .backup_manifest import (
    RESTORE,
    Manifest,
    Unfinished,
    built_on,
    chain_of,
    file_name,
    manifests,
    missing_files,
    outdated,
    remove,
    unfinished,
)
from .backup_restore import restore
from .connection import Host
from .errors import KvmError, NotThere, asking
from .folder import Folder, described
from .jobs import busy
from .snapshot import agent_state
from .view import DiskView, view
from .xml import parse

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def back_up(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_vm_backup). Raises Failure for what is refused or fails; what was there is there then."""
    _check(task.params)
    create = task.params["state"] == "present" and not task.check_mode
    try:
        with Folder(host, task.params["directory"], create=create) as folder:
            return _BackupTask(host, folder, task).run()
    except NotThere:
        raise
    except KvmError as error:
        if task.check_mode and task.params["state"] == "present" and error.message.startswith("Cannot open the dir"):
            # It is made by the run itself.
            return {"changed": True, "backup": None, "backups": [], "deleted": [], "repaired": [], "reason": None}
        raise


class _BackupTask:
    """One task on one machine and one directory."""

    def __init__(self, host: Host, folder: Folder, task: Task) -> None:
        self.host, self.folder, self.task = host, folder, task
        self.vm: str = task.params["vm"]
        self.domain = host.domain(self.vm)
        self.deleted: list[str] = []
        self.repaired: list[str] = []
        self.reason: str | None = None

    def run(self) -> Result:
        state, name = self.task.params["state"], self.task.params["name"]
        self.backups = manifests(self.folder, self.vm, self.task.warn)
        before = [item.name for item in self.backups]
        backup: Result | None = None
        restored: Result = {}
        changed = False
        if state == "present":
            made, changed = self._present(name)
            backup = made.told() if made else None
            self._prune(changed)
        elif state == "absent":
            changed = self._absent(name)
        else:
            chosen = self._chosen(name)
            restored = restore(self.host, self.folder, self.task, chosen, self.backups)
            backup, changed = chosen.told(), True
        left = [item for item in self.backups if item.name not in self.deleted]
        result: Result = {
            "changed": changed or bool(self.deleted or self.repaired),
            "backup": backup,
            "backups": [item.told() for item in left],
            "deleted": self.deleted,
            "repaired": self.repaired,
            "reason": self.reason,
            **restored,
        }
        if self.task.diff:
            after = [item.name for item in left]
            if state == "present" and changed and self.task.check_mode:
                after.append(name or "(a new one)")
            result["diff"] = {"before": {"backups": before}, "after": {"backups": after}}
            if restored:
                result["diff"] = restored_diff(restored)
        return result

    def _chosen(self, name: str | None) -> Manifest:
        if not self.backups:
            raise NotThere(f"There is no backup of {self.vm} in {self.folder.path} on {self.host.uri}.")
        found = next((item for item in self.backups if item.name == name), None) if name else self.backups[-1]
        if found is None:
            there = ", ".join(item.name for item in self.backups)
            raise NotThere(f"There is no backup {name} of {self.vm} in {self.folder.path}; there are {there}.")
        return found

    # Making one

    def _present(self, name: str | None) -> tuple[Manifest | None, bool]:
        if self.domain is None:
            raise NotThere(f"There is no machine {self.vm} on {self.host.uri}. Check the name.")
        params = self.task.params
        with asking(f"read {self.vm}"):
            self.element = parse(self.domain.XMLDesc())
        self.view = view(self.element)
        self.backup = Backup(
            self.host,
            self.folder,
            self.domain,
            self.view,
            self.task.progress,
            checksums=params["checksums"],
            quiesce=params["quiesce"] and bool(self.domain.isActive()),
            timeout=params["timeout"],
        )
        adopted = self._repair()
        if adopted is not None and name in (None, adopted.name):
            return adopted, True
        there = next((item for item in self.backups if item.name == name), None)
        if there is not None or (name is None and params["only_prune"]):
            return there, False
        job = busy(self.domain, self.view)
        if job:
            raise KvmError(f"No backup of {self.vm} was begun: {job}. Wait for its end, or cancel it.")
        disks = self._disks()
        self._refuse_without_agent()
        parent = self._parent(disks)
        tracked = self._tracked(disks)
        self._refuse_without_space(disks, parent)
        if self.task.check_mode:
            return None, True
        made = self._make(name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), disks, parent, tracked)
        self.backups.append(made)
        self._forget_old(made)
        return made, True

    def _make(self, name: str, disks: Sequence[DiskView], parent: Manifest | None, tracked: bool) -> Manifest:
        known = [item.checkpoint for item in self.backups]
        for checkpoint in self.backup.checkpoints():
            # Left of a backup that was cut off when its guest ended: without a guest, none can be deleted.
            if checkpoint not in known:
                self.backup.forget(checkpoint)
        try:
            return self.backup.run(name, disks, parent, tracked=tracked)
        except KvmError as error:
            if parent is None or self.task.params["type"] != "auto" or "bitmap" not in error.message.lower():
                raise
            # A guest that ended with its host leaves bitmaps that nobody can trust.
            self.reason = f"the dirty bitmap of {parent.checkpoint} cannot be used ({error.message})"
            self.task.warn(f"A full backup of {self.vm} is made: {self.reason}")
            return self.backup.run(name, disks, None, tracked=tracked)

    def _disks(self) -> list[DiskView]:
        chosen = self.task.params["disks"]
        if chosen is None:
            found = [disk for disk in self.view.disks if disk.device == "disk" and disk.source and not disk.readonly]
        else:
            found = []
            for name in chosen:
                disk = self.view.disk(name)
                if disk is None:
                    there = ", ".join(item.name for item in self.view.disks)
                    raise Failure(f"disks: {self.vm} has no disk {name}; it has {there}.")
                found.append(disk)
        if not found:
            raise Failure(f"{self.vm} has no disk that could be backed up.")
        return found

    def _refuse_without_agent(self) -> None:
        if not self.task.params["quiesce"] or self.domain is None or not self.domain.isActive():
            return
        state = agent_state(self.element)
        if state != "connected":
            raise Failure(
                f"quiesce: the guest agent of {self.vm} does not answer ({state or 'there is no channel for it'})."
                " Start qemu-guest-agent in the guest, or make the backup without quiesce."
            )

    def _tracked(self, disks: Sequence[DiskView]) -> bool:
        """Whether incremental backups can follow. Raises Failure where they were asked for and cannot."""
        wrong = []
        for disk in disks:
            if disk.format != "qcow2":
                wrong.append(f"disk {disk.name} is {disk.format or disk.type}")
            elif disk.type == "file" and (compat := self._compat(disk)) != "1.1":
                wrong.append(f"disk {disk.name} is qcow2 of compat {compat}")
        if self.domain is not None and not self.domain.isActive():
            if self.task.params["type"] == "incremental":
                raise Failure(f"An incremental backup of {self.vm} needs a running guest. Start it, or use type: full.")
            return False
        if wrong and self.task.params["type"] != "full":
            raise Failure(
                f"Incremental backups of {self.vm} are not possible: {', '.join(wrong)}, and only qcow2 of compat 1.1"
                " keeps track of what changes. With the machine off, `qemu-img amend -o compat=1.1 FILE` makes it so;"
                " or use type: full."
            )
        return not wrong

    def _compat(self, disk: DiskView) -> str:
        directory, name = posixpath.split(disk.source or "")
        with Folder(self.host, directory) as folder:
            return described(folder.there(name)).findtext("target/compat") or "0.10"

    def _parent(self, disks: Sequence[DiskView]) -> Manifest | None:
        """The backup that the next one can build on; None for a full one."""
        params = self.task.params
        if params["type"] == "full" or (self.domain is not None and not self.domain.isActive()):
            return None
        found, reason = self._newest_usable(disks)
        if found is None and params["type"] == "incremental":
            raise Failure(f"An incremental backup of {self.vm} is not possible: {reason}. Make a full one before.")
        self.reason = reason if found is None else None
        return found

    def _newest_usable(self, disks: Sequence[DiskView]) -> tuple[Manifest | None, str]:
        if not self.backups:
            return None, f"there is no backup of it in {self.folder.path} yet"
        newest = self.backups[-1]
        if newest.uuid != self.view.uuid:
            return None, f"the backup {newest.name} is of another machine of this name"
        if newest.checkpoint is None or newest.checkpoint not in self.backup.checkpoints():
            return None, f"nothing keeps track of what has changed since {newest.name}"
        try:
            chain = chain_of(newest, self.backups)
        except Failure as failure:
            return None, failure.message
        gone = missing_files(self.folder, chain)
        if gone:
            return None, f"{gone[0]} is missing"
        every = self.task.params["full_every"]
        if every is not None and len(chain) >= every:
            return None, f"the chain has {len(chain)} backups"
        if {disk.name: disk.target for disk in newest.disks} != {disk.name: disk.target for disk in disks}:
            return None, f"{newest.name} is of other disks"
        for disk in newest.disks:
            with asking(f"read the size of disk {disk.name} of {self.vm}"):
                if self.domain is not None and int(self.domain.blockInfo(disk.target)[0]) != disk.capacity:
                    return None, f"disk {disk.name} has another size"
        return newest, ""

    def _refuse_without_space(self, disks: Sequence[DiskView], parent: Manifest | None) -> None:
        if parent is not None or self.domain is None:
            return
        with asking(f"read the sizes of the disks of {self.vm}"):
            needed = sum(int(self.domain.blockInfo(disk.target)[1]) for disk in disks)
        free = self.folder.available
        if needed > free:
            raise Failure(
                f"The disks of {self.vm} take {needed >> 20} MiB, and {self.folder.path} on {self.host.uri} has only"
                f" {free >> 20} MiB free. Make room, or choose another directory."
            )

    def _repair(self) -> Manifest | None:
        """See to what runs that were cut off have left; a backup that is still under way is waited for and kept."""
        adopted: Manifest | None = None
        for left in unfinished(self.folder, self.vm):
            if left.name == RESTORE:
                continue
            if self.task.check_mode:
                self.repaired.append(f"the unfinished backup {left.name} would be finished or taken away")
                continue
            if left.name in [item.name for item in self.backups]:
                self.folder.delete(file_name(self.vm, left.name, "partial"))
                continue
            adopted = self._adopt(left) or adopted
        return adopted

    def _adopt(self, left: Unfinished) -> Manifest | None:
        backup = self.backup
        if left.planned is not None and backup.is_ours(left):
            self.task.progress(f"{self.vm}: the backup {left.name} is under way already; its end is waited for")
            with self.host.watch(backup.domain, "JOB_COMPLETED", "LIFECYCLE") as watch:
                backup.wait(left.name, watch)
            made = backup.finish(left.planned)
            self.backups.append(made)
            self._forget_old(made)
            self.repaired.append(f"the backup {left.name}, which had gone on without its task, was finished")
            return made
        backup.clean(left)
        self.repaired.append(f"the unfinished backup {left.name} was taken away")
        return None

    def _forget_old(self, made: Manifest) -> None:
        """Only the newest backup's checkpoint is needed, and each costs the guest a little."""
        for name in self.backup.checkpoints():
            if name != made.checkpoint:
                self.backup.forget(name)

    # Deleting

    def _prune(self, is_new: bool) -> None:
        keep = self.task.params["keep"]
        if keep is None:
            return
        for item in outdated(self.backups, keep):
            self._remove(item)

    def _absent(self, name: str) -> bool:
        found = next((item for item in self.backups if item.name == name), None)
        if found is None:
            return False
        needing = [item.name for item in built_on(found, self.backups)]
        if needing:
            raise Failure(
                f"The backup {name} of {self.vm} is needed by {', '.join(needing)}, which build on it. Delete these"
                " before, the newest first, or let keep thin out whole chains."
            )
        self._remove(found)
        return True

    def _remove(self, item: Manifest) -> None:
        self.deleted.append(item.name)
        if self.task.check_mode:
            return
        self.task.progress(f"{self.vm}: backup {item.name} is deleted")
        remove(self.folder, item)
        if self.domain is not None:
            with asking(f"read {self.vm}"):
                seen = view(parse(self.domain.XMLDesc()))
            Backup(self.host, self.folder, self.domain, seen, self.task.progress).forget(item.checkpoint)


def restored_diff(restored: Result) -> dict[str, Any]:
    """What a restored machine had before, and has now."""
    return {"before": {"disks": restored["replaced"]}, "after": {"disks": restored["restored"]}}


def _check(params: Any) -> None:
    state, name = params["state"], params["name"]
    if name is not None and not _NAME.fullmatch(name):
        raise Failure(f'name: "{name}" is to be of letters, digits, dashes and underscores, and is part of file names.')
    if state == "absent" and name is None:
        raise Failure("name: name the backup to delete.")
    for option in ("keep", "full_every", "timeout"):
        if params[option] is not None and params[option] < 1:
            raise Failure(f"{option}: {params[option]} is less than 1.")
    for option, states in (
        ("disks", ("present",)),
        ("quiesce", ("present",)),
        ("keep", ("present",)),
        ("full_every", ("present",)),
        ("only_prune", ("present",)),
        ("restore_directory", ("restored",)),
        ("files_only", ("restored",)),
        ("delete_replaced", ("restored",)),
    ):
        if params[option] not in (None, False) and state not in states:
            raise Failure(f"{option}: means nothing with state: {state}; it is for {' and '.join(states)}.")
    if params["only_prune"] and (params["keep"] is None or name is not None):
        raise Failure("only_prune: makes no backup; set keep, and leave out name.")
