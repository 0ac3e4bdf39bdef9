"""PATCH: the object that a patch makes of the live one, and what is refused on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from virtlab.apply.strategic import go_map, strategic_merge
from virtlab.catalog import Catalog
from virtlab.goformat import quoted
from virtlab.patches import PatchError, apply_json_patch, copied, merge
from virtlab.resource import Object, Resource
from virtlab.schema.decoding import Undecodable
from virtlab.status import Cause, StatusError, bad_request, invalid
from virtlab.writes import Refusals

if TYPE_CHECKING:
    from virtlab.cluster import Cluster


SCHEME = "pkg/api/legacyscheme/scheme.go:30"


def changed(cluster: Cluster, resource: Resource, live: Object, patch: Any, kind: str) -> Object:
    """C(live) after the patch; C(kind) is json, merge or strategic."""
    try:
        match kind:
            case "json":
                new = apply_json_patch(live, patch)
            case "merge":
                new = merge(copied(live), patch)
            case _:
                new = strategic_merge(cluster.structure(resource) or {}, live, patch)
    except PatchError:
        raise StatusError(422, "the server rejected our request due to an error in our request", "Invalid") from None
    if not isinstance(new, dict):
        raise bad_request("the patched object is none")
    if kind != "strategic":
        _check_kind(cluster.catalog, resource, new)
    new["apiVersion"], new["kind"] = resource.api_version, resource.kind
    if new.get("metadata") is None:
        new["metadata"] = {}
    return new


def check_names(name: str, namespace: str | None, new: Object) -> None:
    """The patched object must still be the one that the URL names."""
    metadata = new["metadata"]
    if not metadata.get("name"):
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if metadata["name"] != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if metadata.get("namespace") and metadata["namespace"] != (namespace or ""):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def foreign_kind(catalog: Catalog, resource: Resource, version: str, kind: str) -> str | None:
    """Why an object that calls itself something else cannot be read as this built-in kind."""
    if (version, kind) == (resource.api_version, resource.kind):
        return None
    group, _, bare = version.rpartition("/")
    if catalog.of_kind(group, bare, kind) is None:
        return f'no kind "{kind}" is registered for version "{version}" in scheme "{SCHEME}"'
    module = group.partition(".")[0] or "core"
    return f"converting ({bare}.{kind}) to ({module}.{resource.kind}): unknown conversion"


def _check_kind(catalog: Catalog, resource: Resource, new: Object) -> None:
    version, kind = new.get("apiVersion") or "", new.get("kind") or ""
    if not resource.custom:
        if why := foreign_kind(catalog, resource, version, kind):
            raise _refused(_document(new), why)
        return
    if version == resource.api_version:
        return
    group, _, bare = version.rpartition("/")
    if group != resource.group:
        shown = f"{group}/{bare}"
        raise _internal(
            f"{shown}, Kind={kind} is unstructured and is not suitable for converting to {quoted(resource.api_version)}"
        )
    if catalog.find(group, bare, resource.plural) is None:
        raise _internal(f"request to convert CR from an invalid group/version: {version}")
    text = f"Invalid value: {quoted(version)}: must be {resource.api_version}"
    name = (new.get("metadata") or {}).get("name") or ""
    raise invalid(resource, name, [Cause(text, "apiVersion", "FieldValueInvalid")])


def _internal(why: str) -> StatusError:
    text = f"Internal error occurred: {why}"
    return StatusError(500, f"Internal error occurred: {text}", "InternalError", {}, (Cause(text),))


def _document(obj: Object) -> str:
    """The patched object as the server's message shows it: without managed fields."""
    metadata = obj.get("metadata")
    if isinstance(metadata, dict):
        obj = {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}
    return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS).decode()


def _refused(shown: str, why: str) -> StatusError:
    cause = Cause(f"Invalid value: {quoted(shown)}: {why}", "patch", "FieldValueInvalid")
    return StatusError(422, f' "" is invalid: patch: {cause.message}', "Invalid", {}, (cause,))


class PatchRefusals(Refusals):
    """What a patch made does not fit the kind's types."""

    def __init__(self, resource: Resource, patch: Any, kind: str) -> None:
        super().__init__(resource)
        self.patch = patch
        self.kind = kind

    def undecodable(self, obj: Object, problem: Undecodable) -> StatusError:
        if self.kind == "strategic":
            return _refused(go_map(self.patch), problem.restoring)
        return _refused(_document(obj), str(problem))

    def strict(self, obj: Object, problems: str) -> StatusError:
        return _refused(orjson.dumps(obj, option=orjson.OPT_SORT_KEYS).decode(), f"strict decoding error: {problems}")
