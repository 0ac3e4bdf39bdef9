"""Every module of KVM hosts gives the same results in the controller's process and as a module of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from comparing import Calls, assert_same, interpreter, results
from playing import REPOSITORY, Ansible, Played
from stage import remove_machines
from virtlab.hosts.host import Host

__all__ = ["interpreter"]

# That of the host itself would set this machine up; test_kvm_host.py compares it on a host of its own.
MODULES = sorted({path.stem for path in (REPOSITORY / "plugins" / "modules").glob("kvm_*.py")} - {"kvm_host"})
UUID = "2f5d5f0c-8a6e-4a53-9f5e-5d0f7c1b7b33"
MACHINE = {"name": "both-a", "memory": "64Mi", "interfaces": [], "run_strategy": "Halted", "firmware": {"uuid": UUID}}
NETWORK = {"name": "both", "mode": "isolated"}
POOL = {"name": "both", "type": "dir", "target": "/var/lib/libvirt/both", "build": True, "state": "active"}
VOLUME = {"pool": "both", "name": "data", "capacity": "16Mi"}
# What is there before, by module: made once, directly.
THERE: Calls = [
    # Of a real host, how much memory is left changes by the moment.
    ("kvm_host_info", {"uri": "test:///default"}),
    ("kvm_network", NETWORK),
    ("kvm_pool", POOL),
    ("kvm_volume", VOLUME),
    ("kvm_vm", {**MACHINE, "disks": [{"name": "root", "blank": True, "size": "16Mi", "pool": "both"}]}),
    ("kvm_vm_power", {"name": "both-a", "state": "stopped"}),
    ("kvm_vm_info", {"name": "both-a", "xml": True}),
    ("kvm_vm_migration", {"name": "both-a", "state": "cancelled"}),
    ("kvm_vm_snapshot", {"vm": "both-a", "name": "one", "description": "First"}),
    ("kvm_vm_backup", {"vm": "both-a", "name": "one", "directory": "/var/lib/libvirt/both-backup"}),
]
# What is asked for then in check mode: changes, removals, mistakes.
ASKED: Calls = [
    ("kvm_host_info", {"architecture": "vax"}),
    ("kvm_network", {**NETWORK, "state": "absent"}),
    ("kvm_pool", {"name": "both", "state": "absent"}),
    ("kvm_volume", {**VOLUME, "capacity": "32Mi"}),
    ("kvm_volume", {**VOLUME, "capacity": "much"}),
    ("kvm_vm", {**MACHINE, "memory": "128Mi", "title": "More"}),
    ("kvm_vm", {**MACHINE, "memory": "much"}),
    ("kvm_vm", {**MACHINE, "cpu": {"model": "Nonsense"}}),
    ("kvm_vm", {"name": "both-a", "state": "absent", "delete_disks": True}),
    ("kvm_vm", {"memory": "128Mi", "vms": [{"name": "both-a"}, {"name": "no/name"}]}),
    ("kvm_vm_power", {"name": "both-a", "state": "started"}),
    ("kvm_vm_power", {"name": "both-a", "state": "paused"}),
    ("kvm_vm_power", {"name": "both-none", "state": "started"}),
    ("kvm_vm_info", {"label_selector": "no selector!"}),
    ("kvm_vm_migration", {"name": "both-a", "target_uri": "qemu+unix:///system?socket=/nowhere"}),
    ("kvm_vm_migration", {"names": ["both-a"], "target_uri": "test:///default", "compression": ["zstd"]}),
    ("kvm_vm_snapshot", {"vm": "both-a", "name": "two", "external": True}),
    ("kvm_vm_snapshot", {"vm": "both-a", "name": "one", "state": "reverted"}),
    ("kvm_vm_snapshot", {"vm": "both-a", "name": "none", "state": "reverted"}),
    ("kvm_vm_backup", {"vm": "both-a", "name": "two", "directory": "/var/lib/libvirt/both-backup"}),
    ("kvm_vm_backup", {"vm": "both-a", "directory": "/var/lib/libvirt/both-backup", "state": "restored"}),
]


def test_every_module_is_compared() -> None:
    assert {module for module, _options in THERE} == {module for module, _options in ASKED} == set(MODULES)


class On:
    """Runs playbooks on a host, which is named by the environment."""

    def __init__(self, host: Host, ansible: Ansible) -> None:
        self.host, self.ansible = host, ansible

    def __call__(self, playbook: Path, *arguments: str) -> Played:
        return self.ansible.play(playbook, *arguments, environment={"LIBVIRT_DEFAULT_URI": self.host.uri})


@pytest.fixture(scope="module")
def play(staged: Host, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Iterator[On]:
    on = On(staged, ansible)
    made = results(on, tmp_path_factory.mktemp("made"), THERE)
    assert not [result for result in made if result.get("failed")], made
    yield on
    remove_machines(staged, "both-")
    gone: Calls = [
        ("kvm_network", {**NETWORK, "state": "absent"}),
        ("kvm_pool", {"name": "both", "state": "absent", "delete_contents": True}),
    ]
    results(on, tmp_path_factory.mktemp("gone"), gone)


@pytest.mark.parametrize(
    ("calls", "arguments"),
    [pytest.param(THERE, (), id="what is there"), pytest.param(ASKED, ("--check", "--diff"), id="what would be")],
)
def test_both_ways_return_the_same(
    calls: Calls, arguments: tuple[str, ...], play: On, interpreter: str, tmp_path: Path
) -> None:
    assert_same(play, tmp_path, calls, interpreter, *arguments)
