# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume: what a task says of it, and what its XML says.

Pure. https://libvirt.org/formatstorage.html#storage-volume-xml
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ..machine import quantity
from ..machine.refusal import Problems, Refused
from .overlay import fresh, laid_over
from .xml import make, parse, remove, same

# Types of pools in which libvirt makes volumes that need no more space than is written.
SPARSE_POOLS = ("dir", "fs", "netfs", "gluster", "vstorage")
# Types of pools in which a second volume can stand beside one, to mark it as unfinished.
MARKED_POOLS = (*SPARSE_POOLS, "logical", "rbd", "zfs")
# The name of that volume.
UNFINISHED = ".incomplete"
# What libvirt rounds a capacity up to, in bytes: it tells qemu-img KiB, and volume groups have extents.
_ROUNDED_FORMATS = {"qcow2": 1024, "qed": 1024}
_ROUNDED_POOLS = {"logical": 4 * 1024**2}
_OF_THE_MOMENT = ("allocation", "physical", "target/timestamps", "backingStore/timestamps", "backingStore/permissions")


@dataclass(frozen=True)
class Declaration:
    """What a task says of one volume. Sizes are in bytes."""

    name: str
    pool: str
    capacity: int | None
    allocation: int | None
    options: Mapping[str, Any]

    @property
    def label(self) -> str:
        return f"{self.pool}/{self.name}"

    @property
    def has_image(self) -> bool:
        return self.options["src"] is not None or self.options["url"] is not None


def read_declaration(options: Mapping[str, Any]) -> Declaration:
    """The declaration of a task or an item. Raises Refused with every mistake."""
    problems = Problems()
    name, pool = options["name"], options["pool"]
    if not name or "/" in name or name in (".", "..") or name.endswith(UNFINISHED):
        problems.add(f"name: {name!r} is no name of a volume; it has no slash, and does not end with {UNFINISHED}")
    if not pool:
        problems.add("pool: is missing")
    sizes = {option: problems.take(_reader(options, option)) for option in ("capacity", "allocation")}
    filled = [option for option in ("src", "url", "clone", "backing") if options[option] is not None]
    if len(filled) > 1:
        problems.add(f"{' and '.join(filled)}: a volume begins with one of them")
    if options["checksum"] is not None and all(options[option] is None for option in ("src", "url", "dest")):
        problems.add("checksum: is that of an image; give src, url or dest")
    if options["backing"] is not None and (options["backing"]["path"] is None) == (
        options["backing"]["volume"] is None
    ):
        problems.add("backing: needs a volume or a path, and one of them")
    if options["preallocate_metadata"] and (filled or options["format"] != "qcow2"):
        problems.add("preallocate_metadata: is for a blank volume of format qcow2")
    problems.refuse()
    return Declaration(name, pool, sizes["capacity"], sizes["allocation"], options)


def _reader(options: Mapping[str, Any], option: str) -> Callable[[], int | None]:
    """What reads a size."""

    def read() -> int | None:
        text = options[option]
        if text is None:
            return None
        if option == "allocation" and str(text).strip() == "0":
            return 0
        return int(quantity.amount(quantity.size(text, option)))

    return read


def is_capacity(declared: int, live: int, format_: str | None, pool_type: str | None) -> bool:
    """Whether a live capacity is the declared one, as libvirt rounds it."""
    step = max(_ROUNDED_FORMATS.get(format_ or "", 1), _ROUNDED_POOLS.get(pool_type or "", 1))
    return declared <= live < declared + step


@dataclass(frozen=True)
class Volume:
    """A volume as its XML has it. Sizes are in bytes."""

    element: Element

    @property
    def capacity(self) -> int:
        return int(self.element.findtext("capacity") or 0)

    @property
    def allocation(self) -> int:
        return int(self.element.findtext("allocation") or 0)

    @property
    def physical(self) -> int:
        return int(self.element.findtext("physical") or 0)

    @property
    def format(self) -> str | None:
        found = self.element.find("target/format")
        return found.get("type") if found is not None else None

    @property
    def path(self) -> str:
        return self.element.findtext("target/path") or ""

    @property
    def backing(self) -> str | None:
        return self.element.findtext("backingStore/path") or None

    @property
    def is_file(self) -> bool:
        return self.element.get("type") == "file"

    @property
    def looks_blank(self) -> bool:
        """Whether nothing seems to have been written: no block of raw data, no cluster of a qcow2 beside its tables."""
        if not self.is_file or self.backing:
            return False
        if self.format == "qcow2":
            cluster = int(self.element.findtext("target/clusterSize") or 65536)
            # Header, refcount table and block, L1 table. The first cluster of data comes with an L2 table.
            l1_table = self.capacity // (cluster * cluster // 8) * 8
            return 0 < self.physical <= 4 * cluster + l1_table
        return self.format == "raw" and self.allocation == 0


def volume_of(text: str) -> Volume:
    """The volume of what libvirt gave out."""
    return Volume(parse(text))


def still(volume: Volume) -> Element:
    """The document without what tells of the moment, for a diff."""
    copy = deepcopy(volume.element)
    for path in _OF_THE_MOMENT:
        remove(copy, path)
    return copy


def new_volume(
    declaration: Declaration,
    pool_type: str,
    *,
    capacity: int | None,
    format_: str | None = None,
    backing: tuple[str, str] | None = None,
) -> Element:
    """The document to make a volume from. C(backing) is path and format. Raises Refused where it cannot be."""
    options = declaration.options
    extra = parse(options["xml"]) if options["xml"] else None
    if extra is not None and extra.tag != "volume":
        raise Refused(f"xml: begins with <{extra.tag}>; the document of a volume begins with <volume>")
    if capacity is None and backing is None and (extra is None or extra.find("capacity") is None):
        raise Refused(f"capacity: is missing; {declaration.label} is new and begins with nothing else")
    volume = make("volume")
    volume.append(make("name", declaration.name))
    if capacity is not None:
        volume.append(make("capacity", str(capacity), unit="bytes"))
    allocation = declaration.allocation
    if allocation is None and pool_type in SPARSE_POOLS:
        allocation = 0
    if allocation is not None:
        volume.append(make("allocation", str(allocation), unit="bytes"))
    target = SubElement(volume, "target")
    format_ = options["format"] or format_ or ("qcow2" if backing is not None else None)
    if format_ is not None:
        target.append(make("format", None, type=format_))
    if format_ == "qcow2":
        # libvirt's default, 0.10, has no dirty bitmaps, and so no incremental backups.
        target.append(make("compat", "1.1"))
    target.extend(_permissions(options))
    if backing is not None:
        store = SubElement(volume, "backingStore")
        store.append(make("path", backing[0]))
        store.append(make("format", None, type=backing[1]))
    if extra is None:
        return volume
    merged = laid_over(volume, extra, {})
    if not same(laid_over(merged, volume, {}), merged):
        raise Refused("xml: says something else than the options do; say each thing once")
    return fresh(merged, {})


def bare_volume(
    name: str, length: int, options: Mapping[str, Any], like: Volume | None, *, is_full: bool = False
) -> Element:
    """The document of a file that an image is written into: as many bytes, no format yet, the owner of C(like).

    One that will be C(is_full) gets its room at once, which writes faster than room that is found piece by piece.
    """
    volume = make("volume")
    volume.append(make("name", name))
    volume.append(make("capacity", str(length), unit="bytes"))
    volume.append(make("allocation", str(length) if is_full else "0", unit="bytes"))
    target = SubElement(volume, "target")
    target.append(make("format", None, type="raw"))
    declared = _permissions(options)
    kept = like.element.find("target/permissions") if like is not None else None
    if declared:
        target.extend(declared)
    elif kept is not None:
        target.append(deepcopy(kept))
    return volume


def _permissions(options: Mapping[str, Any]) -> list[Element]:
    permissions = make("permissions")
    for tag in ("mode", "owner", "group"):
        value = options[tag]
        if value is not None:
            permissions.append(make(tag, _mode(value) if tag == "mode" else str(value)))
    return [permissions] if len(permissions) else []


def _mode(text: str) -> str:
    """A mode as libvirt writes it: C(0600)."""
    try:
        value = int(str(text), 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o7777:
        raise Refused(f'mode: "{text}" is no mode; write it in octal and quoted, e.g. "0600"')
    return f"{value:04o}"
