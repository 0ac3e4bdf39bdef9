"""A domain's XML as everything here reads it, and what is kept in its metadata."""

from __future__ import annotations

from ansible_collections.virtstack.core.plugins.module_utils.kvm.kept import METADATA, Kept, element, keep, kept
from ansible_collections.virtstack.core.plugins.module_utils.kvm.view import bytes_of, device_name, view
from ansible_collections.virtstack.core.plugins.module_utils.kvm.xml import ensure, make, parse, written
from domains import config, live


def test_devices_are_called_by_their_aliases_else_by_what_they_have() -> None:
    found = view(config())
    assert [disk.name for disk in found.disks] == ["root", "sda"]
    assert [interface.name for interface in found.interfaces] == ["default"]
    assert found.disk("root") is found.disk("root") or found.disk("vda") is not None
    assert found.disk("none") is None and found.interface("none") is None


def test_an_interface_without_a_name_is_called_by_its_place() -> None:
    domain = parse("<domain><devices><interface/><interface><alias name='net7'/></interface></devices></domain>")
    assert [interface.name for interface in view(domain).interfaces] == ["net0", "net1"]


def test_the_size_of_a_machine_is_read() -> None:
    found = view(config())
    assert (found.memory, found.vcpus, found.vcpus_maximum) == (256 * 1024**2, 2, 2)
    assert dict(found.topology) == {"sockets": 1, "cores": 2, "threads": 1}
    assert not found.efi and not found.tpm


def test_vcpus_that_do_not_run_are_room() -> None:
    found = view(parse("<domain><vcpu current='2'>8</vcpu></domain>"))
    assert (found.vcpus, found.vcpus_maximum) == (2, 8)


def test_memory_is_read_in_any_unit() -> None:
    sizes = {"KiB": 1024, "MiB": 1024**2, "GB": 1000**3, "b": 1}
    for unit, size in sizes.items():
        assert bytes_of(make("memory", "3", unit=unit)) == 3 * size
    assert bytes_of(make("memory", "3")) == 3 * 1024
    assert bytes_of(None) == 0


def test_efi_is_known_by_its_selection_and_by_its_loader() -> None:
    assert view(parse("<domain><os firmware='efi'/></domain>")).efi
    assert view(parse("<domain><os><loader type='pflash'>/x</loader></os></domain>")).efi
    assert not view(parse("<domain><os><loader type='rom'>/x</loader></os></domain>")).efi


def test_sources_are_read_by_their_type() -> None:
    domain = parse(
        """<domain><devices>
        <disk type='volume'><source pool='p' volume='v'/><target dev='vda'/></disk>
        <disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>
        <disk type='file' device='cdrom'><target dev='sda'/></disk>
        <interface type='bridge'><source bridge='br0'/><link state='down'/></interface>
        <interface type='direct'><source dev='eth0' mode='bridge'/></interface></devices></domain>"""
    )
    found = view(domain)
    assert [(disk.pool, disk.source) for disk in found.disks] == [("p", "v"), (None, "/dev/x"), (None, None)]
    assert [(item.type, item.source, item.link) for item in found.interfaces] == [
        ("bridge", "br0", "down"),
        ("direct", "eth0", "up"),
    ]


def test_an_alias_of_libvirt_is_no_name() -> None:
    assert device_name(parse("<disk><alias name='virtio-disk0'/></disk>")) is None
    assert device_name(parse("<disk/>")) is None


VALUES = Kept(
    labels={"app": "db"},
    annotations={"note": "a < b & ü"},
    settings={"run_strategy": "Always", "termination_grace_period": "30", "hostname": "db"},
    volumes={"root": "default/db-root"},
    making={"data": "default/db-data"},
)


def test_what_is_kept_is_read_again_also_after_it_was_written() -> None:
    domain = config()
    keep(domain, VALUES)
    again = parse(written(domain))
    assert kept(again) == VALUES
    assert (VALUES.run_strategy, VALUES.grace_period, VALUES.hostname) == ("Always", 30, "db")


def test_keeping_the_same_again_leaves_the_document_alone() -> None:
    domain = config()
    keep(domain, VALUES)
    before = ensure(domain, "metadata")[0]
    keep(domain, VALUES)
    assert ensure(domain, "metadata")[0] is before
    keep(domain, Kept())
    assert kept(domain) == Kept() and len(domain.findall(METADATA)) == 1


def test_what_others_keep_in_the_metadata_stays() -> None:
    domain = parse("<domain><metadata><o:os xmlns:o='http://libosinfo.org/x'>rhel</o:os></metadata></domain>")
    keep(domain, VALUES)
    assert next(child.text for child in ensure(domain, "metadata")) == "rhel"


def test_what_somebody_made_unreadable_is_not_there() -> None:
    domain = config()
    ensure(domain, "metadata").append(element(VALUES))
    for part in domain.findall(f"{METADATA}/*"):
        part.text = "no json" if part.tag.endswith("labels") else "[1]"
    assert kept(domain) == Kept()


def test_a_running_guest_is_read_as_its_machine() -> None:
    ours, theirs = view(live()), view(config())
    assert [disk.name for disk in ours.disks] == [disk.name for disk in theirs.disks]
    assert ours.interfaces[0].target == "vnet0"
