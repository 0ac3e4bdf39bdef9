# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a volume begins with: an image, a copy of another volume, nothing.

Nothing that was interrupted is ever taken for whole, see volume_store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..machine.image import Image
from ..machine.refusal import Refused
from ..task import Failure
from .errors import KvmError, asking
from .image_source import Source
from .library import libvirt
from .transfer import is_same, received, send, telling
from .usage import named
from .volume_store import Pool
from .volume_xml import SPARSE_POOLS, Declaration, Volume, bare_volume

Progress = Callable[[str], None]


def check_image(declared: Declaration, pool: Pool, live: Volume | None, source: Source) -> None:
    """Refuse an image that the volume cannot hold, before anything is changed."""
    image, label = source.image, declared.label
    format_ = declared.options["format"]
    if format_ is not None and format_ != image.format and not (format_ == "raw" and image.is_raw):
        raise Refused(
            f"format: {source.label} is {image.format}, {label} is to be {format_}. Leave format out, or convert the"
            f" image first: qemu-img convert -O {format_} IMAGE NEW"
        )
    if pool.type not in SPARSE_POOLS and not image.is_raw:
        raise Refused(
            f"{source.label} is {image.format}, and the volumes of pool {pool.name} ({pool.type}) are raw. Upload it"
            " into a pool of type dir, and clone it from there"
        )
    wanted = wanted_capacity(declared, pool, live)
    if wanted is not None and wanted < image.capacity:
        raise Refused(
            f"capacity: {source.label} holds a disk of {image.capacity} bytes, {label} has {wanted}; give it at least"
            " as much"
        )
    frees = live.allocation if live is not None else 0
    if pool.type in SPARSE_POOLS and source.allocated > pool.available + frees:
        raise Failure(
            f"Pool {pool.name} has {pool.available} bytes left; {source.label} needs {source.allocated}. Nothing was"
            " changed."
        )


def wanted_capacity(declared: Declaration, pool: Pool, live: Volume | None) -> int | None:
    """The capacity that a volume is to have with an image in it; None where that is the image's."""
    if declared.capacity is not None:
        return declared.capacity
    is_kept = live is not None and (live.looks_blank or pool.type not in SPARSE_POOLS)
    return live.capacity if live is not None and is_kept else None


def holds_image(pool: Pool, volume: libvirt.virStorageVol, live: Volume, source: Source) -> bool:
    """Whether a volume's bytes are an image's. Reads until they differ."""
    if source.descriptor is None:
        raise Refused("overwrite: compares the volume with a file; fetch the image first, and give src instead of url")
    if live.is_file and not source.image.is_raw and live.physical != source.image.length:
        return False
    if live.format not in (source.image.format, "raw") and not source.image.is_raw:
        return False
    sections = received(pool.host, volume, f"read volume {pool.name}/{volume.name()}")
    return is_same(sections, source.descriptor, source.image.length)


def is_blank(pool: Pool, volume: libvirt.virStorageVol, live: Volume) -> bool:
    """Whether nothing was ever written into a volume."""
    if not live.looks_blank:
        return False
    if live.format != "raw" or live.capacity == 0:
        return True
    # What was written a moment ago may not be allocated yet, but is no hole any more.
    first = next(received(pool.host, volume, f"read volume {pool.name}/{volume.name()}"), 0)
    return isinstance(first, int) and first in (0, live.capacity)


def refuse_use(pool: Pool, name: str, live: Volume, verb: str, *, reads: bool = False) -> None:
    """Refuse to touch what a running or saved guest uses; what is only C(reads) may be used but not written to."""
    found = [use for use in pool.uses(live, name) if not reads or (use.writes and not use.saved)]
    if found:
        running = [use for use in found if not use.saved]
        state = "running" if running else "saved with its memory, which fits the disk as it is"
        raise Failure(
            f"Cannot {verb} volume {pool.name}/{name}: it is in use by {named(running or found)}, {state}."
            f" {'Stop' if running else 'Start and stop'} the guest, or detach the disk, first.",
            guests=sorted({use.guest for use in found}),
        )


@contextmanager
def unfinished(pool: Pool, name: str, *, forget: bool) -> Iterator[None]:
    """Between these two lines a volume is not whole. What is not finished is taken away, where it is C(forget)."""
    pool.set_mark(name)
    try:
        yield
    except BaseException:
        if forget:
            pool.forget(name)
        raise
    pool.unmark(name)


def fill(
    declared: Declaration,
    pool: Pool,
    volume: libvirt.virStorageVol | None,
    live: Volume | None,
    source: Source,
    progress: Progress,
) -> None:
    """Write an image into a volume, a new one or one that is there."""
    name, image = declared.name, source.image
    wanted = wanted_capacity(declared, pool, live)
    is_file = pool.type in SPARSE_POOLS
    with unfinished(pool, name, forget=is_file or volume is None):
        if volume is not None and is_file:
            # A file keeps what lies behind the end of a shorter image; the volume is made anew.
            pool.delete(volume)
            volume = None
        if volume is None:
            size = image.length if is_file else wanted or image.length
            # Elsewhere than on a host's own disks libvirt may have to write all of the room as zeros first.
            is_full = source.is_full and pool.type in ("dir", "fs")
            volume = pool.make(bare_volume(name, size, declared.options, live, is_full=is_full))
        _send(declared, pool, volume, source, progress)
        if is_file:
            _adopt(pool, name, image, wanted)


def _send(declared: Declaration, pool: Pool, volume: libvirt.virStorageVol, source: Source, progress: Progress) -> None:
    length = source.image.length
    tell = telling(progress, declared.label, length, "uploaded")
    asked = f"upload {source.label} into volume {declared.label}"
    try:
        sent = send(pool.host, volume, source.sections(), length, tell, asked)
    except KvmError as error:
        error.add("It is not finished; run this again.")
        raise
    if sent != length:
        raise Failure(f"Cannot {asked}: {sent} of {length} bytes were sent. Run this again.")


def _adopt(pool: Pool, name: str, image: Image, wanted: int | None) -> None:
    """Let libvirt see what is in the file now, and give the disk the size that was asked for."""
    pool.refresh()
    volume = pool.host.volume(pool.pool, name)
    if volume is None:
        raise Failure(f"Volume {pool.name}/{name} is gone since it was uploaded. Somebody else has deleted it.")
    if wanted is not None and wanted > image.capacity:
        with asking(f"resize volume {pool.name}/{name}"):
            volume.resize(wanted, 0)
