"""Disks that are copied under a running guest: it is kept still meanwhile, and goes on whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played import Played
from virtlab.controllers.kubevirt.freezing import indications
from virtlab.datapath.volumes import Volumes
from virtlab.storage.problems import DataProblem

SNAPSHOTS = "virtualmachinesnapshots.snapshot.kubevirt.io"
VOLUME_SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"
DATA_VOLUMES = "datavolumes.cdi.kubevirt.io"
EXPORTS = "virtualmachineexports.export.kubevirt.io"
ONE: dict[str, Any] = {"resources": {"requests": {"storage": "1Mi"}}}


class Guest:
    """Notes what is done to it, and what its disk held then."""

    def __init__(self, played: Played) -> None:
        self.played, self.calls, self.broken = played, list[str](), False
        self.before = self.kept()

    def kept(self) -> int:
        return len(list(self.played.cluster.volumes.disks.root.glob(".snapshots/*")))  # type: ignore[union-attr]

    def snapshots(self) -> int:
        return self.kept() - self.before

    def freeze(self, namespace: str, name: str) -> bool:
        if self.broken:
            raise DataProblem("command Freeze failed: guest agent is not responding")
        self.calls.append(f"freeze {namespace}/{name} with {self.snapshots()} snapshots")
        return True

    def thaw(self, namespace: str, name: str) -> None:
        self.calls.append(f"thaw {namespace}/{name} with {self.snapshots()} snapshots")

    def grown(self, namespace: str, name: str, disk: Path, size: int) -> None:
        if self.broken:
            raise DataProblem("the guest does not see that its disk grew")
        self.calls.append(f"grown {namespace}/{name} {disk.parent.name} to {size}, file of {disk.stat().st_size}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Played:
    played = Played(storage=tmp_path_factory.mktemp("storage"))
    played.install()
    return played


@pytest.fixture
def played(cluster: Played) -> Iterator[Played]:
    """With a namespace C(prod) that is new for each test."""
    cluster.create("namespaces", "prod")
    yield cluster
    cluster.delete("namespaces", "prod")
    assert cluster.find("namespaces", "prod") is None


def machine(played: Played, disks: int = 2) -> Guest:
    """A running machine C(vm) of so many disks, and its guest."""
    names = [f"disk{number}" for number in range(disks)]
    for name in names:
        played.create(DATA_VOLUMES, name, {"source": {"blank": {}}, "storage": ONE}, "prod")
    volumes = [{"name": name, "dataVolume": {"name": name}} for name in names]
    devices = {"disks": [{"name": name, "disk": {"bus": "virtio"}} for name in names]}
    nothing: list[Any] = []
    spec = {"volumes": volumes, "domain": {"devices": devices}, "networks": nothing}
    played.machine("vm", template=spec)
    assert played.printable("vm") == "Running"
    guest = Guest(played)
    assert isinstance(played.cluster.volumes, Volumes)
    played.cluster.volumes.quiescer = guest
    return guest


def snapshot(played: Played, name: str = "s") -> dict[str, Any]:
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "vm"}
    if played.find(SNAPSHOTS, name, "prod") is None:
        played.create(SNAPSHOTS, name, {"source": source}, "prod")
    status: dict[str, Any] = played.get(SNAPSHOTS, name, "prod")["status"]
    return status


def test_a_running_machine_is_still_until_every_disk_is_cut(played: Played) -> None:
    guest = machine(played)
    status = snapshot(played)
    assert status["phase"] == "Succeeded"
    assert guest.calls == ["freeze prod/vm with 0 snapshots", "thaw prod/vm with 2 snapshots"]
    assert status["indications"] == ["GuestAgent", "Online"]
    assert [item["indication"] for item in status["sourceIndications"]] == ["GuestAgent", "Online"]


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([], ["NoGuestAgent", "Online"]),
        ([{"type": "AgentConnected", "status": "True"}], ["GuestAgent", "Online"]),
        ([{"type": "AgentConnected", "status": "True"}, {"type": "Paused", "status": "True"}], ["Online", "Paused"]),
    ],
)
def test_a_snapshot_says_how_its_guest_was(conditions: list[dict[str, str]], said: list[str]) -> None:
    assert indications({"status": {"phase": "Running", "conditions": conditions}}) == said
    assert indications({"status": {"phase": "Scheduled"}}) == indications(None) == []


def test_a_snapshot_says_that_a_windows_could_not_stand_still_and_that_it_is_not_whole() -> None:
    guest = {"status": {"phase": "Running", "conditions": [{"type": "AgentConnected", "status": "True"}]}}
    limit = "command Freeze failed: fsfreeze is limited up to 10 seconds"
    assert indications(guest, limit) == ["GuestAgent", "Online", "QuiesceTimeout"]
    assert indications(guest, partial=True) == ["GuestAgent", "Online", "PartialSnapshot"]
    assert indications(None, partial=True) == ["PartialSnapshot"]


def test_a_snapshot_fails_at_its_deadline_and_lets_go_of_what_it_has(played: Played) -> None:
    guest = machine(played, 1)
    guest.broken = True
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "vm"}
    played.create(SNAPSHOTS, "s", {"source": source, "failureDeadline": "1s"}, "prod")
    assert played.get(SNAPSHOTS, "s", "prod")["status"]["phase"] == "InProgress"
    played.manager.settle(30, horizon=3)
    status = played.get(SNAPSHOTS, "s", "prod")["status"]
    assert status["phase"] == "Failed"
    said = {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}
    assert said["Failure"] == ("True", "snapshot deadline exceeded")
    assert said["Progressing"] == ("False", "Operation failed")
    assert played.list("virtualmachinesnapshotcontents.snapshot.kubevirt.io", "prod") == []


def test_a_machine_that_is_off_needs_no_freezing(played: Played) -> None:
    guest = machine(played, 1)
    played.patch("virtualmachines.kubevirt.io", "vm", "prod", {"spec": {"runStrategy": "Halted"}})
    status = snapshot(played)
    assert (status["phase"], guest.calls) == ("Succeeded", [])
    assert "indications" not in status


def test_a_guest_that_cannot_be_frozen_is_told_and_tried_again(played: Played) -> None:
    guest = machine(played, 1)
    guest.broken = True
    status = snapshot(played)
    assert status["phase"] == "InProgress"
    assert status["error"]["message"] == "command Freeze failed: guest agent is not responding"
    assert guest.calls == []
    guest.broken = False
    played.patch(SNAPSHOTS, "s", "prod", {"metadata": {"labels": {"look": "again"}}})
    status = snapshot(played)
    assert (status["phase"], "error" in status) == ("Succeeded", False)


def test_a_disk_that_cannot_be_copied_lets_the_guest_go_on(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = machine(played, 1)
    volumes = played.cluster.volumes
    assert volumes is not None

    def full(*args: Any, **more: Any) -> None:
        raise DataProblem("no space left on device")

    monkeypatch.setattr(volumes.disks, "copy", full)
    status = snapshot(played)
    assert status["phase"] == "InProgress"
    assert "no space left on device" in status["error"]["message"]
    assert guest.calls[-1].startswith("thaw")


def test_a_clone_of_a_disk_in_use_keeps_its_guest_still(played: Played) -> None:
    guest = machine(played, 1)
    source = {"pvc": {"name": "disk0", "namespace": "prod"}}
    played.create(DATA_VOLUMES, "copy", {"source": source, "storage": ONE}, "prod")
    assert played.get(DATA_VOLUMES, "copy", "prod")["status"]["phase"] == "Succeeded"
    assert [call.split()[0] for call in guest.calls] == ["freeze", "thaw"]


def test_a_volume_snapshot_of_a_disk_in_use_keeps_its_guest_still(played: Played) -> None:
    guest = machine(played, 1)
    spec = {"source": {"persistentVolumeClaimName": "disk0"}, "volumeSnapshotClassName": "lab-block-snapclass"}
    played.create(VOLUME_SNAPSHOTS, "mine", spec, "prod")
    assert played.get(VOLUME_SNAPSHOTS, "mine", "prod")["status"]["readyToUse"]
    assert guest.calls == ["freeze prod/vm with 0 snapshots", "thaw prod/vm with 1 snapshots"]


@pytest.mark.parametrize("broken", [False, True])
def test_a_running_guest_is_told_that_its_disk_grew(played: Played, broken: bool) -> None:
    guest = machine(played, 1)
    guest.broken = broken
    wanted = {"spec": {"resources": {"requests": {"storage": "2Mi"}}}}
    played.patch("persistentvolumeclaims", "disk0", "prod", wanted)
    if not broken:
        assert guest.calls == [f"grown prod/vm disk0 to {2 << 20}, file of {2 << 20}"]
    told = ("FileSystemResizeFailed", "the guest does not see that its disk grew")
    assert (told in played.events("prod", "disk0")) == broken


def test_who_holds_a_guest_twice_lets_it_go_twice(tmp_path: Path, played: Played) -> None:
    guest = Guest(played)
    volumes = Volumes(tmp_path / "other")
    volumes.quiescer = guest
    volumes.hold("prod", "vm")
    volumes.hold("prod", "vm")
    volumes.let_go("prod", "vm")
    assert [call.split()[0] for call in guest.calls] == ["freeze"]
    volumes.let_go("prod", "vm")
    volumes.let_go("prod", "vm")
    assert [call.split()[0] for call in guest.calls] == ["freeze", "thaw"]


def test_what_is_written_of_exports_is_right_by_the_schema(played: Played) -> None:
    machine(played, 1)
    played.patch("virtualmachines.kubevirt.io", "vm", "prod", {"spec": {"runStrategy": "Halted"}})
    snapshot(played)
    for kind, group, name in (
        ("VirtualMachine", "kubevirt.io", "vm"),
        ("VirtualMachineSnapshot", "snapshot.kubevirt.io", "s"),
        ("PersistentVolumeClaim", "", "disk0"),
    ):
        source = {"kind": kind, "apiGroup": group, "name": name}
        played.create(EXPORTS, kind.lower(), {"source": source, "ttlDuration": "1h"}, "prod")
        status = played.get(EXPORTS, kind.lower(), "prod")["status"]
        assert (status["phase"], len(status["links"]["internal"]["volumes"])) == ("Ready", 1)
