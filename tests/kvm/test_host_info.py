"""What a real host is said to be, beside what its own tools say."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from guests import Guest
from modules import call, refusal
from virtlab.hosts.host import Host

pytest.importorskip("libvirt", reason="libvirt-python is not installed")


def test_a_host_tells_what_its_guests_can_have(alpha: Host) -> None:
    host = call("kvm_host_info", uri=alpha.uri, machine="q35")["host"]
    assert host["name"] == "alpha"
    assert host["uuid"] == alpha.identity.uuid
    assert host["architecture"] == os.uname().machine
    assert host["cpu"]["count"] == os.cpu_count()
    assert host["memory"]["unused"] <= host["memory"]["free"] <= host["memory"]["total"]
    assert sorted(cpu for cell in host["numa"] for cpu in cell["cpus"]) == list(range(os.cpu_count() or 0))
    offered = host["offered"]
    assert offered["machine"].startswith("pc-q35-")
    assert "qemu64" in offered["cpu_models"]
    assert not set(offered["cpu_models"]) & set(offered["cpu_models_unusable"])
    assert {"bios", "efi"} <= set(offered["firmwares"])
    assert {"name", "alias", "vcpus"} == host["machines"][0].keys()
    assert "devices" not in host


def test_what_was_asked_of_kvm_is_said_and_not_more(alpha: Host) -> None:
    acceleration = call("kvm_host_info", uri=alpha.uri)["host"]["acceleration"]
    # The host has no /dev/kvm of its own, whatever this machine has.
    assert acceleration["types"] == ["qemu"] and acceleration["kvm"] is False
    assert acceleration["device"]["exists"] == os.path.exists("/dev/kvm")


def test_guests_pools_networks_and_devices_are_counted(alpha: Host, guest: Callable[..., Guest]) -> None:
    before = call("kvm_host_info", uri=alpha.uri)["host"]["guests"]
    guest(alpha, "counted", wait=False, kernel=False, memory=64)
    call("kvm_pool", uri=alpha.uri, name="counted", type="dir", target="/var/lib/libvirt/images", state="active")
    call("kvm_network", uri=alpha.uri, name="counted", mode="bridge", bridge="br-counted")
    try:
        host = call("kvm_host_info", uri=alpha.uri, devices=True)["host"]
        assert host["guests"]["running"] == before["running"] + 1
        assert host["guests"]["memory"] == before["memory"] + 64 * 1024**2
        pool = next(pool for pool in host["pools"] if pool["name"] == "counted")
        space = os.statvfs(alpha.images)
        assert pool["capacity"] == space.f_blocks * space.f_frsize
        network = next(network for network in host["networks"] if network["name"] == "counted")
        told = {"mode": "bridge", "bridge": "br-counted", "active": False, "autostart": False}
        assert network == {"name": "counted", **told}
        assert "computer" in {device["name"] for device in host["devices"]}
    finally:
        call("kvm_network", uri=alpha.uri, name="counted", state="absent")
        call("kvm_pool", uri=alpha.uri, name="counted", state="absent")


def test_guests_of_another_architecture_are_refused_with_those_that_can_be(alpha: Host) -> None:
    message = refusal("kvm_host_info", uri=alpha.uri, architecture="vax").message
    assert "guests of vax cannot run here" in message and "x86_64" in message
    assert "machine" in refusal("kvm_host_info", uri=alpha.uri, machine="none").message


def test_a_driver_that_knows_little_says_so() -> None:
    host = call("kvm_host_info", uri="test:///default")["host"]
    assert host["offered"] is None and host["memory"]["free"] is None
