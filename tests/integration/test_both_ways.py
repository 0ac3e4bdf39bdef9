"""Every module gives the same results in the controller's process and as a module of its own."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, Ansible, Lab

# Those of KVM hosts need such a host: tests/kvm runs them.
MODULES = sorted(
    path.stem
    for path in (REPOSITORY / "plugins" / "modules").glob("*.py")
    if path.stem != "__init__" and not path.stem.startswith("kvm_")
)
NAMESPACE = "both-ways"
BRIDGE = {"interfaces": [{"name": "br-both", "type": "linux-bridge", "state": "up", "bridge": {"port": []}}]}

Options = dict[str, Any]
# What every module may return.
OF_ANSIBLE = ("changed", "failed", "msg", "diff", "warnings", "deprecations")
# What is there before, by module: made once, directly.
THERE: list[tuple[str, Options]] = [
    ("operator", {"package": "kubernetes-nmstate-operator", "wait": True}),
    ("namespace", {"name": NAMESPACE, "labels": {"tier": "one"}}),
    ("network_attachment", {"name": "lan", "namespace": NAMESPACE, "type": "layer2"}),
    ("node_network_policy", {"name": "br-both", "desired_state": BRIDGE, "wait": True}),
    ("hyperconverged", {"definition": {"liveMigrationConfig": {"parallelMigrationsPerCluster": 3}}, "wait": True}),
    ("vm", {"name": "db", "namespace": NAMESPACE, "memory": "64Mi", "run_strategy": "Halted"}),
    ("vm_power", {"name": "db", "namespace": NAMESPACE, "state": "stopped"}),
    ("vm_info", {"namespaces": [NAMESPACE]}),
    ("data_volume", {"names": ["one", "two"], "namespace": NAMESPACE, "blank": True, "size": "64Mi", "wait": True}),
    ("data_source", {"name": "one", "namespace": NAMESPACE, "pvc": {"name": "one"}, "wait": True}),
    ("vm_snapshot", {"name": "one", "namespace": NAMESPACE, "vm": "db", "series": "both", "keep": 2, "wait": True}),
    ("vm_snapshot_info", {"namespaces": [NAMESPACE]}),
    ("vm_restore", {"namespace": NAMESPACE, "vm": "db", "snapshot": "one", "wait": True}),
    ("vm_clone", {"namespace": NAMESPACE, "vm": "db", "target": "copy", "wait": True}),
    ("vm_migration", {"names": ["db"], "namespace": NAMESPACE, "state": "cancelled"}),
    ("migration_policy", {"name": "both-ways", "vm_selector": {"app": "both-ways"}, "allow_post_copy": True}),
    ("node_maintenance", {"name": "worker-2", "state": "uncordoned"}),
    ("vm_disk", {"vm": "db", "namespace": NAMESPACE, "name": "data", "blank": True, "size": "1Gi"}),
    ("vm_interface", {"vm": "db", "namespace": NAMESPACE, "name": "lan", "network": "lan"}),
]
# What is asked for then in check mode: changes, removals, mistakes.
ASKED: list[tuple[str, Options]] = [
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
    ("data_volume", {"name": "one", "namespace": NAMESPACE, "blank": True, "size": "128Mi"}),
    ("data_volume", {"name": "one", "namespace": NAMESPACE, "upload": True}),
    ("data_volume", {"names": ["three"], "namespace": NAMESPACE, "clone_pvc": {"name": "one"}}),
    ("data_volume", {"names": ["one", "two", "none"], "namespace": NAMESPACE, "state": "absent"}),
    ("data_source", {"name": "one", "namespace": NAMESPACE, "pvc": {"name": "two"}}),
    ("data_source", {"name": "one", "namespace": NAMESPACE}),
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
]


def test_every_module_is_compared() -> None:
    assert {module for module, _options in THERE} == {module for module, _options in ASKED} == set(MODULES)


def results(
    ansible: Ansible, lab: Lab, place: Path, calls: list[tuple[str, Options]], *arguments: str
) -> list[dict[str, Any]]:
    """The results of the calls, the module's own way for those that name an interpreter."""
    tasks: list[dict[str, Any]] = [
        {
            f"virtstack.core.{module}": {key: value for key, value in options.items() if key != "interpreter"},
            "register": f"result_{number}",
            "ignore_errors": True,
            "vars": {"ansible_python_interpreter": options["interpreter"]} if "interpreter" in options else {},
        }
        for number, (module, options) in enumerate(calls)
    ]
    written = place / "results.json"
    names = ", ".join(f"result_{number}" for number in range(len(calls)))
    content = {"dest": str(written), "content": "{{ [" + names + "] | to_json }}", "mode": "0600"}
    tasks.append({"ansible.builtin.copy": content, "check_mode": False, "diff": False})
    playbook = place / "calls.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    played = ansible.playbook(playbook, lab, *arguments)
    assert played.returncode == 0, played.output
    found: list[dict[str, Any]] = json.loads(written.read_text())
    return found


def essence(result: dict[str, Any]) -> dict[str, Any]:
    """Without what belongs to the way itself, and to the moment."""
    left_out = ("invocation", "ansible_facts", "exception")
    return {key: value for key, value in result.items() if key not in left_out}


def returned(module: str) -> Options:
    """What the documentation says that a module returns."""
    source = (REPOSITORY / "plugins" / "modules" / f"{module}.py").read_text()
    match = re.search(r'^RETURN = r?"""(.*?)^"""', source, re.MULTILINE | re.DOTALL)
    assert match, f"{module} documents nothing that it returns"
    values: Options = yaml.safe_load(match[1])
    return values


def undocumented(result: dict[str, Any], documented: Options) -> Iterator[str]:
    """The names of values that are not in the documentation, those inside of others included."""
    for name, value in result.items():
        if name not in documented:
            if name not in OF_ANSIBLE:
                yield name
            continue
        contained = documented[name].get("contains")
        for item in value if contained and isinstance(value, list) else ():
            yield from (f"{name}.{inner}" for inner in undocumented(item, contained))


@pytest.fixture(scope="module")
def there(installed_lab: Lab, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = results(ansible, installed_lab, tmp_path_factory.mktemp("made"), THERE)
    assert not [result for result in made if result.get("failed")], made
    return installed_lab


@pytest.fixture
def interpreter(tmp_path: Path) -> str:
    """This Python under another name, so that it is another interpreter that is asked for."""
    script = tmp_path / "python-of-its-own"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    ("calls", "arguments"),
    [pytest.param(THERE, (), id="what is there"), pytest.param(ASKED, ("--check", "--diff"), id="what would be")],
)
def test_both_ways_return_the_same(
    calls: list[tuple[str, Options]],
    arguments: tuple[str, ...],
    there: Lab,
    ansible: Ansible,
    interpreter: str,
    tmp_path: Path,
) -> None:
    forked = [(module, {**options, "interpreter": interpreter}) for module, options in calls]
    together = [call for pair in zip(calls, forked, strict=True) for call in pair]
    found = results(ansible, there, tmp_path, together, *arguments)
    for (module, options), direct, own in zip(calls, found[::2], found[1::2], strict=True):
        assert essence(direct) == essence(own), (module, options)
        assert list(undocumented(essence(direct), returned(module))) == [], (module, options)
        if not direct.get("failed"):
            always = {name for name, value in returned(module).items() if value["returned"] in ("always", "success")}
            assert always <= direct.keys(), (module, options)
