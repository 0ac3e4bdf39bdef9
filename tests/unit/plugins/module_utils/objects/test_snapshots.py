"""Which snapshots are taken, which are told of, and which of a series go."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.machine.refusal import Refused
from ansible_collections.virtstack.core.plugins.module_utils.objects import clone_tasks, restore_tasks, snapshots
from ansible_collections.virtstack.core.plugins.module_utils.objects.snapshots import SERIES, Retention
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

NOW = datetime.datetime(2026, 2, 10, tzinfo=datetime.UTC)


def taken(day: int, *, phase: str = "Succeeded", name: str = "") -> Object:
    stamp = f"2026-02-{day:02d}T00:00:00Z"
    status = {"phase": phase, "readyToUse": phase == "Succeeded", "creationTime": stamp}
    return {"metadata": {"name": name or f"day-{day}", "creationTimestamp": stamp}, "status": status}


def gone(series: list[Object], newest: str, **kept: int) -> list[str]:
    found = snapshots.outlived(series, newest, Retention(**kept), NOW)
    return [item["metadata"]["name"] for item in found]


def test_a_count_includes_the_newest_and_the_oldest_go_first() -> None:
    assert gone([taken(day) for day in (3, 1, 2, 4)], "day-4", keep=2) == ["day-1", "day-2"]


def test_what_either_rule_keeps_stays() -> None:
    series = [taken(day) for day in (1, 2, 8, 9)]
    assert gone(series, "day-9", keep_days=3) == ["day-1", "day-2"]
    assert gone(series, "day-9", keep=3, keep_days=1) == ["day-1"]
    assert gone(series, "day-9", keep=1, keep_days=30) == []


def test_the_newest_stays_though_it_is_old() -> None:
    assert gone([taken(1)], "day-1", keep_days=2) == []


def test_what_is_underway_stays_and_what_failed_goes() -> None:
    series = [taken(1, phase="InProgress"), taken(2, phase="Failed"), taken(3)]
    assert gone(series, "day-3", keep=5) == ["day-2"]


def params(**given: Any) -> dict[str, Any]:
    names = ("deletion_policy", "failure_deadline", "series", "labels", "annotations", "keep", "keep_days")
    return {"namespace": "prod", **dict.fromkeys(names), **given}


def test_a_retention_without_a_series_is_refused() -> None:
    with pytest.raises(Failure, match="need a series"):
        snapshots.retention(params(keep=2))
    assert not snapshots.retention(params()).is_asked


def test_the_series_is_a_label_beside_the_users() -> None:
    found = snapshots.snapshot("one", "db", params(series="nightly", labels={"a": "b"}, failure_deadline="90"))
    assert found["metadata"]["labels"] == {"a": "b", SERIES: "nightly"}
    assert found["spec"]["failureDeadline"] == "90s"


def vm(*disks: tuple[str, bool]) -> Object:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name, _enabled in disks]
    statuses = [{"name": name, "enabled": enabled, "reason": f"why {name}"} for name, enabled in disks]
    statuses.append({"name": "seed", "enabled": False, "reason": "not supported for this volumeSource type [seed]"})
    volumes.append({"name": "seed", "cloudInitNoCloud": {}})
    return {
        "metadata": {"name": "db", "namespace": "prod"},
        "spec": {"template": {"spec": {"volumes": volumes}}},
        "status": {"volumeSnapshotStatuses": statuses},
    }


def test_disks_that_would_be_left_out_are_named_and_seeds_are_none() -> None:
    snapshots.refuse_partial(vm(("root", True)))
    with pytest.raises(Failure, match=r"prod/db was taken: .* data: why data\. Move"):
        snapshots.refuse_partial(vm(("root", True), ("data", False)))


def instance(*conditions: str) -> Object:
    held = [{"type": name, "status": "True"} for name in conditions]
    return {"metadata": {"name": "db"}, "status": {"phase": "Running", "conditions": held}}


def test_a_demanded_agent_has_to_be_connected_where_a_guest_runs() -> None:
    snapshots.refuse_unquiesced(vm(), None)
    snapshots.refuse_unquiesced(vm(), instance("AgentConnected"))
    with pytest.raises(Failure, match="qemu-guest-agent"):
        snapshots.refuse_unquiesced(vm(), instance("Ready"))


@pytest.mark.parametrize(
    "indications",
    [["Online", "NoGuestAgent"], ["Online", "GuestAgent", "QuiesceFailed"], ["GuestAgent", "Online", "QuiesceTimeout"]],
)
def test_a_snapshot_that_was_not_frozen_fails_who_demanded_it(indications: list[str]) -> None:
    with pytest.raises(Failure, match="not frozen"):
        snapshots.refuse_unfrozen("one", {"status": {"indications": indications}})


@pytest.mark.parametrize("indications", [[], ["Online", "GuestAgent"]])
def test_a_snapshot_that_needed_no_freezing_or_got_it_is_fine(indications: list[str]) -> None:
    snapshots.refuse_unfrozen("one", {"status": {"indications": indications}})


def test_restores_and_clones_underway_hold_a_snapshot() -> None:
    def restore(name: str, snapshot: str, complete: bool) -> Object:
        return {
            "metadata": {"name": name},
            "spec": {"virtualMachineSnapshotName": snapshot},
            "status": {"complete": complete},
        }

    source = {"kind": "VirtualMachineSnapshot", "name": "one"}
    clone = {"metadata": {"name": "c"}, "spec": {"source": source}, "status": {"phase": "RestoreInProgress"}}
    over = {"metadata": {"name": "d"}, "spec": {"source": source}, "status": {"phase": "Succeeded"}}
    restores = [restore("a", "one", False), restore("b", "one", True), restore("e", "two", False)]
    assert snapshots.users("one", restores, [clone, over]) == ["restore a", "clone c"]


def test_a_failed_snapshot_tells_why() -> None:
    failed = taken(1, phase="Failed")
    failed["status"]["error"] = {"message": "no space left"}
    assert snapshots.tell(failed)["error"] == "no space left"
    assert snapshots.tell(taken(1))["error"] is None


CLONE = dict.fromkeys(
    clone_tasks_option
    for clone_tasks_option in (
        "vm",
        "snapshot",
        "label_filters",
        "annotation_filters",
        "template_label_filters",
        "template_annotation_filters",
        "new_mac_addresses",
        "new_smbios_serial",
        "volume_name_policy",
        "patches",
    )
)


def test_a_clone_has_what_was_given_and_nothing_else() -> None:
    found = clone_tasks.spec({**CLONE, "vm": "db", "template_label_filters": ["!app"]}, "copy")
    assert found == {
        "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "db"},
        "target": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "copy"},
        "template": {"labelFilters": ["!app"]},
    }
    source = clone_tasks.spec({**CLONE, "snapshot": "one"}, "copy")["source"]
    assert source == {"apiGroup": "snapshot.kubevirt.io", "kind": "VirtualMachineSnapshot", "name": "one"}


def test_an_address_of_a_clone_is_written_the_usual_way_or_refused() -> None:
    found = clone_tasks.spec({**CLONE, "vm": "db", "new_mac_addresses": {"lan": "02-00-00-AA-00-02"}}, "copy")
    assert found["newMacAddresses"] == {"lan": "02:00:00:aa:00:02"}
    with pytest.raises(Refused, match=r"new_mac_addresses\.lan"):
        clone_tasks.spec({**CLONE, "vm": "db", "new_mac_addresses": {"lan": "x"}}, "copy")


def test_a_restore_tells_which_disks_it_made() -> None:
    item = {"volumeName": "root", "persistentVolumeClaim": "restore-1-root", "volumeSnapshotName": "s"}
    found = {"spec": {"target": {"name": "db"}}, "status": {"complete": True, "restores": [item]}}
    told = restore_tasks.tell(found)
    assert told["complete"]
    assert told["volumes"] == [{"name": "root", "claim": "restore-1-root", "data_volume": None, "volume_snapshot": "s"}]
