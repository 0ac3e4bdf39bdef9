"""What happens to an object on its way through virt-api's Go types: structure is checked, amounts become canonical."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from virtlab.resource import Object
from virtlab.schema.quantity import QuantityError, canonical
from virtlab.status import Cause

RESOURCES = (("requests", "*"), ("limits", "*"))
DOMAIN = (
    ("memory", "guest"),
    ("memory", "maxGuest"),
    *(("resources", *path) for path in RESOURCES),
)
INSTANCE_QUANTITIES = (
    *(("domain", *path) for path in DOMAIN),
    ("volumes", "*", "emptyDisk", "capacity"),
    ("volumes", "*", "hostDisk", "capacity"),
)
MACHINE_QUANTITIES = (
    *(("template", "spec", *path) for path in INSTANCE_QUANTITIES),
    *(
        ("dataVolumeTemplates", "*", "spec", kind, "resources", *path)
        for kind in ("pvc", "storage")
        for path in RESOURCES
    ),
)
# Structs that Go writes even when they are empty: (path of the owner, field).
MACHINE_STRUCTS = (
    (("template",), "spec"),
    (("template", "spec"), "domain"),
    (("template", "spec", "domain"), "devices"),
    (("template", "spec", "domain"), "resources"),
)
INSTANCE_STRUCTS = (((), "domain"), (("domain",), "devices"), (("domain",), "resources"))


class BadQuantity(Exception):
    """A text that should be an amount is none; the message is the parser's."""


def reencode(
    spec: Object, quantities: tuple[tuple[str, ...], ...], structs: tuple[tuple[tuple[str, ...], str], ...]
) -> None:
    """Changes C(spec) in place. Raises BadQuantity."""
    for path in quantities:
        _canonical(spec, path)
    _drop_empty_lists(spec)
    for path, name in structs:
        owner: Any = spec
        for key in path:
            owner = owner.get(key) if isinstance(owner, dict) else None
        if isinstance(owner, dict):
            owner.setdefault(name, {})


def _canonical(value: Any, path: tuple[str, ...]) -> None:
    key, rest = path[0], path[1:]
    if isinstance(value, list):
        if key == "*":
            for item in value:
                _canonical(item, rest)
        return
    if not isinstance(value, dict):
        return
    for name in list(value) if key == "*" else [key]:
        if name not in value or value[name] is None:
            continue
        if rest:
            _canonical(value[name], rest)
            continue
        try:
            value[name] = canonical(value[name])
        except QuantityError as error:
            raise BadQuantity(str(error)) from error


def _drop_empty_lists(value: Any) -> None:
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item == [] and isinstance(item, list)]:
            del value[key]
        for item in value.values():
            _drop_empty_lists(item)
    elif isinstance(value, list):
        for item in value:
            _drop_empty_lists(item)


# Structure

NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    ((int, float), "number"),
    (list, "array"),
    (dict, "object"),
)


def _type_of(value: Any) -> str:
    return next((name for kind, name in NAMES if isinstance(value, kind)), "null")


def _is_of(value: Any, wanted: str) -> bool:
    if wanted == "integer":
        return isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    return _type_of(value) == wanted


def structure_problems(schema: Mapping[str, Any] | None, obj: Object) -> Iterator[Cause]:
    """Wrong types and missing fields of C(spec), as KubeVirt's own OpenAPI check words them."""
    spec_schema = ((schema or {}).get("properties") or {}).get("spec")
    if spec_schema is None:
        return
    if obj.get("spec") is None:
        if "spec" in ((schema or {}).get("required") or ()):
            yield Cause("spec in body is required")
        return
    yield from _problems(spec_schema, obj["spec"], "spec")


def _problems(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[Cause]:
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string") or value is None:
        return
    if wanted and not _is_of(value, wanted):
        yield Cause(f'{path} in body must be of type {wanted}: "{_type_of(value)}"')
        return
    if isinstance(value, dict):
        properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
        for name in schema.get("required") or ():
            if value.get(name) is None:
                yield Cause(f"{path}.{name} in body is required")
        for name, item in value.items():
            below = properties.get(name) or (extra if isinstance(extra, dict) else None)
            if below:
                yield from _problems(below, item, f"{path}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from _problems(schema["items"], item, f"{path}[{index}]")
