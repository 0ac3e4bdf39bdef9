"""What is declared, written into a domain; what already means it stays untouched."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_disks import (
    Place,
    check_boot_order,
    merge_disks,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_interfaces import (
    check_interfaces,
    merge_interfaces,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.domain_merge import merge
from ansible_collections.virtstack.core.plugins.module_utils.kvm.kept import kept
from ansible_collections.virtstack.core.plugins.module_utils.kvm.view import view
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import read_declaration
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import Element, differences, parse, written
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from domains import config


def merged(domain: Element | None = None, *, replace: bool = False, **options: Any) -> Element:
    """The domain with what the options declare; new disks are files in /pool."""
    found = config() if domain is None else domain
    declaration = read_declaration({"name": "db", **options})
    merge(found, declaration, is_new=False)
    disks = declaration.machine.disks
    known = {disk.name for disk in view(found).disks}
    asked = [disk for disk in disks or () if disk.source is not None or disk.name not in known]
    places = {disk.name: Place("file", {"file": f"/pool/{disk.name}"}, "qcow2") for disk in asked}
    merge_disks(found, disks, places, replace=replace, keeps_seed=False)
    merge_interfaces(found, declaration.machine.interfaces, replace=replace)
    check_boot_order(found)
    return found


def changed(**options: Any) -> list[str]:
    return list(differences(config(), merged(**options)))


SAME: list[dict[str, Any]] = [
    {},
    {"memory": "256Mi"},
    {"memory": "262144Ki"},
    {"cpu": {"cores": 2}},
    {"cpu": {"sockets": 1, "cores": 2, "threads": 1, "model": "host-model"}},
    {"machine_type": "q35"},
    {"machine_type": "pc-q35-7.2"},
    {"architecture": "amd64"},
    {"firmware": {"mode": "bios", "tpm": False, "uuid": "f01ab2ce-9084-47ed-a913-a6ff04822a27"}},
    {"title": "", "description": ""},
    {"disks": [{"name": "root", "blank": True, "size": "1Gi", "bus": "virtio", "device": "disk"}]},
    {"disks": [{"name": "sda", "device": "cdrom", "readonly": True}]},
    {"disks": [{"name": "none", "state": "absent"}], "interfaces": [{"name": "none", "state": "absent"}]},
    {"interfaces": [{"name": "default", "network": "pod", "model": "virtio", "link": "up"}]},
    {"interfaces": [{"name": "default", "network": "default", "mac": "52:54:00:60:19:C3"}]},
]


@pytest.mark.parametrize("options", SAME, ids=str)
def test_what_already_means_it_is_not_written(options: dict[str, Any]) -> None:
    assert changed(**options) == []


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"memory": "1Gi"}, {"memory", "currentMemory"}),
    ({"cpu": {"cores": 4}}, {"vcpu", "cpu/topology@cores"}),
    ({"cpu": {"model": "Skylake-Server"}}, {"cpu@check", "cpu@match", "cpu@mode", "cpu/model"}),
    ({"cpu": {"features": [{"name": "vmx", "policy": "disable"}]}}, {"cpu/feature"}),
    ({"hugepages": "2Mi"}, {"memoryBacking"}),
    ({"title": "The first"}, {"title"}),
    ({"machine_type": "pc-q35-6.2"}, {"os/type@machine"}),
    ({"firmware": {"tpm": True}}, {"devices/tpm"}),
    ({"firmware": {"mode": "efi"}}, {"os@firmware", "os/firmware"}),
    ({"firmware": {"serial": "SN"}}, {"sysinfo", "os/smbios"}),
    ({"run_strategy": "RerunOnFailure"}, {"on_crash", "devices/panic", "metadata"}),
    ({"run_strategy": "Always"}, {"metadata"}),
    ({"labels": {"app": "db"}}, {"metadata"}),
    ({"disks": [{"name": "root", "state": "absent"}]}, {"devices/disk[1]"}),
    ({"interfaces": [{"name": "default", "link": "down"}]}, {"devices/interface/link"}),
    ({"interfaces": [{"name": "default", "mac": "02:00:00:00:00:01"}]}, {"devices/interface/mac@address"}),
]


def named(value: Any) -> str:
    """A set has another order in every process, and both of xdist's are to know a test by one name."""
    return str(sorted(value)) if isinstance(value, set) else str(value)


@pytest.mark.parametrize(("options", "paths"), CHANGES, ids=named)
def test_only_what_is_declared_is_written(options: dict[str, Any], paths: set[str]) -> None:
    found = changed(**options)
    if options.get("disks") and options["disks"][0].get("state") == "absent":
        assert [disk.name for disk in view(merged(**options)).disks] == ["sda"]
    else:
        assert set(found) == paths


@pytest.mark.parametrize(("options", "paths"), CHANGES, ids=named)
def test_declaring_it_again_changes_nothing(options: dict[str, Any], paths: set[str]) -> None:
    once = merged(**options)
    before = parse(written(once))
    assert list(differences(before, merged(once, **options))) == []


def test_room_for_more_vcpus_is_kept() -> None:
    domain = parse(
        "<domain><vcpu current='1'>8</vcpu><cpu><topology sockets='8' cores='1' threads='1'/></cpu></domain>"
    )
    merged(domain, cpu={"sockets": 4})
    assert (view(domain).vcpus, view(domain).vcpus_maximum) == (4, 8)
    merged(domain, cpu={"sockets": 9})
    assert (view(domain).vcpus, view(domain).vcpus_maximum) == (9, 9)


@pytest.mark.parametrize("number", [1, 2])
def test_a_number_of_vcpus_alone_is_that_of_sockets(number: int) -> None:
    domain = parse(f"<domain><vcpu>{number}</vcpu><cpu mode='host-model'/></domain>")
    merged(domain, cpu={"sockets": number})
    assert domain.find("cpu/topology") is None


def test_secure_boot_is_said_either_way() -> None:
    for wanted in (True, False):
        domain = merged(firmware={"mode": "efi", "secure_boot": wanted})
        features = {item.get("name"): item.get("enabled") for item in domain.findall("os/firmware/feature")}
        assert features == dict.fromkeys(("enrolled-keys", "secure-boot"), "yes" if wanted else "no")


def test_bios_takes_the_firmware_of_efi_away() -> None:
    domain = merged(merged(firmware={"mode": "efi"}), firmware={"mode": "bios"})
    assert list(differences(config(), domain)) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"machine_type": "pc"}, "another chipset"),
    ({"architecture": "arm64"}, "declare it anew as aarch64"),
    ({"firmware": {"uuid": "2f5d5f0c-8a6e-4a53-9f5e-5d0f7c1b7a11"}}, "libvirt never changes"),
    (
        {"disks": [{"name": "root", "boot_order": 1}], "interfaces": [{"name": "default", "boot_order": 1}]},
        "are both 1",
    ),
    ({"disks": [{"name": "root", "io": "native"}]}, "set cache to none"),
    ({"disks": [{"name": "sda", "dedicated_io_thread": True}]}, "bus virtio"),
    ({"interfaces": [{"name": "new"}]}, "has no network"),
]


@pytest.mark.parametrize(("options", "told"), REFUSED, ids=str)
def test_what_cannot_follow_what_is_there_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        merged(**options)


def test_a_new_disk_takes_the_next_free_target_and_the_name_it_was_given() -> None:
    domain = merged(disks=[{"name": "data", "blank": True, "size": "1Gi"}, {"name": "cd", "device": "cdrom"}])
    found = {disk.name: disk for disk in view(domain).disks}
    assert (found["data"].target, found["data"].bus, found["data"].source) == ("vdb", "virtio", "/pool/data")
    assert (found["cd"].target, found["cd"].bus, found["cd"].readonly) == ("sdb", "sata", True)


def test_a_cdrom_gets_another_medium_and_a_disk_never() -> None:
    domain = merged(disks=[{"name": "sda", "path": "/iso/a"}, {"name": "root", "path": "/other"}])
    assert [disk.source for disk in view(domain).disks] == ["/pool/db-root", "/pool/sda"]


def test_many_disks_get_targets_of_two_letters() -> None:
    domain = merged(disks=[{"name": f"d{number}", "blank": True, "size": "1Gi"} for number in range(30)])
    assert [disk.target for disk in view(domain).disks][-3:] == ["vdac", "vdad", "vdae"]


def test_a_disk_on_another_bus_loses_its_place_and_gets_a_controller() -> None:
    domain = merged(disks=[{"name": "root", "bus": "scsi"}])
    disk = view(domain).disk("root")
    assert disk is not None and (disk.bus, disk.target) == ("scsi", "sdb")
    assert disk.element.find("address") is None
    assert domain.find("devices/controller[@model='virtio-scsi']") is not None


def test_io_threads_are_numbered_and_counted() -> None:
    domain = merged(
        disks=[
            {"name": "root", "dedicated_io_thread": True},
            {"name": "data", "blank": True, "size": "1Gi", "dedicated_io_thread": True},
        ]
    )
    assert [item.get("iothread") for item in domain.findall("devices/disk/driver[@iothread]")] == ["1", "2"]
    assert domain.findtext("iothreads") == "2"


def test_a_boot_order_of_devices_takes_the_place_of_the_machines() -> None:
    assert merged(disks=[{"name": "root", "boot_order": 1}]).find("os/boot") is None


def test_the_whole_list_takes_the_others_away() -> None:
    options: dict[str, Any] = {"disks": [{"name": "root"}], "interfaces": []}
    found = view(merged(replace=True, **options))
    assert [disk.name for disk in found.disks] == ["root"] and not found.interfaces
    assert len(view(merged(**options)).disks) == 2


def test_networks_bridges_and_macvtap_are_told_apart() -> None:
    domain = merged(
        interfaces=[
            {"name": "a", "network": "lan", "portgroup": "web"},
            {"name": "b", "network": "bridge:br0"},
            {"name": "c", "network": "macvtap:eth0"},
            {"name": "default", "network": "bridge:br1"},
        ]
    )
    found = {item.name: (item.type, item.source, item.portgroup) for item in view(domain).interfaces}
    assert found == {
        "a": ("network", "lan", "web"),
        "b": ("bridge", "br0", None),
        "c": ("direct", "eth0", None),
        "default": ("bridge", "br1", None),
    }


@pytest.mark.parametrize(
    ("interface", "told"),
    [
        ({"name": "a", "network": "lan", "binding": "l2bridge"}, "l2bridge is not for a KVM host"),
        ({"name": "a", "network": "ns/lan"}, "write lan"),
        ({"name": "a", "network": "bridge:br0", "portgroup": "x"}, "only a network of libvirt"),
    ],
)
def test_what_a_host_cannot_attach_is_refused(interface: dict[str, Any], told: str) -> None:
    declared = read_declaration({"name": "db", "interfaces": [interface]}).machine.interfaces
    with pytest.raises(Refused, match=told):
        check_interfaces(declared or ())


def test_labels_are_the_whole_of_them_and_a_null_is_one_less() -> None:
    domain = merged(merged(labels={"a": "1", "b": True}), annotations={"n": 2})
    assert (kept(domain).labels, kept(domain).annotations) == ({"a": "1", "b": "true"}, {"n": "2"})
    assert kept(merged(domain, labels={"a": "1", "b": None})).labels == {"a": "1"}
