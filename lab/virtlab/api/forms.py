"""The forms in which an object may be asked for: itself, its metadata alone, a table of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from virtlab.api import lists
from virtlab.api.lists import Page
from virtlab.api.negotiation import Accepted, encoded
from virtlab.api.tables import table
from virtlab.cluster import Cluster
from virtlab.resource import Object, Resource
from virtlab.status import StatusError
from virtlab.store import Entry, head


def partial(obj: Object, version: str, *, typed: bool = True) -> Object:
    metadata: Object = {"metadata": obj.get("metadata", {})}
    if not typed:
        return metadata
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", **metadata}


def shown(obj: Object, resource: Resource, cluster: Cluster, accept: Accepted, query: Mapping[str, str]) -> bytes:
    """One object, or a list that was made as an object, in the accepted form."""
    items = obj.get("items") if str(obj.get("kind", "")).endswith("List") else None
    if accept.form == "object" or obj.get("kind") == "Status":
        return encoded(obj, accept.media_type, accept.pretty)
    if accept.form == "metadata":
        _check_form(accept, resource, is_list=items is not None)
        if items is None:
            return encoded(partial(obj, accept.version), accept.media_type, accept.pretty)
        return encoded(_partial_list([partial(item, accept.version) for item in items], obj, accept), accept.media_type)
    objects = [obj] if items is None else items
    return encoded(
        table(objects, resource, cluster, accept.version, obj.get("metadata", {}), query.get("includeObject", "")),
        accept.media_type,
        accept.pretty,
    )


def _check_form(accept: Accepted, resource: Resource, *, is_list: bool) -> None:
    """PartialObjectMetadata is for objects, its list for lists; raises 406."""
    if accept.listed == is_list:
        return
    asked = "PartialObjectMetadataList" if accept.listed else "PartialObjectMetadata"
    kind = "unstructured.Unstructured" if resource.custom else f"{_module(resource)}.{resource.kind}"
    package = f"{kind}List" if is_list else kind
    what = "a list" if is_list else "not a list"
    text = f"you requested {asked}, but the requested object is {what} (*{package})"
    raise StatusError(406, text, "NotAcceptable")


def _module(resource: Resource) -> str:
    return resource.group.partition(".")[0] or "core"


def _partial_list(items: list[Object], source: Object, accept: Accepted) -> Object:
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{accept.version}",
        "metadata": source.get("metadata", {}),
        "items": items,
    }


def listed(page: Page, resource: Resource, cluster: Cluster, accept: Accepted, query: Mapping[str, str]) -> bytes:
    """A page of a list in the accepted form."""
    if accept.form == "object" and accept.media_type == "application/json" and not accept.pretty:
        return lists.body(page, resource, cluster.entry_converter(resource))
    objects = [cluster.converted(entry.object, resource) for entry in page.entries]
    if accept.form == "table":
        shape = table(objects, resource, cluster, accept.version, page.metadata, query.get("includeObject", ""))
    elif accept.form == "metadata":
        _check_form(accept, resource, is_list=True)
        shape = _partial_list([partial(obj, accept.version) for obj in objects], {"metadata": page.metadata}, accept)
    else:
        shape = {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": page.metadata,
            "items": objects,
        }
    return encoded(shape, accept.media_type, accept.pretty)


def entry_encoder(
    resource: Resource, cluster: Cluster, accept: Accepted, query: Mapping[str, str]
) -> Callable[[Entry], bytes]:
    """How a watch writes an entry."""
    if accept.form == "metadata":
        return lambda entry: orjson.dumps(partial(entry.object, accept.version))
    if accept.form == "object":
        prefix, convert = head(resource.api_version, resource.kind), cluster.entry_converter(resource)
        return convert or (lambda entry: prefix + entry.tail)
    first = True

    def row(entry: Entry) -> bytes:
        nonlocal first
        obj = cluster.converted(entry.object, resource)
        metadata = {"resourceVersion": str(entry.version)}
        shape = table([obj], resource, cluster, accept.version, metadata, query.get("includeObject", ""))
        if not first:
            shape["columnDefinitions"] = None
        first = False
        return orjson.dumps(shape)

    return row


def marker(accept: Accepted) -> Callable[[Object], bytes]:
    """How a watch writes a bookmark, which is an object that holds nothing but metadata."""
    if accept.form == "metadata":
        return lambda obj: orjson.dumps(partial(obj, accept.version))
    if accept.form == "table":
        return lambda obj: orjson.dumps(
            {
                "kind": "Table",
                "apiVersion": f"meta.k8s.io/{accept.version}",
                "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
                "columnDefinitions": None,
                "rows": [{"cells": [], "object": partial(obj, accept.version)}],
            }
        )
    return orjson.dumps
