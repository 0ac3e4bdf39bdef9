"""Schemas as CustomResourceDefinitions carry them, made fit for whole objects."""

from __future__ import annotations

from typing import Any

from virtlab.schema.metadata import METADATA

Schema = dict[str, Any]

_known: dict[int, tuple[Schema, Schema]] = {}


def object_schema(schema: Schema) -> Schema:
    """C(schema) with what every object has and no CRD need declare. Remembered for each schema."""
    known = _known.get(id(schema))
    if known is None or known[0] is not schema:
        known = _known[id(schema)] = (schema, _completed(schema))
    return known[1]


def _completed(schema: Schema) -> Schema:
    declared = schema.get("properties") or {}
    string = {"type": "string"}
    common: Schema = {"apiVersion": string, "kind": string, "metadata": METADATA}
    completed: Schema = {**schema, "type": "object", "properties": {**declared, **common}}
    name = ((declared.get("metadata") or {}).get("properties") or {}).get("name") or {}
    if name.get("pattern"):
        completed["x-name-pattern"] = name["pattern"]
    return completed
