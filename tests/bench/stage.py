"""What a benchmark of the cluster side runs on: a lab of its own."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from programs import Programs


@dataclass
class Stage(Programs):
    """A lab, and the Python environment whose Ansible is measured."""

    lab_python: Path

    options: ClassVar[tuple[str, ...]] = ("--time-factor", "0")

    def __enter__(self) -> Stage:
        self.work.mkdir(parents=True, exist_ok=True)
        self._lab("start", "--installed", *self.options, "--quiet")
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

    def forget(self) -> None:
        self.ask("DELETE", "/virtlab/requests")

    def counted(self) -> tuple[int, Mapping[str, int]]:
        told = self.ask("GET", "/virtlab/requests")
        return told["total"], told["requests"]

    def variables(self) -> Mapping[str, str]:
        return {"K8S_AUTH_KUBECONFIG": str(self.kubeconfig)}
