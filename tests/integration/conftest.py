"""Labs for the playbooks, and ansible-playbook as its users run it: a process with the collection on its path."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TIME_FACTOR = "0.02"
READS = frozenset({"get", "list", "watch"})
RECAP = re.compile(r"^\S+\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)", re.MULTILINE)


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


@dataclass(frozen=True)
class Played:
    """What a run of ansible-playbook came to."""

    returncode: int
    output: str

    @property
    def changed(self) -> int:
        return sum(int(match["changed"]) for match in RECAP.finditer(self.output))


@dataclass
class Ansible:
    """ansible-playbook and its kin, of the environment that runs the tests or of C(ANSIBLE_PLAYBOOK)."""

    collections: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, tool: str, *arguments: str | Path, **environment: str) -> Played:
        variables = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_FORCE_COLOR": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
            **environment,
        }
        command = [str(executable(tool)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=variables, check=False)
        return Played(done.returncode, done.stdout + done.stderr)

    def playbook(self, playbook: str | Path, lab: Lab, *arguments: str, **variables: Any) -> Played:
        """Run a playbook on a lab, reached the way an AWX credential does it: by the environment."""
        extra = ["--extra-vars", json.dumps(variables)] if variables else []
        return self.run("ansible-playbook", playbook, *arguments, *extra, K8S_AUTH_KUBECONFIG=str(lab.kubeconfig))


def executable(tool: str) -> Path:
    """The command beside C(ANSIBLE_PLAYBOOK), beside this Python, or on the path."""
    chosen = os.environ.get("ANSIBLE_PLAYBOOK")
    for place in ([Path(chosen).parent] if chosen else []) + [Path(sys.executable).parent]:
        if (place / tool).is_file():
            return place / tool
    found = shutil.which(tool)
    assert found, f"there is no {tool}"
    return Path(found)


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    collections = tmp_path_factory.mktemp("collections")
    place = collections / "ansible_collections" / "virtstack"
    place.mkdir(parents=True)
    (place / "core").symlink_to(REPOSITORY)
    return Ansible(collections, tmp_path_factory.mktemp("ansible"))


@pytest.fixture(scope="session")
def installed_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the operator installed and ready, shared by all tests; each uses namespaces of its own."""
    lab = Lab(tmp_path_factory.mktemp("installed"))
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
