"""What a guest agent tells, as lists and dictionaries, and what its refusals come to."""

from __future__ import annotations

from typing import Any

import pytest

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent import (  # noqa: E402
    LONGEST_COMMAND,
    WRITE_CHUNK,
    Agent,
    AgentRefused,
    Blocked,
    NoAgent,
    structured,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.errors import KvmError  # noqa: E402

# What libvirt 9.0 told of a Debian guest.
TOLD = {
    "user.count": 1,
    "user.0.name": "root",
    "user.0.login-time": 1795726800123,
    "os.id": "debian",
    "os.name": "Debian GNU/Linux",
    "os.pretty-name": "Debian GNU/Linux 12 (bookworm)",
    "os.version": "12 (bookworm)",
    "os.version-id": "12",
    "os.machine": "x86_64",
    "os.kernel-release": "6.1.0-56-cloud-amd64",
    "timezone.name": "UTC",
    "timezone.offset": 0,
    "hostname": "web",
    "fs.count": 1,
    "fs.0.name": "vda1",
    "fs.0.mountpoint": "/",
    "fs.0.fstype": "ext4",
    "fs.0.total-bytes": 2040373248,
    "fs.0.used-bytes": 601890816,
    "fs.0.disk.count": 1,
    "fs.0.disk.0.alias": "vda",
    "fs.0.disk.0.device": "/dev/vda1",
    "if.count": 2,
    "if.0.name": "lo",
    "if.0.hwaddr": "00:00:00:00:00:00",
    "if.1.name": "eth0",
    "if.1.hwaddr": "52:54:00:AB:00:01",
    "if.1.addr.count": 2,
    "if.1.addr.0.type": "ipv4",
    "if.1.addr.0.addr": "192.168.122.15",
    "if.1.addr.0.prefix": 24,
    "if.1.addr.1.type": "ipv6",
    "if.1.addr.1.addr": "fe80::5054:ff:feab:1",
    "if.1.addr.1.prefix": 64,
}


def test_a_report_has_the_guests_system_users_and_file_systems() -> None:
    report = structured(TOLD)

    assert report["hostname"] == "web"
    assert report["os"] == {
        "id": "debian",
        "name": "Debian GNU/Linux 12 (bookworm)",
        "version": "12",
        "kernel": "6.1.0-56-cloud-amd64",
        "machine": "x86_64",
    }
    assert report["users"] == [{"name": "root", "domain": None, "login_time": 1795726800}]
    assert report["timezone"] == {"name": "UTC", "offset": 0}
    assert report["filesystems"] == [
        {
            "name": "vda1",
            "mountpoint": "/",
            "type": "ext4",
            "size": 2040373248,
            "used": 601890816,
            "disks": [{"target": "vda", "serial": None, "device": "/dev/vda1"}],
        }
    ]


def test_a_report_has_each_interface_with_its_own_addresses() -> None:
    loopback, ethernet = structured(TOLD)["interfaces"]

    assert loopback["ips"] == []
    assert ethernet["mac"] == "52:54:00:ab:00:01"
    assert [ip["address"] for ip in ethernet["ips"]] == ["192.168.122.15", "fe80::5054:ff:feab:1"]


def test_what_an_agent_does_not_tell_is_empty() -> None:
    assert structured({}) == {
        "hostname": None,
        "timezone": {},
        "os": {},
        "users": [],
        "filesystems": [],
        "disks": [],
        "interfaces": [],
    }


class Domain:
    """Has a name, which is all that an agent asks before it speaks."""

    def name(self) -> str:
        return "web"


def refusal(code: int, text: str) -> KvmError:
    error = libvirt.libvirtError("virDomainQemuAgentCommand() failed")
    error.err = (code, 0, text, 2, None, None, None, 0, 0)
    return Agent(Domain())._explained("guest-exec", error)


# The texts are those of libvirt 9.0.
@pytest.mark.parametrize(
    ("code", "text", "kind", "advice"),
    [
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: unable to execute QEMU agent command 'guest-exec': Command guest-exec has been disabled",
            Blocked,
            "/etc/sysconfig/qemu-ga",
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: unable to execute QEMU agent command 'guest-exec': Guest agent command failed, error was"
            " 'Failed to execute child process \u201c/bin/sh\u201d (No such file or directory)'",
            AgentRefused,
            "No such file or directory",
        ),
        (
            libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
            "Guest agent is not responding: QEMU guest agent is not connected",
            NoAgent,
            "run qemu-guest-agent in the guest",
        ),
        (
            libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
            "argument unsupported: QEMU guest agent is not configured",
            NoAgent,
            "org.qemu.guest_agent.0",
        ),
        (
            libvirt.VIR_ERR_OPERATION_INVALID,
            "Requested operation is not valid: domain is not running",
            NoAgent,
            "kvm_vm_power",
        ),
    ],
)
def test_a_refusal_says_what_to_do(code: int, text: str, kind: type[KvmError], advice: str) -> None:
    error = refusal(code, text)

    assert error.__class__ is kind
    assert "guest-exec" in error.message
    assert "web" in error.message
    assert advice in error.message


def test_a_command_that_would_arrive_broken_is_not_sent() -> None:
    arguments: dict[str, Any] = {"arg": ["x" * LONGEST_COMMAND]}

    with pytest.raises(KvmError, match="does not go through"):
        Agent(Domain()).command("guest-exec", arguments)


def test_a_piece_of_a_file_goes_through_in_one_command() -> None:
    # Every three bytes are four characters of base64.
    assert WRITE_CHUNK * 4 / 3 + 1000 < LONGEST_COMMAND
