"""The examples in the documentation of every module are tasks that run, in their order, in a namespace C(prod)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, Ansible, Lab
from documented import OF_REAL_GUESTS, examples

# Those of KVM hosts need such a host: tests/kvm runs them.
MODULES = sorted(
    path.stem
    for path in (REPOSITORY / "plugins" / "modules").glob("*.py")
    if path.stem not in ("__init__", *OF_REAL_GUESTS) and not path.stem.startswith("kvm_")
)
# These install the operator themselves, and remove it.
ON_AN_EMPTY_LAB = ("operator",)
# These would move what others have left on the nodes.
ON_A_LAB_OF_THEIR_OWN = ("node_maintenance",)

NAMESPACE = {"virtstack.core.namespace": {"name": "prod"}}
NMSTATE = {"virtstack.core.operator": {"package": "kubernetes-nmstate-operator", "wait": True}}
DATABASE = {"virtstack.core.vm": {"name": "db", "namespace": "prod", "memory": "64Mi", "wait": True}}
SNAPSHOT = {"virtstack.core.vm_snapshot": {"name": "before-upgrade", "namespace": "prod", "vm": "db", "wait": True}}
IMAGES = {
    "ansible.builtin.shell": {
        "cmd": "qemu-img create -q -f qcow2 golden.qcow2 16M; truncate -s 4M installer.iso;"
        " sha256sum installer.iso | cut -d' ' -f1 > installer.iso.sha256",
        "chdir": "{{ playbook_dir }}",
    }
}
DISK = {
    "virtstack.core.data_volume": {"name": "db-root", "namespace": "prod", "blank": True, "size": "16Mi", "wait": True}
}
HALTED = {
    "virtstack.core.vm": {
        "name": "db",
        "namespace": "prod",
        "memory": "64Mi",
        "run_strategy": "Halted",
        "disks": [{"name": "root", "blank": True, "size": "16Mi"}],
        "wait": True,
    }
}
EMPTIED = {"virtstack.core.namespace": {"name": "prod", "state": "absent", "delete_contents": True, "wait": True}}
# What has to be there before the first example of a module.
PREPARED: dict[str, list[dict[str, Any]]] = {
    "operator": [],
    "node_network_policy": [NMSTATE],
    "vm_power": [NAMESPACE, DATABASE],
    "vm_disk": [NAMESPACE, DATABASE],
    "vm_guest_info": [NAMESPACE, DATABASE],
    "vm_info": [NAMESPACE, DATABASE],
    "vm_interface": [NAMESPACE, DATABASE],
    "vm_snapshot": [NAMESPACE, DATABASE],
    "vm_snapshot_info": [NAMESPACE, DATABASE, SNAPSHOT],
    "vm_restore": [NAMESPACE, DATABASE, SNAPSHOT],
    "vm_clone": [NAMESPACE, DATABASE],
    "image_upload": [NAMESPACE, IMAGES],
    "image_download": [NAMESPACE, DISK],
    "vm_credentials": [NAMESPACE, DATABASE],
    "vm_memory_dump": [NAMESPACE, DATABASE],
    "vm_export": [NAMESPACE, HALTED],
    "vm_migration": [NAMESPACE, DATABASE],
}


def waits(module: str) -> bool:
    """Whether a module has the options of those that wait."""
    return "**WAIT_OPTIONS" in (REPOSITORY / "plugins" / "modules" / f"{module}.py").read_text()


def playbook(path: Path, tasks: list[dict[str, Any]]) -> Path:
    # Short waits, so that an example that does not come to its end says so before the test's own time is over.
    names = {key for task in tasks for key in task if key.startswith("virtstack.core.")}
    waiting = {name: {"wait_timeout": 90} for name in sorted(names) if waits(name.rpartition(".")[2])}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": waiting, "tasks": tasks}
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return path


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(
    module: str, request: pytest.FixtureRequest, ansible: Ansible, tmp_path: Path
) -> None:
    kind = "own_lab" if module in ON_A_LAB_OF_THEIR_OWN else "installed_lab"
    lab: Lab = request.getfixturevalue("empty_lab" if module in ON_AN_EMPTY_LAB else kind)
    tasks = [*PREPARED.get(module, [NAMESPACE]), *examples(module)]
    try:
        played = ansible.playbook(playbook(tmp_path / "examples.yml", tasks), lab)
        assert played.returncode == 0, played.output
    finally:
        ansible.playbook(playbook(tmp_path / "emptied.yml", [EMPTIED]), lab)


@pytest.mark.parametrize("module", MODULES)
def test_every_example_has_a_name_and_shows_the_module_or_its_result(module: str) -> None:
    tasks = examples(module)
    assert all(task.get("name") for task in tasks)
    assert any(f"virtstack.core.{module}" in task for task in tasks)
