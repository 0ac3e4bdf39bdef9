"""What the guest agent tells: guestosinfo, userlist and filesystemlist.

These routes answer errors as plain text with status 500, whatever went wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from virtlab.admission.webhook import at
from virtlab.guests.interface import CommandFailed, Inspection
from virtlab.resource import Object
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


def _with_agent(call: Call) -> Object:
    vmi = instance(call)
    if phase(vmi) != "Running":
        raise instance_conflict(call, INSTANCE_NOT_RUNNING)
    if condition(vmi, "AgentConnected") is None:
        raise instance_conflict(call, "VMI does not have guest agent connected")
    return vmi


def _answer(call: Call, read: Callable[[Object, Inspection], Object]) -> Answer:
    async def work() -> Answer:
        try:
            vmi = _with_agent(call)
            return Answer(200, read(vmi, await call.cluster.guests.inspect(vmi)))
        except StatusError as error:
            return Answer(500, error.message)
        except CommandFailed as error:
            return Answer(500, str(error))

    return Answer(later=work)


def agent_info(vmi: Object, told: Inspection) -> Object:
    info: Object = {
        "guestAgentVersion": told.version,
        "supportedCommands": [{"name": name, "enabled": True} for name in told.commands],
        "hostname": told.hostname,
        "os": at(vmi, "status", "guestOSInfo") or {},
        "timezone": told.timezone,
        "fsInfo": {"disks": list(told.file_systems)},
    }
    if told.users:
        info["userList"] = list(told.users)
    frozen = at(vmi, "status", "fsFreezeStatus")
    if frozen:
        info["fsFreezeStatus"] = frozen
    return info


@on_instance("guestosinfo", "GET")
def guest_os_info(call: Call) -> Answer:
    return _answer(call, agent_info)


@on_instance("userlist", "GET")
def user_list(call: Call) -> Answer:
    return _answer(call, lambda vmi, told: {"metadata": {}, "items": list(told.users)})


@on_instance("filesystemlist", "GET")
def file_system_list(call: Call) -> Answer:
    return _answer(call, lambda vmi, told: {"metadata": {}, "items": list(told.file_systems)})
