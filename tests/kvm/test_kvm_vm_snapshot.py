"""Snapshots of a real guest: what was written is there again, and nothing is lost that nobody gave up."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from disks import (
    assert_pattern,
    assert_whole,
    make_disk,
    read_word,
    slow_directory,
    wait_until_written,
    word_in,
    write_word,
)
from guests import Console, Guest, disk_xml, domain_xml, take_away, take_away_all
from modules import call, refusal
from playing import Ansible
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
pytest.importorskip("libvirt_qemu")

PLAYBOOKS = Path(__file__).parent / "kvm_vm_snapshot"
MODULE = "kvm_vm_snapshot"
IMAGES = Path("/var/lib/libvirt/images")
NAME = "snapped"


class Snapped:
    """The machine, and libvirt's own view of it."""

    def __init__(self, host: Host, connection: Any, console: Console) -> None:
        self.host, self.connection, self.console = host, connection, console
        self.options = {"uri": host.uri, "vm": NAME}

    @property
    def domain(self) -> Any:
        return self.connection.lookupByName(NAME)

    def call(self, **options: Any) -> dict[str, Any]:
        return call(MODULE, **self.options, **options)

    def refusal(self, **options: Any) -> str:
        return refusal(MODULE, **self.options, **options).message

    @property
    def names(self) -> list[str]:
        return sorted(self.domain.snapshotListNames())

    @property
    def disk(self) -> Path:
        """Where the host has the file that is written to."""
        xml = self.domain.XMLDesc()
        return self.host.images / Path(xml.split("source file='")[1].split("'")[0]).name

    def restart_daemon(self) -> None:
        """Kill libvirtd, if it still runs, and start it again."""
        self.host.kill_daemon()
        until = time.monotonic() + 30
        while self.host.daemon_running:
            assert time.monotonic() < until
            time.sleep(0.02)
        self.host.start_daemon()
        with suppress(libvirt.libvirtError):
            self.connection.close()
        self.connection = libvirt.open(self.host.uri)

    def clear(self) -> None:
        """Without snapshots, on its first layer."""
        call(MODULE, **self.options, state="merged")
        for name in self.names:
            self.domain.snapshotLookupByName(name).delete()
        assert self.disk.name == f"{NAME}.qcow2"


@pytest.fixture(scope="module")
def _snapped(alpha: Host, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapped]:
    console = Console(tmp_path_factory.mktemp(NAME) / "console")
    make_disk(alpha.images / f"{NAME}.qcow2")
    disk = disk_xml(IMAGES / f"{NAME}.qcow2").replace("</disk>", "<alias name='ua-root'/></disk>")
    machine = Snapped(alpha, libvirt.open(alpha.uri), console)
    machine.connection.defineXML(domain_xml(NAME, tiny, console.path, disks=disk)).create()
    console.wait_for("GUEST-READY")
    yield machine
    take_away_all(machine.connection, (NAME,))
    machine.connection.close()


@pytest.fixture
def snapped(_snapped: Snapped) -> Iterator[Snapped]:
    """A running machine without snapshots."""
    yield _snapped
    if not _snapped.domain.isActive():
        _snapped.domain.create()
        _snapped.console.wait_for("GUEST-READY", after=len(_snapped.console.text))
    _snapped.clear()


@pytest.fixture
def other_layers() -> Callable[[Host], list[str]]:
    """The files of the machine beside its first layer."""

    def found(host: Host) -> list[str]:
        return sorted(path.name for path in host.images.glob(f"{NAME}*") if path.name != f"{NAME}.qcow2")

    return found


Layers = Callable[[Host], list[str]]


def test_the_playbook_takes_snapshots_and_its_second_run_none(snapped: Snapped, ansible: Ansible) -> None:
    variables = {"uri": snapped.host.uri, "vm": NAME}
    first = ansible.play(PLAYBOOKS / "main.yml", "--diff", **variables)
    assert first.returncode == 0 and first.changed == 2, first.output
    second = ansible.play(PLAYBOOKS / "main.yml", **variables)
    assert second.returncode == 0 and second.changed == 0, second.output


def test_a_running_guest_goes_back_to_an_internal_snapshot_with_its_memory(snapped: Snapped) -> None:
    write_word(snapped.domain, "beforexx")
    assert snapped.call(name="one", description="The first")["changed"]
    [taken] = snapped.call(name="one")["snapshots"]
    assert (taken["state"], taken["memory"], taken["external"], taken["description"]) == (
        "running",
        True,
        False,
        "The first",
    )
    write_word(snapped.domain, "afterxxx")
    assert snapped.call(name="one", state="reverted")["changed"]
    assert read_word(snapped.domain) == "beforexx"
    assert snapped.call(name="one", state="absent")["deleted"] == ["one"]
    assert not snapped.call(name="one", state="absent")["changed"]


def test_newer_internal_snapshots_stay_when_the_machine_goes_back(snapped: Snapped) -> None:
    snapped.call(name="one")
    snapped.call(name="two")
    result = snapped.call(name="one", state="reverted")
    assert result["kept_newer"] == ["two"] and snapped.names == ["one", "two"]


def test_deleting_an_external_snapshot_loses_nothing(snapped: Snapped, other_layers: Layers) -> None:
    write_word(snapped.domain, "beforexx")
    result = snapped.call(name="layer", external=True)
    assert result["snapshots"][0]["files"] == [f"{IMAGES}/{NAME}-root.layer.qcow2"]
    assert snapped.disk.name == f"{NAME}-root.layer.qcow2"
    assert word_in(snapped.host.images / f"{NAME}.qcow2") == "beforexx"
    write_word(snapped.domain, "afterxxx")
    assert snapped.call(name="layer", state="absent")["changed"]
    assert read_word(snapped.domain) == "afterxxx" == word_in(snapped.disk)
    assert other_layers(snapped.host) == []
    assert_whole(snapped.disk)


def test_all_layers_become_one_file_while_the_guest_counts_on(snapped: Snapped, other_layers: Layers) -> None:
    for number in ("1", "2", "3"):
        snapped.call(name=f"layer{number}", external=True, memory=number == "2")
        write_word(snapped.domain, f"layerxx{number}")
    assert len(other_layers(snapped.host)) == 4
    assert snapped.call(check_mode=True, state="merged")["changed"] and len(snapped.names) == 3
    result = snapped.call(state="merged")
    assert sorted(result["deleted"]) == ["layer1", "layer2", "layer3"] and result["snapshots"] == []
    assert read_word(snapped.domain) == "layerxx3" and other_layers(snapped.host) == []
    assert not snapped.call(state="merged")["changed"]
    assert_whole(snapped.disk)
    snapped.console.wait_for_ticks()


@pytest.mark.parametrize(("runs", "state"), [(True, "merged"), (True, "absent"), (False, "merged")])
def test_the_layer_of_a_disk_that_was_detached_since_is_kept(
    snapped: Snapped, other_layers: Layers, runs: bool, state: str
) -> None:
    second = snapped.host.images / "detached.qcow2"
    make_disk(second)
    snapped.domain.attachDeviceFlags(disk_xml(IMAGES / second.name, "vdb"), 3)
    snapped.call(name="layer", external=True)
    write_word(snapped.domain, f"detach{int(runs)}{state[0]}")
    call("kvm_vm", uri=snapped.host.uri, name=NAME, disks=[{"name": "vdb", "state": "absent"}])
    if not runs:
        snapped.domain.destroy()
    told: list[str] = []
    result = snapped.call(state=state, name="layer", told=told)
    assert result["deleted"] == ["layer"] and snapped.names == []
    assert word_in(snapped.disk) == f"detach{int(runs)}{state[0]}" and snapped.disk.name == f"{NAME}.qcow2"
    assert other_layers(snapped.host) == [f"{NAME}-vdb.layer.qcow2"]
    assert f"{NAME}-vdb.layer.qcow2 is kept" in " ".join(told)
    for path in (snapped.host.images / f"{NAME}-vdb.layer.qcow2", second):
        path.unlink()


def test_the_disks_of_a_saved_guest_stay_as_its_memory_knows_them(snapped: Snapped) -> None:
    snapped.domain.managedSave()
    xml = snapped.domain.XMLDesc()
    try:
        assert "saved while it ran" in snapped.refusal(name="layer", external=True)
        assert "saved while it ran" in snapped.refusal(name="inside")
        assert snapped.domain.XMLDesc() == xml and snapped.names == []
        pool = {"uri": snapped.host.uri, "name": "saved-guests"}
        call("kvm_pool", **pool, type="dir", target=str(IMAGES), state="active")
        volume = {"uri": snapped.host.uri, "pool": "saved-guests", "name": f"{NAME}.qcow2"}
        for change in ({"capacity": "64Mi"}, {"state": "wiped"}, {"state": "absent"}):
            assert f"in use by {NAME}, saved" in refusal("kvm_volume", **volume, **change).message
        call("kvm_pool", **pool, state="absent")
    finally:
        snapped.domain.create()


def test_layers_of_a_machine_that_is_off_are_merged_too(snapped: Snapped, other_layers: Layers) -> None:
    write_word(snapped.domain, "offlinex")
    snapped.domain.destroy()
    snapped.call(name="one", external=True)
    snapped.call(name="two", external=True)
    assert "has newer ones (two)" in snapped.refusal(name="one", state="absent")
    assert sorted(snapped.call(state="merged")["deleted"]) == ["one", "two"]
    assert other_layers(snapped.host) == [] and word_in(snapped.disk) == "offlinex"


def test_file_systems_are_frozen_by_the_agent(snapped: Snapped) -> None:
    assert snapped.call(name="frozen", external=True, quiesce=True)["changed"]


def test_without_an_agent_quiesce_says_so(alpha: Host, tiny: Tiny, guest: Callable[..., Guest]) -> None:
    disk = alpha.images / "mute.qcow2"
    make_disk(disk)
    with closing(libvirt.open(alpha.uri)) as connection:
        xml = domain_xml("mute", tiny, Path("/dev/null"), disks=disk_xml(IMAGES / "mute.qcow2"))
        start, end = xml.index("<channel"), xml.index("</channel>") + len("</channel>")
        domain = connection.defineXML(xml[:start] + xml[end:])
        domain.create()
        try:
            options = {"uri": alpha.uri, "vm": "mute", "name": "one", "external": True, "quiesce": True}
            assert "has no channel for the guest agent" in refusal(MODULE, **options).message
            assert domain.snapshotListNames() == []
        finally:
            take_away(domain)
            disk.unlink()


def test_an_agent_that_does_not_answer_is_told_before_anything_is_done(alpha: Host, tiny: Tiny) -> None:
    disk = alpha.images / "asleep.qcow2"
    make_disk(disk)
    with closing(libvirt.open(alpha.uri)) as connection:
        domain = connection.defineXML(domain_xml("asleep", tiny, Path("/dev/null"), disks=disk_xml(IMAGES / disk.name)))
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        try:
            options = {"uri": alpha.uri, "vm": "asleep", "name": "one", "external": True, "quiesce": True}
            assert "does not answer (disconnected)" in refusal(MODULE, **options).message
        finally:
            take_away(domain)
            disk.unlink()


def test_going_back_to_an_external_snapshot_is_refused_where_libvirt_cannot(snapped: Snapped) -> None:
    if snapped.connection.getLibVersion() >= 9_009_000:
        pytest.skip("this libvirt goes back to external snapshots")
    snapped.call(name="layer", external=True)
    message = snapped.refusal(name="layer", state="reverted")
    assert "from 9.9 on" in message and f"{IMAGES}/{NAME}.qcow2" in message


def test_newer_layers_are_lost_only_when_told(snapped: Snapped, other_layers: Layers) -> None:
    write_word(snapped.domain, "basexxxx")
    snapped.call(name="base")
    snapped.call(name="layer", external=True)
    write_word(snapped.domain, "newerxxx")
    message = snapped.refusal(name="base", state="reverted")
    assert "would lose newer snapshots" in message and "layer" in message
    assert read_word(snapped.domain) == "newerxxx"
    assert snapped.call(name="base", state="reverted", discard_newer=True)["deleted"] == ["layer"]
    assert read_word(snapped.domain) == "basexxxx" and other_layers(snapped.host) == []
    assert snapped.names == ["base"]


def test_everything_is_refused_while_a_block_job_runs(snapped: Snapped) -> None:
    copy = f"<disk type='file'><source file='{IMAGES}/{NAME}-copy'/><driver type='qcow2'/></disk>"
    snapped.call(name="there")
    domain = snapped.domain
    domain.blockCopy("vda", copy, {"bandwidth": 1024**2}, libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB)
    try:
        for options in (
            {"name": "new"},
            {"name": "new", "external": True},
            {"name": "there", "state": "absent"},
            {"name": "there", "state": "reverted"},
        ):
            assert "a block copy of disk root is under way" in snapped.refusal(**options)
    finally:
        domain.blockJobAbort("vda")
        (snapped.host.images / f"{NAME}-copy").unlink()
    assert snapped.names == ["there"]


def test_only_the_series_is_thinned_out(snapped: Snapped) -> None:
    snapped.domain.snapshotCreateXML("<domainsnapshot><name>by-hand</name></domainsnapshot>")
    for number in range(3):
        if number == 2:
            checked = snapped.call(check_mode=True, name="auto2", series="auto", keep=2)
            assert checked["deleted"] == ["auto0"]
        result = snapped.call(name=f"auto{number}", series="auto", keep=2, description="By night")
    assert result["deleted"] == ["auto0"] and snapped.names == ["auto1", "auto2", "by-hand"]
    assert [item["series"] for item in result["snapshots"]] == [None, "auto", "auto"]
    assert result["snapshots"][1]["description"] == "By night"


def test_a_file_that_is_there_is_not_overwritten(snapped: Snapped) -> None:
    wanted = snapped.host.images / f"{NAME}-root.mine.qcow2"
    wanted.write_text("mine")
    assert "exists already" in snapped.refusal(name="mine", external=True)
    assert wanted.read_text() == "mine" and snapped.names == []
    wanted.unlink()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b"}, "leave out slashes"),
        ({"name": "a", "memory": True}, "always has its memory"),
        ({"name": "a", "keep": 3}, "name the series"),
        ({"name": "a", "series": "s", "keep": 0}, "less than 1"),
        ({"name": "a", "external": True, "disks": ["none"]}, "has no disk none; it has root"),
        ({"name": "a", "state": "reverted"}, "has no snapshot a"),
        ({"name": "a", "state": "absent", "external": True}, "means nothing with state: absent"),
        ({"state": "absent"}, "name the snapshot"),
    ],
)
def test_bad_input_says_what_to_do(snapped: Snapped, options: dict[str, Any], said: str) -> None:
    assert said in snapped.refusal(**options)


def test_a_raw_disk_has_no_internal_snapshot(alpha: Host, tiny: Tiny) -> None:
    disk = alpha.images / "raw.img"
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", str(disk), "1M"], check=True)
    with closing(libvirt.open(alpha.uri)) as connection:
        xml = domain_xml("raw", tiny, Path("/dev/null"), disks=disk_xml(IMAGES / "raw.img", format="raw"))
        domain = connection.defineXML(xml)
        try:
            assert "only qcow2 holds one" in refusal(MODULE, uri=alpha.uri, vm="raw", name="one").message
        finally:
            domain.undefine()
            disk.unlink()


@pytest.mark.parametrize("kind", ["internal", "external with memory"])
def test_libvirtd_that_is_killed_leaves_a_machine_that_the_next_run_snapshots(
    snapped: Snapped, kind: str, other_layers: Layers
) -> None:
    write_word(snapped.domain, "wholexxx")
    options: dict[str, Any] = {"name": "cut-off", "external": kind != "internal", "memory": kind != "internal"}
    attempt = threading.Thread(target=lambda: suppressed(snapped, options))
    with slow_directory(snapped.host) as slow:
        if kind == "internal":
            attempt.start()
            # It takes some tenths of a second, most of which the guest stands still.
            until = time.monotonic() + 30
            while attempt.is_alive() and time.monotonic() < until:
                with suppress(libvirt.libvirtError):
                    if snapped.domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
                        break
        else:
            options["directory"] = f"{IMAGES}/{slow.name}"
            attempt.start()
            wait_until_written(slow, "*.memory")
        snapped.restart_daemon()
        attempt.join(60)
        snapped.console.wait_for_ticks()
        assert read_word(snapped.domain) == "wholexxx"
        repaired = snapped.call(**options)
        assert snapped.names == ["cut-off"]
        assert kind == "internal" or repaired["changed"]
        assert_pattern(snapped.domain)
        assert snapped.domain.isActive()
        snapped.clear()


def test_a_playbook_that_is_killed_leaves_a_machine_that_the_next_run_snapshots(
    snapped: Snapped, ansible: Ansible, tmp_path: Path
) -> None:
    write_word(snapped.domain, "killedxx")
    options: dict[str, Any] = {"name": "cut-off", "external": True, "memory": True}
    playbook = tmp_path / "snapshot.yml"
    with slow_directory(snapped.host) as slow:
        options["directory"] = f"{IMAGES}/{slow.name}"
        task = {"name": "It takes its time", "virtstack.core.kvm_vm_snapshot": {**snapped.options, **options}}
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
        with ansible.begun(playbook) as begun:
            wait_until_written(slow, "*.memory")
            begun.kill()
        assert "another job of libvirt is under way (snapshot)" in snapped.refusal(name="another")
        # libvirt ends the snapshot without its task, and the next run finds what it would have made.
        until = time.monotonic() + 120
        while snapped.domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
            assert time.monotonic() < until
            time.sleep(0.05)
        snapped.console.wait_for_ticks()
        assert read_word(snapped.domain) == "killedxx"
        assert not snapped.call(**options)["changed"]
        assert snapped.names == ["cut-off"]
        assert_pattern(snapped.domain)
        snapped.clear()


def suppressed(snapped: Snapped, options: dict[str, Any]) -> None:
    with suppress(Exception):
        call(MODULE, **snapped.options, **options)


def test_a_merge_that_was_cut_off_is_ended_by_the_next_run(snapped: Snapped, other_layers: Layers) -> None:
    snapped.call(name="layer", external=True)
    write_word(snapped.domain, "mergedxx")
    # As a task leaves it that was killed while it merged.
    snapped.domain.blockCommit("vda", None, None, 1, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)
    snapped.restart_daemon()
    assert "a block commit of disk root is under way" in snapped.refusal(name="another")
    assert snapped.call(state="merged")["deleted"] == ["layer"]
    assert read_word(snapped.domain) == "mergedxx" and other_layers(snapped.host) == []
