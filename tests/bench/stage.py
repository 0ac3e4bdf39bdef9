"""What a benchmark runs on: a lab of its own, and Ansible's programs with their time, memory and requests measured."""

from __future__ import annotations

import base64
import json
import os
import pstats
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

OURS = "virtstack.core"
LONG = 20.0  # seconds

Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """One run of a program: seconds on the clock and of CPU, peak memory in MiB, requests that reached the lab."""

    seconds: float
    cpu: float
    peak: float
    requests: int
    output: str
    kinds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskTime:
    """What Ansible itself says of a task."""

    seconds: float
    changed: bool


@dataclass
class Stage:
    """A lab, and the Python environment whose Ansible is measured."""

    work: Path
    python: Path
    lab_python: Path

    def __enter__(self) -> Stage:
        self.work.mkdir(parents=True, exist_ok=True)
        self._lab("start", "--installed", "--time-factor", "0", "--quiet")
        document = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self.url, self.token = str(cluster["server"]), str(user["token"])
        self.trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        return self

    def __exit__(self, *_problem: object) -> None:
        self._lab("stop")

    @property
    def kubeconfig(self) -> Path:
        return self.work / "lab" / "kubeconfig"

    def _lab(self, verb: str, *arguments: str) -> None:
        command = [self.lab_python, "-m", "virtlab", verb, "--state-dir", self.work / "lab", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise SystemExit(f"virtlab {verb} failed: {done.stderr or done.stdout}")

    def load(self, vms: int, running: int, namespaces: int) -> None:
        """Fill the lab with machines, past its API."""
        sizes = {"--vms": vms, "--running": running, "--namespaces": namespaces}
        self._lab("load", *(str(part) for size in sizes.items() for part in size))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request of the administrator's, outside of what is measured."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60, context=self.trust) as answer:
            return json.load(answer)

    def namespace(self, name: str) -> None:
        self.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def has(self, collection: str) -> bool:
        """Whether a collection is installed beside the Ansible that is measured. Ours is taken from this checkout."""
        namespace, name = collection.split(".")
        places = self.python.parent.parent.glob(f"lib*/python3*/site-packages/ansible_collections/{namespace}/{name}")
        return collection == OURS or any(places)

    def measure(self, program: str, *arguments: str | Path, profile: Path | None = None) -> Measured:
        """Run one of Ansible's programs. Raises SystemExit with its output when it fails."""
        self.ask("DELETE", "/virtlab/requests")
        observer = ["-m", "cProfile", "-o", str(profile)] if profile else []
        command = [str(self.python), *observer, str(self.python.with_name(program)), *map(str, arguments)]
        printed = self.work / "output"
        with printed.open("wb") as output:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=self._environment(), cwd=self.work
            )
            # wait4 tells the memory of this one process.
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        text = printed.read_text(errors="replace")
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{text[-4000:]}")
        told = self.ask("GET", "/virtlab/requests")
        in_mib = 1024 * 1024 if sys.platform == "darwin" else 1024
        cpu = usage.ru_utime + usage.ru_stime
        return Measured(seconds, cpu, usage.ru_maxrss / in_mib, told["total"], text, told["requests"])

    def play(
        self, name: str, *tasks: Mapping[str, Any], profile: Path | None = None
    ) -> tuple[dict[str, TaskTime], Measured]:
        """Run tasks on localhost; the time of each by its name, and the whole run."""
        path = self.work / f"{name}.yml"
        path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]))
        measured = self.measure("ansible-playbook", path, profile=profile)
        times = {}
        for line in measured.output.splitlines():
            if line.startswith("took "):
                _, seconds, changed, task = line.split(" ", 3)
                times[task] = TaskTime(float(seconds), changed == "True")
        return times, measured

    def _environment(self) -> dict[str, str]:
        """An environment without the user's own settings, in which everything finds the lab."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("K8S_AUTH_", "ANSIBLE_"))}
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        return {
            **kept,
            "HOME": str(home),
            "K8S_AUTH_KUBECONFIG": str(self.kubeconfig),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", ""),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "task_seconds",
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
        }


def best(measure: Callable[[], Result], seconds: Callable[[Result], float], quick: bool) -> Result:
    """The better of two runs; one that takes long is not repeated, chance has had its time in it."""
    first = measure()
    if quick or seconds(first) > LONG:
        return first
    return min(first, measure(), key=seconds)


def hot_spots(profile: Path, count: int = 12) -> Sequence[str]:
    """Where a profiled program's own time went, the largest first: seconds, file and function."""
    stats = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    spots = sorted(((entry[2], where) for where, entry in stats.items()), reverse=True)[:count]
    return [f"{seconds:7.2f} s  {'/'.join(Path(file).parts[-2:])}:{name}" for seconds, (file, _, name) in spots]
