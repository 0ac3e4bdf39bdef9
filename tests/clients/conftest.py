"""A lab for clients that know nothing of this project; it runs in another environment, for theirs has old pins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import config
from kubernetes.dynamic import DynamicClient


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a lab with the operator installed, which VIRTLAB, or the C(virtlab) on the path, starts."""
    command = os.environ.get("VIRTLAB", "virtlab")
    state = str(tmp_path_factory.mktemp("lab"))
    line = [command, "start", "--state-dir", state, "--installed", "--time-factor", "0.02", "--quiet"]
    started = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert started.returncode == 0, started.stderr
    try:
        yield Path(started.stdout.strip())
    finally:
        subprocess.run([command, "stop", "--state-dir", state], check=True, timeout=60)


@pytest.fixture(scope="session")
def dynamic(kubeconfig: Path) -> DynamicClient:
    return DynamicClient(config.new_client_from_config(config_file=str(kubeconfig)))


@pytest.fixture
def namespace(dynamic: DynamicClient, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, called after it."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:60].strip("-")
    namespaces = dynamic.resources.get(api_version="v1", kind="Namespace")
    namespaces.create(body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
