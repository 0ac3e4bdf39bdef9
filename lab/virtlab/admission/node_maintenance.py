"""NodeMaintenance: what its operator's webhook refuses."""

from __future__ import annotations

from virtlab.admission.registry import validating
from virtlab.admission.webhook import at, unchanged
from virtlab.operation import Operation
from virtlab.status import denied

RESOURCE = "nodemaintenances.nodemaintenance.medik8s.io"
WEBHOOK = "vnodemaintenance.kb.io"


@validating(RESOURCE, "CREATE", "UPDATE")
def check(operation: Operation) -> None:
    node = at(operation.object, "spec", "nodeName") or ""
    if operation.verb == "UPDATE":
        if at(operation.old, "spec", "nodeName") != node and not unchanged(operation):
            raise denied(WEBHOOK, "updating spec.NodeName isn't allowed", code=403, reason="Forbidden")
        return
    store = operation.cluster.store
    if store.find(("", "nodes"), None, node) is None:
        message = f"invalid nodeName, no node with name {node} found"
        raise denied(WEBHOOK, message, code=403, reason="Forbidden")
    for entry in store.entries(("nodemaintenance.medik8s.io", "nodemaintenances"), None):
        if at(entry.object, "spec", "nodeName") == node:
            message = f"invalid nodeName, a NodeMaintenance for node {node} already exists"
            raise denied(WEBHOOK, message, code=403, reason="Forbidden")
