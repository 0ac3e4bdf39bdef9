# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backups in a directory: their manifests, the chains that they form, and the notes of unfinished ones.

A backup is files C(VM.NAME.DISK.qcow2) and a manifest C(VM.NAME.json), which is written last: without it there is none.
C(VM.NAME.partial) is there from before the first file until after the manifest, and lists what a run that was cut off
has made. The file of an incremental backup holds what has changed, and has its parent's file behind it, so that each
file, read with what is behind it, is the whole disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..task import Failure
from .folder import Folder, volume_xml
from .naming import file_part
from .relay import read, sha256, write

FORMAT = 1
# The name under which a restore notes what it makes; no backup has it.
RESTORE = "+restore"
# Bytes: a manifest holds a domain's XML and a few lines for each disk.
_LONGEST = 4 * 1024 * 1024


@dataclass(frozen=True)
class BackedUp:
    """A disk in a backup. Sizes are in bytes: C(capacity) of the disk, C(size) of the file."""

    name: str
    target: str
    file: str
    capacity: int
    size: int = 0
    sha256: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A backup. C(parent) is what an incremental one builds on; C(chain) is the full one that all build on."""

    vm: str
    uuid: str
    name: str
    type: str
    created: str
    parent: str | None
    chain: str
    checkpoint: str | None
    disks: tuple[BackedUp, ...]
    domain: str
    format: int = FORMAT

    def told(self) -> dict[str, Any]:
        """As a result has it."""
        return {
            "name": self.name,
            "type": self.type,
            "created": self.created,
            "parent": self.parent,
            "chain": self.chain,
            "checkpoint": self.checkpoint,
            "size": sum(disk.size for disk in self.disks),
            "disks": [asdict(disk) for disk in self.disks],
        }

    @property
    def files(self) -> list[str]:
        return [disk.file for disk in self.disks]


@dataclass(frozen=True)
class Unfinished:
    """What a run that was cut off was about to make or to delete."""

    name: str
    files: Sequence[str] = field(default_factory=tuple)
    checkpoint: str | None = None
    # What it was to become, where it was to be made.
    planned: Manifest | None = None


def checkpoint_name(directory: str, name: str) -> str:
    """The checkpoint of a backup: backups in two directories keep out of each other's way."""
    return f"{checkpoint_prefix(directory)}{name}"


def checkpoint_prefix(directory: str) -> str:
    """How the names of all checkpoints begin that belong to the backups in a directory."""
    return f"virtstack-{hashlib.sha256(directory.encode()).hexdigest()[:8]}-"


def file_name(vm: str, name: str, part: str) -> str:
    """The name of a file of a backup."""
    return f"{file_part(vm)}.{name}.{part}"


def manifests(folder: Folder, vm: str, warn: Callable[[str], None]) -> list[Manifest]:
    """The backups of a machine in a directory, the oldest first."""
    found = []
    for name in folder.names():
        if name.startswith(f"{file_part(vm)}.") and name.endswith(".json"):
            manifest = _parsed(_content(folder, name))
            if manifest is None:
                warn(f"{folder.path}/{name} is no manifest of a backup that this version can read; it is left alone.")
            elif manifest.vm == vm:
                found.append(manifest)
    return sorted(found, key=lambda item: (item.created, item.name))


def unfinished(folder: Folder, vm: str) -> list[Unfinished]:
    """What runs that were cut off have left."""
    found = []
    for name in folder.names():
        if name.startswith(f"{file_part(vm)}.") and name.endswith(".partial"):
            try:
                record = json.loads(_content(folder, name))
                if record["vm"] == vm:
                    planned = _manifest(record["planned"]) if record["planned"] else None
                    left = Unfinished(str(record["name"]), tuple(record["files"]), record["checkpoint"], planned)
                    found.append(left)
            except (ValueError, KeyError, TypeError):
                # It was cut off while it wrote this, before it made anything.
                found.append(Unfinished(name.removeprefix(f"{file_part(vm)}.").removesuffix(".partial")))
    return found


def _content(folder: Folder, name: str) -> bytes:
    return read(folder.host, folder.there(name), _LONGEST)


def _parsed(content: bytes) -> Manifest | None:
    try:
        values = json.loads(content)
        return _manifest(values) if values["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def _manifest(values: dict[str, Any]) -> Manifest:
    disks = tuple(BackedUp(**disk) for disk in values["disks"])
    return Manifest(**{**values, "disks": disks})


def put(folder: Folder, name: str, value: dict[str, Any]) -> None:
    """Write a small file, in the place of an earlier one."""
    content = (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
    folder.delete(name)
    write(folder.host, folder.make(name, volume_xml(name, len(content))), content)


def announce(folder: Folder, vm: str, what: Unfinished) -> None:
    """Note what is about to be made or deleted."""
    record: dict[str, Any] = {"vm": vm, "name": what.name, "files": list(what.files), "checkpoint": what.checkpoint}
    record["planned"] = asdict(what.planned) if what.planned else None
    put(folder, file_name(vm, what.name, "partial"), record)


def store(folder: Folder, manifest: Manifest) -> None:
    """Make a backup one: its manifest is there, and the note is not any more."""
    put(folder, file_name(manifest.vm, manifest.name, "json"), asdict(manifest))
    folder.delete(file_name(manifest.vm, manifest.name, "partial"))


def remove(folder: Folder, manifest: Manifest) -> None:
    """Delete a backup. Cut off in the middle, it is no backup any more, and the next run deletes the rest."""
    announce(folder, manifest.vm, Unfinished(manifest.name, tuple(manifest.files), manifest.checkpoint))
    folder.delete(file_name(manifest.vm, manifest.name, "json"))
    for file in manifest.files:
        folder.delete(file)
    folder.delete(file_name(manifest.vm, manifest.name, "partial"))


def chain_of(manifest: Manifest, among: Sequence[Manifest]) -> list[Manifest]:
    """The backups that one needs, the full one first. Raises Failure where one of them is missing."""
    by_name = {item.name: item for item in among}
    found = [manifest]
    while found[0].parent is not None:
        parent = by_name.get(found[0].parent)
        if parent is None or parent in found:
            raise Failure(
                f"The backup {manifest.name} of {manifest.vm} is not complete: {found[0].name} builds on"
                f" {found[0].parent}, which is not there. Choose one before it."
            )
        found.insert(0, parent)
    return found


def built_on(manifest: Manifest, among: Sequence[Manifest]) -> list[Manifest]:
    """The backups that need one, the nearest first."""
    found: list[Manifest] = []
    names = {manifest.name}
    while grown := [item for item in among if item.parent in names and item not in found]:
        found += grown
        names = {item.name for item in grown}
    return found


def outdated(among: Sequence[Manifest], keep: int) -> list[Manifest]:
    """The backups of all but the newest C(keep) chains, in an order in which none loses its parent."""
    chains: dict[str, list[Manifest]] = {}
    for item in among:
        chains.setdefault(item.chain, []).append(item)
    newest_first = sorted(chains.values(), key=lambda items: items[0].created, reverse=True)
    return [item for items in newest_first[keep:] for item in reversed(items)]


def missing_files(folder: Folder, chain: Sequence[Manifest]) -> list[str]:
    there = set(folder.names())
    return [file for item in chain for file in item.files if file not in there]


def damaged(folder: Folder, chain: Sequence[Manifest], told: Callable[[str], None]) -> list[str]:
    """What differs from the manifests, file by file; all are read."""
    found = []
    for item in chain:
        for disk in item.disks:
            told(f"{disk.file} is checked")
            digest, size = sha256(folder.host, folder.there(disk.file))
            if size != disk.size:
                found.append(f"{disk.file} has {size} bytes instead of {disk.size}")
            elif disk.sha256 is not None and digest != disk.sha256:
                found.append(f"{disk.file} has another content (SHA-256 {digest} instead of {disk.sha256})")
    return found
