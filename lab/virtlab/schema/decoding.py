"""Decoding of built-in kinds as Go does it: wrong types are refused, quantities take their canonical form.

The wording is that of sigs.k8s.io/json: the struct that holds the field, then the whole path without indexes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from virtlab.resource import Object
from virtlab.schema.metadata import METADATA
from virtlab.schema.quantity import QuantityError, canonical

Schema = dict[str, Any]

_GO_SCALARS = {"string": "string", "boolean": "bool", "number": "float64", "integer": "int32"}
_REFLECTED: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int64"),
    (float, "float64"),
    (str, "string"),
    (list, "slice"),
    (dict, "map"),
)
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$")


class Undecodable(Exception):
    """A value does not fit its Go type.

    The text is the JSON decoder's; C(restoring) is that of the converter which strategic merge patches go through.
    """

    def __init__(self, text: str, restoring: str | None = None) -> None:
        super().__init__(text)
        self.restoring = restoring or text


def decode(kind: str, schema: Schema, obj: Object) -> None:
    """Bring C(obj) into the form Go's types give it, in place. Raises Undecodable."""
    for problem in _decode(schema, obj, _Place(kind, ())):
        raise problem


def decode_metadata(obj: Object) -> None:
    """The only part of a custom resource that has Go types. Raises Undecodable."""
    for problem in _decode(METADATA, obj["metadata"], _Place("ObjectMeta", ())):
        raise problem


class _Place:
    """Where a value is: the Go struct around it and the names of the fields above."""

    __slots__ = ("fields", "struct")

    def __init__(self, struct: str, fields: tuple[str, ...]) -> None:
        self.struct = struct
        self.fields = fields

    def mismatch(self, value: Any, schema: Schema, go_type: str = "") -> Undecodable:
        found, go_type = _json_name(value), go_type or _go_type(schema)
        if found == "number" and go_type.startswith("int"):
            found = f"number {value}"
        text = f"json: cannot unmarshal {found} into Go value of type {go_type}"
        if self.fields:
            path = ".".join(self.fields)
            text = f"json: cannot unmarshal {found} into Go struct field {self.struct}.{path} of type {go_type}"
        return Undecodable(text, _not_restored(value, schema, go_type))


def _not_restored(value: Any, schema: Schema, go_type: str) -> str:
    """As apimachinery's converter from unstructured values words a mismatch."""
    found = next(name for kind, name in _REFLECTED if isinstance(value, kind))
    match schema.get("type"):
        case "array":
            return f"cannot restore slice from {found}"
        case "object":
            return f"cannot restore {'struct from:' if 'properties' in schema else 'map from'} {found}"
    if found in ("int64", "float64") and go_type != "bool":
        return f"cannot convert {found} to {go_type}"
    return f"unrecognized type: {go_type}"


def _decode(schema: Schema, value: Any, place: _Place) -> Iterator[Undecodable]:
    if value is None or schema.get("x-kubernetes-int-or-string") or "type" not in schema:
        return
    match schema["type"]:
        case "object":
            yield from _decode_object(schema, value, place)
        case "array":
            if not isinstance(value, list):
                yield place.mismatch(value, schema)
                return
            items = schema.get("items") or {}
            for index, item in enumerate(value):
                yield from _decode(items, item, place)
                value[index] = _formed(items, item)
        case name:
            yield from _scalar_problems(schema, name, value, place)


def _decode_object(schema: Schema, value: Any, place: _Place) -> Iterator[Undecodable]:
    if not isinstance(value, dict):
        yield place.mismatch(value, schema)
        return
    properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
    struct = schema.get("x-go-type") or place.struct
    for key, item in list(value.items()):
        child = properties.get(key)
        if child is not None:
            yield from _decode(child, item, _Place(struct, (*place.fields, key)))
        elif isinstance(values, dict):
            child = values
            yield from _decode(values, item, place)
            if item is None and values.get("type") == "string":
                value[key] = item = ""
        if key in properties and not item and _is_collection(properties[key]) and key not in schema.get("required", ()):
            del value[key]
        elif child is not None:
            value[key] = _formed(child, item)


def _is_collection(schema: Schema) -> bool:
    """Lists and maps, which are not written when they are empty; structs are."""
    return schema.get("type") == "array" or isinstance(schema.get("additionalProperties"), dict)


def _scalar_problems(schema: Schema, name: str, value: Any, place: _Place) -> Iterator[Undecodable]:
    form = schema.get("format", "")
    if form == "quantity":
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                canonical(value)
            except QuantityError as error:
                yield Undecodable(str(error))
        else:
            yield place.mismatch(value, schema, "string")
        return
    if not _is_of(value, name):
        yield place.mismatch(value, schema)
    elif form == "byte":
        index = _bad_base64(value)
        if index is not None:
            yield Undecodable(f"illegal base64 data at input byte {index}")
    elif form == "date-time" and not _TIME.match(value):
        layout = "2006-01-02T15:04:05Z07:00"
        yield Undecodable(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"')


def _formed(schema: Schema, value: Any) -> Any:
    """A scalar as its Go type writes it."""
    if schema.get("format") == "quantity" and value is not None:
        return canonical(value)
    if schema.get("type") == "integer" and isinstance(value, float):
        return int(value)
    return value


def _is_of(value: Any, name: str) -> bool:
    match name:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and isinstance(value, int | float) and value == int(value)
    return not isinstance(value, bool) and isinstance(value, int | float)


def _go_type(schema: Schema) -> str:
    """The Go type that a schema stands for: C([]v1.ServicePort), C(map[string]string), C(int32)."""
    match schema.get("type"):
        case "array":
            return f"[]{_go_type(schema.get('items') or {})}"
        case "object":
            if "x-go-type" in schema:
                return f"v1.{schema['x-go-type']}"
            values = schema.get("additionalProperties")
            return f"map[string]{_go_type(values) if isinstance(values, dict) else 'interface {}'}"
        case None:
            return "intstr.IntOrString"
    if schema.get("format") in ("int64", "int32"):
        return str(schema["format"])
    if schema.get("format") == "byte":
        return "[]uint8"
    return _GO_SCALARS.get(schema["type"], "interface {}")


def _json_name(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _bad_base64(text: str) -> int | None:
    """The index at which Go's decoder gives up; None for well-formed base64."""
    try:
        base64.b64decode(text, validate=True)
    except ValueError:
        plain = text.rstrip("=")
        return next((index for index, char in enumerate(plain) if char not in _BASE64), len(plain) // 4 * 4)
    return None
