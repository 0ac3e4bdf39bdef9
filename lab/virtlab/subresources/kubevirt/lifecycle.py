"""pause, unpause, reset, soft reboot, freeze and unfreeze of an instance.

The checks are pkg/virt-api/rest/lifecycle.go; the effects are those that virt-handler has on the instance's status.
"""

from __future__ import annotations

from collections.abc import Callable

from virtlab.admission.webhook import at
from virtlab.guests.interface import CommandFailed
from virtlab.resource import Object
from virtlab.status import StatusError, bad_request
from virtlab.subresources.kubevirt.request import (
    DONE,
    INSTANCE_NOT_RUNNING,
    NOT_RUNNING,
    condition,
    find_machine,
    instance,
    instance_conflict,
    internal_error,
    is_dry_run,
    machine_conflict,
    on_instance,
    options,
    phase,
    write,
)
from virtlab.subresources.registry import Answer, Call

INSTANCES = "virtualmachineinstances.kubevirt.io"
HANDLER = "virt-handler"


def _running(call: Call, text: str) -> Object:
    vmi = instance(call)
    if phase(vmi) != "Running":
        raise instance_conflict(call, text)
    return vmi


def _change(call: Call, vmi: Object, edit: Callable[[Object], None]) -> None:
    write(call, INSTANCES, vmi, lambda obj: edit(obj.setdefault("status", {})), dry_run=False)


def _commanded(call: Call, vmi: Object, command: str, then: Callable[[], None]) -> Answer:
    """The answer once the guest has done as it was told, and C(then) has been noted."""

    async def work() -> Answer:
        try:
            await call.cluster.guests.command(vmi, command)
        except CommandFailed as error:
            raise internal_error(f"unexpected return code 500 (500 Internal Server Error), message: {error}") from error
        then()
        return DONE

    return Answer(later=work)


def _event(call: Call, vmi: Object, reason: str, message: str) -> None:
    call.cluster.event(vmi, "Normal", reason, message, HANDLER)


@on_instance("pause", "PUT")
def pause(call: Call) -> Answer:
    body = options(call, "PauseOptions")
    vmi = _running(call, NOT_RUNNING)
    probe = vmi["spec"].get("livenessProbe")
    if probe is not None and probe.get("guestAgentPing") is None:
        text = "Pausing VMIs with a non-GuestAgentPing LivenessProbe is not supported"
        message = f'virtualmachineinstance.kubevirt.io "{call.name}" is forbidden: {text}'
        details = {"name": call.name, "group": "kubevirt.io", "kind": "virtualmachineinstance"}
        raise StatusError(403, message, "Forbidden", details)
    if condition(vmi, "Paused") is not None:
        raise instance_conflict(call, "VMI is already paused")
    if is_dry_run(body):
        return DONE
    paused = {
        "lastProbeTime": None,
        "lastTransitionTime": call.cluster.clock.stamp(),
        "message": "VMI was paused by user",
        "reason": "PausedByUser",
        "status": "True",
        "type": "Paused",
    }

    def edit(status: Object) -> None:
        others = [item for item in status.get("conditions") or () if item["type"] != "Paused"]
        status["conditions"] = [*others, paused]

    def paused_now() -> None:
        _change(call, instance(call), edit)
        _event(call, vmi, "Paused", "VirtualMachineInstance paused")

    return _commanded(call, vmi, "pause", paused_now)


@on_instance("unpause", "PUT")
def unpause(call: Call) -> Answer:
    if at(find_machine(call), "status", "snapshotInProgress") is not None:
        raise machine_conflict(call, "VM snapshot is in progress")
    body = options(call, "UnpauseOptions")
    vmi = _running(call, INSTANCE_NOT_RUNNING)
    if condition(vmi, "Paused") is None:
        raise instance_conflict(call, "VMI is not paused")
    if is_dry_run(body):
        return DONE

    def edit(status: Object) -> None:
        status["conditions"] = [item for item in status["conditions"] if item["type"] != "Paused"]

    def going_on() -> None:
        _change(call, instance(call), edit)
        _event(call, vmi, "Unpaused", "VirtualMachineInstance unpaused")

    return _commanded(call, vmi, "unpause", going_on)


@on_instance("softreboot", "PUT")
def soft_reboot(call: Call) -> Answer:
    vmi = _running(call, NOT_RUNNING)
    if condition(vmi, "Paused") == "True":
        raise instance_conflict(call, "VMI is paused")
    acpi = at(vmi, "spec", "domain", "features", "acpi", "enabled")
    if condition(vmi, "AgentConnected") is None and acpi is False:
        raise instance_conflict(call, "VMI neither have the agent connected nor the ACPI feature enabled")
    return _commanded(
        call, vmi, "soft-reboot", lambda: _event(call, vmi, "SoftRebooted", "VirtualMachineInstance soft rebooted")
    )


@on_instance("reset", "PUT")
def reset(call: Call) -> Answer:
    vmi = instance(call)
    now = phase(vmi)
    if now != "Running":
        why = "domain is not running"
        if now != "Scheduled":
            why = f"Unable to connect to VirtualMachineInstance because phase is {now} instead of Running or Scheduled"
        raise bad_request(f"Failed to reset non-running VMI with phase {now}: {why}")
    return _commanded(call, vmi, "reset", lambda: _event(call, vmi, "Reset", "VirtualMachineInstance reset"))


@on_instance("backup", "PUT")
def backup(call: Call) -> Answer:
    _running(call, NOT_RUNNING)
    raise internal_error("unexpected return code 500 (500 Internal Server Error), message: backup is not available")


@on_instance("redefine-checkpoint", "PUT")
def redefine_checkpoint(call: Call) -> Answer:
    vmi = instance(call)
    if at(vmi, "status", "changedBlockTracking", "state") != "Enabled":
        raise instance_conflict(call, "ChangedBlockTracking is not enabled")
    raise internal_error("unexpected return code 500 (500 Internal Server Error), message: no such checkpoint")


@on_instance("freeze", "PUT")
def freeze(call: Call) -> Answer:
    vmi = _running(call, NOT_RUNNING)
    options(call, "FreezeUnfreezeTimeout")
    return _commanded(
        call,
        vmi,
        "freeze",
        lambda: _change(call, instance(call), lambda status: status.update(fsFreezeStatus="frozen")),
    )


@on_instance("unfreeze", "PUT")
def unfreeze(call: Call) -> Answer:
    vmi = _running(call, INSTANCE_NOT_RUNNING)

    def thawed() -> None:
        if at(instance(call), "status", "fsFreezeStatus") is not None:
            _change(call, instance(call), lambda status: status.pop("fsFreezeStatus") and None)

    return _commanded(call, vmi, "unfreeze", thawed)
