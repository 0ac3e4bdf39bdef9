"""Who owns which field: metadata.managedFields, kept on every write, and server-side apply.

After k8s.io/apimachinery/pkg/util/managedfields and sigs.k8s.io/structured-merge-diff/merge.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from virtlab.apply.fieldset import FieldSet, Path, path_text
from virtlab.apply.typed import Comparison, check, compare, merge, remove_items, to_field_set, with_named_fields
from virtlab.apply.types import Type, TypeMismatch
from virtlab.goformat import quoted
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.status import Cause, StatusError, bad_request

APPLY, UPDATE = "Apply", "Update"
MAX_UPDATERS = 10
_BEFORE_FIRST_APPLY = "before-first-apply"
_ANCIENT = "ancient-changes"

_METADATA_FIELDS = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
)
# Nobody owns what only identifies the object.
_STRIPPED = FieldSet.of(
    ("f:apiVersion",), ("f:kind",), ("f:metadata",), *(("f:metadata", f"f:{name}") for name in _METADATA_FIELDS)
)


@dataclass(frozen=True)
class Endpoint:
    """Where a write goes. C(ignored): what it does not persist, such as status on the main resource.

    C(at_version) gives an object's type and form in another version; None where that version is no more.
    """

    api_version: str
    kind: str
    type: Type
    subresource: str = ""
    ignored: FieldSet = field(default_factory=FieldSet)
    at_version: Callable[[Object, str], tuple[Type, Object] | None] | None = None

    def form(self, obj: Object, api_version: str) -> tuple[Type, Object] | None:
        there = obj.get("apiVersion", self.api_version)
        if self.at_version is None or there == api_version == self.api_version:
            return self.type, obj
        return self.at_version(obj, api_version)


@dataclass(frozen=True)
class Manager:
    """Names an entry of managedFields; C(api_version) only for updates, as an applier keeps one entry for all."""

    name: str
    operation: str
    api_version: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        text = quoted(self.name)
        if self.subresource:
            text += f" with subresource {quoted(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


@dataclass
class Owned:
    """The fields of one manager, at the version and time of its last change."""

    fields: FieldSet
    api_version: str
    time: str = ""

    @property
    def seconds(self) -> int:
        return calendar.timegm(time.strptime(self.time, "%Y-%m-%dT%H:%M:%SZ")) if self.time else 0


Managers = dict[Manager, Owned]


def track(endpoint: Endpoint, live: Object | None, new: Object, manager: str, now: str) -> None:
    """Write into C(new), which was created or updated, who owns its fields. C(now): RFC 3339 in seconds."""
    metadata = new.setdefault("metadata", {})
    managers = _managers_for_update(endpoint, live, new)
    metadata.pop("managedFields", None)
    if not managers and live is not None:
        # Tracking starts with the creation or with the first apply.
        return
    identity = Manager(manager or "unknown", UPDATE, endpoint.api_version, endpoint.subresource)
    try:
        managers = _updated(endpoint, _bare(live), new, managers, identity, now)
    except TypeMismatch:
        return
    _cap_updaters(managers)
    _write(metadata, managers)


def apply(
    endpoint: Endpoint, live: Object | None, patch: Object, manager: str, now: str, *, force: bool = False
) -> Object:
    """The object that server-side apply makes of C(live) and C(patch), managedFields included; neither is changed.

    C(live) None: the object is created. Raises StatusError: 400 for a patch of another kind or with managedFields, 409
    with every conflict, 500 where the patch does not fit the schema.
    """
    _check_patch(endpoint, patch)
    managers = _decoded((live or {}).get("metadata", {}).get("managedFields") or ())
    before = _bare(live)
    if live is not None and not managers:
        first = Manager(_BEFORE_FIRST_APPLY, UPDATE, endpoint.api_version, endpoint.subresource)
        managers = _updated(endpoint, {}, before, {}, first, now)
    try:
        check(endpoint.type, patch, duplicates=False)
    except TypeMismatch as error:
        metadata = patch.get("metadata") or {}
        identity = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {_kind_text(patch)}"
        raise StatusError(500, f"failed to create typed patch object ({identity}): {error}") from error
    identity_of_applier = Manager(manager, APPLY, "", endpoint.subresource)
    last = managers.get(identity_of_applier)
    merged = merge(endpoint.type, before, patch)
    fields = to_field_set(endpoint.type, patch).without(endpoint.ignored)
    managers[identity_of_applier] = Owned(fields, endpoint.api_version, last.time if last else "")
    pruned = _pruned(endpoint, merged, managers, last)
    comparison = _conflicting(endpoint, before, pruned, managers, identity_of_applier, force=force)
    if comparison.added or comparison.modified or comparison.removed or live is None or before != pruned:
        managers[identity_of_applier].time = now
    _strip(managers, identity_of_applier)
    new: Object = copied(pruned)
    _write(new.setdefault("metadata", {}), managers)
    return new


def settle_times(old: Object, new: Object) -> None:
    """Give C(new) the managedFields of C(old) where they differ in nothing but times, and the rest not at all.

    Then a write that changes nothing is seen as one. Call it last before C(new) is stored.
    """
    before = old["metadata"].get("managedFields") or []
    after = new["metadata"].get("managedFields") or []
    if before == after or _timeless(before) != _timeless(after):
        return
    if _without_managed(old) == _without_managed(new):
        new["metadata"] = {**new["metadata"], "managedFields": before}


def _timeless(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def _without_managed(obj: Object) -> Object:
    skipped = ("managedFields", "resourceVersion")
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in skipped}}


def _kind_text(obj: Object) -> str:
    """A group, version and kind as Go prints them."""
    group, slash, version = str(obj.get("apiVersion") or "").rpartition("/")
    return f"{group}{slash or '/'}{version}, Kind={obj.get('kind') or ''}"


def _check_patch(endpoint: Endpoint, patch: Object) -> None:
    if (patch.get("apiVersion") or "", patch.get("kind") or "") != (endpoint.api_version, endpoint.kind):
        raise bad_request(f"invalid object type: {_kind_text(patch)}")
    if (patch.get("metadata") or {}).get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")


def _bare(obj: Object | None) -> Object:
    """The object without managedFields, which are no part of what is managed."""
    if obj is None:
        return {}
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


# The entries


def _managers_for_update(endpoint: Endpoint, live: Object | None, new: Object) -> Managers:
    """A client may write managedFields itself: [] or [{}] resets them, unreadable ones are ignored."""
    kept = (live or {}).get("metadata", {}).get("managedFields") or ()
    sent = new["metadata"].get("managedFields")
    if endpoint.subresource or sent is None:
        return _decoded_or_none(kept)
    if sent in ([], [{}]):
        return {}
    return _decoded_or_none(sent) or _decoded_or_none(kept)


def _decoded_or_none(entries: Sequence[Mapping[str, Any]]) -> Managers:
    try:
        return _decoded(entries)
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _decoded(entries: Sequence[Mapping[str, Any]]) -> Managers:
    managers: Managers = {}
    for entry in entries:
        if entry["operation"] not in (APPLY, UPDATE) or entry["fieldsType"] != "FieldsV1":
            raise ValueError(f"unreadable entry of {entry.get('manager')}")
        version = entry["apiVersion"]
        applied = entry["operation"] == APPLY
        identity = Manager(
            entry.get("manager", ""), entry["operation"], "" if applied else version, entry.get("subresource", "")
        )
        fields = FieldSet.parse(entry.get("fieldsV1") or {})
        managers[identity] = Owned(fields, version, entry.get("time") or "")
    return managers


def _write(metadata: Object, managers: Managers) -> None:
    entries = []
    for identity in sorted(
        managers,
        key=lambda one: (one.operation, managers[one].seconds, one.name, managers[one].api_version, one.subresource),
    ):
        owned = managers[identity]
        entry: dict[str, Any] = {"manager": identity.name, "operation": identity.operation}
        entry["apiVersion"] = owned.api_version
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields.fields()}
        if identity.subresource:
            entry["subresource"] = identity.subresource
        entries.append(entry)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)


def _strip(managers: Managers, identity: Manager) -> None:
    owned = managers.get(identity)
    if owned is None:
        return
    owned.fields = owned.fields.difference(_STRIPPED)
    if not owned.fields:
        del managers[identity]


def _cap_updaters(managers: Managers) -> None:
    """Merge the oldest updaters of a version into one entry when there are too many."""
    updaters = [identity for identity in managers if identity.operation == UPDATE]
    excess = len(updaters) - MAX_UPDATERS
    first: dict[str, Manager] = {}
    for identity in sorted(updaters, key=lambda one: (managers[one].seconds, one.name, one.subresource)):
        if excess <= 0:
            return
        owned = managers[identity]
        bucket = Manager(_ANCIENT, UPDATE, owned.api_version)
        if owned.api_version not in first:
            first[owned.api_version] = identity
            continue
        if bucket not in managers:
            managers[bucket] = managers.pop(first[owned.api_version])
        fields = owned.fields.union(managers[bucket].fields)
        managers[bucket] = Owned(fields, owned.api_version, owned.time)
        del managers[identity]
        excess -= 1


# Merging


def _updated(
    endpoint: Endpoint, live: Object, new: Object, managers: Managers, identity: Manager, now: str
) -> Managers:
    """Ownership after an update: what it added or changed is its own, and no longer anybody else's."""
    check(endpoint.type, new)
    comparison = _conflicting(endpoint, live, new, managers, None, force=True)
    fields = comparison.modified.union(comparison.added).difference(_STRIPPED)
    if fields:
        previous = managers.get(identity)
        whole = fields if previous is None else fields.union(previous.fields)
        managers[identity] = Owned(whole, endpoint.api_version, now)
    return managers


def _conflicting(
    endpoint: Endpoint, live: Object, new: Object, managers: Managers, own: Manager | None, *, force: bool
) -> Comparison:
    """Take the changed fields from all managers but C(own); without C(force) that raises 409 if there are any."""
    at_own = compare(endpoint.type, live, new).without(endpoint.ignored)
    comparisons: dict[str, Comparison | None] = {endpoint.api_version: at_own}
    conflicts: dict[Manager, FieldSet] = {}
    for identity in [one for one in managers if one != own]:
        version = managers[identity].api_version
        if version not in comparisons:
            comparisons[version] = _compared_at(endpoint, live, new, version)
        comparison = comparisons[version]
        if comparison is None:
            del managers[identity]
            continue
        taken = managers[identity].fields.intersection(comparison.modified.union(comparison.added))
        if taken:
            conflicts[identity] = taken
    if conflicts and not force:
        raise _conflict_error(conflicts)
    for identity in list(managers):
        if identity == own:
            continue
        owned = managers[identity]
        comparison = comparisons[owned.api_version]
        left = owned.fields.difference(conflicts.get(identity, FieldSet()))
        if comparison is not None:
            left = left.difference(comparison.removed)
        if not left:
            del managers[identity]
        else:
            managers[identity] = Owned(left, owned.api_version, owned.time)
    return at_own


def _compared_at(endpoint: Endpoint, live: Object, new: Object, version: str) -> Comparison | None:
    before, after = endpoint.form(live, version), endpoint.form(new, version)
    if before is None or after is None:
        return None
    return compare(after[0], before[1], after[1]).without(endpoint.ignored)


def _conflict_error(conflicts: dict[Manager, FieldSet]) -> StatusError:
    listed: list[tuple[Manager, Path]] = []
    for identity in sorted(conflicts, key=lambda one: (one.name, one.operation, one.subresource, one.api_version)):
        listed += [(identity, path) for path in conflicts[identity].paths()]
    causes = tuple(
        Cause(f"conflict with {identity}", path_text(path), "FieldManagerConflict") for identity, path in listed
    )
    if len(listed) == 1:
        identity, path = listed[0]
        text = f"Apply failed with 1 conflict: conflict with {identity}: {path_text(path)}"
    else:
        lines = []
        for identity in dict.fromkeys(identity for identity, _ in listed):
            lines.append(f"conflicts with {identity}:")
            lines += [f"- {path_text(path)}" for owner, path in listed if owner == identity]
        text = f"Apply failed with {len(listed)} conflicts: " + "\n".join(lines)
    return StatusError(409, text, "Conflict", causes=causes)


def _with_owned(endpoint: Endpoint, merged: Object, pruned: Object, managers: Managers, last: Owned) -> Object:
    """What was pruned with all that anybody owns added back, each at the version that it is owned in.

    The version of the last application comes first, since a conversion may need what is owned there.
    """
    managed: dict[str, FieldSet] = {}
    for owned in managers.values():
        managed[owned.api_version] = managed.get(owned.api_version, FieldSet()).union(owned.fields)
    for version in sorted(managed, key=lambda version: version != last.api_version):
        whole, rest = endpoint.form(merged, version), endpoint.form(pruned, version)
        if whole is None or rest is None:
            continue
        kind = whole[0]
        kept = with_named_fields(kind, to_field_set(kind, rest[1])).union(with_named_fields(kind, managed[version]))
        everything = with_named_fields(kind, to_field_set(kind, whole[1]))
        pruned = remove_items(kind, whole[1], everything.difference(kept))
    back = endpoint.form(pruned, last.api_version)
    return pruned if back is None else back[1]


def _pruned(endpoint: Endpoint, merged: Object, managers: Managers, last: Owned | None) -> Object:
    """Without what the applier applied last time, does not apply now, and nobody else owns."""
    if last is None or not last.fields:
        return merged
    form = endpoint.form(merged, last.api_version)
    if form is None:
        return merged
    kind, whole = form
    pruned = _with_owned(
        endpoint, whole, remove_items(kind, whole, with_named_fields(kind, last.fields)), managers, last
    )
    everything = with_named_fields(kind, to_field_set(kind, whole))
    kept = with_named_fields(kind, to_field_set(kind, pruned))
    dangling = everything.difference(kept).intersection(with_named_fields(kind, last.fields))
    pruned = remove_items(kind, whole, dangling)
    if last.api_version == endpoint.api_version or endpoint.at_version is None:
        return dict(pruned)
    back = endpoint.at_version(pruned, endpoint.api_version)
    return dict(pruned) if back is None else back[1]
