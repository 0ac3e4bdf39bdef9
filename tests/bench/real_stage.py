"""What a benchmark of real guests runs on: a lab whose guests are QEMU's."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from stage import Stage

MACHINE = {
    "memory": "128Mi",
    "run_strategy": "Always",
    "disks": [{"name": "root", "container_disk": "registry.example/tiny:1"}],
    "interfaces": [{"name": "default", "network": "pod"}],
    "wait": True,
    "wait_timeout": 300,
}


@dataclass
class RealStage(Stage):
    """A lab with real guests; an image that nobody has is the tiny guest's disk there."""

    options = ("--time-factor", "0.05", "--guests", "real")

    def lacking(self) -> str | None:
        """Why guests cannot be real here."""
        script = "from virtlab.guests.choice import missing; print('; '.join(missing()))"
        done = subprocess.run([self.lab_python, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        return (done.stdout if done.returncode == 0 else done.stderr).strip() or None
