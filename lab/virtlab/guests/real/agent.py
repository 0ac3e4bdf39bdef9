"""What a guest's agent tells, asked through libvirt. Everything here waits for the guest."""

from __future__ import annotations

import json
from typing import Any

import libvirt
import libvirt_qemu

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


def details(domain: Any) -> Object:
    """hostname, timezone, users and file systems, as libvirt names them. Raises libvirtError."""
    found: Object = domain.guestInfo(0, 0)
    return found


def command(domain: Any, execute: str, arguments: Object | None = None, seconds: int = SECONDS) -> Any:
    """What the agent answers to a command. Raises libvirtError."""
    asked = {"execute": execute, **({"arguments": arguments} if arguments is not None else {})}
    answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps(asked), seconds, 0)
    return json.loads(answer)["return"]
