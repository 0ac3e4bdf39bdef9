"""Objects compared, merged and reduced by their type."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.apply.fieldset import FieldSet
from virtlab.apply.typed import check, compare, merge, remove_items, to_field_set
from virtlab.apply.types import TypeMismatch, type_of

STRING = {"type": "string"}
PORT = {
    "type": "object",
    "properties": {
        "name": STRING,
        "port": {"type": "integer"},
        "protocol": {**STRING, "default": "TCP"},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "labels": {"type": "object", "additionalProperties": STRING},
        "selector": {"type": "object", "additionalProperties": STRING, "x-kubernetes-map-type": "atomic"},
        "disks": {"type": "array", "items": {"type": "object", "properties": {"name": STRING}}},
        "ports": {
            "type": "array",
            "items": PORT,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
        },
        "finalizers": {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
        "cpu": {"type": "object", "properties": {"cores": {"type": "integer"}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "size": {"x-kubernetes-int-or-string": True},
    },
}
TYPE = type_of(SCHEMA)


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"cpu": {"cores": 2}}, {"f:cpu": {"f:cores": {}}}),
        ({"cpu": {}}, {"f:cpu": {}}),
        ({"labels": {"a": "b"}}, {"f:labels": {"f:a": {}}}),
        ({"selector": {"a": "b"}}, {"f:selector": {}}),
        ({"disks": [{"name": "a"}]}, {"f:disks": {}}),
        (
            {"ports": [{"port": 22}]},
            {"f:ports": {'k:{"port":22,"protocol":"TCP"}': {".": {}, "f:port": {}}}},
        ),
        ({"finalizers": ["a"]}, {"f:finalizers": {'v:"a"': {}}}),
        ({"free": {"x": {"y": 1}}}, {"f:free": {"f:x": {".": {}, "f:y": {}}}}),
    ],
)
def test_a_configuration_owns_its_leaves_and_what_has_no_declared_name(value: Any, fields: Any) -> None:
    assert to_field_set(TYPE, value).fields() == fields


def test_a_comparison_also_names_structs_that_are_new() -> None:
    found = compare(TYPE, {}, {"cpu": {"cores": 2}, "labels": {"a": "b"}})
    assert found.added.fields() == {"f:cpu": {".": {}, "f:cores": {}}, "f:labels": {".": {}, "f:a": {}}}
    assert not found.modified
    assert not found.removed


def test_items_with_keys_are_compared_one_by_one_and_atomic_lists_whole() -> None:
    old = {"ports": [{"port": 22, "name": "a"}, {"port": 80}], "disks": [{"name": "a"}]}
    new = {"ports": [{"port": 22, "name": "b"}, {"port": 443}], "disks": [{"name": "a"}, {"name": "b"}]}
    found = compare(TYPE, old, new)
    assert found.modified.fields() == {
        "f:disks": {},
        "f:ports": {'k:{"port":22,"protocol":"TCP"}': {"f:name": {}}},
    }
    assert found.added.fields() == {"f:ports": {'k:{"port":443,"protocol":"TCP"}': {".": {}, "f:port": {}}}}
    assert found.removed.fields() == {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}


def test_the_same_compares_as_the_same() -> None:
    value = {"ports": [{"port": 22}], "labels": {"a": "b"}, "free": {"x": [1]}}
    found = compare(TYPE, value, {**value})
    assert not (found.added or found.modified or found.removed)


def test_merging_keeps_items_nobody_mentions_in_the_order_of_the_configuration() -> None:
    live = {"ports": [{"port": 1}, {"port": 2, "name": "two"}, {"port": 3}]}
    config = {"ports": [{"port": 3, "name": "three"}, {"port": 4}]}
    assert merge(TYPE, live, config) == {
        "ports": [{"port": 1}, {"port": 2, "name": "two"}, {"port": 3, "name": "three"}, {"port": 4}]
    }


def test_merging_replaces_what_is_atomic() -> None:
    live = {"disks": [{"name": "a"}], "selector": {"a": "b"}, "labels": {"a": "b"}}
    config = {"disks": [{"name": "c"}], "selector": {"c": "d"}, "labels": {"c": "d"}}
    assert merge(TYPE, live, config) == {
        "disks": [{"name": "c"}],
        "selector": {"c": "d"},
        "labels": {"a": "b", "c": "d"},
    }


def test_taking_items_out() -> None:
    value = {"ports": [{"port": 22, "name": "a"}, {"port": 80}], "labels": {"a": "b"}, "finalizers": ["x", "y"]}
    gone = FieldSet.of(
        ("f:ports", 'k:{"port":22,"protocol":"TCP"}', "f:name"),
        ("f:ports", 'k:{"port":80,"protocol":"TCP"}'),
        ("f:labels", "f:a"),
        ("f:finalizers", 'v:"x"'),
    )
    assert remove_items(TYPE, value, gone) == {"ports": [{"port": 22}], "labels": {}, "finalizers": ["y"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"nope": 1}, ".nope: field not declared in schema"),
        ({"cpu": {"cores": "2"}}, ".cpu.cores: expected numeric (int or float), got string"),
        ({"labels": {"a": 1}}, ".labels.a: expected string, got &value.valueUnstructured{Value:1}"),
        ({"ports": [{"port": 1}, {"port": 1}]}, '.ports: duplicate entries for key [port=1,protocol="TCP"]'),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(value: Any, message: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        check(TYPE, value, duplicates=False)
    assert str(caught.value) == message


def test_int_or_string_and_free_form_fields_take_either() -> None:
    check(TYPE, {"size": 1, "free": {"anything": [1, {"a": "b"}]}}, duplicates=False)
    check(TYPE, {"size": "50%"}, duplicates=False)


def test_a_kind_without_a_schema_is_known_by_its_values() -> None:
    fields = to_field_set(type_of(None), {"metadata": {"labels": {"a": "b"}}, "spec": {"x": {"y": [1]}}})
    assert fields.fields() == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {".": {}, "f:x": {".": {}, "f:y": {}}},
    }
