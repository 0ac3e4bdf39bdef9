"""What reaches a running guest, and what is still to come when it does not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_disks import Place, merge_disks
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_interfaces import merge_interfaces
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_live import live_changes
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_merge import merge
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_pending import pending
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import read_declaration
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import Element, ensure
from domains import config, live


def desired(**options: Any) -> Element:
    domain = config()
    declaration = read_declaration({"name": "db", **options})
    merge(domain, declaration, is_new=False)
    disks = declaration.machine.disks
    places = {disk.name: Place("file", {"file": f"/pool/{disk.name}"}, "qcow2") for disk in disks or ()}
    merge_disks(domain, disks, places, replace=False, keeps_seed=False)
    merge_interfaces(domain, declaration.machine.interfaces, replace=False)
    return domain


def told(**options: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """What is done to the running guest, and what waits for its next boot."""
    wanted = desired(**options)
    changes, after = live_changes(live(), wanted)
    return [(change.kind, change.name) for change in changes], pending(after, wanted)


def test_a_guest_that_is_what_its_machine_is_needs_nothing() -> None:
    assert told() == ([], [])


REACHES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"memory": "128Mi"}, [("memory", "memory")]),
    ({"title": "New", "description": "More"}, [("title", "title"), ("description", "description")]),
    ({"labels": {"a": "b"}}, [("labels", "labels")]),
    ({"disks": [{"name": "data", "blank": True, "size": "1Gi"}]}, [("attach", "disk data")]),
    ({"disks": [{"name": "root", "state": "absent"}]}, [("detach", "disk root")]),
    ({"interfaces": [{"name": "lan", "network": "lan"}]}, [("attach", "interface lan")]),
    ({"interfaces": [{"name": "default", "state": "absent"}]}, [("detach", "interface default")]),
    ({"interfaces": [{"name": "default", "link": "down"}]}, [("update", "interface default")]),
    ({"interfaces": [{"name": "default", "network": "bridge:br0"}]}, [("update", "interface default")]),
    (
        {"disks": [{"name": "data", "blank": True, "size": "1Gi", "bus": "scsi"}]},
        [("attach", "scsi controller"), ("attach", "disk data")],
    ),
]


@pytest.mark.parametrize(("options", "changes"), REACHES, ids=str)
def test_it_reaches_the_running_guest(options: dict[str, Any], changes: list[tuple[str, str]]) -> None:
    assert told(**options) == (changes, [])


WAITS: list[tuple[dict[str, Any], str]] = [
    ({"memory": "1Gi"}, "memory: the guest was started with at most 256 MiB"),
    ({"cpu": {"cores": 4}}, "cpu: the guest was started with at most 2"),
    ({"cpu": {"sockets": 2, "cores": 1}}, "cpu: how vCPUs are arranged"),
    ({"cpu": {"model": "Skylake-Server"}}, "cpu.model"),
    ({"firmware": {"mode": "efi"}}, "firmware"),
    ({"firmware": {"tpm": True}}, "tpm"),
    ({"machine_type": "pc-q35-6.2"}, "machine_type: pc-q35-7.2 runs, pc-q35-6.2 is declared"),
    ({"hugepages": "2Mi"}, "hugepages"),
    ({"run_strategy": "RerunOnFailure"}, "on_crash"),
    ({"disks": [{"name": "root", "cache": "none"}]}, "disk root: cache"),
    ({"disks": [{"name": "root", "serial": "X"}]}, "disk root: serial"),
    ({"disks": [{"name": "root", "boot_order": 1}]}, "disk root: boot_order"),
    ({"disks": [{"name": "data", "blank": True, "size": "1Gi", "bus": "sata"}]}, "disk data: added"),
    ({"disks": [{"name": "sda", "state": "absent"}]}, "disk sda: taken away"),
    ({"interfaces": [{"name": "default", "model": "e1000e"}]}, "interface default: model"),
    ({"interfaces": [{"name": "default", "mac": "02:00:00:00:00:01"}]}, "interface default: mac"),
    ({"interfaces": [{"name": "default", "network": "macvtap:eth0"}]}, "interface default: network"),
]


@pytest.mark.parametrize(("options", "reason"), WAITS, ids=str)
def test_it_waits_for_the_next_boot(options: dict[str, Any], reason: str) -> None:
    changes, reasons = told(**options)
    assert reason in reasons
    assert not [kind for kind, _name in changes if kind in ("attach", "detach", "update", "vcpus")]


def test_vcpus_come_while_there_is_room() -> None:
    running, wanted = live(), config()
    for domain in (running, wanted):
        ensure(domain, "vcpu").text = "4"
        ensure(domain, "vcpu").set("current", "2")
        ensure(domain, "cpu/topology").set("cores", "4")
    ensure(wanted, "vcpu").set("current", "3")
    changes, after = live_changes(running, wanted)
    assert [(change.kind, change.value) for change in changes] == [("vcpus", 3)]
    assert pending(after, wanted) == []


def test_a_medium_is_changed_while_the_guest_runs() -> None:
    wanted = config()
    drive = wanted.findall("devices/disk")[1]
    ensure(drive, "source").set("file", "/iso/x.iso")
    changes, after = live_changes(live(), wanted)
    assert [(change.kind, change.name) for change in changes] == [("update", "disk sda")]
    assert pending(after, wanted) == []


def test_the_documents_that_are_given_stay_as_they_are() -> None:
    running = live()
    live_changes(running, desired(memory="128Mi", interfaces=[{"name": "default", "link": "down"}]))
    assert pending(running, config()) == []


def test_a_device_whose_address_the_guest_keeps_is_told() -> None:
    assert pending(live(), desired(disks=[{"name": "root", "state": "absent"}])) == ["disk root: taken away"]
