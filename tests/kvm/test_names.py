"""Machines of any name that libvirt takes, made elsewhere or here, are managed as all others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from modules import call, refusal
from stage import opened
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")

NAMES = ["odd a b", "-odd ä漢", ".odd<1>,2&\"q'`$x%s{{ 1 }}*?", " odd ", "odd\ttab"]


@pytest.fixture(scope="module")
def host(staged: Host) -> Iterator[Host]:
    yield staged
    with opened(staged) as connection:
        for domain in connection.listAllDomains():
            if "odd" in domain.name():
                if domain.isActive():
                    domain.destroy()
                domain.undefineFlags(1 | 2 | 4 | 16)
        for volume in connection.storagePoolLookupByName("default").listAllVolumes():
            if "odd" in volume.name():
                volume.delete()


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_of_this_name_is_managed_by_every_module(name: str, host: Host, tmp_path: Path) -> None:
    where = {"uri": host.uri}
    with opened(host) as connection:
        # As something else has made it.
        connection.defineXML(
            f"<domain type='qemu'><name>{escape(name)}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os>"
            "<on_poweroff>destroy</on_poweroff></domain>"
        )
    wanted = {
        **where,
        "name": name,
        "labels": {"odd": "yes"},
        "disks": [{"name": "root", "blank": True, "size": "8Mi"}],
        "cloud_init": {"user_data": "#cloud-config\n"},
    }
    made = call("kvm_vm", **wanted)
    assert made["action"] == "updated" and made["vm"]["name"] == name
    assert not call("kvm_vm", **wanted)["changed"] and not call("kvm_vm", check_mode=True, **wanted)["changed"]
    assert name in [vm["name"] for vm in call("kvm_vm_info", **where)["vms"]]
    assert [vm["name"] for vm in call("kvm_vm_info", **where, name=name, label_selector="odd=yes")["vms"]] == [name]

    call("kvm_vm_power", **where, name=name, state="started")
    [snapshot] = call("kvm_vm_snapshot", **where, vm=name, name="layer", external=True, memory=True)["snapshots"]
    assert len(snapshot["files"]) == 2
    assert call("kvm_vm_snapshot", **where, vm=name, state="merged")["deleted"] == ["layer"]
    call("kvm_vm_snapshot", **where, vm=name, name="inside")
    assert call("kvm_vm_snapshot", **where, vm=name, name="inside", state="absent")["changed"]

    kept = {**where, "vm": name, "directory": str(tmp_path / "backups")}
    assert call("kvm_vm_backup", **kept, name="b1", disks=["root"])["backup"]["type"] == "full"
    assert call("kvm_vm_backup", **kept, name="b2", disks=["root"])["backup"]["type"] == "incremental"
    for state, now in (("saved", "stopped"), ("restored", "running"), ("stopped", "stopped")):
        call("kvm_vm_power", **where, name=name, state=state, force=state == "stopped")
        assert call("kvm_vm_info", **where, name=name)["vms"][0]["status"] == now
    restored = call("kvm_vm_backup", **kept, name="b2", state="restored", delete_replaced=True)
    assert Path(restored["restored"]["root"]).name.endswith("-root.b2.qcow2")

    gone = call("kvm_vm", **where, name=name, state="absent", delete_disks=["root"])
    assert gone["disks_deleted"] == [restored["restored"]["root"]] and gone["disks_kept"] == []
    assert not call("kvm_vm", **where, name=name, state="absent")["changed"]


def test_a_new_machine_has_such_a_name_too(host: Host) -> None:
    wanted = {
        "uri": host.uri,
        "memory": "64Mi",
        "interfaces": [],
        "run_strategy": "Halted",
        "disks": [{"name": "root", "blank": True, "size": "8Mi"}],
        "vms": [{"name": "odd new"}, {"name": "odd neü"}],
    }
    assert [vm["action"] for vm in call("kvm_vm", **wanted)["vms"]] == ["created", "created"]
    assert not call("kvm_vm", **wanted)["changed"]
    gone = call("kvm_vm", uri=host.uri, vms=wanted["vms"], state="absent", delete_disks=True)
    assert [Path(vm["disks_deleted"][0]).name for vm in gone["vms"]] == ["odd new-root", "odd neü-root"]


@pytest.mark.parametrize("name", ["odd/slash", "odd\nline", ".", "..", " ", "odd" * 70, "odd\tnew"])
def test_a_name_that_cannot_be_is_refused(name: str, host: Host) -> None:
    message = refusal("kvm_vm", uri=host.uri, name=name, memory="64Mi", interfaces=[], run_strategy="Halted").message
    assert message.startswith("name: "), message
