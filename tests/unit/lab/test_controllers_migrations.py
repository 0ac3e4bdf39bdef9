"""Live migrations: where a guest may go, by which policy, how many at a time, and how a migration fails."""

from __future__ import annotations

from typing import Any

import pytest
from played import VMIS, Played
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
