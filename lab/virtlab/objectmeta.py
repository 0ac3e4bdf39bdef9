"""Metadata of objects: what the server fills in, and what it refuses (apimachinery's ValidateObjectMeta)."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

from virtlab import names
from virtlab.clock import Clock
from virtlab.goformat import quoted, string_slice
from virtlab.resource import Object, Resource
from virtlab.status import Cause

SERVER_FIELDS = ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, no 0, 1 or 3: no words by chance
GENERATED_LENGTH = 63

PATH_NAMES = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
LABEL_NAMES = frozenset({"namespaces", "services"})
BANNED_OWNERS = frozenset({("v1", "Event")})
ANNOTATIONS_LIMIT = 256 * 1024  # bytes


def fill(metadata: Object, clock: Clock, names_from: random.Random) -> None:
    """What rest.FillObjectMetaSystemFields and the name generator write into a new object."""
    for field in SERVER_FIELDS:
        metadata.pop(field, None)
    metadata.pop("resourceVersion", None)
    metadata["uid"] = str(uuid.UUID(int=names_from.getrandbits(128), version=4))
    metadata["creationTimestamp"] = clock.stamp()
    if not metadata.get("name") and metadata.get("generateName"):
        base = metadata["generateName"][: GENERATED_LENGTH - 5]
        metadata["name"] = base + "".join(names_from.choices(SUFFIX_ALPHABET, k=5))
    drop_empty(metadata)


def drop_empty(metadata: Object) -> None:
    """Empty maps and lists are not written: C(omitempty)."""
    for field in ("labels", "annotations", "finalizers", "ownerReferences", "managedFields", "generateName"):
        if field in metadata and not metadata[field]:
            del metadata[field]


def name_problems(resource: Resource) -> Callable[[str], list[str]]:
    if resource.group == "rbac.authorization.k8s.io" and resource.plural in PATH_NAMES:
        return names.path_segment_problems
    if not resource.group and resource.plural in LABEL_NAMES:
        return names.label_problems
    return names.subdomain_problems


def _is_core(resource: Resource) -> bool:
    """Whether kubernetes itself defines the kind: its own finalizers are held to more."""
    return not resource.custom and resource.group != "apiextensions.k8s.io"


def problems(resource: Resource, metadata: Object) -> list[Cause]:
    """What is wrong with the metadata of a new object."""
    found = _named(metadata, name_problems(resource)) + _described(metadata) + _finalizer_problems(metadata)
    return found + (_kubernetes_finalizers(metadata) if _is_core(resource) else [])


def _named(metadata: Object, check: Callable[[str], list[str]]) -> list[Cause]:
    found: list[Cause] = []
    name = metadata.get("name", "")
    if generate := metadata.get("generateName"):
        found += [
            _invalid("metadata.generateName", generate, problem) for problem in check(generate.rstrip("-") or generate)
        ]
    if not name:
        found.append(Cause("Required value: name or generateName is required", "metadata.name", "FieldValueRequired"))
    else:
        found += [_invalid("metadata.name", name, problem) for problem in check(name)]
    return found


def _described(metadata: Object) -> list[Cause]:
    """Labels, annotations and owners: what creates and updates check alike."""
    found: list[Cause] = []
    for key, value in sorted((metadata.get("labels") or {}).items()):
        found += [_invalid("metadata.labels", key, problem) for problem in names.label_key_problems(key)]
        found += [_invalid("metadata.labels", value, problem) for problem in names.label_value_problems(value or "")]
    annotations = metadata.get("annotations") or {}
    for key in sorted(annotations):
        found += [_invalid("metadata.annotations", key, p) for p in names.label_key_problems(key.lower())]
    if sum(len(key.encode()) + len((value or "").encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        text = f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        found.append(Cause(text, "metadata.annotations", "FieldValueTooLong"))
    return found + _owner_problems(metadata.get("ownerReferences") or [])


def _finalizer_problems(metadata: Object) -> list[Cause]:
    finalizers = metadata.get("finalizers") or []
    found = [
        _invalid("metadata.finalizers", finalizer, problem)
        for finalizer in finalizers
        for problem in names.label_key_problems(finalizer)
    ]
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(_invalid("metadata.finalizers", finalizers, text))
    return found


def _kubernetes_finalizers(metadata: Object) -> list[Cause]:
    text = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        _invalid(f"metadata.finalizers[{index}]", finalizer, text)
        for index, finalizer in enumerate(metadata.get("finalizers") or [])
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS
    ]


def _owner_problems(references: list[Any]) -> list[Cause]:
    found: list[Cause] = []
    path, controller = "metadata.ownerReferences", ""
    for reference in references:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(field):
                text = "version must not be empty" if field == "apiVersion" else "must not be empty"
                found.append(_invalid(f"{path}.{field}", reference.get(field) or "", text))
        if (reference.get("apiVersion"), reference.get("kind")) in BANNED_OWNERS:
            text = f"/{reference['apiVersion']}, Kind={reference['kind']} is disallowed from being an owner"
            found.append(_invalid(path, reference, text))
        if reference.get("controller"):
            name = f"{reference.get('kind')}/{reference.get('name')}"
            if controller:
                text = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {name}"
                )
                found.append(_invalid(path, references, text))
            else:
                controller = name
    return found


IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
SERVER_KEPT = ("generation", "creationTimestamp", "deletionTimestamp")


def carry_over(new: Object, old: Object) -> None:
    """Fields of C(old) that an update may leave out, and those that are the server's alone."""
    for field in (*IMMUTABLE, "generation"):
        if field in old and (field in SERVER_KEPT or new.get(field) is None):
            new[field] = old[field]
    new.pop("selfLink", None)
    drop_empty(new)


def update_problems(resource: Resource, new: Object, old: Object) -> list[Cause]:
    """What an update may not do to metadata.

    The generic registry checks first, then the kind's own strategy once more: causes are listed as often as they are
    found, as kube-apiserver lists them.
    """
    changes = _changes(new, old) + _described(new)
    found = _named(new, names.path_segment_problems) + _described(new) + _finalizer_problems(new) + changes + changes
    if _is_core(resource):
        found += _kubernetes_finalizers(new) + problems(resource, new)
    return found


def _changes(new: Object, old: Object) -> list[Cause]:
    found: list[Cause] = []
    if old.get("deletionTimestamp"):
        added = [item for item in new.get("finalizers") or [] if item not in (old.get("finalizers") or [])]
        if added:
            text = (
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
                + string_slice(sorted(added))
            )
            found.append(Cause(text, "metadata.finalizers", "FieldValueForbidden"))
    for field in IMMUTABLE:
        if new.get(field) != old.get(field):
            found.append(_invalid(f"metadata.{field}", new.get(field), "field is immutable"))
    return found


def _invalid(path: str, value: object, text: str) -> Cause:
    return Cause(f"Invalid value: {quoted(value)}: {text}", path, "FieldValueInvalid")
