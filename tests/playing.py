"""ansible-playbook as its users run it: a process with the collection on its path. Shared by the tests of playbooks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
RECAP = re.compile(r"^\S+\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)", re.MULTILINE)


class Cluster(Protocol):
    """Whatever a kubeconfig leads to."""

    @property
    def kubeconfig(self) -> Path: ...


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

    def play(
        self, playbook: str | Path, *arguments: str, environment: Mapping[str, str] | None = None, **variables: Any
    ) -> Played:
        """Run a playbook with these variables."""
        extra = ["--extra-vars", json.dumps(variables)] if variables else []
        return self.run("ansible-playbook", playbook, *arguments, *extra, **environment or {})

    def playbook(self, playbook: str | Path, lab: Cluster, *arguments: str, **variables: Any) -> Played:
        """Run a playbook on a lab, reached the way an AWX credential does it: by the environment."""
        return self.play(playbook, *arguments, environment={"K8S_AUTH_KUBECONFIG": str(lab.kubeconfig)}, **variables)


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
