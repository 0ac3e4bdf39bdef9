"""The domain that an instance becomes, its files, and what is plugged into it later."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from virtlab.guests.real import files
from virtlab.guests.real.devices import DiskFile, Nic, free_target, targets
from virtlab.guests.real.domain_xml import Places, domain_name, domain_xml
from virtlab.guests.real.files import NoGuest, Sources
from virtlab.guests.real.guest import Guest

Object = dict[str, Any]

PLACES = Places(Path("/state/guests/prod_db/console.log"), "/run/virtlab/u.console", "/run/virtlab/u.vnc")


def instance(domain: Object | None = None, **spec: Object) -> Object:
    return {
        "metadata": {"name": "db", "namespace": "prod", "uid": "8a2e5f32-0000-4000-8000-000000000001"},
        "spec": {"domain": domain or {"devices": {}}, **spec},
        "status": {},
    }


def made(vmi: Object, disks: dict[str, DiskFile] | None = None, nics: dict[str, Nic] | None = None) -> ET.Element:
    return ET.fromstring(domain_xml(vmi, disks or {}, nics or {}, PLACES))


def attributes(domain: ET.Element, path: str) -> dict[str, str]:
    found = domain.find(path)
    assert found is not None, f"{path} in {ET.tostring(domain, encoding='unicode')}"
    return found.attrib


def test_the_domain_is_called_after_the_instance() -> None:
    vmi = instance()
    assert domain_name(vmi) == "prod_db"
    assert made(vmi).findtext("uuid") == vmi["metadata"]["uid"]


def test_processor_and_memory_are_the_instances() -> None:
    cpu = {"cores": 2, "sockets": 2, "threads": 1, "maxSockets": 4}
    domain = made(instance({"cpu": cpu, "memory": {"guest": "512Mi"}, "devices": {}}))
    assert domain.findtext("memory") == str(512 << 10)
    assert domain.findtext("vcpu") == "8" and attributes(domain, "vcpu")["current"] == "4"
    assert attributes(domain, "cpu/topology") == {"sockets": "4", "cores": "2", "threads": "1"}


@pytest.mark.parametrize(
    ("firmware", "secure"),
    [({}, None), ({"bootloader": {"efi": {}}}, "yes"), ({"bootloader": {"efi": {"secureBoot": False}}}, "no")],
    ids=["bios", "uefi-secure", "uefi"],
)
def test_firmware_is_what_is_asked_for(firmware: Object, secure: str | None) -> None:
    domain = made(instance({"firmware": firmware, "devices": {}}))
    assert attributes(domain, "os").get("firmware") == ("efi" if secure else None)
    if secure:
        assert attributes(domain, "os/firmware/feature[@name='secure-boot']")["enabled"] == secure
    assert (domain.find("features/smm") is not None) == (secure == "yes")


def test_disks_have_their_files_buses_and_boot_order() -> None:
    disks = [
        {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
        {"name": "data", "disk": {"bus": "scsi"}, "serial": "d1"},
        {"name": "cd", "cdrom": {"bus": "sata"}},
        {"name": "absent", "disk": {"bus": "virtio"}},
    ]
    there = {name: DiskFile(Path(f"/s/{name}"), "raw") for name in ("root", "data", "cd")}
    domain = made(instance({"devices": {"disks": disks}}), there)
    found = {disk.find("target").get("dev"): disk for disk in domain.iterfind("devices/disk")}  # type: ignore[union-attr]
    assert list(found) == ["vda", "sda", "sdb"]
    assert attributes(found["vda"], "boot") == {"order": "1"}
    assert attributes(found["vda"], "driver")["cache"] == "none"
    assert found["sda"].findtext("serial") == "d1"
    assert found["sdb"].get("device") == "cdrom" and found["sdb"].find("readonly") is not None


def test_interfaces_are_in_the_bridges_of_their_networks() -> None:
    interfaces = [
        {"name": "default", "masquerade": {}},
        {"name": "lan", "bridge": {}, "state": "down", "model": "e1000e"},
    ]
    nics = {"default": Nic("pods", "02:00:00:00:00:01"), "lan": Nic("n1", "02:00:00:00:00:02")}
    domain = made(instance({"devices": {"interfaces": interfaces}}), nics=nics)
    first, second = domain.findall("devices/interface")
    assert attributes(first, "source") == {"bridge": "pods"} and first.find("link") is None
    assert attributes(second, "link") == {"state": "down"} and attributes(second, "model") == {"type": "e1000e"}


def test_consoles_are_there_unless_they_are_turned_off() -> None:
    domain = made(instance())
    assert attributes(domain, "devices/serial/log") == {"file": str(PLACES.console_log), "append": "on"}
    assert attributes(domain, "devices/graphics/listen")["socket"] == PLACES.vnc_socket
    off = {"autoattachSerialConsole": False, "autoattachGraphicsDevice": False}
    domain = made(instance({"devices": off}))
    assert domain.find("devices/serial") is None and domain.find("devices/graphics") is None


def test_a_tpm_comes_when_it_is_asked_for() -> None:
    assert made(instance()).find("devices/tpm") is None
    assert attributes(made(instance({"devices": {"tpm": {}}})), "devices/tpm/backend")["version"] == "2.0"


def test_targets_go_on_after_z_and_never_twice() -> None:
    names = targets([{"name": f"d{number}", "disk": {"bus": "virtio"}} for number in range(28)])
    assert (names["d0"], names["d25"], names["d26"], names["d27"]) == ("vda", "vdz", "vdaa", "vdab")
    assert free_target("scsi", {"sda", "sdc"}) == "sdb"


def nothing(name: str) -> Object | None:
    return None


def test_a_seed_is_made_of_plain_encoded_or_secret_text() -> None:
    encoded = base64.b64encode(b"#cloud-config\n").decode()
    secret = {"kind": "Secret", "data": {"userdata": encoded}}
    for source in ({"userData": "#cloud-config\n"}, {"userDataBase64": encoded}, {"secretRef": {"name": "s"}}):
        vmi = instance(volumes=[{"name": "seed", "cloudInitNoCloud": source}])
        told = files.texts_of(vmi, lambda name: secret if name == "s" else None, nothing)["seed"]
        assert told["user-data"] == "#cloud-config\n"
        assert '"local-hostname": "db"' in told["meta-data"]


def test_a_missing_secret_is_named() -> None:
    vmi = instance(volumes=[{"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "s"}}}])
    with pytest.raises(NoGuest, match="secret s not found"):
        files.texts_of(vmi, nothing, nothing)


def test_a_claim_is_its_file_and_one_without_a_disk_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"")
    vmi = instance(volumes=[{"name": "root", "persistentVolumeClaim": {"claimName": "c"}}])
    found = files.prepare(vmi, tmp_path / "guest", Sources({"c": disk}), lambda image: tmp_path)
    assert found == {"root": DiskFile(disk, "raw")}
    with pytest.raises(NoGuest, match="there is no disk in PersistentVolumeClaim c"):
        files.prepare(vmi, tmp_path / "guest", Sources({}), lambda image: tmp_path)


def test_an_empty_disk_is_sparse(tmp_path: Path) -> None:
    vmi = instance(volumes=[{"name": "scratch", "emptyDisk": {"capacity": "1Gi"}}])
    path = files.prepare(vmi, tmp_path, Sources({}), lambda image: tmp_path)["scratch"].path
    assert path.stat().st_size == 1 << 30 and path.stat().st_blocks == 0


def running(vmi: Object, disks: dict[str, DiskFile], nics: dict[str, Nic]) -> Guest:
    guest = Guest("prod", "db", "u", "worker-0", running=True)
    guest.read(domain_xml(vmi, disks, nics, PLACES))
    return guest


def test_only_what_differs_is_plugged_and_nothing_before_it_is_mounted() -> None:
    plugging = pytest.importorskip("virtlab.guests.real.plugging", reason="libvirt-python is not installed")
    vmi = instance(
        {"devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}], "interfaces": [{"name": "default"}]}},
        volumes=[{"name": "root", "containerDisk": {"image": "i"}}],
    )
    guest = running(vmi, {"root": DiskFile(Path("/s/root"), "qcow2")}, {"default": Nic("pods", "02:00:00:00:00:01")})
    vmi["status"]["interfaces"] = [{"name": "default"}]
    assert not plugging.changes(guest, vmi)
    hot = {"name": "data", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}
    vmi["spec"]["volumes"].append(hot)
    vmi["spec"]["domain"]["devices"]["disks"].append({"name": "data", "disk": {"bus": "scsi"}})
    assert not plugging.changes(guest, vmi)
    vmi["status"]["volumeStatus"] = [{"name": "data", "phase": "MountedToPod"}]
    assert [disk["name"] for disk in plugging.changes(guest, vmi).disks] == ["data"]
    vmi["spec"]["domain"]["devices"]["interfaces"][0]["state"] = "down"
    assert [item["name"] for item in plugging.changes(guest, vmi).links] == ["default"]
    vmi["spec"]["domain"]["devices"]["interfaces"] = []
    assert plugging.changes(guest, vmi).gone == [("interface", "default")]


def test_a_guest_that_is_taken_over_keeps_its_address_on_the_pod_network() -> None:
    pytest.importorskip("libvirt")
    from virtlab.guests.real.guests import pod_network_address

    spec = {"networks": [{"name": "lan", "multus": {"networkName": "lan"}}, {"name": "default", "pod": {}}]}
    interfaces = [{"name": "lan", "ipAddress": "192.0.2.7"}, {"name": "default", "ipAddress": "10.128.0.9"}]
    assert pod_network_address({"spec": spec, "status": {"interfaces": interfaces}}) == "10.128.0.9"
    assert pod_network_address({"spec": spec, "status": {"interfaces": interfaces[:1]}}) == ""
    assert pod_network_address({"spec": {}}) == ""
