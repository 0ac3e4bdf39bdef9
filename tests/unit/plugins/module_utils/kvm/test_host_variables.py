"""What the inventory tells of a domain, by its document, its agent and its networks' leases."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_variables import (
    Found,
    Reach,
    address_of,
    variables,
)

DOCUMENT = """
<domain type='kvm' id='3'>
  <name>db</name><uuid>1f0c5a3e-0000-4000-8000-000000000001</uuid><title>The database</title>
  <metadata>
    <virtstack:machine xmlns:virtstack="https://virtstack.github.io/xmlns/core/1">
      <virtstack:labels>{"app": "shop"}</virtstack:labels>
      <virtstack:annotations>{"note": "{{ no }}"}</virtstack:annotations>
      <virtstack:settings>{"run_strategy": "Always"}</virtstack:settings>
    </virtstack:machine>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://microsoft.com/win/2k22"/>
    </libosinfo:libosinfo>
  </metadata>
  <memory unit='KiB'>8388608</memory><currentMemory unit='KiB'>4194304</currentMemory>
  <vcpu current='2'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom'><model>Skylake-Server</model><topology sockets='1' dies='1' cores='4' threads='1'/></cpu>
  <devices>
    <disk type='file' device='disk'><source file='/images/db.qcow2'/><target dev='vda' bus='virtio'/>
      <boot order='1'/><alias name='ua-root'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/><alias name='ua-lan'/>
    </interface>
    <interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br1'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
    <graphics type='vnc' passwd='hunter2'/>
  </devices>
</domain>"""
REPORT = {
    "os": {"id": "debian", "name": "Debian GNU/Linux 12", "version": "12", "kernel": "6.1.0", "machine": "x86_64"},
    "interfaces": [
        {"name": "lo", "mac": "00:00:00:00:00:00", "ips": [{"address": "127.0.0.1"}]},
        {"name": "eth0", "mac": "52:54:00:00:00:01", "ips": [{"address": "fe80::1"}, {"address": "10.0.0.5"}]},
        {"name": "eth1", "mac": "52:54:00:00:00:02", "ips": []},
        {"name": "bond0", "mac": "52:54:00:00:00:02", "ips": [{"address": "2001:db8::7"}]},
        {"name": "docker0", "mac": "02:42:00:00:00:01", "ips": [{"address": "172.17.0.1"}]},
    ],
}
LEASES = {"52:54:00:00:00:01": ["10.0.0.77"], "52:54:00:00:00:02": ["10.9.0.7"]}


def domain(status: str = "Running", report: dict[str, Any] | None = None, text: str = DOCUMENT) -> Found:
    found = Found(ElementTree.fromstring(text), "kvm1", "qemu:///system", status, True, True, {"vda": 10 * 1024**3})
    if report:
        found.take_report(report)
    return found


def test_a_domain_has_the_variables_of_a_machine_of_a_cluster() -> None:
    told = variables(domain(report=REPORT), Reach())

    assert told["virtstack_name"] == "db"
    assert told["virtstack_namespace"] is None
    assert told["virtstack_node"] == "kvm1"
    assert told["virtstack_uri"] == "qemu:///system"
    assert told["virtstack_status"] == "Running"
    assert told["virtstack_labels"] == {"app": "shop"}
    assert told["virtstack_annotations"] == {"note": "{{ no }}"}
    assert told["virtstack_run_strategy"] == "Always"
    assert (told["virtstack_vcpus"], told["virtstack_memory"]) == (2, "4Gi")
    assert told["virtstack_cpu"] == {"sockets": 1, "cores": 4, "threads": 1, "model": "Skylake-Server"}
    assert told["virtstack_os"] == "debian"
    assert told["virtstack_guest_os"] == {"name": "Debian GNU/Linux 12", "version": "12", "kernel": "6.1.0"}
    assert told["virtstack_agent_connected"] is True
    assert told["ansible_host"] == "10.0.0.5"


def test_a_disk_is_called_by_its_name_and_has_its_size() -> None:
    assert variables(domain(), Reach())["virtstack_disks"] == {
        "root": {
            "volume": "file",
            "source": "/images/db.qcow2",
            "size": "10Gi",
            "device": "disk",
            "bus": "virtio",
            "boot_order": 1,
        },
        "sda": {"volume": "file", "device": "cdrom", "bus": "sata"},
    }


def test_networks_have_their_addresses_and_the_guests_own_names() -> None:
    assert variables(domain(report=REPORT), Reach())["virtstack_networks"] == {
        "lan": {"network": "lan", "mac": "52:54:00:00:00:01", "ips": ["fe80::1", "10.0.0.5"], "device": "eth0"},
        # What a bond has over its members counts for the member whose MAC it took.
        "net1": {"network": "br1", "mac": "52:54:00:00:00:02", "ips": ["2001:db8::7"], "device": "eth1"},
        "docker0": {"mac": "02:42:00:00:00:01", "device": "docker0", "ips": ["172.17.0.1"]},
    }


@pytest.mark.parametrize(
    ("reach", "address"),
    [
        (Reach(), "10.0.0.5"),
        (Reach(address=["lease", "agent"]), "10.0.0.77"),
        (Reach(address=["arp"]), None),
        (Reach(networks=["br1"]), "2001:db8::7"),
        (Reach(networks=["net1", "lan"]), "2001:db8::7"),
        (Reach(networks=["nowhere"]), None),
        (Reach(address_family="ipv6"), "2001:db8::7"),
        (Reach(networks=["br1"], address_family="ipv4"), "10.9.0.7"),
    ],
)
def test_the_address_is_the_first_of_the_wanted_kind(reach: Reach, address: str | None) -> None:
    found = domain(report=REPORT)
    found.addresses["lease"] = LEASES

    assert address_of(found, reach) == address


def test_a_guests_inner_bridge_is_no_way_in() -> None:
    only_docker = {"os": {}, "interfaces": [REPORT["interfaces"][4]]}

    assert "ansible_host" not in variables(domain(report=only_docker), Reach())


def test_what_virt_install_noted_tells_a_silent_guests_system() -> None:
    told = variables(domain(), Reach(windows_connection="psrp"))

    assert told["virtstack_os"] == "windows"
    assert told["ansible_connection"] == "psrp"


def test_no_secret_is_among_the_variables() -> None:
    assert "hunter2" not in json.dumps(variables(domain(report=REPORT), Reach()))


def test_a_channel_that_nobody_opened_has_no_agent() -> None:
    assert not domain(text=DOCUMENT.replace(" state='connected'", " state='disconnected'")).agent_connected
    assert not domain(text=DOCUMENT.replace(" state='connected'", "")).agent_connected
