"""Bare machines that systemd runs become KVM hosts, with all that docs/kvm.md promises of them; nothing is left out.

They are containers: their QEMU emulates, and what a container may not do is said to libvirt by a setting. Everything
else is as on a machine of iron: packages from a mirror, systemd's units, ssh with sudo, TLS with certificates.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import PATIENCE, TICK
from machines import USER, Machine, Machines, missing
from playing import REPOSITORY, Ansible, Played
from virtlab.cloud_image.bare import ImageError
from virtlab.tiny.image import Tiny, make

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

WALKTHROUGH = REPOSITORY / "playbooks" / "kvm.yml"
CONSOLE = "var/log/libvirt/qemu/ticker.console"
# A container sees the controllers of its host's cgroups, and may not write there.
SETTINGS = {"cgroup_controllers": []}


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """The machines C(alpha) and C(beta), bare, and their controller."""
    if lacking := list(missing()):
        pytest.skip(f"bare machines cannot run here: {'; '.join(lacking)}")
    directory = Path(tempfile.mkdtemp(prefix="bare-"))
    try:
        with Machines(directory, "alpha", "beta") as made:
            yield made
    except ImageError as error:
        pytest.skip(f"the root of a bare machine cannot be made here: {error}")
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def image() -> Iterator[Tiny]:
    with tempfile.TemporaryDirectory(prefix="tiny-") as directory:
        try:
            yield make(Path(directory))
        except ImageError as error:
            pytest.skip(f"the tiny guest cannot be made here: {error}")


@pytest.fixture(scope="module")
def inventory(machines: Machines) -> list[str]:
    """The arguments that name both: the hosts, as docs/kvm.md has them, and the machines on them."""

    def read(name: str) -> str:
        return f"{{{{ lookup('ansible.builtin.file', '{machines.directory}/pki/{name}') }}}}"

    own = "host-' ~ inventory_hostname ~ '"
    certificates = {"ca": read("ca.crt"), "certificate": read(f"{own}.crt"), "key": read(f"{own}.key")}
    certificates |= {"client_certificate": certificates["certificate"], "client_key": certificates["key"]}
    names = [machine.name for machine in machines.machines]
    uris = {name: f"qemu+ssh://root@{name}/system" for name in names}
    variables = {
        "ansible_user": USER,
        "ansible_python_interpreter": "/usr/bin/python3",
        "kvm_certificates": certificates,
        "kvm_users": [USER],
        "kvm_qemu_settings": SETTINGS,
    }
    hosts = {name: {"kvm_uri": uri} for name, uri in uris.items()}
    of_machines = {"plugin": "virtstack.core.kvm", "uris": [*uris.values()], "group_by_labels": ["app"]}
    written = {
        "hosts.json": json.dumps({"kvm": {"hosts": hosts, "vars": variables}}),
        "machines.kvm.yml": json.dumps(of_machines),
    }
    arguments = []
    for name, text in written.items():
        (machines.directory / name).write_text(text)
        arguments += ["-i", str(machines.directory / name)]
    return arguments


@pytest.fixture(scope="module")
def walked(machines: Machines, inventory: list[str], ansible: Ansible, image: Tiny) -> tuple[Played, ...]:
    """Three runs of the walkthrough: of its first play in check mode, then of all of it, and of all of it again."""
    variables = ["--extra-vars", json.dumps({"image": str(image.disk), "memory": "128Mi"})]
    foretold = machines.play(ansible, WALKTHROUGH, *inventory, "--check", "--diff", "--tags", "hosts")
    assert foretold.returncode == 0, foretold.output
    for machine in machines.machines:
        assert not (machine.root / "usr/sbin/libvirtd").exists() and not (machine.root / "etc/pki").exists()
    first = machines.play(ansible, WALKTHROUGH, *inventory, *variables)
    assert first.returncode == 0, first.output
    before = [_life(machine) for machine in machines.machines]
    second = machines.play(ansible, WALKTHROUGH, *inventory, *variables)
    assert second.returncode == 0, second.output
    assert [_life(machine) for machine in machines.machines] == before, second.output
    return foretold, first, second


def _life(machine: Machine) -> str:
    """What a run that changes nothing leaves as it is: since when daemons run, what is installed and configured."""
    return machine.exec(
        "sh",
        "-c",
        "systemctl show -p ActiveEnterTimestampMonotonic libvirtd.socket libvirtd-tls.socket;"
        " find /etc /var/lib/dpkg /lib/systemd -newermt @0 -type f -printf '%p %C@\n' | sort;"
        " getent group libvirt",
    ).stdout


def test_bare_machines_become_hosts_whose_machines_move_and_a_second_run_changes_nothing(
    walked: tuple[Played, ...],
) -> None:
    foretold, first, second = walked
    assert foretold.changed == 2, foretold.output
    downtime = re.search(r"[\d.]+ ms", first.output)
    assert downtime, first.output
    print(f"web stood still for {downtime[0]}")
    assert second.changed == 0, second.output


def test_hosts_let_in_whom_they_are_to_let_in(walked: tuple[Played, ...], machines: Machines) -> None:
    asked = ("virsh", "--connect", f"qemu+tls://alpha/system?pkipath={machines.client}", "hostname")
    assert machines.run(*asked).stdout.strip() == "alpha"
    assert (
        machines.run("ssh", "root@alpha", "virsh", "-c", "qemu+tls://beta/system", "hostname").stdout.strip() == "beta"
    )
    assert machines.run("virsh", "--connect", f"qemu+ssh://{USER}@beta/system", "hostname").stdout.strip() == "beta"
    with tempfile.TemporaryDirectory() as stranger:
        shutil.copy(machines.client / "cacert.pem", stranger)
        refused = machines.run("virsh", "--connect", f"qemu+tls://alpha/system?pkipath={stranger}", "hostname")
    assert refused.returncode != 0, refused.stdout
    logged = machines["alpha"].exec("journalctl", "--all", "--no-pager", "-o", "cat").stdout
    assert "Invoked with" in logged and "BEGIN CERTIFICATE" in logged and "PRIVATE KEY" not in logged
    key = machines["alpha"].root / "etc/pki/libvirt/private/serverkey.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_everything_starts_with_the_host(walked: tuple[Played, ...], machines: Machines) -> None:
    units = ["libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-tls.socket", "virtlogd.socket"]
    told = machines["alpha"].exec("systemctl", "is-enabled", *units)
    assert told.stdout.split() == ["enabled"] * len(units), told.stdout
    assert machines["alpha"].exec("systemctl", "is-enabled", "libvirtd-tcp.socket").stdout.strip() == "disabled"
    failed = machines["alpha"].exec("systemctl", "list-units", "--failed", "--plain", "--no-legend", "*virt*")
    assert not failed.stdout, failed.stdout


def test_a_machine_counts_on_while_its_host_is_configured_and_while_it_moves(
    walked: tuple[Played, ...], machines: Machines, inventory: list[str], ansible: Ansible
) -> None:
    playbook = Path(__file__).parent / "ticker.yml"
    played = machines.play(ansible, playbook, *inventory, "--extra-vars", json.dumps({"client": str(machines.client)}))
    assert played.returncode == 0, played.output
    here, there = _ticks(machines["alpha"]), _wait_for_more(machines["beta"])
    assert here and [*here, *there] == list(range(len(here) + len(there)))


def _ticks(machine: Machine) -> list[int]:
    """What the counter said while it was on a host."""
    path = machine.root / CONSOLE
    text = path.read_text(errors="replace") if path.exists() else ""
    return [int(match[1]) for match in TICK.finditer(text)]


def _wait_for_more(machine: Machine) -> list[int]:
    """The same, once there is some more than when this was called."""
    had, until = len(_ticks(machine)), time.monotonic() + PATIENCE
    while len(ticks := _ticks(machine)) < had + 5:
        assert time.monotonic() < until, f"it does not count: {ticks[-5:]}"
        time.sleep(0.1)
    return ticks
