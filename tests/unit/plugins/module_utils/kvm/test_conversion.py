"""Between the description of a machine and libvirt's XML of it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.conversion import from_xml, to_xml
from ansible_collections.virtstack.core.plugins.module_utils.kvm.kept import kept
from ansible_collections.virtstack.core.plugins.module_utils.kvm.view import view
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import read_declaration
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import parse
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from domains import CONFIG
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
MACS = st.integers(0, 0xFFFFFF).map(
    lambda number: f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
)


def converted(machine: dict[str, Any], **more: Any) -> dict[str, Any]:
    return from_xml(to_xml(read_declaration(machine)), **more)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


SOURCES = st.one_of(
    st.builds(lambda name: {"path": f"/srv/{name}.qcow2", "format": "qcow2"}, NAMES),
    st.builds(lambda name: {"path": f"/dev/{name}", "format": "raw"}, NAMES),
    st.builds(lambda pool, name: {"volume": {"pool": pool, "name": name}, "format": "raw"}, NAMES, NAMES),
)
DISKS = st.lists(
    st.builds(
        lambda source, more: {"device": "disk", **source, **more},
        SOURCES,
        optional(
            bus=st.sampled_from(["virtio", "scsi", "sata", "usb"]),
            serial=NAMES,
            readonly=st.just(True),
            cache=st.sampled_from(["none", "writethrough", "writeback"]),
            error_policy=st.sampled_from(["stop", "ignore", "report", "enospace"]),
        ),
    ),
    max_size=3,
).map(lambda disks: [{"name": f"d{number}", **disk} for number, disk in enumerate(disks)])
INTERFACES = st.lists(
    st.builds(
        lambda prefix, name, more: {"network": f"{prefix}{name}", "model": "virtio", **more},
        st.sampled_from(["", "bridge:", "macvtap:"]),
        NAMES.filter(lambda name: name != "pod"),
        optional(model=st.sampled_from(["e1000e", "rtl8139"]), mac=MACS, link=st.just("down")),
    ),
    max_size=3,
    unique_by=lambda interface: interface.get("mac", object()),
).map(lambda found: [{"name": f"i{number}", **interface} for number, interface in enumerate(found)])
MACHINES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "memory": st.sampled_from(["64Mi", "1Gi", "1536Mi", "3Gi"]),
        "cpu": st.builds(
            lambda sockets, cores, threads, model: {
                "sockets": sockets,
                "cores": cores,
                "threads": threads,
                "model": model,
            },
            *[st.integers(1, 4)] * 3,
            st.sampled_from(["host-model", "host-passthrough", "EPYC"]),
        ),
        "disks": DISKS,
        "interfaces": INTERFACES,
    },
    optional={
        "title": NAMES,
        "description": NAMES,
        "hugepages": st.sampled_from(["2Mi", "1Gi"]),
        "hostname": NAMES,
        "labels": st.dictionaries(NAMES, st.text(max_size=5).map(lambda text: text.strip()), min_size=1, max_size=2),
        "run_strategy": st.sampled_from(["Always", "Manual", "Halted", "Once", "RerunOnFailure"]),
        "termination_grace_period": st.integers(0, 600),
        "firmware": st.sampled_from([{"mode": "efi"}, {"mode": "efi", "secure_boot": True, "tpm": True}]),
    },
)


@settings(max_examples=60, deadline=None)
@given(MACHINES)
def test_what_is_described_comes_back(machine: dict[str, Any]) -> None:
    back = converted(machine)
    for option, declared in machine.items():
        if option == "disks":
            found = {disk["name"]: disk for disk in back["disks"]}
            assert all(disk.items() <= found[disk["name"]].items() for disk in declared)
        elif option == "interfaces":
            assert back["interfaces"] == declared
        else:
            assert back[option] == declared


@settings(max_examples=20, deadline=None)
@given(MACHINES)
def test_the_way_back_and_forth_ends_at_once(machine: dict[str, Any]) -> None:
    once = converted(machine)
    assert converted(once) == once


def test_a_domain_of_libvirt_becomes_a_description() -> None:
    assert from_xml(CONFIG) == {
        "name": "db",
        "cpu": {"sockets": 1, "cores": 2, "threads": 1, "model": "host-model"},
        "memory": "256Mi",
        "firmware": {"uuid": "f01ab2ce-9084-47ed-a913-a6ff04822a27"},
        "machine_type": "pc-q35-7.2",
        "architecture": "amd64",
        "disks": [
            {"name": "root", "path": "/pool/db-root", "format": "qcow2", "device": "disk", "bus": "virtio"},
            {"name": "sda", "device": "cdrom", "bus": "sata"},
        ],
        "interfaces": [
            {"name": "default", "network": "default", "model": "virtio", "mac": "52:54:00:60:19:c3"},
        ],
    }


def test_the_rest_is_what_no_option_covers() -> None:
    rest = parse(from_xml(CONFIG, rest=True)["xml"])
    assert rest.find("devices/memballoon") is not None and rest.find("clock/timer") is not None
    assert not [path for path in ("name", "memory", "devices/disk", "devices/*/address") if rest.find(path) is not None]


def test_volumes_that_would_be_made_stand_there_by_pool_and_name() -> None:
    text = to_xml(
        read_declaration(
            {
                "name": "db",
                "memory": "1Gi",
                "disks": [
                    {"name": "root", "boot_source": "rhel9"},
                    {"name": "d", "blank": True, "size": "1Gi", "pool": "x"},
                ],
                "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH3xq2x3kJ8Ue0xF0JcN0uVt2o9v9b4s3l2yV0o1nXyZ a@b"],
            }
        ),
        "qemu",
    )
    found = view(parse(text))
    assert [(disk.pool, disk.source) for disk in found.disks] == [
        ("default", "db-root"),
        ("x", "db-d"),
        ("default", "db-cloudinit.iso"),
    ]
    assert [interface.source for interface in found.interfaces] == ["default"]
    assert parse(text).get("type") == "qemu"


def test_what_is_kept_of_a_machine_goes_along() -> None:
    text = to_xml(read_declaration({"name": "a", "memory": "1Gi", "labels": {"x": "y"}, "run_strategy": "Once"}))
    assert (kept(parse(text)).labels, kept(parse(text)).run_strategy) == ({"x": "y"}, "Once")


@pytest.mark.parametrize(
    ("machine", "told"),
    [
        ({"name": "a"}, "memory: is missing"),
        ({"name": "a", "memory": "1Gi", "disks": [{"name": "d"}]}, "has no source"),
        ({"name": "a", "memory": "1Gi", "instancetype": "u1"}, "is not for a KVM host"),
        ({"name": "a/b", "memory": "1Gi"}, "no name"),
    ],
)
def test_what_the_module_refuses_is_refused_here(machine: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused, match=told):
        converted(machine)


@pytest.mark.parametrize("text", ["<network/>", "nothing", ""])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="domain: is"):
        from_xml(text)
