# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots of a machine as libvirt has them, and which of them a deletion or a revert would take along."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from .errors import asking
from .library import libvirt
from .xml import parse

# A series is kept in the description, the only free text that a snapshot has.
_SERIES = re.compile(r"\s*\(virtstack\.core series: ([^)]*)\)$")
DAY = 24 * 3600


@dataclass(frozen=True)
class SnapshotView:
    """A snapshot. C(created) is in seconds of the epoch; C(files) are what it made, by the targets of the disks."""

    name: str
    parent: str | None
    created: int
    state: str
    current: bool
    description: str | None
    series: str | None
    external: bool
    memory: str
    memory_file: str | None
    files: Mapping[str, str]

    def told(self) -> dict[str, Any]:
        """As a result has it."""
        return {
            "name": self.name,
            "parent": self.parent,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created)),
            "state": self.state,
            "current": self.current,
            "description": self.description,
            "series": self.series,
            "external": self.external,
            "memory": self.memory != "no",
            "files": [*self.files.values(), *([self.memory_file] if self.memory_file else [])],
        }


def seen(element: Element, current: str | None) -> SnapshotView:
    """The view of a snapshot's XML (https://libvirt.org/formatsnapshot.html)."""
    memory = element.find("memory")
    kind = (memory.get("snapshot") if memory is not None else None) or "no"
    files = {}
    for disk in element.findall("disks/disk"):
        source = disk.find("source")
        if disk.get("snapshot") == "external" and source is not None:
            files[disk.get("name") or ""] = source.get("file") or source.get("dev") or source.get("name") or ""
    text = element.findtext("description")
    match = _SERIES.search(text or "")
    return SnapshotView(
        name=element.findtext("name") or "",
        parent=element.findtext("parent/name"),
        created=int(element.findtext("creationTime") or 0),
        state=element.findtext("state") or "",
        current=element.findtext("name") == current,
        description=(_SERIES.sub("", text or "") or None),
        series=match[1] if match else None,
        external=bool(files) or kind == "external",
        memory=kind,
        memory_file=memory.get("file") if memory is not None else None,
        files=files,
    )


def described(description: str | None, series: str | None) -> str | None:
    """The description that a snapshot gets."""
    mark = f"(virtstack.core series: {series})" if series else ""
    return " ".join(part for part in (description, mark) if part) or None


def snapshots(domain: libvirt.virDomain) -> list[SnapshotView]:
    """All snapshots of a machine, the oldest first, a parent before its children."""
    with asking(f"read the snapshots of {domain.name()}"):
        current = domain.snapshotCurrent().getName() if domain.hasCurrentSnapshot() else None
        found = [seen(parse(item.getXMLDesc()), current) for item in domain.listAllSnapshots()]
    return sorted(found, key=lambda item: (item.created, _depth(item, found), item.name))


def _depth(item: SnapshotView, among: Sequence[SnapshotView]) -> int:
    parents = {other.name: other.parent for other in among}
    depth, name = 0, item.parent
    while name is not None and depth <= len(among):
        depth, name = depth + 1, parents.get(name)
    return depth


def below(name: str, among: Iterable[SnapshotView]) -> list[SnapshotView]:
    """The snapshots that came after that one on its branches."""
    found, names = [], {name}
    rest = list(among)
    while grown := [item for item in rest if item.parent in names]:
        found += grown
        names = {item.name for item in grown}
    return found


def lost_by_revert(name: str, among: Sequence[SnapshotView]) -> list[SnapshotView]:
    """The newer snapshots that become worthless when the machine goes back to that one.

    An external snapshot is a layer over what it was taken of; when that is written to again, the layer and everything
    in it no longer fit. Internal snapshots of the same layer stay.
    """
    lost: dict[str, SnapshotView] = {}
    for item in below(name, among):
        if item.external:
            lost.update({one.name: one for one in [item, *below(item.name, among)]})
    return list(lost.values())


def outdated(
    among: Sequence[SnapshotView], series: str, keep: int | None, keep_days: int | None, now: float
) -> list[SnapshotView]:
    """The snapshots of a series that neither C(keep) (how many) nor C(keep_days) keeps, the newest first."""
    # libvirt dates by the second; of one second, the later in the list is the newer.
    ours = sorted((item for item in reversed(among) if item.series == series), key=lambda item: -item.created)
    if keep is None and keep_days is None:
        return []
    return [
        item
        for index, item in enumerate(ours)
        if not (keep is not None and index < keep)
        and not (keep_days is not None and now - item.created < keep_days * DAY)
    ]
