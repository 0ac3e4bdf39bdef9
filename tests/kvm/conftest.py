"""Two KVM hosts, C(alpha) and C(beta), and guests on them, for the tests of this directory.

They are real: libvirtd and QEMU in namespaces of this machine. Where they cannot be, every test that asks for them is
skipped with what is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.events import LOOP
from ansible_collections.virtstack.core.plugins.module_utils.kvm.library import MISSING
from guests import Console, Guest, domain_xml, take_away_all
from labs import Lab
from playing import ansible
from stage import stage
from virtlab.guests import choice
from virtlab.hosts import requirements
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.host import Host
from virtlab.tiny.image import ImageError, Tiny, make

__all__ = ["ansible"]


@pytest.fixture(scope="session", autouse=True)
def events() -> Iterator[None]:
    """Let libvirt's loop run: modules called in this process set it up, and then connections of tests are asked for
    signs of life, which a loop that stands still does not give."""
    if MISSING is None:
        LOOP.enter()
    yield
    if MISSING is None:
        LOOP.leave()


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """The hosts by their names; C(hosts["alpha"].uri) is what a module takes. They find each other by name."""
    if lacking := list(requirements.missing()):
        pytest.skip(f"KVM hosts cannot run here: {'; '.join(lacking)}")
    directory = Path(tempfile.mkdtemp(prefix="kvm-"))
    fleet = Hosts(directory)
    try:
        fleet.start("alpha", "beta")
        yield fleet
    finally:
        fleet.stop(delete=True)
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def alpha(hosts: Hosts) -> Host:
    return hosts["alpha"]


@pytest.fixture(scope="session")
def beta(hosts: Hosts) -> Host:
    return hosts["beta"]


@pytest.fixture(scope="session")
def tiny(hosts: Hosts) -> Tiny:
    """The files of the tiny guest, in the directory that all hosts share."""
    try:
        return make(hosts.shared / "tiny")
    except ImageError as error:
        pytest.skip(f"the tiny guest cannot be made here: {error}")


@pytest.fixture(scope="module")
def staged(alpha: Host, tiny: Tiny) -> Host:
    """The host C(alpha) with a network and a pool C(default), in which there is the image of the tiny guest.

    Of each file of tests anew: others may have stopped what they found.
    """
    return stage(alpha, tiny)


@pytest.fixture
def guest(tiny: Tiny, tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    """Start a tiny guest on a host and wait until it is up; it is taken away after the test, wherever it is then.

    C(guest(alpha, "one")) boots the kernel directly. Other arguments are those of domain_xml.
    """
    libvirt = pytest.importorskip("libvirt")
    started: list[Guest] = []

    def start(host: Host, name: str, *, wait: bool = True, **wanted: object) -> Guest:
        console = Console(tmp_path / f"{name}.console")
        connection = libvirt.open(host.uri)
        try:
            connection.defineXML(domain_xml(name, tiny, console.path, **wanted)).create()
        finally:
            connection.close()
        started.append(Guest(name, console))
        if wait:
            console.wait_for("GUEST-READY")
        return started[-1]

    yield start
    for host in Hosts(tiny.directory.parent.parent):
        if host.running:
            connection = libvirt.open(host.uri)
            try:
                take_away_all(connection, {one.name for one in started})
            finally:
                connection.close()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with the operator installed, whose guests are real; shared by all tests, each with machines of its own."""
    if lacking := list(choice.missing()):
        pytest.skip(f"guests cannot be real here: {'; '.join(lacking)}")
    directory = Path(tempfile.mkdtemp(prefix="lab-"))
    made = Lab(directory / "lab")
    try:
        made.command("start", "--installed", "--guests", "real", "--time-factor", "0.05", "--quiet")
        yield made
    finally:
        made.command("stop")
        shutil.rmtree(directory)
