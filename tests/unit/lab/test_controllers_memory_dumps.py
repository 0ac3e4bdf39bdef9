"""Memory dumps: from the request in the machine's status to the file on the claim, and away again."""

from __future__ import annotations

from typing import Any

import pytest
from played import VMIS, VMS, Played, conditions
from virtlab.controllers.kubevirt.memory_dumps import next_request, with_dump, without_dump

Object = dict[str, Any]


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    played.create("namespaces", "prod")
    for name in ("dump", "broken"):
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        spec["storageClassName"] = "lab-file"
        played.create("persistentvolumeclaims", name, spec, "prod")
    return played


def request_of(played: Played, name: str) -> Object | None:
    found: Object | None = played.get(VMS, name, "prod")["status"].get("memoryDumpRequest")
    return found


def ask(played: Played, machine: str, **request: Any) -> None:
    played.edit_status(VMS, machine, "prod", memoryDumpRequest=request)


def test_a_dump_is_written_and_its_claim_taken_off_the_guest(played: Played) -> None:
    played.machine("db")
    seen: list[str] = []

    def note(event: Any) -> None:
        found = (event.object.get("status") or {}).get("memoryDumpRequest") or {}
        if event.key[1] == "virtualmachines" and found and seen[-1:] != [found["phase"]]:
            seen.append(found["phase"])

    played.cluster.store.subscribe(note)
    ask(played, "db", claimName="dump", phase="Associating")
    assert seen == ["Associating", "InProgress", "Unmounting", "Completed"]
    done = request_of(played, "db")
    assert done is not None
    assert done["fileName"].startswith("db-dump-")
    assert done["startTimestamp"] <= done["endTimestamp"]
    claim = played.get("persistentvolumeclaims", "dump", "prod")
    assert claim["metadata"]["annotations"]["kubevirt.io/memory-dump"] == done["fileName"]
    assert [item["name"] for item in played.get(VMIS, "db", "prod")["status"]["volumeStatus"]] == ["root"]
    assert "RestartRequired" not in conditions(played.get(VMS, "db", "prod"))
    ask(played, "db", claimName="dump", phase="Dissociating", remove=True)
    assert request_of(played, "db") is None
    volumes = played.get(VMS, "db", "prod")["spec"]["template"]["spec"]["volumes"]
    assert [item["name"] for item in volumes] == ["root"]


def test_a_dump_that_fails_says_why(played: Played) -> None:
    played.machine("bad")
    played.cluster.faults.add(subject="dump", path="^prod/bad$")
    ask(played, "bad", claimName="broken", phase="Associating")
    played.cluster.faults.clear()
    failed = request_of(played, "bad")
    assert failed is not None
    assert failed["phase"] == "Failed"
    assert failed["message"] == "Memory dump to pvc broken failed: No space left on device"


def test_the_volume_of_a_dump_comes_once_and_goes() -> None:
    spec = with_dump({"volumes": []}, "a")
    assert with_dump(spec, "a") is spec
    assert without_dump(spec, "a") == {"volumes": []}
    assert without_dump(spec, "b") is spec


def test_a_request_goes_on_only_when_its_volume_has() -> None:
    asked = {"claimName": "a", "phase": "Associating"}
    assert next_request(asked, {"volumes": []}, None) == asked
    assert next_request(asked, with_dump({}, "a"), None) == {**asked, "phase": "InProgress"}
    leaving = {"claimName": "a", "phase": "Dissociating"}
    assert next_request(leaving, with_dump({}, "a"), None) == leaving
    assert next_request(leaving, {}, None) is None


def test_a_machine_with_a_dump_is_restored_without_its_volume(played: Played) -> None:
    played.machine("dumped")
    ask(played, "dumped", claimName="dump", phase="Associating")
    group = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine"}
    snapshots, restores = (f"virtualmachine{kind}s.snapshot.kubevirt.io" for kind in ("snapshot", "restore"))
    played.create(snapshots, "before", {"source": {**group, "name": "dumped"}}, "prod")
    wish = {"target": {**group, "name": "again"}, "virtualMachineSnapshotName": "before"}
    played.create(restores, "back", wish, "prod")
    assert played.get(restores, "back", "prod")["status"]["complete"]
    spec = played.get(VMS, "again", "prod")["spec"]["template"]["spec"]
    assert [item["name"] for item in spec["volumes"]] == ["root"]
