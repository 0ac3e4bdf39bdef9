"""KVM hosts, as far as no host has to run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from virtlab.certificates import Authority
from virtlab.hosts import network, settings
from virtlab.hosts.fleet import Hosts, default_directory
from virtlab.hosts.processes import Process
from virtlab.hosts.requirements import HostError, tool


def test_hosts_know_each_other_by_name() -> None:
    lines = settings.hosts_file({"beta": network.address(2), "alpha": network.address(1)}).splitlines()
    assert lines[0] == "127.0.0.1 localhost"
    assert lines[-2:] == ["10.98.0.1 alpha", "10.98.0.2 beta"]


def test_a_host_has_nothing_of_what_the_machine_s_libvirtd_defines(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    settings.make_etc(etc, "alpha", "0" * 32)
    assert (etc / "hostname").read_text() == "alpha\n"
    assert (etc / "machine-id").read_text() == "0" * 32 + "\n"
    assert (etc / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    assert not list(etc.glob("libvirt/qemu/*.xml")) and not (etc / "libvirt" / "qemu" / "autostart").exists()


def test_only_a_host_with_certificates_listens_with_tls() -> None:
    assert "listen_tls = 1" in settings.libvirtd("u", tls=True)
    assert "listen_tls = 0" in settings.libvirtd("u", tls=False)


def test_a_host_is_asked_for_by_a_name_that_exists(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"there is no host alpha in .*; there are: none"):
        Hosts(tmp_path)["alpha"]


def test_nothing_was_started_so_nothing_is_stopped(tmp_path: Path) -> None:
    Hosts(tmp_path / "none").stop()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 33, "shared", "pki", "../a"])
def test_a_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostError, match="is no name for a host"):
        Hosts(tmp_path)._check((name,))


@pytest.mark.parametrize("place", ["/run/hosts", "/etc/hosts.d", "/var/lib/libvirt/hosts", "/dev/shm/hosts"])
def test_hosts_do_not_live_where_each_has_something_of_its_own(place: str) -> None:
    with pytest.raises(HostError, match="of their own and cannot live in"):
        Hosts(Path(place))._check(("alpha",))
    assert not Path(place).exists()


def test_the_directory_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTLAB_HOSTS", "/somewhere")
    assert default_directory() == Path("/somewhere")
    monkeypatch.delenv("VIRTLAB_HOSTS")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_directory() == Path("/state/virtlab-hosts")


def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtlab.hosts.requirements.SEARCHED", "/nowhere")
    with pytest.raises(HostError, match=r"libvirtd is missing: install libvirt-daemon-system \(Debian"):
        tool("libvirtd")


def test_a_process_is_ended_by_its_number_and_its_start(tmp_path: Path) -> None:
    sleeping = subprocess.Popen(["sleep", "60"])
    file = tmp_path / "process.json"
    process = Process.of(sleeping.pid)
    process.write(file)
    assert Process.read(file) == process
    assert Process(process.pid, process.started - 1).end() and sleeping.poll() is None
    assert process.end()
    assert Process.read(file) is None
    assert sleeping.wait() == -9


def test_what_is_no_process_file_tells_of_no_process(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("[]")
    assert Process.read(tmp_path / "bad") is None
    assert Process.read(tmp_path / "missing") is None


def test_a_host_s_certificate_names_it_and_serves_both_sides(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).machine_files("alpha", "10.98.0.1")
    shown = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-text"], capture_output=True, text=True, check=True
    ).stdout
    assert "DNS:alpha, IP Address:10.98.0.1" in shown
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in shown
    assert "Key Encipherment" in shown
    assert os.stat(key).st_mode & 0o077 == 0
