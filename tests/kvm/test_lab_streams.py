"""What reaches into a real guest of a lab through its API server: ssh, the console, the display."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparing import assert_same, interpreter
from documented import OF_REAL_GUESTS, examples
from labs import Lab
from playing import Ansible, Played

__all__ = ["interpreter"]

INVENTORY = {"plugin": "virtstack.core.cluster", "namespaces": ["prod"]}
# The tiny guest has no sftp server and no Python.
INVENTORY |= {"compose": {"ansible_connection": "'virtstack.core.vm'", "ansible_ssh_transfer_method": "'piped'"}}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def play(ansible: Ansible, lab: Lab, place: Path, tasks: list[dict[str, Any]], hosts: str = "localhost") -> Played:
    play = {"hosts": hosts, "gather_facts": False, "tasks": tasks}
    (place / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    return ansible.playbook(place / "play.yml", lab)


@pytest.fixture(scope="module")
def prod(lab: Lab, ansible: Ansible, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the machine C(db) in the namespace C(prod), which the key opens."""
    machine = {
        "name": "db",
        "namespace": "prod",
        "memory": "256Mi",
        "disks": [{"name": "root", "container_disk": "quay.io/virtlab/tiny:latest"}],
        "ssh_keys": [key.with_suffix(".pub").read_text()],
        "wait": True,
    }
    place = tmp_path_factory.mktemp("prod")
    namespace = {"name": "prod"}
    made = play(ansible, lab, place, [{"virtstack.core.namespace": namespace}, {"virtstack.core.vm": machine}])
    assert made.returncode == 0, made.output
    yield lab
    gone = {**namespace, "state": "absent", "delete_contents": True, "wait": True}
    assert play(ansible, lab, place, [{"virtstack.core.namespace": gone}]).returncode == 0


@pytest.mark.parametrize("module", OF_REAL_GUESTS)
def test_the_examples_of_a_module_run(module: str, prod: Lab, ansible: Ansible, tmp_path: Path) -> None:
    tasks = yaml.safe_load(yaml.safe_dump(examples(module)).replace("/tmp/", f"{tmp_path}/"))
    played = play(ansible, prod, tmp_path, tasks)
    assert played.returncode == 0, played.output


def test_both_ways_return_the_same(prod: Lab, ansible: Ansible, interpreter: str, tmp_path: Path) -> None:
    def run(playbook: Path, *arguments: str) -> Played:
        return ansible.playbook(playbook, prod, *arguments)

    db = {"name": "db", "namespace": "prod"}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("vm_console_log", {**db, "tail": 0}),
        ("vm_console_log", {**db, "pattern": "("}),
        ("vm_console_log", {**db, "name": "gone"}),
        ("vm_screenshot", {**db, "dest": str(tmp_path)}),
        ("vm_screenshot", {**db, "dest": "/nowhere/db.png"}),
    ]
    assert_same(run, tmp_path, calls, interpreter)


def test_a_screenshot_is_a_picture_and_in_check_mode_none(prod: Lab, ansible: Ansible, tmp_path: Path) -> None:
    task = {"virtstack.core.vm_screenshot": {"name": "db", "namespace": "prod", "dest": str(tmp_path / "db.png")}}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    checked = ansible.playbook(tmp_path / "play.yml", prod, "--check")
    assert (checked.returncode, checked.changed) == (0, 1), checked.output
    assert not (tmp_path / "db.png").exists()
    taken = ansible.playbook(tmp_path / "play.yml", prod)
    assert taken.returncode == 0, taken.output
    assert (tmp_path / "db.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def inventory(prod: Lab, tmp_path: Path) -> Path:
    path = tmp_path / "prod.virtstack.yml"
    path.write_text(yaml.safe_dump({**INVENTORY, "kubeconfig": str(prod.kubeconfig)}))
    return path


def known_hosts(place: Path) -> str:
    """Keys of hosts are kept with the test, and not with whoever runs it."""
    return f"-o UserKnownHostsFile={place}/known_hosts"


def in_guest(ansible: Ansible, lab: Lab, inventory: Path, *arguments: str) -> Played:
    """An ad-hoc command on the inventory's hosts."""
    ssh = f"--ssh-common-args={known_hosts(inventory.parent)}"
    environment = {"K8S_AUTH_KUBECONFIG": str(lab.kubeconfig)}
    return ansible.run("ansible", "-i", inventory, "--user", "root", ssh, *arguments, **environment)


def test_a_command_runs_in_a_guest_of_the_inventory(prod: Lab, ansible: Ansible, key: Path, inventory: Path) -> None:
    ran = in_guest(ansible, prod, inventory, "all", "--key-file", str(key), "-m", "raw", "-a", "hostname; exit 3")
    assert "db.prod | FAILED | rc=3 >>\ndb" in ran.output.replace("\r", "")


def test_files_go_both_ways_bit_for_bit(
    prod: Lab, ansible: Ansible, key: Path, inventory: Path, tmp_path: Path
) -> None:
    sent = bytes(range(256)) * 4096 * 4
    (tmp_path / "sent").write_bytes(sent)
    script = tmp_path / "carry.py"
    # What actions do with a connection, without a Python in the guest.
    script.write_text(
        f"""
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
init_plugin_loader()
c = connection_loader.get("virtstack.core.vm", PlayContext(), None)
c.set_options(var_options={{"inventory_hostname": "db.prod", "virtstack_name": "db", "virtstack_namespace": "prod",
    "ansible_user": "root", "ansible_ssh_private_key_file": {str(key)!r}, "ansible_ssh_transfer_method": "piped",
    "ansible_ssh_common_args": {known_hosts(tmp_path)!r}}})
c._play_context.remote_user, c._play_context.private_key_file = "root", {str(key)!r}
c.put_file({str(tmp_path / "sent")!r}, "/tmp/sent")
c.fetch_file("/tmp/sent", {str(tmp_path / "got")!r})
"""
    )
    carried = ansible.run("python", script, K8S_AUTH_KUBECONFIG=str(prod.kubeconfig))
    assert carried.returncode == 0, carried.output
    assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == hashlib.sha256(sent).digest()


def test_a_guest_that_is_off_is_said_to_be_off(prod: Lab, ansible: Ansible, key: Path, inventory: Path) -> None:
    variables = "virtstack_name=gone virtstack_uid=none"
    ran = in_guest(
        ansible, prod, inventory, "db.prod", "--key-file", str(key), "-m", "raw", "-a", "true", "-e", variables
    )
    assert "The machine prod/gone does not run, or does not exist. Start it, with virtstack.core.vm_power" in ran.output


def test_a_port_that_nothing_listens_on_is_said_to_be_one(
    prod: Lab, ansible: Ansible, key: Path, inventory: Path
) -> None:
    arguments = ("--key-file", str(key), "-m", "raw", "-a", "true", "-e", "ansible_port=23")
    ran = in_guest(ansible, prod, inventory, "db.prod", *arguments)
    assert "Nothing listens on port 23 of the guest" in ran.output
