"""Machines in the lab, and ansible-inventory on them in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.module_utils import task
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.objects.core import NAMESPACE, SERVICE, SERVICE_ACCOUNT
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
)

COLLECTIONS = Path(task.__file__).parents[5]
BIN = Path(sys.executable).parent
ROLE = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
TEMPLATE = "{{ 'templ' ~ 'ated' }}"


@dataclass(frozen=True)
class Server:
    """The lab's API server, as a user without a kubeconfig knows it."""

    url: str
    token: str
    ca: str

    def requests(self, *, forget: bool = False) -> dict[str, int]:
        """How many requests of each kind were made since they were last forgotten."""
        request = urllib.request.Request(
            f"{self.url}/virtlab/requests",
            headers={"Authorization": f"Bearer {self.token}"},
            method="DELETE" if forget else "GET",
        )
        context = ssl.create_default_context(cadata=self.ca)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return dict(json.load(answer).get("requests", {}))


@dataclass(frozen=True)
class Listed:
    """What ansible-inventory printed."""

    document: Mapping[str, Any]
    complaints: str

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        return dict(self.document.get("_meta", {}).get("hostvars", {}))

    def group(self, name: str) -> list[str]:
        return sorted(self.document.get(name, {}).get("hosts", []))


Lister = Callable[..., Listed]


def _machine(name: str, namespace: str, **spec: Any) -> Object:
    labels = spec.pop("labels", {})
    annotations = spec.pop("annotations", {})
    instance = {
        "domain": {
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [
            {"name": "root", "containerDisk": {"image": "quay.io/containerdisks/fedora:40"}},
            {"name": "seed", "cloudInitNoCloud": {"userData": "#cloud-config\npassword: hunter2\n"}},
        ],
    }
    template = {"metadata": {"labels": {"guest": name}}, "spec": instance}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {"runStrategy": "Halted", "template": template, **spec},
    }


def _standalone(name: str, namespace: str) -> Object:
    template = _machine(name, namespace)["spec"]["template"]
    template["spec"]["domain"]["memory"] = {"guest": "1Gi"}
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "batch"}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": metadata,
        "spec": template["spec"],
    }


@pytest.fixture(scope="session")
def _lab(new_lab: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """A lab of these tests' own: they count all machines that there are."""
    yield from new_lab()


@pytest.fixture(scope="session")
def machines(_lab: Any) -> Client:
    """Two namespaces: east has db and win running, web stopped, solo on its own; west has another web."""
    client = connect({"kubeconfig": _lab.kubeconfig})
    for namespace in ("east", "west"):
        client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    shop = {"app": "shop", "tier": "back", "topology.example.com/zone": "z1"}
    medium = {"instancetype": {"name": "u1.medium"}}
    for body in (
        _machine("db", "east", runStrategy="Always", preference={"name": "rhel.9"}, labels=shop, **medium),
        _machine("win", "east", runStrategy="Always", preference={"name": "windows.2k22"}, **medium),
        _machine("web", "east", labels={"app": "shop"}, annotations={"note": TEMPLATE}, **medium),
        _machine("web", "west", labels={"app": "site"}, preference={"name": "fedora"}, **medium),
    ):
        client.create(VIRTUAL_MACHINE, body)
    client.create(VIRTUAL_MACHINE_INSTANCE, _standalone("solo", "east"))
    for name in ("db", "win", "solo"):
        _until_it_has_an_address(client, name)
    port = {"name": "ssh", "port": 2022, "targetPort": 22, "nodePort": 30022}
    spec = {"type": "NodePort", "selector": {"guest": "db"}, "ports": [{"name": "web", "port": 80}, port]}
    metadata = {"name": "db-ssh", "namespace": "east"}
    client.create(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return client


def _until_it_has_an_address(client: Client, name: str) -> None:
    for event in client.watch(VIRTUAL_MACHINE_INSTANCE, "east", name=name, timeout=90):
        interfaces = (event.object.get("status") or {}).get("interfaces") or [{}]
        if interfaces[0].get("ipAddress"):
            return
    raise AssertionError(f"{name} got no address")


@pytest.fixture(scope="session")
def reader(machines: Client) -> str:
    """A service account that may read machines in east only."""
    api = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    metadata = {"name": "reader", "namespace": "east"}
    rule = {
        "apiGroups": ["kubevirt.io"],
        "resources": ["virtualmachines", "virtualmachineinstances"],
        "verbs": ["list"],
    }
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "east"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    machines.create(SERVICE_ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    machines.create(ROLE, {**api, "kind": "Role", "metadata": metadata, "rules": [rule]})
    machines.create(
        ROLE_BINDING, {**api, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}
    )
    return "system:serviceaccount:east:reader"


@pytest.fixture
def server(lab: Any) -> Server:
    document = yaml.safe_load(Path(lab.kubeconfig).read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    return Server(cluster["server"], user["token"], base64.b64decode(cluster["certificate-authority-data"]).decode())


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without anybody's kubeconfig or credentials in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("K8S_AUTH_", "ANSIBLE_", "KUBE"))}
    home = tmp_path / "home"
    home.mkdir()
    return {
        **kept,
        "HOME": str(home),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
        "COLUMNS": "1000",
    }


@pytest.fixture
def ansible(tmp_path: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one of Ansible's programs in a directory of the test's own."""

    def run(program: str, *arguments: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / program, *arguments],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def listed(machines: Client, lab: Any, tmp_path: Path, ansible: Any) -> Iterator[Lister]:
    """Lists the inventory that a file with these options makes; the kubeconfig goes without saying."""

    def run(
        text: str = "", *arguments: str, name: str = "lab.virtstack.yml", check: bool = True, **more: str
    ) -> Listed:
        (tmp_path / name).write_text(f"plugin: virtstack.core.cluster\n{text}\n")
        more.setdefault("K8S_AUTH_KUBECONFIG", lab.kubeconfig)
        done = ansible("ansible-inventory", "-i", name, "--list", *arguments, check=check, **more)
        assert not check or "Traceback" not in done.stderr
        document = json.loads(done.stdout or "{}", object_hook=_plain) if check else {}
        # Ansible breaks its messages into lines.
        return Listed(document, " ".join(done.stderr.split()))

    yield run


def _plain(found: dict[str, Any]) -> Any:
    return found["__ansible_unsafe"] if found.keys() == {"__ansible_unsafe"} else found
