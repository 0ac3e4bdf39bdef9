"""A host that crashes in the middle of a snapshot, a backup or an upload: machines are off and whole, a re-run repairs.

The host is a namespace whose processes all die at once; what the machine's own kernel had still to write is not lost.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from disks import assert_whole, read_word, slow_directory, wait_until_written, word_in, write_word
from modules import call, refusal
from servers import serving
from test_kvm_vm_backup import NAME, Saved, saved_on
from virtlab.hosts.fleet import Hosts
from virtlab.tiny.image import Tiny

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

MIB = 1024**2


@pytest.fixture(scope="module")
def own_hosts(hosts: Hosts) -> Iterator[Hosts]:
    """A host of its own, on which nobody else depends; in a short directory, as sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="own-") as directory:
        own = Hosts(Path(directory))
        try:
            own.start("gamma")
            yield own
        finally:
            own.stop(delete=True)


@pytest.fixture(scope="module")
def saved(own_hosts: Hosts, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """A machine whose host may crash."""
    yield from saved_on(own_hosts["gamma"], tiny, tmp_path_factory.mktemp("cut"))


class Attempts:
    """Tasks that are to fail, in threads of their own."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._threads: list[threading.Thread] = []

    def begin(self, module: str, **options: Any) -> None:
        thread = threading.Thread(target=lambda: self.messages.append(refusal(module, **options).message))
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive()
        assert len(self.messages) == len(self._threads)


def crash(saved: Saved, own_hosts: Hosts, attempts: Attempts) -> None:
    """Cut the host's power while they are at work, and switch it on again."""
    saved.host.crash()
    attempts.end()
    own_hosts.start(saved.host.name)
    saved.connection = libvirt.open(saved.host.uri)
    assert saved.domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF
    assert_whole(saved.host.images / f"{NAME}.qcow2")


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_host_that_crashes_in_a_snapshot_has_the_machine_off_and_whole(saved: Saved, own_hosts: Hosts) -> None:
    options = {"uri": saved.host.uri, "vm": NAME, "name": "cut-off", "external": True, "memory": True}
    write_word(saved.domain, "beforexx")
    attempts = Attempts()
    with slow_directory(saved.host) as slow:
        options["directory"] = f"/var/lib/libvirt/images/{slow.name}"
        attempts.begin("kvm_vm_snapshot", **options)
        wait_until_written(slow, "*.memory")
        crash(saved, own_hosts, attempts)
    assert saved.domain.snapshotListNames() == [] and word_in(saved.host.images / f"{NAME}.qcow2") == "beforexx"
    repaired = call("kvm_vm_snapshot", **options)
    assert repaired["changed"] and saved.domain.snapshotListNames() == ["cut-off"], repaired
    assert not list(slow.glob("*.memory"))
    assert call("kvm_vm_snapshot", uri=saved.host.uri, vm=NAME, state="merged")["deleted"] == ["cut-off"]
    saved.start()
    assert read_word(saved.domain) == "beforexx"
    saved.domain.destroy()


def test_a_host_that_crashes_in_a_backup_and_an_upload_has_neither_until_they_are_made_again(
    saved: Saved, own_hosts: Hosts, tmp_path: Path
) -> None:
    saved.directory = tmp_path / "backups"
    saved.start()
    write_word(saved.domain, "beforexx")
    pool = {"uri": saved.host.uri, "name": "vols", "type": "dir", "target": "/var/lib/libvirt/images/vols"}
    call("kvm_pool", **pool, build=True, state="active")
    upload = {"uri": saved.host.uri, "pool": "vols", "name": "cut"}
    place = saved.host.images / "vols" / "cut"
    backup = {**saved.options, "name": "cut-off", "disks": ["bulk"]}
    attempts = Attempts()
    with serving(random.Random(7).randbytes(6 * MIB)) as server:
        server.stop_after = 3 * MIB
        saved.slow_down(MIB)
        attempts.begin("kvm_vm_backup", **backup)
        attempts.begin("kvm_volume", **upload, url=server.url)
        saved.await_backup()
        until(lambda: place.exists() and place.stat().st_blocks)
        server.go_on.set()
        crash(saved, own_hosts, attempts)
        server.stop_after = None
        assert not (saved.directory / f"{NAME}.cut-off.json").exists()
        call("kvm_pool", **pool, state="active")
        assert "was never finished" in refusal("kvm_volume", **upload, capacity="8Mi").message
        assert call("kvm_volume", **upload, url=server.url)["changed"]
        assert place.read_bytes() == server.content
    assert word_in(saved.host.images / f"{NAME}.qcow2") == "beforexx"
    saved.start()
    made = call("kvm_vm_backup", **backup)
    assert made["changed"] and [item["name"] for item in made["backups"]] == ["cut-off"], made
    assert saved.files == [f"{NAME}.cut-off.bulk.qcow2", f"{NAME}.cut-off.json"]
    with closing(libvirt.open(saved.host.uri)) as connection:
        assert len(connection.lookupByName(NAME).listAllCheckpoints()) == 1
