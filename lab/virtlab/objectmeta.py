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
LABEL_NAMES = frozenset({"namespaces"})
LABEL_1035_NAMES = frozenset({"services"})


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
    if not resource.group and resource.plural in LABEL_1035_NAMES:
        return names.label_1035_problems
    return names.subdomain_problems


def _is_core(resource: Resource) -> bool:
    """Whether kubernetes itself defines the kind: its own finalizers are held to more."""
    return not resource.custom and resource.group != "apiextensions.k8s.io"


def problems(resource: Resource, metadata: Object) -> list[Cause]:
    """What is wrong with the metadata of a new or changed object."""
    found: list[Cause] = []
    name = metadata.get("name", "")
    check = name_problems(resource)
    if generate := metadata.get("generateName"):
        found += [
            _invalid("metadata.generateName", generate, problem) for problem in check(generate.rstrip("-") or generate)
        ]
    if not name:
        found.append(Cause("Required value: name or generateName is required", "metadata.name", "FieldValueRequired"))
    else:
        found += [_invalid("metadata.name", name, problem) for problem in check(name)]
    for key, value in sorted((metadata.get("labels") or {}).items()):
        found += [_invalid("metadata.labels", key, problem) for problem in names.label_key_problems(key)]
        found += [_invalid("metadata.labels", value, problem) for problem in names.label_value_problems(value or "")]
    for key in sorted(metadata.get("annotations") or {}):
        found += [_invalid("metadata.annotations", key, p) for p in names.label_key_problems(key.lower())]
    found += _owner_problems(metadata.get("ownerReferences") or [])
    for index, finalizer in enumerate(metadata.get("finalizers") or []):
        bad = names.label_key_problems(finalizer)
        found += [_invalid("metadata.finalizers", finalizer, problem) for problem in bad]
        if _is_core(resource) and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(_invalid(f"metadata.finalizers[{index}]", finalizer, text))
    return found


def _owner_problems(references: list[Any]) -> list[Cause]:
    found: list[Cause] = []
    controllers = []
    for index, reference in enumerate(references):
        path = f"metadata.ownerReferences[{index}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(field):
                text = "must not be empty"
                found.append(_invalid(f"{path}.{field}", reference.get(field, ""), text))
        if reference.get("controller"):
            controllers.append(reference)
    if len(controllers) > 1:
        one, two = controllers[:2]
        text = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{one.get('kind')}/{one.get('name')} and {two.get('kind')}/{two.get('name')}"
        )
        found.append(Cause(f"Invalid value: {text}", "metadata.ownerReferences", "FieldValueInvalid"))
    return found


IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def carry_over(new: Object, old: Object) -> None:
    """Fields of C(old) that an update may leave out."""
    for field in (*IMMUTABLE, "generation"):
        if field in old and (field == "generation" or new.get(field) is None):
            new[field] = old[field]
    if "deletionTimestamp" not in old:
        new.pop("deletionTimestamp", None)
        new.pop("deletionGracePeriodSeconds", None)
    new.pop("selfLink", None)
    drop_empty(new)


def update_problems(resource: Resource, new: Object, old: Object) -> list[Cause]:
    """What an update may not do to metadata."""
    found: list[Cause] = []
    if old.get("deletionTimestamp"):
        added = [item for item in new.get("finalizers") or [] if item not in (old.get("finalizers") or [])]
        if added:
            text = (
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
                + string_slice(sorted(added))
            )
            # Twice: ValidateObjectMetaUpdate runs in the generic registry and in the kind's own strategy.
            found += [Cause(text, "metadata.finalizers", "FieldValueForbidden")] * 2
    for field in IMMUTABLE:
        if new.get(field) != old.get(field):
            found.append(_invalid(f"metadata.{field}", new.get(field), "field is immutable"))
    return found + problems(resource, new)


def _invalid(path: str, value: object, text: str) -> Cause:
    return Cause(f"Invalid value: {quoted(value)}: {text}", path, "FieldValueInvalid")
