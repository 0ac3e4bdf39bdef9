"""Snapshots, restores and exports of virtual machines: what virt-api refuses. pkg/storage/admitters."""

from __future__ import annotations

from collections.abc import Iterator

from virtlab.admission.kubevirt.settings import settings
from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import INVALID, NOT_FOUND, REQUIRED, at, failed, refuse, unchanged
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.schema.causes import supported
from virtlab.status import Cause, invalid

KUBEVIRT = "kubevirt.io"
SNAPSHOT_GROUP = "snapshot.kubevirt.io"
SNAPSHOT_VALIDATOR = "virtualmachinesnapshot-validator.snapshot.kubevirt.io"
RESTORE_VALIDATOR = "virtualmachinerestore-validator.snapshot.kubevirt.io"
EXPORT_VALIDATOR = "virtualmachineexport-validator.export.kubevirt.io"
READINESS_POLICIES = ("StopTarget", "WaitGracePeriod", "FailImmediate", "WaitEventually")
RESTORE_POLICIES = ("InPlace", "RandomizeNames", "PrefixTargetName")
OWNERSHIP_POLICIES = ("Vm", "None")

# Kind that can be exported: (what it is called, its API group; None for a claim, which must name none).
EXPORTED: dict[str, tuple[str, str, str | None]] = {
    "PersistentVolumeClaim": ("PVC", "PVC", None),
    "VirtualMachineSnapshot": ("VMSnapshot", "VMSnapshot", SNAPSHOT_GROUP),
    "VirtualMachine": ("Virtual Machine", "VM", KUBEVIRT),
    "VirtualMachineBackup": ("VirtualMachineBackup", "VirtualMachineBackup", "backup.kubevirt.io"),
}

Found = Iterator[Cause]


def _immutable(operation: Operation, webhook: str) -> None:
    if not unchanged(operation):
        refuse(webhook, [Cause("spec in immutable after creation", "spec", INVALID)])


def _machine_reference(reference: Object, field: str) -> Found:
    group = reference.get("apiGroup")
    if group is None:
        yield Cause("missing apiGroup", f"{field}.apiGroup", NOT_FOUND)
    elif group != KUBEVIRT:
        yield Cause("invalid apiGroup", f"{field}.apiGroup", INVALID)
    elif reference.get("kind") != "VirtualMachine":
        yield Cause("invalid kind", f"{field}.kind", INVALID)


@validating("virtualmachinesnapshots.snapshot.kubevirt.io", "CREATE", "UPDATE")
def check_snapshot(operation: Operation) -> None:
    if operation.verb == "UPDATE":
        _immutable(operation, SNAPSHOT_VALIDATOR)
        return
    if not settings(operation.cluster.store).gate("Snapshot"):
        raise failed(SNAPSHOT_VALIDATOR, "snapshot feature gate not enabled")
    refuse(SNAPSHOT_VALIDATOR, _machine_reference(at(operation.object, "spec", "source") or {}, "spec.source"))


@mutating("virtualmachinerestores.snapshot.kubevirt.io", "CREATE")
def fill_restore(operation: Operation) -> None:
    """The CRD's default, and its choice of values, which the published schemas do not carry."""
    assert operation.object is not None
    chosen = operation.object.setdefault("spec", {}).setdefault("targetReadinessPolicy", READINESS_POLICIES[1])
    if causes := list(supported("spec.targetReadinessPolicy", chosen, READINESS_POLICIES)):
        raise invalid(operation.resource, operation.name, causes)


@validating("virtualmachinerestores.snapshot.kubevirt.io", "CREATE", "UPDATE")
def check_restore(operation: Operation) -> None:
    if operation.verb == "UPDATE":
        _immutable(operation, RESTORE_VALIDATOR)
        return
    if not settings(operation.cluster.store).gate("Snapshot"):
        raise failed(RESTORE_VALIDATOR, "Snapshot/Restore feature gate not enabled")
    spec = at(operation.object, "spec") or {}
    target = spec.get("target") or {}
    causes = list(_machine_reference(target, "spec.target"))
    if not causes:
        causes += _restore(operation, spec, target.get("name") or "")
    for entry in operation.cluster.store.entries((SNAPSHOT_GROUP, "virtualmachinerestores"), operation.namespace):
        other = entry.object
        if at(other, "spec", "target") == target and not at(other, "status", "complete"):
            message = f'VirtualMachineRestore "{other["metadata"]["name"]}" in progress'
            causes.append(Cause(message, "spec.target", INVALID))
    refuse(RESTORE_VALIDATOR, causes)


def _restore(operation: Operation, spec: Object, target: str) -> Found:
    store, namespace = operation.cluster.store, operation.namespace
    name = spec.get("virtualMachineSnapshotName") or ""
    snapshot = store.find((SNAPSHOT_GROUP, "virtualmachinesnapshots"), namespace, name)
    if snapshot is not None:
        yield from _patches(spec.get("patches") or ())
        machine = store.find((KUBEVIRT, "virtualmachines"), namespace, target)
        source = at(snapshot.object, "status", "sourceUID")
        if machine is None or (source is not None and machine.object["metadata"]["uid"] != source):
            yield from _other_machine(operation, snapshot.object)
    for index, override in enumerate(spec.get("volumeRestoreOverrides") or ()):
        field = f"spec.volumeRestoreOverrides[{index}]"
        if not override.get("volumeName"):
            yield Cause("must provide a volume name", f"{field}.volumeName", REQUIRED)
        if not any(override.get(key) for key in ("restoreName", "annotations", "labels")):
            yield Cause("must provide at least one overriden field", field, REQUIRED)
    for key, what, known in (
        ("volumeRestorePolicy", "volume restore policy", RESTORE_POLICIES),
        ("volumeOwnershipPolicy", "volume ownership policy", OWNERSHIP_POLICIES),
    ):
        policy = spec.get(key)
        if policy is not None and policy not in known:
            yield Cause(f'{what} "{policy}" doesn\'t exist', f"spec.{key}", INVALID)


def _other_machine(operation: Operation, snapshot: Object) -> Found:
    """A snapshot is restored into another VM than it was taken of."""
    name = at(snapshot, "status", "virtualMachineSnapshotContentName")
    if name is None:
        raise failed(RESTORE_VALIDATOR, "snapshot content name is nil in vmSnapshot status")
    key = (SNAPSHOT_GROUP, "virtualmachinesnapshotcontents")
    content = operation.cluster.store.find(key, operation.namespace, name)
    if content is None:
        raise failed(RESTORE_VALIDATOR, f'virtualmachinesnapshotcontents.snapshot.kubevirt.io "{name}" not found')
    machine = at(content.object, "spec", "source", "virtualMachine")
    if machine is None:
        raise failed(RESTORE_VALIDATOR, "unexpected snapshot source")
    domain = at(machine, "spec", "template", "spec", "domain") or {}
    persistent = (
        at(domain, "devices", "tpm", "persistent"),
        at(domain, "firmware", "bootloader", "efi", "persistent"),
    )
    if any(persistent):
        message = (
            "Restore to a different VM is not supported when snapshotted VM has backend storage (persistent TPM or EFI)"
        )
        yield Cause(message, "spec", INVALID)


def _patches(patches: list[str] | tuple[()]) -> Found:
    field = "spec.patches"
    for patch in patches:
        for pair in patch.strip("{}").split(","):
            key, _, value = pair.partition(":")
            if pair.count(":") != 1:
                message = f'patch format is not valid - one ":" expected in a single key-value json patch: {pair}'
                yield Cause(message, field, INVALID)
            elif key.strip() == '"path"' and not value.strip().startswith(
                ('"/metadata/labels/', '"/metadata/annotations/', '"/spec/')
            ):
                message = f"patching is valid only for elements under /spec/ only: {pair}"
                yield Cause(message, field, INVALID)


@validating("virtualmachineexports.export.kubevirt.io", "CREATE", "UPDATE")
def check_export(operation: Operation) -> None:
    if operation.verb == "UPDATE":
        _immutable(operation, EXPORT_VALIDATOR)
        return
    source = at(operation.object, "spec", "source") or {}
    if source.get("kind") not in EXPORTED:
        refuse(EXPORT_VALIDATOR, [Cause("invalid kind", "spec.source.kind", INVALID)])
    title, short, group = EXPORTED[source["kind"]]
    causes = []
    if not source.get("name"):
        causes.append(Cause(f"{title} name must not be empty", "spec.source.name", INVALID))
    named = source.get("apiGroup")
    if group is None and named:
        causes.append(Cause(f"{short} API group must be missing or blank", "spec.source.APIGroup", INVALID))
    elif group is not None and named != group:
        causes.append(Cause(f"{short} API group must be {group}", "spec.source.APIGroup", INVALID))
    refuse(EXPORT_VALIDATOR, causes)
