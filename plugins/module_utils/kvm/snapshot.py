# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_vm_snapshot): a snapshot of a machine taken, deleted, merged back or gone back to."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from ..task import Failure, Result, Task
from .backing import images, is_there
from .connection import Host
from .errors import KvmError, NotThere, asking
from .folder import Folder, delete_file
from .jobs import busy
from .layers import is_merging, layers, merge
from .library import libvirt
from .naming import file_part
from .notes import forget, note, noted
from .snapshot_view import SnapshotView, below, described, lost_by_revert, outdated, snapshots
from .view import DiskView, DomainView, view
from .xml import make, parse, written

# libvirt goes back to external snapshots from this version on.
_REVERTS_EXTERNAL = 9_009_000
_KIND = "snapshot"
AGENT = "org.qemu.guest_agent.0"


@dataclass
class SnapshotTask:
    """One task of C(kvm_vm_snapshot) on one machine."""

    host: Host
    task: Task
    deleted: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def run(self) -> Result:
        """Raises Failure for what is refused; nothing was changed then, unless the message says so."""
        params = self.task.params
        _check(params)
        self.name: str | None = params["name"]
        found = self.host.domain(params["vm"])
        if found is None:
            raise NotThere(f"There is no machine {params['vm']} on {self.host.uri}. Check the name.")
        self.domain = found
        self.view = self._read()
        before = snapshots(found)
        changed = {
            "present": self._present,
            "absent": self._absent,
            "merged": self._merged,
            "reverted": self._reverted,
        }[params["state"]](before)
        after = before if self.task.check_mode else snapshots(found)
        result: Result = {
            "changed": changed or bool(self.deleted or self.repaired),
            "snapshots": [item.told() for item in after],
            "deleted": self.deleted,
            "repaired": self.repaired,
            "kept_newer": self.kept,
        }
        if self.task.diff:
            result["diff"] = self._diff(before, after)
        return result

    def _diff(self, before: Sequence[SnapshotView], after: Sequence[SnapshotView]) -> Result:
        names = [item.name for item in after]
        if self.task.check_mode:
            names = [name for name in names if name not in self.deleted]
            if self.task.params["state"] == "present" and self.name and self.name not in names:
                names.append(self.name)
        return {"before": {"snapshots": [item.name for item in before]}, "after": {"snapshots": names}}

    def _read(self) -> DomainView:
        with asking(f"read {self.domain.name()}"):
            self.element = parse(self.domain.XMLDesc())
        return view(self.element)

    def _refuse_busy(self) -> None:
        job = busy(self.domain, self.view)
        if job:
            raise KvmError(f"The snapshots of {self.view.name} are left alone: {job}. Wait for its end, or cancel it.")
        with asking(f"read {self.view.name}"):
            is_saved = not self.domain.isActive() and bool(self.domain.hasManagedSaveImage(0))
        if is_saved:
            raise Failure(
                f"The snapshots of {self.view.name} are left alone: its guest was saved while it ran, and goes on with"
                " the disks as they are. Start it with virtstack.core.kvm_vm_power and state: restored before."
            )

    def _refuse_dependents(self, items: Iterable[SnapshotView]) -> None:
        """Refuse to write into, or to delete, layers that images of others are built on, as clones of a machine are."""
        layered = [
            (disk, item.files[disk.target]) for item in items for disk in self.view.disks if disk.target in item.files
        ]
        if not layered:
            return
        found = images(self.host, anew=True)
        own = {path for item in snapshots(self.domain) for path in item.files.values()}
        own |= {path for disk, _layer in layered for path in [disk.source or "", *found.chain(disk.source or "")]}
        for disk, layer in layered:
            for path in (layer, *found.chain(layer)[:1]):
                above = next((item for item in found.above(path, own) if is_there(self.host, item)), None)
                if above is not None:
                    raise Failure(
                        f"The snapshots of {self.view.name} are left alone: {above.label} is built on {path}, a layer"
                        f" of disk {disk.name}, and would be lost. Delete that, or make a copy of it, before."
                    )

    # Taking one

    def _present(self, before: Sequence[SnapshotView]) -> bool:
        params = self.task.params
        changed = False
        if self.name is not None and self.name not in [item.name for item in before]:
            self._refuse_busy()
            self._refuse_impossible()
            changed = True
            if not self.task.check_mode:
                self._take(self.name)
        if params["series"] and (params["keep"] is not None or params["keep_days"] is not None):
            self._prune(snapshots(self.domain), changed)
        return changed

    def _refuse_impossible(self) -> None:
        params, name = self.task.params, self.view.name
        active = bool(self.domain.isActive())
        if params["quiesce"] and active:
            state = agent_state(self.element)
            if state is None:
                raise Failure(
                    f"quiesce: {name} has no channel for the guest agent ({AGENT}). Add one and install"
                    " qemu-guest-agent in the guest, or take the snapshot without quiesce."
                )
            if state != "connected":
                raise Failure(
                    f"quiesce: the agent of {name} does not answer ({state}). Start qemu-guest-agent in the guest, or"
                    " take the snapshot without quiesce."
                )
        if params["external"]:
            return
        wrong = [disk.name for disk in self._disks() if disk.format != "qcow2"]
        if wrong:
            raise Failure(
                f"An internal snapshot of {name} is not possible: only qcow2 holds one, and {', '.join(wrong)} is none."
                " Take an external one (external: true)."
            )
        if self.view.efi and active:
            raise Failure(
                f"An internal snapshot of {name} is not possible while it runs: QEMU cannot put its UEFI variables into"
                " one. Take an external one (external: true), or shut it down."
            )

    def _disks(self) -> list[DiskView]:
        """The disks that a snapshot is of: those chosen, else all that are written to."""
        chosen = self.task.params["disks"]
        if chosen is None:
            return [disk for disk in self.view.disks if disk.device == "disk" and disk.source and not disk.readonly]
        found = []
        for name in chosen:
            disk = self.view.disk(name)
            if disk is None:
                there = ", ".join(item.name for item in self.view.disks)
                raise Failure(f"disks: {self.view.name} has no disk {name}; it has {there}.")
            found.append(disk)
        return found

    def _take(self, name: str) -> None:
        params = self.task.params
        external, active = params["external"], bool(self.domain.isActive())
        element = make("domainsnapshot")
        element.append(make("name", name))
        text = described(params["description"], params["series"])
        if text:
            element.append(make("description", text))
        files = self._files(name) if external else {}
        with_memory = active and (params["memory"] if external else True)
        memory_file = self._memory_file(name) if external and with_memory else None
        if external:
            kind = "external" if memory_file else "no"
            element.append(make("memory", snapshot=kind, file=memory_file))
        disks = make("disks")
        for disk in self.view.disks:
            item = make("disk", name=disk.target, snapshot=_kind(disk, self._disks(), external))
            if disk.target in files:
                item.append(make("driver", type="qcow2"))
                item.append(make("source", file=files[disk.target]))
            disks.append(item)
        element.append(disks)
        made = [*files.values(), *([memory_file] if memory_file else [])]
        self._clear(made)
        self._clear_memory(made)
        if made:
            note(self.domain, _KIND, {"name": name, "files": made})
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        if external and not memory_file:
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        if memory_file:
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE
        if params["quiesce"] and active:
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE
        try:
            with asking(f"take the snapshot {name} of {self.view.name}"):
                self.domain.snapshotCreateXML(written(element), flags)
        except KvmError:
            with suppress(KvmError):
                self._clear(made)
                forget(self.domain, _KIND)
            raise
        forget(self.domain, _KIND)

    def _files(self, name: str) -> dict[str, str]:
        """The new top layers, by target."""
        found = {}
        for disk in self._disks():
            directory = self.task.params["directory"] or (
                posixpath.dirname(disk.source or "") if disk.type == "file" else None
            )
            if directory is None:
                raise Failure(
                    f"Disk {disk.name} of {self.view.name} is no file (type {disk.type}); say with directory where the"
                    " layer above it is to be."
                )
            found[disk.target] = posixpath.join(directory, f"{file_part(self.view.name)}-{disk.name}.{name}.qcow2")
        return found

    def _memory_file(self, name: str) -> str:
        files = list(self._files(name).values())
        directory = self.task.params["directory"] or (posixpath.dirname(files[0]) if files else None)
        if directory is None:
            raise Failure("directory: say where the file with the memory is to be.")
        return posixpath.join(directory, f"{file_part(self.view.name)}.{name}.memory")

    def _clear(self, wanted: Sequence[str]) -> None:
        """Take away what a run that was cut off had made, and refuse what is anybody else's."""
        ours = noted(self.domain, _KIND).get("files", [])
        by_directory: dict[str, list[str]] = {}
        for path in wanted:
            by_directory.setdefault(posixpath.dirname(path), []).append(posixpath.basename(path))
        for directory, names in by_directory.items():
            with Folder(self.host, directory) as folder:
                for name in set(names) & set(folder.names()):
                    path = posixpath.join(directory, name)
                    if path not in ours:
                        raise Failure(
                            f"The file {path} exists already on {self.host.uri}; it is not overwritten. Move or delete"
                            " it, or choose another name or directory."
                        )
                    self._refuse_in_use(path)
                    folder.delete(name)
                    self.repaired.append(f"{path}, left by a snapshot that was cut off, was deleted")

    def _clear_memory(self, wanted: Sequence[str]) -> None:
        """Memory that was saved for a snapshot that never came about is of no use; other layers may be in use."""
        left = noted(self.domain, _KIND)
        if left.get("name") in self.domain.snapshotListNames():
            return
        for path in left.get("files", []):
            if path.endswith(".memory") and path not in wanted:
                with suppress(KvmError):
                    if delete_file(self.host, path):
                        self.repaired.append(f"{path}, left by a snapshot that was cut off, was deleted")

    def _refuse_in_use(self, path: str) -> None:
        """QEMU may have taken the layer before libvirt could write that down."""
        if not self.domain.isActive():
            return
        import libvirt_qemu

        with asking(f"ask QEMU for the files of {self.view.name}"):
            nodes = libvirt_qemu.qemuMonitorCommand(self.domain, '{"execute": "query-named-block-nodes"}', 0)
        if path in nodes:
            raise Failure(
                f"{self.view.name} writes to {path}, which libvirt does not know of, because it ended while a snapshot"
                " was taken. Nothing was done. Do not shut the machine down before its disk's path was put right:"
                f" virsh -c {self.host.uri} qemu-monitor-command shows the files with query-named-block-nodes."
            )

    def _prune(self, there: Sequence[SnapshotView], is_new: bool) -> None:
        """Delete the snapshots of the series that are kept no longer."""
        params = self.task.params
        keep = params["keep"]
        if keep is not None and is_new and self.task.check_mode:
            keep -= 1
        for item in outdated(there, params["series"], keep, params["keep_days"], time.time()):
            self._refuse_busy()
            self._delete(item, snapshots(self.domain))

    # Deleting one

    def _absent(self, before: Sequence[SnapshotView]) -> bool:
        item = next((item for item in before if item.name == self.name), None)
        if item is None:
            return False
        self._refuse_busy()
        self._delete(item, before)
        return True

    def _delete(self, item: SnapshotView, among: Sequence[SnapshotView]) -> None:
        """Delete a snapshot. What was written since into a layer of its own goes into the layer below."""
        if item.external:
            self._refuse_undeletable(item, among)
            self._refuse_dependents([item])
        self.deleted.append(item.name)
        if self.task.check_mode:
            return
        self.task.progress(f"{self.view.name}: snapshot {item.name} is deleted")
        self._leave_out_detached(item)
        with asking(f"delete the snapshot {item.name} of {self.view.name}"):
            self.domain.snapshotLookupByName(item.name).delete(0)
        if item.memory_file:
            with suppress(KvmError):
                delete_file(self.host, item.memory_file)

    def _leave_out_detached(self, item: SnapshotView) -> None:
        """Have libvirt forget the layers of disks that the machine has no more; it would merge none for them."""
        detached = {target: path for target, path in item.files.items() if self.view.disk(target) is None}
        if not detached:
            return
        with asking(f"leave disks that {self.view.name} has no more out of the snapshot {item.name}"):
            found = self.domain.snapshotLookupByName(item.name)
            document = parse(found.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE))
            for disk in document.findall("disks/disk"):
                if disk.get("name") in detached:
                    disk.set("snapshot", "no")
                    for child in list(disk):
                        disk.remove(child)
            flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
            flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT if item.current else 0
            self.domain.snapshotCreateXML(written(document), flags)
        self._warn_kept(detached.values())

    def _warn_kept(self, paths: Iterable[str]) -> None:
        for path in sorted(paths):
            self.task.warn(f"{path} is kept: {self.view.name} has the disk no more, and its layer was not merged.")

    def _refuse_undeletable(self, item: SnapshotView, among: Sequence[SnapshotView]) -> None:
        newer = [one.name for one in below(item.name, among)]
        if not self.domain.isActive() and newer:
            raise Failure(
                f"The external snapshot {item.name} of {self.view.name} cannot be merged while the machine is off and"
                f" has newer ones ({', '.join(newer)}). Start it, or delete the newer ones before."
            )
        parent = next((one for one in among if one.name == item.parent), None)
        if parent is not None and not parent.external:
            raise Failure(
                f"The external snapshot {item.name} of {self.view.name} was taken after the internal one {parent.name},"
                " and libvirt does not merge it by itself. Use state: merged while the machine runs, or delete"
                f" {parent.name} before."
            )

    # Merging back

    def _merged(self, before: Sequence[SnapshotView]) -> bool:
        merging = [item for item in before if item.external]
        if self.name is not None:
            wanted = next((item for item in before if item.name == self.name), None)
            if wanted is None:
                # What an earlier run has merged, it may not have taken away yet.
                return self._finish_merge()
            if not wanted.external:
                raise Failure(f"The snapshot {self.name} of {self.view.name} is internal; there is nothing to merge.")
            names = {self.name, *(item.name for item in below(self.name, before))}
            merging = [item for item in merging if item.name in names]
        if not merging:
            return self._finish_merge()
        inside = [one.name for item in merging for one in below(item.name, before) if not one.external]
        if inside:
            raise Failure(
                f"The internal snapshot {inside[0]} of {self.view.name} is inside of a layer that would be merged, and"
                " would be lost. Delete it before."
            )
        if not self.domain.isActive():
            self._refuse_busy()
            for item in reversed(merging):
                # Each is the newest when its turn comes.
                self._delete(item, [] if item.parent is None else [one for one in before if one.name == item.parent])
            return True
        return self._merge_running(merging)

    def _merge_running(self, merging: Sequence[SnapshotView]) -> bool:
        doing: list[tuple[DiskView, str]] = []
        left = noted(self.domain, "merge")
        found = layers(self.domain)
        for layer in found:
            mine = {item.files[layer.disk.target] for item in merging if layer.disk.target in item.files}
            tops = [path for path in layer.files if path in mine]
            stray = mine - set(tops) - set(left.get("files", []))
            if stray:
                raise Failure(
                    f"Disk {layer.disk.name} of {self.view.name} does not use {', '.join(sorted(stray))}: the machine"
                    " went back to before. Nothing was merged. Delete these snapshots' metadata by hand."
                )
            if tops:
                doing.append((layer.disk, layer.files[layer.files.index(tops[-1]) + 1]))
        if not any(is_merging(self.domain, disk) for disk, _base in doing):
            self._refuse_busy()
            self._refuse_dependents(merging)
        if self.task.check_mode:
            self.deleted += [item.name for item in merging]
            return True
        # The layer of a disk that was detached since is not merged: it is all that there is of what was written to it.
        here = {layer.disk.target for layer in found}
        files = [path for item in merging for target, path in item.files.items() if target in here]
        files += [item.memory_file for item in merging if item.memory_file]
        self._warn_kept(path for item in merging for target, path in item.files.items() if target not in here)
        note(self.domain, "merge", {"files": files, "snapshots": [item.name for item in merging]})
        for disk, base in doing:
            merge(self.host, self.domain, disk, base, lambda text: self.task.progress(f"{self.view.name}: {text}"))
        return self._finish_merge()

    def _finish_merge(self) -> bool:
        """Take away what the layers were, after they are part of what is below."""
        left = noted(self.domain, "merge")
        if not left:
            return False
        if self.task.check_mode:
            return True
        in_use = {path for layer in layers(self.domain) for path in layer.files}
        if in_use & set(left["files"]):
            return False
        there = [item.name for item in snapshots(self.domain)]
        for name in reversed(left["snapshots"]):
            if name in there:
                with asking(f"forget the snapshot {name} of {self.view.name}"):
                    flags = libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY
                    self.domain.snapshotLookupByName(name).delete(flags)
                self.deleted.append(name)
        for path in left["files"]:
            delete_file(self.host, path)
        forget(self.domain, "merge")
        return True

    # Going back

    def _reverted(self, before: Sequence[SnapshotView]) -> bool:
        params, name = self.task.params, self.view.name
        item = next((item for item in before if item.name == self.name), None)
        if item is None:
            there = ", ".join(one.name for one in before) or "none"
            raise NotThere(f"{name} has no snapshot {self.name}; it has {there}.")
        self._refuse_busy()
        if item.external and self.host.version < _REVERTS_EXTERNAL:
            files = (
                ", ".join(sorted({path for layer in self._below(item) for path in layer})) or "its disks' base files"
            )
            raise Failure(
                f"libvirt on {self.host.uri} cannot go back to the external snapshot {item.name} of {name} (from 9.9 on"
                f" it can). The disks as they were then are in {files}: copy these files for a machine of their own."
            )
        lost = lost_by_revert(item.name, before)
        if lost and not params["discard_newer"]:
            raise Failure(
                f"Going back to {item.name} would lose newer snapshots of {name}, which are layers over what would be"
                f" written to: {', '.join(one.name for one in lost)}. Merge or delete them before, or say so with"
                " discard_newer: true."
            )
        self._refuse_dependents(lost)
        self.deleted += [one.name for one in lost]
        gone = {one.name for one in lost}
        self.kept = [one.name for one in below(item.name, before) if one.name not in gone]
        if not self.task.check_mode:
            self._revert(item, lost)
        return True

    def _revert(self, item: SnapshotView, lost: Sequence[SnapshotView]) -> None:
        params = self.task.params
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE if params["force"] else 0
        flags |= {
            None: 0,
            "running": libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING,
            "paused": libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED,
        }[params["then"]]
        files = [path for one in lost for path in [*one.files.values(), *filter(None, [one.memory_file])]]
        snapshot = self.domain.snapshotLookupByName(item.name)
        try:
            self.domain.revertToSnapshot(snapshot, flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY:
                raise KvmError(
                    f"Going back to {item.name} is risky, libvirt says: {error.get_error_message()}. Do it all the same"
                    " with force: true.",
                    code=error.get_error_code(),
                ) from error
            with asking(f"go back to the snapshot {item.name} of {self.view.name}"):
                raise
        for one in reversed(lost):
            with asking(f"forget the snapshot {one.name} of {self.view.name}"):
                found = self.domain.snapshotLookupByName(one.name)
                found.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
        for path in files:
            delete_file(self.host, path)

    def _below(self, item: SnapshotView) -> list[list[str]]:
        """The files under the layers that a snapshot has made."""
        if not self.domain.isActive():
            return []
        return [
            [layer.files[layer.files.index(path) + 1]]
            for layer in layers(self.domain)
            for path in item.files.values()
            if path in layer.files[:-1]
        ]


def _kind(disk: DiskView, chosen: Sequence[DiskView], external: bool) -> str:
    if disk not in chosen:
        return "no"
    return "external" if external else "internal"


def agent_state(element: Element) -> str | None:
    """C(connected) or C(disconnected), None where a machine has no channel for the agent."""
    for target in element.findall("devices/channel/target"):
        if target.get("name") == AGENT:
            return target.get("state") or "disconnected"
    return None


def _check(options: Mapping[str, Any]) -> None:
    state = options["state"]
    for option, states in (
        ("external", ("present",)),
        ("memory", ("present",)),
        ("quiesce", ("present",)),
        ("disks", ("present",)),
        ("directory", ("present",)),
        ("description", ("present",)),
        ("series", ("present",)),
        ("keep", ("present",)),
        ("keep_days", ("present",)),
        ("discard_newer", ("reverted",)),
        ("force", ("reverted",)),
        ("then", ("reverted",)),
    ):
        if options[option] not in (None, False) and state not in states:
            raise Failure(f"{option}: means nothing with state: {state}; it is for {' and '.join(states)}.")
    for option in ("keep", "keep_days"):
        value = options[option]
        if isinstance(value, int) and value < 1:
            raise Failure(f"{option}: {value} is less than 1.")
        if value is not None and options["series"] is None:
            raise Failure(f"{option}: name the series of snapshots; none outside of it is deleted.")
    if options["name"] is None and state != "merged" and options["keep"] is None and options["keep_days"] is None:
        raise Failure("name: name the snapshot.")
    if options["name"] is None and state in ("absent", "reverted"):
        raise Failure("name: name the snapshot.")
    name = options["name"]
    if isinstance(name, str) and (not name or "/" in name):
        raise Failure(f'name: "{name}" cannot be part of a file name; leave out slashes.')
    for option, why in (
        ("memory", "an internal snapshot of a running guest always has its memory"),
        ("quiesce", "an internal snapshot stops the guest with its memory, so that nothing is half-written"),
        ("disks", "an internal snapshot is of all disks"),
        ("directory", "an internal snapshot is inside of the disks' files"),
    ):
        if options[option] not in (None, False) and not options["external"]:
            raise Failure(f"{option}: {why}; leave it out, or set external: true.")
    if options["quiesce"] and options["memory"]:
        raise Failure("quiesce: a snapshot with memory does not need it; leave out quiesce or memory.")


def snapshot_machine(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_vm_snapshot)."""
    return SnapshotTask(host, task).run()
