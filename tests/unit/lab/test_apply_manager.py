"""Who owns which field, and what server-side apply makes of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from virtlab.apply.fieldset import FieldSet
from virtlab.apply.manager import MAX_UPDATERS, Endpoint, apply, settle_times, track
from virtlab.apply.types import type_of
from virtlab.schema.metadata import METADATA
from virtlab.status import StatusError

Object = dict[str, Any]
STRING = {"type": "string"}
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "apiVersion": STRING,
        "kind": STRING,
        "metadata": METADATA,
        "spec": {
            "type": "object",
            "properties": {
                "mode": STRING,
                "cpu": {"type": "object", "properties": {"cores": {"type": "integer"}, "model": STRING}},
                "disks": {"type": "array", "items": {"type": "object", "properties": {"name": STRING}}},
            },
        },
        "status": {"type": "object", "properties": {"phase": STRING}},
    },
}
MAIN = Endpoint("example.com/v1", "Thing", type_of(SCHEMA), "", FieldSet.of(("f:status",)))
STATUS = Endpoint("example.com/v1", "Thing", type_of(SCHEMA), "status", FieldSet.of(("f:spec",)))
T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def thing(labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata: Object = {"name": "x"}
    if labels is not None:
        metadata["labels"] = labels
    obj: Object = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata}
    return {**obj, "spec": spec} if spec else obj


def owners(obj: Object) -> dict[tuple[str, str], Object]:
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())
    }


def applied(live: Object | None, patch: Object, manager: str, now: str = T1, **how: Any) -> Object:
    before = copy.deepcopy(live)
    new = apply(MAIN, live, patch, manager, now, **how)
    assert live == before, "the live object was changed"
    return new


def updated(live: Object | None, manager: str, now: str = T1, *, endpoint: Endpoint = MAIN, **changes: Any) -> Object:
    new = copy.deepcopy(live) if live is not None else thing()
    for field, value in changes.items():
        part = "metadata" if field == "labels" else "status" if field == "phase" else "spec"
        new.setdefault(part, {})[field] = value
    track(endpoint, live, new, manager, now)
    return new


def test_an_applier_owns_what_it_applied() -> None:
    new = applied(None, thing({"a": "b"}, mode="On", disks=[{"name": "root"}]), "one")
    assert owners(new) == {
        ("one", "Apply"): {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:mode": {}, "f:disks": {}}}
    }


def test_nobody_owns_what_identifies_the_object() -> None:
    new = updated(None, "one", mode="On")
    assert owners(new) == {("one", "Update"): {"f:spec": {".": {}, "f:mode": {}}}}


def test_another_value_conflicts_and_says_with_whom() -> None:
    live = applied(None, thing(mode="On"), "one")
    with pytest.raises(StatusError) as caught:
        applied(live, thing(mode="Off"), "two")
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .spec.mode'
    [cause] = caught.value.causes
    assert cause.body() == {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.mode"}


def test_conflicts_are_listed_by_manager() -> None:
    live = applied(None, thing(mode="On"), "one")
    live = applied(live, thing(mode="On", cpu={"cores": 2}), "two")
    with pytest.raises(StatusError) as caught:
        applied(live, thing(mode="Off", cpu={"cores": 3}), "three")
    assert caught.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .spec.mode\n'
        'conflicts with "two":\n- .spec.mode\n- .spec.cpu.cores'
    )


def test_an_updater_is_named_with_the_version_it_used() -> None:
    live = updated(None, "kubectl-edit", mode="On")
    with pytest.raises(StatusError, match=r'conflict with "kubectl-edit" using example\.com/v1: \.spec\.mode'):
        applied(live, thing(mode="Off"), "one")


def test_force_takes_the_field_over() -> None:
    live = applied(None, thing(mode="On", cpu={"cores": 2}), "one")
    new = applied(live, thing(mode="Off"), "two", force=True)
    assert new["spec"] == {"mode": "Off", "cpu": {"cores": 2}}
    assert owners(new) == {
        ("one", "Apply"): {"f:spec": {"f:cpu": {"f:cores": {}}}},
        ("two", "Apply"): {"f:spec": {"f:mode": {}}},
    }


def test_the_same_value_is_shared_and_stays_until_the_last_owner_leaves() -> None:
    live = applied(None, thing(mode="On"), "one")
    live = applied(live, thing(mode="On"), "two")
    live = applied(live, thing(cpu={"cores": 1}), "one")
    assert live["spec"] == {"mode": "On", "cpu": {"cores": 1}}
    live = applied(live, thing(cpu={"cores": 1}), "two")
    assert live["spec"] == {"cpu": {"cores": 1}}


def test_what_is_no_longer_applied_goes_with_its_empty_parents() -> None:
    live = applied(None, thing({"a": "b"}, mode="On", cpu={"cores": 2}), "one")
    new = applied(live, thing(mode="On"), "one")
    assert new["spec"] == {"mode": "On"}
    assert "labels" not in new["metadata"]


def test_what_another_updated_stays_when_the_applier_leaves() -> None:
    live = applied(None, thing({"a": "b"}, mode="On"), "one")
    live = updated(live, "three", labels={"a": "b", "by": "three"})
    new = applied(live, thing(mode="On"), "one")
    assert new["metadata"]["labels"] == {"by": "three"}


def test_applying_the_same_again_keeps_the_time() -> None:
    live = applied(None, thing(mode="On"), "one", T1)
    new = applied(live, thing(mode="On"), "one", T2)
    assert new == live


def test_an_object_that_was_never_tracked_is_owned_by_those_before() -> None:
    live = {**thing(mode="On"), "metadata": {"name": "x", "uid": "1"}}
    with pytest.raises(StatusError, match=r'conflict with "before-first-apply" using example\.com/v1'):
        applied(live, thing(mode="Off"), "one")


def test_an_update_takes_what_it_changed() -> None:
    live = applied(None, thing(mode="On", cpu={"cores": 2}), "one")
    new = updated(live, "two", mode="Off")
    assert owners(new) == {
        ("one", "Apply"): {"f:spec": {"f:cpu": {"f:cores": {}}}},
        ("two", "Update"): {"f:spec": {"f:mode": {}}},
    }


def test_updates_of_one_manager_add_up() -> None:
    live = updated(None, "one", T1, mode="On")
    new = updated(live, "one", T2, cpu={"cores": 1})
    [entry] = new["metadata"]["managedFields"]
    assert entry["time"] == T2
    assert entry["fieldsV1"] == {"f:spec": {".": {}, "f:mode": {}, "f:cpu": {".": {}, "f:cores": {}}}}


def test_an_update_that_changes_nothing_leaves_the_entries_alone() -> None:
    live = updated(None, "one", T1, mode="On")
    assert updated(live, "two", T2, mode="On") == live


def test_what_is_removed_is_owned_by_nobody() -> None:
    live = updated(None, "one", mode="On", cpu={"cores": 1})
    new = copy.deepcopy(live)
    del new["spec"]["cpu"]
    track(MAIN, live, new, "two", T2)
    assert owners(new) == {("one", "Update"): {"f:spec": {".": {}, "f:mode": {}}}}


def test_the_status_endpoint_has_entries_of_its_own() -> None:
    live = updated(None, "one", mode="On")
    new = updated(live, "one", endpoint=STATUS, phase="Ready")
    entries = {entry.get("subresource", ""): entry["fieldsV1"] for entry in new["metadata"]["managedFields"]}
    assert entries == {
        "": {"f:spec": {".": {}, "f:mode": {}}},
        "status": {"f:status": {".": {}, "f:phase": {}}},
    }


def test_appliers_come_first_then_the_oldest() -> None:
    live = updated(None, "b", T2, mode="On")
    live = updated(live, "a", T2, cpu={"cores": 1})
    live = updated(live, "z", T1, labels={"a": "b"})
    live = applied(live, thing(mode="On"), "m", T2)
    entries = live["metadata"]["managedFields"]
    assert [entry["manager"] for entry in entries] == ["m", "z", "a", "b"]


def test_a_client_resets_the_entries_by_emptying_them() -> None:
    live = updated(None, "one", mode="On")
    new = copy.deepcopy(live)
    new["metadata"]["managedFields"] = []
    track(MAIN, live, new, "two", T2)
    assert "managedFields" not in new["metadata"]


def test_a_client_that_sends_no_entries_loses_none() -> None:
    live = updated(None, "one", mode="On")
    new = copy.deepcopy(live)
    del new["metadata"]["managedFields"]
    track(MAIN, live, new, "two", T2)
    assert owners(new) == owners(live)


def test_old_updaters_are_merged_when_there_are_too_many() -> None:
    live = updated(None, "m0", mode="0")
    labels: dict[str, str] = {}
    for number in range(1, MAX_UPDATERS + 3):
        labels = {**labels, f"l{number}": "x"}
        live = updated(live, f"m{number}", f"2026-01-01T00:00:{number:02}Z", labels=labels)
    names = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert len(names) == MAX_UPDATERS
    assert "ancient-changes" in names


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ({"apiVersion": "example.com/v1", "kind": "Pod"}, 400, "invalid object type: example.com/v1, Kind=Pod"),
        ({}, 400, "invalid object type: /, Kind="),
        (
            {**thing(), "metadata": {"name": "x", "managedFields": []}},
            400,
            "metadata.managedFields must be nil",
        ),
        (
            thing(nope=1),
            500,
            "failed to create typed patch object (/x; example.com/v1, Kind=Thing): "
            ".spec.nope: field not declared in schema",
        ),
    ],
)
def test_a_patch_that_cannot_be_applied(patch: Object, code: int, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        applied(None, patch, "one")
    assert (caught.value.code, caught.value.message) == (code, message)


def test_only_times_that_differ_are_no_change() -> None:
    old = updated(None, "one", T1, mode="On")
    new = copy.deepcopy(old)
    new["metadata"]["managedFields"][0]["time"] = T2
    settle_times(old, new)
    assert new == old
    new["metadata"]["managedFields"][0] = {**new["metadata"]["managedFields"][0], "time": T2}
    new["spec"] = {"mode": "Off"}
    settle_times(old, new)
    assert new["metadata"]["managedFields"][0]["time"] == T2
