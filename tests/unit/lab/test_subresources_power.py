"""start, stop, restart, pause and the like, by run strategy, on a running lab."""

from __future__ import annotations

from typing import Any

import pytest
from awaited import awaited
from machines import machine

Api = Any  # the raw HTTP of conftest.py

VMS = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"
VMIS = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachineinstances"
ACTIONS = "/apis/subresources.kubevirt.io/v1/namespaces/{ns}"


def act(
    api: Api, action: str, body: Any = None, *, on: str = "virtualmachines", method: str = "PUT", **headers: str
) -> Any:
    return api(method, f"{ACTIONS}/{on}/db/{action}", {} if body is None else body, **{"Accept": "*/*", **headers})


def on_instance(api: Api, action: str, body: Any = None, method: str = "PUT") -> Any:
    return act(api, action, body, on="virtualmachineinstances", method=method)


def create(api: Api, strategy: str) -> None:
    assert api("POST", VMS, machine("db", runStrategy=strategy)).status == 201


def status(text: str) -> Any:
    return lambda vm: vm.get("status", {}).get("printableStatus") == text


def becomes(api: Api, text: str) -> dict[str, Any]:
    return awaited(api, VMS, "db", status(text))


def refused(reply: Any, why: str, kind: str = "virtualmachine") -> None:
    message = f'Operation cannot be fulfilled on {kind}.kubevirt.io "db": {why}'
    assert (reply.status, reply.message) == (409, message)


def test_start_makes_a_halted_machine_run_always_and_stop_halts_it(api: Api) -> None:
    create(api, "Halted")
    refused(act(api, "stop"), "VM is not running")
    refused(act(api, "restart"), "RunStategy Halted does not support manual restart requests")
    started = act(api, "start")
    assert (started.status, started.text) == (202, "")
    assert becomes(api, "Running")["spec"]["runStrategy"] == "Always"
    refused(act(api, "start"), "VM is already running")
    assert act(api, "stop").status == 202
    assert becomes(api, "Stopped")["spec"]["runStrategy"] == "Halted"
    refused(act(api, "stop"), "VM is not running")


@pytest.mark.parametrize("strategy", ["Manual", "RerunOnFailure"])
def test_strategies_that_stay_what_they_are(api: Api, strategy: str) -> None:
    create(api, strategy)
    if strategy == "Manual":
        assert act(api, "start").status == 202
    first = becomes(api, "Running")
    assert act(api, "stop").status == 202
    stopped = becomes(api, "Stopped")
    assert first["spec"]["runStrategy"] == stopped["spec"]["runStrategy"] == strategy


def test_restart_brings_a_new_instance(api: Api) -> None:
    create(api, "Always")
    becomes(api, "Running")
    uid = api("GET", f"{VMIS}/db").body["metadata"]["uid"]
    bad = act(api, "restart", {"gracePeriodSeconds": 5})
    assert (bad.status, bad.message) == (400, "For force restart, only gracePeriod=0 is supported for now")
    assert act(api, "restart", {"gracePeriodSeconds": 0}).status == 202
    again = awaited(
        api, VMIS, "db", lambda vmi: vmi["metadata"]["uid"] != uid and vmi.get("status", {}).get("phase") == "Running"
    )
    assert again["metadata"]["uid"] != uid


def test_once_does_not_restart(api: Api) -> None:
    create(api, "Once")
    becomes(api, "Running")
    refused(act(api, "restart"), "RunStategy Once does not support manual restart requests")


def test_pause_and_what_a_paused_instance_does_not_do(api: Api) -> None:
    create(api, "Always")
    becomes(api, "Running")
    refused(on_instance(api, "unpause"), "VMI is not paused", "virtualmachineinstance")
    assert on_instance(api, "pause", {"dryRun": ["All"]}).status == 200
    assert on_instance(api, "pause").status == 200
    becomes(api, "Paused")
    refused(on_instance(api, "pause"), "VMI is already paused", "virtualmachineinstance")
    refused(on_instance(api, "softreboot"), "VMI is paused", "virtualmachineinstance")
    assert on_instance(api, "unpause").status == 200
    becomes(api, "Running")
    assert on_instance(api, "softreboot").status == 200
    assert on_instance(api, "reset").status == 200


def test_a_machine_can_start_paused(api: Api) -> None:
    create(api, "Halted")
    assert act(api, "start", {"paused": True}).status == 202
    becomes(api, "Paused")


def test_a_dry_run_changes_nothing(api: Api) -> None:
    create(api, "Halted")
    before = api("GET", f"{VMS}/db").body["metadata"]["generation"]
    assert act(api, "start", {"dryRun": ["All"]}).status == 202
    after = api("GET", f"{VMS}/db").body
    assert (after["spec"]["runStrategy"], after["metadata"]["generation"]) == ("Halted", before)


def test_plain_text_for_wrong_paths_methods_and_types(api: Api) -> None:
    create(api, "Halted")
    assert (act(api, "levitate").status, act(api, "levitate").text) == (404, "404: Page Not Found")
    assert (act(api, "start", method="POST").status, act(api, "start", method="POST").text) == (
        405,
        "405: Method Not Allowed",
    )
    reply = act(api, "start", Accept="application/json")
    assert (reply.status, reply.text) == (406, "406: Not Acceptable\n\nAvailable representations: ")


def test_what_is_not_there(api: Api) -> None:
    missing = act(api, "start")
    assert (missing.status, missing.message) == (404, 'virtualmachine.kubevirt.io "db" not found')
    create(api, "Halted")
    paused = on_instance(api, "pause")
    assert (paused.status, paused.message) == (404, 'virtualmachineinstance.kubevirt.io "db" not found')
    info = api("GET", f"{ACTIONS}/virtualmachineinstances/db/guestosinfo", Accept="*/*")
    assert (info.status, info.text) == (500, 'virtualmachineinstance.kubevirt.io "db" not found')


def test_a_second_migration_is_an_internal_error(api: Api, lab: Any) -> None:
    create(api, "Always")
    becomes(api, "Running")
    assert act(api, "migrate").status == 202
    reply = act(api, "migrate")
    assert reply.status == 500
    assert "in-flight migration detected" in reply.message


def test_expand_spec_shows_what_the_instance_type_gives(api: Api) -> None:
    spec = machine("db", instancetype={"name": "u1.medium"})
    del spec["spec"]["template"]["spec"]["domain"]["memory"]
    assert api("POST", VMS, spec).status == 201
    reply = api("GET", f"{ACTIONS}/virtualmachines/db/expand-spec")
    assert reply.status == 200
    assert "instancetype" not in reply.body["spec"]
    assert reply.body["spec"]["template"]["spec"]["domain"]["memory"]["guest"] == "4Gi"


def test_discovery_lists_the_actions_without_verbs(api: Api) -> None:
    resources = api("GET", "/apis/subresources.kubevirt.io/v1").body["resources"]
    assert len(resources) == 31
    assert {entry["verbs"] for entry in resources} == {None}
