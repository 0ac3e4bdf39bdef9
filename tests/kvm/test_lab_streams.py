"""What reaches into a real guest of a lab through its API server: ssh, and the subresources of its instance."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
import yaml
from comparing import assert_same, interpreter
from documented import OF_REAL_GUESTS, examples
from guests import Console
from inside import ask_guest, domain_of, until
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


# The subresources, asked for by their names as any client does.

MACHINE = "virtualmachines/db"
INSTANCE = "virtualmachineinstances/db"


def path_of(action: str) -> str:
    return f"/apis/subresources.kubevirt.io/v1/namespaces/prod/{action}"


def found(lab: Lab, kind: str, name: str = "db") -> dict[str, Any]:
    told: dict[str, Any] = json.loads(lab.ask("GET", f"/apis/kubevirt.io/v1/namespaces/prod/{kind}/{name}"))
    return told


def in_db(lab: Lab, command: str) -> str:
    return ask_guest(domain_of(lab, "prod", "db"), command)


@contextlib.contextmanager
def stream(lab: Lab, action: str) -> Iterator[websocket.WebSocket]:
    config = yaml.safe_load(lab.kubeconfig.read_text())
    server, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    opened = websocket.create_connection(
        server.replace("https", "wss") + path_of(action),
        header=[f"Authorization: Bearer {token}"],
        subprotocols=["plain.kubevirt.io"],
        sslopt={"cert_reqs": ssl.CERT_NONE},
        timeout=60,
    )
    try:
        yield opened
    finally:
        opened.close()


def received(opened: websocket.WebSocket, count: int) -> bytes:
    """At least so many bytes."""
    data = b""
    while len(data) < count:
        data += opened.recv_data()[1]
    return data


@pytest.fixture(scope="module")
def db(prod: Lab) -> Lab:
    """The lab, once the machine's agent answers."""

    def connected() -> bool:
        conditions = found(prod, "virtualmachineinstances")["status"].get("conditions") or ()
        return any(item["type"] == "AgentConnected" for item in conditions)

    until(connected, "the guest has an agent")
    return prod


def test_console_takes_what_is_typed_and_tells_what_is_said(db: Lab) -> None:
    Console(db.directory / "guests" / "prod_db" / "console.log").wait_for("GUEST-READY")
    with stream(db, f"{INSTANCE}/console") as opened:
        said, typed = b"", 0.0

        def answered() -> bool:
            nonlocal said, typed
            # The guest counts on the same line, so that an answer may be broken in two.
            if time.monotonic() - typed > 3:
                opened.send_binary(b"\necho typed-$((6 * 7))\n")
                typed = time.monotonic()
            said += received(opened, 1)
            return b"typed-42" in said

        until(answered, "the shell answers")


def test_vnc_is_spoken_to_by_a_client_without_a_browser(db: Lab) -> None:
    with stream(db, f"{INSTANCE}/vnc") as opened:
        assert received(opened, 12) == b"RFB 003.008\n"
        opened.send_binary(b"RFB 003.008\n")
        assert 1 in received(opened, 2)[1:]  # no authentication
        opened.send_binary(b"\x01")
        assert received(opened, 4) == bytes(4)
        opened.send_binary(b"\x01")  # others may look as well
        width, height = struct.unpack(">HH", received(opened, 24)[:4])
        assert width >= 640 and height >= 400
        opened.send_binary(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        assert received(opened, 4)[0] == 0  # a picture comes


@pytest.mark.parametrize("of", [INSTANCE, MACHINE])
def test_portforward_leads_to_a_port_of_the_guest(db: Lab, of: str) -> None:
    with stream(db, f"{of}/portforward/22/tcp") as opened:
        assert received(opened, 8).startswith(b"SSH-2.0-")


def test_userlist_tells_who_is_logged_in(db: Lab) -> None:
    assert json.loads(db.ask("GET", path_of(f"{INSTANCE}/userlist")))["items"] == []
    # The record of a login as the C library keeps it; the tiny guest's own logins keep none.
    record = struct.pack("hi32s4s32s256shhiii36x", 7, 1, b"tty1", b"1", b"ada", b"", 0, 0, 0, 1700000000, 0)
    in_db(db, f"echo {base64.b64encode(record).decode()} | base64 -d >/run/utmp")
    items = json.loads(db.ask("GET", path_of(f"{INSTANCE}/userlist")))["items"]
    in_db(db, "rm /run/utmp")
    assert [(item["userName"], item["loginTime"]) for item in items] == [("ada", 1700000000)]


def test_freeze_and_unfreeze_reach_the_file_systems(db: Lab) -> None:
    def frozen() -> Any:
        return found(db, "virtualmachineinstances")["status"].get("fsFreezeStatus")

    db.ask("PUT", path_of(f"{INSTANCE}/freeze"), {})
    until(lambda: frozen() == "frozen", "the instance tells that it is frozen")
    told = json.loads(db.ask("GET", path_of(f"{INSTANCE}/guestosinfo")))
    assert told["fsFreezeStatus"] == "frozen"
    db.ask("PUT", path_of(f"{INSTANCE}/unfreeze"))
    until(lambda: frozen() is None, "the instance tells that it is not frozen any more")
    assert in_db(db, "echo 1 >/data/held && sync && cat /data/held") == "1\n"


def test_addvolume_and_removevolume_plug_a_disk_in_and_out(db: Lab) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "more"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "volumeMode": "Block",
            "storageClassName": "lab-block",
            "resources": {"requests": {"storage": "32Mi"}},
        },
    }
    db.ask("POST", "/api/v1/namespaces/prod/persistentvolumeclaims", claim)

    def size() -> str:
        return in_db(db, "cat /sys/block/sda/size 2>/dev/null").strip()

    source = {"persistentVolumeClaim": {"claimName": "more", "hotpluggable": True}}
    disk = {"disk": {"bus": "scsi"}, "serial": "more"}
    db.ask("PUT", path_of(f"{MACHINE}/addvolume"), {"name": "more", "disk": disk, "volumeSource": source})
    until(lambda: size() == str(32 * 2**20 // 512), "the guest has the disk")
    assert "more" in {item["name"] for item in found(db, "virtualmachines")["spec"]["template"]["spec"]["volumes"]}
    db.ask("PUT", path_of(f"{MACHINE}/removevolume"), {"name": "more"})
    until(lambda: size() == "", "the guest has let it go")

    def listed() -> set[str]:
        return {item["name"] for item in found(db, "virtualmachineinstances")["status"]["volumeStatus"]}

    until(lambda: "more" not in listed(), "the instance has let it go")
    assert "more" not in {item["name"] for item in found(db, "virtualmachines")["spec"]["template"]["spec"]["volumes"]}


def test_memorydump_writes_what_the_guest_has_in_its_memory(db: Lab) -> None:
    marker = "needle-" + "in-a-haystack"
    in_db(db, f"printf %s {marker[:7]} >/run/mark; printf %s {marker[7:]} >>/run/mark; cat /run/mark >/dev/null")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "dumped"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    db.ask("POST", "/api/v1/namespaces/prod/persistentvolumeclaims", claim)
    db.ask("PUT", path_of(f"{MACHINE}/memorydump"), {"claimName": "dumped"})

    def request() -> dict[str, Any]:
        told: dict[str, Any] = found(db, "virtualmachines")["status"].get("memoryDumpRequest") or {}
        return told

    done = until(lambda: request().get("phase") in ("Completed", "Failed") and request(), "the dump is over")
    assert done["phase"] == "Completed", done
    [dump] = [path for path in (db.directory / "storage").glob("*/prod/dumped/*") if path.name == done["fileName"]]
    assert marker.encode() in dump.read_bytes()
    db.ask("PUT", path_of(f"{MACHINE}/removememorydump"), {})
    until(lambda: not request(), "the dump is forgotten")


def test_migrate_moves_the_guest(db: Lab) -> None:
    before = found(db, "virtualmachineinstances")["status"]["nodeName"]
    db.ask("PUT", path_of(f"{MACHINE}/migrate"), {})
    until(lambda: found(db, "virtualmachineinstances")["status"]["nodeName"] != before, "the guest has moved")
    assert in_db(db, "hostname") == "db\n"
