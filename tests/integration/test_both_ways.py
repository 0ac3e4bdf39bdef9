"""Every module gives the same results in the controller's process and as a module of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparing import Calls, assert_same, interpreter, results
from conftest import REPOSITORY, Ansible, Lab
from documented import OF_REAL_GUESTS
from playing import Played

# Those of KVM hosts need such a host: tests/kvm runs them.
MODULES = sorted(
    path.stem
    for path in (REPOSITORY / "plugins" / "modules").glob("*.py")
    if path.stem not in ("__init__", *OF_REAL_GUESTS) and not path.stem.startswith("kvm_")
)
NAMESPACE = "both-ways"
BRIDGE = {"interfaces": [{"name": "br-both", "type": "linux-bridge", "state": "up", "bridge": {"port": []}}]}
# A file of this repository: any file is a raw image.
IMAGE = str(REPOSITORY / "LICENSE")
# Of each run's own.
FILE = "{{ playbook_dir }}/both-ways.img"

__all__ = ["interpreter"]

# What is there before, by module: made once, directly.
THERE: Calls = [
    ("operator", {"package": "kubernetes-nmstate-operator", "wait": True}),
    ("namespace", {"name": NAMESPACE, "labels": {"tier": "one"}}),
    ("network_attachment", {"name": "lan", "namespace": NAMESPACE, "type": "layer2"}),
    ("node_network_policy", {"name": "br-both", "desired_state": BRIDGE, "wait": True}),
    ("hyperconverged", {"definition": {"liveMigrationConfig": {"parallelMigrationsPerCluster": 3}}, "wait": True}),
    ("vm", {"name": "db", "namespace": NAMESPACE, "memory": "64Mi", "run_strategy": "Halted"}),
    ("vm_power", {"name": "db", "namespace": NAMESPACE, "state": "stopped"}),
    ("vm_info", {"namespaces": [NAMESPACE]}),
    ("image_upload", {"path": IMAGE, "name": "image", "namespace": NAMESPACE, "size": "16Mi"}),
    ("data_volume", {"names": ["one", "two"], "namespace": NAMESPACE, "blank": True, "size": "64Mi", "wait": True}),
    ("data_source", {"name": "one", "namespace": NAMESPACE, "pvc": {"name": "one"}, "wait": True}),
    ("image_download", {"path": FILE, "pvc": "one", "namespace": NAMESPACE, "if_exists": "replace"}),
    ("vm_export", {"name": "out", "pvc": "one", "namespace": NAMESPACE, "wait": True}),
    ("vm_snapshot", {"name": "one", "namespace": NAMESPACE, "vm": "db", "series": "both", "keep": 2, "wait": True}),
    ("vm_snapshot_info", {"namespaces": [NAMESPACE]}),
    ("vm_restore", {"namespace": NAMESPACE, "vm": "db", "snapshot": "one", "wait": True}),
    ("vm_clone", {"namespace": NAMESPACE, "vm": "db", "target": "copy", "wait": True}),
    ("vm_migration", {"names": ["db"], "namespace": NAMESPACE, "state": "cancelled"}),
    ("migration_policy", {"name": "both-ways", "vm_selector": {"app": "both-ways"}, "allow_post_copy": True}),
    ("node_maintenance", {"name": "worker-2", "state": "uncordoned"}),
    ("vm_disk", {"vm": "db", "namespace": NAMESPACE, "name": "data", "blank": True, "size": "1Gi"}),
    ("vm_interface", {"vm": "db", "namespace": NAMESPACE, "name": "lan", "network": "lan"}),
    ("vm_guest_info", {"name": "db", "namespace": NAMESPACE}),
    ("vm_memory_dump", {"name": "db", "namespace": NAMESPACE, "state": "absent"}),
    ("vm_credentials", {"vm": "db", "namespace": NAMESPACE, "passwords": {"root": "correct horse"}}),
]
# What is asked for then in check mode: changes, removals, mistakes.
ASKED: Calls = [
    ("operator", {"state": "absent"}),
    ("operator", {"channel": "stabel"}),
    ("namespace", {"name": NAMESPACE, "labels": {"tier": "two"}}),
    ("namespace", {"name": NAMESPACE, "state": "absent"}),
    ("network_attachment", {"name": "lan", "namespace": NAMESPACE, "type": "layer2", "mtu": 1300}),
    ("network_attachment", {"name": "lan", "namespace": NAMESPACE, "type": "layer2", "bridge": "br1"}),
    ("network_attachment", {"name": "lan", "namespace": NAMESPACE, "bogus": 1}),
    ("node_network_policy", {"name": "br-both", "desired_state": {}, "max_unavailable": "all"}),
    ("node_network_policy", {"name": "br-both", "state": "absent"}),
    ("hyperconverged", {"definition": {"liveMigrationConfig": {"parallelMigrationsPerCluster": 7}}}),
    ("hyperconverged", {"definition": {"nope": 1}}),
    ("vm", {"name": "db", "namespace": NAMESPACE, "memory": "128Mi"}),
    ("vm", {"name": "db", "namespace": NAMESPACE, "memory": "much"}),
    ("vm", {"name": "db", "namespace": NAMESPACE, "state": "absent"}),
    ("vm", {"namespace": NAMESPACE, "memory": "128Mi", "vms": [{"name": "db"}, {"name": "No_Name"}]}),
    ("vm_power", {"name": "db", "namespace": NAMESPACE, "state": "started"}),
    ("vm_power", {"name": "db", "namespace": NAMESPACE, "state": "paused"}),
    ("vm_info", {"namespaces": [NAMESPACE], "name": "none"}),
    ("image_upload", {"path": IMAGE, "name": "image", "namespace": NAMESPACE}),
    ("image_upload", {"path": IMAGE, "name": "other", "namespace": NAMESPACE, "size": "1Mi"}),
    ("image_upload", {"path": IMAGE, "name": "one", "namespace": NAMESPACE}),
    ("image_upload", {"path": "/nowhere", "name": "other", "namespace": NAMESPACE}),
    ("data_volume", {"name": "one", "namespace": NAMESPACE, "blank": True, "size": "128Mi"}),
    ("data_volume", {"name": "one", "namespace": NAMESPACE, "upload": True}),
    ("data_volume", {"names": ["three"], "namespace": NAMESPACE, "clone_pvc": {"name": "one"}}),
    ("data_volume", {"names": ["one", "two", "none"], "namespace": NAMESPACE, "state": "absent"}),
    ("data_source", {"name": "one", "namespace": NAMESPACE, "pvc": {"name": "two"}}),
    ("data_source", {"name": "one", "namespace": NAMESPACE}),
    ("image_download", {"path": FILE, "pvc": "one", "namespace": NAMESPACE}),
    ("image_download", {"path": "/nowhere/x", "pvc": "one", "namespace": NAMESPACE}),
    ("vm_export", {"pvc": "two", "namespace": NAMESPACE}),
    ("vm_export", {"name": "out", "namespace": NAMESPACE, "state": "absent"}),
    ("vm_export", {"vm": "none", "namespace": NAMESPACE, "ttl": "long"}),
    ("image_download", {"path": FILE, "vm": "x", "namespace": NAMESPACE, "if_exists": "replace"}),
    ("vm_snapshot", {"name": "one", "namespace": NAMESPACE, "state": "absent"}),
    ("vm_snapshot", {"name": "two", "namespace": NAMESPACE, "vm": "db", "series": "both", "keep": 1}),
    ("vm_snapshot", {"name": "two", "namespace": NAMESPACE, "vm": "db", "keep": 1}),
    ("vm_snapshot_info", {"namespaces": [NAMESPACE], "vm": "none"}),
    ("vm_restore", {"namespace": NAMESPACE, "vm": "db", "snapshot": "none"}),
    ("vm_restore", {"namespace": NAMESPACE, "vm": "db", "snapshot": "one", "name": "again", "start_vm": True}),
    ("vm_clone", {"namespace": NAMESPACE, "vm": "db", "targets": ["copy", "other"]}),
    ("vm_clone", {"namespace": NAMESPACE, "vm": "none", "target": "other"}),
    ("vm_migration", {"name": "db", "namespace": NAMESPACE}),
    ("vm_migration", {"label_selector": "!none", "namespace": NAMESPACE, "node": "worker-9"}),
    ("migration_policy", {"name": "both-ways", "bandwidth_per_migration": "32Mi", "resolve": True}),
    ("migration_policy", {"name": "both-ways", "bandwidth_per_migration": "32"}),
    ("node_maintenance", {"name": "worker-2", "force": True, "delete_emptydir_data": True}),
    ("node_maintenance", {"name": "worker-9"}),
    ("vm_disk", {"vm": "db", "namespace": NAMESPACE, "name": "more", "blank": True, "size": "1Gi"}),
    ("vm_disk", {"vm": "db", "namespace": NAMESPACE, "name": "data", "state": "absent"}),
    ("vm_disk", {"vm": "db", "namespace": NAMESPACE, "name": "data", "size": "1GB"}),
    ("vm_interface", {"vm": "db", "namespace": NAMESPACE, "name": "lan", "link": "down"}),
    ("vm_interface", {"vm": "db", "namespace": NAMESPACE, "name": "lan", "state": "absent"}),
    ("vm_interface", {"vm": "db", "namespace": NAMESPACE, "name": "more", "network": "nowhere"}),
    ("vm_guest_info", {"label_selector": "!none", "namespace": NAMESPACE, "gather": ["os"]}),
    ("vm_memory_dump", {"name": "db", "namespace": NAMESPACE, "claim": "memory", "create": True}),
    ("vm_credentials", {"vm": "db", "namespace": NAMESPACE, "passwords": {"root": "another horse"}}),
    ("vm_credentials", {"vm": "db", "namespace": NAMESPACE}),
]


def test_every_module_is_compared() -> None:
    assert {module for module, _options in THERE} == {module for module, _options in ASKED} == set(MODULES)


@pytest.fixture(scope="module")
def there(installed_lab: Lab, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    def play(playbook: Path, *arguments: str) -> Played:
        return ansible.playbook(playbook, installed_lab, *arguments)

    made = results(play, tmp_path_factory.mktemp("made"), THERE)
    assert not [result for result in made if result.get("failed")], made
    return installed_lab


@pytest.mark.parametrize(
    ("calls", "arguments"),
    [pytest.param(THERE, (), id="what is there"), pytest.param(ASKED, ("--check", "--diff"), id="what would be")],
)
def test_both_ways_return_the_same(
    calls: Calls, arguments: tuple[str, ...], there: Lab, ansible: Ansible, interpreter: str, tmp_path: Path
) -> None:
    def play(playbook: Path, *more: str) -> Played:
        return ansible.playbook(playbook, there, *more)

    assert_same(play, tmp_path, calls, interpreter, *arguments)
