# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cloud-init seed of a machine: made here, kept as a volume, compared with what is there."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from ..machine.cloud_init import CloudInit
from ..machine.disks import Disk
from ..machine.refusal import Refused
from ..machine.seed import seed_image
from .domain_disks import SEED, Place
from .errors import asking
from .library import libvirt
from .naming import file_part
from .vm_fleet import Fleet, Pool
from .vm_volumes import DEFAULT_POOL, volume_xml

_PIECE = 256 * 1024
# Seeds are at most a few hundred KiB; what is larger at that place is none.
_LARGEST = 16 * 1024 * 1024
DISK = Disk(name=SEED, device="disk", bus="virtio", readonly=True)


@dataclass(frozen=True)
class Seed:
    """What the seed is to be. C(volume) is there already, or None."""

    pool: Pool
    name: str
    content: bytes
    volume: libvirt.virStorageVol | None
    differs: bool

    @property
    def key(self) -> str:
        return f"{self.pool.name}/{self.name}"

    @property
    def place(self) -> Place:
        return Place("file" if self.pool.makes_files else "block", self._source, "raw")

    @property
    def _source(self) -> dict[str, str]:
        return {"file" if self.pool.makes_files else "dev": self.pool.path(self.name)}


def plan_seed(
    fleet: Fleet,
    machine: str,
    wanted: CloudInit | None,
    uuid: str,
    hostname: str | None,
    held: str | None,
    pool: str | None,
) -> Seed | None:
    """The seed, None where none is declared. C(held) is the volume (pool/name) of the machine's seed, if it has one."""
    if wanted is None and hostname is None:
        return None
    name = f"{file_part(machine)}-{SEED}.iso"
    place = held.partition("/")[0] if held else pool or DEFAULT_POOL
    label = "cloud_init"
    found = fleet.pool(place, label)
    if not found.is_local:
        raise Refused(f"{label}: a seed cannot be made in a pool of type {found.type}; have a pool {DEFAULT_POOL}")
    content = seed_image(wanted or CloudInit(), uuid, hostname or _as_hostname(machine))
    volume = fleet.host.volume(found.pool, name)
    differs = volume is None or _content(fleet, volume, len(content)) != content
    return Seed(found, name, content, volume, differs)


def _as_hostname(machine: str) -> str:
    """The name of a machine as one that a host can have."""
    return re.sub(r"[^a-z0-9.-]+", "-", machine.lower()).strip("-.") or "localhost"


def _content(fleet: Fleet, volume: libvirt.virStorageVol, length: int) -> bytes | None:
    with asking(f"read volume {volume.name()}"):
        capacity = int(volume.info()[1])
        if capacity < length or capacity > _LARGEST:
            return None
        stream = fleet.host.connection.newStream(0)
        try:
            volume.download(stream, 0, 0, 0)
            pieces = []
            while piece := stream.recv(_PIECE):
                pieces.append(piece)
            stream.finish()
        except libvirt.libvirtError:
            with suppress(libvirt.libvirtError):
                stream.abort()
            raise
    whole = b"".join(pieces)
    # What is left of a longer seed before is zeros.
    return whole[:length] if not whole[length:].strip(b"\0") else None


def write_seed(fleet: Fleet, seed: Seed) -> None:
    """Make the volume, or write it anew where its content differs."""
    volume = seed.volume
    size = len(seed.content)
    with asking(f"write volume {seed.key}"):
        if volume is None:
            volume = seed.pool.pool.createXML(volume_xml(seed.name, size, "raw"), 0)
        capacity = int(volume.info()[1])
        if capacity < size:
            volume.resize(size, 0)
        content = seed.content.ljust(capacity, b"\0")
        stream = fleet.host.connection.newStream(0)
        try:
            volume.upload(stream, 0, len(content), 0)
            sent = 0
            while sent < len(content):
                sent += stream.send(content[sent : sent + _PIECE])
            stream.finish()
        except libvirt.libvirtError:
            with suppress(libvirt.libvirtError):
                stream.abort()
            raise
