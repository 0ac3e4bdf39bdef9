"""Misbehaviour by rule."""

from __future__ import annotations

import time
from http.client import RemoteDisconnected
from typing import Any

import pytest
from virtlab.faults import FaultError, Faults
from wire import Api

MAPS = "/api/v1/namespaces/{ns}/configmaps"


def test_a_counted_rule_is_gone_after_its_last_use() -> None:
    faults = Faults()
    faults.add(path="/x", count=2, code=503)
    assert [faults.hit("request", "get", "/x") is not None for _ in range(3)] == [True, True, False]


def test_a_rule_meets_what_it_names() -> None:
    faults = Faults()
    faults.add(verb="get,list", path="configmaps$", user="^ann$", latency=1)
    assert faults.hit("request", "list", "/api/v1/configmaps", "ann")
    assert faults.hit("request", "create", "/api/v1/configmaps", "ann") is None
    assert faults.hit("request", "list", "/api/v1/configmaps", "bob") is None
    assert faults.hit("watch", "list", "/api/v1/configmaps", "ann") is None


def test_what_controllers_are_told() -> None:
    faults = Faults()
    faults.add(subject="import", path="nope.example", message="no such image")
    faults.add(subject="schedule", path="^prod/")
    faults.add(subject="token", lifetime=3)
    assert faults.import_failure("prod/dv", "http://nope.example/a.img") == "no such image"
    assert faults.import_failure("prod/dv", "http://fine.example/a.img") is None
    assert faults.unschedulable("prod/db") and not faults.unschedulable("test/db")
    assert faults.token_lifetime() == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "("},
        {"code": 200},
        {"probability": 0},
        {"drop": "sideways"},
        {"latency": -1},
        {"nonsense": 1},
        {"path": "/x"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        Faults().add(**fields)


def test_a_status_with_retry_after(api: Api, lab: Any) -> None:
    lab.fault("request", path=api.namespace, code=429, retry_after=7, count=1)
    reply = api.select()
    assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
    assert reply.body["reason"] == "TooManyRequests"
    assert api.select().status == 200


def test_a_request_cut_before_it_is_done(api: Api, lab: Any) -> None:
    lab.fault("request", verb="create", path=api.namespace, drop="before", count=1)
    with pytest.raises((RemoteDisconnected, ConnectionError)):
        api.config_map("a")
    assert api("GET", f"{MAPS}/a").status == 404


def test_an_answer_that_is_lost(api: Api, lab: Any) -> None:
    lab.fault("request", verb="create", path=api.namespace, drop="after", count=1)
    with pytest.raises((RemoteDisconnected, ConnectionError)):
        api.config_map("a")
    assert api("GET", f"{MAPS}/a").status == 200


def test_latency(api: Api, lab: Any) -> None:
    lab.fault("request", path=api.namespace, latency=0.5, count=1)
    begun = time.monotonic()
    assert api.select().status == 200
    assert time.monotonic() - begun >= 0.5


def test_a_slow_answer_is_whole(api: Api, lab: Any) -> None:
    api.config_map("a", data={"k": "v" * 3000})
    lab.fault("request", path=api.namespace, slow=0.05, count=1)
    assert api("GET", f"{MAPS}/a").body["data"]["k"] == "v" * 3000


def test_only_the_administrator_steers(api: Api) -> None:
    assert api("GET", "/virtlab/status").status == 200
    assert api("GET", "/virtlab/status", Authorization="Bearer nonsense").status == 401
    assert api("GET", "/virtlab/faults", Authorization="").status == 403


def test_tokens_that_expire_soon(api: Api, lab: Any) -> None:
    lab.fault("token", lifetime=1)
    path = "/api/v1/namespaces/{ns}/serviceaccounts/default/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    issued = api("POST", path, request).body
    assert issued["spec"]["expirationSeconds"] == 1
    until = time.monotonic() + 10
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    while api("POST", review, body, Authorization=f"Bearer {issued['status']['token']}").status != 401:
        assert time.monotonic() < until


def test_a_node_is_switched_by_its_name(api: Api) -> None:
    wrong = api("POST", "/virtlab/nodes", {"name": "worker-9", "on": False})
    assert (wrong.status, wrong.message) == (
        400,
        "there is no node worker-9; there are: worker-0, worker-1, worker-2",
    )
    assert api("POST", "/virtlab/nodes", {"name": "worker-1", "on": True}).message == "node worker-1 is on already"
    assert api("POST", "/virtlab/nodes", {"name": "worker-1"}).status == 400
    assert api("GET", "/virtlab/nodes").body["nodes"] == {"worker-0": "on", "worker-1": "on", "worker-2": "on"}
