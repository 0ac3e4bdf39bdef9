"""The examples in the documentation of every kvm_ module are tasks that run, in their order, on a real host."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from documented import Tasks, examples
from playing import REPOSITORY, Ansible
from stage import stage
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

# That of the host itself would set this machine up; test_kvm_host.py runs its examples on a host of its own.
MODULES = sorted({path.stem for path in (REPOSITORY / "plugins" / "modules").glob("kvm_*.py")} - {"kvm_host"})


def of(module: str, *calls: dict[str, Any]) -> Tasks:
    return [{f"virtstack.core.{module}": call} for call in calls]


DISKS = {"name": "disks", "type": "dir", "target": "/var/lib/libvirt/disks", "build": True, "state": "active"}
DATABASE = {"name": "db", "memory": "128Mi", "disks": [{"name": "root", "boot_source": "tiny"}]}
ROOTS = ("db-root", "edge-root")
DELETED = {"name": "db", "state": "absent", "force": True, "delete_disks": True}
# Internal snapshots go with their machine, and the agent freezes its file systems.
ANSWERING = {**DATABASE, "wait": True, "wait_for": "agent"}
# Of the database, all hosts have the disk; the web server's is on its own host.
LOCAL = {"name": "local", "type": "dir", "target": "/var/lib/libvirt/images", "state": "active"}
WEB = {"name": "web", "memory": "128Mi", "disks": [{"name": "root", "blank": True, "size": "16Mi", "pool": "local"}]}
BETA = "qemu+ssh://root@beta/system"
# What has to be there before the first example of a module; the host has a pool and a network C(default) with the tiny
# image, and /var/tmp/image.qcow2 is an image of 1 GiB.
PREPARED: dict[str, Tasks] = {
    "kvm_host_info": [],
    "kvm_network": [],
    "kvm_pool": [],
    "kvm_vm": [],
    "kvm_vm_backup": of("kvm_vm", ANSWERING),
    "kvm_vm_info": of("kvm_vm", DATABASE),
    "kvm_vm_migration": [*of("kvm_pool", LOCAL), *of("kvm_vm", DATABASE, WEB)],
    "kvm_vm_power": of("kvm_vm", DATABASE),
    "kvm_vm_snapshot": of("kvm_vm", ANSWERING),
    "kvm_volume": of("kvm_pool", DISKS),
}
# What takes away what the examples leave.
CLEANED: dict[str, Tasks] = {
    "kvm_network": of("kvm_network", *({"name": name, "state": "absent"} for name in ("lan", "vlans"))),
    "kvm_pool": of("kvm_pool", *({"name": name, "state": "absent"} for name in ("shared", "vg0"))),
    "kvm_vm": of("kvm_volume", *({"pool": "default", "name": name, "state": "absent"} for name in ROOTS)),
    "kvm_vm_backup": [
        *of("kvm_vm", {"name": "db", "state": "absent", "force": True}),
        *of("kvm_volume", {"pool": "default", "name": "db-root", "state": "absent"}),
    ],
    "kvm_vm_info": of("kvm_vm", DELETED),
    "kvm_vm_migration": [
        *of("kvm_vm", *({"name": name, "state": "absent", "force": True, "uri": BETA} for name in ("db", "web"))),
        *of("kvm_volume", {"pool": "default", "name": "db-root", "state": "absent"}),
        *of("kvm_volume", {"pool": "local", "name": "web-root", "state": "absent"}),
        *of("kvm_pool", {"name": "local", "state": "absent"}),
    ],
    "kvm_vm_power": of("kvm_vm", DELETED),
    "kvm_vm_snapshot": of("kvm_vm", DELETED),
    "kvm_volume": of("kvm_pool", {"name": "disks", "state": "absent", "delete_contents": True}),
}


def playbook(path: Path, tasks: Tasks, host: Host) -> Path:
    """A play on the host. Files under /var/tmp are files beside the playbook, and the other host is the test's."""
    beta = Hosts(host.directory.parent)["beta"]
    defaults = {"group/virtstack.core.kvm": {"uri": host.uri}}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": defaults, "tasks": tasks}
    path.write_text(
        yaml.safe_dump([play], sort_keys=False).replace("/var/tmp/", f"{path.parent}/").replace(BETA, beta.uri)
    )
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "image.qcow2", "1G"], check=True)
    return tmp_path


@pytest.mark.parametrize("module", PREPARED)
def test_the_examples_of_a_module_run(
    module: str, staged: Host, beta: Host, tiny: Tiny, ansible: Ansible, place: Path
) -> None:
    if module == "kvm_vm_migration":
        stage(beta, tiny)
    tasks = [*PREPARED[module], *examples(module)]
    try:
        played = ansible.play(playbook(place / "examples.yml", tasks, staged))
        assert played.returncode == 0, played.output
    finally:
        cleaned = ansible.play(playbook(place / "cleaned.yml", CLEANED.get(module, []), staged))
    assert cleaned.returncode == 0, cleaned.output


@pytest.mark.parametrize("module", MODULES)
def test_every_example_has_a_name_and_shows_the_module_or_its_result(module: str) -> None:
    tasks = examples(module)
    assert all(task.get("name") for task in tasks)
    assert any(f"virtstack.core.{module}" in task for task in tasks)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_every_module_are_run(module: str) -> None:
    assert module in PREPARED
