"""VirtualMachineInstanceMigration and MigrationPolicy: what virt-api fills in and refuses."""

from __future__ import annotations

from virtlab.admission.kubevirt.amounts import amount
from virtlab.admission.kubevirt.settings import is_kubevirt, settings
from virtlab.admission.kubevirt.structure import structure_problems
from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import FORBIDDEN, INVALID, NOT_SUPPORTED, REQUIRED, at, failed, items, refuse, unchanged
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.status import Cause

RESOURCE = "virtualmachineinstancemigrations.kubevirt.io"
MUTATOR = "migrations-mutator.kubevirt.io"
CREATE_VALIDATOR = "migration-create-validator.kubevirt.io"
UPDATE_VALIDATOR = "migration-update-validator.kubevirt.io"
POLICY_VALIDATOR = "migration-policy-validator.kubevirt.io"
SELECTOR = "kubevirt.io/vmi-name"
FINALIZER = "kubevirt.io/migrationJobFinalize"
OVER = ("Succeeded", "Failed")


@mutating(RESOURCE, "CREATE")
def fill(operation: Operation) -> None:
    migration = operation.object
    assert migration is not None
    refuse(MUTATOR, structure_problems(operation.cluster.structure(operation.resource), migration))
    metadata = migration["metadata"]
    name = at(migration, "spec", "vmiName") or ""
    metadata["labels"] = {**(metadata.get("labels") or {}), SELECTOR: name}
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]


@validating(RESOURCE, "CREATE")
def check(operation: Operation) -> None:
    assert operation.object is not None
    spec, store = operation.object.get("spec") or {}, operation.cluster.store
    name = spec.get("vmiName") or ""
    if not name:
        refuse(CREATE_VALIDATOR, [Cause("vmiName is missing", "spec.vmiName", REQUIRED)])
    if spec.get("priority") is not None and not is_kubevirt(operation.user):
        message = "Migration priority queue, only virt-controller is allowed to set priority field"
        refuse(CREATE_VALIDATOR, [Cause(message, "spec.migrationPriority", FORBIDDEN)])
    entry = store.find(("kubevirt.io", "virtualmachineinstances"), operation.namespace, name)
    if entry is None:
        raise failed(CREATE_VALIDATOR, f'the VMI "{operation.namespace}/{name}" does not exist')
    vmi = entry.object
    if at(vmi, "status", "phase") in OVER:
        raise failed(CREATE_VALIDATOR, "Cannot migrate VMI in finalized state.")
    decentralized = spec.get("sendTo") is not None or spec.get("receive") is not None
    for condition in items(vmi, "status", "conditions"):
        if condition["type"] != "LiveMigratable" or condition["status"] != "False":
            continue
        if not (decentralized and condition.get("reason") == "DisksNotLiveMigratable"):
            why = f"Reason: {condition.get('reason', '')}, Message: {condition.get('message', '')}"
            raise failed(CREATE_VALIDATOR, f"Cannot migrate VMI, {why}")
    for other in store.entries(("kubevirt.io", "virtualmachineinstancemigrations"), operation.namespace):
        migration = other.object
        if at(migration, "spec", "vmiName") == name and at(migration, "status", "phase") not in OVER:
            uid = migration["metadata"]["uid"]
            message = f"in-flight migration detected. Active migration job ({uid}) is currently already in progress"
            raise failed(CREATE_VALIDATOR, f"{message} for VMI {name}.")
    if decentralized:
        _check_decentralized(operation, spec)


def _check_decentralized(operation: Operation, spec: Object) -> None:
    gate = "DecentralizedLiveMigration"
    if not settings(operation.cluster.store).gate(gate):
        message = f"{gate} feature gate is not enabled in kubevirt resource"
        refuse(CREATE_VALIDATOR, [Cause(message, None, NOT_SUPPORTED)])
    sent, received = at(spec, "sendTo", "migrationID"), at(spec, "receive", "migrationID")
    if sent is not None and received is not None and sent != received:
        message = f"sendTo migrationID {sent} does not match receive migrationID {received}"
        refuse(CREATE_VALIDATOR, [Cause(message, None, INVALID)])


@validating(RESOURCE, "UPDATE")
def check_update(operation: Operation) -> None:
    new, old = operation.object, operation.old
    assert new is not None and old is not None
    if not unchanged(operation):
        message = "update of Migration object's spec is restricted"
        refuse(UPDATE_VALIDATOR, [Cause(message, None, NOT_SUPPORTED)])
    before, now = at(old, "metadata", "labels") or {}, at(new, "metadata", "labels")
    if at(new, "status", "phase") in OVER or SELECTOR not in before:
        return
    if now is None:
        message = "selector label can't be removed from an in-flight migration"
        refuse(UPDATE_VALIDATOR, [Cause(message, None, NOT_SUPPORTED)])
    elif now.get(SELECTOR) != before[SELECTOR]:
        message = "selector label can't be modified on an in-flight migration"
        refuse(UPDATE_VALIDATOR, [Cause(message, None, NOT_SUPPORTED)])


@validating("migrationpolicies.migrations.kubevirt.io", "CREATE", "UPDATE")
def check_policy(operation: Operation) -> None:
    assert operation.object is not None
    spec, before = operation.object.get("spec") or {}, at(operation.old, "spec") or {}
    config = settings(operation.cluster.store)
    causes = []
    if (spec.get("completionTimeoutPerGiB") or 0) < 0:
        causes.append(Cause("must not be negative", "spec.completionTimeoutPerGiB", INVALID))
    gates = ("MigrationStallDetection", "MigrationDowntimeTuning")
    downtime = spec.get("maxDowntimeMs")
    if downtime is not None and downtime != before.get("maxDowntimeMs") and not any(map(config.gate, gates)):
        message = f"maxDowntimeMs cannot be modified without enabling the {gates[0]} or {gates[1]} feature gate"
        causes.append(Cause(message, "spec.maxDowntimeMs", INVALID))
    if amount(spec.get("bandwidthPerMigration")) < 0:
        causes.append(Cause("must not be negative", "spec.bandwidthPerMigration", INVALID))
    refuse(POLICY_VALIDATOR, causes)
