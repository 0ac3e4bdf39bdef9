"""Machines whose disks have layers: nothing that is left is unnamed, and nothing that others need is taken."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modules import call, refusal
from stage import opened, pool_directory, remove_machines
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

NAME = "layered"


@pytest.fixture
def host(staged: Host) -> Iterator[Host]:
    yield staged
    remove_machines(staged, NAME)


@pytest.fixture
def pool(host: Host) -> Path:
    return pool_directory(host)


def machine(host: Host, **options: Any) -> dict[str, Any]:
    disks = [{"name": "root", "blank": True, "size": "8Mi"}]
    wanted = {"memory": "64Mi", "interfaces": [], "run_strategy": "Halted", "disks": disks}
    return call("kvm_vm", uri=host.uri, name=NAME, **{**wanted, **options})


def layer(host: Host, name: str, **options: Any) -> str:
    """Take an external snapshot; the path of its first file."""
    result = call("kvm_vm_snapshot", uri=host.uri, vm=NAME, name=name, external=True, **options)
    return str(next(item["files"][0] for item in result["snapshots"] if item["name"] == name))


def removal(host: Host, **options: Any) -> dict[str, Any]:
    """Of a machine, foretold by check mode first."""
    wanted = {"uri": host.uri, "name": NAME, "state": "absent", **options}
    foretold = call("kvm_vm", check_mode=True, **wanted)
    done = call("kvm_vm", **wanted)
    assert {name: foretold[name] for name in ("disks_kept", "disks_deleted", "removed")} == {
        name: done[name] for name in ("disks_kept", "disks_deleted", "removed")
    }
    return done


def built_on(backing: str, path: Path) -> str:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", path], check=True)
    return str(path)


def test_all_layers_are_named_where_they_are_kept_and_go_where_the_disk_goes(
    host: Host, pool: Path, tmp_path: Path
) -> None:
    machine(host)
    base = str(pool / f"{NAME}-root")
    # The second lies where no pool is.
    layers = [layer(host, "one"), layer(host, "two", directory=str(tmp_path))]
    assert [Path(path).parent for path in layers] == [pool, tmp_path]
    kept = call("kvm_vm", check_mode=True, uri=host.uri, name=NAME, state="absent")
    assert kept["disks_kept"] == sorted([base, *layers]) and kept["disks_deleted"] == []
    assert "their data stay" in kept["removed"][0]
    gone = removal(host, delete_disks=True)
    assert gone["disks_deleted"] == sorted([base, *layers]) and gone["disks_kept"] == []
    assert gone["removed"] == ["what libvirt knew of 2 snapshots"]
    assert not any(Path(path).exists() for path in [base, *layers])


def test_layers_that_libvirt_has_forgotten_are_named(host: Host, pool: Path) -> None:
    machine(host)
    layers = [layer(host, "one"), layer(host, "two")]
    with opened(host) as connection:
        domain = connection.lookupByName(NAME)
        for name in ("two", "one"):
            domain.snapshotLookupByName(name).delete(2)  # its metadata alone
    gone = removal(host, delete_disks=["root"])
    # Nothing tells any more whose the layer between was; the base goes only with all that is above it.
    assert gone["disks_deleted"] == [layers[1]]
    assert gone["disks_kept"] == sorted([str(pool / f"{NAME}-root"), layers[0]])
    for path in gone["disks_kept"]:
        Path(path).unlink()


def test_a_template_stays_and_is_named(host: Host, pool: Path) -> None:
    template = {"uri": host.uri, "pool": "default", "name": f"{NAME}.template"}
    call("kvm_volume", **template, capacity="8Mi", format="qcow2")
    backing = {"pool": "default", "volume": template["name"]}
    call("kvm_volume", uri=host.uri, pool="default", name=f"{NAME}-root", backing=backing)
    machine(host)
    top = layer(host, "one")
    gone = removal(host, delete_disks=True)
    assert gone["disks_deleted"] == sorted([str(pool / f"{NAME}-root"), top])
    assert gone["disks_kept"] == [str(pool / template["name"])] and Path(gone["disks_kept"][0]).exists()


@pytest.mark.parametrize("place", ["beside all pools", "in a pool that is off", "behind its pool's back"])
def test_what_others_are_built_on_stays(host: Host, pool: Path, tmp_path: Path, place: str) -> None:
    machine(host)
    base, top = str(pool / f"{NAME}-root"), layer(host, "one")
    directory = pool if place.startswith("behind") else tmp_path
    above = [built_on(base, directory / f"{NAME}.clone")]
    with opened(host) as connection:
        if place == "in a pool that is off":
            connection.storagePoolDefineXML(
                f"<pool type='dir'><name>{NAME}</name><target><path>{tmp_path}</path></target></pool>"
            )
        else:
            disk = f"<disk type='file'><driver type='qcow2'/><source file='{above[0]}'/><target dev='vda'/></disk>"
            connection.defineXML(
                f"<domain type='qemu'><name>{NAME}-other</name><memory>65536</memory><os><type>hvm</type></os>"
                f"<devices>{disk}</devices></domain>"
            )
    try:
        gone = removal(host, delete_disks=True)
        assert gone["disks_deleted"] == [top] and gone["disks_kept"] == [base]
        # With the base as its disk again, it is not deleted, nor written to by another machine.
        message = refusal("kvm_volume", uri=host.uri, pool="default", name=f"{NAME}-root", state="absent").message
        assert f"{NAME}.clone" in message and "built on it" in message
        again = [{"name": "root", "volume": {"pool": "default", "name": f"{NAME}-root"}}]
        taken = {"uri": host.uri, "name": NAME, "memory": "64Mi", "run_strategy": "Halted", "disks": again}
        assert f"{NAME}.clone is built on {base}" in refusal("kvm_vm", **taken).message
    finally:
        with opened(host) as connection:
            if place == "in a pool that is off":
                connection.storagePoolLookupByName(NAME).undefine()


def test_a_memory_goes_with_all_disks_and_is_named_otherwise(host: Host, pool: Path) -> None:
    machine(host, run_strategy="Always")
    result = call("kvm_vm_snapshot", uri=host.uri, vm=NAME, name="one", external=True, memory=True)
    memory = result["snapshots"][0]["files"][1]
    force = {"force": True, "termination_grace_period": 0}
    kept = call("kvm_vm", check_mode=True, uri=host.uri, name=NAME, state="absent", delete_disks=["root"], **force)
    assert kept["disks_kept"] == [memory]
    call("kvm_vm_power", uri=host.uri, name=NAME, state="stopped", force=True)
    gone = removal(host, delete_disks=True)
    assert memory in gone["disks_deleted"] and gone["disks_kept"] == [] and not Path(memory).exists()


def test_a_file_that_no_pool_has_is_deleted_when_it_is_named(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "data.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "8M"], check=True)
    machine(host, disks=[{"name": "data", "path": str(file)}])
    assert call("kvm_vm", check_mode=True, uri=host.uri, name=NAME, state="absent", delete_disks=True)[
        "disks_kept"
    ] == [str(file)]
    assert removal(host, delete_disks=["data"])["disks_deleted"] == [str(file)] and not file.exists()


def reached(way: str, base: Path, beside: Path) -> str:
    """Another spelling of a path, or a symbolic link to it."""
    if way == "spelled otherwise":
        return f"{base.parent}/../{base.parent.name}//{base.name}"
    if way == "through a link to the directory":
        (beside / "link").symlink_to(base.parent)
        return f"{beside}/link/{base.name}"
    (beside / "latest.qcow2").symlink_to(base)
    return f"{beside}/latest.qcow2"


@pytest.mark.parametrize("way", ["spelled otherwise", "through a link to the directory", "through a link to the file"])
def test_a_file_that_others_reach_by_another_name_stays(host: Host, pool: Path, tmp_path: Path, way: str) -> None:
    machine(host)
    name = reached(way, pool / f"{NAME}-root", tmp_path)
    named = {"uri": host.uri, "name": NAME, "state": "absent", "delete_disks": True, "check_mode": True}
    volume = {"uri": host.uri, "pool": "default", "name": f"{NAME}-root", "state": "absent", "check_mode": True}
    disk = f"<disk type='file'><driver type='qcow2'/><source file='{name}'/><target dev='vda'/></disk>"
    with opened(host) as connection:
        other = connection.defineXML(
            f"<domain type='qemu'><name>{NAME}-other</name><memory>65536</memory><os><type>hvm</type></os>"
            f"<devices>{disk}</devices></domain>"
        )
        assert f"{NAME}-other, too" in refusal("kvm_vm", **named).message
        told: list[str] = []
        call("kvm_volume", told=told, **volume)
        assert any(f"is a disk of {NAME}, {NAME}-other" in line for line in told)
        other.undefine()
    # An image in the pool that it has not looked for yet, and that no machine has.
    clone = Path(built_on(name, pool / f"{NAME}.clone"))
    assert f"{NAME}.clone is built on" in refusal("kvm_vm", **named).message
    assert f"{NAME}.clone" in refusal("kvm_volume", **volume).message
    clone.unlink()
    assert call("kvm_vm", **named)["disks_deleted"] == [str(pool / f"{NAME}-root")]


def test_a_file_that_was_put_in_the_place_of_a_made_one_stays_unless_it_is_named(
    host: Host, pool: Path, tmp_path: Path
) -> None:
    machine(host, firmware={"tpm": True})
    mine = tmp_path / "mine.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", mine, "8M"], check=True)
    with opened(host) as connection:
        document = connection.lookupByName(NAME).XMLDesc()
        connection.defineXML(document.replace(f"{pool}/{NAME}-root", str(mine)))
    foretold = call("kvm_vm", check_mode=True, uri=host.uri, name=NAME, state="absent", delete_disks=["root"])
    assert foretold["disks_deleted"] == [str(mine)] and foretold["removed"] == []
    gone = removal(host, delete_disks=True)
    assert (gone["disks_deleted"], gone["disks_kept"]) == ([], [str(mine)]) and mine.exists()
    # What may be sealed for that disk stays with it.
    assert gone["removed"] == []
    machine(host, firmware={"tpm": True})
    assert "the state of its TPM" in removal(host, delete_disks=True)["removed"]


@pytest.mark.parametrize("runs", [False, True])
def test_layers_that_a_clone_is_built_on_are_not_merged(host: Host, pool: Path, tmp_path: Path, runs: bool) -> None:
    machine(host, run_strategy="Always" if runs else "Halted")
    base = pool / f"{NAME}-root"
    layer(host, "one")
    # What does not change any more under the layer is what others are cloned from.
    clone = Path(built_on(str(base), pool / f"{NAME}.clone"))
    snapshot = {"uri": host.uri, "vm": NAME, "name": "one"}
    for state in ("absent", "merged"):
        for check_mode in (True, False):
            message = refusal("kvm_vm_snapshot", **snapshot, state=state, check_mode=check_mode).message
            assert f"{NAME}.clone is built on {base}" in message
    clone.unlink()
    assert call("kvm_vm_snapshot", **snapshot, state="merged")["deleted"] == ["one"]


def test_a_layer_of_a_disk_that_another_machine_has_given_up_is_not_lost(
    host: Host, pool: Path, tmp_path: Path
) -> None:
    base = pool / f"{NAME}-root"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "8M"], check=True)
    other = {"uri": host.uri, "name": f"{NAME}-other", "memory": "64Mi", "interfaces": [], "run_strategy": "Halted"}
    call("kvm_vm", **other, disks=[{"name": "data", "path": str(base), "format": "qcow2"}])
    taken = {"uri": host.uri, "vm": f"{NAME}-other", "name": "one", "external": True, "directory": str(tmp_path)}
    [layer] = call("kvm_vm_snapshot", **taken)["snapshots"][0]["files"]
    call("kvm_vm", **other, disks=[{"name": "data", "state": "absent"}])
    machine(host)
    message = refusal("kvm_vm", uri=host.uri, name=NAME, state="absent", delete_disks=True, check_mode=True).message
    assert f"file {layer} is built on {base}" in message
