"""Networks, pools and volumes of a real host, as playbooks and called."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playing import Ansible
from virtlab.hosts.host import Host

CASES = Path(__file__).parent


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qcow2 image of a disk of 2 GiB with a little on it."""
    path = tmp_path_factory.mktemp("image") / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "2G"], check=True)
    for place in ("0", "1G"):
        subprocess.run(["qemu-io", "-c", f"write -P 0xa5 {place} 1M", path], check=True, capture_output=True)
    return path


@pytest.mark.parametrize(("case", "changes"), [("kvm_network", 8), ("kvm_pool", 9), ("kvm_volume", 7)])
def test_a_second_run_changes_nothing(
    case: str, changes: int, alpha: Host, ansible: Ansible, image: Path, tmp_path: Path
) -> None:
    checksum = f"sha256:{hashlib.sha256(image.read_bytes()).hexdigest()}"
    variables: dict[str, Any] = {
        "uri": alpha.uri,
        "image": str(image),
        "checksum": checksum,
        "dest": str(tmp_path / "image"),
    }
    playbook = CASES / case / "main.yml"
    first = ansible.play(playbook, "--diff", **variables)
    assert first.returncode == 0, first.output
    assert first.changed == changes, first.output
    second = ansible.play(playbook, "--diff", **variables)
    assert second.returncode == 0, second.output
    assert second.changed == 0, second.output
    checked = ansible.play(playbook, "--check", "--diff", **variables)
    assert checked.returncode == 0, checked.output
    assert checked.changed == 0, checked.output
