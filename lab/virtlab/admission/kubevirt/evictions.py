"""Eviction of launcher and hot-plug pods: virt-api refuses it and starts an evacuation instead.

pod-eviction-admitter.go of KubeVirt.
"""

from __future__ import annotations

from virtlab.admission.kubevirt.settings import VIRT_API, settings
from virtlab.admission.registry import validating
from virtlab.admission.webhook import at, failed, items
from virtlab.operation import Operation
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.status import StatusError

LAUNCHER_WEBHOOK = "virt-launcher-eviction-interceptor.kubevirt.io"
HOTPLUG_WEBHOOK = "hotplug-pod-eviction-interceptor.kubevirt.io"
INSTANCES = "virtualmachineinstances.kubevirt.io"
APP_LABEL = "kubevirt.io"
DOMAIN = "kubevirt.io/domain"
TOO_MANY = 429
DESCHEDULER = ("requested-by", "sigs.k8s.io/descheduler")
SOURCE = "kubevirt.io/eviction-source"


def _label(pod: Object) -> str | None:
    labels = at(pod, "metadata", "labels") or {}
    return labels.get(APP_LABEL)


def _is_alive(pod: Object) -> bool:
    return at(pod, "status", "phase") not in ("Failed", "Succeeded")


def _pod(operation: Operation, name: str) -> Object | None:
    entry = operation.cluster.store.find(("", "pods"), operation.namespace, name)
    return None if entry is None else entry.object


def _instance(operation: Operation, pod: Object) -> tuple[str | None, Object | None]:
    name = (at(pod, "metadata", "annotations") or {}).get(DOMAIN)
    if name is None:
        return None, None
    entry = operation.cluster.store.find(("kubevirt.io", "virtualmachineinstances"), operation.namespace, name)
    return name, None if entry is None else entry.object


@validating("pods/eviction", "CREATE")
def intercept(operation: Operation) -> None:
    pod = _pod(operation, operation.name)
    if pod is None:
        return
    owners = pod["metadata"].get("ownerReferences") or []
    if _label(pod) == "hotplug-disk" and len(owners) == 1:
        owner = _pod(operation, owners[0]["name"])
        if owner is not None and _label(owner) == "virt-launcher" and _is_alive(owner):
            name, vmi = _instance(operation, owner)
            if vmi is not None:
                message = f"cannot evict hotplug pod: {operation.name} associated with running vmi: {name} in namespace"
                raise failed(HOTPLUG_WEBHOOK, f"{message} {operation.namespace}", TOO_MANY)
    elif _label(pod) == "virt-launcher" and _is_alive(pod):
        _evacuate(operation, pod)


def _evacuate(operation: Operation, pod: Object) -> None:
    name, vmi = _instance(operation, pod)
    if name is None:
        return
    if vmi is None:
        why = f'kubevirt failed getting the vmi: virtualmachineinstances.kubevirt.io "{name}" not found'
        raise failed(LAUNCHER_WEBHOOK, why, TOO_MANY)
    strategy = at(vmi, "spec", "evictionStrategy") or settings(operation.cluster.store).eviction_strategy
    migratable = any(
        condition["type"] == "LiveMigratable" and condition["status"] == "True"
        for condition in items(vmi, "status", "conditions")
    )
    if strategy == "LiveMigrate" and not migratable:
        message = f"VMI {name} is configured with an eviction strategy but is not live-migratable"
        raise failed(LAUNCHER_WEBHOOK, message, TOO_MANY)
    if strategy not in ("LiveMigrate", "External") and not (strategy == "LiveMigrateIfPossible" and migratable):
        return
    triggered = f'Eviction triggered evacuation of VMI "{operation.namespace}/{name}"'
    if at(vmi, "status", "evacuationNodeName"):
        raise failed(LAUNCHER_WEBHOOK, f"Evacuation in progress: {triggered}", TOO_MANY)
    node = at(pod, "spec", "nodeName")
    if at(vmi, "status", "nodeName") != node:
        raise failed(LAUNCHER_WEBHOOK, "Eviction request for target Pod", TOO_MANY)
    try:
        _mark(operation, vmi, node)
    except StatusError as error:
        message = f"kubevirt failed marking the vmi for eviction: {error.message}"
        raise failed(LAUNCHER_WEBHOOK, message, TOO_MANY) from error
    raise failed(LAUNCHER_WEBHOOK, triggered, TOO_MANY)


def _mark(operation: Operation, vmi: Object, node: str) -> None:
    resource = operation.cluster.resource(INSTANCES)
    assert resource is not None
    marked = copied(vmi)
    marked["status"]["evacuationNodeName"] = node
    annotations = at(operation.object, "metadata", "annotations") or {}
    if annotations.get(DESCHEDULER[0]) == DESCHEDULER[1]:
        marked["metadata"]["annotations"] = {**(marked["metadata"].get("annotations") or {}), SOURCE: "descheduler"}
    operation.cluster.update(resource, marked, user=VIRT_API, manager="virt-api", dry_run=operation.dry_run)
