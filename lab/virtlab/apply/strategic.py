"""The strategic merge patch of built-in kinds: lists are merged as x-kubernetes-patch-strategy says.

After k8s.io/apimachinery/pkg/util/strategicpatch. Nothing that is given is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from virtlab.goformat import quoted
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.status import StatusError

Schema = dict[str, Any]

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ELEMENT_ORDER = "$setElementOrder/"


def strategic_merge(schema: Schema, live: Object, patch: Object) -> Object:
    """C(live) with C(patch) merged into it. Raises StatusError for a patch that contradicts itself or its schema."""
    return _merge_map(schema, copied(live), patch)


def _bad_format(of: str) -> StatusError:
    return StatusError(400, f"invalid patch format of {of}", "BadRequest")


def _unmergeable(message: str) -> StatusError:
    return StatusError(500, message)


def _strategies(schema: Schema) -> frozenset[str]:
    return frozenset((schema.get("x-kubernetes-patch-strategy") or "").split(","))


def _child(schema: Schema, key: str) -> Schema:
    child = (schema.get("properties") or {}).get(key) or schema.get("additionalProperties")
    return child if isinstance(child, dict) else {}


def _merge_map(schema: Schema, live: Object, patch: Object) -> Object:
    """C(live) is changed."""
    match patch.get(_DIRECTIVE):
        case None:
            pass
        case "replace":
            return {key: copied(value) for key, value in patch.items() if key != _DIRECTIVE}
        case "delete":
            return {}
        case unknown:
            raise _unmergeable(f"unknown patch type: {unknown} in map: {go_map(patch)}")
    _retain_keys(live, patch)
    ordered = {key.removeprefix(_ELEMENT_ORDER): key for key in patch if key.startswith(_ELEMENT_ORDER)}
    for key, directive in ordered.items():
        _merge_ordered(_child(schema, key), live, patch, key, patch[directive])
    for key, value in patch.items():
        if key.startswith(_DELETE_FROM):
            name = key.removeprefix(_DELETE_FROM)
            if isinstance(live.get(name), list):
                live[name] = [item for item in live[name] if item not in value]
        elif not key.startswith("$") and key not in ordered:
            _merge_field(_child(schema, key), live, key, value)
    return live


def _merge_field(schema: Schema, live: Object, key: str, value: Any) -> None:
    if value is None:
        live.pop(key, None)
    elif isinstance(value, dict) and isinstance(live.get(key), dict):
        replace = "replace" in _strategies(schema)
        live[key] = copied(value) if replace else _merge_map(schema, live[key], value)
    elif isinstance(value, list) and isinstance(live.get(key), list):
        live[key] = _merge_list(schema, live[key], value)
    elif isinstance(value, dict) and _DIRECTIVE in value:
        live.pop(key, None)
    else:
        live[key] = _new(value)


def _retain_keys(live: Object, patch: Object) -> None:
    if _RETAIN_KEYS not in patch:
        return
    keys = patch[_RETAIN_KEYS]
    if not isinstance(keys, list):
        raise _bad_format("retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith("$") and key not in keys:
            raise _bad_format("retainKeys")
    for key in [key for key in live if key not in keys]:
        del live[key]


def _new(value: Any) -> Any:
    """A value that nothing is there to merge with: without directives, and without nulls."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if item is not None and not key.startswith("$")}
        return {key: _new(item) for key, item in kept.items() if not _is_directive(item)}
    if isinstance(value, list):
        return [_new(item) for item in value if not _is_directive(item)]
    return value


def _is_directive(value: Any) -> bool:
    return isinstance(value, dict) and _DIRECTIVE in value


def _merge_ordered(schema: Schema, live: Object, patch: Object, key: str, order: Any) -> None:
    """A list that comes with $setElementOrder: merged, then put into that order."""
    if not isinstance(order, list):
        raise _bad_format("setElementOrder list")
    before, sent = live.get(key), patch.get(key)
    if before is None and sent is None:
        return
    name = _namer(schema)
    if sent and order:
        remaining = iter([name(item) for item in order])
        if not all(name(item) in remaining for item in sent if not _is_directive(item)):
            raise _unmergeable(f"The order in patch list:\n{sent}\n doesn't match {_ELEMENT_ORDER} list:\n{order}\n")
    if sent is None:
        merged = before or []
    elif before is None:
        merged = _new(sent)
    else:
        merged = _merge_list(schema, before, sent)
    live[key] = _in_order(merged, order, before or [], name)


def _namer(schema: Schema) -> Callable[[Any], Any]:
    key = schema.get("x-kubernetes-patch-merge-key")
    return lambda item: item.get(key) if key and isinstance(item, dict) else item


def _merge_list(schema: Schema, live: list[Any], patch: list[Any]) -> list[Any]:
    if "merge" not in _strategies(schema):
        return copied(patch)  # type: ignore[no-any-return]
    if not live and not patch:
        return live
    name = _namer(schema)
    if not isinstance((*live, *patch)[0], dict):
        merged = list(dict.fromkeys((*live, *patch)))
        return _in_order(merged, patch, live, name)
    key = schema.get("x-kubernetes-patch-merge-key")
    if not key:
        raise _unmergeable("cannot merge lists without merge key")
    live, patch = _obey_directives(live, patch, key)
    merged = list(live)
    for item in patch:
        if key not in item:
            raise _unmergeable(f"map: {go_map(item)} does not contain declared merge key: {key}")
        at = next((index for index, old in enumerate(merged) if old.get(key) == item[key]), None)
        if at is None:
            merged.append(_new(item))
        else:
            merged[at] = _merge_map(schema.get("items") or {}, merged[at], item)
    return _in_order(merged, patch, live, name)


def _obey_directives(live: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Items that only say what to delete, or to replace the whole list."""
    plain, replace = [], False
    for item in patch:
        match item.get(_DIRECTIVE) if isinstance(item, dict) else None:
            case None:
                plain.append(item)
            case "delete":
                if key not in item:
                    raise _unmergeable(f"map: {go_map(item)} does not contain declared merge key: {key}")
                live = [old for old in live if old.get(key) != item[key]]
            case "replace":
                replace = True
            case "merge":
                raise _unmergeable("merging lists cannot yet be specified in the patch")
            case unknown:
                raise _unmergeable(f"unknown patch type: {unknown} in map: {go_map(item)}")
    return ([], plain) if replace else (live, plain)


def _in_order(merged: list[Any], order: Sequence[Any], live: list[Any], name: Callable[[Any], Any]) -> list[Any]:
    """Patched items in the order of the patch; others stay before those they stood before, or else follow."""
    wanted = [name(item) for item in order]
    before = [name(item) for item in live]
    patched = sorted((item for item in merged if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    others = [item for item in merged if name(item) not in wanted]
    out: list[Any] = []
    while patched and others:
        left, right = name(others[0]), name(patched[0])
        stood_before = left in before and right in before and before.index(left) < before.index(right)
        out.append((others if stood_before else patched).pop(0))
    return out + others + patched


def go_map(item: Any) -> str:
    """As Go's %v prints a map."""
    match item:
        case dict():
            return f"map[{' '.join(f'{key}:{go_map(value)}' for key, value in sorted(item.items()))}]"
        case list():
            return f"[{' '.join(go_map(value) for value in item)}]"
        case None:
            return "<nil>"
        case str():
            return item
    return quoted(item)
