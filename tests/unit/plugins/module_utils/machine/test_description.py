"""The description of a machine: what is read, and what is refused before anything is asked of a server."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine import options
from ansible_collections.virtstack.core.plugins.module_utils.machine.description import (
    CLUSTER_ONLY,
    KVM_ONLY,
    Machine,
    read_machine,
)
from ansible_collections.virtstack.core.plugins.module_utils.machine.disks import SOURCES, require_sources
from ansible_collections.virtstack.core.plugins.module_utils.machine.interfaces import require_networks
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH3xq2x3kJ8Ue0xF0JcN0uVt2o9v9b4s3l2yV0o1nXyZ me@example.com"


def read(**described: Any) -> Machine:
    return read_machine(described, KVM_ONLY, "a cluster")


def refused(**described: Any) -> list[str]:
    with pytest.raises(Refused) as caught:
        read(**described)
    return list(caught.value.problems)


def test_what_is_not_declared_is_none() -> None:
    assert read() == Machine()


def test_every_mistake_is_named_at_once() -> None:
    problems = refused(
        memory="4GB",
        disks=[{"name": "root", "blank": True, "size": "30GB"}],
        interfaces=[{"name": "lan", "network": "pod", "mac": "nonsense"}],
    )
    assert [problem.split(":")[0] for problem in problems] == ["memory", "disk root", "interface lan"]


@pytest.mark.parametrize(
    ("disk", "told"),
    [
        ({"blank": True}, "blank needs a size"),
        ({"pvc": "x", "size": "1Gi"}, "pvc brings its own size"),
        ({"size": "1Gi"}, "has no source"),
        ({"blank": True, "pvc": "x", "size": "1Gi"}, "blank and pvc are 2 sources"),
        ({"pvc": "x", "storage_class": "fast"}, "makes no volume"),
        ({"http": {"uri": "http://x"}, "size": "1Gi"}, "has no key uri; it takes url, secret, cert_config_map"),
        ({"http": {"secret": "s"}, "size": "1Gi"}, "lacks url"),
        ({"http": "ftp//x", "size": "1Gi"}, "begin with http:// or https://"),
        ({"http": "https://", "size": "1Gi"}, "is no URL"),
        ({"http": "http://a host/x", "size": "1Gi"}, "is no URL"),
        ({"registry": "quay.io/x", "size": "1Gi"}, "begin with docker:// or oci-archive://"),
        ({"boot_source": ["rhel9"]}, "must be a text or a dictionary"),
        ({"pvc": "x", "boot_order": 0}, "boot_order: 0 is less than 1"),
        ({"pvc": "x", "shareable": True, "cache": "writeback"}, "shareable"),
        ({"sysprep": {"config_map": None, "secret": None}}, "lacks one of config_map, secret"),
        ({"clone_pvc": "images/rhel9"}, "write {name: rhel9, namespace: images}"),
        ({"pvc": "images/rhel9"}, '"images/rhel9" is no name'),
    ],
)
def test_a_disk_that_cannot_be_made_is_refused(disk: dict[str, Any], told: str) -> None:
    problems = refused(disks=[{"name": "root", **disk}])
    assert any(told in problem for problem in problems)


def test_two_disks_of_one_name_are_refused_by_name() -> None:
    problems = refused(disks=[{"name": "root", "pvc": "a"}, {"name": "root", "pvc": "b"}])
    assert problems == ['disks: two disks are named "root"; give each a name of its own']


def test_a_plain_text_stands_for_the_first_field_of_a_source() -> None:
    disks = read(
        disks=[{"name": "root", "boot_source": "rhel9"}, {"name": "b", "boot_source": {"name": "rhel9"}}]
    ).disks
    assert disks and disks[0].origin == disks[1].origin == {"name": "rhel9"}


def test_a_size_is_canonical() -> None:
    disks = read(disks=[{"name": "root", "blank": True, "size": "1024Mi"}]).disks
    assert disks and disks[0].size == "1Gi"


def test_an_absent_disk_needs_neither_source_nor_size() -> None:
    disks = read(disks=[{"name": "old", "state": "absent", "size": "3Gi"}]).disks
    assert disks and disks[0].absent


def test_a_disk_without_source_must_exist() -> None:
    disks = read(disks=[{"name": "root", "bus": "sata"}]).disks or ()
    require_sources(disks, ["root"])
    with pytest.raises(Refused, match="disk root: has no source"):
        require_sources(disks, ["other"])


def test_an_interface_without_network_must_exist() -> None:
    interfaces = read(interfaces=[{"name": "lan", "model": "e1000"}]).interfaces or ()
    require_networks(interfaces, ["lan"])
    with pytest.raises(Refused, match="interface lan: has no network"):
        require_networks(interfaces)


@pytest.mark.parametrize(
    ("interface", "told"),
    [
        ({"network": "vlan93", "binding": "masquerade"}, "pod network only"),
        ({"network": "pod", "binding": "sriov"}, "no SR-IOV"),
        ({"network": "pod", "mac": "00:11:22:33:44"}, "is no MAC address"),
        ({"network": "pod", "ports": [{"port": 0}]}, "0 is no port"),
        ({"network": "pod", "ports": [{"port": 49152}]}, "live migration"),
        ({"network": "vlan93", "ports": [{"port": 80}]}, "only the pod network"),
        ({"network": "pod", "boot_order": 0}, "less than 1"),
    ],
)
def test_an_interface_that_cannot_be_made_is_refused(interface: dict[str, Any], told: str) -> None:
    problems = refused(interfaces=[{"name": "lan", **interface}])
    assert any(told in problem for problem in problems)


def test_two_interfaces_share_neither_name_nor_mac_nor_the_pod_network() -> None:
    twice = {"network": "pod", "mac": "02:00:00:00:00:01"}
    problems = refused(interfaces=[{"name": "a", **twice}, {"name": "a", **twice}])
    assert len(problems) == 3


def test_a_boot_order_is_unique_among_disks_and_interfaces() -> None:
    problems = refused(
        disks=[{"name": "root", "pvc": "x", "boot_order": 1}],
        interfaces=[{"name": "lan", "network": "pod", "boot_order": 1}],
    )
    assert problems == ["boot_order: disk root and interface lan are both 1"]


@pytest.mark.parametrize(
    "firmware",
    [{"secure_boot": True}, {"secure_boot": True, "mode": "bios"}, {"persistent": True}, {"uuid": "nonsense"}],
)
def test_firmware_that_contradicts_itself_is_refused(firmware: dict[str, Any]) -> None:
    assert refused(firmware=firmware)


def test_a_cpu_has_at_least_one_of_each() -> None:
    assert refused(cpu={"cores": 0, "threads": -1}) == ["cpu.cores: 0 is less than 1", "cpu.threads: -1 is less than 1"]
    cpu = read(cpu={"cores": 2, "sockets": 3}).cpu
    assert cpu and cpu.count == 6


def test_ssh_keys_alone_make_user_data() -> None:
    seed = read(ssh_keys=[KEY]).cloud_init
    assert seed and seed.user_data == f"#cloud-config\nssh_authorized_keys:\n- {KEY}\n"


def test_ssh_keys_join_those_of_the_user_data_once() -> None:
    other = KEY.replace("me@", "you@")
    text = f"#cloud-config\npackages: [nginx]\nssh_authorized_keys: ['{KEY}']\n"
    seed = read(ssh_keys=[KEY, other], cloud_init={"user_data": text}).cloud_init
    assert seed and seed.user_data
    assert seed.user_data.count("me@example.com") == seed.user_data.count("you@example.com") == 1
    assert "nginx" in seed.user_data


def test_user_data_without_keys_is_passed_on_unchanged() -> None:
    text = "#cloud-config\n# a comment\npackages: [nginx]\n"
    seed = read(cloud_init={"user_data": text}).cloud_init
    assert seed and seed.user_data == text


@pytest.mark.parametrize(
    ("described", "told"),
    [
        ({"cloud_init": {"user_data": "packages: [nginx]"}}, "#cloud-config"),
        ({"cloud_init": {"user_data": "#!/bin/sh\ntrue"}, "ssh_keys": [KEY]}, "ssh_keys"),
        ({"cloud_init": {"secret": "s"}, "ssh_keys": [KEY]}, "put the keys into the Secret"),
        ({"ssh_keys": ["nonsense"]}, "is no public key"),
        ({"ssh_keys": ["", "# none"]}, "holds no key"),
        ({"ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nx"]}, "private key"),
        ({"cloud_init": {"user_data": "#cloud-config\na: [password1"}, "ssh_keys": [KEY]}, "line"),
    ],
)
def test_a_seed_that_would_not_work_is_refused(described: dict[str, Any], told: str) -> None:
    problems = refused(**described)
    assert any(told in problem for problem in problems)
    assert not any("password1" in problem for problem in problems)


def test_what_only_the_other_side_can_do_is_refused_with_what_to_use() -> None:
    problems = refused(disks=[{"name": "root", "path": "/images/root.qcow2"}])
    assert problems == ["disks.path: is not for a cluster; use disks.pvc, disks.http or disks.container_disk"]
    with pytest.raises(Refused, match=r"disks\.pvc: is not for a KVM host"):
        read_machine({"disks": [{"name": "root", "pvc": "claim"}]}, CLUSTER_ONLY, "a KVM host")


def test_the_tables_name_options_that_exist() -> None:
    known = {f"disks.{name}" for name in options.DISK_OPTIONS}
    known |= {f"interfaces.{name}" for name in options.INTERFACE_OPTIONS}
    known |= {f"cpu.{name}" for name in options.MACHINE_OPTIONS["cpu"]["options"]}
    known |= {f"disks.{source.option}.{field}" for source in SOURCES.values() for field in source.fields}
    known |= {f"cloud_init.{name}" for name in options.MACHINE_OPTIONS["cloud_init"]["options"]}
    assert {*CLUSTER_ONLY, *KVM_ONLY} <= known
    assert set(SOURCES) <= set(options.DISK_OPTIONS)
