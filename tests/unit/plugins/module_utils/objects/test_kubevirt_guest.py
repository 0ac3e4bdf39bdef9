"""What a guest's agent tells, in this collection's words, and why one is silent."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_guest as guest


def instance(*held: str, phase: str = "Running") -> Object:
    conditions = [{"type": name, "status": "True"} for name in held]
    return {"metadata": {"name": "db"}, "spec": {}, "status": {"phase": phase, "conditions": conditions}}


VM: Object = {"metadata": {"name": "db"}, "status": {"printableStatus": "Stopped"}}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "is not running (status Stopped)"),
        (instance(phase="Succeeded"), "is not running"),
        (instance(), "install qemu-guest-agent"),
        (instance("Paused"), "is paused"),
    ],
)
def test_a_silent_guest_says_what_to_do(found: Object | None, told: str) -> None:
    assert told in str(guest.silence(VM, found))


def test_an_agent_that_is_connected_is_asked() -> None:
    assert guest.silence(VM, instance("AgentConnected")) is None


def test_names_of_the_api_are_ansibles() -> None:
    info = {
        "guestAgentVersion": "9.0.0",
        "hostname": "db",
        "timezone": "CET, 3600",
        "fsFreezeStatus": "frozen",
        "os": {"id": "rhel", "prettyName": "RHEL 9", "kernelRelease": "5.14", "kernelVersion": "#1", "machine": ""},
    }
    assert guest.system(info) == {
        "agent_version": "9.0.0",
        "hostname": "db",
        "timezone": "CET, 3600",
        "frozen": True,
        "os": {"id": "rhel", "pretty_name": "RHEL 9", "kernel": "5.14", "kernel_version": "#1"},
    }


def test_a_file_system_names_the_serial_numbers_of_its_disks() -> None:
    item = {
        "diskName": "sda1",
        "mountPoint": "/data",
        "fileSystemType": "xfs",
        "usedBytes": 1,
        "totalBytes": 4,
        "disk": [{"serial": "data", "busType": "scsi"}, {"busType": "virtio"}],
    }
    assert guest.file_system(item)["serials"] == ["data"]
    assert guest.file_system({"mountPoint": "/"})["total_bytes"] is None


def test_a_session_of_a_user() -> None:
    found = guest.user({"userName": "root", "loginTime": 1.5})
    assert found == {"name": "root", "domain": None, "login_time": 1.5}
