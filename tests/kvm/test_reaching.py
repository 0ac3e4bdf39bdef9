"""Hosts that cannot be reached, users that are not let in, and a Python without libvirt: each says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from modules import refusal
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

# Options without which a module does not come as far as its host.
NEEDED = {
    "kvm_network": {"name": "a"},
    "kvm_pool": {"name": "a"},
    "kvm_volume": {"name": "a", "pool": "a", "capacity": "1Mi"},
}


@pytest.mark.parametrize("module", ["kvm_host_info", *NEEDED])
@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("qemu+unix:///system?socket=/nowhere/libvirt-sock", "virtstack.core.kvm_host installs and starts it"),
        ("qemu+tcp://127.0.0.1:9/system", "Check that the host is up"),
        ("nonsense", "Write the uri as e.g. qemu:///system"),
    ],
)
def test_a_host_that_cannot_be_reached_says_what_to_do(module: str, uri: str, told: str) -> None:
    message = refusal(module, uri=uri, **NEEDED.get(module, {})).message
    assert f"Cannot connect to libvirt at {uri}" in message and told in message, message


def test_a_user_who_is_not_let_in_is_told_who_is(alpha: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    # It is imported before, from places that the other user may not see.
    script = (
        "import os, sys; from modules import refusal;"
        " import ansible_collections.virtstack.core.plugins.modules.kvm_host_info; os.setgid(65534); os.setuid(65534);"
        " print(refusal('kvm_host_info', uri=sys.argv[1]).message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, alpha.uri],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert "Cannot connect to libvirt" in done.stdout and "Run the task as root (become: true)" in done.stdout, done


@pytest.mark.parametrize("module", ["kvm_host_info", "kvm_vm", "kvm_vm_power", *NEEDED])
def test_without_libvirt_python_a_module_says_what_to_install(module: str, tmp_path: Path) -> None:
    """As a process of its own, the way a module runs on another host, with a Python that has no libvirt."""
    given = {"kvm_vm": {"name": "a"}, "kvm_vm_power": {"name": "a", "state": "started"}, **NEEDED}
    script = tmp_path / "run.py"
    script.write_text(
        "import runpy, sys; sys.modules['libvirt'] = None\n"
        f"runpy.run_module('ansible_collections.virtstack.core.plugins.modules.{module}', run_name='__main__')\n"
    )
    options = {"ANSIBLE_MODULE_ARGS": {**given.get(module, {}), "_ansible_remote_tmp": str(tmp_path)}}
    done = subprocess.run(
        [sys.executable, script], input=json.dumps(options), capture_output=True, text=True, timeout=60, check=False
    )
    result = json.loads(done.stdout)
    assert result["failed"] and "Install libvirt-python" in result["msg"], result
