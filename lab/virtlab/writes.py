"""The write pipeline of kube-apiserver, step by step, for creates and updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtlab import objectmeta, strategies
from virtlab.admission import registry as admission
from virtlab.apply.manager import settle_times
from virtlab.catalog import AGGREGATED
from virtlab.goformat import quoted
from virtlab.operation import SYSTEM, Operation, User
from virtlab.patches import copied
from virtlab.resource import Object, Resource
from virtlab.schema import builtin, structural, validation
from virtlab.schema.decoding import Undecodable
from virtlab.status import Cause, StatusError, already_exists, bad_request, conflict, invalid, not_found

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
NAMESPACES = ("", "namespaces")


@dataclass
class Write:
    """How a write is to be done. C(problems): what strict decoding of the body already objected to."""

    user: User = SYSTEM
    manager: str = ""
    dry_run: bool = False
    field_validation: str = "Warn"
    problems: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)
    applied: bool = False


def create(cluster: Cluster, resource: Resource, obj: Object, namespace: str | None, write: Write) -> Object:
    new = copied(obj)
    new["apiVersion"], new["kind"] = resource.api_version, resource.kind
    if new.get("metadata") is None:
        new["metadata"] = {}
    decode(cluster, resource, new, write, Refusals(resource))
    metadata = new["metadata"]
    if resource.namespaced:
        metadata["namespace"] = namespace or metadata.get("namespace") or ""
    else:
        metadata.pop("namespace", None)
    managed = metadata.pop("managedFields", None) if write.applied else None
    objectmeta.fill(metadata, cluster.clock, cluster.random)
    if managed:
        metadata["managedFields"] = managed
    else:
        cluster.fields.track(resource, None, new, write.manager, None)
    # What the server allocates belongs to nobody.
    strategies.prepare_create(cluster, resource, new)
    name = new["metadata"].get("name", "")
    _require_open_namespace(cluster, resource, new["metadata"].get("namespace"), name)
    operation = Operation(
        cluster,
        "CREATE",
        resource,
        new["metadata"].get("namespace"),
        name,
        new,
        None,
        write.user,
        None,
        write.dry_run,
        warnings=write.warnings,
    )
    admission.mutate(operation)
    assert operation.object is not None
    new = operation.object
    _validate(cluster, resource, new, None)
    admission.validate(operation)
    live = cluster.store.find(resource.key, new["metadata"].get("namespace"), name)
    if live is not None:
        deleting = "deletionTimestamp" in live.object["metadata"]
        generated = bool(new["metadata"].get("generateName"))
        raise already_exists(resource, name, deleting=deleting, generated=generated)
    return new if write.dry_run else cluster.stored(resource, new)


class Refusals:
    """The errors of a body that does not fit the kind's types, or has fields that strict validation refuses."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    def undecodable(self, obj: Object, problem: Undecodable) -> StatusError:
        return self._refused(str(problem))

    def strict(self, obj: Object, problems: str) -> StatusError:
        return self._refused(f"strict decoding error: {problems}")

    def _refused(self, why: str) -> StatusError:
        kind, version = self.resource.kind, self.resource.version
        return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def decode(cluster: Cluster, resource: Resource, obj: Object, write: Write, refusals: Refusals) -> None:
    """Prune unknown fields and fill in defaults, in place."""
    schema = cluster.structure(resource)
    if schema is None:
        return
    try:
        strategies.check_types(resource, schema, obj)
    except Undecodable as problem:
        raise refusals.undecodable(obj, problem) from None
    if write.field_validation == "Strict":
        original = copied(obj)
    unknown = [f'unknown field "{path}"' for path in structural.prune(schema, obj)]
    problems = [*write.problems, *unknown]
    if problems and write.field_validation == "Strict":
        raise refusals.strict(original, ", ".join(problems))
    if write.field_validation == "Warn":
        write.warnings += problems
    strategies.convert_input(resource, obj)
    if resource.custom:
        structural.default(schema, obj)
    else:
        builtin.default(resource.qualified, obj)


def _require_open_namespace(cluster: Cluster, resource: Resource, namespace: str | None, name: str) -> None:
    """NamespaceLifecycle: nothing is created in a namespace that is missing or going."""
    if not resource.namespaced:
        return
    entry = cluster.store.find(NAMESPACES, None, namespace or "")
    if entry is None:
        known = cluster.resource("namespaces")
        assert known is not None
        raise not_found(known, namespace or "")
    if entry.object["metadata"].get("deletionTimestamp"):
        details = {"name": name, "group": resource.group, "kind": resource.plural}
        raise StatusError(
            403,
            f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace} '
            "because it is being terminated",
            "Forbidden",
            {key: value for key, value in details.items() if value},
            (Cause(f"namespace {namespace} is being terminated", "metadata.namespace", "NamespaceTerminating"),),
        )


def _validate(cluster: Cluster, resource: Resource, new: Object, old: Object | None, *, status: bool = False) -> None:
    metadata = new["metadata"]
    if resource.group in AGGREGATED:
        return  # what another server makes up is as that server likes it
    if old is None:
        causes = objectmeta.problems(resource, metadata)
    else:
        causes = objectmeta.update_problems(resource, metadata, old["metadata"])
    if not status:
        causes += strategies.problems(cluster, resource, new, old)
    schema = cluster.structure(resource) if resource.custom else None
    if schema is not None:
        causes += validation.validate(schema, new, old=old, earlier=causes)
    if resource.custom and "scale" in resource.subresources:
        causes += _scale_problems(new)
    if causes:
        raise invalid(resource, metadata.get("name", ""), causes)


def _scale_problems(obj: Object) -> list[Cause]:
    """What the scale subresource cannot show of a custom resource."""
    replicas = (obj.get("spec") or {}).get("replicas") or 0
    if not isinstance(replicas, int) or replicas >= 0:
        return []
    text = f"Invalid value: {replicas}: should be a non-negative integer"
    return [Cause(text, ".spec.replicas", "FieldValueInvalid")]


def update(
    cluster: Cluster, resource: Resource, live: Object, new: Object, subresource: str | None, write: Write
) -> Object:
    """Bring C(live) to C(new), which was decoded already and belongs to this function."""
    old = live["metadata"]
    name = old["name"]
    new = strategies.prepare_update(resource, new, live, subresource)
    objectmeta.carry_over(new["metadata"], old)
    if not write.applied:
        cluster.fields.track(resource, live, new, write.manager, subresource)
    operation = Operation(
        cluster,
        "UPDATE",
        resource,
        old.get("namespace"),
        name,
        new,
        live,
        write.user,
        subresource,
        write.dry_run,
        warnings=write.warnings,
    )
    admission.mutate(operation)
    assert operation.object is not None
    new = operation.object
    _check_version(resource, name, new["metadata"], old)
    new["metadata"]["resourceVersion"] = old["resourceVersion"]
    if strategies.generation_rises(resource, new, live):
        new["metadata"]["generation"] = old.get("generation", 0) + 1
    _validate(cluster, resource, new, live, status=subresource == "status")
    admission.validate(operation)
    settle_times(live, new)
    if new == live:
        return live
    if write.dry_run:
        return new
    if is_over(resource, new):
        return cluster.removed(resource, new)
    return cluster.stored(resource, new)


def is_over(resource: Resource, obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left that holds it."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if resource.key == NAMESPACES and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def check_uid(resource: Resource, new: Object, old: Object) -> None:
    """The uid of a PUT is a precondition: 409 when the object is another one by now."""
    uid = new.get("uid")
    if not uid or uid == old["uid"]:
        return
    where = f"{resource.group}/{resource.plural}" if resource.group else resource.plural
    space = f"/{old['namespace']}" if old.get("namespace") else ""
    raise conflict(
        resource,
        old["name"],
        f"StorageError: invalid object, Code: 4, Key: /registry/{where}{space}/{old['name']}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {old['uid']}",
    )


def _check_version(resource: Resource, name: str, new: Object, old: Object) -> None:
    version = new.get("resourceVersion") or "0"
    if not str(version).isdigit():
        raise StatusError(500, f"strconv.ParseUint: parsing {quoted(version)}: invalid syntax")
    if int(version) == 0:
        if strategies.unconditional_update(resource):
            return
        cause = Cause(
            "Invalid value: 0: must be specified for an update", "metadata.resourceVersion", "FieldValueInvalid"
        )
        message = f'{resource.qualified} "{name}" is invalid: {cause.field}: {cause.message}'
        details = {"name": name, "group": resource.group, "kind": resource.plural}
        raise StatusError(422, message, "Invalid", {key: value for key, value in details.items() if value}, (cause,))
    if str(version) != old["resourceVersion"]:
        raise conflict(resource, name, MODIFIED)
