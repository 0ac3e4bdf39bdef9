"""The strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from virtlab.apply.strategic import strategic_merge
from virtlab.status import StatusError

Object = dict[str, Any]
MERGED = {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"}
VOLUME: Object = {"type": "object", "properties": {"name": {"type": "string"}}}
CONTAINER: Object = {
    "type": "object",
    "properties": {"env": {"type": "array", "items": {"type": "object"}, **MERGED}, "args": {"type": "array"}},
}
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "containers": {"type": "array", "items": CONTAINER, **MERGED},
        "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-patch-strategy": "merge"},
        "volumes": {"type": "array", "items": VOLUME, **MERGED, "x-kubernetes-patch-strategy": "merge,retainKeys"},
        "strategy": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys"},
        "selector": {"type": "object", "x-kubernetes-patch-strategy": "replace"},
        "tolerations": {"type": "array", "items": {"type": "object"}},
    },
}


def patched(live: Object, patch: Object) -> Object:
    before = copy.deepcopy(live), copy.deepcopy(patch)
    new = strategic_merge(SCHEMA, live, patch)
    assert (live, patch) == before, "what was given was changed"
    return new


def named(*names: str, **more: Any) -> list[Object]:
    return [{"name": name, **more} for name in names]


def test_items_with_the_same_key_are_merged_and_others_stay() -> None:
    live = {"containers": [{"name": "a", "image": "1", "env": named("X", value="1")}, {"name": "b", "image": "2"}]}
    patch = {"containers": [{"name": "a", "image": "3", "env": named("Y", value="2")}]}
    assert patched(live, patch) == {
        "containers": [
            {"name": "a", "image": "3", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
            {"name": "b", "image": "2"},
        ]
    }


def test_new_items_come_before_those_the_server_has() -> None:
    assert patched({"containers": named("a", "b")}, {"containers": named("c")}) == {"containers": named("c", "a", "b")}


def test_the_order_that_is_asked_for_is_kept() -> None:
    patch = {"$setElementOrder/containers": named("c", "b", "a"), "containers": named("c")}
    assert patched({"containers": named("a", "b")}, patch) == {"containers": named("c", "b", "a")}


def test_an_order_that_contradicts_the_patch_is_refused() -> None:
    patch = {"$setElementOrder/containers": named("a"), "containers": named("c")}
    with pytest.raises(StatusError, match=r"doesn't match \$setElementOrder"):
        patched({"containers": named("a")}, patch)


def test_an_item_is_deleted_by_its_key() -> None:
    patch = {"containers": [{"name": "a", "$patch": "delete"}]}
    assert patched({"containers": named("a", "b")}, patch) == {"containers": named("b")}


def test_a_list_is_replaced_when_the_patch_says_so() -> None:
    patch = {"containers": [{"$patch": "replace"}, {"name": "c"}]}
    assert patched({"containers": named("a", "b")}, patch) == {"containers": named("c")}


def test_an_object_is_replaced_or_emptied_when_the_patch_says_so() -> None:
    live = {"strategy": {"type": "a", "x": 1}}
    assert patched(live, {"strategy": {"$patch": "replace", "type": "b"}}) == {"strategy": {"type": "b"}}
    assert patched(live, {"strategy": {"$patch": "delete"}}) == {"strategy": {}}


def test_lists_without_a_strategy_are_replaced() -> None:
    assert patched({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}) == {"tolerations": [{"key": "b"}]}


def test_a_map_of_strategy_replace_is_replaced() -> None:
    assert patched({"selector": {"a": 1}}, {"selector": {"b": 2}}) == {"selector": {"b": 2}}


def test_plain_values_are_united_and_taken_out_by_a_list_of_their_own() -> None:
    assert patched({"finalizers": ["a"]}, {"finalizers": ["b", "a"]}) == {"finalizers": ["b", "a"]}
    assert patched({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}) == {"finalizers": ["b"]}


def test_keys_that_are_not_retained_go() -> None:
    live = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert patched(live, patch) == {"strategy": {"type": "Recreate"}}


def test_a_patch_may_only_set_what_it_retains() -> None:
    with pytest.raises(StatusError, match="invalid patch format of retainKeys"):
        patched({"strategy": {"type": "a"}}, {"strategy": {"$retainKeys": ["type"], "other": 1}})


def test_null_removes_and_is_not_written() -> None:
    assert patched({"a": 1, "b": 2}, {"a": None, "c": {"d": None, "e": 1}}) == {"b": 2, "c": {"e": 1}}


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(StatusError, match="does not contain declared merge key: name") as caught:
        patched({"containers": named("a")}, {"containers": [{"image": "x"}]})
    assert caught.value.code == 500
