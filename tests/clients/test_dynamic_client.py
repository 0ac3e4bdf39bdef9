"""The kubernetes dynamic client."""

from __future__ import annotations

import pytest
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from machine import MACHINE


def test_it_finds_every_served_version(dynamic: DynamicClient) -> None:
    found = dynamic.resources.search(kind="HyperConverged")
    assert sorted(resource.group_version for resource in found) == ["hco.kubevirt.io/v1", "hco.kubevirt.io/v1beta1"]
    machines = dynamic.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachine")
    assert "status" in machines.subresources


def test_it_writes_reads_and_watches(dynamic: DynamicClient, namespace: str) -> None:
    machines = dynamic.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachine")
    made = machines.create(body=MACHINE, namespace=namespace)
    assert machines.get(name="db", namespace=namespace).metadata.uid == made.metadata.uid
    for event in machines.watch(namespace=namespace, name="db", timeout=10):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "db")
        break
    with pytest.raises(ConflictError):
        machines.create(body=MACHINE, namespace=namespace)
    machines.delete(name="db", namespace=namespace)
    with pytest.raises(NotFoundError):
        machines.get(name="nope", namespace=namespace)


def test_it_patches_and_applies(dynamic: DynamicClient, namespace: str) -> None:
    machines = dynamic.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachine")
    machines.server_side_apply(body=MACHINE, name="db", namespace=namespace, field_manager="tests")
    labelled = {"metadata": {"labels": {"tier": "data"}}}
    machines.patch(body=labelled, name="db", namespace=namespace, content_type="application/merge-patch+json")
    found = machines.get(namespace=namespace, label_selector="tier=data").items
    assert [machine.metadata.name for machine in found] == ["db"]
    managers = {entry.manager: entry.operation for entry in found[0].metadata.managedFields}
    assert managers["tests"] == "Apply"
