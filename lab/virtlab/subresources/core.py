"""C(pods/eviction) and C(namespaces/finalize)."""

from __future__ import annotations

from virtlab.admission import registry as admission
from virtlab.admission.webhook import at
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.status import Cause, StatusError
from virtlab.subresources.registry import Answer, Call, action

BUDGETS = ("policy", "poddisruptionbudgets")
CREATED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _selects(selector: Object | None, labels: Object) -> bool:
    wanted = (selector or {}).get("matchLabels") or {}
    return bool(wanted) and all(labels.get(key) == value for key, value in wanted.items())


def _check_budgets(call: Call, pod: Object) -> None:
    labels = at(pod, "metadata", "labels") or {}
    if at(pod, "status", "phase") in ("Succeeded", "Failed", "Pending"):
        return
    for entry in call.cluster.store.entries(BUDGETS, call.namespace):
        budget = entry.object
        if not _selects(at(budget, "spec", "selector"), labels):
            continue
        status = budget.get("status") or {}
        if status.get("disruptionsAllowed", 0) > 0:
            continue
        name = budget["metadata"]["name"]
        why = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
            f"{status.get('currentHealthy', 0)} currently"
        )
        message = "Cannot evict pod as it would violate the pod's disruption budget."
        raise StatusError(429, message, "TooManyRequests", causes=(Cause(why, None, "DisruptionBudget"),))


@action("pods", "eviction", "POST", group="policy", version="v1", kind="Eviction")
def evict(call: Call) -> Answer:
    """Deletes a pod unless a webhook or a disruption budget stands against it."""
    eviction = call.document() if call.body else {}
    pod = call.cluster.get(call.resource, call.name, call.namespace)
    options = eviction.get("deleteOptions") or {}
    dry_run = call.dry_run or "All" in (options.get("dryRun") or ())
    admission.validate(
        Operation(
            call.cluster,
            "CREATE",
            call.resource,
            call.namespace,
            call.name,
            eviction,
            None,
            call.user,
            "eviction",
            dry_run,
        )
    )
    _check_budgets(call, pod)
    call.cluster.delete(call.resource, call.name, call.namespace, options=options, user=call.user, dry_run=dry_run)
    return Answer(201, CREATED)


@action("namespaces", "finalize", "PUT", kind="Namespace")
def finalize(call: Call) -> Answer:
    """Replaces a namespace's own finalizers; one that is going away goes with the last."""
    wanted = at(call.document(), "spec", "finalizers") or []
    namespace = call.cluster.get(call.resource, call.name)
    if not wanted and not call.dry_run:
        call.cluster.finalize_namespace(call.name)
    spec = {**(namespace.get("spec") or {}), "finalizers": wanted}
    return Answer(200, {**namespace, "spec": spec})
