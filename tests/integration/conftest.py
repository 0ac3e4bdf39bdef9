"""Labs for the playbooks."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playing import REPOSITORY, Ansible, Played, ansible, executable

__all__ = ["REPOSITORY", "TIME_FACTOR", "Ansible", "Lab", "Played", "ansible", "executable"]
TIME_FACTOR = "0.02"
READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True)
class Lab:
    """A running lab in a directory of its own."""

    directory: Path

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def command(self, verb: str, *arguments: str) -> str:
        """Run a command of virtlab; what it printed."""
        command = [sys.executable, "-m", "virtlab", verb, "--state-dir", str(self.directory), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"virtlab {verb}: {done.stderr}"
        return done.stdout

    def requests(self) -> dict[str, int]:
        """How often what was asked of the API server, by C(verb resource), since it was last forgotten."""
        counted: dict[str, int] = self._control("GET", "requests")["requests"]
        return counted

    def forget_requests(self) -> None:
        self._control("DELETE", "requests")

    def writes(self) -> dict[str, int]:
        """Those of the requests that were to change something. A dry run changes nothing."""
        return {
            line: count
            for line, count in self.requests().items()
            if line.split()[0] not in READS and not line.startswith("dry-run ")
        }

    def _control(self, method: str, path: str) -> Any:
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        request = urllib.request.Request(f"{cluster['server']}/virtlab/{path}", method=method)
        request.add_header("Authorization", f"Bearer {user['token']}")
        # The lab's own certificate, on the loopback interface.
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=30, context=context) as response:
            return json.load(response)


@pytest.fixture(scope="session")
def installed_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the operator installed and ready, shared by all tests; each uses namespaces of its own."""
    lab = Lab(tmp_path_factory.mktemp("installed"))
    lab.command("start", "--installed", "--time-factor", TIME_FACTOR, "--quiet")
    yield lab
    lab.command("stop")


@pytest.fixture
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the operator installed, for a test that would disturb others."""
    lab = Lab(tmp_path_factory.mktemp("own"))
    lab.command("start", "--installed", "--time-factor", TIME_FACTOR, "--quiet")
    yield lab
    lab.command("stop")


@pytest.fixture
def empty_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab as it comes, for a test that installs the operator itself."""
    lab = Lab(tmp_path_factory.mktemp("empty"))
    lab.command("start", "--time-factor", TIME_FACTOR, "--quiet")
    yield lab
    lab.command("stop")
