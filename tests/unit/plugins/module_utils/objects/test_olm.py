"""What a catalog's package offers, and what a Subscription and a ClusterServiceVersion say of an installation."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import olm
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


def manifest() -> dict[str, Any]:
    return {
        "metadata": {"name": "kubevirt-hyperconverged"},
        "status": {
            "packageName": "kubevirt-hyperconverged",
            "catalogSource": "redhat-operators",
            "defaultChannel": "stable",
            "channels": [
                {
                    "name": "stable",
                    "currentCSV": "hco.v4.17.4",
                    "entries": [{"name": "hco.v4.17.4"}, {"name": "hco.v4.17.3"}],
                },
                {"name": "candidate", "currentCSV": "hco.v4.18.0"},
            ],
        },
    }


def subscription(*conditions: dict[str, str], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "hco"}, "spec": {}, "status": {"conditions": list(conditions), **status}}


def condition(kind: str, reason: str, message: str = "", status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def test_without_a_channel_the_default_one_is_followed() -> None:
    assert olm.channel_of(manifest(), None)["name"] == "stable"


def test_an_unknown_channel_is_refused_with_those_that_exist() -> None:
    with pytest.raises(Failure, match=r"no channel 'stabel'\. Its channels are: candidate, stable\."):
        olm.channel_of(manifest(), "stabel")


def test_a_starting_csv_of_the_channel_is_taken() -> None:
    olm.check_starting_csv(olm.channel_of(manifest(), "stable"), "hco.v4.17.3")


def test_an_unknown_starting_csv_is_refused_with_those_that_exist() -> None:
    with pytest.raises(Failure, match=r"no CSV hco\.v4\.0\. It holds: hco\.v4\.17\.4, hco\.v4\.17\.3\."):
        olm.check_starting_csv(olm.channel_of(manifest(), "stable"), "hco.v4.0")


def test_a_channel_that_lists_no_versions_does_not_refuse_any() -> None:
    olm.check_starting_csv(olm.channel_of(manifest(), "candidate"), "hco.v4.0")


@pytest.mark.parametrize(
    ("modes", "own"),
    [
        ([], True),
        ([{"type": "OwnNamespace", "supported": True}, {"type": "AllNamespaces", "supported": False}], True),
        ([{"type": "OwnNamespace", "supported": False}, {"type": "AllNamespaces", "supported": True}], False),
    ],
)
def test_the_operator_group_fits_the_install_modes(modes: list[dict[str, Any]], own: bool) -> None:
    channel = {"currentCSVDesc": {"installModes": modes}}
    group = olm.operator_group("hco", "virt", own_namespace=olm.supports_own_namespace(channel))
    assert group["spec"] == ({"targetNamespaces": ["virt"]} if own else {})


def test_one_operator_group_is_adopted_and_two_are_an_error_that_names_them() -> None:
    groups = [{"metadata": {"name": name}} for name in ("ours", "theirs")]
    assert olm.the_operator_group([], "virt") is None
    assert olm.the_operator_group(groups[:1], "virt") == groups[0]
    with pytest.raises(Failure, match=r"2 OperatorGroups \(ours, theirs\)"):
        olm.the_operator_group(groups, "virt")


def test_a_subscription_is_found_by_its_package_whatever_its_name_is() -> None:
    other = {"metadata": {"name": "hco"}, "spec": {"name": "nmstate"}}
    ours = {"metadata": {"name": "hco-operatorhub"}, "spec": {"name": "hco"}}
    assert olm.the_subscription([other, ours], "hco") == ours
    with pytest.raises(Failure, match="2 Subscriptions"):
        olm.the_subscription([ours, ours], "hco")


def test_a_subscription_is_settled_when_its_current_csv_is_installed() -> None:
    assert olm.subscription_settled(subscription(currentCSV="v2", installedCSV="v2")) == Ready()
    assert isinstance(olm.subscription_settled(subscription(currentCSV="v2", installedCSV="v1")), Progress)
    assert isinstance(olm.subscription_settled(subscription()), Progress)


def test_a_subscription_that_was_just_changed_is_not_settled_by_its_old_status() -> None:
    old = subscription(currentCSV="v1", installedCSV="v1")
    assert isinstance(olm.subscription_settled(old, head="v2"), Progress)
    assert olm.subscription_settled(subscription(currentCSV="v2", installedCSV="v2"), head="v2") == Ready()


def test_waiting_for_an_approval_is_settled_until_it_was_given() -> None:
    pending = condition("InstallPlanPending", "RequiresApproval")
    waiting = subscription(pending, currentCSV="v2", installPlanRef={"name": "install-a"})
    assert olm.subscription_settled(waiting) == Ready()
    assert isinstance(olm.subscription_settled(waiting, approved="install-a"), Progress)


def test_the_next_plan_that_waits_ends_the_wait_for_an_approved_one() -> None:
    pending = condition("InstallPlanPending", "RequiresApproval")
    moved_on = subscription(pending, currentCSV="v3", installedCSV="v2", installPlanRef={"name": "install-b"})
    assert olm.subscription_settled(moved_on, approved="install-a") == Ready()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (condition("ResolutionFailed", "ConstraintsNotSatisfiable", "no operators found in channel x"), "channel x"),
        (condition("BundleUnpackFailed", "BundleUnpackFailed", "job was active too long"), "too long"),
        (condition("InstallPlanFailed", "InstallComponentFailed", "forbidden"), "forbidden"),
        (condition("CatalogSourcesUnhealthy", "UnhealthyCatalogSourceFound", "catalogsource a/b missing"), "missing"),
    ],
)
def test_what_does_not_heal_by_waiting_ends_the_wait_with_its_reason(told: dict[str, str], reason: str) -> None:
    verdict = olm.subscription_settled(subscription(told))
    assert isinstance(verdict, Failed)
    assert reason in verdict.reason


def test_a_catalog_that_is_just_restarting_is_waited_for_and_named() -> None:
    told = condition("ResolutionFailed", "ErrorPreventedResolution", "connection refused")
    assert olm.subscription_settled(subscription(told)) == Progress("ResolutionFailed: connection refused")


def test_a_plan_that_needs_approval_is_told_from_one_that_runs() -> None:
    plan: dict[str, Any] = {"spec": {"approval": "Manual", "approved": False}, "status": {"phase": "RequiresApproval"}}
    assert olm.awaits_approval(plan)
    assert not olm.awaits_approval({**plan, "spec": {"approval": "Manual", "approved": True}})
    assert not olm.awaits_approval({**plan, "spec": {"approval": "Automatic", "approved": False}})
    assert not olm.awaits_approval(None)


def test_a_csv_is_ready_when_it_succeeded_and_failed_with_its_reason() -> None:
    assert olm.csv_succeeded({"status": {"phase": "Succeeded"}}) == Ready()
    failed = {
        "status": {"phase": "Failed", "reason": "UnsupportedOperatorGroup", "message": "OwnNamespace not supported"}
    }
    assert olm.csv_succeeded(failed) == Failed("UnsupportedOperatorGroup: OwnNamespace not supported")


def test_a_csv_names_the_requirement_that_holds_it_up() -> None:
    requirements = [
        {"kind": "CustomResourceDefinition", "name": "a", "status": "Present"},
        {"kind": "ServiceAccount", "name": "hco-operator", "status": "NotPresent"},
    ]
    csv = {"status": {"phase": "Pending", "requirementStatus": requirements, "message": "one or more not met"}}
    assert olm.csv_succeeded(csv) == Progress("Pending: ServiceAccount hco-operator is NotPresent")


def test_a_csv_names_the_deployment_that_holds_it_up() -> None:
    message = "installing: waiting for deployment virt-operator to become ready"
    assert olm.csv_succeeded({"status": {"phase": "Installing", "message": message}}) == Progress(
        f"Installing: {message}"
    )
