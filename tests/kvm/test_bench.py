"""The benchmarks of the KVM side and of real guests run, whatever they would find; see tests/bench/run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playing import REPOSITORY, Ansible
from virtlab.hosts.fleet import Hosts


def benched(ansible: Ansible, *benches: str) -> str:
    """What benchmarks of tiny sizes print."""
    # Not below the directory of the tests: the path of a host's socket may be no longer than a socket's path.
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        script = REPOSITORY / "tests" / "bench" / "bench.py"
        command = [sys.executable, script, "--work", Path(work), "--quick", *benches]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ansible.collections)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out" not in done.stdout
    return done.stdout


def test_every_benchmark_of_kvm_hosts_runs_without_the_peers(ansible: Ansible, hosts: Hosts) -> None:
    printed = benched(ansible, "kvm-noop", "kvm-fleet", "kvm-upload", "kvm-inventory")

    for title in ("a no-op task", "4 machines in one task", "16 MiB into a volume", "inventory of a host with 20"):
        assert f"KVM: {title}" in printed
    assert "time, of community.libvirt.libvirt's: not measured" in printed
    assert "changed=False" not in printed


def test_every_benchmark_of_real_guests_runs(ansible: Ansible, hosts: Hosts) -> None:
    printed = benched(ansible, "lab-migration", "lab-together")

    assert "Live migration of a real guest" in printed
    assert "5 simulated and 1 real guests together" in printed
    assert " guests 0 run" not in printed
