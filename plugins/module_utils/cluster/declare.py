# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which objects are written: read, compare, and apply only what differs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ..journal import note
from .client import CONCURRENCY, FIELD_MANAGER, Client
from .compare import Match, compare
from .errors import ClusterError, Conflict, FieldConflict, Invalid, NamespaceMissing, NotFound
from .merge import Intent, intent
from .resource import Object, Resource
from .shown import difference, essence, shown

Action = Literal["created", "updated", "deleted", "unchanged"]
Key: TypeAlias = "tuple[str | None, str]"

_ATTEMPTS = 8
_FIRST_PAUSE = 0.05


class _Unread:
    """Says that the caller has not read the live object, where None says that there is none."""


UNREAD: Final = _Unread()


@dataclass(frozen=True)
class Outcome:
    """What a declaration came to. C(before) and C(after) are as the server holds them, secrets included.

    In check mode C(after) is the server's own answer to a dry run. C(warnings) are for the user.
    """

    resource: Resource
    action: Action
    before: Object | None
    after: Object | None
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.action != "unchanged"

    def diff(self) -> dict[str, Any]:
        """For a task's C(diff): without what the server alone writes and without secrets."""
        return difference(self.resource, self.before, self.after)

    def shown(self) -> Object | None:
        """The object for a task's result: without managedFields and without secrets."""
        return shown(self.resource, self.after)


def declare(
    client: Client,
    resource: Resource,
    desired: Object,
    *,
    live: Object | _Unread | None = UNREAD,
    check_mode: bool = False,
    force_conflicts: bool = False,
    replace_lists: bool | Collection[str] = False,
    rebase: Callable[[Object | None], Object] | None = None,
) -> Outcome:
    """Make the server's object hold what is declared. When it does already, nothing is sent.

    Fields declared before and now left out go away, those of other managers stay, a null removes a field whoever set
    it; for lists see merge.intent(). C(live) is the object where the caller has just read it. C(rebase) makes
    C(desired) anew from the live object where that changed after it was read. In check mode the same requests are dry
    runs; in a namespace that does not exist yet the outcome is C(created) with a warning, since an
    earlier task may create it. Raises ClusterError: FieldConflict when another manager declares a field with another
    value, unless C(force_conflicts).
    """
    namespace, name = _key(resource, desired)
    before = client.get(resource, name, namespace) if isinstance(live, _Unread) else live
    writer = _Writer(client, resource, check_mode, force_conflicts)
    current = before
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            after = writer.write(intent(resource, desired, current, replace_lists), current)
        except NamespaceMissing as error:
            if not check_mode:
                raise
            warning = f"{error.server_message}: the cluster could not check {resource.kind} {namespace}/{name}."
            body = intent(resource, desired, None, replace_lists).body
            return Outcome(resource, "created", None, body, (warning,))
        except (Conflict, NotFound) as error:
            if isinstance(error, FieldConflict) or attempt == _ATTEMPTS or not _is_stale(error):
                raise
            time.sleep(_FIRST_PAUSE * attempt * random.uniform(0.5, 1.5))
            current = client.get(resource, name, namespace)
            desired = rebase(current) if rebase else desired
        else:
            action = _action(before, after)
            if action != "unchanged" and not check_mode:
                note(action, (resource.kind, namespace, name))
            return Outcome(resource, action, before, after)
    raise AssertionError("the last attempt returns or raises")


def declare_many(
    client: Client,
    resource: Resource,
    desired: Sequence[Object],
    *,
    live: Mapping[Key, Object] | None = None,
    check_mode: bool = False,
    force_conflicts: bool = False,
    replace_lists: bool | Collection[str] = False,
    limit: int = CONCURRENCY,
) -> list[Outcome | ClusterError]:
    """declare() for many objects of one kind: one LIST, comparison in memory, writes C(limit) at a time.

    Results come in the order of C(desired); an object that fails does not stop the others. C(live) is what the caller
    has listed already, by (namespace, name). Raises ClusterError when the objects cannot be listed or when two of the
    declarations are of the same object.
    """
    keys = [_key(resource, item) for item in desired]
    doubled = sorted({_place(key) for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if doubled:
        raise Invalid(f"{resource.kind} declared twice: {', '.join(doubled)}. Declare each object once.")
    known = read_many(client, resource, keys) if live is None else live

    def settle(pair: tuple[Key, Object]) -> Outcome:
        key, item = pair
        return declare(
            client,
            resource,
            item,
            live=known.get(key),
            check_mode=check_mode,
            force_conflicts=force_conflicts,
            replace_lists=replace_lists,
        )

    results: dict[Key, Outcome | ClusterError] = {}
    pending: list[tuple[Key, Object]] = []
    for key, item in zip(keys, desired, strict=True):
        found = known.get(key)
        if found is not None and _is_settled(resource, item, found, replace_lists):
            results[key] = Outcome(resource, "unchanged", found, found)
        else:
            pending.append((key, item))
    written = client.in_parallel(settle, pending, limit)
    results.update({key: result for (key, _item), result in zip(pending, written, strict=True)})
    return [results[key] for key in keys]


def read_many(client: Client, resource: Resource, keys: Iterable[Key]) -> dict[Key, Object]:
    """The objects of these (namespace, name) that exist, by as few requests as it takes.

    One object is got; those of one namespace are one LIST, and so are those of several where the user may list the
    whole cluster.
    """
    wanted = set(keys)
    if len(wanted) == 1:
        namespace, name = next(iter(wanted))
        found = client.get(resource, name, namespace)
        items = [found] if found else []
    else:
        listings = client.list_namespaces(resource, {namespace for namespace, _name in wanted})
        items = [item for listing in listings.values() for item in listing.items]
    objects = {(_namespace(resource, item), item["metadata"]["name"]): item for item in items}
    return {key: objects[key] for key in wanted if key in objects}


def remove(
    client: Client,
    resource: Resource,
    name: str,
    namespace: str | None = None,
    *,
    live: Object | _Unread | None = UNREAD,
    check_mode: bool = False,
    propagation: str | None = None,
    grace_period: int | None = None,
) -> Outcome:
    """Ask for the object's deletion; one that is gone, or already being deleted, is left alone. See wait.deleted()."""
    before = client.get(resource, name, namespace) if isinstance(live, _Unread) else live
    if before is None or before["metadata"].get("deletionTimestamp"):
        return Outcome(resource, "unchanged", before, before)
    there = client.delete(
        resource,
        name,
        namespace,
        dry_run=check_mode,
        propagation=propagation,
        grace_period=grace_period,
        uid=before["metadata"].get("uid"),
    )
    return Outcome(resource, "deleted" if there else "unchanged", before, None)


@dataclass(frozen=True)
class _Writer:
    """How the writes of one declaration are made."""

    client: Client
    resource: Resource
    check_mode: bool
    force: bool

    def write(self, wanted: Intent, live: Object | None) -> Object:
        """Send what differs from C(live); the object afterwards."""
        if live is None:
            return self._apply(wanted.body, self.check_mode)
        if live["metadata"].get("deletionTimestamp"):
            place = _place(_key(self.resource, wanted.body))
            raise Conflict(
                f"Cannot apply {self.resource.kind} {place}: it is being deleted since"
                f" {live['metadata']['deletionTimestamp']}. Wait until it is gone, then run again."
            )
        match = Match.DIFFERENT if wanted.removals else compare(wanted.body, live, FIELD_MANAGER)
        if match is Match.SAME:
            return live
        # Under the live version, so that what was merged, compared and is reported as changed is what was there.
        body = _under_version(wanted.body, live)
        if wanted.removals:
            return self._remove_fields(body, wanted.removals)
        if match is Match.UNSURE:
            answer = self._apply(body, True)
            if self.check_mode or essence(answer) == essence(live):
                return answer if self.check_mode else live
        return self._apply(body, self.check_mode)

    def _apply(self, body: Object, dry_run: bool) -> Object:
        try:
            return self.client.apply(self.resource, body, force=self.force, dry_run=dry_run)
        except FieldConflict as error:
            if error.applied:
                raise
            # Those who merely updated a field (a console, virtctl) give way to its declaration.
            return self.client.apply(self.resource, body, force=True, dry_run=dry_run)

    def _remove_fields(self, body: Object, removals: Object) -> Object:
        """Apply, and take away fields that other managers own, which only a patch can do.

        Both in one patch, because an object may be valid only with both (runStrategy instead of running); then the
        apply takes the ownership that a patch does not give.
        """
        if not self.force:
            try:
                self.client.apply(self.resource, body, dry_run=True)
            except FieldConflict as error:
                # A patch would override silently what another manager declares.
                if error.applied:
                    raise
            except Invalid:
                # Without the removals it may well be invalid; the patch below is judged whole.
                pass
        metadata = body["metadata"]
        patch = _with_removals(body, removals)
        answer = self.client.patch(
            self.resource, metadata["name"], metadata.get("namespace"), patch, dry_run=self.check_mode
        )
        if self.check_mode:
            return answer
        return self.client.apply(self.resource, _under_version(body, answer), force=True)


def _key(resource: Resource, desired: Object) -> Key:
    metadata = desired.get("metadata") or {}
    name = metadata.get("name")
    if not name:
        raise Invalid(f"A {resource.kind} is declared without metadata.name.")
    if resource.namespaced and not metadata.get("namespace"):
        raise Invalid(f"{resource.kind} {name} is declared without metadata.namespace.")
    return (metadata["namespace"] if resource.namespaced else None), name


def _namespace(resource: Resource, item: Object) -> str | None:
    return item["metadata"].get("namespace") if resource.namespaced else None


def _place(key: Key) -> str:
    return "/".join(part for part in key if part)


def _is_settled(resource: Resource, desired: Object, live: Object, replace_lists: bool | Collection[str]) -> bool:
    try:
        wanted = intent(resource, desired, live, replace_lists)
    except Invalid:
        # Reported in its place among the results, by the declaration itself.
        return False
    return not wanted.removals and compare(wanted.body, live, FIELD_MANAGER) is Match.SAME


def _is_stale(error: ClusterError) -> bool:
    """Whether the object changed, went or came between reading and writing."""
    text = error.server_message
    return isinstance(error, NotFound) or "object has been modified" in text or "uid mismatch" in text


def _action(before: Object | None, after: Object) -> Action:
    if before is None:
        return "created"
    return "unchanged" if essence(before) == essence(after) else "updated"


def _under_version(body: Object, live: Object) -> Object:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}


def _with_removals(body: Object, removals: Object) -> Object:
    result = dict(body)
    for name, value in removals.items():
        result[name] = _with_removals(result.get(name) or {}, value) if isinstance(value, dict) else None
    return result
