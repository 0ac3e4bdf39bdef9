"""VirtualMachineInstance, presets and replica sets: what virt-api fills in and refuses.

vmi-mutator.go, vmi-create-admitter.go, vmi-update-admitter.go, vmirs-admitter.go, vmi-preset-admitter.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from virtlab.admission.kubevirt import architecture, compute, instance_spec, network, placement, storage
from virtlab.admission.kubevirt.defaults import DefaultError, fill_instance
from virtlab.admission.kubevirt.encoding import (
    INSTANCE_QUANTITIES,
    INSTANCE_STRUCTS,
    BadNumber,
    reencode,
)
from virtlab.admission.kubevirt.settings import Settings, is_kubevirt, settings
from virtlab.admission.kubevirt.structure import fill_zeros, structure_problems
from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import INVALID, NOT_SUPPORTED, REQUIRED, at, failed, items, refuse
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.status import Cause

RESOURCE = "virtualmachineinstances.kubevirt.io"
MUTATOR = "virtualmachineinstances-mutator.kubevirt.io"
CREATE_VALIDATOR = "virtualmachineinstances-create-validator.kubevirt.io"
UPDATE_VALIDATOR = "virtualmachineinstances-update-validator.kubevirt.io"
FINALIZER = "foregroundDeleteVirtualMachine"
ROOTLESS_USER = 107

Found = Iterator[Cause]


@mutating(RESOURCE, "CREATE")
def fill(operation: Operation) -> None:
    vmi = operation.object
    assert vmi is not None
    schema = operation.cluster.structure(operation.resource)
    refuse(MUTATOR, structure_problems(schema, vmi))
    fill_zeros(schema, vmi)
    try:
        reencode(vmi["spec"], INSTANCE_QUANTITIES, INSTANCE_STRUCTS)
        fill_instance(vmi, settings(operation.cluster.store))
        architecture.fill_hyperv(vmi["spec"])
    except (BadNumber, DefaultError) as error:
        raise failed(MUTATOR, str(error)) from error
    metadata, status = vmi["metadata"], vmi["status"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    status["phase"] = "Pending"
    status["runtimeUser"] = ROOTLESS_USER
    now = operation.cluster.clock.stamp()
    status["phaseTransitionTimestamps"] = [{"phase": "Pending", "phaseTransitionTimestamp": now}]


@mutating(RESOURCE, "UPDATE")
def keep_status(operation: Operation) -> None:
    """The status is KubeVirt's own: what others write into it is ignored."""
    vmi, old = operation.object, operation.old
    assert vmi is not None
    if old is None or is_kubevirt(operation.user) or vmi.get("status") == old.get("status"):
        return
    vmi.pop("status", None)
    if "status" in old:
        vmi["status"] = old["status"]


@validating(RESOURCE, "CREATE")
def check(operation: Operation) -> None:
    vmi = operation.object
    assert vmi is not None
    config, spec = settings(operation.cluster.store), vmi["spec"]
    trusted = is_kubevirt(operation.user)
    refuse(
        CREATE_VALIDATOR,
        [
            *network.creation("spec", spec),
            *instance_spec.problems("spec", spec, config),
            *storage.volumes_are_shown("spec", spec),
            *instance_spec.memory_is_given("spec", spec),
            *placement.labels_and_annotations("metadata", vmi["metadata"], config, trusted=trusted),
            *architecture.hyperv("spec", spec),
            *architecture.devices("spec", spec),
        ],
    )


@validating(RESOURCE, "UPDATE")
def check_update(operation: Operation) -> None:
    vmi, old = operation.object, operation.old
    assert vmi is not None and old is not None
    trusted = is_kubevirt(operation.user)
    if vmi["spec"] != old["spec"]:
        if not trusted:
            refuse(UPDATE_VALIDATOR, [Cause("update of VMI object is restricted", None, NOT_SUPPORTED)])
        refuse(UPDATE_VALIDATOR, _hotplug(vmi, old))
    if not trusted:
        before, now = (at(obj, "metadata", "labels") or {} for obj in (old, vmi))
        if any(before.get(label) != now.get(label) for label in placement.RESERVED_LABELS):
            message = "modification of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
            refuse(UPDATE_VALIDATOR, [Cause(message, None, NOT_SUPPORTED)])


def _hotplug(vmi: Object, old: Object) -> Found:
    """What KubeVirt itself may not change in a running instance."""
    before, now = old["spec"].get("domain") or {}, vmi["spec"].get("domain") or {}
    if at(before, "cpu", "maxSockets") != at(now, "cpu", "maxSockets"):
        yield Cause("CPU topology maxSockets changed", None, INVALID)
        return
    most = at(before, "memory", "maxGuest"), at(now, "memory", "maxGuest")
    if None not in most and most[0] != most[1]:
        yield Cause("Memory maxGuest changed", None, INVALID)
        return
    yield from _volumes(vmi, old)


def _volumes(vmi: Object, old: Object) -> Found:
    permanent = {
        status["name"] for status in items(old, "status", "volumeStatus") if status.get("hotplugVolume") is None
    }
    migrated = {volume.get("volumeName") for volume in items(vmi, "status", "migratedVolumes")}
    before, now = ({volume["name"]: volume for volume in items(obj, "spec", "volumes")} for obj in (old, vmi))
    disks = {disk["name"]: disk for disk in items(vmi, "spec", "domain", "devices", "disks")}
    if len(permanent & set(before)) != len(permanent & set(now)):
        yield Cause("Number of permanent volumes has changed", None, INVALID)
        return
    for name, volume in now.items():
        if name in permanent:
            if name not in migrated and volume != before.get(name):
                yield Cause(f"permanent volume {name}, changed", None, INVALID)
                return
        elif name in before:
            if name not in migrated and volume != before[name]:
                yield Cause(f"hotplug volume {name}, changed", None, INVALID)
                return
        else:
            yield from _plugged(name, volume, disks)


def _plugged(name: str, volume: Object, disks: dict[str, Object]) -> Found:
    if not any(volume.get(kind) is not None for kind in ("dataVolume", "persistentVolumeClaim", "memoryDump")):
        yield Cause(f"volume {name} is not a PVC or DataVolume", None, INVALID)
    elif volume.get("memoryDump") is None:
        if name not in disks:
            yield Cause(f"disk {name} does not exist", None, INVALID)
            return
        problem = storage.hotplug_disk_problem(disks[name], name, "Hotplug configuration")
        if problem:
            yield Cause(problem, None, INVALID)


# Replica sets and presets


def selector_mismatch(spec: Object, labels: Object | None) -> Found:
    wanted = at(spec, "selector", "matchLabels") or {}
    if any((labels or {}).get(key) != value for key, value in wanted.items()):
        yield Cause("selector does not match labels.", "spec.selector", INVALID)


@validating("virtualmachineinstancereplicasets.kubevirt.io", "CREATE", "UPDATE")
def check_replica_set(operation: Operation) -> None:
    assert operation.object is not None
    spec, config = operation.object["spec"], settings(operation.cluster.store)
    refuse("virtualmachinereplicaset-validator.kubevirt.io", _replica_set(spec, config))


def _replica_set(spec: Object, config: Settings) -> Found:
    template = spec.get("template")
    if template is None:
        yield Cause("missing virtual machine template.", "spec.template", REQUIRED)
        return
    yield from instance_spec.problems("spec.template.spec", template.get("spec") or {}, config)
    yield from selector_mismatch(spec, at(template, "metadata", "labels"))


@validating("virtualmachineinstancepresets.kubevirt.io", "CREATE", "UPDATE")
def check_preset(operation: Operation) -> None:
    assert operation.object is not None
    spec, config = operation.object["spec"], settings(operation.cluster.store)
    webhook = "virtualmachinepreset-validator.kubevirt.io"
    if spec.get("domain") is None:
        refuse(webhook, [Cause("missing domain.", "spec.domain", REQUIRED)])
    refuse(webhook, [*storage.disks("spec", spec, config), *compute.firmware("spec", spec, config)])
