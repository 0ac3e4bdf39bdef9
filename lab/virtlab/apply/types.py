"""What structured-merge-diff needs to know of a schema: which values are merged and which are taken as a whole.

After k8s.io/kube-openapi/pkg/schemaconv.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from virtlab.schema.metadata import METADATA

Schema = dict[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_SCALARS = {"integer": "numeric", "number": "numeric", "boolean": "boolean"}
# A kind without a schema: everything but its metadata is deduced from the values.
UNDESCRIBED: Schema = {
    "type": "object",
    _PRESERVE: True,
    "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": METADATA},
}


class TypeMismatch(Exception):
    """A value does not fit its type; C(path) is where, as messages write it."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path

    def below(self, prefix: str) -> TypeMismatch:
        return TypeMismatch(self.message, prefix + self.path)


@dataclass(eq=False)
class MapType:
    """C(element): the type of undeclared keys; None where there may be none."""

    fields: dict[str, Type] = field(default_factory=dict)
    element: Type | None = None
    atomic: bool = False


@dataclass(eq=False)
class ListType:
    """C(associative): items are known by their keys, or by their values where C(keys) is empty."""

    element: Type
    associative: bool = False
    keys: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Type:
    """A value may be any of what is not None; C(scalar) is C(numeric), C(string), C(boolean) or C(untyped)."""

    scalar: str | None = None
    list: ListType | None = None
    map: MapType | None = None

    def resolve(self, value: Any) -> MapType | ListType | str:
        """The one type that applies to C(value); without a match the type it should have had."""
        if isinstance(value, dict):
            if self.map is not None:
                return self.map
        elif isinstance(value, list):
            if self.list is not None:
                return self.list
        elif value is not None and self.scalar is not None:
            return self.scalar
        return self.map or self.scalar or self.list or "untyped"


def _deduced(*, granular: bool) -> Type:
    untyped = Type("untyped")
    untyped.list = ListType(untyped)
    untyped.map = MapType(element=untyped, atomic=True)
    if not granular:
        return untyped
    found = Type("untyped", ListType(untyped))
    found.map = MapType(element=found)
    return found


UNTYPED = _deduced(granular=False)
DEDUCED = _deduced(granular=True)

_known: dict[int, tuple[Schema, Type]] = {}


def type_of(schema: Schema | None) -> Type:
    """The type of a whole object. Remembered for each schema."""
    schema = UNDESCRIBED if schema is None else schema
    known = _known.get(id(schema))
    if known is None or known[0] is not schema:
        known = _known[id(schema)] = (schema, _convert(schema, preserve=False))
    return known[1]


def _convert(schema: Schema, *, preserve: bool) -> Type:
    preserve = preserve or bool(schema.get(_PRESERVE))
    match schema.get("type"):
        case None:
            if not schema.get("properties") and not schema.get("items"):
                return UNTYPED if schema.get("x-kubernetes-int-or-string") else DEDUCED
            return Type("untyped", _list(schema, preserve), _map(schema, preserve))
        case "object":
            return Type(map=_map(schema, preserve))
        case "array":
            return Type(list=_list(schema, preserve))
        case "string":
            # A quantity or a time may also come as a number.
            return Type("string" if schema.get("format") in (None, "", "byte") else "untyped")
        case name:
            return Type(_SCALARS.get(name, "untyped"))


def _map(schema: Schema, preserve: bool) -> MapType:
    properties = schema.get("properties") or {}
    fields = {name: _convert(child, preserve=preserve) for name, child in properties.items()}
    if schema.get("x-kubernetes-embedded-resource"):
        string = Type("string")
        fields = {**fields, "apiVersion": string, "kind": string, "metadata": type_of(METADATA)}
    values = schema.get("additionalProperties")
    element: Type | None = None
    if isinstance(values, dict):
        element = _convert(values, preserve=preserve)
    elif values is True or (values is None and (preserve or not fields)):
        element = DEDUCED
    return MapType(fields, element, schema.get("x-kubernetes-map-type") == "atomic")


def _list(schema: Schema, preserve: bool) -> ListType:
    items = schema.get("items")
    element = UNTYPED if items is None else _convert(items, preserve=preserve)
    kind = schema.get("x-kubernetes-list-type", "atomic")
    if kind == "atomic":
        return ListType(element)
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ())) if kind == "map" else ()
    properties = (items or {}).get("properties", {})
    defaults = {key: properties[key]["default"] for key in keys if "default" in properties.get(key, {})}
    return ListType(element, True, keys, defaults)
