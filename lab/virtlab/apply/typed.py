"""Objects seen through their type: checked, as sets of fields, compared, merged, with fields taken out.

After sigs.k8s.io/structured-merge-diff/typed; the functions bear the names of its operations. None changes its
arguments, and their results share parts with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from virtlab.apply.fieldset import FieldSet, Path, element_text, key_element, value_element
from virtlab.apply.types import ListType, MapType, Type, TypeMismatch
from virtlab.goformat import quoted

_ABSENT: Any = object()


def item_element(kind: ListType, item: Any) -> str:
    """The path element of a list's item. Raises TypeMismatch for an item that has none."""
    if not kind.keys:
        if item is None:
            raise TypeMismatch("associative list without keys has an element that's an explicit null")
        if isinstance(item, dict):
            raise TypeMismatch("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise TypeMismatch("not supported: associative list with lists as elements")
        return value_element(item)
    if item is None:
        raise TypeMismatch("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise TypeMismatch("associative list with keys may not have non-map elements")
    keys = {key: item.get(key, kind.defaults.get(key, _ABSENT)) for key in kind.keys}
    keys = {key: value for key, value in keys.items() if value is not _ABSENT}
    if not keys:
        names = "[" + " ".join(quoted(key) for key in kind.keys) + "]"
        raise TypeMismatch(
            f"associative list with keys has an element that omits all key fields {names} "
            "(and doesn't have default values for any key fields)"
        )
    return key_element(keys)


def check(kind: Type, value: Any, *, duplicates: bool = True) -> None:
    """Raises TypeMismatch where C(value) is not of its type; C(duplicates): lists may repeat a key."""
    errors = list(_errors(kind, value, "", duplicates))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise TypeMismatch("\n".join(["errors:", *(f"  {error}" for error in errors)]))


def _errors(kind: Type, value: Any, path: str, duplicates: bool) -> Iterable[TypeMismatch]:
    if value is None:
        return
    match kind.resolve(value):
        case MapType() as mapping:
            if not isinstance(value, dict):
                yield TypeMismatch(f"expected map, got &{{{_shown(value)}}}", path)
                return
            for key, item in value.items():
                child = mapping.fields.get(key, mapping.element)
                if child is None:
                    yield TypeMismatch("field not declared in schema", f"{path}.{key}")
                    return
                yield from _errors(child, item, f"{path}.{key}", duplicates)
        case ListType() as listing:
            if not isinstance(value, list):
                yield TypeMismatch(f"expected list, got &{{{_shown(value)}}}", path)
                return
            yield from _item_errors(listing, value, path, duplicates)
        case "numeric" if isinstance(value, bool) or not isinstance(value, int | float):
            yield TypeMismatch(f"expected numeric (int or float), got {_go_type(value)}", path)
        case "string" if not isinstance(value, str):
            yield TypeMismatch(f"expected string, got &value.valueUnstructured{{Value:{_shown(value)}}}", path)
        case "boolean" if not isinstance(value, bool):
            yield TypeMismatch(f"expected boolean, got &{{{_shown(value)}}}", path)
        case "untyped" if isinstance(value, dict | list):
            yield TypeMismatch(f"expected any scalar, got &{{{_shown(value)}}}", path)


def _item_errors(kind: ListType, items: list[Any], path: str, duplicates: bool) -> Iterable[TypeMismatch]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        element = f"i:{index}"
        if kind.associative:
            try:
                element = item_element(kind, item)
            except TypeMismatch as error:
                yield TypeMismatch(f"element {index}: {error.message}", path)
                return
            if element in seen and not duplicates:
                yield TypeMismatch(f"duplicate entries for key {element_text(element)}", path)
            seen.add(element)
        yield from _errors(kind.element, item, path + element_text(element), duplicates)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else quoted(value)


def _go_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case list():
            return "[]interface {}"
    return "map[string]interface {}"


def to_field_set(kind: Type, value: Any) -> FieldSet:
    """The fields that a configuration sets: its leaves, and what has no declared name."""
    found = FieldSet()
    _collect(kind, value, (), found)
    return found


def _collect(kind: Type, value: Any, path: Path, found: FieldSet) -> None:
    match kind.resolve(value):
        case MapType() as mapping if not mapping.atomic:
            for key, item in (value or {}).items():
                declared = mapping.fields.get(key)
                child, below = declared or mapping.element, (*path, f"f:{key}")
                if child is not None:
                    _collect(child, item, below, found)
                if item is None or item == {} or declared is None:
                    found.insert(below)
        case ListType(associative=True) as listing:
            elements = [item_element(listing, item) for item in value or ()]
            for element, item in zip(elements, value or (), strict=True):
                if elements.count(element) == 1:
                    _collect(listing.element, item, (*path, element), found)
                found.insert((*path, element))
        case _:
            found.insert(path)


@dataclass
class Comparison:
    """The fields that differ between two objects; none is in more than one set."""

    added: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    removed: FieldSet = field(default_factory=FieldSet)

    def without(self, ignored: FieldSet) -> Comparison:
        return Comparison(self.added.without(ignored), self.modified.without(ignored), self.removed.without(ignored))


def compare(kind: Type, old: Any, new: Any) -> Comparison:
    """What changed from C(old) to C(new)."""
    found = Comparison()
    _compare(kind, old, new, (), found)
    return found


def _compare(kind: Type, old: Any, new: Any, path: Path, found: Comparison) -> None:
    if old is not _ABSENT and new is not _ABSENT and old == new and type(old) is type(new):
        return
    forms = [kind.resolve(value) for value in (old, new) if value is not _ABSENT and value is not None]
    forms = forms or [kind.resolve(None)]
    if len(forms) == 2 and forms[0] is not forms[1] and forms[0] != forms[1]:
        # The value changed its form: gone in the one, new in the other, each with what is below.
        for form in forms:
            _compare_as(form, old, new, path, found)
        return
    leaf = _compare_as(forms[-1], old, new, path, found)
    if not leaf and old is _ABSENT:
        found.added.insert(path)
    elif not leaf and new is _ABSENT:
        found.removed.insert(path)


def _compare_as(form: MapType | ListType | str, old: Any, new: Any, path: Path, found: Comparison) -> bool:
    """Compare as the one form; returns whether it is a leaf."""
    match form:
        case MapType(atomic=False):
            before = old if isinstance(old, dict) else {}
            after = new if isinstance(new, dict) else {}
            if before or after:
                for key in before.keys() | after.keys():
                    child = form.fields.get(key, form.element)
                    if child is not None:
                        values = before.get(key, _ABSENT), after.get(key, _ABSENT)
                        _compare(child, *values, (*path, f"f:{key}"), found)
                return False
        case ListType(associative=True):
            before_items = old if isinstance(old, list) else []
            after_items = new if isinstance(new, list) else []
            if before_items or after_items:
                _compare_items(form, before_items, after_items, path, found)
                return False
    if old is _ABSENT:
        found.added.insert(path)
    elif new is _ABSENT:
        found.removed.insert(path)
    elif old != new or type(old) is not type(new):
        found.modified.insert(path)
    return True


def _by_element(kind: ListType, items: list[Any]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for item in items:
        grouped.setdefault(item_element(kind, item), []).append(item)
    return grouped


def _compare_items(kind: ListType, old: list[Any], new: list[Any], path: Path, found: Comparison) -> None:
    before, after = _by_element(kind, old), _by_element(kind, new)
    for element in {**before, **after}:
        left, right, below = before.get(element, []), after.get(element, []), (*path, element)
        if len(left) <= 1 and len(right) <= 1:
            values = left[0] if left else _ABSENT, right[0] if right else _ABSENT
            _compare(kind.element, *values, below, found)
        elif len(left) > 1 and len(right) > 1:
            if left != right:
                found.modified.insert(below)
        elif len(left) > 1:
            if right:
                _compare(kind.element, _ABSENT, right[0], below, found)
            found.removed.insert(below)
        else:
            if left:
                _compare(kind.element, left[0], _ABSENT, below, found)
            found.added.insert(below)


def merge(kind: Type, live: Any, config: Any) -> Any:
    """C(live) with what C(config) says; lists of items with keys are merged, the order of C(config) prevails."""
    if live is _ABSENT or live is None:
        return config
    match kind.resolve(live if config is None else config):
        case MapType(atomic=False) | ListType(associative=True) if config is None and live:
            return live
        case MapType(atomic=False) as mapping if isinstance(live, dict) and isinstance(config, dict):
            if not live and not config:
                return config
            merged = dict(live)
            for key, value in config.items():
                child = mapping.fields.get(key, mapping.element)
                before = live.get(key, _ABSENT)
                merged[key] = value if child is None else merge(child, before, value)
            return merged
        case ListType(associative=True) as listing if isinstance(live, list) and isinstance(config, list):
            return _merge_items(listing, live, config)
    return config


def _merge_items(kind: ListType, live: list[Any], config: list[Any]) -> list[Any]:
    left = [item_element(kind, item) for item in live]
    right = [item_element(kind, item) for item in config]
    known: dict[str, Any] = {}
    for element, item in zip(left, live, strict=True):
        # Repeated items are not merged with the new one.
        known[element] = None if element in known else item
    wanted = dict(zip(right, config, strict=True))
    shared = [element for element in right if element in known]
    merged: set[str] = set()
    out: list[Any] = []

    def take(element: str) -> None:
        merged.add(element)
        out.append(merge(kind.element, known.get(element, _ABSENT), wanted[element]))

    at, to = 0, 0
    while at < len(left) or to < len(right):
        if at < len(left) and to < len(right):
            element = left[at]
            if element == right[to]:
                take(element)
                at, to, shared = at + 1, to + 1, shared[1:]
                continue
            if element in wanted and shared and shared[0] != element:
                at += 1
                continue
        if at < len(left):
            element = left[at]
            if element not in wanted:
                out.append(live[at])
                at += 1
                continue
            if element in merged:
                at += 1
        if to < len(right):
            element = right[to]
            take(element)
            to += 1
            if shared and shared[0] == element:
                shared = shared[1:]
    return out


def remove_items(kind: Type, value: Any, gone: FieldSet) -> Any:
    """C(value) without the fields and items in C(gone); atomic values are left whole."""
    match kind.resolve(value):
        case MapType(atomic=False) as mapping if isinstance(value, dict):
            kept = {}
            for key, item in value.items():
                element = f"f:{key}"
                if element in gone.members:
                    continue
                child, below = mapping.fields.get(key, mapping.element), gone.children.get(element)
                kept[key] = remove_items(child, item, below) if below and child is not None else item
            return kept
        case ListType(associative=True) as listing if isinstance(value, list):
            items = []
            for item in value:
                element = item_element(listing, item)
                if element in gone.members:
                    continue
                below = gone.children.get(element)
                items.append(remove_items(listing.element, item, below) if below else item)
            return items
    return value


def with_named_fields(kind: Type, fields: FieldSet) -> FieldSet:
    """C(fields) and the declared fields above them, which a set does not hold otherwise."""
    members, children = set(fields.members), {}
    for element, child in fields.children.items():
        below: Type | None
        if element.startswith("f:"):
            name = element[2:]
            if kind.map is not None and name in kind.map.fields:
                members.add(element)
            below = kind.map.fields.get(name, kind.map.element) if kind.map is not None else None
        else:
            below = kind.list.element if kind.list is not None else None
        children[element] = child if below is None else with_named_fields(below, child)
    return FieldSet(members, children)
