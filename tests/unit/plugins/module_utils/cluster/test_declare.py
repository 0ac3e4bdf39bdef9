"""Declaring objects on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster import errors
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.declare import (
    Outcome,
    declare,
    declare_many,
    remove,
)
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
SERVICE = Resource("", "v1", "services", "Service")
MACHINE = Resource(
    "kubevirt.io",
    "v1",
    "virtualmachines",
    "VirtualMachine",
    list_keys={
        "spec.template.spec.domain.devices.disks": "name",
        "spec.template.spec.domain.devices.interfaces": "name",
        "spec.template.spec.networks": "name",
        "spec.template.spec.volumes": "name",
    },
)

Maker = Callable[..., dict[str, Any]]


@pytest.fixture
def machine(namespace: str) -> Maker:
    def make(name: str = "db", /, disks: tuple[str, ...] = ("root",), **spec: Any) -> Object:
        return {
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "runStrategy": "Halted",
                "template": {
                    "metadata": {"labels": {"kubevirt.io/domain": name}},
                    "spec": {
                        "domain": {
                            "memory": {"guest": "128Mi"},
                            "devices": {"disks": [{"name": disk, "disk": {"bus": "virtio"}} for disk in disks]},
                        },
                        "volumes": [{"name": disk, "containerDisk": {"image": "x"}} for disk in disks],
                    },
                },
                **spec,
            },
        }

    return make


class Counted:
    """The requests that a client sent, by method."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        transport = client._transport
        send = transport.send

        def counting(asked: Any, method: str, *arguments: Any, **options: Any) -> Any:
            self.sent.append(method)
            return send(asked, method, *arguments, **options)

        monkeypatch.setattr(transport, "send", counting)


@pytest.fixture
def sent(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return Counted(client, monkeypatch).sent


def disks(found: Object | None) -> list[str]:
    assert found is not None
    return [disk["name"] for disk in found["spec"]["template"]["spec"]["domain"]["devices"]["disks"]]


def test_a_second_run_changes_nothing_and_only_reads(client: Client, machine: Maker, sent: list[str]) -> None:
    assert declare(client, MACHINE, machine()).action == "created"
    sent.clear()
    assert declare(client, MACHINE, machine()).action == "unchanged"
    assert sent == ["GET"]


def test_a_service_with_the_servers_defaults_is_settled_too(client: Client, namespace: str, sent: list[str]) -> None:
    body = {
        "metadata": {"name": "ssh", "namespace": namespace},
        "spec": {"selector": {"app": "db"}, "ports": [{"name": "ssh", "port": 22}, {"name": "web", "port": 80}]},
    }
    declare(client, SERVICE, body)
    sent.clear()
    assert not declare(client, SERVICE, body).changed
    assert sent == ["GET"]


def test_a_changed_value_is_updated_and_shown(client: Client, config_map: Maker) -> None:
    declare(client, CONFIG_MAP, config_map("a", x="1"))
    outcome = declare(client, CONFIG_MAP, config_map("a", x="2"))
    assert outcome.action == "updated"
    diff = outcome.diff()
    assert (diff["before"]["data"], diff["after"]["data"]) == ({"x": "1"}, {"x": "2"})


def test_a_field_declared_no_more_goes_away_and_others_stay(client: Client, config_map: Maker, namespace: str) -> None:
    declare(client, CONFIG_MAP, config_map("a", x="1", y="2"))
    client.patch(CONFIG_MAP, "a", namespace, {"data": {"other": "3"}, "metadata": {"labels": {"by": "hand"}}})
    outcome = declare(client, CONFIG_MAP, config_map("a", x="1"))
    assert outcome.after is not None
    assert outcome.after["data"] == {"x": "1", "other": "3"}
    assert outcome.after["metadata"]["labels"] == {"by": "hand"}


def test_check_mode_tells_what_would_be_and_leaves_all_as_it_is(
    client: Client, config_map: Maker, namespace: str
) -> None:
    assert declare(client, CONFIG_MAP, config_map("a", x="1"), check_mode=True).action == "created"
    assert client.get(CONFIG_MAP, "a", namespace) is None
    declare(client, CONFIG_MAP, config_map("a", x="1"))
    outcome = declare(client, CONFIG_MAP, config_map("a", x="2"), check_mode=True)
    assert outcome.action == "updated"
    assert outcome.diff()["after"]["data"] == {"x": "2"}
    assert not declare(client, CONFIG_MAP, config_map("a", x="1"), check_mode=True).changed


def test_check_mode_asks_the_clusters_webhooks(client: Client, machine: Maker) -> None:
    with pytest.raises(errors.Denied, match="Invalid RunStrategy"):
        declare(client, MACHINE, machine(runStrategy="Foo"), check_mode=True)


def test_a_missing_namespace_is_an_error_and_in_check_mode_a_warning(client: Client) -> None:
    body = {"metadata": {"name": "a", "namespace": "not-yet"}, "data": {"x": "1"}}
    with pytest.raises(errors.NamespaceMissing, match="Create the namespace first"):
        declare(client, CONFIG_MAP, body)
    outcome = declare(client, CONFIG_MAP, body, check_mode=True)
    assert outcome.action == "created"
    assert "could not check" in outcome.warnings[0]


def test_a_misspelled_field_is_named(client: Client, machine: Maker) -> None:
    with pytest.raises(errors.Invalid, match=r"has no field spec\.memery"):
        declare(client, MACHINE, machine(memery="1Gi"))


def test_what_was_merely_updated_takes_the_declared_value(client: Client, machine: Maker, namespace: str) -> None:
    declare(client, MACHINE, machine())
    client.request(
        "PATCH",
        MACHINE.path("db", namespace),
        query={"fieldManager": "console"},
        body={"spec": {"runStrategy": "Manual"}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    outcome = declare(client, MACHINE, machine())
    assert outcome.action == "updated"
    assert outcome.after is not None
    assert outcome.after["spec"]["runStrategy"] == "Halted"


@pytest.fixture
def declared_by_another(client: Client, namespace: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": namespace},
        "data": {"x": "theirs"},
    }
    client.request(
        "PATCH",
        CONFIG_MAP.path("a", namespace),
        query={"fieldManager": "argocd"},
        body=body,
        headers={"Content-Type": "application/apply-patch+yaml"},
    )


@pytest.mark.usefixtures("declared_by_another")
@pytest.mark.parametrize("check_mode", [True, False])
def test_what_another_manager_declares_is_a_conflict(
    client: Client, config_map: Maker, namespace: str, check_mode: bool
) -> None:
    with pytest.raises(errors.FieldConflict, match=r"argocd holds data\.x.*force_conflicts"):
        declare(client, CONFIG_MAP, config_map("a", x="ours"), check_mode=check_mode)
    outcome = declare(client, CONFIG_MAP, config_map("a", x="ours"), check_mode=check_mode, force_conflicts=True)
    assert outcome.action == "updated"
    found = client.get(CONFIG_MAP, "a", namespace)
    assert found is not None
    assert found["data"]["x"] == ("theirs" if check_mode else "ours")


@pytest.mark.usefixtures("declared_by_another")
def test_the_same_value_as_another_managers_is_shared_without_a_change(client: Client, config_map: Maker) -> None:
    assert not declare(client, CONFIG_MAP, config_map("a", x="theirs")).changed


def test_a_null_removes_what_another_manager_set(client: Client, config_map: Maker, namespace: str) -> None:
    declare(client, CONFIG_MAP, config_map("a", x="1"))
    client.patch(CONFIG_MAP, "a", namespace, {"metadata": {"labels": {"by": "hand", "kept": "yes"}}})
    body = config_map("a", x="1")
    body["metadata"]["labels"] = {"by": None}
    checked = declare(client, CONFIG_MAP, body, check_mode=True)
    assert checked.diff()["after"]["metadata"]["labels"] == {"kept": "yes"}
    outcome = declare(client, CONFIG_MAP, body)
    assert outcome.after is not None
    assert outcome.after["metadata"]["labels"] == {"kept": "yes"}
    assert not declare(client, CONFIG_MAP, body).changed


def test_one_field_takes_the_place_of_another_that_excludes_it(client: Client, machine: Maker, namespace: str) -> None:
    body = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", **machine(running=False)}
    del body["spec"]["runStrategy"]
    client.create(MACHINE, body)
    outcome = declare(client, MACHINE, machine(running=None, runStrategy="Manual"))
    assert outcome.after is not None
    assert "running" not in outcome.after["spec"]
    assert not declare(client, MACHINE, machine(running=None, runStrategy="Manual")).changed


@pytest.mark.usefixtures("declared_by_another")
def test_a_null_beside_a_conflict_overrides_nobody(client: Client, config_map: Maker, namespace: str) -> None:
    client.patch(CONFIG_MAP, "a", namespace, {"metadata": {"labels": {"by": "hand"}}})
    body = config_map("a", x="ours")
    body["metadata"]["labels"] = {"by": None}
    with pytest.raises(errors.FieldConflict):
        declare(client, CONFIG_MAP, body)
    found = client.get(CONFIG_MAP, "a", namespace)
    assert found is not None
    assert found["data"] == {"x": "theirs"}


def test_a_disk_that_somebody_else_added_stays(client: Client, machine: Maker, namespace: str) -> None:
    declare(client, MACHINE, machine())
    plugged = machine(disks=("root", "hotplugged"))
    client.patch(MACHINE, "db", namespace, {"spec": plugged["spec"]})
    outcome = declare(client, MACHINE, machine())
    assert not outcome.changed
    assert disks(outcome.after) == ["root", "hotplugged"]
    replaced = declare(client, MACHINE, machine(), replace_lists=True)
    assert disks(replaced.after) == ["root"]


def test_a_disk_declared_absent_goes(client: Client, machine: Maker) -> None:
    declare(client, MACHINE, machine(disks=("root", "data")))
    body = machine()
    gone = {"name": "data", "state": "absent"}
    body["spec"]["template"]["spec"]["domain"]["devices"]["disks"].append(gone)
    body["spec"]["template"]["spec"]["volumes"].append(gone)
    outcome = declare(client, MACHINE, body)
    assert outcome.action == "updated"
    assert disks(outcome.after) == ["root"]
    assert not declare(client, MACHINE, body).changed


def test_what_changes_meanwhile_is_read_again(client: Client, config_map: Maker, lab: Any, namespace: str) -> None:
    first = declare(client, CONFIG_MAP, config_map("a", x="1")).after
    client.patch(CONFIG_MAP, "a", namespace, {"data": {"other": "2"}})
    outcome = declare(client, CONFIG_MAP, config_map("a", x="3"), live=first)
    assert outcome.after is not None
    assert outcome.after["data"] == {"x": "3", "other": "2"}


def test_what_changes_all_the_time_is_given_up(client: Client, config_map: Maker, lab: Any, namespace: str) -> None:
    declare(client, CONFIG_MAP, config_map("a", x="1"))
    message = 'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes'
    lab.fault("request", verb="patch", path=namespace, code=409, reason="Conflict", message=message)
    with pytest.raises(errors.Conflict, match="has been modified"):
        declare(client, CONFIG_MAP, config_map("a", x="2"))


@pytest.mark.parametrize("drop", ["before", "after"])
def test_an_apply_whose_answer_is_lost_is_done_once_and_told(
    client: Client, config_map: Maker, lab: Any, namespace: str, drop: str
) -> None:
    declare(client, CONFIG_MAP, config_map("a", x="1"))
    lab.fault("request", verb="patch", path=namespace, count=1, drop=drop)
    assert declare(client, CONFIG_MAP, config_map("a", x="2")).action == "updated"
    assert lab.faults() == []


def test_what_is_being_deleted_is_not_declared(client: Client, config_map: Maker, namespace: str) -> None:
    body = config_map("a", x="1")
    body["metadata"]["finalizers"] = ["example.com/hold"]
    declare(client, CONFIG_MAP, body)
    assert remove(client, CONFIG_MAP, "a", namespace).action == "deleted"
    with pytest.raises(errors.Conflict, match="being deleted"):
        declare(client, CONFIG_MAP, body)
    assert remove(client, CONFIG_MAP, "a", namespace).action == "unchanged"
    client.patch(CONFIG_MAP, "a", namespace, {"metadata": {"finalizers": None}})


def test_removing_deletes_once(client: Client, config_map: Maker, namespace: str) -> None:
    declare(client, CONFIG_MAP, config_map("a"))
    assert remove(client, CONFIG_MAP, "a", namespace, check_mode=True).action == "deleted"
    assert client.get(CONFIG_MAP, "a", namespace) is not None
    assert remove(client, CONFIG_MAP, "a", namespace).action == "deleted"
    assert remove(client, CONFIG_MAP, "a", namespace).action == "unchanged"


def test_many_are_compared_with_one_list(client: Client, machine: Maker, sent: list[str]) -> None:
    names = [f"m{number}" for number in range(30)]
    created = declare_many(client, MACHINE, [machine(name) for name in names])
    assert [outcome.action for outcome in created if isinstance(outcome, Outcome)] == ["created"] * 30
    sent.clear()
    results = declare_many(client, MACHINE, [machine(name) for name in names])
    assert [outcome.action for outcome in results if isinstance(outcome, Outcome)] == ["unchanged"] * 30
    assert sent == ["GET"]


def test_a_bad_item_names_itself_and_stops_none(client: Client, machine: Maker) -> None:
    bodies = [machine("m1"), machine("m2", nope=1), machine("m3", disks=("a", "a")), machine("m4")]
    results = declare_many(client, MACHINE, bodies)
    assert [result.action for result in results if isinstance(result, Outcome)] == ["created", "created"]
    assert isinstance(results[1], errors.Invalid)
    assert "spec.nope" in results[1].message
    assert isinstance(results[2], errors.Invalid)
    assert "two items have the name a" in results[2].message


def test_the_same_object_twice_is_refused_before_anything_is_written(
    client: Client, machine: Maker, namespace: str
) -> None:
    with pytest.raises(errors.Invalid, match=f"declared twice: {namespace}/m1"):
        declare_many(client, MACHINE, [machine("m1"), machine("m1")])
    assert client.get(MACHINE, "m1", namespace) is None


def test_a_secret_is_shown_neither_in_the_diff_nor_in_the_result(client: Client, namespace: str) -> None:
    secret = Resource("", "v1", "secrets", "Secret", secrets=("data.*",))
    body = {"metadata": {"name": "s", "namespace": namespace}, "data": {"key": "c2VjcmV0"}}
    outcome = declare(client, secret, body)
    assert "c2VjcmV0" not in json.dumps([outcome.diff(), outcome.shown()])
