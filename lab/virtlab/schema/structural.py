"""Structural schemas at work on an object: which fields are unknown, and what defaults are filled in.

After k8s.io/apiextensions-apiserver/pkg/apiserver/schema (pruning, defaulting). Values of the wrong type are left for
validation to complain about.
"""

from __future__ import annotations

from typing import Any

from virtlab.patches import copied
from virtlab.resource import Object

Schema = dict[str, Any]

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_EMBEDDED_FIELDS = ("apiVersion", "kind", "metadata")


def unknown_fields(schema: Schema, obj: Object) -> list[str]:
    """The paths of fields that C(schema) does not know, sorted: C(spec.disks[0].bogus)."""
    paths: list[str] = []
    _walk(schema, obj, "", paths, remove=False)
    return sorted(paths)


def prune(schema: Schema, obj: Object) -> list[str]:
    """Take unknown fields out of C(obj); returns their paths, sorted."""
    paths: list[str] = []
    _walk(schema, obj, "", paths, remove=True)
    return sorted(paths)


def _walk(schema: Schema, value: Any, path: str, paths: list[str], *, remove: bool) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if items is None:
            if not schema.get(_PRESERVE):
                for index, item in enumerate(value):
                    _walk({}, item, f"{path}[{index}]", paths, remove=remove)
            return
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _walk(items, item, f"{path}[{index}]", paths, remove=remove)
        return
    if not isinstance(value, dict):
        return
    properties, preserve = schema.get("properties", {}), schema.get(_PRESERVE, False)
    values, embedded = schema.get("additionalProperties"), schema.get(_EMBEDDED, False)
    for key in list(value):
        child = properties.get(key)
        if child is None and embedded and key in _EMBEDDED_FIELDS:
            continue
        if child is None and isinstance(values, dict):
            child = values
        elif child is None and values is True:
            continue
        if child is not None:
            if isinstance(value[key], dict | list):
                _walk(child, value[key], f"{path}.{key}" if path else key, paths, remove=remove)
        elif not preserve:
            paths.append(f"{path}.{key}" if path else key)
            if remove:
                del value[key]


def default(schema: Schema, value: Any) -> None:
    """Fill in defaults, everywhere below what is there; a null that is not allowed gives way to the default or goes."""
    if isinstance(value, list):
        items = schema.get("items")
        if items:
            for index, item in enumerate(value):
                if item is None and not items.get("nullable") and "default" in items:
                    value[index] = copied(items["default"])
                if isinstance(value[index], dict | list):
                    default(items, value[index])
        return
    if not isinstance(value, dict):
        return
    properties = schema.get("properties", {})
    for key, child in properties.items():
        if value.get(key) is None and (key not in value or not child.get("nullable")):
            if "default" in child:
                value[key] = copied(child["default"])
            elif key in value:
                del value[key]
                continue
        if isinstance(value.get(key), dict | list):
            default(child, value[key])
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        for key in [key for key in value if key not in properties]:
            if value[key] is None and not values.get("nullable") and "default" in values:
                value[key] = copied(values["default"])
            if isinstance(value[key], dict | list):
                default(values, value[key])
