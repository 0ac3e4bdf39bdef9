"""Reads and writes of single objects and the writes of collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml

from virtlab.api import negotiation
from virtlab.api.options import delete_options, resource_version, write_options
from virtlab.api.paths import Target
from virtlab.cluster import Cluster
from virtlab.operation import User
from virtlab.patching import foreign_kind
from virtlab.resource import Object, Resource
from virtlab.status import StatusError, bad_request

PATCH_TYPES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_JSON_NAMES = {dict: "object", list: "array", str: "string", bool: "bool"}
# How the server begins when it cannot read a patch.
_UNREAD = {
    "json": "error decoding patch: ",
    "merge": "error decoding patch: ",
    "strategic": "",
    "apply": "error decoding YAML: error unmarshaling JSON: while decoding JSON: ",
}


@dataclass
class Request:
    """One authorized request for a resource that is served."""

    cluster: Cluster
    target: Target
    resource: Resource
    user: User
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    dry_run: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str | None:
        return self.target.namespace or None if self.resource.namespaced else None

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")

    @property
    def user_agent(self) -> str:
        return self.headers.get("User-Agent", "")


@dataclass(frozen=True)
class Result:
    code: int
    object: Object


def get(request: Request) -> Result:
    version = request.query.get("resourceVersion", "")
    if version:
        resource_version(version)
    request.cluster.reached(version)
    return Result(200, request.cluster.get(request.resource, request.target.name, request.namespace))


def create(request: Request) -> Result:
    options = write_options("CreateOptions", request.query, request.dry_run, request.user_agent)
    body = negotiation.decoded(request.body, request.content_type, request.resource)
    _check_kind(request, body.value)
    _check_namespace(request, body.value)
    obj = request.cluster.create(
        request.resource,
        body.value,
        namespace=request.namespace,
        user=request.user,
        manager=options.manager,
        dry_run=options.dry_run,
        field_validation=options.field_validation,
        problems=body.problems,
        warnings=request.warnings,
    )
    return Result(201, obj)


def update(request: Request) -> Result:
    if not request.target.name:
        raise bad_request("name must be provided")
    options = write_options("UpdateOptions", request.query, request.dry_run, request.user_agent)
    body = negotiation.decoded(request.body, request.content_type, request.resource)
    _check_kind(request, body.value)
    _check_namespace(request, body.value)
    name = (body.value.get("metadata") or {}).get("name")
    if name and name != request.target.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({request.target.name})")
    body.value.setdefault("metadata", {})["name"] = request.target.name
    obj, created = request.cluster.replace(
        request.resource,
        body.value,
        namespace=request.namespace,
        subresource=request.target.subresource or None,
        user=request.user,
        manager=options.manager,
        dry_run=options.dry_run,
        field_validation=options.field_validation,
        problems=body.problems,
        warnings=request.warnings,
    )
    return Result(201 if created else 200, obj)


def patch(request: Request) -> Result:
    kind = patch_kind(request)
    if not request.target.name:
        raise bad_request("name must be provided")
    options = write_options(
        "PatchOptions", request.query, request.dry_run, request.user_agent, applying=kind == "apply"
    )
    value = patch_body(request, kind)
    obj, created = request.cluster.patched(
        request.resource,
        request.target.name,
        request.namespace,
        value,
        kind,
        subresource=request.target.subresource or None,
        user=request.user,
        manager=options.manager,
        force=options.force,
        dry_run=options.dry_run,
        field_validation=options.field_validation,
        warnings=request.warnings,
    )
    return Result(201 if created else 200, obj)


def patch_kind(request: Request) -> str:
    """json, merge, strategic or apply, by the content type; raises 415."""
    media_type = negotiation.media_type_of(request.content_type)
    kind = PATCH_TYPES.get(media_type)
    if kind is None and not request.resource.custom:
        raise StatusError(415, "415: Unsupported Media Type", "UnsupportedMediaType")  # the router's own words
    if kind is None or (kind == "strategic" and request.resource.custom):
        raise negotiation.unsupported(name for name, kind in PATCH_TYPES.items() if kind != "strategic")
    return kind


def patch_body(request: Request, kind: str) -> Any:
    """The patch as it was sent, read; raises 400."""
    if kind == "apply":
        try:
            value = yaml.safe_load(request.body)
        except yaml.YAMLError as error:
            raise bad_request(f"error decoding YAML: {error}") from None
    else:
        try:
            value = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            raise bad_request(_UNREAD[kind] + negotiation.go_json_error(request.body)) from None
    wanted, go_type = (list, "[]handlers.jsonPatchOp") if kind == "json" else (dict, "map[string]interface {}")
    if not isinstance(value, wanted):
        name = _JSON_NAMES.get(type(value), "number")
        raise bad_request(f"{_UNREAD[kind]}json: cannot unmarshal {name} into Go value of type {go_type}")
    for item in value if kind == "json" else ():
        if not isinstance(item, dict):
            name = _JSON_NAMES.get(type(item), "number")
            why = f"json: cannot unmarshal {name} into Go value of type handlers.jsonPatchOp"
            raise bad_request(_UNREAD[kind] + why)
    return value


def delete(request: Request) -> Result:
    options = _delete_options(request)
    answer = request.cluster.delete(
        request.resource,
        request.target.name,
        request.namespace,
        options=options,
        user=request.user,
        dry_run=bool(options.get("dryRun")),
    )
    return Result(200, answer)


def delete_collection(request: Request) -> Result:
    """Deletes what the selectors select and answers with the list of it."""
    options = _delete_options(request)
    cluster, resource = request.cluster, request.resource
    selected = cluster.list(
        resource,
        request.namespace,
        label_selector=request.query.get("labelSelector", ""),
        field_selector=request.query.get("fieldSelector", ""),
    )
    version = cluster.store.version
    for obj in selected:
        try:
            cluster.delete(
                resource,
                obj["metadata"]["name"],
                obj["metadata"].get("namespace"),
                options=options,
                user=request.user,
                dry_run=bool(options.get("dryRun")),
            )
        except StatusError as error:
            if error.code != 404:
                raise
    return Result(
        200,
        {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": str(version)},
            "items": selected,
        },
    )


def _delete_options(request: Request) -> dict[str, Any]:
    body: Object | None = None
    if request.body.strip():
        try:
            body = negotiation.object_in(request.body).value
        except negotiation.Unreadable as error:
            raise bad_request(str(error)) from None
    return delete_options(body, request.query, request.dry_run)


def _check_kind(request: Request, obj: Object) -> None:
    resource = request.resource
    if resource.custom and not obj.get("kind"):
        text = request.body.decode("utf-8", "replace")
        raise negotiation.unrecognized(request.body, resource, f"Object 'Kind' is missing in '{text}'")
    assumed = "" if resource.custom else resource.api_version
    version, kind = obj.get("apiVersion") or assumed, obj.get("kind") or resource.kind
    if resource.custom or kind == resource.kind:
        if version != resource.api_version:
            raise bad_request(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        return
    if request.target.subresource:
        return
    why = foreign_kind(request.cluster.catalog, resource, version, kind)
    bare = version.rpartition("/")[2]
    raise bad_request(f'{kind} in version "{bare}" cannot be handled as a {resource.kind}: {why}')


def _check_namespace(request: Request, obj: Object) -> None:
    metadata = obj.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    if not named:
        return
    if named != (request.namespace or ""):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
