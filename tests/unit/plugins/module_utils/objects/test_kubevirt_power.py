"""Which action a wanted power state takes, given the VM and its instance."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_power import Step, Wish, plan
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


def vm(strategy: str) -> Object:
    return {"metadata": {"name": "db", "namespace": "prod"}, "spec": {"runStrategy": strategy}, "status": {}}


def instance(phase: str = "Running", uid: str = "old", *conditions: str, stopping: bool = False) -> Object:
    metadata: dict[str, Any] = {"name": "db", "namespace": "prod", "uid": uid}
    if stopping:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    held = [{"type": name, "status": "True"} for name in ("Ready", *conditions)]
    spec = {"terminationGracePeriodSeconds": 180}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, "conditions": held}}


def action(step: Step) -> tuple[str, dict[str, Any]]:
    return step.subresource, dict(step.body)


NOTHING = ("", {})


@pytest.mark.parametrize(
    ("wish", "strategy", "running", "taken"),
    [
        (Wish("started"), "Halted", None, ("start", {})),
        (Wish("started", start_paused=True), "Halted", None, ("start", {"paused": True})),
        (Wish("started"), "Manual", None, ("start", {})),
        (Wish("started"), "RerunOnFailure", instance("Succeeded"), ("start", {})),
        (Wish("started"), "Always", None, NOTHING),
        (Wish("started"), "Once", None, NOTHING),
        (Wish("started"), "Manual", instance(), NOTHING),
        # A halted one that still has its guest is on its way down.
        (Wish("started"), "Halted", instance(), ("start", {})),
        (Wish("stopped"), "Halted", None, NOTHING),
        (Wish("stopped"), "Manual", instance("Succeeded"), NOTHING),
        (Wish("stopped"), "Always", None, ("stop", {})),
        (Wish("stopped"), "Always", instance(), ("stop", {})),
        (Wish("stopped", grace_period=30), "Always", instance(), ("stop", {"gracePeriod": 30})),
        (Wish("stopped", force=True), "Always", instance(), ("stop", {"gracePeriod": 0})),
        (Wish("stopped"), "Halted", instance(stopping=True), NOTHING),
        (Wish("stopped", force=True), "Halted", instance(stopping=True), ("stop", {"gracePeriod": 0})),
        (Wish("restarted"), "Always", instance(), ("restart", {})),
        (Wish("restarted", force=True), "Always", instance(), ("restart", {"gracePeriodSeconds": 0})),
        (Wish("paused"), "Always", instance(), ("pause", {})),
        (Wish("paused"), "Always", instance("Running", "old", "Paused"), NOTHING),
        (Wish("unpaused"), "Always", instance("Running", "old", "Paused"), ("unpause", {})),
        (Wish("unpaused"), "Always", instance(), NOTHING),
        (Wish("soft_rebooted"), "Always", instance(), ("softreboot", {})),
        (Wish("reset"), "Always", instance(), ("reset", {})),
    ],
)
def test_an_action_is_taken_only_where_one_is_needed(wish: Wish, strategy: str, running: Any, taken: Any) -> None:
    assert action(plan(wish, vm(strategy), running)) == taken


@pytest.mark.parametrize("state", ["restarted", "paused", "unpaused", "soft_rebooted", "reset"])
@pytest.mark.parametrize("running", [None, instance("Succeeded"), instance(stopping=True)])
def test_what_needs_a_guest_fails_without_one(state: str, running: Any) -> None:
    with pytest.raises(Failure, match="no running guest"):
        plan(Wish(state), vm("Halted"), running)


def test_a_restart_waits_for_another_instance_that_is_ready() -> None:
    check = plan(Wish("restarted"), vm("Always"), instance()).check
    assert check is not None
    assert isinstance(check(instance()), Progress)
    assert isinstance(check(None), Progress)
    assert isinstance(check(instance("Scheduled", "new")), Progress)
    assert isinstance(check(instance("Running", "new")), Ready)
    assert isinstance(check(instance("Failed", "new")), Failed)


def test_a_stop_is_over_when_the_guest_has_ended_and_fails_when_it_was_started_again() -> None:
    check = plan(Wish("stopped"), vm("Always"), instance()).check
    assert check is not None
    assert isinstance(check(instance(stopping=True)), Progress)
    assert isinstance(check(instance("Succeeded")), Ready)
    assert isinstance(check(None), Ready)
    assert isinstance(check(instance("Running", "new")), Failed)


def test_a_vm_that_is_stopping_is_started_only_after_it_has_stopped() -> None:
    step = plan(Wish("started"), vm("Manual"), instance(stopping=True))
    assert step.after is not None
    assert isinstance(step.after(instance(stopping=True)), Progress)
    assert isinstance(step.after(None), Ready)


def test_a_restart_with_a_grace_period_is_refused() -> None:
    with pytest.raises(Failure, match="grace_period"):
        plan(Wish("restarted", grace_period=5), vm("Always"), instance())


def test_a_guest_that_is_paused_cannot_reboot_itself() -> None:
    with pytest.raises(Failure, match="unpause it first"):
        plan(Wish("soft_rebooted"), vm("Always"), instance("Running", "old", "Paused"))


def requested(machine: Object, *actions: str) -> Object:
    machine["status"]["stateChangeRequests"] = [{"action": action} for action in actions]
    return machine


def test_a_guest_that_is_about_to_be_stopped_is_started_after_it_is_gone() -> None:
    step = plan(Wish("started"), requested(vm("Manual"), "Stop"), instance())
    assert action(step) == ("start", {})
    assert step.after is not None
    assert isinstance(step.after(instance("Failed", stopping=True)), Progress)
    assert isinstance(step.after(None), Ready)


def test_a_guest_that_is_being_restarted_counts_as_started() -> None:
    assert action(plan(Wish("started"), requested(vm("Manual"), "Stop", "Start"), instance())) == NOTHING


def test_a_guest_that_is_about_to_be_started_is_stopped_after_it_is_there() -> None:
    step = plan(Wish("stopped"), requested(vm("Manual"), "Start"), None)
    assert action(step) == ("stop", {})
    assert step.after is not None
    assert isinstance(step.after(None), Progress)
    assert isinstance(step.after(instance("Pending")), Ready)
