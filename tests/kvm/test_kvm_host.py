"""A host in namespaces is set up by kvm_host, run on it. Packages and systemd are left to slow/test_bare_hosts.py.

Tested are files, certificates, groups, the daemon that starts with what was written, and what the task says of systemd
that is not there. The steps that systemd would be told are tested as a plan (tests/unit), packages of other systems as
a plan as well.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparing import Calls, assert_same, interpreter
from documented import examples
from playing import RECAP, Ansible, Played, executable
from virtlab.certificates import Authority
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.host import Host

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

__all__ = ["interpreter"]

PLAYBOOK = Path(__file__).parent / "kvm_host" / "main.yml"


@pytest.fixture(scope="module")
def own(hosts: Hosts) -> Iterator[Host]:
    """A host of its own, whose /etc nobody else uses."""
    with tempfile.TemporaryDirectory(prefix="own-") as directory:
        fleet = Hosts(Path(directory))
        (host,) = fleet.start("gamma")
        yield host
        fleet.stop(delete=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("certificates")
    authority = Authority(place)
    certificate, key = authority.machine_files("gamma", "127.0.0.1")
    for source, name in ((authority.certificate_file, "ca"), (certificate, "cert"), (key, "key")):
        shutil.copy(source, place / f"{name}.pem")
    return place


def play(host: Host, ansible: Ansible, playbook: Path, *arguments: str, **variables: Any) -> Played:
    """ansible-playbook run on the host itself."""
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(ansible.collections),
        "ANSIBLE_HOME": str(ansible.home),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "true",
        "PATH": os.environ["PATH"],
        "HOME": str(ansible.home),
        "LC_ALL": "C.UTF-8",
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    command = ["env", *settings, str(executable("ansible-playbook")), str(playbook), *arguments]
    done = host.exec([*command, "--extra-vars", json.dumps(variables)], timeout=120)
    return Played(done.returncode, done.stdout + done.stderr)


def test_a_host_gets_its_settings_and_a_second_run_changes_nothing(
    own: Host, ansible: Ansible, certificates: Path
) -> None:
    etc = own.directory / "etc"
    before = (etc / "libvirt" / "libvirtd.conf").read_text()
    variables = {"uri": "qemu:///system", "certificates": str(certificates)}
    foretold = play(own, ansible, PLAYBOOK, "--check", "--diff", **variables)
    assert foretold.returncode == 0, foretold.output
    assert "max_clients = 321" in foretold.output
    assert "PRIVATE KEY" not in foretold.output
    assert (etc / "libvirt" / "libvirtd.conf").read_text() == before
    first = play(own, ansible, PLAYBOOK, **variables)
    assert first.returncode == 0, first.output
    assert first.changed == foretold.changed == 1, first.output
    assert "systemd does not run this host" in first.output
    second = play(own, ansible, PLAYBOOK, **variables)
    assert RECAP.search(second.output) and second.changed == 0, second.output
    written = (etc / "libvirt" / "libvirtd.conf").read_text()
    assert {"max_clients = 321", "listen_tls = 1", "listen_tcp = 1", 'auth_tcp = "none"'} <= set(written.splitlines())
    key = etc / "pki" / "libvirt" / "private" / "serverkey.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert "nobody" in next(line for line in (etc / "group").read_text().splitlines() if line.startswith("libvirt:"))
    assert "max_files = 1000" in (etc / "libvirt" / "qemu.conf").read_text()


def test_libvirtd_starts_with_what_was_written_and_listens(own: Host, ansible: Ansible, certificates: Path) -> None:
    variables = {"uri": "qemu:///system", "certificates": str(certificates)}
    assert play(own, ansible, PLAYBOOK, **variables).returncode == 0
    own.kill_daemon()
    own.start_daemon()
    connection = libvirt.open(own.uri)
    assert connection.getHostname() == "gamma"
    connection.close()
    listening = own.exec(["ss", "-ltn"]).stdout
    assert ":16514 " in listening and ":16509 " in listening


def test_a_listener_without_authentication_is_closed_where_nobody_asks_for_it(
    own: Host, ansible: Ansible, tmp_path: Path
) -> None:
    task = {"virtstack.core.kvm_host": {"packages": False, "tls": False}}
    playbook = tmp_path / "closed.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    closed = play(own, ansible, playbook)
    assert closed.returncode == 0 and closed.changed == 1, closed.output
    written = (own.directory / "etc" / "libvirt" / "libvirtd.conf").read_text().splitlines()
    assert "listen_tcp = 0" in written and "listen_tls = 0" in written
    assert not [line for line in written if line.startswith("auth_tcp")]
    assert play(own, ansible, playbook).changed == 0


def test_mistakes_are_named_and_nothing_is_written(own: Host, ansible: Ansible, tmp_path: Path) -> None:
    libvirt_conf = own.directory / "etc" / "libvirt"
    before = {path.name: path.read_text() for path in libvirt_conf.glob("*.conf")}
    cases = [
        ({"daemons": "modular"}, "has no virtqemud"),
        ({"daemon_settings": {"auth_tcp": "none"}}, "tcp_without_authentication: true"),
        ({"qemu_settings": {"a b": 1}}, "is no name of a setting"),
        ({"qemu_settings": {"max_files": {"x": 1}}}, "is no number, text or list of texts"),
        ({"certificates": {"ca": "/none", "certificate": "/none", "key": "/none"}}, "Cannot read /none"),
        ({"firewall": "firewalld"}, "Cannot run firewall-cmd"),
        ({"users": ["nobody-at-all"]}, "there is no user nobody-at-all"),
    ]
    tasks = [
        {
            "virtstack.core.kvm_host": {"packages": False, **options},
            "register": "r",
            "failed_when": f"{told!r} not in r.msg",
        }
        for options, told in cases
    ]
    playbook = tmp_path / "mistakes.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    played = play(own, ansible, playbook)
    assert played.returncode == 0, played.output
    assert {path.name: path.read_text() for path in libvirt_conf.glob("*.conf")} == before


def test_both_ways_return_the_same(
    own: Host, ansible: Ansible, certificates: Path, interpreter: str, tmp_path: Path
) -> None:
    calls: Calls = [
        ("kvm_host", {"packages": False, "qemu_settings": {"max_files": 7}, "users": ["daemon"]}),
        ("kvm_host", {"packages": False, "tls": True, "daemon_settings": {"max_clients": 3}}),
        ("kvm_host", {"packages": False, "daemons": "modular"}),
    ]
    assert_same(lambda *arguments: play(own, ansible, *arguments), tmp_path, calls, interpreter, "--check", "--diff")


def test_the_examples_run_on_a_host(own: Host, ansible: Ansible, tmp_path: Path) -> None:
    playbook = tmp_path / "examples.yml"
    play_ = {"hosts": "localhost", "gather_facts": False, "tasks": examples("kvm_host")}
    playbook.write_text(yaml.safe_dump([play_], sort_keys=False))
    foretold = play(own, ansible, playbook, "--check")
    assert foretold.returncode == 0, foretold.output
    tasks = [{**task, "register": "made"} for task in examples("kvm_host")]
    asked = {"ansible.builtin.debug": {"msg": "missing={{ made.packages | join(',') }}"}}
    playbook.write_text(yaml.safe_dump([{**play_, "tasks": [tasks[0], asked]}], sort_keys=False))
    if "missing=\n" not in play(own, ansible, playbook, "--check").output.replace('"', "\n"):
        pytest.skip("packages of the first example are missing here; the test would install them on this machine")
    playbook.write_text(yaml.safe_dump([play_], sort_keys=False))
    played = play(own, ansible, playbook)
    assert played.returncode == 0, played.output
