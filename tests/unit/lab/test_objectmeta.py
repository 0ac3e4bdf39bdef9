"""What may stand in metadata, and how often an update complains of it."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab import names, objectmeta
from virtlab.resource import Resource

MAP = Resource("", "v1", "ConfigMap", "configmaps", custom=False)
MACHINE = Resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
OLD: dict[str, Any] = {"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}


def fields(resource: Resource, **changed: Any) -> list[str | None]:
    return [cause.field for cause in objectmeta.update_problems(resource, {**OLD, **changed}, OLD)]


def test_an_update_is_checked_by_the_registry_and_by_the_kind() -> None:
    assert fields(MACHINE, labels={"bad key!": "x"}) == ["metadata.labels"] * 3
    assert fields(MAP, labels={"bad key!": "x"}) == ["metadata.labels"] * 4


def test_what_may_not_change() -> None:
    assert fields(MACHINE, uid="x") == ["metadata.uid"] * 2
    assert fields(MACHINE, deletionTimestamp="2026-01-01T00:00:00Z") == ["metadata.deletionTimestamp"] * 2


def test_the_time_of_creation_stays_whatever_is_sent() -> None:
    new = {**OLD, "creationTimestamp": "2020-01-01T00:00:00Z"}
    objectmeta.carry_over(new, OLD)
    assert new == OLD


def test_only_the_names_of_new_custom_resources_are_checked() -> None:
    assert fields(MACHINE, generateName="Bad_") == []
    assert [cause.field for cause in objectmeta.problems(MACHINE, {"name": "Bad_"})] == ["metadata.name"]


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ([{"name": "x"}], ["apiVersion", "kind", "uid"]),
        ([{"apiVersion": "v1", "kind": "Event", "name": "x", "uid": "y"}], [""]),
    ],
)
def test_owners_are_named_in_full(owners: list[dict[str, str]], expected: list[str]) -> None:
    found = [cause.field for cause in objectmeta.problems(MACHINE, {"name": "a", "ownerReferences": owners})]
    assert found == [f"metadata.ownerReferences.{field}".rstrip(".") for field in expected]


def test_finalizers_that_contradict_each_other() -> None:
    metadata = {"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}
    assert "cannot be both set" in objectmeta.problems(MACHINE, metadata)[0].message


def test_a_label_has_no_dots() -> None:
    assert names.label_problems("a.b") == ["must not contain dots"]


def test_lengths_of_names_are_counted_in_characters_and_those_of_labels_in_bytes() -> None:
    assert names.label_problems("a" * 64) == ["must be no more than 63 characters"]
    assert names.label_value_problems("a" * 64) == ["must be no more than 63 bytes"]
    assert names.label_key_problems("a" * 64) == ["name part must be no more than 63 bytes"]
