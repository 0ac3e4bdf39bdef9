"""The machine of the benchmarks, as each collection wants to be told of it."""

from __future__ import annotations

from typing import Any

IMAGE = "quay.io/containerdisks/fedora:40"
INSTANCETYPE = "u1.small"
LABELS = {"app": "bench"}


def guest() -> dict[str, Any]:
    """The spec of the machine's instance."""
    return {
        "domain": {
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            }
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "containerDisk": {"image": IMAGE}}],
        "terminationGracePeriodSeconds": 180,
    }


def definition(name: str, namespace: str) -> dict[str, Any]:
    """The machine as the API has it."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS},
        "spec": {
            "runStrategy": "Halted",
            "instancetype": {"name": INSTANCETYPE},
            "template": {"metadata": {"labels": LABELS}, "spec": guest()},
        },
    }


def of_virtstack(name: str, namespace: str) -> dict[str, Any]:
    return {
        "virtstack.core.vm": {
            "name": name,
            "namespace": namespace,
            "labels": LABELS,
            "instancetype": INSTANCETYPE,
            "run_strategy": "Halted",
            "disks": [{"name": "root", "container_disk": IMAGE}],
            "interfaces": [{"name": "default", "network": "pod"}],
        }
    }


def of_kubevirt(name: str, namespace: str) -> dict[str, Any]:
    return {
        "kubevirt.core.kubevirt_vm": {
            "name": name,
            "namespace": namespace,
            "labels": LABELS,
            "instancetype": {"name": INSTANCETYPE},
            "run_strategy": "Halted",
            "spec": guest(),
        }
    }


def of_kubernetes(name: str, namespace: str) -> dict[str, Any]:
    return {"kubernetes.core.k8s": {"state": "present", "definition": definition(name, namespace)}}
