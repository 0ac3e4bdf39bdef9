"""Commands and files through the agent of a real guest."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import carried
import pytest
from guests import Console, Guest, domain_xml, take_away
from playing import Ansible, Played
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent import Agent, Blocked, report  # noqa: E402
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent_exec import execute  # noqa: E402
from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect  # noqa: E402
from ansible_collections.virtstack.core.plugins.module_utils.kvm.errors import Timeout  # noqa: E402

MIB = 1024 * 1024
LEFTOVERS = "ls -d /dev/shm/.virtstack* /run/.virtstack* /tmp/.virtstack* 2>/dev/null; true"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agent-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def talker(alpha: Host, tiny: Tiny, place: Path) -> Iterator[Guest]:
    """A guest with a Python on its second disk, in use by all tests of this file."""
    archive = place / "python.tar"
    carried.write(archive)
    console = Console(place / "console")
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='unsafe'/><source file='{archive}'/>"
        "<target dev='vda' bus='virtio'/><serial>python</serial></disk>"
    )
    connection = libvirt.open(alpha.uri)
    domain = connection.createXML(domain_xml("talker", tiny, console.path, memory=512, disks=disk))
    console.wait_for("GUEST-READY")
    yield Guest("talker", console)
    take_away(domain)
    connection.close()


@pytest.fixture
def agent(alpha: Host, talker: Guest) -> Iterator[Agent]:
    with connect({"uri": alpha.uri}) as host:
        yield Agent(host.domain(talker.name))


@pytest.fixture
def inventory(tmp_path: Path, alpha: Host, talker: Guest) -> Callable[..., Path]:
    """An inventory of one guest, which needs no more than its connection, and what the inventory plugin sets."""

    def write(**more: Any) -> Path:
        known = {
            "ansible_connection": "virtstack.core.kvm_agent",
            "virtstack_uri": alpha.uri,
            "virtstack_name": talker.name,
            **more,
        }
        path = tmp_path / "hosts.json"
        path.write_text(json.dumps({"guests": {"hosts": {"guest": known}}}))
        return path

    return write


def raw(ansible: Ansible, inventory: Path, command: str) -> Played:
    return ansible.run("ansible", "-i", inventory, "guest", "-m", "ansible.builtin.raw", "-a", command)


def test_a_command_gets_input_and_gives_exit_code_and_both_outputs(agent: Agent) -> None:
    ended = execute(agent, "cat; echo oops >&2; exit 42", b"hello")

    assert (ended.returncode, ended.stdout, ended.stderr) == (42, b"hello", b"oops\n")
    assert execute(agent, "kill -9 $$").returncode == 128 + 9
    assert execute(agent, "umask; pwd").stdout == b"0022\n/root\n"


def test_output_that_would_break_the_agent_comes_whole(agent: Agent) -> None:
    # The agent hands over all output at once, and libvirt gives it up for more than 10 MiB of base64.
    ended = execute(agent, f"head -c {9 * MIB} /dev/zero; echo small >&2")

    assert ended.stdout == bytes(9 * MIB)
    assert ended.stderr == b"small\n"
    # What the command that looks has itself made is all that is left.
    assert len(execute(agent, LEFTOVERS).stdout.split()) == 1


def test_large_input_arrives_whole(agent: Agent) -> None:
    content = os.urandom(MIB)

    assert execute(agent, "md5sum", content).stdout.split()[0].decode() == hashlib.md5(content).hexdigest()


def test_a_command_that_takes_too_long_is_killed_with_its_children(agent: Agent) -> None:
    with pytest.raises(Timeout, match="longer than 1 seconds and was killed"):
        execute(agent, "sleep 4321 & sleep 4322; echo never", timeout=1)

    until = time.monotonic() + 20
    while execute(agent, "ps | grep -c '[s]leep 432'").stdout.strip() != b"0":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_child_in_the_background_keeps_nobody_waiting(agent: Agent) -> None:
    started = time.monotonic()

    assert execute(agent, "sleep 4444 & echo started").stdout == b"started\n"
    assert time.monotonic() - started < 60
    execute(agent, "pkill -f 'sleep 4444'")


def test_a_report_tells_of_the_guest_in_one_round_trip(agent: Agent) -> None:
    told = report(agent.domain)

    assert told["hostname"] == "talker"
    assert told["os"]["id"] == "virtlab-tiny"
    assert told["interfaces"][0]["name"] == "lo"


def test_files_go_and_come_back_bit_for_bit(ansible: Ansible, agent: Agent, place: Path) -> None:
    content = os.urandom(3 * MIB + 1)
    started = time.monotonic()
    assert agent.write("/tmp/large", [content]) == len(content)
    written = time.monotonic() - started
    started = time.monotonic()
    assert b"".join(agent.read("/tmp/large")) == content
    read = time.monotonic() - started
    print(f"3 MiB: written with {3 / written:.1f} MiB/s, read with {3 / read:.1f} MiB/s")
    execute(agent, "rm /tmp/large")


def test_raw_works_where_there_is_no_python(ansible: Ansible, inventory: Callable[..., Path]) -> None:
    played = raw(ansible, inventory(), "hostname; exit 3")

    assert "rc=3" in played.output
    assert "talker" in played.output


def test_modules_become_and_files_work_in_a_guest_with_python(
    ansible: Ansible, agent: Agent, inventory: Callable[..., Path], tmp_path: Path
) -> None:
    somebody = "echo nobody:x:65534:65534::/tmp:/bin/sh >>/etc/passwd; mkdir -m 1777 /var/tmp"
    prepared = execute(agent, f"{somebody}; tar -xf /dev/vda -C / 2>&1")
    assert prepared.returncode == 0, prepared
    (tmp_path / "script").write_text("#!/bin/sh\nprintf scripted\n")
    hosts = inventory(ansible_python_interpreter=carried.INTERPRETER)
    played = ansible.play(Path(__file__).parent / "kvm_agent" / "main.yml", "-i", str(hosts), work=str(tmp_path))
    assert played.returncode == 0, played.output
    assert (tmp_path / "fetched").read_text() == "grüße an talker\n"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"virtstack_name": "nobody"}, "There is no virtual machine nobody at"),
        ({"virtstack_uri": "qemu+unix:///system?socket=/nowhere"}, "Cannot connect to libvirt at"),
    ],
)
def test_a_machine_that_is_not_there_is_unreachable(
    ansible: Ansible, inventory: Callable[..., Path], wrong: dict[str, str], complaint: str
) -> None:
    played = raw(ansible, inventory(**wrong), "true")

    assert "UNREACHABLE" in played.output
    assert complaint in played.output
    assert "Traceback" not in played.output


def test_a_command_ends_with_its_task(ansible: Ansible, inventory: Callable[..., Path]) -> None:
    played = raw(ansible, inventory(virtstack_command_timeout=1), "sleep 100")

    assert "took longer than 1 seconds and was killed" in played.output


def test_a_machine_that_is_off_or_has_no_agent_says_so(
    ansible: Ansible, inventory: Callable[..., Path], alpha: Host, tiny: Tiny, tmp_path: Path
) -> None:
    document = domain_xml("silent", tiny, tmp_path / "silent")
    connection = libvirt.open(alpha.uri)
    domain = connection.defineXML(document)
    try:
        off = raw(ansible, inventory(virtstack_name="silent"), "true")
        domain.undefine()
        bare = document.replace("<target type='virtio' name='org.qemu.guest_agent.0'/>", "<target type='virtio'/>")
        domain = connection.createXML(bare)
        without = raw(ansible, inventory(virtstack_name="silent"), "true")
        domain.destroy()
        domain = connection.createXML(document, libvirt.VIR_DOMAIN_START_PAUSED)
        asleep = raw(ansible, inventory(virtstack_name="silent"), "true")
    finally:
        take_away(domain)
        connection.close()

    for played in (off, asleep):
        assert "domain is not running. Start or unpause it (virtstack.core.kvm_vm_power)" in played.output
    assert "QEMU guest agent is not configured. Give the machine the channel" in without.output
    for played in (off, without, asleep):
        assert "UNREACHABLE" in played.output


def test_a_guest_that_blocks_commands_says_where_to_allow_them(
    ansible: Ansible, inventory: Callable[..., Path], alpha: Host, guest: Callable[..., Guest]
) -> None:
    mute = guest(alpha, "mute")
    with connect({"uri": alpha.uri}) as host:
        agent = Agent(host.domain(mute.name))
        again = "killall qemu-ga; sleep 0.2; qemu-ga -d -t /run -f /run/blocked.pid -b guest-exec"
        execute(agent, f"setsid sh -c 'sleep 0.5; {again}' </dev/null >/dev/null 2>&1 &")
        until = time.monotonic() + 60
        while True:
            try:
                if not agent.commands()["guest-exec"]:
                    break
            except Exception:
                assert time.monotonic() < until, "the agent does not come back"
            time.sleep(0.2)
        with pytest.raises(Blocked, match="refuses guest-exec"):
            execute(agent, "true")
    played = raw(ansible, inventory(virtstack_name="mute"), "true")

    assert "UNREACHABLE" in played.output
    assert "/etc/sysconfig/qemu-ga" in played.output
