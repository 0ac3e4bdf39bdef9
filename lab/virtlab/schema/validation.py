"""Validation of custom resources against their schema, with kube-apiserver's wording and order of causes.

After k8s.io/kube-openapi/pkg/validation and apiextensions-apiserver's ValidateCustomResource, which turns the former's
errors into field errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson

from virtlab.goformat import quoted
from virtlab.resource import Object
from virtlab.schema import rules
from virtlab.schema.formats import fits
from virtlab.status import Cause

Schema = dict[str, Any]

# Causes after which kube-apiserver does not try the CEL rules.
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_RULES_SKIPPED = Cause(
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
    "FieldValueInvalid",
)
_COMBINED = frozenset({"allOf", "anyOf", "oneOf", "not"})
_GO_RANGES = {"int32": 2**31, "int64": 2**63}


def validate(schema: Schema, obj: Object, *, old: Object | None = None, earlier: Sequence[Cause] = ()) -> list[Cause]:
    """What is wrong with a custom resource; C(old) on update, C(earlier) what its metadata already drew.

    The causes of C(earlier) are not repeated, but they too keep the schema's CEL rules from being tried.
    """
    causes = list(_check(schema, obj, "", top=True))
    causes += _duplicates(schema, obj, "")
    if rules.has_rules(schema):
        if any(cause.reason in _BLOCKING for cause in (*earlier, *causes)):
            causes.append(_RULES_SKIPPED)
        else:
            causes += rules.violations(schema, obj, old)
    return causes


def _check(schema: Schema, value: Any, path: str, *, top: bool = False) -> Iterator[Cause]:
    if top:
        name, pattern = (value.get("metadata") or {}).get("name", ""), schema.get("x-name-pattern")
        if pattern and not _pattern(pattern).search(name):
            yield _invalid("metadata.name", name, f"should match '{pattern}'")
        yield from _check_object(schema, value, path, skip=("metadata",))
        return
    if value is None and schema.get("nullable"):
        return
    types = _types(schema)
    if types and not any(_is_of(value, name) for name in types):
        yield _type_invalid(path, _type_name(value), f"must be of type {','.join(types)}", _type_name(value))
    if not _COMBINED.isdisjoint(schema):
        yield from _check_combined(schema, value, path)
    match value:
        case str():
            yield from _check_string(schema, value, path)
        case bool() | None:
            pass
        case int() | float():
            yield from _check_number(schema, value, path)
        case list():
            yield from _check_list(schema, value, path)
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(quoted(item if isinstance(item, str) else quoted(item)) for item in schema["enum"])
        text = f"Unsupported value: {quoted(value)}: supported values: {allowed}"
        yield Cause(text, path, "FieldValueNotSupported")
    if isinstance(value, dict):
        yield from _check_object(schema, value, path)


def _types(schema: Schema) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    name = schema.get("type")
    return (name,) if isinstance(name, str) else ()


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _is_of(value: Any, name: str) -> bool:
    found = _type_name(value)
    if name == "number":
        return found in ("number", "integer")
    if name == "integer" and found == "number":
        return bool(value == int(value))
    return found == name


def _check_string(schema: Schema, value: str, path: str) -> Iterator[Cause]:
    length = len(value)
    if "maxLength" in schema and length > schema["maxLength"]:
        yield Cause(f"Too long: may not be more than {schema['maxLength']} bytes", path, "FieldValueTooLong")
    if "minLength" in schema and length < schema["minLength"]:
        yield _invalid(path, value, f"should be at least {schema['minLength']} chars long")
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield _invalid(path, value, f"should match '{schema['pattern']}'")
    if "format" in schema and not fits(value, schema["format"]):
        yield _type_invalid(path, value, f"must be of type {schema['format']}", value)


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    """An RE2 expression as Python reads it; one that it cannot read refuses nothing."""
    flags = re.ASCII
    if "(?i)" in text:
        text, flags = text.replace("(?i)", ""), flags | re.IGNORECASE
    if text.endswith("$") and not text.endswith("\\$"):
        # Python's own would also accept a line feed at the end.
        text = text[:-1] + r"\Z"
    text = text.replace(r"\z", r"\Z").replace("[[:alnum:]]", "[0-9A-Za-z]")
    try:
        return re.compile(text, flags)
    except re.error:
        return re.compile("")


def _check_number(schema: Schema, value: float, path: str) -> Iterator[Cause]:
    minimum, maximum = schema.get("minimum"), schema.get("maximum")
    limit = _GO_RANGES.get(schema.get("format", "")) if schema.get("type") == "integer" else None
    if limit is not None and not -limit <= value < limit:
        yield _type_invalid(path, value, f"must be of type {schema['format']}", value)
    if maximum is not None:
        if schema.get("exclusiveMaximum") and value >= maximum:
            yield _invalid(path, value, f"should be less than {maximum}")
        elif value > maximum:
            yield _invalid(path, value, f"should be less than or equal to {maximum}")
    if minimum is not None:
        if schema.get("exclusiveMinimum") and value <= minimum:
            yield _invalid(path, value, f"should be greater than {minimum}")
        elif value < minimum:
            yield _invalid(path, value, f"should be greater than or equal to {minimum}")
    if "multipleOf" in schema and value % schema["multipleOf"]:
        yield _invalid(path, value, f"should be a multiple of {schema['multipleOf']}")


def _check_list(schema: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    for index, item in enumerate(value):
        if "items" in schema:
            yield from _check(schema["items"], item, f"{path}[{index}]")
    if "minItems" in schema and len(value) < schema["minItems"]:
        yield _invalid(path, len(value), f"should have at least {schema['minItems']} items")
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        text = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield Cause(text, path, "FieldValueTooMany")


def _check_object(schema: Schema, value: Object, path: str, skip: Sequence[str] = ()) -> Iterator[Cause]:
    prefix = f"{path}." if path else ""
    if "minProperties" in schema and len(value) < schema["minProperties"]:
        yield _invalid(path, len(value), f"should have at least {schema['minProperties']} properties")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        text = f"Too many: {len(value)}: must have at most {schema['maxProperties']} items"
        yield Cause(text, path, "FieldValueTooMany")
    properties, values = schema.get("properties", {}), schema.get("additionalProperties")
    if isinstance(values, dict):
        for key in value:
            if key not in properties:
                yield from _check(values, value[key], prefix + key)
    for key in sorted(value.keys() & properties.keys()):
        if key not in skip:
            yield from _check(properties[key], value[key], prefix + key)
    for key in schema.get("required", ()):
        if key not in value and key not in skip:
            yield Cause("Required value", prefix + key, "FieldValueRequired")


def _check_combined(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if "anyOf" in schema:
        failures = [list(_check(option, value, path)) for option in schema["anyOf"]]
        if all(failures):
            yield _unplaced(f"{quoted(path)} must validate at least one schema (anyOf)")
            yield from min(failures, key=len)
    if "oneOf" in schema:
        failures = [list(_check(option, value, path)) for option in schema["oneOf"]]
        valid = sum(not failure for failure in failures)
        if valid != 1:
            found = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            yield _unplaced(f"{quoted(path)} must validate one and only one schema (oneOf). {found}")
        if not valid:
            yield from min(failures, key=len)
    for option in schema.get("allOf", ()):
        yield from _check(option, value, path)
    if "not" in schema and not list(_check(schema["not"], value, path)):
        yield _unplaced(f"{quoted(path)} must not validate the schema (not)")


def _unplaced(text: str) -> Cause:
    return Cause(f'Invalid value: "": {text}', "<nil>", "FieldValueInvalid")


def _invalid(path: str, value: Any, text: str) -> Cause:
    return Cause(f"Invalid value: {quoted(value)}: {path} in body {text}", path, "FieldValueInvalid")


def _type_invalid(path: str, value: Any, text: str, shown: Any) -> Cause:
    message = f"Invalid value: {quoted(value)}: {path} in body {text}: {quoted(shown)}"
    return Cause(message, path, "FieldValueTypeInvalid")


def _duplicates(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    """Repeated members of lists of type set and map."""
    if isinstance(value, list):
        items, kind = schema.get("items", {}), schema.get("x-kubernetes-list-type")
        seen: set[bytes] = set()
        for index, item in enumerate(value):
            if kind in ("set", "map"):
                key = item if kind == "set" else _map_key(schema, item)
                packed = orjson.dumps(key, option=orjson.OPT_SORT_KEYS)
                if packed in seen:
                    yield Cause(f"Duplicate value: {quoted(key)}", f"{path}[{index}]", "FieldValueDuplicate")
                seen.add(packed)
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _duplicates(items, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        for key, child in value.items():
            below = properties.get(key, values)
            if not (isinstance(below, dict) and isinstance(child, dict | list)):
                continue
            if (path or key != "metadata") and _has_keyed_lists(below):
                yield from _duplicates(below, child, f"{path}.{key}" if path else key)


_keyed: dict[int, tuple[Schema, bool]] = {}


def _has_keyed_lists(schema: Schema) -> bool:
    """Whether any list within is a set or a map. Remembered for each schema object."""
    known = _keyed.get(id(schema))
    if known is None or known[0] is not schema:
        children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
        found = schema.get("x-kubernetes-list-type") in ("set", "map") or any(
            _has_keyed_lists(child) for child in children if isinstance(child, dict)
        )
        known = _keyed[id(schema)] = (schema, found)
    return known[1]


def _map_key(schema: Schema, item: Any) -> Object:
    keys = schema.get("x-kubernetes-list-map-keys", ())
    return {key: item[key] for key in keys if key in item} if isinstance(item, dict) else {}
