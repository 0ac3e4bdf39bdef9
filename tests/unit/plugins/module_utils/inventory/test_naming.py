"""Host names and groups of guests."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.inventory.naming import Grouping, unique_names


def guest(name: str = "db", namespace: str | None = "prod", **more: Any) -> dict[str, Any]:
    variables = {"name": name, "namespace": namespace, "status": "Running", "labels": {}, **more}
    return {f"virtstack_{key}": value for key, value in variables.items()}


def test_a_name_that_one_guest_wants_is_its_name() -> None:
    assert unique_names([guest("a"), guest("b")], ["a", "b"]) == ["a", "b"]


def test_a_name_that_two_guests_want_is_neithers() -> None:
    guests = [guest("a", "prod"), guest("a", "test"), guest("b", "prod")]

    assert unique_names(guests, ["a", "a", "b"]) == ["a.prod", "a.test", "b"]


def test_a_guest_without_a_namespace_is_called_after_its_host() -> None:
    guests = [guest("a", None, node="kvm1"), guest("a", None, node="kvm2")]

    assert unique_names(guests, ["a", "a"]) == ["a.kvm1", "a.kvm2"]


def test_the_order_of_guests_does_not_change_their_names() -> None:
    guests = [guest("a", "test"), guest("a", "prod")]

    assert unique_names(guests, ["a", "a"]) == ["a.test", "a.prod"]


def test_a_default_name_pushes_out_whoever_took_it() -> None:
    guests = [guest("a", "prod"), guest("a", "test"), guest("c", "prod")]

    assert unique_names(guests, ["a", "a", "a.prod"]) == ["a.prod", "a.test", "c.prod"]


@pytest.mark.parametrize(
    ("fact", "value", "group"),
    [
        ("namespace", "prod", "namespace_prod"),
        ("node", "worker-1", "node_worker-1"),
        ("status", "ErrorUnschedulable", "status_error_unschedulable"),
        ("status", "CrashLoopBackOff", "status_crash_loop_back_off"),
        ("run_strategy", "RerunOnFailure", "run_strategy_rerun_on_failure"),
        ("kind", "VirtualMachine", "kind_virtual_machine"),
        ("instancetype", "u1.medium", "instancetype_u1.medium"),
        ("os", "rhel", "os_rhel"),
    ],
)
def test_a_group_is_named_after_its_kind_and_value(fact: str, value: str, group: str) -> None:
    assert list(Grouping([fact]).names(guest(**{fact: value}))) == [group]


def test_what_a_guest_does_not_have_makes_no_group() -> None:
    assert list(Grouping(["node", "os"]).names(guest(node=None, os=None))) == []


def test_only_the_wanted_labels_make_groups() -> None:
    labels = {"app": "shop", "tier": "back", "topology.kubernetes.io/zone": "a", "flag": ""}
    grouping = Grouping(group_by_labels=["app", "topology.kubernetes.io/*", "flag"])

    assert list(grouping.names(guest(labels=labels))) == [
        "label_app_shop",
        "label_topology.kubernetes.io/zone_a",
        "label_flag",
    ]


def test_a_prefix_goes_before_every_group() -> None:
    grouping = Grouping(["namespace"], ["app"], "kv_", "east")

    assert list(grouping.names(guest(labels={"app": "x"}))) == [
        "kv_cluster_east",
        "kv_namespace_prod",
        "kv_label_app_x",
    ]
