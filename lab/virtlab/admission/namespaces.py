"""Namespaces: nothing is made in one that is missing or going away, and some may never go."""

from __future__ import annotations

from virtlab.admission.registry import ANY, validating
from virtlab.admission.webhook import at
from virtlab.operation import Operation
from virtlab.status import Cause, StatusError

NAMESPACES = ("", "namespaces")
IMMORTAL = ("default", "kube-system", "kube-public")


@validating(ANY, "CREATE")
def alive(operation: Operation) -> None:
    resource, namespace = operation.resource, operation.namespace
    if not resource.namespaced or not namespace:
        return
    entry = operation.cluster.store.find(NAMESPACES, None, namespace)
    if entry is None:
        details = {"name": namespace, "kind": "namespaces"}
        raise StatusError(404, f'namespaces "{namespace}" not found', "NotFound", details)
    if not at(entry.object, "metadata", "deletionTimestamp"):
        return
    details = {"name": operation.name, "group": resource.group, "kind": resource.plural}
    message = (
        f'{resource.qualified} "{operation.name}" is forbidden: unable to create new content in namespace {namespace} '
        "because it is being terminated"
    )
    cause = Cause(f"namespace {namespace} is being terminated", "metadata.namespace", "NamespaceTerminating")
    kept = {key: value for key, value in details.items() if value}
    raise StatusError(403, message, "Forbidden", kept, (cause,))


@validating("namespaces", "DELETE")
def may_go(operation: Operation) -> None:
    if operation.name in IMMORTAL:
        message = f'namespaces "{operation.name}" is forbidden: this namespace may not be deleted'
        raise StatusError(403, message, "Forbidden", {"name": operation.name, "kind": "namespaces"})
