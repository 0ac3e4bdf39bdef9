"""addvolume and removevolume: pkg/virt-api/rest/volumes.go.

By feature gate the request goes into the VirtualMachine's status (HotplugVolumes) or straight into its template
(DeclarativeHotplugVolumes); on an instance it changes the instance alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from virtlab.admission.kubevirt.volume_requests import ADD, REMOVE, applied
from virtlab.resource import Object
from virtlab.status import bad_request
from virtlab.subresources.kubevirt.request import (
    ACCEPTED,
    INSTANCE_NOT_RUNNING,
    config,
    guarded,
    instance,
    instance_conflict,
    is_dry_run,
    machine,
    machine_conflict,
    on_instance,
    on_machine,
    options,
    phase,
    write,
    write_status,
)
from virtlab.subresources.registry import Answer, Call

DISABLED = "Enable DeclarativeHotplugVolumes or HotplugVolumes feature gate to use this API."
SOURCES = {"dataVolume": "name", "persistentVolumeClaim": "claimName"}


def source_name(source: Mapping[str, Any]) -> str:
    """The data volume or claim that a volume is made of, empty for other volumes."""
    return next((str(source[kind].get(key) or "") for kind, key in SOURCES.items() if source.get(kind)), "")


def hot_pluggable(volume: Mapping[str, Any]) -> bool:
    return any((volume.get(kind) or {}).get("hotpluggable") for kind in SOURCES)


def problem(volumes: Sequence[Mapping[str, Any]], request: Object) -> str | None:
    """Why the request does not fit C(volumes), in virt-api's words."""
    if ADD in request:
        name, source = request[ADD]["name"], source_name(request[ADD]["volumeSource"])
        for volume in volumes:
            if volume["name"] == name:
                return f"Unable to add volume [{name}] because volume with that name already exists"
            if source_name(volume) == source:
                return f"Unable to add volume source [{source}] because it already exists"
        return None
    name = request[REMOVE]["name"]
    for volume in volumes:
        if name in (volume["name"], source_name(volume)):
            if hot_pluggable(volume):
                return None
            return f"Unable to remove volume [{volume['name']}] because it is not hotpluggable"
    return f"Unable to remove volume [{name}] because it does not exist"


def pending(requests: Sequence[Object], request: Object) -> list[Object]:
    """The status' volume requests with this one. Raises ValueError in virt-api's words."""

    def names(kind: str) -> set[str]:
        return {item[kind]["name"] for item in requests if item.get(kind)}

    if ADD in request:
        name = request[ADD]["name"]
        if name in names(ADD):
            raise ValueError(f"add volume request for volume [{name}] already exists")
        if name in names(REMOVE):
            raise ValueError(
                f"unable to add volume since a remove volume request for volume [{name}] already exists and is still "
                "being processed"
            )
        return [*requests, request]
    name = request[REMOVE]["name"]
    if name in names(REMOVE):
        raise ValueError(f"a remove volume request for volume [{name}] already exists and is still being processed")
    return [*(item for item in requests if (item.get(ADD) or {}).get("name") != name), request]


def _enabled(call: Call) -> None:
    if not config(call).gate("HotplugVolumes") and not config(call).gate("DeclarativeHotplugVolumes"):
        raise bad_request(DISABLED)


def _add_request(call: Call) -> Object:
    _enabled(call)
    body = options(call, "AddVolumeOptions")
    if not body.get("name"):
        raise bad_request("AddVolumeOptions requires name to be set")
    if body.get("disk") is None:
        raise bad_request("AddVolumeOptions requires disk to not be nil")
    if body.get("volumeSource") is None:
        raise bad_request("AddVolumeOptions requires VolumeSource to not be nil")
    source = {kind: {**value, "hotpluggable": True} for kind, value in body["volumeSource"].items()}
    return {ADD: {**body, "disk": {**body["disk"], "name": body["name"]}, "volumeSource": source}}


def _remove_request(call: Call) -> Object:
    _enabled(call)
    body = options(call, "RemoveVolumeOptions")
    if not body.get("name"):
        raise bad_request("RemoveVolumeOptions requires name to be set")
    return {REMOVE: body}


def _dry_run(request: Object) -> bool:
    return is_dry_run(request.get(ADD) or request[REMOVE])


def _change_machine(call: Call, request: Object) -> Answer:
    vm = machine(call)
    template = vm["spec"]["template"]["spec"]
    why = problem(template.get("volumes") or (), request)
    if why:
        raise machine_conflict(call, why)
    if config(call).gate("HotplugVolumes"):
        try:
            requests = pending((vm.get("status") or {}).get("volumeRequests") or (), request)
        except ValueError as error:
            raise machine_conflict(call, str(error)) from error
        guarded(
            lambda: write_status(
                call, vm, lambda status: status.update(volumeRequests=requests), dry_run=_dry_run(request)
            ),
            passes_invalid=True,
            prefix="unable to patch vm status: ",
        )
        return ACCEPTED
    spec = applied(template, request)

    def edit(obj: Object) -> None:
        obj["spec"]["template"]["spec"] = spec

    guarded(
        lambda: write(call, "virtualmachines.kubevirt.io", vm, edit, dry_run=_dry_run(request)),
        passes_invalid=True,
        prefix="unable to patch vm: ",
    )
    return ACCEPTED


def _owned(vmi: Object) -> bool:
    return any(
        owner.get("controller") and owner["kind"] == "VirtualMachine"
        for owner in vmi["metadata"].get("ownerReferences") or ()
    )


def _change_instance(call: Call, request: Object) -> Answer:
    vmi = instance(call)
    if _owned(vmi) and not config(call).gate("HotplugVolumes"):
        raise bad_request(f"VMI {call.namespace}/{call.name} is owned by a VM")
    if phase(vmi) != "Running":
        raise instance_conflict(call, INSTANCE_NOT_RUNNING)
    why = problem(vmi["spec"].get("volumes") or (), request)
    if why:
        raise instance_conflict(call, why)
    spec = applied(vmi["spec"], request)

    def edit(obj: Object) -> None:
        obj["spec"] = spec

    guarded(
        lambda: write(call, "virtualmachineinstances.kubevirt.io", vmi, edit, dry_run=_dry_run(request)),
        passes_invalid=True,
        prefix="unable to patch vmi: ",
    )
    return ACCEPTED


@on_machine("addvolume", "PUT")
def add_to_machine(call: Call) -> Answer:
    return _change_machine(call, _add_request(call))


@on_machine("removevolume", "PUT")
def remove_from_machine(call: Call) -> Answer:
    return _change_machine(call, _remove_request(call))


@on_instance("addvolume", "PUT")
def add_to_instance(call: Call) -> Answer:
    return _change_instance(call, _add_request(call))


@on_instance("removevolume", "PUT")
def remove_from_instance(call: Call) -> Answer:
    return _change_instance(call, _remove_request(call))
