"""Live migrations: where a guest may go, by which policy, how many at a time, and how a migration fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from played import HYPERCONVERGED, OPERATOR, VMIS, VMS, Played
from virtlab.controllers.kubevirt.migration_policies import configuration, policy_for

Object = dict[str, Any]
MIGRATIONS = "virtualmachineinstancemigrations.kubevirt.io"
HOSTNAME = "kubernetes.io/hostname"


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    played.create("namespaces", "prod")
    return played


def node_of(played: Played, name: str) -> str:
    return str(played.get(VMIS, name, "prod")["status"]["nodeName"])


def migrate(played: Played, name: str, job: str, **spec: Any) -> Object:
    played.create(MIGRATIONS, job, {"vmiName": name, **spec}, "prod")
    return played.get(MIGRATIONS, job, "prod")


def test_a_migration_goes_to_the_node_that_its_selector_names(played: Played) -> None:
    played.machine("aim")
    for number in range(3):
        wanted = f"worker-{number}"
        if node_of(played, "aim") != wanted:
            job = migrate(played, "aim", f"aim-{number}", addedNodeSelector={HOSTNAME: wanted})
            assert job["status"]["phase"] == "Succeeded"
        assert node_of(played, "aim") == wanted


def test_a_migration_that_no_node_takes_is_told_and_given_up(played: Played) -> None:
    played.machine("stay")
    before = node_of(played, "stay")
    job = migrate(played, "stay", "nowhere", addedNodeSelector={"disk": "none"})
    assert job["status"]["phase"] == "Failed"
    assert node_of(played, "stay") == before
    told = {reason for reason, _text in played.events("prod", "nowhere")}
    assert {"migrationTargetPodUnschedulable", "SuccessfulDelete", "FailedMigration"} <= told


def test_a_migration_that_breaks_leaves_the_guest_and_its_reason(played: Played) -> None:
    played.machine("break")
    before = node_of(played, "break")
    played.cluster.faults.add(subject="migration", path="^prod/break$", message="no route to host")
    job = migrate(played, "break", "broken")
    played.cluster.faults.clear()
    assert job["status"]["phase"] == "Failed"
    state = played.get(VMIS, "break", "prod")["status"]["migrationState"]
    assert (state["failed"], state["failureReason"]) == (True, "no route to host")
    assert node_of(played, "break") == before


def test_the_state_of_a_migration_tells_policy_and_configuration(played: Played) -> None:
    played.machine("ruled")
    selectors = {"virtualMachineInstanceSelector": {"kubevirt.io/domain": "none"}}
    played.create("migrationpolicies.migrations.kubevirt.io", "other", {"selectors": selectors})
    spec = {"selectors": {"namespaceSelector": {}}, "bandwidthPerMigration": "64Mi"}
    played.create("migrationpolicies.migrations.kubevirt.io", "all", spec)
    state = migrate(played, "ruled", "ruled")["status"]["migrationState"]
    assert state["migrationPolicyName"] == "all"
    assert state["migrationConfiguration"]["bandwidthPerMigration"] == "64Mi"
    assert state["migrationConfiguration"]["completionTimeoutPerGiB"] == 150


PHASES = ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded"]


def test_a_migration_goes_through_its_phases_and_says_what_it_does(played: Played) -> None:
    played.machine("steps")
    seen = played.phases("virtualmachineinstancemigrations")
    source = node_of(played, "steps")
    migrate(played, "steps", "steps")
    assert [phase for phase in seen if phase] == PHASES
    state = played.get(VMIS, "steps", "prod")["status"]["migrationState"]
    assert (state["completed"], state["sourceNode"], state["targetNode"]) == (True, source, node_of(played, "steps"))
    assert state["startTimestamp"] <= state["endTimestamp"]
    told = {reason for reason, _text in played.events("prod", "steps")}
    assert {"Migrating", "Migrated", "SuccessfulCreate"} <= told


@contextmanager
def slowly(played: Played) -> Iterator[None]:
    """Steps of controllers take their time meanwhile, which is more than a test waits; then they are over."""
    played.cluster.clock.factor = 1000.0
    try:
        yield
    finally:
        played.cluster.clock.factor = 0.0
        for controller, key in list(played.manager._due):
            played.manager.enqueue(controller, key)
        played.settle()


def pending(played: Played, *jobs: str) -> list[str]:
    return [job for job in jobs if played.get(MIGRATIONS, job, "prod")["status"]["phase"] == "Pending"]


def test_no_more_migrations_are_under_way_than_a_node_may_send_off(played: Played) -> None:
    names = ("out-0", "out-1", "out-2")
    for name in names:
        played.machine(name, template={"nodeSelector": {HOSTNAME: "worker-0"}})
        played.patch(VMS, name, "prod", {"spec": {"template": {"spec": {"nodeSelector": None}}}})
    assert {node_of(played, name) for name in names} == {"worker-0"}
    # An instance keeps what it was started with, so that these are let go.
    for name in names:
        played.edit(VMIS, name, "prod", lambda vmi: vmi["spec"].pop("nodeSelector", None))
    with slowly(played):
        for name in names:
            migrate(played, name, name)
        assert pending(played, *names) == ["out-2"]  # two at a time leave a node
    assert pending(played, *names) == []
    assert "worker-0" not in {node_of(played, name) for name in names}


def allow(played: Played, count: int) -> None:
    """So many migrations in the whole cluster."""
    limit = {"virtualization": {"liveMigrationConfig": {"parallelMigrationsPerCluster": count}}}
    played.patch(HYPERCONVERGED, "kubevirt-hyperconverged", OPERATOR, {"spec": limit})


def test_no_more_migrations_are_under_way_than_the_cluster_may_have(played: Played) -> None:
    names = [f"busy-{number}" for number in range(3)]
    for number, name in enumerate(names):
        played.machine(name, template={"nodeSelector": {HOSTNAME: f"worker-{number}"}})
        played.edit(VMIS, name, "prod", lambda vmi: vmi["spec"].pop("nodeSelector", None))
    allow(played, 2)
    with slowly(played):
        for name in names:
            migrate(played, name, name)
        assert pending(played, *names) == [names[-1]]
    assert pending(played, *names) == []
    allow(played, 5)


def test_a_migration_that_is_deleted_is_called_off_and_leaves_the_guest(played: Played) -> None:
    played.machine("off")
    before = node_of(played, "off")
    with slowly(played):
        migrate(played, "off", "off")
        played.cluster.clock.factor = 0.0
        played.delete(MIGRATIONS, "off", "prod")
    assert played.find(MIGRATIONS, "off", "prod") is None
    assert node_of(played, "off") == before
    pods = [pod for pod in played.list("pods", "prod") if pod["metadata"]["labels"].get("vm.kubevirt.io/name") == "off"]
    assert len(pods) == 1


def test_an_automatic_migration_waits_after_one_that_failed(played: Played) -> None:
    played.machine("again")
    played.cluster.faults.add(subject="migration", path="^prod/again$", message="no route to host")
    evacuation = {"annotations": {"kubevirt.io/evacuationMigration": "worker-0"}}
    played.create(MIGRATIONS, "first", {"vmiName": "again"}, "prod", metadata=evacuation)
    assert played.get(MIGRATIONS, "first", "prod")["status"]["phase"] == "Failed"
    played.cluster.faults.clear()
    with slowly(played):
        played.create(MIGRATIONS, "second", {"vmiName": "again"}, "prod", metadata=evacuation)
        assert pending(played, "second") == ["second"]
    assert played.get(MIGRATIONS, "second", "prod")["status"]["phase"] == "Succeeded"


def policy(name: str, instance: dict[str, str], namespace: dict[str, str], **spec: Any) -> Object:
    selectors = {"virtualMachineInstanceSelector": instance, "namespaceSelector": namespace}
    return {"metadata": {"name": name}, "spec": {"selectors": selectors, **spec}}


@pytest.mark.parametrize(
    ("policies", "wins"),
    [
        ([policy("a", {"app": "db"}, {}), policy("b", {"app": "db"}, {"env": "prod"})], "b"),
        ([policy("a", {}, {"env": "prod"}), policy("b", {"app": "db"}, {})], "b"),
        ([policy("b", {"app": "db"}, {}), policy("a", {"app": "db"}, {})], "a"),
        ([policy("a", {"app": "web"}, {})], None),
        ([policy("a", {"app": "db"}, {"env": "test"})], None),
        ([], None),
    ],
)
def test_the_policy_with_most_labels_wins_then_the_instance_then_the_name(
    policies: list[Object], wins: str | None
) -> None:
    found = policy_for(policies, {"app": "db"}, {"env": "prod"})
    assert (found or {"metadata": {"name": None}})["metadata"]["name"] == wins


def test_a_policy_that_allows_post_copy_allows_to_disturb_the_guest() -> None:
    assert configuration({}, policy("a", {}, {}, allowPostCopy=True))["allowWorkloadDisruption"] is True
    assert configuration({"allowPostCopy": True}, None)["parallelOutboundMigrationsPerNode"] == 2
