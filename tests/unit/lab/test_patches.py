"""JSON patch and merge patch, after the examples of their RFCs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtlab.patches import PatchError, apply_json_patch, merge

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": ["c", None]}, {"a": ["c", None]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        (["a"], {"a": "b"}, {"a": "b"}),
    ],
)
def test_merge_patch(target: Any, patch: Any, merged: Any) -> None:
    assert merge(target, patch) == merged


@given(JSON, JSON)
def test_a_merge_patch_applied_twice_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once


@pytest.mark.parametrize(
    ("operations", "patched"),
    [
        ([{"op": "add", "path": "/l/1", "value": 9}], {"m": {"k": 1}, "l": [0, 9, 1]}),
        ([{"op": "add", "path": "/l/-", "value": 9}], {"m": {"k": 1}, "l": [0, 1, 9]}),
        ([{"op": "remove", "path": "/l/0"}], {"m": {"k": 1}, "l": [1]}),
        ([{"op": "replace", "path": "/m/k", "value": {}}], {"m": {"k": {}}, "l": [0, 1]}),
        ([{"op": "move", "from": "/m/k", "path": "/n"}], {"m": {}, "l": [0, 1], "n": 1}),
        ([{"op": "copy", "from": "/l", "path": "/m/l"}], {"m": {"k": 1, "l": [0, 1]}, "l": [0, 1]}),
        ([{"op": "add", "path": "/m/a~1b~0c", "value": 2}], {"m": {"k": 1, "a/b~c": 2}, "l": [0, 1]}),
        ([{"op": "test", "path": "/l/0", "value": 0}], {"m": {"k": 1}, "l": [0, 1]}),
    ],
)
def test_json_patch(operations: list[dict[str, Any]], patched: Any) -> None:
    document = {"m": {"k": 1}, "l": [0, 1]}
    assert apply_json_patch(document, operations) == patched
    assert document == {"m": {"k": 1}, "l": [0, 1]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope/deeper", "value": 1},
        {"op": "test", "path": "/l/0", "value": 5},
        {"op": "add", "path": "/l/7", "value": 5},
        {"op": "add", "path": "no slash", "value": 5},
        {"op": "frobnicate", "path": "/l"},
        {"op": "add", "path": "/l/0"},
    ],
)
def test_a_json_patch_that_does_not_fit(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        apply_json_patch({"l": [0]}, [operation])


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "replace", "path": "/none", "value": 1}, {"list": [1], "none": 1}),
        ({"op": "copy", "from": "/none", "path": "/b"}, {"list": [1], "b": None}),
        ({"op": "test", "path": "/none", "value": None}, {"list": [1]}),
    ],
)
def test_a_key_that_a_mapping_lacks_reads_as_null(operation: dict[str, Any], result: Any) -> None:
    """The API server's library differs from RFC 6902 here."""
    assert apply_json_patch({"list": [1]}, [operation]) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/list/1", "value": 1},
        {"op": "remove", "path": "/none"},
        {"op": "move", "from": "/none", "path": "/b"},
    ],
)
def test_what_is_not_there_is_not_removed(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        apply_json_patch({"list": [1]}, [operation])
