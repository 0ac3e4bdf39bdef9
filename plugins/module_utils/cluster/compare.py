# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a live object already is what is declared, so that nothing has to be sent.

The declared object, the live one and our entry of its managedFields are walked at once, without a schema: where the API
server keeps a list or map as one value (atomic), managedFields end there, and below it everything counts. The format of
FieldsV1 is that of structured-merge-diff: C(f:<field>), C(k:{<keys>}) for items of a keyed list, C(v:<value>) for those
of a set, C(.) for the thing itself.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from .merge import SERVER_METADATA, without_nulls
from .resource import Object


class Match(enum.IntEnum):
    """SAME: nothing to send. UNSURE: only the server knows, ask it by a dry run. DIFFERENT: apply."""

    SAME = 0
    UNSURE = 1
    DIFFERENT = 2


# The server keeps no ownership of these, or they name the object.
_IDENTITY = SERVER_METADATA | {"name", "namespace", "generateName"}
# Maps of free text: a changed spelling is a change, whatever it may mean as a number.
_TEXT_MAPS = frozenset({"labels", "annotations", "data", "stringData", "matchLabels", "nodeSelector"})
_MISSING: Any = object()


def compare(body: Object, live: Object, manager: str) -> Match:
    """Compare what would be applied by C(manager) with the live object."""
    declared = {name: value for name, value in body.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = {name: value for name, value in body["metadata"].items() if name not in _IDENTITY}
    if metadata:
        declared["metadata"] = metadata
    fields = owned_fields(live, manager, body["apiVersion"])
    if fields is None:
        # Who declares nothing owns nothing, and the server keeps no entry of that.
        return Match.DIFFERENT if declared or any(_applied(live, manager)) else Match.SAME
    return _mapping(declared, live, fields, False)


def owned_fields(live: Object, manager: str, api_version: str) -> Mapping[str, Any] | None:
    """What C(manager) has applied to the object; None when it has not, or in another version of the API."""
    for entry in _applied(live, manager):
        if entry.get("apiVersion") == api_version:
            fields: Mapping[str, Any] = entry.get("fieldsV1") or {}
            return fields
    return None


def _applied(live: Object, manager: str) -> Iterator[Mapping[str, Any]]:
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            yield entry


def owned_part(live: Any, fields: Mapping[str, Any]) -> Any:
    """The part of a live value that C(fields) own; applied again, it changes nothing and gives nothing up."""
    if fields.keys() <= {"."}:
        # A map that others fill as well is owned without its content, an atomic one with it; none is both.
        return live
    if isinstance(live, Mapping):
        return {name: owned_part(value, fields[f"f:{name}"]) for name, value in live.items() if f"f:{name}" in fields}
    if isinstance(live, list):
        values = [json.loads(path[2:]) for path in fields if path.startswith("v:")]
        keys = [json.loads(path[2:]) for path in fields if path.startswith("k:")]
        return [item for item in live if item in values or any(_is_of(item, key) for key in keys)]
    return live


def _value(declared: Any, live: Any, fields: Mapping[str, Any] | None, text: bool) -> Match:
    if isinstance(declared, list) and not declared and fields is None:
        # An empty list that is not atomic leaves no trace in managedFields.
        return Match.DIFFERENT if live is not _MISSING and live else Match.SAME
    if live is _MISSING and fields is not None and not declared:
        # Built-in kinds drop most of what is empty, zero or false; custom ones keep it.
        return Match.UNSURE
    if fields is None or live is _MISSING:
        return Match.DIFFERENT
    if fields.keys() <= {"."}:
        if isinstance(live, list):
            live = without_nulls(live)
        if declared == live and _same_types(declared, live):
            return Match.SAME
        if isinstance(declared, (Mapping, list)):
            return Match.UNSURE if _contains(live, declared, text) else Match.DIFFERENT
        return Match.SAME if same_scalar(declared, live, text) else Match.DIFFERENT
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        return _mapping(declared, live, fields, text)
    if isinstance(declared, list) and isinstance(live, list):
        return _items(declared, live, fields, text)
    return Match.DIFFERENT


def _mapping(declared: Mapping[str, Any], live: Mapping[str, Any], fields: Mapping[str, Any], text: bool) -> Match:
    if any(path.startswith("f:") and path[2:] not in declared for path in fields):
        return Match.DIFFERENT
    worst = Match.SAME
    for name, value in declared.items():
        match = _value(value, live.get(name, _MISSING), fields.get(f"f:{name}"), text or name in _TEXT_MAPS)
        if match is Match.DIFFERENT:
            return match
        worst = max(worst, match)
    return worst


def _items(declared: list[Any], live: list[Any], fields: Mapping[str, Any], text: bool) -> Match:
    """A list whose items the server tells apart, by keys or, in a set, by themselves."""
    values = [json.loads(path[2:]) for path in fields if path.startswith("v:")]
    if values:
        same = len(values) == len(declared) and all(item in values and item in live for item in declared)
        return Match.SAME if same else Match.DIFFERENT
    entries = [(json.loads(path[2:]), below) for path, below in fields.items() if path.startswith("k:")]
    if len(entries) != len(declared):
        return Match.DIFFERENT
    worst = Match.SAME
    # A key that was left to its default is in the entry but not in the item: the most explicit items choose first.
    for item in sorted(declared, key=lambda item: -len(item) if isinstance(item, Mapping) else 0):
        entry = next((entry for entry in entries if _is_of(item, entry[0])), None)
        if entry is None:
            return Match.DIFFERENT
        entries.remove(entry)
        found = next((known for known in live if _is_of(known, entry[0])), _MISSING)
        match = _value(item, found, entry[1], text)
        if match is Match.DIFFERENT:
            return match
        worst = max(worst, match)
    return worst


def _is_of(item: Any, keys: Mapping[str, Any]) -> bool:
    return isinstance(item, Mapping) and all(item.get(name, value) == value for name, value in keys.items())


def _contains(live: Any, declared: Any, text: bool) -> bool:
    """Whether every declared value is there; the server may have added its defaults."""
    if isinstance(declared, Mapping):
        return isinstance(live, Mapping) and all(
            name in live and _contains(live[name], value, text or name in _TEXT_MAPS)
            for name, value in declared.items()
        )
    if isinstance(declared, list):
        return (
            isinstance(live, list)
            and len(live) == len(declared)
            and all(_contains(known, value, text) for known, value in zip(live, declared, strict=True))
        )
    return same_scalar(declared, live, text)


def _same_types(declared: Any, live: Any) -> bool:
    """Python takes True for 1; JSON does not."""
    if isinstance(declared, Mapping):
        return all(_same_types(value, live[name]) for name, value in declared.items())
    if isinstance(declared, list):
        return all(_same_types(value, known) for value, known in zip(declared, live, strict=True))
    return isinstance(declared, bool) is isinstance(live, bool)


_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|n|u)?")
_SCALE = {
    **{prefix: Decimal(10) ** power for prefix, power in zip("num", (-9, -6, -3), strict=True)},
    **{prefix: Decimal(10) ** (3 * power) for power, prefix in enumerate("kMGTPE", 1)},
    **{f"{prefix}i": Decimal(2) ** (10 * power) for power, prefix in enumerate("KMGTPE", 1)},
}


def same_scalar(declared: Any, live: Any, text: bool = False) -> bool:
    """Whether two values mean the same: servers write 1024Mi as 1Gi, and a quantity of 2 as the string "2"."""
    if isinstance(declared, bool) or isinstance(live, bool):
        return declared is live
    if declared == live:
        return True
    if text or not isinstance(declared, (str, int, float)) or not isinstance(live, (str, int, float)):
        return False
    first, second = _QUANTITY.fullmatch(str(declared)), _QUANTITY.fullmatch(str(live))
    if not first or not second:
        return False
    if isinstance(declared, str) and isinstance(live, str) and not (first[2] or second[2]):
        # Without a unit it may be a version, where 4.10 is not 4.1.
        return False
    return _amount(first) == _amount(second)


def _amount(match: re.Match[str]) -> Decimal:
    return Decimal(match[1]) * _SCALE.get(match[2] or "", Decimal(1))
