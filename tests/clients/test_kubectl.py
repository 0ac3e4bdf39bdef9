"""kubectl, in any version from 1.20 (Debian 12's) on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import pytest
import yaml
from machine import MACHINE

Kubectl = Callable[..., str]


def minor_version() -> int:
    """32 of kubectl 1.32."""
    shown = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True, timeout=30)
    return int(json.loads(shown.stdout)["clientVersion"]["minor"].rstrip("+"))


MINOR = minor_version() if shutil.which("kubectl") else 0
pytestmark = pytest.mark.skipif(not MINOR, reason="kubectl is not installed")


def since(minor: int) -> pytest.MarkDecorator:
    return pytest.mark.skipif(minor > MINOR, reason=f"needs kubectl 1.{minor}, this is 1.{MINOR}")


@pytest.fixture
def kubectl(kubeconfig: Path, namespace: str, tmp_path: Path) -> Kubectl:
    """Runs kubectl in the namespace of the test; C(machine.yaml) in its directory is a virtual machine."""
    (tmp_path / "machine.yaml").write_text(yaml.safe_dump(MACHINE))

    def run(*arguments: str, code: int = 0) -> str:
        line = ["kubectl", f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", f"--cache-dir={tmp_path}/cache"]
        done = subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


def test_kubectl_applies_and_notices_what_is_unchanged(kubectl: Kubectl) -> None:
    assert "created" in kubectl("apply", "-f", "machine.yaml")
    assert "unchanged" in kubectl("apply", "-f", "machine.yaml")
    assert "dry run" in kubectl("apply", "--dry-run=server", "-f", "machine.yaml")
    assert "serverside-applied" in kubectl("apply", "--server-side", "--force-conflicts", "-f", "machine.yaml")


def test_kubectl_shows_what_the_crd_says(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "machine.yaml")
    kubectl("wait", "vm/db", "--for=condition=Ready=False", "--timeout=30s")
    header, row = kubectl("get", "vm", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "AGE", "STATUS", "READY"]
    assert row.split()[0] == "db" and "Stopped" in row
    assert "Run Strategy" in kubectl("describe", "vm", "db")
    assert json.loads(kubectl("get", "vm", "db", "-o", "json"))["spec"]["runStrategy"] == "Halted"


def test_kubectl_changes_and_deletes(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "machine.yaml")
    kubectl("label", "vm", "db", "tier=data")
    kubectl("annotate", "vm", "db", "note=x")
    kubectl("patch", "vm", "db", "--type=merge", "-p", '{"spec":{"runStrategy":"Manual"}}')
    assert kubectl("get", "vm", "-l", "tier=data", "-o", "jsonpath={.items[*].spec.runStrategy}") == "Manual"
    kubectl("delete", "vm", "db", "--timeout=30s")
    assert "NotFound" in kubectl("get", "vm", "db", code=1)


def test_kubectl_creates_built_in_kinds(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=k=v")
    kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    assert {"configmap/c", "secret/s"} <= set(kubectl("get", "configmap,secret", "-o", "name").split())


def test_kubectl_knows_what_an_account_may(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "serviceaccount", "bob")
    kubectl("create", "rolebinding", "bob", "--clusterrole=view", f"--serviceaccount={namespace}:bob")
    user = f"system:serviceaccount:{namespace}:bob"
    assert kubectl("auth", "can-i", "list", "pods", "--as", user).startswith("yes")
    assert kubectl("auth", "can-i", "delete", "pods", "--as", user, code=1).startswith("no")


@since(24)
def test_kubectl_gets_an_account_s_token(kubectl: Kubectl) -> None:
    assert kubectl("create", "token", "default").count(".") == 2


def test_kubectl_explains_and_lists_resources(kubectl: Kubectl) -> None:
    assert "runStrategy" in kubectl("explain", "vm.spec")
    assert "virtualmachines" in kubectl("api-resources", "--api-group=kubevirt.io")


def test_kubectl_hears_of_misspelled_fields(kubectl: Kubectl, tmp_path: Path) -> None:
    wrong = {**MACHINE, "spec": {**MACHINE["spec"], "runStrateggy": "Always"}}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    assert re.search(r'unknown field "(spec\.)?runStrateggy"', kubectl("create", "-f", "wrong.yaml", code=1))


def test_kubectl_waits_for_a_machine_that_boots(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "machine.yaml")
    kubectl("patch", "vm", "db", "--type=merge", "-p", '{"spec":{"runStrategy":"Always"}}')
    kubectl("wait", "vm/db", "--for=condition=Ready", "--timeout=45s")
    assert "Running" in kubectl("get", "vmi", "db")


def test_kubectl_follows_a_machine(kubectl: Kubectl, kubeconfig: Path, namespace: str) -> None:
    kubectl("create", "-f", "machine.yaml")
    line = ["kubectl", f"--kubeconfig={kubeconfig}", f"--namespace={namespace}", "get", "vm", "--watch", "--no-headers"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        too_long = threading.Timer(60, watching.kill)
        too_long.start()
        assert watching.stdout.readline().startswith("db")
        kubectl("patch", "vm", "db", "--type=merge", "-p", '{"spec":{"runStrategy":"Always"}}')
        states = list(takewhile(lambda state: state != "Running", (row.split()[2] for row in watching.stdout)))
        too_long.cancel()
        watching.terminate()
    assert "Starting" in states
