# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a user declares to what is sent: server-written fields out, nulls taken as removals, named lists merged.

Pure: nothing here changes its arguments, and results share parts with them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Invalid
from .resource import Object, Resource

# What the server writes into metadata; a pasted C(kubectl get -o yaml) carries it.
SERVER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(frozen=True)
class Intent:
    """What to apply, and beside it the fields to take away: the same tree with None at its ends."""

    body: Object
    removals: Object


@dataclass
class _Place:
    """A place in an object: whether its value is a list merged by C(key), and which such lists are below it."""

    path: str = ""
    key: str = ""
    replace: bool = False
    one_of: frozenset[str] = frozenset()
    below: dict[str, _Place] = field(default_factory=dict)


_NOWHERE = _Place()


def intent(
    resource: Resource, desired: Object, live: Object | None = None, replace_lists: bool | Collection[str] = False
) -> Intent:
    """What C(desired) asks for, given the live object.

    A list that the resource names is merged by its key: live items stay, declared ones are laid over those of the same
    name or appended, and C({<key>: x, state: absent}) takes one out. C(replace_lists), or the paths (or last names) in
    it, makes the declared list the whole list. A null removes a field. Raises Invalid.
    """
    for name, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if desired.get(name, expected) != expected:
            raise Invalid(f"The definition is of {name} {desired[name]}, where {expected} is declared.")
    removals: Object = {}
    body = _mapping(desired, live or {}, _places(resource, replace_lists), removals)
    body.pop("status", None)
    metadata = {name: value for name, value in body.get("metadata", {}).items() if name not in SERVER_METADATA}
    if not resource.namespaced:
        metadata.pop("namespace", None)
    return Intent({"apiVersion": resource.api_version, "kind": resource.kind, **body, "metadata": metadata}, removals)


def _places(resource: Resource, replace_lists: bool | Collection[str]) -> _Place:
    replaced = frozenset() if isinstance(replace_lists, bool) else frozenset(replace_lists)
    names = {_last(path) for path in resource.list_keys}
    unknown = sorted(replaced - names - set(resource.list_keys))
    if unknown:
        raise Invalid(
            f"replace_lists: {resource.kind} has no named list {', '.join(unknown)}."
            f" It has: {', '.join(sorted(names)) or 'none'}."
        )
    root = _Place()
    for path, key in resource.list_keys.items():
        place = root
        for part in path.split("."):
            place = place.below.setdefault(part, _Place())
        place.path, place.key = path, key
        place.one_of = resource.one_of.get(path, frozenset())
        place.replace = replace_lists is True or path in replaced or _last(path) in replaced
    return root


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _mapping(declared: Mapping[str, Any], live: Mapping[str, Any], place: _Place, removals: Object) -> Object:
    """The declared map without its nulls; those that stand for a live field are noted in C(removals)."""
    result: Object = {}
    for name, value in declared.items():
        if value is None:
            if live.get(name) is not None:
                removals[name] = None
            continue
        inner = place.below.get(name, _NOWHERE)
        known = live.get(name)
        if isinstance(value, Mapping):
            found: Object = {}
            result[name] = _mapping(value, known if isinstance(known, Mapping) else {}, inner, found)
            if found:
                removals[name] = found
        elif isinstance(value, list):
            result[name] = _list(value, known if isinstance(known, list) else [], inner)
        else:
            result[name] = value
    return result


def _list(declared: list[Any], live: list[Any], place: _Place) -> list[Any]:
    if not place.key:
        return [without_nulls(item) for item in declared]
    wanted = _by_key(declared, place)
    absent = {
        name for name, item in wanted.items() if item.keys() == {place.key, "state"} and item["state"] == "absent"
    }
    known = {} if place.replace else {item.get(place.key): item for item in live if isinstance(item, Mapping)}
    merged = [
        _item(wanted[name], item, place) if name in wanted else item
        for name, item in known.items()
        if name not in absent
    ]
    return merged + [
        _item(item, {}, place) for name, item in wanted.items() if name not in known and name not in absent
    ]


def _by_key(declared: Iterable[Any], place: _Place) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for item in declared:
        name = item.get(place.key) if isinstance(item, Mapping) else None
        if name is None:
            raise Invalid(f"{place.path}: every item needs its {place.key}; this one has none: {item!r}")
        if name in found:
            raise Invalid(f"{place.path}: two items have the {place.key} {name}. Give each its own.")
        found[name] = item
    return found


def _item(declared: Mapping[str, Any], live: Mapping[str, Any], place: _Place) -> Object:
    """A declared list item laid over the live one of its name."""
    result = dict(live)
    if any(declared.get(name) is not None for name in place.one_of):
        for name in place.one_of:
            if declared.get(name) is None:
                result.pop(name, None)
    for name, value in declared.items():
        known = result.get(name)
        inner = place.below.get(name, _NOWHERE)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            result[name] = _item(value, known if isinstance(known, Mapping) else {}, inner)
        elif isinstance(value, list):
            result[name] = _list(value, known if isinstance(known, list) else [], inner)
        else:
            result[name] = value
    return result


def without_nulls(value: Any) -> Any:
    """The value without nulls, which say no more than a missing field; Go writes C(creationTimestamp: null)."""
    if isinstance(value, Mapping):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
