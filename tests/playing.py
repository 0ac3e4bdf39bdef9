"""ansible-playbook as its users run it: a process with the collection on its path. Shared by the tests of playbooks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# The variable by which the processes of a playbook are known.
MARK = "VIRTSTACK_TEST_PLAYBOOK"
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


@dataclass(frozen=True)
class Begun:
    """A playbook that runs, and what it says. C(mark) is in the environment of all of its processes."""

    process: subprocess.Popen[bytes]
    output: Path
    mark: str

    def kill(self, *, alone: bool = False) -> None:
        """End it without a word: with its workers, or C(alone), so that they go on."""
        assert self.process.poll() is None, f"it was over before it was cut off: {self.output.read_text()}"
        if alone:
            self.process.kill()
            self.process.wait(30)
        else:
            self.end()

    @contextmanager
    def left_standing(self) -> Iterator[None]:
        """Kill it alone, and keep its workers from going on meanwhile."""
        for one in self._processes():
            os.kill(one, signal.SIGSTOP)
        self.kill(alone=True)
        yield
        for one in self._processes():
            os.kill(one, signal.SIGCONT)

    def end(self) -> None:
        """Leave none of its processes: workers have sessions of their own."""
        while running := list(self._processes()):
            for one in running:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            self.process.poll()
        self.process.wait(30)

    def _processes(self) -> Iterator[int]:
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in path.read_bytes().split(b"\0"):
                    yield int(path.parent.name)

    def says(self, text: str) -> None:
        """Wait until it does."""
        while text not in self.output.read_text():
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.05)

    def ends_well(self, timeout: float = 120) -> None:
        assert self.process.wait(timeout) == 0, self.output.read_text()


@dataclass
class Ansible:
    """ansible-playbook and its kin, of the environment that runs the tests or of C(ANSIBLE_PLAYBOOK)."""

    collections: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, tool: str, *arguments: str | Path, **environment: str) -> Played:
        command = [str(executable(tool)), *map(str, arguments)]
        variables = self._variables(environment)
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=variables, check=False)
        return Played(done.returncode, done.stdout + done.stderr)

    @contextmanager
    def begun(self, playbook: Path, **environment: str) -> Iterator[Begun]:
        """A playbook that runs meanwhile, of which nothing is left afterwards."""
        output = playbook.with_suffix(".output")
        mark = uuid.uuid4().hex
        # What it says into a file is to be read while it runs.
        variables = self._variables({**environment, MARK: mark, "PYTHONUNBUFFERED": "1"})
        with output.open("wb") as said:
            command = [str(executable("ansible-playbook")), str(playbook)]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=variables
            )
        begun = Begun(process, output, mark)
        try:
            yield begun
        finally:
            begun.end()

    def _variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, **self.settings, **environment}

    @property
    def settings(self) -> dict[str, str]:
        """What the environment has beside what the machine's has."""
        return {
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_FORCE_COLOR": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }

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
