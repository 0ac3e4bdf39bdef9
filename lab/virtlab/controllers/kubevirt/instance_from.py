"""The instance that a machine starts. Pure functions."""

from __future__ import annotations

from typing import Any

from virtlab.controllers.kubevirt.names import GENERATION, VM_FINALIZER, VM_NAME
from virtlab.controllers.ownership import owner_reference
from virtlab.patches import copied
from virtlab.resource import Object

MATCHER_ANNOTATIONS = {
    ("instancetype", False): "kubevirt.io/instancetype-name",
    ("instancetype", True): "kubevirt.io/cluster-instancetype-name",
    ("preference", False): "kubevirt.io/preference-name",
    ("preference", True): "kubevirt.io/cluster-preference-name",
}


def _matcher_annotations(vm: Object) -> dict[str, str]:
    found = {}
    for name in ("instancetype", "preference"):
        matcher = vm["spec"].get(name) or {}
        if matcher.get("name"):
            cluster = "cluster" in (matcher.get("kind") or "cluster").lower()
            found[MATCHER_ANNOTATIONS[name, cluster]] = matcher["name"]
    return found


def with_defaults(spec: Object) -> Object:
    """What virt-controller adds: the pod network where no interface is named, and the grace period."""
    result: Object = copied(spec)
    devices = result.setdefault("domain", {}).setdefault("devices", {})
    if (
        not result.get("networks")
        and not devices.get("interfaces")
        and devices.get("autoattachPodInterface") is not False
    ):
        devices["interfaces"] = [{"name": "default", "masquerade": {}}]
        result["networks"] = [{"name": "default", "pod": {}}]
    return result


def initial_status(stamp: str) -> Object:
    """What the mutating webhook gives a new instance, with the first condition virt-controller adds at once."""
    return {
        "phase": "Pending",
        "phaseTransitionTimestamps": [{"phase": "Pending", "phaseTransitionTimestamp": stamp}],
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "PodNotExists",
                "message": "virt-launcher pod has not yet been scheduled",
                "lastProbeTime": stamp,
                "lastTransitionTime": stamp,
            }
        ],
    }


def instance_of(vm: Object, spec: Object, revision: str, stamp: str, *, paused: bool = False) -> Object:
    """The VirtualMachineInstance of C(vm); C(spec) is its template's with the instance type applied."""
    metadata = vm["metadata"]
    template: dict[str, Any] = (vm["spec"]["template"].get("metadata")) or {}
    annotations = {
        **(template.get("annotations") or {}),
        **_matcher_annotations(vm),
        GENERATION: str(metadata.get("generation", 1)),
    }
    spec = with_defaults(spec)
    if paused:
        spec["startStrategy"] = "Paused"
    status = initial_status(stamp)
    status["virtualMachineRevisionName"] = revision
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**(template.get("labels") or {}), VM_NAME: metadata["name"]},
            "annotations": annotations,
            "finalizers": [VM_FINALIZER],
            "ownerReferences": [owner_reference(vm)],
        },
        "spec": spec,
        "status": status,
    }
