"""Virtual machines: what a run strategy does, what each failure is called, what a guest shows."""

from __future__ import annotations

from typing import Any

import pytest
from played import VMIS, VMS, Played, conditions

Object = dict[str, Any]


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    played.create("namespaces", "prod")
    return played


def instance(played: Played, name: str) -> Object | None:
    return played.find(VMIS, name, "prod")


def uid(played: Played, name: str) -> str:
    found = instance(played, name)
    assert found is not None
    return str(found["metadata"]["uid"])


def request(played: Played, name: str, *actions: Object) -> None:
    """The state change requests that virt-api leaves for start, stop and restart."""
    played.edit_status(VMS, name, "prod", stateChangeRequests=list(actions))


def test_a_machine_goes_from_starting_to_running_with_addresses_and_an_agent(played: Played) -> None:
    seen = played.phases("virtualmachineinstances")
    played.machine("run")
    assert seen == ["Pending", "Scheduling", "Scheduled", "Running"]
    assert played.printable("run") == "Running"
    vmi = instance(played, "run")
    assert vmi is not None
    interface = vmi["status"]["interfaces"][0]
    pod = next(
        item for item in played.list("pods", "prod") if item["metadata"]["labels"]["vm.kubevirt.io/name"] == "run"
    )
    assert interface["ipAddress"] == pod["status"]["podIP"]
    assert vmi["status"]["nodeName"] == pod["spec"]["nodeName"]
    assert vmi["status"]["guestOSInfo"]["id"] == "fedora"
    states = {kind: item["status"] for kind, item in conditions(played.get(VMS, "run", "prod")).items()}
    assert states == dict.fromkeys(("Ready", "LiveMigratable", "StorageLiveMigratable", "AgentConnected"), "True")
    assert ("Started", "VirtualMachineInstance started.") in played.events("prod", "run")


def test_halting_stops_the_guest_and_takes_its_pod(played: Played) -> None:
    played.machine("halt")
    played.patch(VMS, "halt", "prod", {"spec": {"runStrategy": "Halted"}})
    assert instance(played, "halt") is None
    vm = played.get(VMS, "halt", "prod")
    assert played.printable("halt") == "Stopped"
    assert conditions(vm)["Ready"]["reason"] == "VMINotExists"
    assert not [pod for pod in played.list("pods", "prod") if pod["metadata"]["name"].startswith("virt-launcher-halt")]


def test_a_restart_request_replaces_the_instance(played: Played) -> None:
    played.machine("again")
    before = uid(played, "again")
    request(played, "again", {"action": "Stop", "uid": before}, {"action": "Start"})
    assert uid(played, "again") != before
    assert played.printable("again") == "Running"
    assert "stateChangeRequests" not in played.get(VMS, "again", "prod")["status"]


@pytest.mark.parametrize(
    ("strategy", "phase", "runs_again"),
    [
        ("Always", "Succeeded", True),
        ("Always", "Failed", True),
        ("RerunOnFailure", "Succeeded", False),
        ("RerunOnFailure", "Failed", True),
        ("Once", "Succeeded", False),
        ("Manual", "Succeeded", False),
    ],
)
def test_what_happens_when_the_guest_ends_by_itself(
    played: Played, strategy: str, phase: str, runs_again: bool
) -> None:
    name = f"{strategy}-{phase}".lower()
    played.machine(name, strategy=strategy)
    if strategy == "Manual":
        request(played, name, {"action": "Start"})
    before = uid(played, name)
    played.edit_status(VMIS, name, "prod", phase=phase)
    if runs_again:
        assert uid(played, name) != before
        assert played.printable(name) == "Running"
    else:
        assert played.printable(name) == "Stopped"
        assert conditions(played.get(VMS, name, "prod"))["Ready"]["status"] == "False"


def test_a_missing_claim_is_named_as_recorded_and_the_machine_starts_when_it_appears(played: Played) -> None:
    played.machine("miss", volumes=[{"name": "root", "persistentVolumeClaim": {"claimName": "late"}}])
    assert played.printable("miss") == "ErrorPvcNotFound"
    said = "PVC prod/late does not exist, waiting for it to appear"
    found = [
        (item["type"], item.get("reason"), item["message"])
        for item in conditions(played.get(VMS, "miss", "prod")).values()
    ]
    assert found == [
        ("Ready", "PodNotExists", "virt-launcher pod has not yet been scheduled"),
        ("PodScheduled", "Unschedulable", said),
        ("Synchronized", "FailedPvcNotFound", said),
    ]
    claim = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "lab-block",
    }
    played.create("persistentvolumeclaims", "late", claim, "prod")
    assert played.printable("miss") == "Running"


def test_a_machine_that_fits_no_node_says_why_and_starts_when_one_fits(played: Played) -> None:
    played.machine("unfit", template={"nodeSelector": {"disk": "ssd"}})
    assert played.printable("unfit") == "ErrorUnschedulable"
    scheduled = conditions(played.get(VMS, "unfit", "prod"))["PodScheduled"]
    assert scheduled["message"] == (
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    played.patch("nodes", "worker-1", None, {"metadata": {"labels": {"disk": "ssd"}}})
    assert played.printable("unfit") == "Running"


def test_an_image_that_cannot_be_pulled(played: Played) -> None:
    image = {"name": "root", "containerDisk": {"image": "quay.io/virtlab-missing:1"}}
    played.machine("pull", volumes=[image])
    assert played.printable("pull") == "ImagePullBackOff"


def test_an_unknown_instance_type_is_a_failure_of_the_machine(played: Played) -> None:
    played.machine("untyped", instancetype={"name": "nope"})
    failure = conditions(played.get(VMS, "untyped", "prod"))["Failure"]
    assert (failure["reason"], failure["message"]) == (
        "FailedFindInstancetype",
        'virtualmachineclusterinstancetypes.instancetype.kubevirt.io "nope" not found',
    )
    assert played.printable("untyped") == "Stopped"


def test_instance_type_and_preference_make_the_instance_and_are_kept_as_revisions(played: Played) -> None:
    played.machine("typed", instancetype={"name": "u1.large"}, preference={"name": "windows.2k22"})
    vmi = instance(played, "typed")
    assert vmi is not None
    domain = vmi["spec"]["domain"]
    assert (domain["cpu"]["sockets"], domain["memory"]["guest"]) == (2, "8Gi")
    assert domain["devices"]["tpm"] == {"persistent": True}
    assert vmi["status"]["guestOSInfo"]["id"] == "mswindows"
    reference = played.get(VMS, "typed", "prod")["status"]["instancetypeRef"]
    revision = played.get("controllerrevisions.apps", reference["controllerRevisionRef"]["name"], "prod")
    assert revision["data"]["metadata"]["name"] == "u1.large"


def test_a_change_that_only_a_restart_brings_is_a_condition_until_it_is_undone(played: Played) -> None:
    played.machine("change")
    cores = {"spec": {"template": {"spec": {"domain": {"cpu": {"cores": 2}}}}}}
    played.patch(VMS, "change", "prod", cores)
    needed = conditions(played.get(VMS, "change", "prod"))["RestartRequired"]
    assert needed["message"] == "a non-live-updatable field was changed in the template spec"
    played.patch(VMS, "change", "prod", {"spec": {"template": {"spec": {"domain": {"cpu": {"cores": 1}}}}}})
    assert "RestartRequired" not in conditions(played.get(VMS, "change", "prod"))


def test_labels_of_the_machine_need_no_restart(played: Played) -> None:
    played.machine("label")
    before = uid(played, "label")
    played.patch(VMS, "label", "prod", {"metadata": {"labels": {"team": "blue"}}})
    assert uid(played, "label") == before
    assert "RestartRequired" not in conditions(played.get(VMS, "label", "prod"))


def test_deleting_a_running_machine_ends_its_guest_first(played: Played) -> None:
    played.machine("gone")
    seen = played.phases("virtualmachines", "printableStatus")
    played.delete(VMS, "gone", "prod")
    assert "Terminating" in seen
    assert played.find(VMS, "gone", "prod") is None
    assert instance(played, "gone") is None


def test_deleting_with_orphan_leaves_the_guest_running(played: Played) -> None:
    played.machine("orphan")
    played.delete(VMS, "orphan", "prod", propagationPolicy="Orphan")
    vmi = instance(played, "orphan")
    assert vmi is not None
    assert vmi["status"]["phase"] == "Running"
    assert "ownerReferences" not in vmi["metadata"]


def test_a_migration_moves_the_guest_to_another_node(played: Played) -> None:
    played.machine("move")
    before = instance(played, "move")
    assert before is not None
    phases = played.phases("virtualmachineinstancemigrations")
    played.create("virtualmachineinstancemigrations.kubevirt.io", "job", {"vmiName": "move"}, "prod")
    expected = ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded"]
    assert [phase for phase in phases if phase] == expected
    after = instance(played, "move")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["nodeName"] != before["status"]["nodeName"]
    pods = [
        pod for pod in played.list("pods", "prod") if pod["metadata"]["labels"].get("vm.kubevirt.io/name") == "move"
    ]
    assert [pod["spec"]["nodeName"] for pod in pods] == [after["status"]["nodeName"]]
