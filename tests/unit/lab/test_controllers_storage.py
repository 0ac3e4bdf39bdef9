"""Claims, data volumes, snapshots, restores and clones."""

from __future__ import annotations

from typing import Any

import pytest
from played import VMS, Played, conditions
from virtlab.status import StatusError

Object = dict[str, Any]
DATA_VOLUMES = "datavolumes.cdi.kubevirt.io"
CLAIMS = "persistentvolumeclaims"
IMAGES = "openshift-virtualization-os-images"
ONE = {"resources": {"requests": {"storage": "1Gi"}}}


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    played.create("namespaces", "prod")
    return played


def phase(played: Played, name: str) -> str | None:
    return (played.get(DATA_VOLUMES, name, "prod").get("status") or {}).get("phase")


@pytest.mark.parametrize(
    ("name", "source", "phases"),
    [
        ("blank", {"blank": {}}, ["ImportScheduled", "ImportInProgress", "Succeeded"]),
        (
            "http",
            {"http": {"url": "http://images.example/x.qcow2"}},
            ["ImportScheduled", "ImportInProgress", "Succeeded"],
        ),
        ("registry", {"registry": {"url": "docker://quay.io/x"}}, ["ImportScheduled", "ImportInProgress", "Succeeded"]),
        ("upload", {"upload": {}}, ["UploadScheduled", "UploadReady"]),
    ],
)
def test_the_phases_of_each_source(played: Played, name: str, source: Object, phases: list[str]) -> None:
    seen = played.phases("datavolumes")
    played.create(DATA_VOLUMES, name, {"source": source, "storage": ONE}, "prod")
    assert [item for item in seen if item] == phases


def test_a_finished_import_is_bound_ready_and_no_longer_running(played: Played) -> None:
    played.create(DATA_VOLUMES, "done", {"source": {"blank": {}}, "storage": ONE}, "prod")
    found = {
        kind: (item["status"], item.get("reason"), item.get("message"))
        for kind, item in conditions(played.get(DATA_VOLUMES, "done", "prod")).items()
    }
    assert found == {
        "Bound": ("True", "Bound", "PVC done Bound"),
        "Ready": ("True", None, None),
        "Running": ("False", "Completed", "Import Complete"),
    }
    claim = played.get(CLAIMS, "done", "prod")
    assert (claim["spec"]["storageClassName"], claim["spec"]["volumeMode"]) == ("lab-block", "Block")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_clone_of_what_is_not_there_waits_without_a_phase_until_it_is(played: Played) -> None:
    played.create(
        DATA_VOLUMES, "copy", {"source": {"pvc": {"name": "origin", "namespace": "prod"}}, "storage": {}}, "prod"
    )
    assert phase(played, "copy") is None
    played.create(DATA_VOLUMES, "origin", {"source": {"blank": {}}, "storage": ONE}, "prod")
    assert phase(played, "copy") == "Succeeded"
    copy = played.get(CLAIMS, "copy", "prod")
    assert copy["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert copy["metadata"]["annotations"]["cdi.kubevirt.io/cloneType"] == "csi-clone"


def test_an_import_told_to_fail_says_so_in_cdis_words_and_counts_restarts(played: Played) -> None:
    text = "Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found"
    rule = played.cluster.faults.add(subject="import", path="prod/broken", message=text)
    played.create(
        DATA_VOLUMES, "broken", {"source": {"http": {"url": "http://images.example/y"}}, "storage": ONE}, "prod"
    )
    broken = played.get(DATA_VOLUMES, "broken", "prod")
    running = conditions(broken)["Running"]
    assert (running["status"], running["reason"], running["message"]) == ("False", "Error", text)
    assert broken["status"]["phase"] == "ImportInProgress"
    assert broken["status"]["restartCount"] >= 1
    assert ("Error", text) in played.events("prod", "broken")
    disk = [{"name": "root", "dataVolume": {"name": "broken"}}]
    played.machine("stuck", strategy="Halted", volumes=disk)
    assert played.printable("stuck") == "DataVolumeError"
    played.cluster.faults.clear(rule.id)
    played.delete(DATA_VOLUMES, "broken", "prod")


def test_no_class_to_choose_a_mode_from_is_said_on_the_data_volume(played: Played) -> None:
    played.create(
        DATA_VOLUMES, "classless", {"source": {"blank": {}}, "storage": {**ONE, "storageClassName": "nope"}}, "prod"
    )
    bound = conditions(played.get(DATA_VOLUMES, "classless", "prod"))["Bound"]
    assert (bound["reason"], bound["message"]) == (
        "ErrClaimNotValid",
        "PVC spec is missing accessMode and no storageClass to choose profile",
    )


def test_a_claim_of_a_class_that_is_not_there_stays_pending_with_the_event(played: Played) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "nope", **ONE}
    played.create(CLAIMS, "pending", spec, "prod")
    assert played.get(CLAIMS, "pending", "prod")["status"]["phase"] == "Pending"
    assert ("ProvisioningFailed", 'storageclass.storage.k8s.io "nope" not found') in played.events("prod", "pending")


def test_a_class_that_waits_for_a_consumer_is_filled_when_a_machine_starts(played: Played) -> None:
    template = {
        "metadata": {"name": "wait-root"},
        "spec": {"source": {"blank": {}}, "storage": {**ONE, "storageClassName": "lab-file"}},
    }
    disk = [{"name": "root", "dataVolume": {"name": "wait-root"}}]
    played.machine("wait", strategy="Halted", volumes=disk, dataVolumeTemplates=[template])
    assert phase(played, "wait-root") == "PendingPopulation"
    assert played.printable("wait") == "Stopped"
    seen = played.phases("virtualmachines", "printableStatus")
    played.patch(VMS, "wait", "prod", {"spec": {"runStrategy": "Always"}})
    assert "WaitingForVolumeBinding" in seen
    assert played.printable("wait") == "Running"
    migratable = conditions(played.get(VMS, "wait", "prod"))["LiveMigratable"]
    assert (migratable["status"], migratable["reason"]) == ("False", "DisksNotLiveMigratable")


def test_a_bound_claim_grows(played: Played) -> None:
    played.create(DATA_VOLUMES, "grow", {"source": {"blank": {}}, "storage": ONE}, "prod")
    played.patch(CLAIMS, "grow", "prod", {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})
    assert played.get(CLAIMS, "grow", "prod")["status"]["capacity"]["storage"] == "2Gi"


def test_types_are_inferred_from_a_boot_source_and_its_volumes_go_with_the_machine(played: Played) -> None:
    reference = {"kind": "DataSource", "name": "rhel9", "namespace": IMAGES}
    template = {"metadata": {"name": "boot-root"}, "spec": {"sourceRef": reference, "storage": {}}}
    disk = [{"name": "root", "dataVolume": {"name": "boot-root"}}]
    infer = {"inferFromVolume": "root"}
    seen = played.phases("virtualmachines", "printableStatus")
    played.machine("boot", volumes=disk, dataVolumeTemplates=[template], instancetype=infer, preference=infer)
    assert "Provisioning" in seen
    assert played.printable("boot") == "Running"
    spec = played.get(VMS, "boot", "prod")["spec"]
    assert (spec["instancetype"]["name"], spec["preference"]["name"]) == ("u1.medium", "rhel.9")
    played.delete(VMS, "boot", "prod")
    assert played.find(DATA_VOLUMES, "boot-root", "prod") is None
    assert played.find(CLAIMS, "boot-root", "prod") is None


def source(name: str) -> Object:
    return {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": name}


def test_snapshot_restore_and_clone(played: Played) -> None:
    template = {"metadata": {"name": "snap-root"}, "spec": {"source": {"blank": {}}, "storage": ONE}}
    disk = [{"name": "root", "dataVolume": {"name": "snap-root"}}]
    played.machine("snap", strategy="Halted", volumes=disk, dataVolumeTemplates=[template])
    played.create("virtualmachinesnapshots.snapshot.kubevirt.io", "s", {"source": source("snap")}, "prod")
    status = played.get("virtualmachinesnapshots.snapshot.kubevirt.io", "s", "prod")["status"]
    assert (status["phase"], status["readyToUse"], status["snapshotVolumes"]) == (
        "Succeeded",
        True,
        {"includedVolumes": ["root"]},
    )
    restore = {"target": source("restored"), "virtualMachineSnapshotName": "s"}
    played.create("virtualmachinerestores.snapshot.kubevirt.io", "r", restore, "prod")
    assert played.get("virtualmachinerestores.snapshot.kubevirt.io", "r", "prod")["status"]["complete"]
    assert played.printable("restored") == "Stopped"
    played.create(
        "virtualmachineclones.clone.kubevirt.io", "c", {"source": source("snap"), "target": source("twin")}, "prod"
    )
    assert played.get("virtualmachineclones.clone.kubevirt.io", "c", "prod")["status"]["phase"] == "Succeeded"
    assert played.printable("twin") == "Stopped"
    played.delete("virtualmachines.kubevirt.io", "twin", "prod")
    assert played.find("virtualmachineclones.clone.kubevirt.io", "c", "prod") is None


def test_a_restore_to_a_running_machine_waits_for_it_to_stop(played: Played) -> None:
    played.machine("busy")
    played.create("virtualmachinesnapshots.snapshot.kubevirt.io", "b", {"source": source("busy")}, "prod")
    snapshot = played.get("virtualmachinesnapshots.snapshot.kubevirt.io", "b", "prod")
    assert snapshot["status"]["indications"] == ["GuestAgent", "Online"]
    restores = "virtualmachinerestores.snapshot.kubevirt.io"
    played.create(restores, "b", {"target": source("busy"), "virtualMachineSnapshotName": "b"}, "prod")
    waiting = conditions(played.get(restores, "b", "prod"))["Progressing"]["reason"]
    assert waiting.startswith("Waiting for target VM to be powered off.")
    played.patch(VMS, "busy", "prod", {"spec": {"runStrategy": "Halted"}})
    assert played.get(restores, "b", "prod")["status"]["complete"]


def test_a_restore_has_one_of_four_readiness_policies(played: Played) -> None:
    restores = "virtualmachinerestores.snapshot.kubevirt.io"
    restore = {"target": source("none-such"), "virtualMachineSnapshotName": "none-such"}
    with pytest.raises(StatusError, match='targetReadinessPolicy: Unsupported value: "Soon": supported values: "St'):
        played.create(restores, "soon", {**restore, "targetReadinessPolicy": "Soon"}, "prod")
    made = played.create(restores, "default", restore, "prod")
    assert made["spec"]["targetReadinessPolicy"] == "WaitGracePeriod"


def test_a_claim_without_a_storage_class_gets_the_default_one(played: Played) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = played.create("persistentvolumeclaims", "plain", claim, "prod")
    assert made["spec"]["storageClassName"] == "lab-block"
    assert played.get("persistentvolumeclaims", "plain", "prod")["status"]["phase"] == "Bound"
    empty = played.create("persistentvolumeclaims", "none", {**claim, "storageClassName": ""}, "prod")
    assert empty["spec"]["storageClassName"] == ""
