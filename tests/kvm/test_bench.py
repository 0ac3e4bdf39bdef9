"""The benchmarks of the KVM side run, whatever they would find; see tests/bench/run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playing import REPOSITORY, Ansible
from virtlab.hosts.fleet import Hosts

BENCHES = ("kvm-noop", "kvm-fleet", "kvm-upload", "kvm-inventory")


def test_every_benchmark_of_kvm_hosts_runs_without_the_peers(ansible: Ansible, hosts: Hosts) -> None:
    # Not below the directory of the tests: the path of a host's socket may be no longer than a socket's path.
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        script = REPOSITORY / "tests" / "bench" / "bench.py"
        command = [sys.executable, script, "--work", Path(work), "--quick", *BENCHES]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ansible.collections)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out" not in done.stdout
    for title in ("a no-op task", "4 machines in one task", "16 MiB into a volume", "inventory of a host with 20"):
        assert f"KVM: {title}" in done.stdout
    assert "time, of community.libvirt.libvirt's: not measured" in done.stdout
    assert "changed=False" not in done.stdout
