"""What is interrupted is made whole by the next task; what a guest does not let go is told."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm import vm_absent, vm_present
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent import Agent
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent_exec import execute
from modules import call, refusal
from servers import serving
from stage import opened, remove_machines, stage
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

PATIENCE = 60.0


@pytest.fixture(scope="module")
def host(hosts: Hosts, tiny: Tiny) -> Iterator[Host]:
    """The host C(beta), whose libvirtd is killed here; it has a pool and a network of its own."""
    yield stage(hosts["beta"], tiny)
    remove_machines(hosts["beta"], "mend-")


@pytest.fixture(scope="module")
def image(tiny: Tiny) -> bytes:
    return tiny.disk.read_bytes()


def volumes(host: Host) -> dict[str, int]:
    """The files in the pool's directory, and the bytes that each takes."""
    return {path.name: path.stat().st_blocks * 512 for path in (host.shared / f"pool-{host.name}").iterdir()}


def content(host: Host, name: str) -> bytes:
    with opened(host) as connection:
        volume = connection.storagePoolLookupByName("default").storageVolLookupByName(name)
        stream = connection.newStream()
        volume.download(stream, 0, 0)
        pieces = []
        while piece := stream.recv(262144):
            pieces.append(piece)
        stream.finish()
    return b"".join(pieces)


def machines(host: Host) -> list[str]:
    with opened(host) as connection:
        return [domain.name() for domain in connection.listAllDomains()]


def declared(host: Host, url: str, **more: Any) -> dict[str, Any]:
    disk = {"name": "root", "http": {"url": url, **more}, "size": "64Mi"}
    return {
        "uri": host.uri,
        "name": "mend-a",
        "memory": "64Mi",
        "interfaces": [],
        "run_strategy": "Halted",
        "disks": [disk],
    }


def until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_image_is_downloaded_and_checked(host: Host, image: bytes) -> None:
    remove_machines(host, "mend-")
    with serving(image) as served:
        wrong = refusal("kvm_vm", **declared(host, served.url, checksum=f"sha256:{'0' * 64}"))
        assert hashlib.sha256(image).hexdigest() in wrong.message
        assert "mend-a" not in machines(host) and "mend-a-root" not in volumes(host)
        right = declared(host, served.url, checksum=f"sha256:{hashlib.sha256(image).hexdigest()}")
        assert call("kvm_vm", check_mode=True, **right)["action"] == "created"
        assert call("kvm_vm", **right)["action"] == "created"
        assert content(host, "mend-a-root")[: len(image)] == image
        asked = served.requests
        assert not call("kvm_vm", **right)["changed"]
        assert served.requests == asked


def test_a_download_that_is_cut_off_leaves_nothing(host: Host, image: bytes) -> None:
    remove_machines(host, "mend-")
    with serving(image) as served:
        served.stop_after, served.cut_off = 1024 * 1024, True
        failure = refusal("kvm_vm", **declared(host, served.url))
        assert "Run this again" in failure.message
    assert "mend-a" not in machines(host) and "mend-a-root" not in volumes(host)


def test_a_task_that_is_killed_while_it_makes_a_disk_is_completed_by_the_next(host: Host, image: bytes) -> None:
    remove_machines(host, "mend-")
    with serving(image) as served:
        served.stop_after = 2 * 1024 * 1024
        options = declared(host, served.url)
        task = multiprocessing.get_context("spawn").Process(target=call, args=("kvm_vm",), kwargs=options)
        task.start()
        until(lambda: volumes(host).get("mend-a-root", 0) > 1024 * 1024)
        task.kill()
        task.join()
        with opened(host) as connection:
            # No guest can be started from what is not whole.
            assert "<disk" not in connection.lookupByName("mend-a").XMLDesc()
        served.stop_after = None
        repaired = call("kvm_vm", **options)
        assert repaired["changed"] and repaired["vm"]["disks"][0]["name"] == "root"
        assert content(host, "mend-a-root")[: len(image)] == image
        assert not call("kvm_vm", **options)["changed"]


def test_a_libvirt_that_is_killed_while_a_disk_is_made_is_told_and_mended(host: Host, image: bytes) -> None:
    remove_machines(host, "mend-")
    with serving(image) as served:
        served.stop_after = 2 * 1024 * 1024
        options = declared(host, served.url)
        context = multiprocessing.get_context("spawn")
        answers: Any = context.Queue()
        task = context.Process(target=_answer, args=(answers, options))
        task.start()
        until(lambda: volumes(host).get("mend-a-root", 0) > 1024 * 1024)
        host.kill_daemon()
        served.go_on.set()
        told = answers.get(timeout=PATIENCE)
        task.join()
        assert "upload to volume mend-a-root" in told and "should not happen" not in told
        host.start_daemon()
        served.stop_after = None
        stage(host, Tiny(host.shared / "tiny"))
        assert call("kvm_vm", **options)["changed"]
        assert content(host, "mend-a-root")[: len(image)] == image
        assert not call("kvm_vm", **options)["changed"]


def _answer(answers: Any, options: dict[str, Any]) -> None:
    answers.put(refusal("kvm_vm", **options).message)


def test_a_guest_that_does_not_let_go_is_told(host: Host) -> None:
    machine = {"uri": host.uri, "name": "mend-deaf", "memory": "64Mi", "wait": True, "wait_timeout": 3}
    disks = [{"name": "root", "blank": True, "size": "16Mi"}, {"name": "data", "blank": True, "size": "16Mi"}]
    call("kvm_vm", **machine, disks=disks)
    gone = [{"name": "data", "state": "absent"}]
    live = refusal("kvm_vm", **machine, disks=gone, apply="live")
    assert "did not let it go within 3 s" in live.message
    with opened(host) as connection:
        assert "mend-deaf-data" in connection.lookupByName("mend-deaf").XMLDesc(2)
    later = call("kvm_vm", **machine, disks=gone)
    assert later["changed"] and later["restart_reasons"] == ["disk data: taken away"]
    assert "mend-deaf-data" in volumes(host)


def test_what_something_else_writes_at_the_same_time_is_not_lost(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"uri": host.uri, "name": "mend-both", "memory": "64Mi", "interfaces": [], "run_strategy": "Halted"}
    call("kvm_vm", **machine)
    checked = vm_present.check_whole
    others = iter([{"title": "of another task"}])

    def another_task_comes_first(fleet: Any, made: Any) -> None:
        """Between reading the machine and writing it."""
        other = next(others, None) if made.declaration.description else None
        if other:
            call("kvm_vm", uri=host.uri, name="mend-both", **other)
        checked(fleet, made)

    monkeypatch.setattr(vm_present, "check_whole", another_task_comes_first)
    assert call("kvm_vm", **machine, description="of this one")["changed"]
    with opened(host) as connection:
        domain = connection.lookupByName("mend-both")
        assert (domain.metadata(1, None), domain.metadata(0, None)) == ("of another task", "of this one")
        others = iter([{"memory": f"{size}Mi"} for size in range(65, 99)])
        monkeypatch.setattr(vm_present, "_ATTEMPTS", 2)
        failed = refusal("kvm_vm", **{**machine, "memory": None}, description="never")
        assert "changed by something else again and again" in failed.message
        # Another task deletes it while this one is about to.
        monkeypatch.setattr(vm_absent, "_removed", lambda *_given: domain.undefine() or iter(()))
        gone = call("kvm_vm", uri=host.uri, name="mend-both", state="absent")
    assert not gone["changed"] and "mend-both" not in machines(host)


def test_a_guest_reads_its_seed(host: Host) -> None:
    call(
        "kvm_vm",
        uri=host.uri,
        name="mend-seed",
        memory="128Mi",
        hostname="seeded",
        disks=[{"name": "root", "boot_source": "tiny"}],
        cloud_init={"user_data": "#cloud-config\nfqdn: seeded.example.com\n", "network_config": {"version": 2}},
        wait=True,
        wait_for="agent",
        wait_timeout=200,
    )
    with opened(host) as connection:
        agent = Agent(connection.lookupByName("mend-seed"))
        mounted = "modprobe isofs; mkdir -p /seed && mount -t iso9660 -o ro /dev/vdb /seed && cd /seed"
        done = execute(agent, f"{mounted} && cat user-data meta-data network-config")
    assert done.returncode == 0, done
    assert "fqdn: seeded.example.com" in done.stdout.decode()
    assert "local-hostname: seeded" in done.stdout.decode() and "version: 2" in done.stdout.decode()


def test_fifty_machines_are_declared_in_one_task(host: Host) -> None:
    many = {
        "uri": host.uri,
        "memory": "64Mi",
        "interfaces": [],
        "run_strategy": "Halted",
        "disks": [{"name": "root", "blank": True, "size": "16Mi"}],
        "vms": [{"name": f"mend-{number:02}"} for number in range(50)],
    }
    began = time.monotonic()
    assert [one["action"] for one in call("kvm_vm", **many)["vms"]] == ["created"] * 50
    made = time.monotonic()
    assert not call("kvm_vm", **many)["changed"]
    print(f"50 machines: {made - began:.2f} s, again {time.monotonic() - made:.2f} s")
    assert call("kvm_vm", state="absent", delete_disks=True, uri=host.uri, vms=many["vms"])["changed"]
    assert not {name for name in volumes(host) if name.startswith("mend-0")}
