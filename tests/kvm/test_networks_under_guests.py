"""Networks and pools that are in use: guests keep what they have unless a task says otherwise."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.errors import KvmError
from guests import Guest
from modules import call, refusal
from virtlab.hosts.host import Host

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

Start = Callable[..., Guest]
ADDRESS = {"address": "192.168.150.1", "prefix": 24}


@pytest.fixture
def lan(alpha: Host) -> Iterator[Callable[..., dict[str, Any]]]:
    """Call the module for the network C(lan), which is gone after the test."""

    def declare(**options: Any) -> dict[str, Any]:
        return call("kvm_network", uri=alpha.uri, name="lan", **options)

    declare(state="active", mode="nat", bridge="vb-lan", stp=False, ips=[ADDRESS])
    yield declare
    declare(state="absent", force=True)


@pytest.fixture
def user(alpha: Host, guest: Start, lan: object) -> Guest:
    """A guest on the network; it need not come up to be attached."""
    interface = "<interface type='network'><source network='lan'/><model type='virtio'/></interface>"
    return guest(alpha, "user", wait=False, kernel=False, devices=interface)


def taps(host: Host) -> str:
    """The guests' devices on the bridge, with their numbers: a new one would have another number."""
    return "".join(sorted(host.exec(["ip", "-o", "link", "show", "master", "vb-lan"]).stdout.splitlines(keepends=True)))


def hosts_file(host: Host) -> str:
    return host.exec(["cat", "/var/lib/libvirt/dnsmasq/lan.hostsfile"]).stdout


def test_a_reservation_is_served_at_once_and_no_guest_notices(alpha: Host, user: Guest, lan: Any) -> None:
    before = taps(alpha)
    assert "vb-lan" in before
    reservation = {"mac": "52:54:00:00:00:07", "ip": "192.168.150.7", "name": "seven"}
    added = lan(ips=[{"address": "192.168.150.1", "reservations": [reservation]}],
                dns={"hosts": [{"ip": "192.168.150.1", "hostnames": ["gw"]}]})  # fmt: skip
    assert added["actions"] == [
        "added dns-host 192.168.150.1",
        "added ip-dhcp-host 52:54:00:00:00:07 seven 192.168.150.7",
    ]
    assert not added["restart_required"]
    assert "52:54:00:00:00:07,192.168.150.7,seven" in hosts_file(alpha)
    moved = lan(ips=[{"address": "192.168.150.1", "reservations": [{**reservation, "ip": "192.168.150.8"}]}])
    assert moved["actions"] == ["changed ip-dhcp-host 52:54:00:00:00:07 seven 192.168.150.8"]
    assert "192.168.150.8" in hosts_file(alpha)
    gone = lan(ips=[{"address": "192.168.150.1", "reservations": [{**reservation, "state": "absent"}]}])
    assert gone["actions"] == ["removed ip-dhcp-host 52:54:00:00:00:07 seven 192.168.150.8"]
    assert "52:54:00:00:00:07" not in hosts_file(alpha)
    assert taps(alpha) == before


def test_what_needs_a_restart_waits_for_it_while_guests_are_there(alpha: Host, user: Guest, lan: Any) -> None:
    before = taps(alpha)
    waiting = lan(mtu=1400)
    assert waiting["changed"] and waiting["restart_required"] and waiting["actions"] == []
    again = lan(mtu=1400)
    assert not again["changed"] and again["restart_required"]
    later = lan(apply="next_start", dns={"hosts": [{"ip": "192.168.150.1", "hostnames": ["gw"]}]})
    assert later["restart_required"] and later["actions"] == []
    refused = refusal("kvm_network", uri=alpha.uri, name="lan", apply="restart")
    assert "Cannot restart network lan: user would lose it. mtu cannot be changed while it runs" in refused.message
    assert refused.result["attached"] == ["user"]
    for state, verb in (("inactive", "stop"), ("absent", "remove")):
        refused = refusal("kvm_network", uri=alpha.uri, name="lan", state=state)
        assert f"Cannot {verb} network lan: user would lose it" in refused.message
    assert taps(alpha) == before
    done = lan(apply="restart", force=True)
    assert done["actions"] == ["stopped", "started"] and not done["restart_required"]
    assert not lan(apply="restart")["changed"]


def test_mistakes_are_named_before_anything_is_changed(alpha: Host, lan: Any) -> None:
    before = lan()["network"]["xml"]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"name": "other", "state": "active", "mode": "nat", "ips": [{"address": "192.168.144.1", "prefix": 20}]},
         "overlaps with 192.168.150.0/24 of the active network lan"),
        ({"name": "other"}, "mode: is missing"),
        ({"name": "other", "mode": "nat"}, "Cannot define network other: "),
        ({"name": "other", "mode": "isolated", "bridge": "vb-lan"}, "vb-lan"),
        (
            {"name": "other", "state": "active", "mode": "isolated", "bridge": "lo", "ips": [{"address": "10.9.0.1"}]},
            "Cannot start network other: ",
        ),
        ({"name": "other"}, "mode: is missing"),
        ({"name": "lan", "xml": "<network"}, "xml: is no XML"),
        ({"name": "lan", "xml": "<network><forward mode='warp'/></network>"}, "Cannot define network lan: "),
        ({"name": "a/b", "mode": "isolated"}, "is no name of a network"),
    ]  # fmt: skip
    for options, told in cases:
        failure = refusal("kvm_network", uri=alpha.uri, **options)
        assert told in failure.message, failure.message
    assert lan()["network"]["xml"] == before
    refused = refusal("kvm_network", uri="qemu+unix:///system?socket=/nowhere", name="lan")
    assert "Cannot connect to libvirt at" in refused.message


def test_a_transient_network_becomes_a_persistent_one_without_a_stop(alpha: Host) -> None:
    connection = libvirt.open(alpha.uri)
    connection.networkCreateXML("<network><name>passing</name><bridge name='vb-passing'/></network>")
    try:
        kept = call("kvm_network", uri=alpha.uri, name="passing", autostart=True)
        assert kept["changed"] and kept["network"]["persistent"] and kept["actions"] == []
        assert not call("kvm_network", uri=alpha.uri, name="passing", autostart=True)["changed"]
    finally:
        connection.close()
        call("kvm_network", uri=alpha.uri, name="passing", state="absent")


@pytest.fixture
def device(alpha: Host, tmp_path: Path) -> Iterator[str]:
    """A loop device of 40 MiB that the host has as well."""
    file = tmp_path / "device"
    with file.open("wb") as disk:
        disk.truncate(40 * 1024**2)
    made = alpha.exec(["losetup", "--find", "--show", str(file)])
    if made.returncode:
        pytest.skip(f"no loop devices here: {made.stderr.strip()}")
    path = made.stdout.strip()
    yield path
    alpha.exec(["umount", path])
    alpha.exec(["losetup", "--detach", path])


def test_a_file_system_is_made_only_when_told_and_only_where_there_is_none(alpha: Host, device: str) -> None:
    options = {
        "uri": alpha.uri,
        "name": "formatted",
        "type": "fs",
        "target": "/var/lib/libvirt/formatted",
        "source": {"devices": [device], "format": "ext4"},
    }
    told = refusal("kvm_pool", **options, state="active").message
    assert "Cannot start pool formatted" in told and "build: true" in told
    first = call("kvm_pool", **options, state="active", build=True)
    assert first["actions"] == ["built", "started"]
    assert not call("kvm_pool", **options, state="active", build=True)["changed"]
    call("kvm_volume", uri=alpha.uri, pool="formatted", name="kept", capacity="1Mi", format="raw")
    call("kvm_pool", **options, state="absent")
    again = call("kvm_pool", **options, state="active", build=True)
    assert again["actions"] == ["started"]
    assert not call("kvm_volume", uri=alpha.uri, pool="formatted", name="kept", capacity="1Mi")["changed"]
    other = {**options, "source": {"devices": [device], "format": "xfs"}}
    call("kvm_pool", **options, state="absent")
    assert (
        "build pool formatted, which does not start" in refusal("kvm_pool", **other, state="active", build=True).message
    )
    call("kvm_pool", **options, state="active")
    assert not call("kvm_volume", uri=alpha.uri, pool="formatted", name="kept", capacity="1Mi")["changed"]
    call("kvm_pool", **options, state="absent")


def test_another_directory_of_an_active_pool_waits_for_a_restart(alpha: Host) -> None:
    options = {"uri": alpha.uri, "name": "moving", "type": "dir", "build": True, "state": "active"}
    call("kvm_pool", **options, target="/var/lib/libvirt/images/one")
    moved = call("kvm_pool", **options, target="/var/lib/libvirt/images/two")
    assert moved["changed"] and moved["restart_required"]
    assert not call("kvm_pool", **options, target="/var/lib/libvirt/images/two")["changed"]
    done = call("kvm_pool", **options, target="/var/lib/libvirt/images/two", apply="restart")
    assert done["actions"] == ["stopped", "started"] and not done["restart_required"]
    (alpha.images / "two" / "found").write_bytes(bytes(1024))
    call("kvm_pool", uri=alpha.uri, name="moving", refresh=True)
    pools = subprocess.run(["ls", alpha.images / "two"], capture_output=True, text=True, check=True).stdout
    assert "found" in pools
    gone = call("kvm_pool", uri=alpha.uri, name="moving", state="absent", delete_contents=True)
    assert gone["actions"] == ["deleted contents", "stopped"]
    assert not (alpha.images / "two").exists() and (alpha.images / "one").exists()


def test_what_is_on_a_device_is_built_over_only_when_told(alpha: Host, device: str) -> None:
    assert alpha.exec(["mkswap", "--label", "precious", device]).returncode == 0
    options = {
        "uri": alpha.uri,
        "name": "over",
        "type": "fs",
        "target": "/var/lib/libvirt/over",
        "source": {"devices": [device], "format": "ext4"},
        "state": "active",
        "build": True,
    }
    assert "which does not start" in refusal("kvm_pool", **options).message
    assert "precious" in alpha.exec(["blkid", "-p", device]).stdout
    assert not call("kvm_pool", uri=alpha.uri, name="over", state="absent")["changed"]
    assert call("kvm_pool", **options, overwrite=True)["actions"] == ["built", "started"]
    call("kvm_pool", uri=alpha.uri, name="over", state="absent")


def test_a_volume_group_is_made_and_volumes_in_it(alpha: Host, device: str) -> None:
    options = {"uri": alpha.uri, "name": "group", "type": "logical", "source": {"devices": [device]}}
    try:
        call("kvm_pool", **options, state="active", build=True)
    except KvmError as error:
        pytest.skip(f"volume groups cannot be had here: {error}")
    made = call("kvm_volume", uri=alpha.uri, pool="group", name="data", capacity="8Mi")
    assert made["changed"]
    assert not call("kvm_volume", uri=alpha.uri, pool="group", name="data", capacity="8Mi")["changed"]
    call("kvm_pool", uri=alpha.uri, name="group", state="absent", delete_contents=True)


def test_a_guest_on_a_portgroup_is_in_its_vlan(alpha: Host, guest: Start) -> None:
    if alpha.exec(["sh", "-c", "ovs-vsctl show"]).returncode:
        pytest.skip("VLANs need Open vSwitch, which does not run here; the network's XML is tested")
    alpha.exec(["ovs-vsctl", "--may-exist", "add-br", "ovs-vlan", "--", "set", "bridge", "ovs-vlan",
                "datapath_type=netdev"])  # fmt: skip
    group = {"name": "office", "vlan": {"tags": [10]}}
    call("kvm_network", uri=alpha.uri, name="vlan", state="active", mode="ovs", bridge="ovs-vlan", portgroups=[group])
    source = "<source network='vlan' portgroup='office'/><target dev='vlan10'/>"
    guest(alpha, "tagged", wait=False, kernel=False, devices=f"<interface type='network'>{source}</interface>")
    assert alpha.exec(["ovs-vsctl", "get", "port", "vlan10", "tag"]).stdout.strip() == "10"
    call("kvm_network", uri=alpha.uri, name="vlan", state="absent", force=True)
