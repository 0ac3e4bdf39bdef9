# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest agent of a domain: its commands, files through it, and what it tells of the guest.

Its protocol is https://www.qemu.org/docs/master/interop/qemu-ga-ref.html. What limits it in practice:

- libvirt writes a command into a socket without looking how much of it went through, so that one that is larger than
  the socket's buffer (208 KiB by Linux' default) arrives broken (seen with libvirt 9.0).
- An answer of more than 4 MiB does not fit into libvirt's protocol, and after one of more than 10 MiB libvirt does not
  speak with the agent any more until the agent is restarted.
- A file that the agent makes is open to everybody (mode 0666).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .errors import KvmError, asking, explained
from .library import libvirt, libvirt_qemu

# Bytes of a file in one command, and in one answer; as base64 they are a third more.
WRITE_CHUNK, READ_CHUNK = 120 * 1024, 1024 * 1024
# Bytes of a command that surely go through at once.
LONGEST_COMMAND = 200_000
# Seconds that the agent has for an answer. It answers at once, unless the guest is stuck or very busy.
PATIENCE = 30

_HOW_TO_GET_ONE = (
    "Give the machine the channel org.qemu.guest_agent.0 (virtstack.core.kvm_vm does) and run qemu-guest-agent in the"
    " guest."
)
_HOW_TO_ALLOW = (
    "Allow it in the guest: in /etc/sysconfig/qemu-ga (BLACKLIST_RPC, BLOCK_RPCS, ALLOW_RPCS or FILTER_RPC_ARGS) of the"
    " Red Hat family, in /etc/qemu/qemu-ga.conf (blacklist, block-rpcs or allow-rpcs) of others; then restart"
    " qemu-guest-agent."
)
# How the agent's own errors begin, behind what libvirt puts before them.
_AGENT_SAYS = "unable to execute QEMU agent command "


class NoAgent(KvmError):
    """The machine has no agent, or is off, or its agent does not answer."""


class AgentRefused(KvmError):
    """The agent answered that it cannot do what was asked."""


class Blocked(AgentRefused):
    """The guest does not let its agent do what was asked, or the agent is too old to know it."""


class Agent:
    """The guest agent of a domain. C(patience) is the number of seconds that it has for every answer."""

    def __init__(self, domain: libvirt.virDomain, patience: int = PATIENCE) -> None:
        self.domain = domain
        self.name = str(domain.name())
        self.patience = patience

    def command(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """What the agent returns for a command, e.g. C(guest-get-osinfo).

        Raises NoAgent, Blocked, AgentRefused; KvmError for what libvirt says of its own.
        """
        text = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
        if len(text) > LONGEST_COMMAND:
            raise KvmError(
                f"Cannot ask the guest agent of {self.name} for {command}: a command of {len(text)} bytes does not go"
                f" through. Keep it under {LONGEST_COMMAND}; put longer data into a file."
            )
        try:
            answer = libvirt_qemu.qemuAgentCommand(self.domain, text, self.patience, 0)
        except libvirt.libvirtError as error:
            raise self._explained(command, error) from error
        return json.loads(answer)["return"]

    def commands(self) -> dict[str, bool]:
        """The commands that the agent knows, and whether it may run them."""
        told = self.command("guest-info")
        return {known["name"]: bool(known["enabled"]) for known in told["supported_commands"]}

    def read(self, path: str) -> Iterator[bytes]:
        """The content of a file in the guest, piece by piece."""
        handle = self.command("guest-file-open", {"path": path, "mode": "r"})
        try:
            while True:
                told = self.command("guest-file-read", {"handle": handle, "count": READ_CHUNK})
                yield base64.b64decode(told.get("buf-b64") or "")
                if told.get("eof") or not told.get("count"):
                    return
        finally:
            self.command("guest-file-close", {"handle": handle})

    def write(self, path: str, pieces: Iterable[bytes]) -> int:
        """Write a file in the guest, over what it held; how many bytes.

        A file that is not there yet becomes one that everybody may write: make it first where that matters.
        """
        handle = self.command("guest-file-open", {"path": path, "mode": "w"})
        count = 0
        try:
            for piece in _portions(pieces):
                told = self.command(
                    "guest-file-write", {"handle": handle, "buf-b64": base64.b64encode(piece).decode("ascii")}
                )
                if told["count"] != len(piece):
                    raise AgentRefused(
                        f"Cannot write {path} in the guest {self.name}: {told['count']} of {len(piece)} bytes were"
                        " taken. See whether the file system there is full."
                    )
                count += len(piece)
        finally:
            # What the agent still holds back is written now, and only now it says that there is no room.
            self.command("guest-file-close", {"handle": handle})
        return count

    def _explained(self, command: str, error: libvirt.libvirtError) -> KvmError:
        asked = f"ask the guest agent of {self.name} for {command}"
        code, text = error.get_error_code() or 0, (error.get_error_message() or str(error)).strip()
        if _AGENT_SAYS in text:
            said = text.partition(_AGENT_SAYS)[2].partition(": ")[2] or text
            said = said.removeprefix("Guest agent command failed, error was ").strip("'. ")
            if "disabled" in said or (command in said and "has not been found" in said):
                return Blocked(f"The guest {self.name} refuses {command}: {said}. {_HOW_TO_ALLOW}", code=code)
            return AgentRefused(f"Cannot {asked}: {said}.", code=code)
        if code == libvirt.VIR_ERR_OPERATION_INVALID:
            return NoAgent(f"Cannot {asked}: {text}. Start or unpause it (virtstack.core.kvm_vm_power).", code=code)
        if code in (libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, libvirt.VIR_ERR_AGENT_UNRESPONSIVE):
            return NoAgent(f"Cannot {asked}: {text}. {_HOW_TO_GET_ONE}", code=code)
        return explained(asked, error)


def _portions(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), WRITE_CHUNK):
            yield piece[start : start + WRITE_CHUNK]


# What can be asked for in one round trip, and since when libvirt's own function of it knows it (interfaces: 7.10).
_PARTS = {
    "users": "VIR_DOMAIN_GUEST_INFO_USERS",
    "os": "VIR_DOMAIN_GUEST_INFO_OS",
    "timezone": "VIR_DOMAIN_GUEST_INFO_TIMEZONE",
    "hostname": "VIR_DOMAIN_GUEST_INFO_HOSTNAME",
    "filesystems": "VIR_DOMAIN_GUEST_INFO_FILESYSTEM",
    "disks": "VIR_DOMAIN_GUEST_INFO_DISKS",
    "interfaces": "VIR_DOMAIN_GUEST_INFO_INTERFACES",
}


def report(domain: libvirt.virDomain, *parts: str) -> dict[str, Any]:
    """What the agent tells of the guest, in one round trip; see C(structured).

    C(parts) are users, os, timezone, hostname, filesystems, disks, interfaces; all without any. A part that the agent
    does not tell is empty. Raises KvmError when there is no agent, or none that answers within five seconds.
    """
    with asking(f"ask the guest agent of {domain.name()}"):
        try:
            told = domain.guestInfo(sum(int(getattr(libvirt, _PARTS[part])) for part in parts), 0)
        except libvirt.libvirtError as error:
            # Named parts are errors where the agent does not know them; without names it tells what it can.
            if not parts or error.get_error_code() in (
                libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
                libvirt.VIR_ERR_OPERATION_INVALID,
            ):
                raise
            told = domain.guestInfo(0, 0)
    return structured(told)


_OS_FACTS = {
    "id": "id",
    "name": "pretty-name",
    "version": "version-id",
    "variant": "variant",
    "kernel": "kernel-release",
    "kernel_version": "kernel-version",
    "machine": "machine",
}


def structured(told: Mapping[str, Any]) -> dict[str, Any]:
    """What C(virDomainGetGuestInfo) tells, which is flat (C(if.0.addr.1.prefix)), as lists and dictionaries.

    Sizes are in bytes, the times of logins in seconds since 1970, the offset of the time zone in seconds.
    Source: https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetGuestInfo
    """
    return {
        "hostname": told.get("hostname"),
        "timezone": {key: told[f"timezone.{key}"] for key in ("name", "offset") if f"timezone.{key}" in told},
        "os": {ours: told[f"os.{theirs}"] for ours, theirs in _OS_FACTS.items() if told.get(f"os.{theirs}")},
        "users": [_user(fact) for fact in _numbered(told, "user")],
        "filesystems": [_filesystem(told, fact, index) for index, fact in enumerate(_numbered(told, "fs"))],
        "disks": [_disk(fact) for fact in _numbered(told, "disk")],
        "interfaces": [_interface(told, fact, index) for index, fact in enumerate(_numbered(told, "if"))],
    }


Facts = Callable[[str], Any]


def _numbered(told: Mapping[str, Any], prefix: str) -> Iterator[Facts]:
    for index in range(int(told.get(f"{prefix}.count", 0))):
        yield lambda name, place=f"{prefix}.{index}.": told.get(place + name)  # type: ignore[misc]


def _user(fact: Facts) -> dict[str, Any]:
    milliseconds = fact("login-time")
    return {
        "name": fact("name"),
        "domain": fact("domain"),
        "login_time": milliseconds // 1000 if milliseconds is not None else None,
    }


def _filesystem(told: Mapping[str, Any], fact: Facts, index: int) -> dict[str, Any]:
    return {
        "name": fact("name"),
        "mountpoint": fact("mountpoint"),
        "type": fact("fstype"),
        "size": fact("total-bytes"),
        "used": fact("used-bytes"),
        "disks": [
            {"target": disk("alias"), "serial": disk("serial"), "device": disk("device")}
            for disk in _numbered(told, f"fs.{index}.disk")
        ],
    }


def _disk(fact: Facts) -> dict[str, Any]:
    return {"name": fact("name"), "target": fact("alias"), "partition": bool(fact("partition"))}


def _interface(told: Mapping[str, Any], fact: Facts, index: int) -> dict[str, Any]:
    mac = fact("hwaddr")
    return {
        "name": fact("name"),
        "mac": str(mac).lower() if mac else None,
        "ips": [
            {"address": address("addr"), "prefix": address("prefix"), "family": address("type")}
            for address in _numbered(told, f"if.{index}.addr")
        ],
    }
