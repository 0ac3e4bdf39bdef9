# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration files of libvirt's daemons and drivers, edited in place: comments and foreign settings stay.

Pure. A setting is C(name = value); a value is a number, a text in quotes, or a list in brackets over several lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..machine.refusal import Refused

_SETTING = re.compile(r"^\s*(?P<off>#\s*)?(?P<name>[a-z][a-z0-9_]*)\s*=\s*(?P<value>\S.*)?$")


@dataclass(frozen=True)
class _Place:
    """Lines C(start) to C(end) (not included) of a file that set a name, or show how it is set (C(off))."""

    start: int
    end: int
    name: str
    off: bool


def edited(text: str, settings: Mapping[str, Any], label: str) -> str:
    """The text of a file with these settings; None takes one away. Raises Refused for a value that cannot be one.

    A new setting stands behind the comment that shows it, else at the end. Of several of one name the last is the one
    that libvirt takes; it is changed, the others go.
    """
    lines = text.splitlines()
    for name, value in settings.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise Refused(f"{label}: {name!r} is no name of a setting")
        lines = _with(lines, name, None if value is None else _written(value, f"{label}.{name}"))
    return "\n".join(lines) + "\n" if lines else ""


def settings_of(text: str) -> dict[str, str]:
    """The settings of a file, as written there."""
    lines = text.splitlines()
    found = {}
    for place in _places(lines):
        if not place.off:
            value = " ".join(line.strip() for line in lines[place.start : place.end])
            found[place.name] = value.partition("=")[2].strip()
    return found


def _with(lines: list[str], name: str, value: str | None) -> list[str]:
    places = [place for place in _places(lines) if place.name == name]
    set_ = [place for place in places if not place.off]
    for place in reversed(set_[:-1] if value is not None else set_):
        lines = [*lines[: place.start], *lines[place.end :]]
    if value is None:
        return lines
    line = f"{name} = {value}"
    if set_:
        last = [place for place in _places(lines) if place.name == name and not place.off][-1]
        if settings_of("\n".join(lines[last.start : last.end])).get(name) == value:
            return lines
        return [*lines[: last.start], line, *lines[last.end :]]
    if places:
        return [*lines[: places[-1].end], line, *lines[places[-1].end :]]
    return [*lines, line]


def _places(lines: list[str]) -> Iterator[_Place]:
    number = 0
    while number < len(lines):
        match = _SETTING.match(lines[number])
        start, number = number, number + 1
        if match is None:
            continue
        value = match["value"] or ""
        off = match["off"] is not None
        if value.startswith("["):
            # A list ends with its bracket; in a comment, every line of it is one.
            while "]" not in value and number < len(lines) and lines[number].lstrip().startswith("#") == off:
                value += lines[number]
                number += 1
        yield _Place(start, number, match["name"], off)


def _written(value: Any, label: str) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[ {', '.join(_written(item, label) for item in value)} ]" if value else "[]"
    if isinstance(value, str):
        if "\n" in value or ('"' in value and "'" in value):
            raise Refused(f"{label}: a text has one line, and not both kinds of quotes")
        return f"'{value}'" if '"' in value else f'"{value}"'
    raise Refused(f"{label}: {value!r} is no number, text or list of texts")
