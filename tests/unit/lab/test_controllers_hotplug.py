"""Hot plug: volumes come through attachment pods and go again, interfaces with a migration of their instance."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from played import VMIS, VMS, Played, conditions
from virtlab.controllers.kubevirt.hotplug_spec import done_requests, plugged_interfaces, plugged_volumes

Object = dict[str, Any]
NADS = "network-attachment-definitions.k8s.cni.cncf.io"
DEVICES = ("domain", "devices")


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    played.create("namespaces", "prod")
    config = '{"cniVersion": "0.3.1", "name": "lan", "type": "bridge", "bridge": "br1"}'
    played.create(NADS, "lan", {"config": config}, "prod")
    return played


def claim(played: Played, name: str, mode: str = "ReadWriteMany") -> None:
    spec = {
        "accessModes": [mode],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "lab-block",
    }
    played.create("persistentvolumeclaims", name, spec, "prod")


def edit(played: Played, name: str, change: Any) -> None:
    """Change the template's spec of a machine."""
    spec = copy.deepcopy(played.get(VMS, name, "prod")["spec"]["template"]["spec"])
    change(spec)
    patch = {"spec": {"template": {"spec": {part: spec[part] for part in ("volumes", "networks", "domain")}}}}
    played.patch(VMS, name, "prod", patch)


def plug(spec: Object, name: str) -> None:
    spec["volumes"].append({"name": name, "persistentVolumeClaim": {"claimName": name, "hotpluggable": True}})
    spec["domain"]["devices"]["disks"].append({"name": name, "disk": {"bus": "scsi"}, "serial": name})


def unplug(spec: Object, name: str) -> None:
    spec["volumes"] = [item for item in spec["volumes"] if item["name"] != name]
    devices = spec["domain"]["devices"]
    devices["disks"] = [item for item in devices["disks"] if item["name"] != name]


def volume_of(played: Played, machine: str, name: str) -> Object | None:
    statuses = played.get(VMIS, machine, "prod")["status"]["volumeStatus"]
    return next((item for item in statuses if item["name"] == name), None)


def test_a_volume_of_the_template_is_attached_and_taken_off_again(played: Played) -> None:
    played.machine("disk")
    claim(played, "data")
    phases: list[str] = []

    def note(event: Any) -> None:
        if event.key[1] == "virtualmachineinstances" and event.type != "DELETED":
            for item in event.object.get("status", {}).get("volumeStatus") or ():
                if item["name"] == "data" and item.get("phase") and phases[-1:] != [item["phase"]]:
                    phases.append(item["phase"])

    played.cluster.store.subscribe(note)
    edit(played, "disk", lambda spec: plug(spec, "data"))
    status = volume_of(played, "disk", "data")
    assert status is not None
    assert (status["phase"], status["target"], status["reason"]) == ("Ready", "sda", "VolumeReady")
    assert "RestartRequired" not in conditions(played.get(VMS, "disk", "prod"))
    pod = played.get("pods", status["hotplugVolume"]["attachPodName"], "prod")
    assert pod["metadata"]["labels"]["kubevirt.io"] == "hotplug-disk"
    assert phases == ["AttachedToNode", "MountedToPod", "Ready"]
    edit(played, "disk", lambda spec: unplug(spec, "data"))
    assert volume_of(played, "disk", "data") is None
    assert phases[-1] == "Detaching"
    assert played.find("pods", pod["metadata"]["name"], "prod") is None
    assert played.get("persistentvolumeclaims", "data", "prod")
    assert "RestartRequired" not in conditions(played.get(VMS, "disk", "prod"))


def test_a_volume_whose_claim_is_missing_says_so_until_it_comes(played: Played) -> None:
    played.machine("late")
    edit(played, "late", lambda spec: plug(spec, "later"))
    status = volume_of(played, "late", "later")
    assert status is not None
    assert (status["phase"], status["message"]) == ("Pending", "PVC later not found")
    claim(played, "later")
    status = volume_of(played, "late", "later")
    assert status is not None
    assert status["phase"] == "Ready"


def test_a_plugged_disk_that_is_not_shared_keeps_the_guest_from_migrating(played: Played) -> None:
    played.machine("alone")
    claim(played, "single", "ReadWriteOnce")
    edit(played, "alone", lambda spec: plug(spec, "single"))
    able = conditions(played.get(VMIS, "alone", "prod"))["LiveMigratable"]
    assert (able["status"], able["reason"]) == ("False", "DisksNotLiveMigratable")
    edit(played, "alone", lambda spec: unplug(spec, "single"))
    assert conditions(played.get(VMIS, "alone", "prod"))["LiveMigratable"]["status"] == "True"


def test_a_plugged_disk_stays_over_a_migration(played: Played) -> None:
    played.machine("carry")
    claim(played, "carried")
    edit(played, "carry", lambda spec: plug(spec, "carried"))
    played.create("virtualmachineinstancemigrations.kubevirt.io", "carry", {"vmiName": "carry"}, "prod")
    status = volume_of(played, "carry", "carried")
    assert status is not None
    assert status["phase"] == "Ready"
    node = played.get(VMIS, "carry", "prod")["status"]["nodeName"]
    pod = played.get("pods", status["hotplugVolume"]["attachPodName"], "prod")
    assert pod["spec"]["nodeName"] == node


def test_requests_of_the_subresource_are_carried_out_and_forgotten(played: Played) -> None:
    played.machine("asked")
    claim(played, "wished")
    source = {"persistentVolumeClaim": {"claimName": "wished", "hotpluggable": True}}
    request = {"name": "wished", "disk": {"name": "wished", "disk": {"bus": "scsi"}}, "volumeSource": source}
    played.edit_status(VMS, "asked", "prod", volumeRequests=[{"addVolumeOptions": request}])
    vm = played.get(VMS, "asked", "prod")
    assert "volumeRequests" not in vm["status"]
    assert [item["name"] for item in vm["spec"]["template"]["spec"]["volumes"]] == ["root", "wished"]
    status = volume_of(played, "asked", "wished")
    assert status is not None
    assert status["phase"] == "Ready"


def interface(spec: Object, **fields: Any) -> None:
    devices = spec["domain"]["devices"]
    devices["interfaces"] = [item for item in devices["interfaces"] if item["name"] != "lan"]
    devices["interfaces"].append({"name": "lan", "bridge": {}, **fields})
    if not any(item["name"] == "lan" for item in spec["networks"]):
        spec["networks"].append({"name": "lan", "multus": {"networkName": "lan"}})


def test_an_interface_comes_with_a_migration_and_goes_with_one(played: Played) -> None:
    played.machine("nic")
    first = played.get(VMIS, "nic", "prod")["status"]["nodeName"]
    edit(played, "nic", interface)
    vmi = played.get(VMIS, "nic", "prod")
    found = {item["name"]: item for item in vmi["status"]["interfaces"]}
    assert found["lan"]["infoSource"] == "domain, guest-agent, multus-status"
    assert vmi["status"]["nodeName"] != first
    assert "MigrationRequired" not in conditions(vmi)
    assert "RestartRequired" not in conditions(played.get(VMS, "nic", "prod"))
    edit(played, "nic", lambda spec: interface(spec, state="down"))
    found = {item["name"]: item for item in played.get(VMIS, "nic", "prod")["status"]["interfaces"]}
    assert found["lan"]["linkState"] == "down"
    edit(played, "nic", lambda spec: interface(spec, state="absent"))
    vmi, vm = played.get(VMIS, "nic", "prod"), played.get(VMS, "nic", "prod")
    assert [item["name"] for item in vmi["status"]["interfaces"]] == ["default"]
    assert [item["name"] for item in vmi["spec"]["networks"]] == ["default"]
    assert [item["name"] for item in vm["spec"]["template"]["spec"]["networks"]] == ["default"]


def template(**lists: Any) -> Object:
    devices = {"disks": lists.get("disks", []), "interfaces": lists.get("interfaces", [])}
    return {"volumes": lists.get("volumes", []), "networks": lists.get("networks", []), "domain": {"devices": devices}}


def test_what_is_not_hot_pluggable_stays_as_the_guest_was_started() -> None:
    fixed = {"name": "a", "containerDisk": {"image": "x"}}
    spec = template(volumes=[fixed], disks=[{"name": "a", "disk": {}}])
    assert plugged_volumes(template(), spec, [])["volumes"] == [fixed]
    fresh = template(volumes=[{"name": "b", "emptyDisk": {}}], disks=[{"name": "b"}])
    assert plugged_volumes(fresh, template(), []) == template()


def test_a_volume_that_is_being_unplugged_is_not_plugged_in_again_before_it_is_off() -> None:
    hot = {"name": "a", "dataVolume": {"name": "a", "hotpluggable": True}}
    wanted = template(volumes=[hot], disks=[{"name": "a", "disk": {"bus": "scsi"}}])
    assert plugged_volumes(wanted, template(), [{"name": "a"}])["volumes"] == []
    assert plugged_volumes(wanted, template(), [])["volumes"] == [hot]


def test_only_bridges_and_virtual_functions_are_plugged() -> None:
    networks = [{"name": "a", "multus": {"networkName": "x"}}]
    bridged = template(interfaces=[{"name": "a", "bridge": {}}], networks=networks)
    bound = template(interfaces=[{"name": "a", "binding": {"name": "passt"}}], networks=networks)
    assert plugged_interfaces(bridged, template(), {})["networks"] == networks
    assert plugged_interfaces(bound, template(), {})["networks"] == []


def test_a_request_is_done_when_the_template_says_the_same() -> None:
    add, remove = {"addVolumeOptions": {"name": "a"}}, {"removeVolumeOptions": {"name": "a"}}
    there = template(volumes=[{"name": "a"}], disks=[{"name": "a"}])
    assert done_requests([add], there) == []
    assert done_requests([remove], there) == [remove]
    assert done_requests([add, remove], template()) == [add]
