"""The garbage collector: what goes when its owner goes, in background, foreground, or not at all."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.ownership import being_deleted, owner_uids, references
from virtlab.controllers.runtime import Controller, Key, Manager, key_of
from virtlab.resource import Object
from virtlab.status import StatusError
from virtlab.store import Event

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def _uid(obj: Object) -> tuple[str, ...]:
    return (obj["metadata"]["uid"],) if obj["metadata"].get("uid") else ()


def _coded(group: str, plural: str, namespace: str, name: str) -> Key:
    """A key over all kinds: the kind goes with the name."""
    return namespace, f"{plural}.{group}/{name}" if group else f"{plural}/{name}"


class GarbageCollector(Controller):
    """Works on dependents (whose owner is gone) and on owners (that wait for their dependents)."""

    manager_name = "kube-controller-manager"
    watches = ("*",)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._dependents = manager.index("*", owner_uids)
        self._objects = manager.index("*", _uid)

    def keys(self, event: Event) -> Iterable[Key]:
        obj = event.object
        metadata = obj["metadata"]
        if event.type == "DELETED":
            for path in self._dependents.paths(metadata.get("uid", "")):
                yield _coded(*path)
            for uid in owner_uids(obj):
                yield from self._deleting_owner(uid)
            return
        if "deletionTimestamp" in metadata and {FOREGROUND, ORPHAN} & set(metadata.get("finalizers") or ()):
            yield _coded(*event.key, *key_of(obj))
        elif metadata.get("ownerReferences"):
            before = event.previous.object["metadata"].get("ownerReferences") if event.previous else None
            if before != metadata["ownerReferences"]:
                yield _coded(*event.key, *key_of(obj))

    def _deleting_owner(self, uid: str) -> Iterable[Key]:
        for group, plural, namespace, name in self._objects.paths(uid):
            owner = self.find(f"{plural}.{group}" if group else plural, namespace, name)
            if owner is not None and being_deleted(owner):
                yield _coded(group, plural, namespace, name)

    def reconcile(self, key: Key) -> float | None:
        namespace, coded = key
        qualified, _, name = coded.partition("/")
        obj = self.find(qualified, namespace, name)
        if obj is None or self.served(qualified) is None:
            return None
        finalizers = obj["metadata"].get("finalizers") or ()
        if being_deleted(obj):
            if ORPHAN in finalizers:
                self._orphan(obj)
                self.drop_finalizer(qualified, obj, ORPHAN)
            elif FOREGROUND in finalizers and self._dependents_gone(obj):
                self.drop_finalizer(qualified, obj, FOREGROUND)
            return None
        self._collect(qualified, namespace, name, obj)
        return None

    def _collect(self, qualified: str, namespace: str, name: str, obj: Object) -> None:
        """Delete C(obj) when no owner is left, else forget the owners that went."""
        owners = references(obj)
        if not owners:
            return
        solid = [owner for owner in owners if self._objects.count(owner["uid"])]
        if not solid:
            finalizers = obj["metadata"].get("finalizers") or ()
            self.delete(qualified, namespace, name, "Orphan" if ORPHAN in finalizers else "Background")
        elif len(solid) < len(owners):
            self._set_owners(qualified, obj, {owner["uid"] for owner in solid})

    def _orphan(self, owner: Object) -> None:
        uid = owner["metadata"]["uid"]
        for group, plural, namespace, name in self._dependents.paths(uid):
            qualified = f"{plural}.{group}" if group else plural
            dependent = self.find(qualified, namespace, name)
            if dependent is not None:
                self._set_owners(qualified, dependent, set(owner_uids(dependent)) - {uid})

    def _set_owners(self, qualified: str, obj: Object, uids: set[str]) -> None:
        kept = [reference for reference in references(obj) if reference["uid"] in uids]
        metadata = {key: value for key, value in obj["metadata"].items() if key != "ownerReferences"}
        if kept:
            metadata["ownerReferences"] = kept
        self.update(qualified, {**obj, "metadata": metadata})

    def _dependents_gone(self, owner: Object) -> bool:
        """Delete the dependents of C(owner); true when none is left that blocks it."""
        uid = owner["metadata"]["uid"]
        blocked = False
        for group, plural, namespace, name in self._dependents.paths(uid):
            qualified = f"{plural}.{group}" if group else plural
            dependent = self.find(qualified, namespace, name)
            if dependent is None or self.served(qualified) is None:
                continue
            if not being_deleted(dependent):
                has_own = self._dependents.count(dependent["metadata"]["uid"]) > 0
                try:
                    self.delete(qualified, namespace, name, "Foreground" if has_own else "Background")
                except StatusError as error:  # an admission webhook may refuse: the owner waits
                    self.event(owner, "FailedDelete", error.message, warning=True)
                dependent = self.find(qualified, namespace, name)
            if dependent is not None:
                own = next((item for item in references(dependent) if item["uid"] == uid), {})
                blocked = blocked or bool(own.get("blockOwnerDeletion"))
        return not blocked
