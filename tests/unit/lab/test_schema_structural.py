"""Pruning and defaulting by structural schemas."""

from __future__ import annotations

from typing import Any

from virtlab.schema.structural import default, prune, unknown_fields

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}


def kind(**spec: Schema) -> Schema:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}


def test_unknown_fields_are_named_by_their_path_and_sorted() -> None:
    disk = {"type": "object", "properties": {"name": STRING}}
    schema = kind(disks={"type": "array", "items": disk}, name=STRING)
    obj = {"spec": {"zzz": 1, "name": "x", "disks": [{"name": "a"}, {"name": "b", "bus": "c"}], "aaa": {}}}
    assert unknown_fields(schema, obj) == ["spec.aaa", "spec.disks[1].bus", "spec.zzz"]
    assert obj["spec"]["zzz"] == 1


def test_pruning_takes_out_exactly_the_unknown_fields() -> None:
    obj = {"spec": {"name": "x", "nope": {"name": "y"}}}
    assert prune(kind(name=STRING), obj) == ["spec.nope"]
    assert obj == {"spec": {"name": "x"}}


def test_preserved_fields_stay_and_what_is_described_among_them_is_still_pruned() -> None:
    inner = {"type": "object", "properties": {"a": STRING}}
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": inner}}
    obj = {"spec": {"free": {"any": {"thing": 1}, "known": {"a": "x", "b": "y"}}}}
    assert prune(kind(free=free), obj) == ["spec.free.known.b"]
    assert obj == {"spec": {"free": {"any": {"thing": 1}, "known": {"a": "x"}}}}


def test_keys_of_a_map_are_not_fields() -> None:
    schema = kind(labels={"type": "object", "additionalProperties": STRING})
    obj = {"spec": {"labels": {"a": "b"}}}
    assert prune(schema, obj) == []
    assert obj == {"spec": {"labels": {"a": "b"}}}


def test_an_embedded_object_keeps_what_makes_it_an_object() -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}}
    obj = {"spec": {"raw": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "data": {}}}}
    assert prune(kind(raw=embedded), obj) == ["spec.raw.data"]


def test_defaults_are_filled_in_below_what_is_there_only() -> None:
    inner = {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}
    schema = kind(present=inner, absent=inner, made={**inner, "default": {}})
    obj: dict[str, Any] = {"spec": {"present": {}}}
    default(schema, obj)
    assert obj == {"spec": {"present": {"size": 3}, "made": {"size": 3}}}


def test_defaults_reach_into_lists_and_maps() -> None:
    item = {"type": "object", "properties": {"bus": {"type": "string", "default": "virtio"}}}
    schema = kind(disks={"type": "array", "items": item}, by_name={"type": "object", "additionalProperties": item})
    obj = {"spec": {"disks": [{}, {"bus": "sata"}], "by_name": {"a": {}}}}
    default(schema, obj)
    assert obj == {"spec": {"disks": [{"bus": "virtio"}, {"bus": "sata"}], "by_name": {"a": {"bus": "virtio"}}}}


def test_a_null_gives_way_to_the_default_or_goes() -> None:
    schema = kind(a={"type": "string", "default": "x"}, b=STRING, c={"type": "string", "nullable": True})
    obj = {"spec": {"a": None, "b": None, "c": None}}
    default(schema, obj)
    assert obj == {"spec": {"a": "x", "c": None}}


def test_two_objects_do_not_share_a_default() -> None:
    schema = kind(list={"type": "array", "items": STRING, "default": ["a"]})
    one: dict[str, Any] = {"spec": {}}
    two: dict[str, Any] = {"spec": {}}
    default(schema, one)
    default(schema, two)
    one["spec"]["list"].append("b")
    assert two == {"spec": {"list": ["a"]}}
