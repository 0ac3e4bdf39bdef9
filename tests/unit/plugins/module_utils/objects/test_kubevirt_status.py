"""When a VM is what was declared, when it cannot be, and which changes wait for a restart."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready, no_room
from ansible_collections.virtstack.core.plugins.module_utils.objects import cdi
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_status as status
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_restart import reasons


def vm(printable: str = "", strategy: str = "Always", *conditions: dict[str, str], **more: Any) -> Object:
    return {
        "metadata": {"name": "db", "namespace": "prod", "generation": 2},
        "spec": {"runStrategy": strategy},
        "status": {"printableStatus": printable, "desiredGeneration": 2, "conditions": list(conditions), **more},
    }


def condition(kind: str, value: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": value, "reason": reason, "message": message}


READY = condition("Ready", "True")


@pytest.mark.parametrize(
    ("strategy", "created", "printable", "verdict"),
    [
        ("Always", False, "Running", Ready),
        ("Always", False, "Stopped", Progress),
        ("RerunOnFailure", True, "Stopped", Progress),
        ("RerunOnFailure", False, "Stopped", Ready),
        ("Once", True, "Running", Ready),
        ("Manual", True, "Stopped", Ready),
        ("Manual", False, "Running", Ready),
        ("Halted", False, "Stopped", Ready),
        ("Halted", False, "Running", Progress),
        ("Halted", True, "Provisioning", Progress),
        ("Always", True, "Provisioning", Progress),
        ("Always", False, "Paused", Ready),
    ],
)
def test_ready_is_what_the_run_strategy_leads_to(strategy: str, created: bool, printable: str, verdict: type) -> None:
    found = vm(printable, strategy, READY)
    assert isinstance(status.expected(found, created)(found), verdict)


def test_a_running_guest_is_ready_when_its_probe_says_so() -> None:
    found = vm("Running", "Always", condition("Ready", "False", "GuestNotReady", "probe failed"))
    assert status.running(found) == Progress("Running, probe failed")


def test_a_status_of_before_the_change_says_nothing() -> None:
    found = vm("ErrorUnschedulable", "Always", desiredGeneration=1)
    assert isinstance(status.running(found), Progress)


@pytest.mark.parametrize(
    ("printable", "told", "reason"),
    [
        (
            "ErrorUnschedulable",
            condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available"),
            "ErrorUnschedulable: 0/3 nodes are available",
        ),
        (
            "ErrorPvcNotFound",
            condition("Synchronized", "False", "FailedPvcNotFound", "PVC prod/nope does not exist"),
            "ErrorPvcNotFound: PVC prod/nope does not exist",
        ),
        ("CrashLoopBackOff", READY, "CrashLoopBackOff"),
        (
            "Stopped",
            condition("Failure", "True", "FailedFindInstancetype", '"nope" not found'),
            'FailedFindInstancetype: "nope" not found',
        ),
    ],
)
def test_a_vm_that_cannot_start_fails_with_the_words_of_who_knows(printable: str, told: Any, reason: str) -> None:
    verdict = status.running(vm(printable, "Always", told))
    assert isinstance(verdict, Failed)
    assert verdict.reason == reason


def test_only_that_no_node_has_room_is_given_time() -> None:
    told = condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available")
    assert status.running(vm("ErrorUnschedulable", "Always", told)) == no_room(
        "ErrorUnschedulable: 0/3 nodes are available"
    )
    assert status.running(vm("CrashLoopBackOff", "Always", READY)) == Failed("CrashLoopBackOff")


def test_a_clone_without_its_source_is_told_once_it_had_time_to_come() -> None:
    told = condition("Bound", "False", "CloneWithoutSource", "The source pvc golden doesn't exist")
    verdict = cdi.check({"metadata": {"name": "root"}, "status": {"conditions": [told]}})
    assert isinstance(verdict, Failed)
    assert verdict.patience > 0
    assert verdict.reason.startswith("CloneWithoutSource: The source pvc golden doesn't exist. CDI begins as soon")


def test_a_pod_that_waits_for_its_volume_to_be_bound_is_no_failure() -> None:
    told = condition("PodScheduled", "False", "Unschedulable", "pod has unbound immediate PersistentVolumeClaims.")
    assert isinstance(status.running(vm("ErrorUnschedulable", "Always", told)), Progress)


def data_volume(phase: str, message: str = "", reason: str = "", restarts: int = 0, progress: str = "") -> Object:
    running = condition("Running", "False", reason, message)
    return {
        "metadata": {"name": "db-root", "namespace": "prod"},
        "status": {"phase": phase, "conditions": [running], "restartCount": restarts, "progress": progress},
    }


def test_an_import_that_answers_404_has_failed_at_once() -> None:
    message = "Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found"
    assert cdi.check(data_volume("ImportInProgress", message, "Error")) == Failed(message)


def test_an_import_that_stumbles_has_failed_only_after_it_was_tried_again() -> None:
    message = "connection reset by peer"
    assert isinstance(cdi.check(data_volume("ImportInProgress", message, "Error", 1)), Progress)
    assert cdi.check(data_volume("ImportInProgress", message, "Error", 3)) == Failed(message)


def test_progress_names_disk_and_share() -> None:
    found = data_volume("ImportInProgress", progress="43.27%")
    assert status.volume_check("root")(found) == Progress("root 43 % imported")


def test_a_volume_that_waits_for_its_first_consumer_is_as_far_as_it_gets() -> None:
    assert status.volume_check("root")(data_volume("WaitForFirstConsumer")) == Ready()


def machine(**template: Any) -> Object:
    spec = {"domain": {"devices": {}, "cpu": {"cores": 1, "sockets": 1}}, **template}
    return {"metadata": {"name": "db"}, "spec": {"template": {"spec": spec}}}


def changed(before: Object, path: str, value: Any) -> Object:
    after = copy.deepcopy(before)
    *parents, last = path.split(".")
    place = after
    for part in parents:
        place = place[part]
    place[last] = value
    return after


def test_cores_wait_for_a_restart_and_sockets_do_not() -> None:
    before = machine()
    assert reasons(before, changed(before, "spec.template.spec.domain.cpu.cores", 2)) == [
        "spec.template.spec.domain.cpu.cores changed"
    ]
    assert reasons(before, changed(before, "spec.template.spec.domain.cpu.sockets", 2)) == []


def test_labels_of_the_vm_wait_for_nothing() -> None:
    before = machine()
    assert reasons(before, changed(before, "metadata.labels", {"a": "b"})) == []


def test_a_bridge_interface_is_plugged_live_and_a_masquerade_one_is_not() -> None:
    before = machine()
    for binding, expected in (("bridge", 0), ("masquerade", 2)):
        after = changed(before, "spec.template.spec.domain.devices.interfaces", [{"name": "lan", binding: {}}])
        after = changed(after, "spec.template.spec.networks", [{"name": "lan", "multus": {"networkName": "n"}}])
        assert len(reasons(before, after)) == expected


def test_a_disk_is_plugged_live_only_when_its_volume_is_hotpluggable() -> None:
    before = machine()
    for hotpluggable in (True, False):
        volume = {"name": "data", "dataVolume": {"name": "d", "hotpluggable": hotpluggable}}
        after = changed(before, "spec.template.spec.domain.devices.disks", [{"name": "data", "disk": {"bus": "scsi"}}])
        after = changed(after, "spec.template.spec.volumes", [volume])
        assert bool(reasons(before, after)) is not hotpluggable


def test_what_kubevirt_says_is_a_reason_even_where_nothing_changed() -> None:
    found = vm("Running", "Always", condition("RestartRequired", "True", "", "a non-live-updatable field was changed"))
    assert reasons(found, found) == ["a non-live-updatable field was changed"]
