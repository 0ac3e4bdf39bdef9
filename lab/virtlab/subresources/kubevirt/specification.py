"""expand-spec, expand-vm-spec, evacuate/cancel, SEV, and what virt-api tells about itself."""

from __future__ import annotations

import json
from collections.abc import Callable

from virtlab.admission.kubevirt import instancetypes, preferences
from virtlab.admission.kubevirt.defaults import DefaultError, fill_disks, fill_network, fill_spec
from virtlab.admission.kubevirt.structure import structure_problems
from virtlab.admission.webhook import at
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.status import StatusError, bad_request
from virtlab.subresources.kubevirt.request import (
    DONE,
    config,
    instance,
    instance_of_machine,
    internal_error,
    is_dry_run,
    machine,
    on_instance,
    on_machine,
    options,
    served,
    unmarshal_error,
    write,
)
from virtlab.subresources.registry import Answer, Call

VERSION = "v1.9.0"


def expanded(call: Call, vm: Object) -> Object:
    """The VM with instance type, preference and defaults in its template. Raises ValueError."""
    if not vm["spec"].get("instancetype") and not vm["spec"].get("preference"):
        return vm
    new: Object = copied(vm)
    template = new["spec"]["template"]
    spec, metadata = template.setdefault("spec", {}), template.setdefault("metadata", {})
    store = call.cluster.store
    try:
        instancetype = instancetypes.find(store, vm, "instancetype", call.namespace)
        preference = instancetypes.find(store, vm, "preference", call.namespace)
        fill_disks(spec)
        fill_network(spec, config(call))
        if instancetype is not None:
            instancetypes.apply(instancetype, preference, spec, metadata)
        if preference is not None:
            preferences.apply(preference, spec, metadata)
        fill_spec(spec, config(call))
    except (instancetypes.NotFound, instancetypes.Conflict, DefaultError) as error:
        raise ValueError(str(error)) from error
    for field, (reference, _, _) in instancetypes.MATCHERS.items():
        new["spec"].pop(field, None)
        (new.get("status") or {}).pop(reference, None)
    return new


@on_machine("expand-spec", "GET")
def expand_machine(call: Call) -> Answer:
    try:
        return Answer(200, expanded(call, machine(call)))
    except ValueError as error:
        raise internal_error(str(error)) from error


@served("expand-vm-spec", "", "PUT")
def expand_body(call: Call) -> Answer:
    if not call.body:
        raise unmarshal_error("unexpected end of JSON input")
    try:
        vm = json.loads(call.body)
    except json.JSONDecodeError as error:
        raise unmarshal_error(str(error)) from error
    resource = call.cluster.resource("virtualmachines.kubevirt.io")
    problems = list(structure_problems(call.cluster.structure(resource), vm)) if resource is not None else []
    if problems:
        raise StatusError(400, "Object is not a valid VirtualMachine", "BadRequest", causes=tuple(problems))
    namespace = at(vm, "metadata", "namespace")
    if namespace and namespace != call.namespace:
        raise bad_request(f"VM namespace must be empty or {call.namespace}")
    vm.setdefault("metadata", {})["namespace"] = call.namespace
    try:
        return Answer(200, expanded(call, vm))
    except ValueError as error:
        raise bad_request(str(error)) from error


def _cancel_evacuation(call: Call, fetch: Callable[[Call], Object]) -> Answer:
    vmi = fetch(call)
    node = at(vmi, "status", "evacuationNodeName")
    if not node:
        return DONE
    body = options(call, "EvacuateCancelOptions")
    if body.get("evacuationNodeName") != node:
        raise internal_error('testing path "/status/evacuationNodeName" failed: the server rejected our request')
    write(
        call,
        "virtualmachineinstances.kubevirt.io",
        vmi,
        lambda obj: obj["status"].pop("evacuationNodeName") and None,
        dry_run=is_dry_run(body),
    )
    return DONE


@on_machine("evacuate/cancel", "PUT")
def cancel_for_machine(call: Call) -> Answer:
    return _cancel_evacuation(call, instance_of_machine)


@on_instance("evacuate/cancel", "PUT")
def cancel_for_instance(call: Call) -> Answer:
    return _cancel_evacuation(call, instance)


def _sev(call: Call) -> Answer:
    if not config(call).gate("WorkloadEncryptionSEV"):
        raise bad_request("'WorkloadEncryptionSEV' feature gate is not enabled")
    vmi = instance(call)
    attested = at(vmi, "spec", "domain", "launchSecurity", "sev", "attestation") is not None
    why = "VMI is not running" if attested else "Attestation not requested for VMI"
    message = f'Operation cannot be fulfilled on virtualmachineinstance.kubevirt.io "{call.name}": {why}'
    details = {"name": call.name, "group": "kubevirt.io", "kind": "virtualmachineinstance"}
    raise StatusError(409, message, "Conflict", details)


for _name, _method in (
    ("sev/fetchcertchain", "GET"),
    ("sev/querylaunchmeasurement", "GET"),
    ("sev/setupsession", "PUT"),
    ("sev/injectlaunchsecret", "PUT"),
):
    on_instance(_name, _method)(_sev)


@served("version", "", "GET")
def version(call: Call) -> Answer:
    info = {
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.24.7 X:nocoverageredesign",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
    return Answer(200, info)


@served("guestfs", "", "GET")
def guestfs(call: Call) -> Answer:
    return Answer(200, {"registry": "quay.io/kubevirt", "tag": VERSION, "imagePrefix": "", "gsImage": ""})


@served("healthz", "", "GET")
def healthz(call: Call) -> Answer:
    return Answer(200, {"apiserver": {"connectivity": "ok"}})
