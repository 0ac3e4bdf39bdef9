"""memorydump and removememorydump of a VirtualMachine: pkg/virt-api/rest/memorydump.go."""

from __future__ import annotations

from virtlab.admission.kubevirt.amounts import amount, resource
from virtlab.admission.kubevirt.defaults import MIB
from virtlab.admission.webhook import at
from virtlab.resource import Object
from virtlab.schema.quantity import canonical
from virtlab.status import bad_request, conflict
from virtlab.subresources.kubevirt.request import (
    ACCEPTED,
    CLAIM,
    INSTANCE_NOT_RUNNING,
    claim,
    config,
    guarded,
    instance,
    instance_conflict,
    machine,
    machine_conflict,
    on_machine,
    options,
    phase,
    write_status,
)
from virtlab.subresources.kubevirt.volumes import DISABLED
from virtlab.subresources.registry import Answer, Call

OVERHEAD = 100 * MIB  # bytes beyond the guest's memory
FILE_SYSTEM_OVERHEAD = 1.055
READ_ONLY = ["ReadOnlyMany"]


def _check_claim(call: Call, vmi: Object, name: str) -> None:
    wanted = claim(call, name)
    if at(wanted, "spec", "volumeMode") == "Block":
        raise conflict(CLAIM, name, "pvc should be filesystem pvc")
    if at(wanted, "spec", "accessModes") == READ_ONLY:
        raise conflict(CLAIM, name, "pvc access mode can't be read only")
    size = int(amount(at(wanted, "spec", "resources", "requests", "storage")))
    needed = int((int(amount(resource(vmi["spec"], "requests", "memory"))) + OVERHEAD) * FILE_SYSTEM_OVERHEAD)
    if size < needed:
        raise conflict(CLAIM, name, f"pvc size [{canonical(size)}] should be bigger then [{canonical(needed)}]")


@on_machine("memorydump", "PUT")
def dump(call: Call) -> Answer:
    if not config(call).gate("DeclarativeHotplugVolumes") and not config(call).gate("HotplugVolumes"):
        raise bad_request(DISABLED)
    body = options(call, "VirtualMachineMemoryDumpRequest")
    vm = machine(call)
    current = at(vm, "status", "memoryDumpRequest")
    name = body.get("claimName") or ""
    if not name and current is None:
        raise bad_request("Memory dump requires claim name to be set")
    if current is not None and name and current["claimName"] != name:
        why = f"can't request memory dump for pvc [{name}] while pvc [{current['claimName']}] is still associated"
        raise machine_conflict(call, f"{why} as the memory dump pvc")
    name = name or current["claimName"]
    vmi = instance(call)
    if phase(vmi) != "Running":
        raise instance_conflict(call, INSTANCE_NOT_RUNNING)
    _check_claim(call, vmi, name)
    if current is not None and current.get("phase") == "Dissociating":
        raise machine_conflict(call, f"can't dump memory for pvc [{name}] a remove memory dump request is in progress")
    if current is not None and current.get("phase") not in ("Completed", "Failed"):
        raise machine_conflict(call, f"memory dump request for pvc [{name}] already in progress")
    _associate(call, vm, {**body, "claimName": name, "phase": "Associating"})
    return ACCEPTED


@on_machine("removememorydump", "PUT")
def remove(call: Call) -> Answer:
    vm = machine(call)
    current = at(vm, "status", "memoryDumpRequest")
    if current is None:
        why = f"can't remove memory dump association for vm {call.name}, no association found"
        raise machine_conflict(call, why)
    if current.get("remove"):
        raise machine_conflict(call, f"memory dump remove request for pvc [{current['claimName']}] already exists")
    _associate(call, vm, {"claimName": current["claimName"], "phase": "Dissociating", "remove": True})
    return ACCEPTED


def _associate(call: Call, vm: Object, request: Object) -> None:
    guarded(
        lambda: write_status(call, vm, lambda status: status.update(memoryDumpRequest=request), dry_run=False),
        passes_invalid=True,
        prefix="unable to patch vm status: ",
    )
