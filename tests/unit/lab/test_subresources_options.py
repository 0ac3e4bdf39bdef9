"""Bodies, content negotiation and hot-plug requests of virt-api's actions."""

from __future__ import annotations

from typing import Any, cast

import pytest
from virtlab.admission.kubevirt.volume_requests import ADD, REMOVE
from virtlab.cluster import Cluster
from virtlab.resource import Resource
from virtlab.status import StatusError
from virtlab.subresources.kubevirt.power import change_requests, run_strategy
from virtlab.subresources.kubevirt.request import accepts, options
from virtlab.subresources.kubevirt.volumes import pending, problem
from virtlab.subresources.registry import Answer, Call, action, actions

MACHINES = Resource("subresources.kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
PREFIX = "Can not unmarshal Request body to struct, error: "


def call(body: bytes) -> Call:
    return Call(cast(Cluster, None), MACHINES, "start", "PUT", "prod", "db", body)


@pytest.mark.parametrize(
    ("body", "options_read"),
    [
        (b"", {}),
        (b"{}", {}),
        (b'{"paused": true}', {"paused": True}),
        (b"paused: true", {"paused": True}),
        (b"null", {}),
    ],
)
def test_options_are_json_or_yaml_or_nothing(body: bytes, options_read: dict[str, Any]) -> None:
    assert options(call(body), "StartOptions") == options_read


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{no", "json: offset 2: invalid character 'n' looking for beginning of object key string"),
        (b'{"a" 1}', "json: offset 6: invalid character '1' after object key"),
        (b'{"a": 1 "b"}', "json: offset 9: invalid character '\"' after object key:value pair"),
        (b'{"a": ', "unexpected EOF"),
        (b"text", "json: cannot unmarshal string into Go value of type v1.StartOptions"),
    ],
)
def test_a_body_that_is_none(body: bytes, error: str) -> None:
    with pytest.raises(StatusError) as refusal:
        options(call(body), "StartOptions")
    assert (refusal.value.code, refusal.value.message) == (400, PREFIX + error)


@pytest.mark.parametrize(
    ("header", "produced", "fine"),
    [
        ("", "", True),
        ("*/*", "", True),
        ("application/json, */*", "", True),
        ("application/json", "", False),
        ("application/json", "application/json", True),
        ("application/yaml", "application/json", False),
    ],
)
def test_actions_answer_only_those_who_take_anything(header: str, produced: str, fine: bool) -> None:
    assert accepts(header, produced) is fine


@pytest.mark.parametrize(
    ("spec", "strategy"),
    [
        ({"running": True}, "Always"),
        ({"running": False}, "Halted"),
        ({"runStrategy": "Manual"}, "Manual"),
        ({}, "Halted"),
    ],
)
def test_the_strategy_in_force(spec: dict[str, Any], strategy: str) -> None:
    assert run_strategy({"spec": spec}) == strategy


def test_a_stop_replaces_what_is_pending_and_nothing_else_may() -> None:
    vm = {"spec": {}, "status": {"stateChangeRequests": [{"action": "Start"}]}}
    stop = {"action": "Stop", "uid": "u"}
    assert change_requests(vm, [stop]) == [stop]
    with pytest.raises(StatusError, match="stop/start already underway"):
        change_requests(vm, [stop, {"action": "Start"}])


VOLUMES = [
    {"name": "root", "containerDisk": {}},
    {"name": "data", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}},
]


def add(name: str, claim: str) -> dict[str, Any]:
    return {ADD: {"name": name, "volumeSource": {"persistentVolumeClaim": {"claimName": claim}}}}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (add("new", "other"), None),
        (add("data", "other"), "Unable to add volume [data] because volume with that name already exists"),
        (add("new", "c"), "Unable to add volume source [c] because it already exists"),
        ({REMOVE: {"name": "data"}}, None),
        ({REMOVE: {"name": "root"}}, "Unable to remove volume [root] because it is not hotpluggable"),
        ({REMOVE: {"name": "zzz"}}, "Unable to remove volume [zzz] because it does not exist"),
    ],
)
def test_which_volumes_can_be_plugged(request_: dict[str, Any], why: str | None) -> None:
    assert problem(VOLUMES, request_) == why


def test_requests_that_wait_in_the_status() -> None:
    asked = pending([], add("hp", "c"))
    with pytest.raises(ValueError, match=r"add volume request for volume \[hp\] already exists"):
        pending(asked, add("hp", "c"))
    removing = pending(asked, {REMOVE: {"name": "hp"}})
    assert removing == [{REMOVE: {"name": "hp"}}]
    with pytest.raises(ValueError, match="still being processed"):
        pending(removing, add("hp", "c"))


def test_an_action_below_another_is_found_by_its_first_step() -> None:
    @action("gates.example.com", "forward/*", "GET")
    def forward(call: Call) -> Answer:
        return Answer(200, call.action)

    found = actions("gates.example.com", "forward/22/tcp")
    assert [entry.handler for entry in found] == [forward]
    assert actions("gates.example.com", "backward") == []
