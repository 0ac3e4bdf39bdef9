"""Clients as people use them: kubectl, the kubernetes dynamic client."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config as kubernetes_config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError

MACHINE: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "db"},
    "spec": {
        "runStrategy": "Halted",
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {
                "domain": {
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                    "memory": {"guest": "1Gi"},
                },
                "volumes": [{"name": "root", "containerDisk": {"image": "registry.example/disk:1"}}],
            },
        },
    },
}

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(lab: Any, namespace: str, tmp_path: Path) -> Kubectl:
    """Runs kubectl in the namespace of the test; C(machine.yaml) in its directory is a virtual machine."""
    (tmp_path / "machine.yaml").write_text(yaml.safe_dump(MACHINE))

    def run(*arguments: str, code: int = 0) -> str:
        line = ["kubectl", "--kubeconfig", lab.kubeconfig, "-n", namespace, f"--cache-dir={tmp_path}/cache", *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


@needs_kubectl
def test_kubectl_applies_and_notices_what_is_unchanged(kubectl: Kubectl) -> None:
    assert "created" in kubectl("apply", "-f", "machine.yaml")
    assert "unchanged" in kubectl("apply", "-f", "machine.yaml")
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "machine.yaml")


@needs_kubectl
def test_kubectl_shows_what_the_crd_says(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "machine.yaml")
    kubectl("wait", "vm/db", "--for=jsonpath={.status.printableStatus}=Stopped", "--timeout=30s")
    header, row = kubectl("get", "vm", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "AGE", "STATUS", "READY"]
    assert row.split()[0] == "db" and "Stopped" in row
    assert "Run Strategy" in kubectl("describe", "vm", "db")
    assert json.loads(kubectl("get", "vm", "db", "-o", "json"))["spec"]["runStrategy"] == "Halted"


@needs_kubectl
def test_kubectl_changes_and_deletes(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "machine.yaml")
    kubectl("label", "vm", "db", "tier=data")
    kubectl("annotate", "vm", "db", "note=x")
    kubectl("patch", "vm", "db", "--type=merge", "-p", '{"spec":{"runStrategy":"Manual"}}')
    assert kubectl("get", "vm", "-l", "tier=data", "-o", "jsonpath={.items[*].spec.runStrategy}") == "Manual"
    kubectl("delete", "vm", "db", "--timeout=30s")
    assert "NotFound" in kubectl("get", "vm", "db", code=1)


@needs_kubectl
def test_kubectl_creates_built_in_kinds(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=k=v")
    kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    kubectl("create", "serviceaccount", "bob")
    kubectl("create", "rolebinding", "bob", "--clusterrole=view", "--serviceaccount", f"{_namespace(kubectl)}:bob")
    user = f"system:serviceaccount:{_namespace(kubectl)}:bob"
    assert kubectl("auth", "can-i", "list", "pods", "--as", user).startswith("yes")
    assert kubectl("auth", "can-i", "delete", "pods", "--as", user, code=1).startswith("no")
    assert kubectl("create", "token", "bob").count(".") == 2


def _namespace(kubectl: Kubectl) -> str:
    return kubectl("get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.metadata.namespace}")


@needs_kubectl
def test_kubectl_explains_and_lists_resources(kubectl: Kubectl) -> None:
    assert "runStrategy" in kubectl("explain", "vm.spec")
    assert "virtualmachines" in kubectl("api-resources", "--api-group=kubevirt.io")


@needs_kubectl
def test_kubectl_hears_of_misspelled_fields(kubectl: Kubectl, tmp_path: Path) -> None:
    wrong = {**MACHINE, "spec": {**MACHINE["spec"], "runStrateggy": "Always"}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    assert 'unknown field "spec.runStrateggy"' in kubectl("create", "-f", "wrong.yaml", code=1)


@needs_kubectl
def test_kubectl_waits_for_a_machine_that_boots(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "machine.yaml")
    kubectl("patch", "vm", "db", "--type=merge", "-p", '{"spec":{"runStrategy":"Always"}}')
    kubectl("wait", "vm/db", "--for=condition=Ready", "--timeout=45s")
    assert "Running" in kubectl("get", "vmi", "db")


@pytest.fixture
def dynamic(lab: Any) -> DynamicClient:
    return DynamicClient(kubernetes_config.new_client_from_config(config_file=lab.kubeconfig))


def test_the_dynamic_client_knows_versions_as_recorded(dynamic: DynamicClient) -> None:
    found = dynamic.resources.search(kind="HyperConverged")
    assert sorted(resource.group_version for resource in found) == ["hco.kubevirt.io/v1", "hco.kubevirt.io/v1beta1"]
    machines = dynamic.resources.get(api_version="kubevirt.io/v1", kind="VirtualMachine")
    assert "status" in machines.subresources


def test_the_dynamic_client_writes_reads_and_watches(dynamic: DynamicClient, namespace: str) -> None:
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
