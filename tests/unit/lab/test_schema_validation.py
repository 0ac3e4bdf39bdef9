"""Validation of custom resources: the causes, in kube-apiserver's words and order."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.schema.validation import validate
from virtlab.status import Cause

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
NOT_CHECKED = "some validation rules were not checked because the object was invalid"


def causes(schema: Schema, value: Any, **how: Any) -> list[tuple[str | None, str, str | None]]:
    whole = {"type": "object", "properties": {"spec": schema}}
    return [(cause.field, cause.message, cause.reason) for cause in validate(whole, {"spec": value}, **how)]


@pytest.mark.parametrize(
    ("schema", "value", "message", "reason"),
    [
        (STRING, 5, 'Invalid value: "integer": spec in body must be of type string: "integer"', "TypeInvalid"),
        (
            {"type": "object"},
            "x",
            'Invalid value: "string": spec in body must be of type object: "string"',
            "TypeInvalid",
        ),
        (
            {"type": "integer"},
            None,
            'Invalid value: "null": spec in body must be of type integer: "null"',
            "TypeInvalid",
        ),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            'Invalid value: "boolean": spec in body must be of type integer,string: "boolean"',
            "TypeInvalid",
        ),
        ({**STRING, "enum": ["a", "b"]}, "c", 'Unsupported value: "c": supported values: "a", "b"', "NotSupported"),
        ({**STRING, "pattern": "^a+$"}, "b", "Invalid value: \"b\": spec in body should match '^a+$'", "Invalid"),
        ({**STRING, "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes", "TooLong"),
        (
            {**STRING, "minLength": 2},
            "a",
            'Invalid value: "a": spec in body should be at least 2 chars long',
            "Invalid",
        ),
        (
            {"type": "integer", "minimum": 1},
            0,
            "Invalid value: 0: spec in body should be greater than or equal to 1",
            "Invalid",
        ),
        (
            {"type": "integer", "maximum": 9},
            10,
            "Invalid value: 10: spec in body should be less than or equal to 9",
            "Invalid",
        ),
        (
            {"type": "array", "minItems": 1},
            [],
            "Invalid value: 0: spec in body should have at least 1 items",
            "Invalid",
        ),
        ({"type": "array", "maxItems": 1}, [1, 2], "Too many: 2: must have at most 1 items", "TooMany"),
        (
            {**STRING, "format": "date-time"},
            "today",
            'Invalid value: "today": spec in body must be of type date-time: "today"',
            "TypeInvalid",
        ),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            ["a", "a"],
            'Duplicate value: "a"',
            "Duplicate",
        ),
    ],
)
def test_one_cause(schema: Schema, value: Any, message: str, reason: str) -> None:
    found = causes(schema, value)
    assert [(text, why) for _, text, why in found] == [(message, f"FieldValue{reason}")]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "number"}, 3),
        ({"type": "integer"}, 3.0),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "25%"),
        ({"type": "string", "format": "nobody-knows"}, "x"),
        ({"type": "string", "format": "cidr"}, "10.0.0.0/8"),
    ],
)
def test_what_fits_draws_no_cause(schema: Schema, value: Any) -> None:
    assert causes(schema, value) == []


def test_a_bare_number_is_no_cidr() -> None:
    assert causes({"type": "string", "format": "cidr"}, "5")


def test_what_is_within_is_named_before_what_is_missing() -> None:
    schema = {
        "type": "object",
        "required": ["name", "size"],
        "properties": {"name": STRING, "size": STRING, "bus": {**STRING, "enum": ["sata"]}},
    }
    assert [field for field, _, _ in causes(schema, {"bus": "x"})] == ["spec.bus", "spec.name", "spec.size"]


def test_items_are_named_by_index_and_keyed_duplicates_by_their_keys() -> None:
    item = {"type": "object", "required": ["name"], "properties": {"name": STRING}}
    keyed = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    assert causes(keyed, [{"name": "a"}, {}, {"name": "a"}]) == [
        ("spec[1].name", "Required value", "FieldValueRequired"),
        ("spec[2]", 'Duplicate value: {"name":"a"}', "FieldValueDuplicate"),
    ]


RULED: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": STRING, "mode": STRING},
    "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "message": "spec is immutable"},
        {"rule": "!has(self.mode) || self.mode.startsWith('a')", "message": "mode is odd"},
    ],
}


def test_rules_are_not_tried_on_what_is_invalid_and_that_is_said() -> None:
    found = causes(RULED, {"mode": "b"})
    assert found[0] == ("spec.name", "Required value", "FieldValueRequired")
    assert found[1][0] == "<nil>"
    assert NOT_CHECKED in found[1][1]
    assert len(found) == 2


def test_what_metadata_lacks_keeps_the_rules_from_being_tried_too() -> None:
    earlier = [Cause("Required value: name or generateName is required", "metadata.name", "FieldValueRequired")]
    found = causes(RULED, {"name": "x", "mode": "b"}, earlier=earlier)
    assert [field for field, _, _ in found] == ["<nil>"]


def test_a_rule_that_is_broken_names_its_message() -> None:
    found = causes(RULED, {"name": "x", "mode": "b"})
    assert found == [("spec", 'Invalid value: "object": mode is odd', "FieldValueInvalid")]


def test_a_rule_about_the_former_value_needs_one() -> None:
    assert causes(RULED, {"name": "x"}) == []
    assert causes(RULED, {"name": "x"}, old={"spec": {"name": "x"}}) == []
    changed = causes(RULED, {"name": "y"}, old={"spec": {"name": "x"}})
    assert [message for _, message, _ in changed] == ['Invalid value: "object": spec is immutable']


def test_alternatives_that_all_fail_are_reported_without_a_place() -> None:
    schema = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert causes(schema, [])[0] == (
        "<nil>",
        'Invalid value: "": "spec" must validate at least one schema (anyOf)',
        "FieldValueInvalid",
    )


def test_a_crd_may_demand_a_name() -> None:
    schema = {"type": "object", "properties": {}, "x-name-pattern": "the-one"}
    [cause] = validate(schema, {"metadata": {"name": "x"}})
    assert cause.body() == {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: \"x\": metadata.name in body should match 'the-one'",
        "field": "metadata.name",
    }
    assert validate(schema, {"metadata": {"name": "the-one"}}) == []


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("^a$", "a\n", False),
        ("^(?i)abort$", "ABORT", True),
        (r"^a\z", "ab", False),
        (r"^\p{L}+$", "x", True),
        (r"a\$", "a$", True),
    ],
)
def test_patterns_mean_what_they_mean_in_go(pattern: str, value: str, fits: bool) -> None:
    assert (causes({**STRING, "pattern": pattern}, value) == []) is fits
