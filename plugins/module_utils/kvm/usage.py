# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests use which disks of a host, so that no module takes a disk away from under a guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from .connection import Host
from .errors import asking
from .library import libvirt
from .xml import parse

# What a disk's source, and a backing file's, is named by.
_NAMES = ("file", "dev", "name", "dir")


@dataclass(frozen=True)
class Use:
    """A guest's use of one file, device or volume. A disk's backing files are used, but not written.

    A C(saved) guest does not run; its memory is kept for its next start, and fits the disk as it is.
    """

    guest: str
    running: bool
    writes: bool
    path: str
    pool: str | None = None
    volume: str | None = None
    saved: bool = False

    def is_of(self, path: str, pool: str, volume: str) -> bool:
        """Whether it is this volume that is used, by its path or by its name."""
        return (self.pool, self.volume) == (pool, volume) or bool(path and self.path == path)


def uses(host: Host, *, running_only: bool) -> list[Use]:
    """All uses on a host; of guests that are off only the disks themselves are known, not their backing files."""
    return _listed(host, libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE if running_only else 0)


def uses_of_saved(host: Host) -> list[Use]:
    """The uses of the guests that were saved while they ran."""
    flags = libvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE | libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE
    return [replace(use, saved=True) for use in _listed(host, flags)]


def _listed(host: Host, flags: int) -> list[Use]:
    with asking("list the guests of the host"):
        domains = host.connection.listAllDomains(flags)
    found = host.in_parallel(_uses_of, domains)
    return [use for uses_of_one in found for use in uses_of_one]


def _uses_of(domain: libvirt.virDomain) -> list[Use]:
    try:
        running, document = bool(domain.isActive()), parse(domain.XMLDesc(0))
    except libvirt.libvirtError:
        # It was removed since it was listed; it uses nothing any more.
        return []
    return list(in_document(document, running))


def in_document(domain: Element, running: bool) -> Iterator[Use]:
    """The uses in a domain's XML."""
    guest = domain.findtext("name") or ""
    for disk in domain.findall("devices/disk"):
        reads_only = disk.find("readonly") is not None or disk.get("device") in ("cdrom", "floppy")
        for source in disk.iter("source"):
            is_top = source in list(disk)
            is_backing = not is_top and not any(source in list(mirror) for mirror in disk.findall("mirror"))
            path = next((source.get(name) for name in _NAMES if source.get(name)), None)
            if path or source.get("volume"):
                writes = not reads_only and not is_backing
                yield Use(guest, running, writes, path or "", source.get("pool"), source.get("volume"))


def named(found: Iterable[Use]) -> str:
    """The guests of uses, for a message."""
    return ", ".join(sorted({use.guest for use in found}))
