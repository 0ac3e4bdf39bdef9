"""Backups of a real guest: what is restored is what was there, and what was cut off is no backup."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from disks import assert_pattern, assert_whole, make_disk, read_word, word_in, write_word
from guests import Console, disk_xml, domain_xml, take_away, take_away_all
from modules import call, refusal
from playing import Ansible
from virtlab.hosts.host import Host
from virtlab.tiny.image import Tiny

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")
pytest.importorskip("libvirt_qemu")

PLAYBOOKS = Path(__file__).parent / "kvm_vm_backup"
MODULE = "kvm_vm_backup"
IMAGES = Path("/var/lib/libvirt/images")
NAME = "saved"


class Saved:
    """The machine, and the directory with its backups."""

    def __init__(self, host: Host, console: Console, directory: Path) -> None:
        self.host, self.console, self.directory = host, console, directory
        self.connection = libvirt.open(host.uri)

    @property
    def options(self) -> dict[str, Any]:
        return {"uri": self.host.uri, "vm": NAME, "directory": str(self.directory)}

    @property
    def domain(self) -> Any:
        return self.connection.lookupByName(NAME)

    def call(self, **options: Any) -> dict[str, Any]:
        return call(MODULE, **{**self.options, **self._disks(options), **options})

    def refusal(self, **options: Any) -> str:
        return refusal(MODULE, **{**self.options, **self._disks(options), **options}).message

    @staticmethod
    def _disks(options: dict[str, Any]) -> dict[str, Any]:
        """The other disk is for backups that take their time."""
        return {"disks": ["root"]} if options.get("state", "present") == "present" else {}

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir()) if self.directory.exists() else []

    @property
    def checkpoints(self) -> list[str]:
        return [item.getName() for item in self.domain.listAllCheckpoints()]

    def start(self) -> None:
        if not self.domain.isActive():
            before = len(self.console.text)
            self.domain.create()
            self.console.wait_for("GUEST-READY", after=before)

    def restart_daemon(self) -> None:
        self.host.kill_daemon()
        until = time.monotonic() + 30
        while self.host.daemon_running:
            assert time.monotonic() < until
            time.sleep(0.02)
        self.host.start_daemon()
        with suppress(libvirt.libvirtError):
            self.connection.close()
        self.connection = libvirt.open(self.host.uri)

    def ask_qemu(self, command: str, **arguments: Any) -> Any:
        import libvirt_qemu

        asked = json.dumps({"execute": command, "arguments": arguments})
        answer = json.loads(libvirt_qemu.qemuMonitorCommand(self.domain, asked, 0))
        assert "error" not in answer, (asked, answer)
        return answer["return"]

    def slow_down(self, bytes_per_second: int) -> None:
        """Let the guest's other disk be read slowly, or with 0 at its own speed, by backups that run or are to begin.

        libvirt has no such limit for backups, and one that is set after their begin may come too late.
        """
        nodes = {node["node-name"]: node for node in self.ask_qemu("query-named-block-nodes")}
        if "slow" not in nodes:
            [disk] = [node for name, node in nodes.items() if node["drv"] == "qcow2" and "bulk" in node["file"]]
            below = disk["node-name"].replace("format", "storage")
            self.ask_qemu("object-add", **{"qom-type": "throttle-group", "id": "limit"})
            slow = {"driver": "throttle", "node-name": "slow", "throttle-group": "limit", "file": below}
            self.ask_qemu("blockdev-add", **slow)
            again = {"driver": "qcow2", "node-name": disk["node-name"], "read-only": False, "file": "slow"}
            self.ask_qemu("blockdev-reopen", options=[{**again, "cache": {"direct": True, "no-flush": False}}])
        limits = {"bps-total": bytes_per_second}
        self.ask_qemu("qom-set", path="/objects/limit", property="limits", value=limits)

    def await_backup(self) -> None:
        """Wait until QEMU copies; fails where no backup begins in a minute."""
        until = time.monotonic() + 60
        while not any(job["type"] == "backup" for job in self.ask_qemu("query-jobs")):
            assert time.monotonic() < until, "no backup began"
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until no backup is under way any more: one that was cancelled ends with what it was reading."""
        self.slow_down(0)
        until = time.monotonic() + 120
        while self.domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE or self.ask_qemu("query-jobs"):
            assert time.monotonic() < until, self.ask_qemu("query-jobs")
            time.sleep(0.02)


@pytest.fixture(scope="module")
def _saved(alpha: Host, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    yield from saved_on(alpha, tiny, tmp_path_factory.mktemp(NAME))


def saved_on(host: Host, tiny: Tiny, directory: Path) -> Iterator[Saved]:
    """The machine on a host, with a disk that is quick and one that is large."""
    make_disk(host.images / f"{NAME}.qcow2")
    machine = Saved(host, Console(directory / "console"), directory)
    bulk = host.images / f"{NAME}-bulk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=1.1", bulk, "400M"], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 1 0 400M", bulk], check=True, capture_output=True)
    disk = "".join(
        disk_xml(IMAGES / file, target).replace("</disk>", f"<alias name='ua-{name}'/></disk>")
        for file, target, name in ((f"{NAME}.qcow2", "vda", "root"), (bulk.name, "vdb", "bulk"))
    )
    machine.connection.defineXML(domain_xml(NAME, tiny, machine.console.path, disks=disk)).create()
    machine.console.wait_for("GUEST-READY")
    yield machine
    take_away_all(machine.connection, (NAME,))
    machine.connection.close()


@pytest.fixture
def saved(_saved: Saved, tmp_path: Path) -> Iterator[Saved]:
    """A running machine without backups and checkpoints."""
    _saved.directory = tmp_path / "backups"
    _saved.start()
    xml = _saved.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    yield _saved
    if NAME not in [domain.name() for domain in _saved.connection.listAllDomains()]:
        _saved.connection.defineXML(xml)
    _saved.start()
    _saved.settle()
    for checkpoint in _saved.domain.listAllCheckpoints():
        checkpoint.delete()


def test_the_playbook_makes_backups_and_its_second_run_none(saved: Saved, ansible: Ansible) -> None:
    first = ansible.play(PLAYBOOKS / "main.yml", "--diff", **saved.options)
    assert first.returncode == 0 and first.changed == 2, first.output
    second = ansible.play(PLAYBOOKS / "main.yml", **saved.options)
    assert second.returncode == 0 and second.changed == 0, second.output


def test_each_backup_of_a_chain_is_the_disk_of_its_time(saved: Saved) -> None:
    for number, type_ in enumerate(("full", "incremental", "incremental")):
        write_word(saved.domain, f"backup{number}x")
        result = saved.call(name=f"b{number}")
        assert result["backup"]["type"] == type_, result["reason"]
        assert saved.checkpoints == [result["backup"]["checkpoint"]]
    assert [item["parent"] for item in result["backups"]] == [None, "b0", "b1"]
    assert {item["chain"] for item in result["backups"]} == {"b0"}
    sizes = [item["size"] for item in result["backups"]]
    assert sizes[1] < sizes[0] / 10 and all(item["disks"][0]["sha256"] for item in result["backups"])
    for number in range(3):
        file = saved.directory / f"{NAME}.b{number}.root.qcow2"
        assert word_in(file) == f"backup{number}x"
        assert_whole(file)
    manifest = json.loads((saved.directory / f"{NAME}.b2.json").read_text())
    assert manifest["parent"] == "b1" and manifest["vm"] == NAME and "<domain" in manifest["domain"]
    # Who looks into the directory finds nothing that is open to all.
    assert {path.stat().st_mode & 0o077 for path in saved.directory.iterdir()} == {0}


def test_what_is_there_is_left_as_it_is(saved: Saved) -> None:
    assert saved.call(name="one")["changed"]
    before = {path: path.stat().st_mtime_ns for path in saved.directory.iterdir()}
    assert not saved.call(name="one")["changed"]
    assert {path: path.stat().st_mtime_ns for path in saved.directory.iterdir()} == before


def test_check_mode_makes_nothing(saved: Saved) -> None:
    assert saved.call(check_mode=True, name="one")["changed"]
    assert not saved.directory.exists() and saved.checkpoints == []


def test_a_machine_is_restored_with_its_disks_of_then(saved: Saved) -> None:
    write_word(saved.domain, "thenxxxx")
    saved.call(name="full")
    write_word(saved.domain, "laterxxx")
    saved.call(name="later")
    write_word(saved.domain, "lostxxxx")
    assert "runs; it is not restored" in saved.refusal(name="full", state="restored")
    saved.domain.destroy()
    checked = saved.call(check_mode=True, name="later", state="restored")
    assert checked["changed"] and not (saved.host.images / f"{NAME}-root.later.qcow2").exists()
    for name, word in (("later", "laterxxx"), ("full", "thenxxxx")):
        result = saved.call(name=name, state="restored")
        assert result["restored"] == {"root": f"{IMAGES}/{NAME}-root.{name}.qcow2"}
        # What it had before is still there.
        assert (saved.host.images / Path(result["replaced"]["root"]).name).exists()
        assert word_in(saved.host.images / f"{NAME}-root.{name}.qcow2") == word
    assert saved.checkpoints == []
    saved.start()
    assert read_word(saved.domain) == "thenxxxx"
    assert_pattern(saved.domain)
    assert saved.call(name="after")["reason"].startswith("nothing keeps track")


def test_a_machine_that_is_gone_is_defined_again(saved: Saved) -> None:
    write_word(saved.domain, "gonexxxx")
    saved.call(name="full")
    uuid = saved.domain.UUIDString()
    saved.domain.destroy()
    saved.domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
    result = saved.call(state="restored")
    assert result["defined"] and result["replaced"] == {}
    assert saved.domain.UUIDString() == uuid
    saved.start()
    assert read_word(saved.domain) == "gonexxxx"


def test_files_alone_are_restored_beside_a_running_machine(saved: Saved, tmp_path: Path) -> None:
    write_word(saved.domain, "beside__".replace("_", "x"))
    saved.call(name="full")
    place = tmp_path / "files"
    place.mkdir()
    result = saved.call(state="restored", files_only=True, restore_directory=str(place))
    assert word_in(Path(result["restored"]["root"])) == "besidexx"
    again = saved.call(state="restored", files_only=True, restore_directory=str(place))
    assert again["restored"]["root"] != result["restored"]["root"]
    assert sorted(path.suffix for path in place.iterdir()) == [".qcow2", ".qcow2"]


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing", "without its parent"])
def test_a_damaged_chain_is_not_restored(saved: Saved, damage: str) -> None:
    saved.call(name="full")
    saved.call(name="more")
    file = saved.directory / f"{NAME}.full.root.qcow2"
    if damage == "changed":
        with file.open("r+b") as opened:
            opened.seek(file.stat().st_size // 2)
            opened.write(b"x")
    elif damage == "cut short":
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
    elif damage == "missing":
        file.unlink()
    else:
        (saved.directory / f"{NAME}.full.json").unlink()
    saved.domain.destroy()
    message = saved.refusal(name="more", state="restored")
    said = {"changed": "another content", "cut short": "bytes instead of", "missing": "is missing"}
    assert said.get(damage, "builds on full, which is not there") in message
    assert not (saved.host.images / f"{NAME}-root.more.qcow2").exists()


def test_old_chains_are_thinned_out_as_a_whole(saved: Saved) -> None:
    for number in range(5):
        result = saved.call(name=f"b{number}", full_every=2, keep=2, checksums=False)
    assert [item["type"] for item in result["backups"]] == ["full", "incremental", "full"]
    assert [item["name"] for item in result["backups"]] == ["b2", "b3", "b4"]
    assert result["deleted"] == ["b1", "b0"]
    assert len(saved.files) == 6
    assert saved.call(only_prune=True, keep=1)["deleted"] == ["b3", "b2"]


def test_a_backup_that_others_build_on_is_not_deleted(saved: Saved) -> None:
    saved.call(name="full")
    saved.call(name="more")
    assert "is needed by more" in saved.refusal(name="full", state="absent")
    assert saved.call(name="more", state="absent")["deleted"] == ["more"]
    assert saved.checkpoints == []
    assert not saved.call(name="more", state="absent")["changed"]
    assert saved.call(name="full", state="absent")["changed"] and saved.files == []


def test_a_machine_that_is_off_is_copied(saved: Saved) -> None:
    write_word(saved.domain, "offxxxxx")
    saved.domain.destroy()
    assert "needs a running guest" in saved.refusal(name="off", type="incremental")
    result = saved.call(name="off")
    assert result["backup"]["type"] == "full" and result["backup"]["checkpoint"] is None
    assert word_in(saved.directory / f"{NAME}.off.root.qcow2") == "offxxxxx"


def test_disks_that_do_not_keep_track_are_refused_with_what_to_do(alpha: Host, tiny: Tiny, tmp_path: Path) -> None:
    disk = alpha.images / "old.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", str(disk), "4M"], check=True)
    connection = libvirt.open(alpha.uri)
    domain = connection.defineXML(domain_xml("old", tiny, Path("/dev/null"), disks=disk_xml(IMAGES / "old.qcow2")))
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        options = {"uri": alpha.uri, "vm": "old", "directory": str(tmp_path / "b")}
        message = refusal(MODULE, **options).message
        assert "qcow2 of compat 0.10" in message and "qemu-img amend -o compat=1.1" in message
        assert call(MODULE, **options, type="full")["backup"]["checkpoint"] is None
    finally:
        take_away(domain)
        connection.close()
        disk.unlink()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b"}, "letters, digits"),
        ({"directory": "backups"}, "no absolute path"),
        ({"vm": "nobody"}, "There is no machine nobody"),
        ({"disks": ["none"]}, "has no disk none; it has root, bulk"),
        ({"type": "incremental"}, "there is no backup of it"),
        ({"keep": 0}, "less than 1"),
        ({"state": "absent"}, "name the backup"),
        ({"state": "restored", "keep": 1}, "means nothing with state: restored"),
        ({"name": "none", "state": "restored"}, "There is no backup"),
    ],
)
def test_bad_input_says_what_to_do(saved: Saved, options: dict[str, Any], said: str) -> None:
    saved.directory.mkdir()
    assert said in saved.refusal(**options)
    assert saved.files == []


def test_a_job_of_somebody_else_is_left_alone(saved: Saved) -> None:
    target = saved.host.images / "foreign.qcow2"
    saved.slow_down(1024**2)
    saved.domain.backupBegin(
        f"<domainbackup><disks><disk name='vdb' type='file'><target file='{IMAGES}/foreign.qcow2'/></disk>"
        "<disk name='vda' backup='no'/></disks></domainbackup>",
        None,
    )
    try:
        assert "another job of libvirt is under way (backup)" in saved.refusal(name="one")
        assert saved.domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
    finally:
        saved.domain.abortJob()
        saved.settle()
        target.unlink(missing_ok=True)


def begin_and(saved: Saved, cut_off: str) -> None:
    """Begin a backup that takes its time, and cut it off."""
    saved.slow_down(1024**2)
    attempt = threading.Thread(target=lambda: _suppressed(saved))
    attempt.start()
    saved.await_backup()
    if cut_off == "libvirtd":
        saved.restart_daemon()
    else:
        saved.domain.destroy()
    attempt.join(120)
    assert not attempt.is_alive()


def _suppressed(saved: Saved) -> None:
    with suppress(Exception):
        call(MODULE, **saved.options, name="cut-off", disks=["bulk"])


def finish(saved: Saved, **options: Any) -> dict[str, Any]:
    """The result of a task that finds a slow backup under way; it gets its own speed once the task has seen it."""
    told: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(saved.call, told=told, **options)
        until = time.monotonic() + 60
        while not waiting.done() and not any("is under way already" in line for line in told):
            assert time.monotonic() < until, told
            time.sleep(0.02)
        saved.slow_down(0)
        return waiting.result(120)


@pytest.mark.parametrize("cut_off", ["libvirtd", "guest"])
def test_what_was_cut_off_is_no_backup_until_the_next_run_has_made_one(saved: Saved, cut_off: str) -> None:
    write_word(saved.domain, "cutoffxx")
    begin_and(saved, cut_off)
    assert not (saved.directory / f"{NAME}.cut-off.json").exists()
    if cut_off == "libvirtd":
        saved.console.wait_for_ticks()
        assert read_word(saved.domain) == "cutoffxx"
        result = finish(saved, name="cut-off", disks=["root", "bulk"])
    else:
        saved.start()
        result = saved.call(name="cut-off", disks=["root", "bulk"])
    assert result["changed"] and [item["name"] for item in result["backups"]] == ["cut-off"], result
    if cut_off == "libvirtd":
        # QEMU went on, and the next run has seen to it that it became a backup after all.
        assert "was finished" in result["repaired"][0]
        parts = ["bulk.qcow2", "json"]
    else:
        assert word_in(saved.directory / f"{NAME}.cut-off.root.qcow2") == "cutoffxx"
        parts = ["bulk.qcow2", "json", "root.qcow2"]
    assert saved.files == [f"{NAME}.cut-off.{part}" for part in parts]
    assert len(saved.checkpoints) == 1


def test_a_backup_that_went_on_without_its_task_is_waited_for_and_kept(saved: Saved, ansible: Ansible) -> None:
    import os
    import signal

    from playing import executable

    variables = json.dumps({**saved.options, "name": "alone"})
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ansible.collections),
        "ANSIBLE_HOME": str(ansible.home),
    }
    command = [str(executable("ansible-playbook")), str(PLAYBOOKS / "slow.yml"), "-e", variables]
    saved.slow_down(1024**2)
    playing = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    saved.await_backup()
    for child in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(child.read_text().rpartition(")")[2].split()[1]) == playing.pid:
                os.kill(int(child.parent.name), signal.SIGKILL)
    playing.kill()
    playing.wait()
    assert saved.files == [f"{NAME}.alone.bulk.qcow2", f"{NAME}.alone.partial"]
    result = finish(saved, name="alone", disks=["bulk"])
    assert result["changed"] and "was finished" in result["repaired"][0], result
    assert result["backup"]["disks"][0]["size"] > 400 * 1024**2
    assert saved.files == [f"{NAME}.alone.bulk.qcow2", f"{NAME}.alone.json"]


def test_a_backup_that_takes_too_long_is_taken_away(saved: Saved) -> None:
    messages: list[str] = []
    options = {"name": "slow", "timeout": 1, "disks": ["bulk"]}
    attempt = threading.Thread(target=lambda: messages.append(saved.refusal(**options)))
    saved.slow_down(1024**2)
    attempt.start()
    attempt.join(120)
    assert "took more than 1 s" in messages[0]
    assert saved.files == [] and saved.checkpoints == []
    assert saved.domain.isActive()


def test_file_systems_are_frozen_for_the_moment(saved: Saved) -> None:
    assert saved.call(name="frozen", quiesce=True)["changed"]
    assert read_word(saved.domain)
