"""Lists: pages, consistency, resource versions, speed."""

from __future__ import annotations

import base64
import json
from typing import Any

from wire import Api, names

MAPS = "/api/v1/namespaces/{ns}/configmaps"


def make(api: Api, *wanted: str) -> None:
    for name in wanted:
        assert api.config_map(name, metadata={"labels": {"mine": "yes"}}).status == 201


def test_pages_add_up(api: Api) -> None:
    make(api, "a", "b", "c", "d", "e")
    found, token = [], ""
    while True:
        reply = api.select(labelSelector="mine", limit="2", **({"continue": token} if token else {}))
        found += names(reply)
        token = reply.body["metadata"].get("continue", "")
        if not token:
            break
    assert found == ["a", "b", "c", "d", "e"]


def test_later_pages_show_the_state_of_the_first(api: Api) -> None:
    make(api, "a", "b", "c")
    first = api.select(labelSelector="mine", limit="1")
    assert api("DELETE", f"{MAPS}/b").status == 200
    make(api, "bb")
    second = api.select(labelSelector="mine", limit="5", **{"continue": first.body["metadata"]["continue"]})
    assert names(second) == ["b", "c"]
    assert second.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]


def test_an_expired_token_offers_to_go_on_inconsistently(api: Api, lab: Any) -> None:
    make(api, "a", "b")
    first = api.select(labelSelector="mine", limit="1")
    make(api, "c")
    lab.command("expire")
    expired = api.select(labelSelector="mine", limit="5", **{"continue": first.body["metadata"]["continue"]})
    assert (expired.status, expired.body["reason"]) == (410, "Expired")
    rest = api.select(labelSelector="mine", limit="5", **{"continue": expired.body["metadata"]["continue"]})
    assert names(rest) == ["b", "c"]


def test_a_continue_token_is_the_real_servers(api: Api) -> None:
    make(api, "a", "b")
    token = api.select(labelSelector="mine", limit="1").body["metadata"]["continue"]
    content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert set(content) == {"v", "rv", "start"}
    assert content["v"] == "meta.k8s.io/v1"


def test_how_many_remain_is_said_without_selectors(api: Api) -> None:
    make(api, "a", "b", "c")
    everything = len(names(api.select()))
    assert api.select(limit="1").body["metadata"]["remainingItemCount"] == everything - 1
    assert "remainingItemCount" not in api.select(limit="1", labelSelector="mine").body["metadata"]


def test_a_version_that_lies_ahead_is_too_large(api: Api) -> None:
    reply = api.select(resourceVersion="99999999")
    assert (reply.status, reply.body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")
    assert reply.headers["Retry-After"] == "1"


def test_an_exact_version_is_that_of_the_past(api: Api) -> None:
    make(api, "a")
    then = api.select().body["metadata"]["resourceVersion"]
    make(api, "b")
    past = api.select(resourceVersion=then, resourceVersionMatch="Exact", labelSelector="mine")
    assert names(past) == ["a"]


def test_items_of_built_in_kinds_do_not_repeat_their_kind(api: Api) -> None:
    make(api, "a")
    body = api.select(labelSelector="mine").body
    assert (body["kind"], "kind" in body["items"][0]) == ("ConfigMapList", False)


def test_a_namespace_that_is_not_there_is_empty(api: Api) -> None:
    reply = api("GET", "/apis/kubevirt.io/v1/namespaces/nope/virtualmachines")
    assert (reply.status, reply.body["items"]) == (200, [])


def test_a_collection_goes_by_selector(api: Api) -> None:
    make(api, "a", "b")
    api.config_map("kept")
    assert names(api("DELETE", f"{MAPS}?labelSelector=mine")) == ["a", "b"]
    assert "kept" in names(api.select())
    assert names(api.select(labelSelector="mine")) == []
