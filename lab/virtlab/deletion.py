"""Deleting: preconditions, propagation policies, finalizers, grace periods."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from virtlab import strategies
from virtlab.admission import registry as admission
from virtlab.operation import Operation
from virtlab.patches import copied
from virtlab.resource import Object, Resource
from virtlab.status import StatusError
from virtlab.writes import NAMESPACES, Write

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
RETURNED = frozenset(
    {
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "podtemplates",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "storageclasses.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)  # kinds whose deletion answers with the object even when it is gone


def delete(cluster: Cluster, resource: Resource, live: Object, options: Mapping[str, Any], write: Write) -> Object:
    """The object while something holds it, else a Status."""
    metadata = live["metadata"]
    name, namespace = metadata["name"], metadata.get("namespace")
    if resource.key == NAMESPACES and name in IMMORTAL:
        message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        raise StatusError(403, message, "Forbidden", {"name": name, "kind": "namespaces"})
    _check_preconditions(resource, metadata, options.get("preconditions") or {})
    operation = Operation(
        cluster,
        "DELETE",
        resource,
        namespace,
        name,
        None,
        live,
        write.user,
        None,
        write.dry_run,
        dict(options),
        write.warnings,
    )
    admission.validate(operation)
    marked = _marked(cluster, resource, live, options)
    if marked is not None:
        if marked is live or write.dry_run:
            return marked
        return cluster.stored(resource, marked)
    last = live if write.dry_run else cluster.removed(resource, live)
    if resource.qualified in RETURNED:
        return last
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": metadata["uid"]}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def _marked(cluster: Cluster, resource: Resource, live: Object, options: Mapping[str, Any]) -> Object | None:
    """C(live) marked for deletion; itself when it already is; None when it can go at once."""
    metadata = live["metadata"]
    grace = strategies.grace_seconds(resource, live, options.get("gracePeriodSeconds"))
    finalizers = _finalizers(metadata.get("finalizers") or [], options)
    held = bool(finalizers) or (resource.key == NAMESPACES and bool((live.get("spec") or {}).get("finalizers")))
    deleting = "deletionTimestamp" in metadata
    if deleting:
        sooner = grace < metadata.get("deletionGracePeriodSeconds", 0)
        if not sooner and finalizers == (metadata.get("finalizers") or []):
            return live if held or grace or metadata.get("deletionGracePeriodSeconds") else None
    if not held and not grace:
        return None
    new: Object = copied(live)
    changed = new["metadata"]
    if finalizers:
        changed["finalizers"] = finalizers
    else:
        changed.pop("finalizers", None)
    changed["deletionGracePeriodSeconds"] = grace
    if not deleting:
        changed["deletionTimestamp"] = cluster.clock.stamp(cluster.clock.now() + timedelta(seconds=grace))
        if changed.get("generation"):
            changed["generation"] += 1
    if resource.key == NAMESPACES:
        new["status"] = {**(new.get("status") or {}), "phase": "Terminating"}
    return new


def _finalizers(present: list[str], options: Mapping[str, Any]) -> list[str]:
    """The finalizers that the propagation policy leaves or adds; without one, those that are there decide."""
    policy = options.get("propagationPolicy")
    if policy is None and options.get("orphanDependents") is not None:
        policy = "Orphan" if options["orphanDependents"] else "Background"
    if policy is None:
        return list(present)
    kept = [item for item in present if item not in (ORPHAN, FOREGROUND)]
    wanted = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(policy, [])
    return kept + wanted


def _check_preconditions(resource: Resource, metadata: Object, preconditions: Mapping[str, str]) -> None:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    checks = (
        ("uid", "UID", "The object might have been deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "The object might have been modified"),
    )
    for field, word, hint in checks:
        wanted = preconditions.get(field)
        if wanted is None or wanted == metadata[field]:
            continue
        message = (
            f'Operation cannot be fulfilled on {kind} "{metadata["name"]}": the {word} in the precondition ({wanted}) '
            f"does not match the {word} in record ({metadata[field]}). {hint}"
        )
        details = {"name": metadata["name"], "group": resource.group, "kind": resource.kind}
        raise StatusError(409, message, "Conflict", {key: value for key, value in details.items() if value})
