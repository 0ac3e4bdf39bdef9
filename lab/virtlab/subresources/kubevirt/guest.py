"""What the guest agent tells: guestosinfo, userlist and filesystemlist.

These routes answer errors as plain text with status 500, whatever went wrong.
"""

from __future__ import annotations

from typing import Any

from virtlab.admission.webhook import at
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.status import StatusError
from virtlab.subresources.kubevirt.request import (
    INSTANCE_NOT_RUNNING,
    condition,
    instance,
    instance_conflict,
    on_instance,
    phase,
)
from virtlab.subresources.registry import Answer, Call

AGENT_VERSION = "9.0.0"
COMMANDS = (
    "guest-sync-delimited", "guest-ping", "guest-get-time", "guest-info", "guest-shutdown", "guest-fsfreeze-status",
    "guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-network-get-interfaces", "guest-get-fsinfo",
    "guest-get-users", "guest-get-host-name", "guest-get-timezone", "guest-get-osinfo", "guest-exec",
    "guest-set-user-password",
)  # fmt: skip


def _with_agent(call: Call) -> Object:
    vmi = instance(call)
    if phase(vmi) != "Running":
        raise instance_conflict(call, INSTANCE_NOT_RUNNING)
    if condition(vmi, "AgentConnected") is None:
        raise instance_conflict(call, "VMI does not have guest agent connected")
    return vmi


def _answer(call: Call, read: Any) -> Answer:
    try:
        return Answer(200, read(_with_agent(call)))
    except StatusError as error:
        return Answer(500, error.message)


def hostname(vmi: Object) -> str:
    return str(vmi["spec"].get("hostname") or vmi["metadata"]["name"])


def file_systems(vmi: Object) -> list[Object]:
    """The first disk of the guest, as the agent of a freshly installed Linux shows it. Sizes are in bytes."""
    for status in at(vmi, "status", "volumeStatus") or ():
        capacity = at(status, "persistentVolumeClaimInfo", "capacity", "storage")
        if capacity is None:
            continue
        total = int(parse(capacity))
        return [
            {
                "diskName": f"{status.get('target', 'vda')}1",
                "mountPoint": "/",
                "fileSystemType": "xfs",
                "usedBytes": total // 4,
                "totalBytes": total,
                "disk": [{"busType": "virtio"}],
            }
        ]
    return []


def agent_info(vmi: Object) -> Object:
    info: Object = {
        "guestAgentVersion": AGENT_VERSION,
        "supportedCommands": [{"name": name, "enabled": True} for name in COMMANDS],
        "hostname": hostname(vmi),
        "os": at(vmi, "status", "guestOSInfo") or {},
        "timezone": "UTC, 0",
        "fsInfo": {"disks": file_systems(vmi)},
    }
    frozen = at(vmi, "status", "fsFreezeStatus")
    if frozen:
        info["fsFreezeStatus"] = frozen
    return info


@on_instance("guestosinfo", "GET")
def guest_os_info(call: Call) -> Answer:
    return _answer(call, agent_info)


@on_instance("userlist", "GET")
def user_list(call: Call) -> Answer:
    return _answer(call, lambda vmi: {"metadata": {}, "items": []})


@on_instance("filesystemlist", "GET")
def file_system_list(call: Call) -> Answer:
    return _answer(call, lambda vmi: {"metadata": {}, "items": file_systems(vmi)})
