"""What a declaration asks for, given the live object."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import Invalid
from ansible_collections.virtstack.core.plugins.module_utils.cluster.merge import intent
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource

MACHINE = Resource(
    "kubevirt.io",
    "v1",
    "virtualmachines",
    "VirtualMachine",
    list_keys={
        "spec.disks": "name",
        "spec.volumes": "name",
        "spec.interfaces": "name",
        "spec.interfaces.ports": "name",
    },
    one_of={"spec.volumes": frozenset({"dataVolume", "containerDisk", "emptyDisk"})},
)


def machine(**content: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "prod", **content.pop("metadata", {})}, **content}


def spec(desired: dict[str, Any], live: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    body = intent(MACHINE, machine(spec=desired), machine(spec=live) if live is not None else None, **options).body
    found: dict[str, Any] = body["spec"]
    return found


def test_apiversion_and_kind_are_filled_in() -> None:
    body = intent(MACHINE, machine()).body
    assert (body["apiVersion"], body["kind"]) == ("kubevirt.io/v1", "VirtualMachine")


def test_a_definition_of_another_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="kind Pod, where VirtualMachine"):
        intent(MACHINE, {"kind": "Pod", **machine()})


def test_what_only_the_server_writes_is_left_out() -> None:
    pasted = machine(
        metadata={
            "uid": "u",
            "resourceVersion": "5",
            "managedFields": [],
            "creationTimestamp": "x",
            "labels": {"a": "b"},
        },
        status={"ready": True},
    )
    body = intent(MACHINE, pasted).body
    assert body["metadata"] == {"name": "a", "namespace": "prod", "labels": {"a": "b"}}
    assert "status" not in body


def test_arguments_are_left_as_they_are() -> None:
    desired = machine(spec={"disks": [{"name": "root", "bootOrder": None}], "x": None})
    live = machine(spec={"disks": [{"name": "root", "bootOrder": 1}, {"name": "data"}], "x": 1})
    before = copy.deepcopy((desired, live))
    intent(MACHINE, desired, live)
    assert (desired, live) == before


def test_merge_keeps_an_interface_nobody_declared() -> None:
    live = {"interfaces": [{"name": "default", "masquerade": {}}, {"name": "lan", "bridge": {}}]}
    assert spec({"interfaces": [{"name": "default", "masquerade": {}}]}, live)["interfaces"] == live["interfaces"]


def test_merge_keeps_what_the_server_wrote_into_an_item() -> None:
    live = {"interfaces": [{"name": "lan", "bridge": {}, "macAddress": "02:00:00:00:00:01"}]}
    merged = spec({"interfaces": [{"name": "lan", "bridge": {}, "model": "virtio"}]}, live)["interfaces"]
    assert merged == [{"name": "lan", "bridge": {}, "macAddress": "02:00:00:00:00:01", "model": "virtio"}]


def test_merge_keeps_the_live_order_and_appends() -> None:
    live = {"disks": [{"name": "a"}, {"name": "b"}]}
    merged = spec({"disks": [{"name": "c"}, {"name": "b"}]}, live)["disks"]
    assert [disk["name"] for disk in merged] == ["a", "b", "c"]


def test_an_item_declared_absent_is_taken_out() -> None:
    live = {"disks": [{"name": "a"}, {"name": "b"}]}
    assert spec({"disks": [{"name": "a", "state": "absent"}]}, live)["disks"] == [{"name": "b"}]
    assert spec({"disks": [{"name": "x", "state": "absent"}]}, live)["disks"] == live["disks"]


def test_an_items_own_field_state_is_the_apis() -> None:
    """KubeVirt unplugs an interface that is kept in the list with state absent."""
    live = {"interfaces": [{"name": "lan", "bridge": {}}]}
    item = {"name": "lan", "bridge": {}, "state": "absent"}
    assert spec({"interfaces": [item]}, live)["interfaces"] == [item]


def test_a_null_takes_a_field_out_of_an_item() -> None:
    live = {"disks": [{"name": "a", "bootOrder": 1}]}
    assert spec({"disks": [{"name": "a", "bootOrder": None}]}, live)["disks"] == [{"name": "a"}]


def test_a_new_source_takes_the_place_of_the_live_one() -> None:
    live = {"volumes": [{"name": "a", "containerDisk": {"image": "x"}}]}
    merged = spec({"volumes": [{"name": "a", "dataVolume": {"name": "dv"}}]}, live)["volumes"]
    assert merged == [{"name": "a", "dataVolume": {"name": "dv"}}]


def test_named_lists_inside_named_lists_are_merged_too() -> None:
    live = {"interfaces": [{"name": "default", "ports": [{"name": "ssh", "port": 22}]}]}
    merged = spec({"interfaces": [{"name": "default", "ports": [{"name": "web", "port": 80}]}]}, live)
    assert merged["interfaces"][0]["ports"] == [{"name": "ssh", "port": 22}, {"name": "web", "port": 80}]


@pytest.mark.parametrize("replace_lists", [True, ["disks"], ["spec.disks"]])
def test_replace_lists_makes_the_declared_list_the_whole(replace_lists: Any) -> None:
    live = {"disks": [{"name": "a", "bootOrder": 1}, {"name": "b"}]}
    assert spec({"disks": [{"name": "a"}]}, live, replace_lists=replace_lists)["disks"] == [{"name": "a"}]


def test_replace_lists_of_one_list_merges_the_others() -> None:
    live = {"disks": [{"name": "a"}, {"name": "b"}], "volumes": [{"name": "v"}]}
    merged = spec({"disks": [{"name": "a"}], "volumes": []}, live, replace_lists=["disks"])
    assert merged == {"disks": [{"name": "a"}], "volumes": [{"name": "v"}]}


def test_replace_lists_of_an_unknown_list_names_those_there_are() -> None:
    with pytest.raises(Invalid, match=r"no named list nics.*disks, interfaces"):
        intent(MACHINE, machine(), None, ["nics"])


def test_two_items_of_one_name_are_refused() -> None:
    with pytest.raises(Invalid, match=r"spec\.disks: two items have the name root"):
        spec({"disks": [{"name": "root"}, {"name": "root"}]})


def test_an_item_without_its_name_is_refused() -> None:
    with pytest.raises(Invalid, match=r"spec\.disks: every item needs its name"):
        spec({"disks": [{"disk": {}}]})


def test_a_list_without_a_key_is_taken_as_declared() -> None:
    assert spec({"args": ["a"]}, {"args": ["b", "c"]})["args"] == ["a"]


def test_nulls_stand_for_removals_of_what_is_there() -> None:
    desired = machine(spec={"running": None, "gone": None, "template": {"x": None, "y": 1}})
    live = machine(spec={"running": True, "template": {"x": {"deep": 1}}})
    wanted = intent(MACHINE, desired, live)
    assert wanted.body["spec"] == {"template": {"y": 1}}
    assert wanted.removals == {"spec": {"running": None, "template": {"x": None}}}


def test_nulls_in_a_new_object_mean_nothing() -> None:
    wanted = intent(MACHINE, machine(spec={"running": None, "list": [{"a": None, "b": 1}]}))
    assert wanted.body["spec"] == {"list": [{"b": 1}]}
    assert wanted.removals == {}
