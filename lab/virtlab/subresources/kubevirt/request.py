"""What virt-api's actions have in common: bodies, objects, writes and the errors of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from virtlab.admission.kubevirt.settings import VIRT_API, Settings, settings
from virtlab.patches import copied
from virtlab.resource import Object, Resource
from virtlab.status import Cause, StatusError, bad_request, conflict, not_found
from virtlab.subresources.registry import ANY, Answer, Call, Handler, action

GROUP = "subresources.kubevirt.io"
MACHINE = Resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachine")
INSTANCE = Resource("kubevirt.io", "v1", "VirtualMachineInstance", "virtualmachineinstance")
CLAIM = Resource("kubevirt.io", "v1", "PersistentVolumeClaim", "persistentvolumeclaim")

FINAL = ("Succeeded", "Failed")
NOT_RUNNING = "VM is not running"
INSTANCE_NOT_RUNNING = "VMI is not running"
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")
JSON_ROUTES = frozenset(
    {
        "expand-spec", "guestosinfo", "userlist", "filesystemlist", "objectgraph", "sev/fetchcertchain",
        "sev/querylaunchmeasurement", "expand-vm-spec", "version", "guestfs", "healthz",
    }
)  # fmt: skip
# Routes that virt-api serves without naming them in its discovery document.
UNLISTED = frozenset(
    {
        "version", "guestfs", "healthz", "virtualmachines/portforward/*", "virtualmachines/addvolume",
        "virtualmachines/removevolume", "virtualmachines/memorydump", "virtualmachines/removememorydump",
        "virtualmachineinstances/usbredir", "virtualmachineinstances/vsock",
    }
)  # fmt: skip
ACCEPTED = Answer(202)
DONE = Answer(200)

# encoding/json's words for what the Python parser says of the same place.
SYNTAX_ERRORS = (
    ("Expecting property name", "looking for beginning of object key string"),
    ("Expecting ':'", "after object key"),
    ("Expecting ','", "after object key:value pair"),
    ("Expecting value", "looking for beginning of value"),
    ("Invalid control character", "in string literal"),
    ("Invalid \\escape", "in string escape code"),
)


def served(subject: str, name: str, *methods: str) -> Callable[[Handler], Handler]:
    """Registers a route of virt-api's own server, which answers wrong paths, methods and types in plain text."""
    produced = "application/json" if (name or subject.partition(".")[0]) in JSON_ROUTES else ""

    def register(handler: Handler) -> Handler:
        @action(
            f"{subject}.{GROUP}",
            name,
            *METHODS,
            listed=name.removesuffix("/*"),
            hidden=f"{subject}/{name}" in UNLISTED or subject in UNLISTED,
        )
        def route(call: Call) -> Answer:
            if call.cluster.resource("virtualmachines.kubevirt.io") is None:
                return Answer(404, "404 page not found\n")
            if call.method not in methods:
                return Answer(405, "405: Method Not Allowed")
            if not accepts(call.header("Accept"), produced):
                return Answer(406, f"406: Not Acceptable\n\nAvailable representations: {produced}")
            return handler(call)

        return handler

    return register


def accepts(header: str, produced: str) -> bool:
    """Whether an Accept header takes what a route says that it makes; actions say nothing, so only C(*/*) will do."""
    wanted = [item.partition(";")[0].strip() for item in header.split(",")]
    return not header.strip() or "*/*" in wanted or (bool(produced) and produced in wanted)


def on_machine(name: str, *methods: str) -> Callable[[Handler], Handler]:
    return served("virtualmachines", name, *methods)


def on_instance(name: str, *methods: str) -> Callable[[Handler], Handler]:
    return served("virtualmachineinstances", name, *methods)


@action(f"virtualmachines.{GROUP}", ANY, *METHODS, hidden=True)
@action(f"virtualmachineinstances.{GROUP}", ANY, *METHODS, hidden=True)
def unknown(call: Call) -> Answer:
    return Answer(404, "404: Page Not Found")


# Bodies


def options(call: Call, kind: str) -> Object:
    """The request's options, JSON or YAML; an empty body is no options. Raises 400 in virt-api's words."""
    text = call.body.decode("utf-8", "replace").strip()
    if not text:
        return {}
    try:
        value = json.JSONDecoder().raw_decode(text)[0] if text.startswith("{") else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise unmarshal_error(_syntax_error(text, error)) from error
    except yaml.YAMLError as error:
        raise unmarshal_error(f"error converting YAML to JSON: yaml: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        what = {str: "string", bool: "bool", list: "array"}.get(type(value), "number")
        raise unmarshal_error(f"json: cannot unmarshal {what} into Go value of type v1.{kind}")
    return value


def unmarshal_error(why: str) -> StatusError:
    return bad_request(f"Can not unmarshal Request body to struct, error: {why}")


def _syntax_error(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    where = next((words for start, words in SYNTAX_ERRORS if error.msg.startswith(start)), "in literal")
    return f"json: offset {error.pos + 1}: invalid character {text[error.pos]!r} {where}"


def is_dry_run(body: Object) -> bool:
    return "All" in (body.get("dryRun") or ())


# Objects


def find_machine(call: Call) -> Object | None:
    return _find(call, "virtualmachines.kubevirt.io", call.name)


def find_instance(call: Call) -> Object | None:
    return _find(call, "virtualmachineinstances.kubevirt.io", call.name)


def _find(call: Call, qualified: str, name: str) -> Object | None:
    resource = call.cluster.resource(qualified)
    return None if resource is None else call.cluster.find(resource, name, call.namespace)


def machine(call: Call) -> Object:
    """The VirtualMachine that the request names; raises virt-api's own 404."""
    found = find_machine(call)
    if found is None:
        raise not_found(MACHINE, call.name)
    return found


def instance(call: Call) -> Object:
    """The VirtualMachineInstance of that name; raises virt-api's own 404."""
    found = find_instance(call)
    if found is None:
        raise not_found(INSTANCE, call.name)
    return found


def instance_of_machine(call: Call) -> Object:
    """The instance that the VirtualMachine of that name owns."""
    owner = machine(call)
    if not (owner.get("status") or {}).get("created"):
        raise machine_conflict(call, "VMI is not started")
    found = instance(call)
    references = found["metadata"].get("ownerReferences") or ()
    if not any(reference["uid"] == owner["metadata"]["uid"] for reference in references):
        raise internal_error(f"unable to retrieve vmi [{call.name}] for vm: <nil>")
    return found


def claim(call: Call, name: str) -> Object:
    found = _find(call, "persistentvolumeclaims", name)
    if found is None:
        raise not_found(CLAIM, name)
    return found


def phase(obj: Object | None) -> str:
    return str(((obj or {}).get("status") or {}).get("phase") or "")


def is_final(obj: Object) -> bool:
    return phase(obj) in FINAL


def condition(obj: Object, kind: str) -> str | None:
    """The status of a condition, None when the object does not have it."""
    for item in (obj.get("status") or {}).get("conditions") or ():
        if item.get("type") == kind:
            return str(item.get("status"))
    return None


def config(call: Call) -> Settings:
    return settings(call.cluster.store)


# Writes


def write(call: Call, qualified: str, obj: Object, edit: Callable[[Object], None], *, dry_run: bool) -> Object:
    """Changes an object as virt-api, through all admission."""
    return _write(call, qualified, obj, edit, dry_run, None)


def write_status(call: Call, obj: Object, edit: Callable[[Object], None], *, dry_run: bool) -> Object:
    """Changes the status of a VirtualMachine as virt-api."""
    return _write(call, "virtualmachines.kubevirt.io", obj, edit, dry_run, "status")


def _write(
    call: Call, qualified: str, obj: Object, edit: Callable[[Object], None], dry_run: bool, subresource: str | None
) -> Object:
    resource = call.cluster.resource(qualified)
    if resource is None:
        raise internal_error(f"the server could not find the requested resource ({qualified})")
    new = copied(obj)
    edit(new.setdefault("status", {}) if subresource == "status" else new)
    return call.cluster.update(
        resource, new, subresource=subresource, user=VIRT_API, manager="virt-api", dry_run=dry_run
    )


# Errors


def machine_conflict(call: Call, why: str) -> StatusError:
    return conflict(MACHINE, call.name, why)


def instance_conflict(call: Call, why: str) -> StatusError:
    return conflict(INSTANCE, call.name, why)


def internal_error(why: str) -> StatusError:
    return StatusError(500, f"Internal error occurred: {why}", "InternalError", causes=(Cause(why),))


def guarded(work: Callable[[], Any], *, passes_invalid: bool = False, prefix: str = "") -> None:
    """Runs a write; what the cluster refuses becomes virt-api's internal error, an invalid object itself if told so."""
    try:
        work()
    except StatusError as error:
        if passes_invalid and error.reason == "Invalid":
            raise
        raise internal_error(prefix + error.message) from error
