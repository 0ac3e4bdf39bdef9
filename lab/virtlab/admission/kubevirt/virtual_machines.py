"""VirtualMachine: what virt-api fills in and refuses. vm-mutator.go and vms-admitter.go of KubeVirt."""

from __future__ import annotations

from collections.abc import Iterator

from virtlab.admission.kubevirt import instance_spec, instancetypes, network, placement, preferences, storage
from virtlab.admission.kubevirt.defaults import (
    DefaultError,
    fill_firmware,
    fill_machine,
    fill_pci_topology,
    fill_spec,
    has_pcie,
    memory_hotplug_problem,
)
from virtlab.admission.kubevirt.encoding import (
    MACHINE_QUANTITIES,
    MACHINE_STRUCTS,
    BadNumber,
    reencode,
)
from virtlab.admission.kubevirt.inference import InferenceError, infer
from virtlab.admission.kubevirt.settings import Settings, is_kubevirt, settings
from virtlab.admission.kubevirt.structure import fill_zeros, structure_problems
from virtlab.admission.kubevirt.volume_requests import ADD, REMOVE, applied
from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import INVALID, NOT_FOUND, NOT_SUPPORTED, at, deleting, failed, items, refuse
from virtlab.operation import Operation
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.status import Cause

RESOURCE = "virtualmachines.kubevirt.io"
MUTATOR = "virtualmachines-mutator.kubevirt.io"
VALIDATOR = "virtualmachine-validator.kubevirt.io"
STATUS_VALIDATOR = "kubevirt-crd-status-validator.kubevirt.io"

STRATEGIES = ("Always", "Halted", "Manual", "RerunOnFailure", "Once")
MATCHERS = {"instancetype": "InstancetypeMatcher", "preference": "PreferenceMatcher"}
FAILURE_POLICIES = (None, "Reject", "Ignore")

Found = Iterator[Cause]


# Mutating


@mutating(RESOURCE, "CREATE", "UPDATE")
def fill(operation: Operation) -> None:
    vm = operation.object
    assert vm is not None
    if deleting(operation):
        return
    schema = operation.cluster.structure(operation.resource)
    refuse(MUTATOR, structure_problems(schema, vm))
    fill_zeros(schema, vm)
    try:
        reencode(vm["spec"], MACHINE_QUANTITIES, MACHINE_STRUCTS)
    except BadNumber as error:
        raise failed(MUTATOR, str(error)) from error
    _match(operation, vm)
    store, namespace = operation.cluster.store, operation.namespace
    template = vm["spec"]["template"]
    spec = template.setdefault("spec", {})
    try:
        preference = instancetypes.find(store, vm, "preference", namespace)
    except instancetypes.NotFound:
        preference = None
    _prefer(preference, vm, spec)
    if operation.verb == "CREATE":
        fill_firmware(spec)
    _architecture_of_source(operation, vm, spec)
    fill_machine(spec, settings(store))
    if operation.verb == "CREATE" and has_pcie(spec):
        fill_pci_topology(template.setdefault("metadata", {}))


def _match(operation: Operation, vm: Object) -> None:
    """Checks instance type and preference matchers, and infers their names."""
    for field, title in MATCHERS.items():
        matcher, old = vm["spec"].get(field), (at(operation.old, "spec") or {}).get(field)
        if matcher is not None:
            if old is not None:
                refuse(MUTATOR, _changed_matcher(field, matcher, old))
            refuse(MUTATOR, _matcher(field, title, matcher))
    for field in MATCHERS:
        try:
            infer(operation.cluster.store, vm, field, operation.namespace)
        except InferenceError as error:
            raise failed(MUTATOR, str(error)) from error


def _changed_matcher(field: str, matcher: Object, old: Object) -> Found:
    pinned = matcher.get("revisionName")
    if pinned and matcher.get("name") != old.get("name") and pinned == old.get("revisionName"):
        message = "the Matcher Name has been updated without updating the RevisionName"
        yield Cause(message, f"spec.{field}.revisionName", INVALID)


def _matcher(field: str, title: str, matcher: Object) -> Found:
    if not matcher.get("name") and not matcher.get("inferFromVolume"):
        message = f"Either Name or InferFromVolume should be provided within the {title}"
        yield Cause(message, f"spec.{field}", NOT_FOUND)
    if matcher.get("inferFromVolume"):
        for key in ("name", "kind"):
            if matcher.get(key):
                message = f"{key.capitalize()} already set, should be cleared before setting inferFromVolume"
                yield Cause(message, f"spec.{field}.{key}", NOT_SUPPORTED)
    policy = matcher.get("inferFromVolumeFailurePolicy")
    if policy not in FAILURE_POLICIES:
        message = f"Invalid value '{policy}' for InferFromVolumeFailurePolicy"
        yield Cause(message, f"spec.{field}.inferFromVolumeFailurePolicy", INVALID)


def _prefer(preference: Object | None, vm: Object, spec: Object) -> None:
    """What of a preference goes into the stored VM: architecture, machine type, storage class of its templates."""
    if preference is None:
        return
    if preference.get("preferredArchitecture") and not spec.get("architecture"):
        spec["architecture"] = preference["preferredArchitecture"]
    machine = at(preference, "machine", "preferredMachineType")
    if machine and not at(spec, "domain", "machine", "type"):
        spec.setdefault("domain", {})["machine"] = {"type": machine}
    storage_class = at(preference, "volumes", "preferredStorageClassName")
    if storage_class:
        for template in items(vm, "spec", "dataVolumeTemplates"):
            for kind in ("pvc", "storage"):
                wanted = at(template, "spec", kind)
                if wanted is not None and wanted.get("storageClassName") is None:
                    wanted["storageClassName"] = storage_class


def _architecture_of_source(operation: Operation, vm: Object, spec: Object) -> None:
    """The architecture that the label of a template's DataSource names."""
    if spec.get("architecture"):
        return
    for template in items(vm, "spec", "dataVolumeTemplates"):
        reference = at(template, "spec", "sourceRef") or {}
        if str(reference.get("kind")).lower() != "datasource":
            continue
        namespace = reference.get("namespace") or operation.namespace
        entry = operation.cluster.store.find(("cdi.kubevirt.io", "datasources"), namespace, reference.get("name") or "")
        labels = at(entry.object, "metadata", "labels") if entry is not None else None
        architecture = (labels or {}).get("template.kubevirt.io/architecture")
        if architecture in ("amd64", "arm64", "s390x"):
            spec["architecture"] = architecture
            return


# Validating


@validating(RESOURCE, "CREATE", "UPDATE")
def check(operation: Operation) -> None:
    vm = operation.object
    assert vm is not None
    if deleting(operation):
        return
    config = settings(operation.cluster.store)
    expanded = copied(vm)
    template = expanded["spec"]["template"]
    _apply_instancetype(operation, expanded, config)
    if operation.verb == "CREATE":
        refuse(VALIDATOR, network.creation("spec", template["spec"]))
    trusted = is_kubevirt(operation.user)
    refuse(VALIDATOR, machine_problems("spec", expanded["spec"], config, trusted=trusted))
    old = operation.old or {}
    if at(vm, "spec", "dataVolumeTemplates") != at(old, "spec", "dataVolumeTemplates") or operation.verb == "CREATE":
        refuse(VALIDATOR, storage.template_namespaces(vm, operation.namespace))
    if operation.verb == "UPDATE":
        refuse(VALIDATOR, _in_progress(vm, old))
    refuse(VALIDATOR, _volume_requests(operation, vm, config))
    if vm["spec"].get("running") is not None:
        operation.warnings.append("spec.running is deprecated, please use spec.runStrategy instead.")


def _apply_instancetype(operation: Operation, vm: Object, config: Settings) -> None:
    """Expands C(vm) as it will run and fills in defaults. What is not found is no refusal: the VM's status says so."""
    store, namespace = operation.cluster.store, operation.namespace
    found: dict[str, Object | None] = {}
    for field in MATCHERS:
        try:
            found[field] = instancetypes.find(store, vm, field, namespace)
        except instancetypes.NotFound:
            found[field] = None
    instancetype, preference = found["instancetype"], found["preference"]
    template = vm["spec"]["template"]
    problem = instancetypes.spread_problem(instancetype, preference)
    if problem:
        refuse(VALIDATOR, [Cause(problem, "instancetype.spec.cpu.guest", INVALID)])
    metadata = template.setdefault("metadata", {})
    if instancetype is not None:
        try:
            instancetypes.apply(instancetype, preference, template["spec"], metadata)
        except instancetypes.Conflict as conflict:
            refuse(VALIDATOR, conflict.causes())
    if preference is not None:
        preferences.apply(preference, template["spec"], metadata)
    try:
        fill_spec(template["spec"], config)
    except DefaultError as error:
        raise failed(VALIDATOR, str(error)) from error
    unmet = preferences.unmet_requirement(preference, instancetype, template["spec"])
    if unmet:
        message = f"failure checking preference requirements: {unmet[1]}"
        refuse(VALIDATOR, [Cause(message, unmet[0], NOT_FOUND)])


def machine_problems(path: str, spec: Object, config: Settings, *, trusted: bool) -> Found:
    """Everything that virt-api refuses in the spec of a VirtualMachine, its instance type applied."""
    template = spec["template"]
    metadata = template.get("metadata") or {}
    yield from placement.labels_and_annotations(f"{path}.template.metadata", metadata, config, trusted=trusted)
    yield from instance_spec.problems(f"{path}.template.spec", template["spec"], config)
    yield from storage.data_volume_templates(path, spec)
    yield from _run_strategy(path, spec, config)
    if config.live_update:
        yield from _live_update(path, template["spec"])


def _run_strategy(path: str, spec: Object, config: Settings) -> Found:
    running, strategy = spec.get("running"), spec.get("runStrategy")
    if running is not None and strategy is not None:
        message = (
            "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, please use RunStrategy "
            "instead"
        )
        yield Cause(message, f"{path}.running", INVALID)
    if running is None and strategy is None:
        yield Cause("RunStrategy must be specified", f"{path}.running", INVALID)
    if strategy == "WaitAsReceiver":
        gate = "DecentralizedLiveMigration"
        if not config.gate(gate):
            message = f"Invalid RunStrategy ({strategy}), {gate} feature gate is not enabled in kubevirt resource"
            yield Cause(message, f"{path}.runStrategy", INVALID)
    elif strategy is not None and strategy not in STRATEGIES:
        yield Cause(f"Invalid RunStrategy ({strategy})", f"{path}.runStrategy", INVALID)


def _live_update(path: str, spec: Object) -> Found:
    domain, field = spec.get("domain") or {}, f"{path}.template.spec.domain"
    cpu = domain.get("cpu") or {}
    if 0 < (cpu.get("maxSockets") or 0) < (cpu.get("sockets") or 0):
        message = "Number of sockets in CPU topology is greater than the maximum sockets allowed"
        yield Cause(message, f"{field}.cpu.sockets", INVALID)
    limit = at(domain, "memory", "maxGuest")
    problem = memory_hotplug_problem(spec, limit) if limit is not None else None
    if problem:
        yield Cause(problem, f"{field}.memory.guest", INVALID)


def _strategy(spec: Object) -> str:
    if spec.get("running") is not None:
        return "Always" if spec["running"] else "Halted"
    return spec.get("runStrategy") or "Halted"


def _in_progress(vm: Object, old: Object) -> Found:
    """What may not change while a snapshot or a restore of the VM runs."""
    snapshot, restore = at(vm, "status", "snapshotInProgress"), at(vm, "status", "restoreInProgress")
    before, now = old.get("spec") or {}, vm["spec"]
    if snapshot is not None:
        volumes = ("template", "spec", "volumes")
        if items(before, *volumes) != items(now, *volumes):
            message = f'Cannot update vm disks or volumes until snapshot "{snapshot}" completes'
            yield Cause(message, "spec", NOT_SUPPORTED)
        elif any(before.get(key) != now.get(key) for key in ("running", "runStrategy")):
            yield Cause(f'Cannot update vm running state until snapshot "{snapshot}" completes', "spec", NOT_SUPPORTED)
    if restore is not None and _strategy(before) != _strategy(now):
        yield Cause(f'Cannot update VM runStrategy until restore "{restore}" completes', "spec", NOT_SUPPORTED)


# Status


@validating(f"{RESOURCE}/status", "UPDATE")
def check_status(operation: Operation) -> None:
    vm = operation.object
    assert vm is not None
    config = settings(operation.cluster.store)
    refuse(STATUS_VALIDATOR, _volume_requests(operation, vm, config))
    refuse(STATUS_VALIDATOR, _in_progress(vm, operation.old or {}))


def _volume_requests(operation: Operation, vm: Object, config: Settings) -> list[Cause]:
    requests = at(vm, "status", "volumeRequests")
    if not requests:
        return []
    field = "Status.volumeRequests"
    template = vm["spec"]["template"]["spec"]
    vmi = _instance(operation) if at(vm, "status", "ready") else None
    names: dict[str, set[str]] = {ADD: set(), REMOVE: set()}
    spec, running = template, (vmi or {}).get("spec")
    for request in requests:
        message = _request_problem(request, names, template, (vmi or {}).get("spec"))
        if message:
            return [Cause(message, field, INVALID)]
        spec = applied(spec, request)
        running = applied(running, request) if running is not None else None
    for checked in (spec, running):
        causes = list(instance_spec.problems("spec.template.spec", checked, config)) if checked is not None else []
        if causes:
            return causes
    migration = at(vmi, "status", "migrationState")
    if migration is not None and not migration.get("completed") and not migration.get("failed"):
        message = "Cannot handle volume requests while VMI migration is in progress"
        return [Cause(message, "spec", NOT_SUPPORTED)]
    return []


def _instance(operation: Operation) -> Object | None:
    entry = operation.cluster.store.find(
        ("kubevirt.io", "virtualmachineinstances"), operation.namespace, operation.name
    )
    if entry is None or entry.object["metadata"].get("deletionTimestamp"):
        return None
    return entry.object


def _request_problem(
    request: Object, names: dict[str, set[str]], template: Object, running: Object | None
) -> str | None:
    add, remove = request.get(ADD), request.get(REMOVE)
    if (add is None) == (remove is None):
        either = f"VolumeRequests require {'' if add else 'one of '}either {ADD} or {REMOVE} to be set"
        return f"{either}, not both" if add else either
    kind, name = (ADD, add["name"]) if add is not None else (REMOVE, (remove or {})["name"])
    if name in names[kind]:
        return f"{'AddVolume' if add else 'RemoveVolume'} request for [{name}] aleady exists"
    names[kind].add(name)
    if add is None:
        return None
    problem = storage.hotplug_disk_problem(add.get("disk"), name, "AddVolume request")
    if problem:
        return problem
    volume = {"name": name, **add["volumeSource"]}
    for spec, where in ((template, "the vmi template."), (running, "currently running vmi")):
        for other in items(spec, "volumes"):
            if other["name"] == name and other != volume:
                return f"AddVolume request for [{name}] conflicts with an existing volume of the same name on {where}"
    return None
