"""What keeps a guest from migrating, and what a migration's state means."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready, no_room
from ansible_collections.virtstack.core.plugins.module_utils.objects import kubevirt_migration as migration
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

NOT_SHARED = "cannot migrate VMI: PVC root is not shared"


def instance(phase: str = "Running", able: str = "True", **spec: Any) -> Object:
    condition = {"type": "LiveMigratable", "status": able}
    if able == "False":
        condition.update(reason="DisksNotLiveMigratable", message=NOT_SHARED)
    metadata = {"name": "db", "namespace": "prod"}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, "conditions": [condition]}}


def job(phase: str | None, name: str = "job", **status: Any) -> Object:
    metadata = {"name": name, "namespace": "prod", "creationTimestamp": f"2026-01-01T00:00:0{len(name)}Z"}
    return {"metadata": metadata, "spec": {"vmiName": "db"}, "status": {"phase": phase, **status} if phase else {}}


def node(**labels: str) -> Object:
    return {"metadata": {"name": "one", "labels": labels}, "spec": {}}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "no running guest"),
        (instance("Succeeded"), "no running guest"),
        (instance("Scheduling"), "does not run yet (phase Scheduling)"),
        (instance(able="False"), f"DisksNotLiveMigratable: {NOT_SHARED}"),
        (instance(nodeSelector={"zone": "a"}), "its own node selector wants zone=a, which excludes zone=b"),
    ],
)
def test_what_is_in_the_way_is_said_before_anything_is_asked_for(found: Object | None, told: str) -> None:
    assert told in str(migration.obstacle(found, {"zone": "b"}))


def test_a_guest_that_runs_and_shares_its_disks_can_go() -> None:
    assert migration.obstacle(instance(), {"zone": "b"}) is None
    assert migration.obstacle(instance(nodeSelector={"zone": "b"}), {"zone": "b"}) is None


def test_a_cordoned_node_and_one_without_virt_handler_are_no_targets() -> None:
    with pytest.raises(Failure, match="cordoned"):
        migration.node_selector({**node(), "spec": {"unschedulable": True}})
    with pytest.raises(Failure, match=r"kubevirt.io/schedulable is false"):
        migration.node_selector(node(**{"kubevirt.io/schedulable": "false"}))
    labels = {"kubevirt.io/schedulable": "true", "kubernetes.io/hostname": "one.example"}
    assert migration.node_selector(node(**labels)) == {"kubernetes.io/hostname": "one.example"}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (job("Succeeded"), Ready()),
        (job("Running"), Progress("Running")),
        (job("Pending"), Progress("Pending, waiting for its turn")),
        (job(None), Progress("not yet seen by KubeVirt")),
        (job("Failed", migrationState={"failureReason": "no route"}), Failed("no route")),
        (job("Failed", conditions=[{"type": "migrationAbortRequested", "status": "True"}]), Failed("it was cancelled")),
        (None, Failed("it was cancelled: the migration was deleted")),
    ],
)
def test_how_far_a_migration_is(found: Object | None, verdict: Any) -> None:
    assert migration.migrated(found) == verdict


def test_a_quota_that_leaves_no_room_ends_the_wait() -> None:
    held = [{"type": "migrationRejectedByResourceQuota", "status": "True"}]
    verdict = migration.migrated(job("Pending", conditions=held))
    assert isinstance(verdict, Failed)
    assert "quota" in verdict.reason


def test_a_target_that_no_node_takes_ends_the_wait_unless_it_waits_for_a_volume() -> None:
    def pod(message: str) -> Object:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return {"metadata": {}, "status": {"conditions": [condition]}}

    assert migration.target_pod(pod("0/3 nodes: Insufficient memory")) == no_room(
        "no node can take the guest: 0/3 nodes: Insufficient memory"
    )
    assert migration.target_pod(pod("pod has unbound immediate PersistentVolumeClaims")) == Progress()
    assert migration.target_pod(None) == Progress()


def test_only_the_migration_that_is_followed_speaks_of_the_transfer() -> None:
    state = {"migrationUid": "u", "startTimestamp": "x", "sourceNode": "a", "targetNode": "b", "mode": "PreCopy"}
    found = {"metadata": {}, "status": {"migrationState": state}}
    assert migration.transfer("u")(found) == Progress("the guest moves from a to b, PreCopy")
    assert migration.transfer("other")(found) == Progress()
    assert isinstance(migration.transfer("u")(None), Failed)


def test_the_newest_migration_that_has_not_ended_is_the_one_under_way() -> None:
    found = migration.under_way([job("Failed", "ended"), job("Running", "a"), job("Pending", "newer")], "db")
    assert found is not None
    assert found["metadata"]["name"] == "newer"
    assert migration.under_way([job("Running")], "other") is None


def test_a_migration_to_any_node_says_nothing_of_nodes() -> None:
    assert migration.manifest("m", instance(), None)["spec"] == {"vmiName": "db"}
    assert migration.manifest("m", instance(), {"a": "b"})["spec"]["addedNodeSelector"] == {"a": "b"}


def test_a_duration_is_known_when_both_ends_are() -> None:
    both = {"startTimestamp": "2026-01-01T00:00:00Z", "endTimestamp": "2026-01-01T00:01:30Z"}
    assert migration.seconds(both) == 90
    assert migration.seconds({"startTimestamp": "2026-01-01T00:00:00Z"}) is None
