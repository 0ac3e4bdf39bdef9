"""A lab of its own for the tests of this directory: a real server process, started when the first test asks for it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource
from both_ways import BothWays

NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)


@dataclass(frozen=True)
class Lab:
    """A running lab, and how to make it misbehave."""

    state_dir: Path
    _rules: list[str] = field(default_factory=list)  # what was added since it last behaved

    @property
    def kubeconfig(self) -> str:
        return str(self.state_dir / "kubeconfig")

    def command(self, *arguments: str) -> str:
        """Run a command of virtlab; what it printed."""
        verb, *rest = arguments
        command = [sys.executable, "-m", "virtlab", verb, "--state-dir", str(self.state_dir), *rest]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    def fault(self, subject: str, **fields: Any) -> None:
        """Add a rule, e.g. fault("request", verb="get", code=503, count=2)."""
        self._rules.append(subject)
        options = [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        subprocess.run(
            [sys.executable, "-m", "virtlab", "fault", "add", "--state-dir", str(self.state_dir), subject, *options],
            check=True,
            capture_output=True,
            timeout=30,
        )

    def faults(self) -> list[dict[str, Any]]:
        """The rules that are still in force."""
        command = [sys.executable, "-m", "virtlab", "fault", "list", "--state-dir", str(self.state_dir)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]

    def behave(self) -> None:
        """Drop all rules, if there are any."""
        if not self._rules:
            return
        self._rules.clear()
        command = [sys.executable, "-m", "virtlab", "fault", "clear", "--state-dir", str(self.state_dir)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="session")
def _lab(new_lab: Callable[[], Iterator[Lab]]) -> Iterator[Lab]:
    yield from new_lab()


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Iterator[Lab]]:
    """Starts a lab, and stops it when it is needed no more."""
    pytest.importorskip("virtlab", reason="the lab is not installed")

    def running() -> Iterator[Lab]:
        lab = Lab(tmp_path_factory.mktemp("lab"))
        lab.command("start", "--installed", "--time-factor", "0.02", "--quiet")
        yield lab
        lab.command("stop")

    return running


@pytest.fixture
def lab(_lab: Lab) -> Iterator[Lab]:
    """The lab, which behaves at the beginning of every test."""
    yield _lab
    _lab.behave()


@pytest.fixture
def client(lab: Lab) -> Client:
    return connect({"kubeconfig": lab.kubeconfig})


_numbers = itertools.count(1)


@pytest.fixture
def namespace(client: Client) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def config_map(namespace: str) -> Callable[..., dict[str, Any]]:
    """Makes config maps in that namespace: the plainest objects there are."""

    def make(name: str = "a", /, **data: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    return make


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this user may make one."""
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False, timeout=30).returncode != 0:
        pytest.skip("only root, where it may mount, has a disk that is full")
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=30)


@pytest.fixture
def both_ways(lab: Lab, tmp_path: Path) -> BothWays:
    """Runs tasks directly and as modules."""
    return BothWays(tmp_path, lab.kubeconfig)
