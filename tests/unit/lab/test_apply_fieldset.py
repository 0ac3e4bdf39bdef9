"""Sets of field paths and their form in managedFields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtlab.apply.fieldset import FieldSet, key_element, path_text, value_element

A, B, C = "f:a", "f:b", "f:c"
elements = st.sampled_from([A, B, C, 'k:{"name":"x"}', 'v:"y"'])
paths = st.lists(elements, min_size=1, max_size=3).map(tuple)
sets = st.lists(paths, max_size=6).map(lambda some: FieldSet.of(*some))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {A: {}},
        {A: {B: {}}},
        {A: {".": {}, B: {}}},
        {"f:ports": {'k:{"port":22,"protocol":"TCP"}': {".": {}, "f:name": {}}}},
    ],
)
def test_fieldsv1_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    assert FieldSet.parse(fields).fields() == fields


def test_a_field_and_what_is_below_it_are_two_members() -> None:
    one = FieldSet.of((A,), (A, B))
    assert one.fields() == {A: {".": {}, B: {}}}
    assert one.difference(FieldSet.of((A,))).fields() == {A: {B: {}}}
    assert one.without(FieldSet.of((A,))).fields() == {}


def test_keys_are_sorted_and_values_are_json() -> None:
    assert key_element({"protocol": "TCP", "port": 22}) == 'k:{"port":22,"protocol":"TCP"}'
    assert value_element("x") == 'v:"x"'


def test_paths_are_written_as_messages_write_them() -> None:
    path = ("f:spec", "f:ports", 'k:{"port":22,"protocol":"TCP"}', "f:name")
    assert path_text(path) == '.spec.ports[port=22,protocol="TCP"].name'
    assert path_text(("f:finalizers", 'v:"x"')) == '.finalizers[="x"]'


@given(sets, sets)
def test_sets_follow_the_laws_of_sets(one: FieldSet, two: FieldSet) -> None:
    left, right = set(one.paths()), set(two.paths())
    assert set(one.union(two).paths()) == left | right
    assert set(one.intersection(two).paths()) == left & right
    assert set(one.difference(two).paths()) == left - right
    assert FieldSet.parse(one.fields()) == one
    assert bool(one) == bool(left)
