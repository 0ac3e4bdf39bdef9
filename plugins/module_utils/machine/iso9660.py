# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small file system image (ISO 9660 with Joliet names), as cloud-init reads its seed from. Pure.

The same files give the same bytes, so that images can be compared.
Formats: ECMA-119 (https://ecma-international.org/publications-and-standards/standards/ecma-119/), and Joliet, which
repeats the directories with names of any case in UCS-2.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SECTOR = 2048
_SYSTEM_AREA = 16
_NO_DATE = bytes(7)
_NO_LONG_DATE = b"0" * 16 + b"\0"
_JOLIET_ESCAPE = b"%/E"


@dataclass
class _Directory:
    """C(places) are the first sectors of its records: that of ISO 9660, that of Joliet."""

    name: str
    parent: _Directory | None
    directories: dict[str, _Directory] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    places: list[int] = field(default_factory=lambda: [0, 0])
    number: int = 1


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """The image with that volume label. Paths are as C(openstack/latest/user_data); names are short."""
    directories = _tree(files)
    sector = _SYSTEM_AREA + 3
    tables = [[sector, sector + 1], [sector + 2, sector + 3]]
    sector += 4
    for joliet in (0, 1):
        for directory in directories:
            # The records of a seed's directory fit into one sector.
            directory.places[joliet] = sector
            sector += 1
    contents: dict[tuple[int, str], int] = {}
    for directory in directories:
        for name, content in sorted(directory.files.items()):
            contents[directory.number, name] = sector
            sector += max(1, _sectors(len(content)))
    out = bytearray(sector * SECTOR)
    for number, joliet in ((_SYSTEM_AREA, 0), (_SYSTEM_AREA + 1, 1)):
        _put(out, number, _descriptor(label, sector, directories, tables[joliet], joliet))
    _put(out, _SYSTEM_AREA + 2, b"\xffCD001\x01")
    for joliet in (0, 1):
        for order, place in zip("<>", tables[joliet], strict=True):
            _put(out, place, _path_table(directories, order, joliet))
        for directory in directories:
            _put(out, directory.places[joliet], _records(directory, contents, joliet))
    for directory in directories:
        for name, content in directory.files.items():
            _put(out, contents[directory.number, name], content)
    return bytes(out)


def _tree(files: Mapping[str, bytes]) -> list[_Directory]:
    """The directories, the root first, each after its parent, with their numbers."""
    root = _Directory("", None)
    for path, content in files.items():
        *above, name = path.split("/")
        place = root
        for part in above:
            place = place.directories.setdefault(part, _Directory(part, place))
        place.files[name] = content
    level, found = [root], []
    while level:
        found += level
        level = [item for directory in level for _name, item in sorted(directory.directories.items())]
    for number, directory in enumerate(found, start=1):
        directory.number = number
    return found


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def _put(out: bytearray, sector: int, content: bytes) -> None:
    start = sector * SECTOR
    out[start : start + len(content)] = content


def _both(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def _both_short(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)


def _encoded(name: str, joliet: int, *, is_file: bool = False) -> bytes:
    if joliet:
        return name.encode("utf-16-be")
    version = ("" if "." in name else ".") + ";1"
    return (name.upper() + (version if is_file else "")).encode("ascii")


def _record(name: bytes, place: int, size: int, *, is_directory: bool) -> bytes:
    padding = b"" if len(name) % 2 else b"\0"
    body = b"".join(
        (
            b"\0",
            _both(place),
            _both(size),
            _NO_DATE,
            b"\x02" if is_directory else b"\0",
            b"\0\0",
            _both_short(1),
            bytes([len(name)]),
            name,
            padding,
        )
    )
    return bytes([len(body) + 1]) + body


def _records(directory: _Directory, contents: Mapping[tuple[int, str], int], joliet: int) -> bytes:
    parent = directory.parent or directory
    entries = [
        (
            _encoded(item.name, joliet),
            _record(_encoded(item.name, joliet), item.places[joliet], SECTOR, is_directory=True),
        )
        for item in directory.directories.values()
    ]
    for name, content in directory.files.items():
        encoded = _encoded(name, joliet, is_file=True)
        place = contents[directory.number, name]
        entries.append((encoded, _record(encoded, place, len(content), is_directory=False)))
    own = _record(b"\0", directory.places[joliet], SECTOR, is_directory=True)
    above = _record(b"\x01", parent.places[joliet], SECTOR, is_directory=True)
    return own + above + b"".join(record for _name, record in sorted(entries))


def _path_table(directories: Sequence[_Directory], order: str, joliet: int) -> bytes:
    table = b""
    for directory in directories:
        name = _encoded(directory.name, joliet) if directory.parent else b"\0"
        number = directory.parent.number if directory.parent else 1
        table += struct.pack(f"{order}BBIH", len(name), 0, directory.places[joliet], number)
        table += name + (b"\0" if len(name) % 2 else b"")
    return table


def _descriptor(label: str, sectors: int, directories: Sequence[_Directory], tables: list[int], joliet: int) -> bytes:
    size = len(_path_table(directories, "<", joliet))
    root = _record(b"\0", directories[0].places[joliet], SECTOR, is_directory=True)
    return b"".join(
        (
            bytes([2 if joliet else 1]),
            b"CD001\x01\0",
            _padded("", joliet),
            _padded(label, joliet),
            bytes(8),
            _both(sectors),
            (_JOLIET_ESCAPE if joliet else b"").ljust(32, b"\0"),
            _both_short(1),
            _both_short(1),
            _both_short(SECTOR),
            _both(size),
            struct.pack("<II", tables[0], 0),
            struct.pack(">II", tables[1], 0),
            root,
            _padded("", joliet, 128) * 4,
            _padded("", joliet, 37) * 3,
            _NO_LONG_DATE * 4,
            b"\x01\0",
        )
    )


def _padded(value: str, joliet: int, length: int = 32) -> bytes:
    """A text of a descriptor, filled with blanks; of an odd length, Joliet leaves the last byte empty."""
    if not joliet:
        return value.encode("ascii").ljust(length)
    return value.ljust(length // 2).encode("utf-16-be").ljust(length, b"\0")
