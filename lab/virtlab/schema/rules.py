"""x-kubernetes-validations: the CEL rules of a schema, tried on an object and on its former state."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from virtlab.goformat import quoted
from virtlab.resource import Object
from virtlab.schema import cel
from virtlab.status import Cause

Schema = dict[str, Any]

_RULES = "x-kubernetes-validations"
_ABSENT = object()
_known: dict[int, tuple[Schema, bool]] = {}


def has_rules(schema: Schema) -> bool:
    """Whether any level of the schema has rules. Remembered for each schema object."""
    known = _known.get(id(schema))
    if known is None or known[0] is not schema:
        known = _known[id(schema)] = (schema, _any_rules(schema))
    return known[1]


def _any_rules(schema: Schema) -> bool:
    if schema.get(_RULES):
        return True
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(_any_rules(child) for child in children if isinstance(child, dict))


def violations(schema: Schema, obj: Object, old: Object | None) -> list[Cause]:
    """The rules that C(obj) breaks; rules that speak of oldSelf are tried only where C(old) has a value too."""
    return list(_violations(schema, obj, _ABSENT if old is None else old, ""))


def _violations(schema: Schema, value: Any, old: Any, path: str) -> Iterator[Cause]:
    for rule in schema.get(_RULES) or ():
        yield from _tried(rule, value, old, path)
    if isinstance(value, dict):
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            child = properties.get(key, values)
            if isinstance(child, dict) and has_rules(child):
                before = old.get(key, _ABSENT) if isinstance(old, dict) else _ABSENT
                yield from _violations(child, item, before, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict) and has_rules(schema["items"]):
        before = _correlated(schema, old)
        for index, item in enumerate(value):
            yield from _violations(schema["items"], item, before.get(_key(schema, item), _ABSENT), f"{path}[{index}]")


def _correlated(schema: Schema, old: Any) -> dict[bytes, Any]:
    """Former items by their key; those of an atomic list are not comparable."""
    if not isinstance(old, list) or schema.get("x-kubernetes-list-type") != "map":
        return {}
    return {_key(schema, item): item for item in old}


def _key(schema: Schema, item: Any) -> bytes:
    keys = schema.get("x-kubernetes-list-map-keys", ())
    return orjson.dumps([item.get(key) for key in keys] if isinstance(item, dict) else None)


def _tried(rule: dict[str, Any], value: Any, old: Any, path: str) -> Iterator[Cause]:
    text = rule["rule"]
    if _is_transition(text) and old is _ABSENT:
        return
    try:
        if cel.evaluate(text, {"self": value, "oldSelf": old}):
            return
    except cel.Unsupported:
        return
    except cel.EvaluationError as error:
        yield Cause(f"Invalid value: {quoted(value)}: rule evaluation error: {error}", path, "FieldValueInvalid")
        return
    message = rule.get("message") or f"failed rule: {text}"
    field = path + (rule.get("fieldPath") or "")
    if rule.get("reason") == "FieldValueForbidden":
        yield Cause(f"Forbidden: {message}", field, "FieldValueForbidden")
    elif rule.get("reason") == "FieldValueRequired":
        yield Cause(f"Required value: {message}", field, "FieldValueRequired")
    else:
        yield Cause(f"Invalid value: {_shown(value)}: {message}", field, "FieldValueInvalid")


def _shown(value: Any) -> str:
    """Objects and lists are named by their type only."""
    if isinstance(value, dict):
        return '"object"'
    return '"array"' if isinstance(value, list) else quoted(value)


@lru_cache(maxsize=1024)
def _is_transition(text: str) -> bool:
    return "oldSelf" in text
