"""Schemas that a user's own CRD carries."""

from __future__ import annotations

from typing import Any

from virtlab.schema.custom import object_schema
from virtlab.schema.structural import unknown_fields
from virtlab.schema.validation import validate

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^only$"}}},
        "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}


def test_what_every_object_has_need_not_be_declared() -> None:
    metadata = {"name": "only", "labels": {"a": "b"}}
    obj = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "spec": {}}
    assert unknown_fields(object_schema(SCHEMA), obj) == []
    assert validate(object_schema(SCHEMA), obj) == []


def test_unknown_metadata_is_unknown_all_the_same() -> None:
    obj = {"metadata": {"name": "only", "nope": 1}, "spec": {"b": 1}}
    assert unknown_fields(object_schema(SCHEMA), obj) == ["metadata.nope", "spec.b"]


def test_a_pattern_of_the_name_holds() -> None:
    [cause] = validate(object_schema(SCHEMA), {"metadata": {"name": "other"}, "spec": {}})
    assert cause.field == "metadata.name"


def test_the_same_schema_gives_the_same_result_and_stays_as_it_is() -> None:
    assert object_schema(SCHEMA) is object_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == {"metadata", "spec"}
