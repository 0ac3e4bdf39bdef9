"""Watches: what comes over the wire, and how it ends."""

from __future__ import annotations

import json
from http.client import HTTPResponse, IncompleteRead
from typing import Any

import pytest
from wire import Api

MAPS = "/api/v1/namespaces/{ns}/configmaps"


def next_event(response: HTTPResponse) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(response.readline())
    return event


def watching(api: Api, query: str, **headers: str) -> Any:
    return api.opened("GET", f"{MAPS}?watch=true&timeoutSeconds=10&{query}", **headers)


def version(api: Api) -> str:
    return str(api.select().body["metadata"]["resourceVersion"])


def test_changes_come_as_they_happen(api: Api) -> None:
    with watching(api, f"resourceVersion={version(api)}") as response:
        api.config_map("a")
        api("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, Content_Type="application/merge-patch+json")
        api("DELETE", f"{MAPS}/a")
        seen = [next_event(response) for _ in range(3)]
    assert [event["type"] for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[2]["object"]["data"] == {"k": "v"}
    assert seen[0]["object"]["kind"] == "ConfigMap"


def test_a_watch_resumes_where_another_ended(api: Api) -> None:
    since = version(api)
    api.config_map("a")
    api.config_map("b")
    with watching(api, f"resourceVersion={since}") as response:
        assert [next_event(response)["object"]["metadata"]["name"] for _ in range(2)] == ["a", "b"]


def test_what_leaves_the_selection_is_deleted_to_its_watcher(api: Api) -> None:
    api.config_map("a", metadata={"labels": {"mine": "yes"}})
    with watching(api, f"resourceVersion={version(api)}&labelSelector=mine") as response:
        patch = {"metadata": {"labels": {"mine": None}}}
        api("PATCH", f"{MAPS}/a", patch, Content_Type="application/merge-patch+json")
        assert next_event(response)["type"] == "DELETED"


def test_without_a_version_everything_is_added_first(api: Api) -> None:
    api.config_map("a")
    with watching(api, "fieldSelector=metadata.name=a") as response:
        assert next_event(response)["type"] == "ADDED"


def test_initial_events_end_with_a_bookmark(api: Api) -> None:
    api.config_map("a", metadata={"labels": {"mine": "yes"}})
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=mine"
    with watching(api, query) as response:
        assert next_event(response)["type"] == "ADDED"
        bookmark = next_event(response)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_watch_from_forgotten_times_is_expired(api: Api) -> None:
    with watching(api, "resourceVersion=1") as response:
        error = next_event(response)
        assert response.read() == b""
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_a_watch_ends_with_its_timeout(api: Api) -> None:
    with api.opened("GET", f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion={version(api)}") as response:
        assert response.read() == b""


def test_a_bookmark_says_how_far_a_quiet_watch_came(api: Api) -> None:
    query = f"watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={version(api)}"
    with api.opened("GET", f"{MAPS}?{query}") as response:
        assert next_event(response)["type"] == "BOOKMARK"


def test_tables_are_watched_too(api: Api) -> None:
    api.config_map("a")
    form = "application/json;as=Table;v=v1;g=meta.k8s.io"
    with watching(api, "fieldSelector=metadata.name=a", Accept=form) as response:
        first = next_event(response)
        api("DELETE", f"{MAPS}/a")
        second = next_event(response)
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][0] == "a"


def test_rules_expire_and_cut_open_watches(api: Api, lab: Any) -> None:
    with watching(api, f"resourceVersion={version(api)}") as response:
        lab.fault("watch", path=api.namespace, count=1)
        assert next_event(response)["object"]["code"] == 410
    with watching(api, f"resourceVersion={version(api)}") as response:
        lab.fault("watch", path=api.namespace, count=1, drop="before")
        with pytest.raises((ConnectionError, IncompleteRead)):
            response.read()


def test_a_watch_ends_when_its_api_goes(api: Api) -> None:
    group = f"{api.namespace}.example.com"
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert api("POST", definitions, crd).status == 201
    with api.opened("GET", f"/apis/{group}/v1/things?watch=1&timeoutSeconds=15") as response:
        assert api("DELETE", f"{definitions}/things.{group}").status == 200
        assert response.read() == b""
    assert api("GET", f"/apis/{group}/v1/things").status == 404


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("resourceVersionMatch=Exact&resourceVersion=1", "is forbidden for watch unless sendInitialEvents is provided"),
        ("continue=x", "resourceVersionMatch is forbidden when continue is provided"),
        ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    ],
)
def test_options_of_a_watch_that_do_not_go_together(api: Api, query: str, text: str) -> None:
    reply = api("GET", f"/api/v1/namespaces/{{ns}}/configmaps?watch=true&{query}")
    assert (reply.status, text in reply.message) == (422, True)


@pytest.mark.parametrize(
    ("path", "status", "prefix"),
    [("?watch=true&", 500, ""), ("/a?", 500, ""), ("?", 400, "invalid resource version: ")],
)
def test_a_version_that_is_none(api: Api, path: str, status: int, prefix: str) -> None:
    reply = api("GET", f"/api/v1/namespaces/{{ns}}/configmaps{path}resourceVersion=x")
    why = 'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'
    assert (reply.status, reply.message) == (status, prefix + why)
