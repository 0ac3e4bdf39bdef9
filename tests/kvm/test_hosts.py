"""KVM hosts in namespaces, and the tiny guest on them: what every other test of this directory stands on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from guests import Guest, assert_counts_on, disk_xml
from virtlab.hosts import cgroups
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.host import Host
from virtlab.hosts.requirements import HostError
from virtlab.tiny.image import Tiny, make

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
libvirt_qemu = pytest.importorskip("libvirt_qemu")

Start = Callable[..., Guest]


def agent(domain: object, command: str, **arguments: object) -> object:
    asked = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, asked, 10, 0))["return"]


def virtlab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "virtlab", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_host_is_a_libvirt_of_its_own(alpha: Host, beta: Host) -> None:
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(libvirt.open(host.uri))) for host in (alpha, beta)]
        for host, connection in zip((alpha, beta), connections, strict=True):
            assert connection.getHostname() == host.name
            assert f"<uuid>{host.identity.uuid}</uuid>" in connection.getCapabilities()
            network = connection.networkDefineXML(f"<network><name>only-{host.name}</name></network>")
            opened.callback(network.undefine)
        for host, connection in zip((alpha, beta), connections, strict=True):
            found = [name for name in connection.listDefinedNetworks() if name.startswith("only-")]
            assert found == [f"only-{host.name}"]


def test_hosts_reach_each_other_by_name(alpha: Host, beta: Host) -> None:
    script = "import libvirt, sys; print(libvirt.open(sys.argv[1]).getHostname())"
    for here, there in ((alpha, beta), (beta, alpha)):
        done = here.exec([sys.executable, "-c", script, f"qemu+tcp://{there.name}/system"])
        assert done.stdout.strip() == there.name, done.stderr


@pytest.mark.parametrize("way", ["agent", "button"])
def test_a_guest_boots_is_reachable_by_its_agent_and_ends_when_told(alpha: Host, guest: Start, way: str) -> None:
    one = guest(alpha, "one")
    assert len(one.console.wait_for_ticks(3)) >= 3
    one.console.assert_contiguous()
    domain = libvirt.open(alpha.uri).lookupByName("one")
    assert agent(domain, "guest-get-host-name") == {"host-name": "one"}
    assert agent(domain, "guest-get-osinfo")["id"] == "virtlab-tiny"  # type: ignore[index]
    told = {"agent": libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, "button": libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN}
    domain.shutdownFlags(told[way])
    one.console.wait_for("GUEST-DOWN poweroff")
    until = time.monotonic() + 30
    while domain.isActive():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("uefi", [False, True], ids=["bios", "uefi"])
def test_the_tiny_disk_boots_by_itself(alpha: Host, guest: Start, tiny: Tiny, tmp_path: Path, uefi: bool) -> None:
    disk = tmp_path / "root.qcow2"
    shutil.copy(tiny.disk, disk)
    one = guest(alpha, "disk", kernel=False, uefi=uefi, memory=256, disks=disk_xml(disk))
    assert one.console.wait_for(r"GUEST-DATA (/dev/\w+)")[1] == "/dev/vda2"


def test_a_seed_names_the_guest_and_lets_its_keys_in(alpha: Host, guest: Start, tmp_path: Path) -> None:
    seed = tmp_path / "seed.img"
    (tmp_path / "meta-data").write_text('{"instance-id": "i", "local-hostname": "seeded"}')
    (tmp_path / "user-data").write_text(
        "#cloud-config\npassword: s3cret\nssh_authorized_keys:\n  - ssh-ed25519 AAAAC3Nz me@example.com\n"
    )
    subprocess.run(["mkfs.vfat", "-n", "CIDATA", "-C", seed, "1024"], check=True, capture_output=True)
    for name in ("meta-data", "user-data"):
        subprocess.run(["mcopy", "-i", seed, tmp_path / name, f"::{name}"], check=True)
    one = guest(alpha, "named", disks=disk_xml(seed, format="raw"))
    one.console.wait_for("GUEST-SEED seeded 1 keys")


def test_a_guest_moves_to_the_other_host_and_counts_on(alpha: Host, beta: Host, guest: Start, tiny: Tiny) -> None:
    disk = tiny.directory.parent / "moving.qcow2"
    shutil.copy(tiny.disk, disk)
    one = guest(alpha, "moving", kernel=False, memory=256, disks=disk_xml(disk))
    one.console.wait_for_ticks(3)
    domain = libvirt.open(alpha.uri).lookupByName("moving")
    flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST
    domain.migrateToURI3(f"qemu+tcp://{beta.name}/system", {}, flags)
    moved = libvirt.open(beta.uri).lookupByName("moving")
    assert moved.isActive() and not domain.isActive()
    assert_counts_on(one.console, moved)
    disk.unlink()


def test_guests_survive_the_death_of_libvirtd(beta: Host, guest: Start) -> None:
    one = guest(beta, "survivor")
    beta.kill_daemon()
    assert not beta.daemon_running
    one.console.wait_for_ticks(3)
    beta.start_daemon()
    assert libvirt.open(beta.uri).lookupByName("survivor").isActive()
    one.console.assert_contiguous()


@pytest.fixture
def own_hosts(hosts: Hosts) -> Iterator[Hosts]:
    """A directory without hosts, on a machine that can have some; short, as sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="own-") as directory:
        own = Hosts(Path(directory))
        yield own
        own.stop(delete=True)


def test_a_crashed_host_comes_back_with_what_it_had_defined(own_hosts: Hosts) -> None:
    (host,) = own_hosts.start("gamma")
    connection = libvirt.open(host.uri)
    connection.networkDefineXML("<network><name>kept</name></network>")
    connection.close()
    host.crash()
    assert not host.running
    own_hosts.start("gamma")
    assert "kept" in libvirt.open(host.uri).listDefinedNetworks()


def test_stopped_hosts_leave_no_process_no_mount_and_no_cgroup(own_hosts: Hosts) -> None:
    own_hosts.start("gamma", "delta")
    own_hosts.stop()
    place = str(own_hosts.directory)
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if place in _read(path)]
    assert running == []
    assert place not in Path("/proc/self/mounts").read_text()
    groups = [path for name in cgroups.mounted() for path in (cgroups.ROOT / name).glob(own_hosts["gamma"]._group)]
    assert groups == []
    assert not (own_hosts.directory / "hub.json").exists()
    own_hosts.stop(delete=True)
    assert list(own_hosts) == []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_tls_hosts_trust_each_other(own_hosts: Hosts) -> None:
    gamma, _delta = own_hosts.start("gamma", "delta", tls=True)
    script = "import libvirt; print(libvirt.open('qemu+tls://delta/system').getHostname())"
    done = gamma.exec([sys.executable, "-c", script])
    assert done.stdout.strip() == "delta", done.stderr


def test_the_command_starts_lists_and_stops_hosts(own_hosts: Hosts) -> None:
    place = ("--directory", own_hosts.directory)
    started = virtlab("host", "start", "one", *place)
    uri = f"qemu+unix:///system?socket={own_hosts.directory}/one/run/libvirt/libvirt-sock"
    assert started.stdout == f"one {uri}\n", started.stderr
    assert virtlab("host", "start", "one", *place).stdout == started.stdout
    assert virtlab("host", "list", *place).stdout == f"one {uri} running\n"
    assert virtlab("host", "exec", *place, "one", "--", "hostname").stdout == "one\n"
    virtlab("host", "kill-daemon", "one", *place)
    assert virtlab("host", "list", *place).stdout == f"one {uri} without-libvirtd\n"
    virtlab("host", "start-daemon", "one", *place)
    assert virtlab("host", "stop", *place).returncode == 0
    assert virtlab("host", "list", *place).stdout == f"one {uri} off\n"
    unknown = virtlab("host", "exec", *place, "two", "--", "true")
    assert unknown.returncode == 1
    assert re.search(r"there is no host two in .*; there are: one", unknown.stderr)


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(hosts: Hosts, tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100)
    with pytest.raises(HostError, match="longer than a socket's path may be"):
        Hosts(directory).start("one")
    assert not (directory / "one").exists()


def test_the_same_image_is_made_once(tiny: Tiny, tmp_path: Path) -> None:
    begun = time.monotonic()
    again = make(tmp_path / "again")
    assert time.monotonic() - begun < 5
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in tiny.files]
