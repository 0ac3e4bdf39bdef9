"""Writes of the cluster's own components, past what only clients need.

A component writes what it computed: nothing has to be pruned, defaulted or refused, and its managed fields are known
without comparing typed trees. That makes such a write some ten times cheaper than one through the whole pipeline; a
Manager that is C(thorough), as in tests, takes the pipeline all the same, which checks every object by its schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtlab import objectmeta, strategies
from virtlab.patches import copied
from virtlab.resource import Object, Resource
from virtlab.status import conflict, not_found
from virtlab.writes import is_over

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
FREE = frozenset({"metadata", "status"})


def live_of(cluster: Cluster, resource: Resource, obj: Object) -> Object:
    """What is stored, if C(obj) was made from it. Raises a 404, or a 409 when it changed since."""
    metadata = obj["metadata"]
    entry = cluster.store.find(resource.key, metadata.get("namespace"), metadata["name"])
    if entry is None:
        raise not_found(resource, metadata["name"])
    live = entry.object
    if metadata.get("uid") != live["metadata"]["uid"] or (
        metadata.get("resourceVersion") != live["metadata"]["resourceVersion"]
    ):
        raise conflict(resource, metadata["name"], MODIFIED)
    return live


def owned(value: Any) -> dict[str, Any]:
    """FieldsV1 of a value: maps by field, everything else as one."""
    if not isinstance(value, dict) or not value:
        return {}
    return {".": {}, **{f"f:{name}": owned(item) for name, item in value.items()}}


def _metadata_fields(old: Object, new: Object) -> dict[str, Any]:
    """FieldsV1 of what C(new) metadata has and C(old) had not."""
    fields: dict[str, Any] = {}
    for name in ("labels", "annotations"):
        before, after = old.get(name) or {}, new.get(name) or {}
        changed: dict[str, Any] = {f"f:{key}": {} for key, value in after.items() if before.get(key) != value}
        if changed:
            fields[f"f:{name}"] = changed
    added = [item for item in new.get("finalizers") or () if item not in (old.get("finalizers") or ())]
    if added:
        fields["f:finalizers"] = {f'v:"{item}"': {} for item in added}
    return {"f:metadata": fields} if fields else {}


def _union(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    result = dict(one)
    for key, value in two.items():
        result[key] = _union(result[key], value) if key in result else value
    return result


def _tracked(
    entries: list[Object],
    resource: Resource,
    manager: str,
    subresource: str,
    fields: dict[str, Any],
    stamp: str,
    *,
    add: bool,
) -> list[Object]:
    """managedFields with C(fields) for the manager: added to what it owned, or instead of it."""
    wanted = {"manager": manager, "operation": "Update", "apiVersion": resource.api_version, "fieldsType": "FieldsV1"}
    if subresource:
        wanted["subresource"] = subresource
    result = list(entries)
    for position, entry in enumerate(entries):
        if (
            all(entry.get(key) == value for key, value in wanted.items())
            and entry.get("subresource", "") == subresource
        ):
            union = _union(entry["fieldsV1"], fields) if add else fields
            if union != entry["fieldsV1"]:
                result[position] = {**wanted, "fieldsV1": union, "time": stamp}
            return result
    return [*result, {**wanted, "fieldsV1": fields, "time": stamp}]


def create(cluster: Cluster, resource: Resource, obj: Object, manager: str) -> Object | None:
    """A new object of a built-in kind; None when its name is taken."""
    new = copied(obj)
    new["apiVersion"], new["kind"] = resource.api_version, resource.kind
    metadata = new["metadata"]
    objectmeta.fill(metadata, cluster.clock, cluster.random)
    strategies.prepare_create(cluster, resource, new)
    if cluster.store.find(resource.key, metadata.get("namespace"), metadata["name"]) is not None:
        return None
    fields = {f"f:{name}": owned(new[name]) for name in ("spec", "data") if name in new}
    fields.update(_metadata_fields({}, metadata))
    metadata["managedFields"] = _tracked([], resource, manager, "", fields, cluster.clock.stamp(), add=False)
    return cluster.stored(resource, new)


def write_status(cluster: Cluster, resource: Resource, obj: Object, status: Object, manager: str) -> Object:
    """C(obj) with another status."""
    live = live_of(cluster, resource, obj)
    subresource = "status" if "status" in resource.subresources else ""
    return put(cluster, resource, live, {**live, "status": status}, manager, subresource, {"f:status": owned(status)})


def only_free_fields(live: Object, obj: Object) -> bool:
    """Does C(obj) share everything but metadata and status with C(live)?"""
    return all(obj.get(key) is live.get(key) for key in obj.keys() | live.keys() if key not in FREE)


def write_metadata(cluster: Cluster, resource: Resource, live: Object, obj: Object, manager: str) -> Object:
    """C(obj), which differs from C(live) in metadata, and in its status where that is no subresource of its own."""
    old, new = live["metadata"], obj["metadata"]
    kept = {key: value for key, value in old.items() if key not in METADATA}
    metadata = {**kept, **{key: new[key] for key in METADATA if new.get(key)}}
    changed = {**live, "metadata": metadata}
    fields = _metadata_fields(old, metadata)
    if "status" not in resource.subresources and "status" in obj:
        changed["status"] = obj["status"]
        fields = {**fields, "f:status": owned(obj["status"])}
    return put(cluster, resource, live, changed, manager, "", fields)


def put(
    cluster: Cluster,
    resource: Resource,
    live: Object,
    new: Object,
    manager: str,
    subresource: str,
    fields: dict[str, Any],
) -> Object:
    """Store C(new) with C(fields) as the manager's; the object goes when nothing holds it any more."""
    if new == live:
        return live
    if is_over(resource, new):
        return cluster.removed(resource, new)
    metadata = dict(new["metadata"])
    if fields:
        entries = metadata.get("managedFields") or []
        stamp = cluster.clock.stamp()
        metadata["managedFields"] = _tracked(
            entries, resource, manager, subresource, fields, stamp, add=not subresource
        )
    if resource.custom and not subresource and "status" in fields and "generation" in metadata:
        metadata["generation"] += 1
    return cluster.stored(resource, {**new, "metadata": metadata})
