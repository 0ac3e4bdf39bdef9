"""Labs for tests, each in a directory of its own."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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
        return json.loads(self.ask(method, f"/virtlab/{path}"))

    def ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", timeout: float = 30
    ) -> bytes:
        """What the server answers to its administrator; raises HTTPError."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{cluster['server']}{path}", data, method=method)
        request.add_header("Content-Type", content_type)
        request.add_header("Authorization", f"Bearer {user['token']}")
        # The lab's own certificate, on the loopback interface.
        context = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=timeout, context=context) as response:
            return bytes(response.read())
