"""Disks that are files of a path, sizes of images that are there already, and more memory than a host has."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm import vm_present
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_volumes import make_volumes
from modules import call, refusal
from stage import opened, pool_directory, remove_machines
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

NAME = "filed"
MEBIBYTE = 1024**2


@pytest.fixture
def host(staged: Host) -> Iterator[Host]:
    yield staged
    remove_machines(staged, NAME)


@pytest.fixture
def pool(host: Host) -> Path:
    return pool_directory(host)


def machine(host: Host, disk: dict[str, Any], **options: Any) -> dict[str, Any]:
    wanted = {"uri": host.uri, "name": NAME, "memory": "64Mi", "interfaces": [], "run_strategy": "Halted"}
    return {**wanted, "disks": [{"name": "data", **disk}], **options}


def info(path: Path) -> dict[str, Any]:
    import json

    done = subprocess.run(["qemu-img", "info", "-U", "--output=json", path], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("suffix", "format_"), [("qcow2", "qcow2"), ("img", "raw")])
def test_a_file_that_is_not_there_is_made_and_grows(host: Host, pool: Path, suffix: str, format_: str) -> None:
    path = pool / f"{NAME}.{suffix}"
    wanted = machine(host, {"path": str(path), "size": "8Mi"})
    assert call("kvm_vm", check_mode=True, **wanted)["changed"] and not path.exists()
    assert call("kvm_vm", **wanted)["action"] == "created"
    assert (info(path)["format"], info(path)["virtual-size"]) == (format_, 8 * MEBIBYTE)
    assert not call("kvm_vm", **wanted)["changed"]
    larger = machine(host, {"path": str(path), "size": "16Mi"})
    assert call("kvm_vm", **larger)["expanded"] == {"data": 16 * MEBIBYTE}
    assert info(path)["virtual-size"] == 16 * MEBIBYTE and not call("kvm_vm", **larger)["changed"]
    assert "disks do not shrink" in refusal("kvm_vm", **wanted).message
    gone = call("kvm_vm", uri=host.uri, name=NAME, state="absent", delete_disks=True)
    assert gone["disks_deleted"] == [str(path)] and not path.exists()


def test_a_file_that_is_there_is_used_and_not_the_machines_to_delete(host: Host, pool: Path) -> None:
    path = pool / f"{NAME}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 7 0 1M", path], check=True, capture_output=True)
    wanted = machine(host, {"path": str(path), "size": "16Mi"})
    made = call("kvm_vm", **wanted)
    assert made["expanded"] == {"data": 16 * MEBIBYTE} and info(path)["virtual-size"] == 16 * MEBIBYTE
    assert not call("kvm_vm", **wanted)["changed"]
    read = subprocess.run(["qemu-io", "-c", "read -P 7 0 1M", path], capture_output=True, text=True, check=True)
    assert "failed" not in read.stdout
    gone = call("kvm_vm", uri=host.uri, name=NAME, state="absent", delete_disks=True)
    assert gone["disks_kept"] == [str(path)] and path.exists()


@pytest.mark.parametrize("runs", [False, True])
def test_a_volume_that_is_used_again_has_its_size_after_the_first_run(host: Host, pool: Path, runs: bool) -> None:
    volume = {"uri": host.uri, "pool": "default", "name": f"{NAME}-data"}
    call("kvm_volume", **volume, capacity="8Mi", format="qcow2")
    wanted = machine(host, {"blank": True, "size": "16Mi"}, run_strategy="Always" if runs else "Halted")
    if runs:
        call("kvm_vm", **{**wanted, "disks": []})
    assert call("kvm_vm", **wanted)["expanded"] == {"data": 16 * MEBIBYTE}
    assert info(pool / f"{NAME}-data")["virtual-size"] == 16 * MEBIBYTE
    assert not call("kvm_vm", **wanted)["changed"]


def test_more_memory_than_the_host_has_is_told(host: Host) -> None:
    told: list[str] = []
    wanted = machine(host, {"blank": True, "size": "8Mi"}, memory="64Ti")
    call("kvm_vm", check_mode=True, told=told, **wanted)
    call("kvm_vm", told=told, **wanted)
    assert [line.startswith("memory: 65536Gi is more than the ") for line in told] == [True, True]
    told.clear()
    assert not call("kvm_vm", told=told, **wanted)["changed"] and told == []
    message = refusal("kvm_vm", **{**wanted, "run_strategy": "Always"}).message
    assert "Memory: 65536Gi is more than the" in message and "Its definition was written" in message


def test_a_disk_that_is_declared_elsewhere_stays_and_that_is_told(host: Host, pool: Path, tmp_path: Path) -> None:
    blank = {"blank": True, "size": "8Mi"}
    call("kvm_vm", **machine(host, blank))
    top = f"{pool}/{NAME}-data"
    elsewhere = {"uri": host.uri, "name": f"{NAME}-pool", "type": "dir", "target": str(tmp_path), "state": "active"}
    call("kvm_pool", **elsewhere)
    same = [{**blank, "pool": "default"}, {"path": top}, {"volume": {"pool": "default", "name": f"{NAME}-data"}}]
    other = [
        {**blank, "pool": f"{NAME}-pool"},
        {"path": "/srv/other.qcow2"},
        {"volume": {"pool": f"{NAME}-pool", "name": "other"}},
    ]

    def said(disk: dict[str, Any]) -> str:
        told: list[str] = []
        assert not call("kvm_vm", told=told, **machine(host, disk))["changed"]
        return " ".join(told)

    try:
        assert [said(disk) for disk in same] == [""] * 3
        assert all(said(disk).startswith(f"disk data: is {top} and stays so") for disk in other)
        # What a snapshot puts over a disk is no other disk.
        call("kvm_vm_snapshot", uri=host.uri, vm=NAME, name="s", external=True, directory=str(tmp_path))
        assert [said(disk) for disk in same] == [""] * 3
    finally:
        call("kvm_vm", uri=host.uri, name=NAME, state="absent", delete_disks=True)
        call("kvm_pool", uri=host.uri, name=elsewhere["name"], state="absent")


def test_what_is_plugged_in_does_not_take_the_place_of_what_waits_for_the_next_boot(host: Host) -> None:
    wanted = machine(host, {"blank": True, "size": "8Mi"}, run_strategy="Always")
    call("kvm_vm", **wanted)
    watchdog = "<domain><devices><watchdog model='i6300esb' action='reset'/></devices></domain>"
    assert call("kvm_vm", **wanted, xml=watchdog)["restart_reasons"] == ["watchdog"]
    plugged = {**wanted, "interfaces": [{"name": "lan", "network": "default"}]}
    assert call("kvm_vm", **plugged)["restart_reasons"] == ["watchdog"]
    assert not call("kvm_vm", **plugged)["changed"]
    call("kvm_vm_power", uri=host.uri, name=NAME, state="stopped", force=True)
    call("kvm_vm_power", uri=host.uri, name=NAME, state="started")
    assert call("kvm_vm", **plugged)["restart_reasons"] == []


@pytest.mark.parametrize("has_machine", [False, True])
def test_a_file_that_its_pool_has_not_seen_yet_is_used_and_not_made_anew(
    host: Host, pool: Path, has_machine: bool
) -> None:
    if has_machine:
        call("kvm_vm", **{**machine(host, {}), "disks": []})
    path = pool / f"{NAME}-data"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    before, told = path.stat().st_ino, list[str]()
    call("kvm_vm", told=told, **machine(host, {"blank": True, "size": "8Mi"}))
    assert any("was there and is used" in line for line in told) and path.stat().st_ino == before


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("has_machine", [False, True])
def test_a_file_that_comes_to_be_meanwhile_is_not_taken_for_an_unfinished_one(
    host: Host, pool: Path, monkeypatch: pytest.MonkeyPatch, has_machine: bool, is_known: bool
) -> None:
    if has_machine:
        call("kvm_vm", **{**machine(host, {}), "disks": []})
    path = pool / f"{NAME}-data"

    def late(*arguments: Any) -> None:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
        if is_known:
            with opened(host) as connection:
                connection.storagePoolLookupByName("default").refresh()
        make_volumes(*arguments)

    wanted = machine(host, {"blank": True, "size": "8Mi"})
    monkeypatch.setattr(vm_present, "make_volumes", late)
    assert "it is there by now" in refusal("kvm_vm", **wanted).message
    monkeypatch.undo()
    before = path.stat().st_ino
    assert call("kvm_vm", **wanted)["changed"] and path.stat().st_ino == before
    assert not call("kvm_vm", **wanted)["changed"]
