"""What a guest's agent tells, asked through libvirt. Everything here waits for the guest."""

from __future__ import annotations

import json
from typing import Any

import libvirt
import libvirt_qemu

from virtlab.guests.interface import Credentials, Inspection
from virtlab.resource import Object

SECONDS = 5  # for an answer
OS_FIELDS = {
    "os.id": "id",
    "os.name": "name",
    "os.pretty-name": "prettyName",
    "os.version": "version",
    "os.version-id": "versionId",
    "os.kernel-release": "kernelRelease",
    "os.kernel-version": "kernelVersion",
    "os.machine": "machine",
}


def system(domain: Any) -> Object:
    """guestOSInfo of an instance's status. Raises libvirtError."""
    told = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_OS, 0)
    return {field: str(told[name]) for name, field in OS_FIELDS.items() if told.get(name)}


def addresses(domain: Any) -> dict[str, tuple[str, list[str]]]:
    """By MAC: the interface's name in the guest and its addresses but link-local ones. Raises libvirtError."""
    found = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0)
    result = {}
    for name, interface in found.items():
        if interface.get("hwaddr") and name != "lo":
            own = [entry["addr"] for entry in interface.get("addrs") or () if not entry["addr"].startswith("fe80:")]
            result[str(interface["hwaddr"])] = (str(name), own)
    return result


def inspect(domain: Any) -> Inspection:
    """Everything that virt-api tells of a guest. Raises libvirtError."""
    told: Object = domain.guestInfo(0, 0)
    known = command(domain, "guest-info")
    enabled = tuple(item["name"] for item in known["supported_commands"] if item["enabled"])
    zone = f"{told['timezone.name']}, {told.get('timezone.offset', 0)}" if "timezone.name" in told else ""
    users = tuple(
        {
            "userName": told.get(f"user.{number}.name", ""),
            "domain": told.get(f"user.{number}.domain", ""),
            "loginTime": told.get(f"user.{number}.login-time", 0) / 1000,
        }
        for number in range(told.get("user.count", 0))
    )
    systems = tuple(_file_system(told, f"fs.{number}") for number in range(told.get("fs.count", 0)))
    return Inspection(str(told.get("hostname", "")), zone, known["version"], enabled, users, systems)


def _file_system(told: Object, prefix: str) -> Object:
    disks = range(told.get(f"{prefix}.disk.count", 0))
    return {
        "diskName": told.get(f"{prefix}.name", ""),
        "mountPoint": told.get(f"{prefix}.mountpoint", ""),
        "fileSystemType": told.get(f"{prefix}.fstype", ""),
        "usedBytes": told.get(f"{prefix}.used-bytes", 0),
        "totalBytes": told.get(f"{prefix}.total-bytes", 0),
        "disk": [
            {"busType": bus, **({"serial": serial} if serial else {})}
            for number in disks
            for bus, serial in [_disk(told, f"{prefix}.disk.{number}")]
        ],
    }


def _disk(told: Object, prefix: str) -> tuple[str, str]:
    device = str(told.get(f"{prefix}.device", ""))
    return ("virtio" if "/vd" in device else "scsi"), str(told.get(f"{prefix}.serial", ""))


def set_credentials(domain: Any, wanted: Credentials) -> None:
    """Raises libvirtError."""
    for user, keys in wanted.keys.items():
        domain.authorizedSSHKeysSet(user, list(keys), 0)
    for user, password in wanted.passwords.items():
        domain.setUserPassword(user, password, 0)


def command(domain: Any, execute: str, arguments: Object | None = None, seconds: int = SECONDS) -> Any:
    """What the agent answers to a command. Raises libvirtError."""
    asked = {"execute": execute, **({"arguments": arguments} if arguments is not None else {})}
    answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(asked), seconds, 0)
    return json.loads(answer)["return"]
