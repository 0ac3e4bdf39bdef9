# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing the layers that external snapshots have made back into one file, while the machine runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ..task import Failure
from .connection import Host
from .errors import KvmError, asking
from .library import libvirt
from .view import DiskView, view
from .xml import parse

# Seconds without a step forward after which a job is given up.
_STILL = 600.0


@dataclass(frozen=True)
class Layers:
    """The files of a disk: the one that is written to first, the last of all last."""

    disk: DiskView
    files: tuple[str, ...]


def layers(domain: libvirt.virDomain) -> list[Layers]:
    """The layers of every disk of a running machine."""
    with asking(f"read {domain.name()}"):
        seen = view(parse(domain.XMLDesc()))
    return [Layers(disk, tuple(_files(disk.element))) for disk in seen.disks if disk.source is not None]


def _files(element: Element) -> list[str]:
    found = []
    place: Element | None = element
    while place is not None:
        source = place.find("source")
        if source is None:
            break
        found.append(source.get("file") or source.get("dev") or source.get("name") or "")
        place = place.find("backingStore")
    return found


def is_merging(domain: libvirt.virDomain, disk: DiskView) -> bool:
    """Whether the top layer of the disk is being written into the ones below."""
    with asking(f"ask for the job of disk {disk.name}"):
        job = domain.blockJobInfo(disk.target)
    return bool(job) and job.get("type") == libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT


def merge(host: Host, domain: libvirt.virDomain, disk: DiskView, base: str | None, told: Callable[[str], None]) -> None:
    """Write all layers above C(base) into it, and go on with it alone. One that is under way already is taken over.

    Raises KvmError where the job failed; the layers are then as they were, and nothing is lost.
    """
    with host.watch(domain, "BLOCK_JOB_2") as watch:
        if not is_merging(domain, disk):
            with asking(f"merge the layers of disk {disk.name} of {domain.name()}"):
                flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
                domain.blockCommit(disk.target, base, None, 0, flags)
        last = -1

        def look() -> bool | None:
            nonlocal last
            failed = [seen for kind, seen in watch.seen if seen[0] == disk.target and seen[2] == _FAILED]
            job = domain.blockJobInfo(disk.target)
            if failed or not job:
                raise KvmError(f"The layers of disk {disk.name} of {domain.name()} were not merged: the job failed.")
            step = job["cur"] * 10 // max(job["end"], 1)
            if step > last:
                last = step
                told(f"disk {disk.name}: {step * 10} % merged")
            return True if _is_ready(domain, disk) else None

        try:
            watch.until(look, _STILL, lambda: f"The layers of disk {disk.name} were not merged in {_STILL:g} s.")
            with asking(f"go on with the merged disk {disk.name} of {domain.name()}"):
                domain.blockJobAbort(disk.target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        except libvirt.libvirtError as error:
            raise Failure(f"Cannot merge disk {disk.name} of {domain.name()}: {error.get_error_message()}.") from error
        watch.until(
            lambda: None if domain.blockJobInfo(disk.target) else True,
            _STILL,
            lambda: f"The job of disk {disk.name} did not end.",
        )


_FAILED = -1 if libvirt is None else libvirt.VIR_DOMAIN_BLOCK_JOB_FAILED


def _is_ready(domain: libvirt.virDomain, disk: DiskView) -> bool:
    found = view(parse(domain.XMLDesc())).disk(disk.target)
    mirror = found.element.find("mirror") if found is not None else None
    return mirror is not None and mirror.get("ready") == "yes"
