"""Whether a live object already is what is declared."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.compare import Match, compare, same_scalar

SAME, UNSURE, DIFFERENT = Match.SAME, Match.UNSURE, Match.DIFFERENT


def live(
    fields: dict[str, Any], *, manager: str = "virtstack", operation: str = "Apply", **content: Any
) -> dict[str, Any]:
    metadata = {
        "name": "a",
        "namespace": "prod",
        "resourceVersion": "7",
        "uid": "u",
        **content.pop("metadata", {}),
        "managedFields": [
            {"manager": manager, "operation": operation, "apiVersion": "kubevirt.io/v1", "fieldsV1": fields}
        ],
    }
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, **content}


def declared(**content: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "prod", **content.pop("metadata", {})}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, **content}


def match(body: dict[str, Any], found: dict[str, Any]) -> Match:
    return compare(body, found, "virtstack")


def leaf(*path: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in reversed(path):
        fields = {name: fields}
    return fields


def test_values_that_are_there_and_ours_need_nothing() -> None:
    found = live(
        leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted", "template": {}}, status={"ready": False}
    )
    assert match(declared(spec={"runStrategy": "Halted"}), found) is SAME


def test_another_value_is_applied() -> None:
    found = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Always"})
    assert match(declared(spec={"runStrategy": "Halted"}), found) is DIFFERENT


def test_a_value_that_is_there_but_not_ours_is_applied() -> None:
    found = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted"}, manager="kubectl")
    assert match(declared(spec={"runStrategy": "Halted"}), found) is DIFFERENT


def test_a_value_that_we_merely_updated_is_applied() -> None:
    found = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted"}, operation="Update")
    assert match(declared(spec={"runStrategy": "Halted"}), found) is DIFFERENT


def test_a_field_that_is_declared_no_more_is_applied_away() -> None:
    fields = {"f:spec": {"f:runStrategy": {}, "f:running": {}}}
    found = live(fields, spec={"runStrategy": "Halted", "running": False})
    assert match(declared(spec={"runStrategy": "Halted"}), found) is DIFFERENT


def test_what_was_applied_in_another_version_of_the_api_is_applied_again() -> None:
    found = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted"})
    found["metadata"]["managedFields"][0]["apiVersion"] = "kubevirt.io/v1alpha3"
    assert match(declared(spec={"runStrategy": "Halted"}), found) is DIFFERENT


def test_identity_and_status_do_not_count() -> None:
    found = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted"})
    body = declared(spec={"runStrategy": "Halted"}, metadata={"resourceVersion": "1"})
    assert match(body, found) is SAME


def test_labels_with_the_map_itself_owned() -> None:
    fields = {"f:metadata": {"f:labels": {".": {}, "f:kubevirt.io/domain": {}}}}
    found = live(fields, metadata={"labels": {"kubevirt.io/domain": "a", "other": "x"}})
    assert match(declared(metadata={"labels": {"kubevirt.io/domain": "a"}}), found) is SAME


def test_an_atomic_list_counts_as_a_whole() -> None:
    fields = leaf("f:spec", "f:disks")
    found = live(fields, spec={"disks": [{"name": "root", "bootOrder": 1}]})
    assert match(declared(spec={"disks": [{"name": "root", "bootOrder": 1}]}), found) is SAME
    assert match(declared(spec={"disks": [{"name": "root", "bootOrder": 2}]}), found) is DIFFERENT
    assert match(declared(spec={"disks": []}), found) is DIFFERENT


def test_more_inside_an_atomic_list_than_declared_is_a_question_to_the_server() -> None:
    """A default of the server's, or a field that was declared before: only the server knows."""
    found = live(leaf("f:spec", "f:disks"), spec={"disks": [{"name": "root", "bootOrder": 1}]})
    assert match(declared(spec={"disks": [{"name": "root"}]}), found) is UNSURE


def test_a_null_inside_an_atomic_list_is_no_more_than_a_missing_field() -> None:
    """A webhook that rewrites an object through Go's types leaves C(creationTimestamp: null) in its templates."""
    template = {"metadata": {"name": "a", "creationTimestamp": None}}
    found = live(leaf("f:spec", "f:templates"), spec={"templates": [template]})
    assert match(declared(spec={"templates": [{"metadata": {"name": "a"}}]}), found) is SAME


def test_an_atomic_map_counts_as_a_whole() -> None:
    found = live(leaf("f:spec", "f:selector"), spec={"selector": {"app": "db", "tier": "x"}})
    assert match(declared(spec={"selector": {"app": "db", "tier": "x"}}), found) is SAME
    assert match(declared(spec={"selector": {"app": "db"}}), found) is UNSURE
    assert match(declared(spec={"selector": {}}), found) is UNSURE
    assert match(declared(spec={"selector": {"app": "web"}}), found) is DIFFERENT


SERVICE_FIELDS = {
    "f:spec": {
        "f:ports": {
            'k:{"port":22,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}},
        }
    }
}
LIVE_PORTS = [
    {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80},
    {"name": "ssh", "port": 22, "protocol": "TCP", "targetPort": 22},
]


def test_items_of_a_keyed_list_are_found_by_their_keys() -> None:
    found = live(SERVICE_FIELDS, spec={"ports": LIVE_PORTS})
    assert match(declared(spec={"ports": [{"name": "ssh", "port": 22}]}), found) is SAME
    assert match(declared(spec={"ports": [{"name": "sftp", "port": 22}]}), found) is DIFFERENT
    assert match(declared(spec={"ports": [{"name": "ssh", "port": 2222}]}), found) is DIFFERENT


def test_an_item_of_a_keyed_list_that_is_declared_no_more_is_applied_away() -> None:
    found = live(SERVICE_FIELDS, spec={"ports": LIVE_PORTS})
    assert match(declared(spec={"ports": []}), found) is DIFFERENT
    assert match(declared(spec={}), found) is DIFFERENT


def test_a_key_left_to_its_default_goes_with_the_item_that_is_left() -> None:
    fields = {
        "f:spec": {
            "f:ports": {
                'k:{"port":53,"protocol":"TCP"}': {".": {}, "f:port": {}},
                'k:{"port":53,"protocol":"UDP"}': {".": {}, "f:port": {}, "f:protocol": {}},
            }
        }
    }
    ports = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    assert (
        match(
            declared(spec={"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}),
            live(fields, spec={"ports": ports}),
        )
        is SAME
    )


def test_items_of_a_set() -> None:
    fields = {"f:metadata": {"f:finalizers": {f"v:{json.dumps('x/y')}": {}}}}
    found = live(fields, metadata={"finalizers": ["kubevirt.io/foo", "x/y"]})
    assert match(declared(metadata={"finalizers": ["x/y"]}), found) is SAME
    assert match(declared(metadata={"finalizers": ["x/z"]}), found) is DIFFERENT


def test_an_empty_map_that_is_owned_as_it_is() -> None:
    found = live(leaf("f:spec", "f:devices"), spec={"devices": {}})
    assert match(declared(spec={"devices": {}}), found) is SAME


def test_an_empty_list_leaves_no_trace() -> None:
    found = live(leaf("f:spec", "f:a"), spec={"a": 1})
    assert match(declared(spec={"a": 1, "finalizers": []}), found) is SAME
    found["spec"]["finalizers"] = ["x"]
    assert match(declared(spec={"a": 1, "finalizers": []}), found) is DIFFERENT


def test_true_is_not_one() -> None:
    found = live(leaf("f:spec", "f:list"), spec={"list": [1]})
    assert match(declared(spec={"list": [True]}), found) is DIFFERENT


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1Gi", "1024Mi"),
        ("1", "1000m"),
        (2, "2"),
        ("0.5", "500m"),
        ("1G", "1000M"),
        ("1.5Gi", "1536Mi"),
        ("100n", "0.1u"),
    ],
)
def test_quantities_that_mean_the_same(first: Any, second: Any) -> None:
    assert same_scalar(first, second)
    assert same_scalar(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1Gi", "1G"),
        ("4.10", "4.1"),
        ("1Gi", "2Gi"),
        ("stable", "Stable"),
        (True, 1),
        ("true", True),
        (1, None),
        ("60s", "1m"),
    ],
)
def test_values_that_do_not_mean_the_same(first: Any, second: Any) -> None:
    assert not same_scalar(first, second)


def test_a_label_is_text_even_when_it_looks_like_a_quantity() -> None:
    found = live({"f:metadata": {"f:labels": {"f:size": {}}}}, metadata={"labels": {"size": "1024Mi"}})
    assert match(declared(metadata={"labels": {"size": "1Gi"}}), found) is DIFFERENT


def test_a_quantity_that_the_server_writes_its_own_way_needs_nothing() -> None:
    found = live(leaf("f:spec", "f:memory", "f:guest"), spec={"memory": {"guest": "1Gi"}})
    assert match(declared(spec={"memory": {"guest": "1024Mi"}}), found) is SAME


def test_who_declares_nothing_of_an_object_that_is_there_needs_nothing() -> None:
    theirs = live(leaf("f:spec", "f:runStrategy"), manager="kubectl", spec={"runStrategy": "Halted"})
    assert match(declared(), theirs) is SAME


def test_who_declares_nothing_any_more_applies_that() -> None:
    ours = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted"})
    assert match(declared(), ours) is DIFFERENT


def test_who_declares_nothing_any_more_takes_back_what_was_applied_in_another_version() -> None:
    found = live(leaf("f:spec", "f:runStrategy"), spec={"runStrategy": "Halted"})
    found["metadata"]["managedFields"][0]["apiVersion"] = "kubevirt.io/v1alpha3"
    assert match(declared(), found) is DIFFERENT
