"""Host variables of machines and instances."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.objects.hostvars import (
    Guest,
    of_instance,
    of_machine,
    running,
    size_by,
)

SECRETS = ("hunter2", "ssh-rsa AAAA", "chpasswd")

VM: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {
        "name": "db",
        "namespace": "prod",
        "uid": "11111111-2222-3333-4444-555555555555",
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": {"app": "shop", "app.kubernetes.io/part-of": "shop"},
        "annotations": {
            "note": "ours",
            "kubevirt.io/latest-observed-api-version": "v1",
            "kubectl.kubernetes.io/last-applied-configuration": '{"spec": {"userData": "chpasswd: hunter2"}}',
        },
        "managedFields": [{"manager": "virtstack"}],
    },
    "spec": {
        "runStrategy": "RerunOnFailure",
        "instancetype": {"name": "u1.medium"},
        "preference": {"name": "rhel.9"},
        "dataVolumeTemplates": [
            {
                "metadata": {"name": "db-root"},
                "spec": {"storage": {"resources": {"requests": {"storage": "30Gi"}}}},
            },
            {"metadata": {"name": "db-old"}, "spec": {"pvc": {"resources": {"requests": {"storage": "5Gi"}}}}},
        ],
        "template": {
            "metadata": {"labels": {"kubevirt.io/domain": "db"}},
            "spec": {
                "accessCredentials": [{"sshPublicKey": {"source": {"secret": {"secretName": "ssh-rsa AAAA"}}}}],
                "domain": {
                    "devices": {
                        "disks": [
                            {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
                            {"name": "iso", "cdrom": {"bus": "sata"}},
                        ],
                        "interfaces": [
                            {"name": "default", "masquerade": {}, "ports": [{"name": "ssh", "port": 2222}]},
                            {"name": "lan", "bridge": {}, "model": "virtio", "macAddress": "02:00:00:00:00:01"},
                        ],
                    }
                },
                "networks": [
                    {"name": "default", "pod": {}},
                    {"name": "lan", "multus": {"networkName": "prod/vlan93"}},
                ],
                "volumes": [
                    {"name": "root", "dataVolume": {"name": "db-root"}},
                    {"name": "old", "dataVolume": {"name": "db-old"}},
                    {"name": "iso", "persistentVolumeClaim": {"claimName": "install-iso"}},
                    {"name": "scratch", "emptyDisk": {"capacity": "2Gi"}},
                    {
                        "name": "seed",
                        "cloudInitNoCloud": {"userData": "#cloud-config\nchpasswd: {list: [root:hunter2]}"},
                    },
                    {"name": "base", "ephemeral": {"persistentVolumeClaim": {"claimName": "golden"}}},
                ],
            },
        },
    },
    "status": {
        "printableStatus": "Stopped",
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "VMINotExists", "message": "VMI does not exist"},
        ],
    },
}

VMI: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {
        "name": "db",
        "namespace": "prod",
        "uid": "99999999-2222-3333-4444-555555555555",
        "creationTimestamp": "2026-02-02T03:04:05Z",
        "labels": {"kubevirt.io/domain": "db", "kubevirt.io/nodeName": "worker-1"},
        "annotations": {
            "kubevirt.io/cluster-instancetype-name": "u1.medium",
            "kubevirt.io/cluster-preference-name": "rhel.9",
        },
        "ownerReferences": [{"kind": "VirtualMachine", "name": "db", "controller": True}],
    },
    "spec": {
        "domain": {
            "cpu": {"sockets": 1, "cores": 1, "threads": 1, "model": "host-model"},
            "memory": {"guest": "4Gi"},
            "devices": VM["spec"]["template"]["spec"]["domain"]["devices"],
        },
        "networks": VM["spec"]["template"]["spec"]["networks"],
        "volumes": VM["spec"]["template"]["spec"]["volumes"],
    },
    "status": {
        "phase": "Running",
        "nodeName": "worker-1",
        "currentCPUTopology": {"sockets": 2, "cores": 1, "threads": 1},
        "memory": {"guestAtBoot": "4Gi", "guestCurrent": "6Gi", "guestRequested": "6Gi"},
        "guestOSInfo": {
            "id": "rhel",
            "prettyName": "Red Hat Enterprise Linux 9.4",
            "versionId": "9.4",
            "kernelRelease": "5.14",
        },
        "interfaces": [
            {"name": "default", "mac": "02:00:00:00:00:aa", "ipAddress": "10.0.2.2", "interfaceName": "eth0"},
            {
                "name": "lan",
                "mac": "02:00:00:00:00:01",
                "ipAddress": "192.168.93.7",
                "ipAddresses": ["192.168.93.7", "fe80::1"],
                "interfaceName": "eth1",
            },
            {"interfaceName": "docker0", "mac": "02:42:00:00:00:01", "ipAddresses": ["172.17.0.1"]},
        ],
        "volumeStatus": [
            {"name": "root", "target": "vda", "persistentVolumeClaimInfo": {"capacity": {"storage": "32Gi"}}},
            {"name": "hotplugged", "target": "sda", "hotplugVolume": {}},
        ],
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "AgentConnected", "status": "True"},
        ],
    },
}


@pytest.fixture
def vm() -> dict[str, Any]:
    return copy.deepcopy(VM)


@pytest.fixture
def vmi() -> dict[str, Any]:
    return copy.deepcopy(VMI)


def test_a_stopped_machine_has_the_facts_of_its_spec(vm: dict[str, Any]) -> None:
    assert of_machine(vm).variables == {
        "virtstack_kind": "VirtualMachine",
        "virtstack_name": "db",
        "virtstack_namespace": "prod",
        "virtstack_uid": "11111111-2222-3333-4444-555555555555",
        "virtstack_created": "2026-01-02T03:04:05Z",
        "virtstack_labels": {"app": "shop", "app.kubernetes.io/part-of": "shop"},
        "virtstack_annotations": {"note": "ours"},
        "virtstack_status": "Stopped",
        "virtstack_ready": False,
        "virtstack_run_strategy": "RerunOnFailure",
        "virtstack_instancetype": "u1.medium",
        "virtstack_preference": "rhel.9",
        "virtstack_os": "rhel",
        "virtstack_guest_os": {},
        "virtstack_agent_connected": False,
        "virtstack_node": None,
        "virtstack_vcpus": None,
        "virtstack_cpu": {},
        "virtstack_memory": None,
        "virtstack_disks": {
            "root": {
                "volume": "dataVolume",
                "source": "db-root",
                "size": "30Gi",
                "device": "disk",
                "bus": "virtio",
                "boot_order": 1,
            },
            "old": {"volume": "dataVolume", "source": "db-old", "size": "5Gi"},
            "iso": {"volume": "persistentVolumeClaim", "source": "install-iso", "device": "cdrom", "bus": "sata"},
            "scratch": {"volume": "emptyDisk", "size": "2Gi"},
            "seed": {"volume": "cloudInitNoCloud"},
            "base": {"volume": "ephemeral", "source": "golden"},
        },
        "virtstack_networks": {
            "default": {"network": "pod"},
            "lan": {"network": "prod/vlan93", "mac": "02:00:00:00:00:01"},
        },
        "virtstack_conditions": {"Ready": False},
    }


def test_a_running_machine_adds_what_its_instance_shows(vm: dict[str, Any], vmi: dict[str, Any]) -> None:
    vm["status"] = {"printableStatus": "Running", "ready": True, "conditions": [{"type": "Ready", "status": "True"}]}
    variables = running(of_machine(vm), of_instance(vmi)).variables

    assert variables["virtstack_status"] == "Running"
    assert variables["virtstack_ready"] is True
    assert variables["virtstack_node"] == "worker-1"
    assert variables["virtstack_vcpus"] == 2
    assert variables["virtstack_cpu"] == {"sockets": 2, "cores": 1, "threads": 1, "model": "host-model"}
    assert variables["virtstack_memory"] == "6Gi"
    assert variables["virtstack_guest_os"] == {
        "name": "Red Hat Enterprise Linux 9.4",
        "version": "9.4",
        "kernel": "5.14",
    }
    assert variables["virtstack_agent_connected"] is True
    assert variables["virtstack_disks"]["root"]["size"] == "32Gi"
    assert "hotplugged" in variables["virtstack_disks"]
    assert variables["virtstack_conditions"] == {"Ready": True, "AgentConnected": True}
    assert variables["virtstack_networks"]["lan"]["ips"] == ["192.168.93.7", "fe80::1"]
    assert variables["virtstack_networks"]["default"]["ips"] == ["10.0.2.2"]
    assert variables["virtstack_networks"]["docker0"]["ips"] == ["172.17.0.1"]


def test_a_running_machine_keeps_its_own_identity(vm: dict[str, Any], vmi: dict[str, Any]) -> None:
    variables = running(of_machine(vm), of_instance(vmi)).variables

    assert variables["virtstack_kind"] == "VirtualMachine"
    assert variables["virtstack_uid"] == VM["metadata"]["uid"]
    assert variables["virtstack_created"] == VM["metadata"]["creationTimestamp"]
    assert variables["virtstack_labels"] == VM["metadata"]["labels"]
    assert variables["virtstack_run_strategy"] == "RerunOnFailure"


def test_machines_with_and_without_an_instance_have_the_same_variables(vm: dict[str, Any], vmi: dict[str, Any]) -> None:
    stopped, standalone = of_machine(vm).variables.keys(), of_instance(vmi).variables.keys()

    assert stopped == standalone
    assert running(of_machine(vm), of_instance(vmi)).variables.keys() == stopped


def test_an_instance_of_its_own_says_so(vmi: dict[str, Any]) -> None:
    del vmi["metadata"]["ownerReferences"]
    variables = of_instance(vmi).variables

    assert variables["virtstack_kind"] == "VirtualMachineInstance"
    assert variables["virtstack_status"] == "Running"
    assert variables["virtstack_run_strategy"] is None
    assert variables["virtstack_instancetype"] == "u1.medium"
    assert variables["virtstack_preference"] == "rhel.9"


def test_no_secret_of_a_machine_or_its_instance_is_copied(vm: dict[str, Any], vmi: dict[str, Any]) -> None:
    text = json.dumps(running(of_machine(vm), of_instance(vmi)).variables)

    assert not [secret for secret in SECRETS if secret in text]


def test_what_was_just_created_has_variables_without_a_status(vm: dict[str, Any], vmi: dict[str, Any]) -> None:
    for obj, read in ((vm, of_machine), (vmi, of_instance)):
        del obj["status"]
        variables = read(obj).variables
        assert variables["virtstack_status"] == "Unknown"
        assert variables["virtstack_conditions"] == {}


def test_a_machine_may_leave_out_almost_everything() -> None:
    variables = of_machine({"kind": "VirtualMachine", "metadata": {"name": "x", "namespace": "y"}}).variables

    assert variables["virtstack_disks"] == {}
    assert variables["virtstack_run_strategy"] is None


@pytest.mark.parametrize(("running", "strategy"), [(True, "Always"), (False, "Halted")])
def test_the_old_running_field_reads_as_a_run_strategy(vm: dict[str, Any], running: bool, strategy: str) -> None:
    del vm["spec"]["runStrategy"]
    vm["spec"]["running"] = running

    assert of_machine(vm).variables["virtstack_run_strategy"] == strategy


def test_an_instancetype_inferred_from_a_volume_stands_in_the_status(vm: dict[str, Any]) -> None:
    vm["spec"]["instancetype"] = {"inferFromVolume": "root"}
    vm["status"]["instancetypeRef"] = {"name": "u1.large", "kind": "virtualmachineclusterinstancetype"}

    assert of_machine(vm).variables["virtstack_instancetype"] == "u1.large"


@pytest.mark.parametrize(
    ("domain", "vcpus", "memory"),
    [
        ({"cpu": {"cores": 4, "sockets": 2}, "memory": {"guest": "8Gi"}}, 8, "8Gi"),
        ({"resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}}}, 2, "1Gi"),
        ({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": 3, "memory": "2Gi"}}}, 3, "2Gi"),
        ({"resources": {"requests": {"memory": "1Gi"}}}, None, "1Gi"),
    ],
)
def test_cpus_and_memory_are_read_where_they_may_stand(
    vm: dict[str, Any], domain: dict[str, Any], vcpus: int | None, memory: str
) -> None:
    vm["spec"]["template"]["spec"]["domain"] = domain
    variables = of_machine(vm).variables

    assert (variables["virtstack_vcpus"], variables["virtstack_memory"]) == (vcpus, memory)


def test_a_stopped_machine_takes_its_size_from_its_instancetype(vm: dict[str, Any]) -> None:
    guest = of_machine(vm)
    size_by(guest, {("", "u1.medium"): {"spec": {"cpu": {"guest": 1}, "memory": {"guest": "4Gi"}}}})

    assert (guest.variables["virtstack_vcpus"], guest.variables["virtstack_memory"]) == (1, "4Gi")


def test_an_instancetype_of_the_namespace_goes_before_one_of_the_cluster(vm: dict[str, Any]) -> None:
    guest = of_machine(vm)
    cluster_wide = {"spec": {"cpu": {"guest": 1}, "memory": {"guest": "4Gi"}}}
    own = {"spec": {"cpu": {"guest": 9}, "memory": {"guest": "9Gi"}}}
    size_by(guest, {("", "u1.medium"): cluster_wide, ("prod", "u1.medium"): own})

    assert guest.variables["virtstack_vcpus"] == 9


def _os_of(vm: dict[str, Any]) -> Guest:
    del vm["spec"]["preference"]
    return of_machine(vm)


@pytest.mark.parametrize(
    ("place", "key", "value", "name"),
    [
        ("annotations", "vm.kubevirt.io/os", "windows2k22", "windows"),
        ("annotations", "vm.kubevirt.io/os", "rhel9", "rhel"),
        ("labels", "os.template.kubevirt.io/fedora40", "true", "fedora"),
    ],
)
def test_the_os_of_a_stopped_machine_is_told_by_its_template(
    vm: dict[str, Any], place: str, key: str, value: str, name: str
) -> None:
    vm["spec"]["template"]["metadata"][place] = {key: value}

    assert _os_of(vm).variables["virtstack_os"] == name


def test_the_agent_knows_the_os_better_than_the_preference(vm: dict[str, Any], vmi: dict[str, Any]) -> None:
    vmi["status"]["guestOSInfo"] = {"id": "mswindows", "prettyName": "Windows Server 2022"}
    guest = running(of_machine(vm), of_instance(vmi))

    assert guest.variables["virtstack_os"] == "windows"


def test_a_machine_that_nobody_describes_has_no_os(vm: dict[str, Any]) -> None:
    assert _os_of(vm).variables["virtstack_os"] is None
