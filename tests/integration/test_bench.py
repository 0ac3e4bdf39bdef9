"""The benchmarks run, whatever they would find; see tests/bench/run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY, Ansible


def test_every_benchmark_of_clusters_runs_without_the_peers(ansible: Ansible, tmp_path: Path) -> None:
    command = [sys.executable, REPOSITORY / "tests" / "bench" / "bench.py", "--work", tmp_path, "--quick"]
    command += ["noop", "fleet", "transfer", "inventory"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ansible.collections)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for title in (
        "A no-op task",
        "20 machines in one task",
        "8 MiB uploaded and downloaded",
        "Inventory of 60 machines",
    ):
        assert title in done.stdout
    assert "what came back is not what was sent" not in done.stdout
    assert "time, of kubevirt.core's: not measured" in done.stdout
