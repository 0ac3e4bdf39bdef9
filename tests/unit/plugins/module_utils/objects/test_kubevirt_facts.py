"""What is told of a VM: itself, its instance, and what is behind its disks."""

from __future__ import annotations

from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_facts import Surroundings, facts

VM = {
    "metadata": {"name": "db", "namespace": "prod", "uid": "u", "labels": {"a": "b"}},
    "spec": {
        "runStrategy": "Always",
        "instancetype": {"name": "u1.medium"},
        "template": {
            "spec": {
                "domain": {
                    "devices": {
                        "disks": [{"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1}],
                        "interfaces": [{"name": "default", "masquerade": {}}, {"name": "lan", "bridge": {}}],
                    }
                },
                "networks": [{"name": "default", "pod": {}}, {"name": "lan", "multus": {"networkName": "vlan93"}}],
                "volumes": [
                    {"name": "root", "dataVolume": {"name": "db-root"}},
                    {"name": "seed", "cloudInitNoCloud": {"userData": "secret"}},
                ],
            }
        },
    },
    "status": {"printableStatus": "Running", "ready": True, "conditions": [{"type": "Ready", "status": "True"}]},
}
INSTANCE = {
    "metadata": {"name": "db", "namespace": "prod", "uid": "i"},
    "spec": {"domain": {"memory": {"guest": "4Gi"}}},
    "status": {
        "phase": "Running",
        "nodeName": "worker-1",
        "currentCPUTopology": {"cores": 1, "sockets": 2, "threads": 1},
        "conditions": [{"type": "AgentConnected", "status": "True"}],
        "guestOSInfo": {"id": "rhel", "prettyName": "RHEL 9.4", "versionId": "9.4", "kernelRelease": "5.14"},
        "interfaces": [
            {
                "name": "default",
                "mac": "02:00:00:00:00:01",
                "ipAddress": "10.0.0.2",
                "ipAddresses": ["10.0.0.2", "fe80::1"],
            },
            {"name": "lan", "ipAddresses": ["192.0.2.5", "2001:db8::5"], "interfaceName": "eth1"},
        ],
        "volumeStatus": [{"name": "root", "target": "vda", "phase": "Ready"}],
    },
}
CLAIM = {
    "metadata": {"name": "db-root", "namespace": "prod"},
    "spec": {
        "storageClassName": "fast",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "30Gi"}},
    },
    "status": {"phase": "Bound", "capacity": {"storage": "32Gi"}},
}
DATA_VOLUME = {
    "metadata": {"name": "db-root", "namespace": "prod"},
    "status": {"phase": "Succeeded", "progress": "100.0%"},
}
KEY = ("prod", "db")
AROUND = Surroundings({KEY: INSTANCE}, {("prod", "db-root"): DATA_VOLUME}, {("prod", "db-root"): CLAIM})


def test_a_running_vm_is_told_with_what_its_instance_knows() -> None:
    told = facts(VM, AROUND)
    assert (told["status"], told["node"], told["instance_uid"]) == ("Running", "worker-1", "i")
    assert told["cpu"] == {"cores": 1, "sockets": 2, "threads": 1, "count": 2}
    assert told["memory"] == "4Gi"
    assert told["guest"]["os_name"] == "RHEL 9.4"
    assert told["guest"]["agent_connected"] is True


def test_addresses_are_those_of_the_guest_without_link_local_ones_first_interface_first() -> None:
    assert facts(VM, AROUND)["addresses"] == ["10.0.0.2", "192.0.2.5", "2001:db8::5"]


def test_interfaces_join_what_is_declared_and_what_was_seen() -> None:
    pod, lan = facts(VM, AROUND)["interfaces"]
    assert (pod["network"], pod["mac"]) == ("pod", "02:00:00:00:00:01")
    assert (lan["network"], lan["guest_name"], lan["addresses"]) == ("vlan93", "eth1", ["192.0.2.5", "2001:db8::5"])


def test_a_disk_is_told_with_its_size_and_phases() -> None:
    root, seed = facts(VM, AROUND)["disks"]
    assert (root["claim"], root["size"], root["claim_phase"], root["phase"]) == (
        "db-root",
        "32Gi",
        "Bound",
        "Succeeded",
    )
    assert (root["bus"], root["storage_class"], root["target"]) == ("virtio", "fast", "vda")
    assert (seed["type"], seed["claim"]) == ("cloudInitNoCloud", None)


def test_user_data_is_not_told() -> None:
    assert "secret" not in str(facts(VM, AROUND))


def test_a_stopped_vm_has_the_same_keys_and_knows_nothing_of_a_guest() -> None:
    stopped = facts(VM, Surroundings())
    assert stopped.keys() == facts(VM, AROUND).keys()
    assert (stopped["node"], stopped["phase"], stopped["addresses"]) == (None, None, [])
    assert stopped["guest"]["agent_connected"] is False
