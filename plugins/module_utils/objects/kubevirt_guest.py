# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent in a guest tells: its system, who is logged in, its file systems."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError
from ..cluster.resource import Object
from ..cluster.verdict import Failed, Progress, Ready, Verdict
from ..cluster.wait import wait
from ..task import Failure, Result, Task
from .kubevirt import INSTANCE_ACTIONS, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, by_name, holds, printable_status
from .kubevirt_power import is_live
from .kubevirt_task import Key, for_each

OPERATING_SYSTEM, USERS, FILE_SYSTEMS = "os", "users", "filesystems"
PARTS = (OPERATING_SYSTEM, USERS, FILE_SYSTEMS)


def guest_infos(client: Client, task: Task) -> Result:
    """Run a task of C(vm_guest_info). Raises Failure for a machine that is not there, an agent that does not come."""
    params = task.params
    name, namespace = params["name"], params["namespace"]
    if name is not None:
        vm = client.get(VIRTUAL_MACHINE, name, namespace)
        if vm is None:
            raise Failure(f"There is no VirtualMachine {namespace}/{name}. Check name and namespace.")
        machines = [vm]
        found = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
        instances = {name: found} if found else {}
    else:
        machines = client.list(VIRTUAL_MACHINE, namespace, label_selector=params["label_selector"]).items
        instances = by_name(client.list(VIRTUAL_MACHINE_INSTANCE, namespace).items) if machines else {}
    by_key: dict[Key, Object] = {(namespace, vm["metadata"]["name"]): vm for vm in machines}
    timeout = params["wait_timeout"] if params["wait"] else None
    parts = frozenset(params["gather"])

    def one(key: Key) -> Result | Failure:
        told = {**_nothing(), "name": key[1], "namespace": namespace, "changed": False}
        instance = instances.get(key[1])
        try:
            if timeout is not None:
                instance = _awaited(client, key[1], namespace, timeout, task.progress)
            why = silence(by_key[key], instance)
            if why is not None:
                return {**told, "reason": why}
            return {**told, "connected": True, **read(client, key[1], namespace, parts)}
        except Failure as failure:
            return Failure(failure.message, **told)

    result = for_each(client, task, sorted(by_key, key=str), one, single=name is not None)
    for item in result["vms"]:
        item.pop("changed")
    return {**result, "changed": False}


def _nothing() -> Result:
    return {
        "connected": False,
        "reason": None,
        "agent_version": None,
        "hostname": None,
        "timezone": None,
        "frozen": None,
        "os": {},
        "users": [],
        "filesystems": [],
    }


def silence(vm: Object, instance: Object | None) -> str | None:
    """Why nothing is told of a guest; None where its agent is connected."""
    if not is_live(instance):
        return f"the guest is not running (status {printable_status(vm) or 'unknown'})"
    if holds(instance, "AgentConnected"):
        return None
    if holds(instance, "Paused"):
        return "the guest is paused, and its agent does not answer"
    return (
        "no guest agent is connected: install qemu-guest-agent in the guest and have its service run, or wait until the"
        " guest has booted"
    )


def read(client: Client, name: str, namespace: str, parts: frozenset[str]) -> Result:
    """Ask the agent for these parts. Raises ClusterError."""
    told: Result = {}
    if OPERATING_SYSTEM in parts:
        told.update(system(_ask(client, name, namespace, "guestosinfo")))
    if USERS in parts:
        told["users"] = [user(item) for item in _ask(client, name, namespace, "userlist").get("items") or ()]
    if FILE_SYSTEMS in parts:
        found = _ask(client, name, namespace, "filesystemlist").get("items") or ()
        told["filesystems"] = sorted(map(file_system, found), key=lambda item: str(item["mount_point"]))
    return told


def _ask(client: Client, name: str, namespace: str, subresource: str) -> Mapping[str, Any]:
    try:
        answer = client.request("GET", INSTANCE_ACTIONS.path(name, namespace, subresource))
    except ClusterError as error:
        text = error.server_message or error.message
        if "guest agent" in text or "not running" in text:
            raise Failure(f"The guest agent of {namespace}/{name} does not answer: {text}") from error
        raise
    return answer if isinstance(answer, Mapping) else {}


def system(info: Mapping[str, Any]) -> Result:
    """What guestosinfo tells, in this collection's words."""
    found = info.get("os") or {}
    named = {"kernelRelease": "kernel", "prettyName": "pretty_name", "versionId": "version_id"}
    return {
        "agent_version": info.get("guestAgentVersion"),
        "hostname": info.get("hostname"),
        "timezone": info.get("timezone"),
        "frozen": info.get("fsFreezeStatus") == "frozen",
        "os": {named.get(key, _snake(key)): value for key, value in found.items() if value},
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def user(item: Mapping[str, Any]) -> Result:
    """One login session. C(login_time) is in seconds since 1970."""
    return {"name": item.get("userName"), "domain": item.get("domain"), "login_time": item.get("loginTime")}


def file_system(item: Mapping[str, Any]) -> Result:
    """One mounted file system, sizes in bytes."""
    disks = item.get("disk") or ()
    return {
        "disk": item.get("diskName"),
        "mount_point": item.get("mountPoint"),
        "type": item.get("fileSystemType"),
        "used_bytes": item.get("usedBytes"),
        "total_bytes": item.get("totalBytes"),
        "serials": [disk["serial"] for disk in disks if disk.get("serial")],
    }


def _awaited(
    client: Client, name: str, namespace: str, timeout: float, progress: Callable[[str], None]
) -> Object | None:
    """Wait for the agent of a guest that runs or is about to. Raises ClusterError."""

    def check(instance: Object | None) -> Verdict:
        if instance is None:
            # A machine that has just been started gets its instance in a moment.
            return Progress("no guest yet")
        if not is_live(instance):
            return Failed("the guest is being stopped")
        if holds(instance, "AgentConnected"):
            return Ready()
        return Progress(f"guest {at(instance, 'status.phase') or 'Pending'}, its agent is not connected yet")

    return wait(client, VIRTUAL_MACHINE_INSTANCE, name, namespace, check, timeout=timeout, progress=progress)
