"""Objects made once: when they are done, when they never will be, and what becomes of one that failed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects.lifecycle import differing, duration, make, seconds
from ansible_collections.virtstack.core.plugins.module_utils.objects.snapshots import (
    CLONES,
    RESTORES,
    SNAPSHOT,
    SNAPSHOTS,
    machine,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task


def condition(kind: str, status: str, reason: str) -> Object:
    return {"type": kind, "status": status, "reason": reason}


def thing(*conditions: Object, **status: Any) -> Object:
    return {"metadata": {"name": "x", "namespace": "prod"}, "status": {**status, "conditions": [*conditions]}}


WAITING = "Waiting for target VM to be powered off. Please stop the restore target to proceed with restore, or the"


# The words are those of a real virt-controller 1.9.
@pytest.mark.parametrize(
    ("course", "found", "verdict", "told"),
    [
        (SNAPSHOTS, thing(phase="Succeeded", readyToUse=True), Ready, ""),
        (SNAPSHOTS, thing(), Progress, "not yet seen"),
        (SNAPSHOTS, None, Failed, "deleted while"),
        (SNAPSHOTS, thing(condition("Progressing", "False", "Source does not exist")), Failed, "Source does not exist"),
        (
            SNAPSHOTS,
            thing(condition("Progressing", "False", "Source not locked source obs/s1 volume doesnt exist: nope")),
            Failed,
            "nope",
        ),
        (
            SNAPSHOTS,
            thing(condition("Progressing", "True", "Source locked and operation in progress"), phase="InProgress"),
            Progress,
            "Source locked",
        ),
        (SNAPSHOTS, thing(condition("Failure", "True", "snapshot deadline exceeded"), phase="Failed"), Failed, "deadl"),
        (RESTORES, thing(complete=True), Ready, ""),
        (RESTORES, thing(condition("Progressing", "False", WAITING), complete=False), Progress, "powered off"),
        (
            RESTORES,
            thing(condition("Ready", "False", "Operation failed: restore target failed to be ready")),
            Failed,
            "failed to be ready",
        ),
        (CLONES, thing(phase="RestoreInProgress"), Progress, "RestoreInProgress"),
        (CLONES, thing(phase="Succeeded"), Ready, ""),
        (
            CLONES,
            thing(condition("Ready", "False", "Virtual Machine volume hp does not support snapshots")),
            Failed,
            "volume hp",
        ),
    ],
)
def test_words_of_the_controller_end_a_wait(course: Any, found: Any, verdict: type, told: str) -> None:
    said = course.check(found)
    assert isinstance(said, verdict)
    assert told in (getattr(said, "reason", "") or getattr(said, "text", ""))


def test_restores_that_wait_for_their_target_go_on_waiting_though_they_speak_of_failing() -> None:
    words = f"{WAITING} operation will fail after 5m0s"
    assert isinstance(RESTORES.check(thing(condition("Progressing", "False", words))), Progress)


@pytest.mark.parametrize(
    ("text", "written", "value"), [("90s", "90s", 90), ("5m", "5m", 300), ("1h30m", "1h30m", 5400), ("45", "45s", 45)]
)
def test_a_duration_without_a_unit_is_seconds(text: str, written: str, value: float) -> None:
    assert duration(text, "ttl") == written
    assert seconds(text, "ttl") == value


@pytest.mark.parametrize("text", ["soon", "5 minutes", "-5m", "", "5d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Failure, match=r"ttl: .* is no duration"):
        duration(text, "ttl")


def test_only_declared_values_are_compared_and_by_their_meaning() -> None:
    live = {"a": "5m", "b": {"c": 1, "more": 2}, "size": "1Gi"}
    assert list(differing({"a": "300s", "b": {"c": 1}, "size": "1024Mi", "empty": []}, live)) == []
    assert list(differing({"b": {"c": 2}, "d": 1}, live)) == ["spec.b.c is 1, not 2", "spec.d is not set, not 1"]


def snapshot(namespace: str, vm: str = "db") -> Object:
    metadata = {"name": "one", "namespace": namespace}
    spec = {"source": machine(vm)}
    return {"apiVersion": SNAPSHOT.api_version, "kind": SNAPSHOT.kind, "metadata": metadata, "spec": spec}


@pytest.fixture
def task() -> Task:
    return Task({"force_conflicts": False, "wait": True, "wait_timeout": 60})


def failed(client: Client, namespace: str) -> Object:
    """A snapshot, of a VM that is not there, that its controller has given up."""
    client.create(SNAPSHOT, snapshot(namespace))
    body = {"status": {"phase": "Failed", "readyToUse": False}}
    path = SNAPSHOT.path("one", namespace, "status")
    client.request("PATCH", path, body=body, headers={"Content-Type": "application/merge-patch+json"})
    found = client.get(SNAPSHOT, "one", namespace)
    assert found is not None
    return found


def test_one_that_failed_is_made_again(client: Client, namespace: str, task: Task) -> None:
    live = failed(client, namespace)
    outcome = make(client, SNAPSHOTS, snapshot(namespace), live, task)
    assert outcome.action == "updated"
    assert outcome.after is not None
    assert outcome.after["metadata"]["uid"] != live["metadata"]["uid"]


def test_one_that_failed_stays_in_check_mode(client: Client, namespace: str) -> None:
    live = failed(client, namespace)
    task = Task({"wait": True, "wait_timeout": 60}, check_mode=True)
    assert make(client, SNAPSHOTS, snapshot(namespace), live, task).changed
    still = client.get(SNAPSHOT, "one", namespace)
    assert still is not None
    assert still["metadata"]["uid"] == live["metadata"]["uid"]


def test_another_object_of_the_name_is_not_touched(client: Client, namespace: str, task: Task) -> None:
    live = client.create(SNAPSHOT, snapshot(namespace))
    with pytest.raises(Failure, match=r"another snapshot .*source\.name is db, not other"):
        make(client, SNAPSHOTS, snapshot(namespace, "other"), live, task)
    assert client.get(SNAPSHOT, "one", namespace) is not None
