"""Owner references: who made an object, and goes with it."""

from __future__ import annotations

from typing import Any

from virtlab.resource import Object


def owner_reference(owner: Object, *, controller: bool = True, block: bool = True) -> dict[str, Any]:
    """A reference to C(owner); C(controller) marks the one that manages the object."""
    reference: dict[str, Any] = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    if controller:
        reference["controller"] = True
    if block:
        reference["blockOwnerDeletion"] = True
    return reference


def references(obj: Object) -> list[dict[str, Any]]:
    return list(obj["metadata"].get("ownerReferences") or ())


def owner_uids(obj: Object) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def controlled_by(obj: Object, owner: Object) -> bool:
    """Is C(owner) the object's controller?"""
    uid = owner["metadata"].get("uid")
    return any(reference["uid"] == uid and reference.get("controller") for reference in references(obj))


def controller_of(obj: Object, kind: str) -> dict[str, Any] | None:
    """The reference to the controller if it is a C(kind)."""
    for reference in references(obj):
        if reference.get("controller") and reference["kind"] == kind:
            return reference
    return None


def being_deleted(obj: Object) -> bool:
    return obj["metadata"].get("deletionTimestamp") is not None
