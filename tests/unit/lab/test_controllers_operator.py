"""OLM and HyperConverged: from a subscription to a cluster that runs machines, and back."""

from __future__ import annotations

import pytest
from played import CSVS, HYPERCONVERGED, OPERATOR, SUBSCRIPTIONS, Played, conditions, subscription

KUBEVIRTS = "kubevirts.kubevirt.io"
KUBEVIRT = "kubevirt-kubevirt-hyperconverged"
PLANS = "installplans.operators.coreos.com"
GROUPS = "operatorgroups.operators.coreos.com"


@pytest.fixture
def played() -> Played:
    return Played()


def test_the_operators_apis_are_not_there_before_it_is_installed(played: Played) -> None:
    assert played.cluster.resource(HYPERCONVERGED) is None
    played.subscribe()
    assert played.cluster.resource(HYPERCONVERGED) is not None
    assert played.cluster.resource("virtualmachines.kubevirt.io") is None


def test_an_automatic_subscription_ends_with_a_csv_that_succeeded(played: Played) -> None:
    phases = played.phases("clusterserviceversions")
    played.subscribe()
    assert [phase for phase in phases if phase] == ["Pending", "InstallReady", "Installing", "Succeeded"]
    status = played.get(SUBSCRIPTIONS, "hco", OPERATOR)["status"]
    assert status["state"] == "AtLatestKnown"
    assert status["installedCSV"] == status["currentCSV"] == "kubevirt-hyperconverged-operator.v4.22.1"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"name": "nope"}, "no operators found in package nope in the catalog referenced by subscription x"),
        ({"channel": "nope"}, "no operators found in channel nope of package kubevirt-hyperconverged"),
        ({"startingCSV": "nope"}, "no operators found with name nope in channel stable of package"),
        ({"source": "nope"}, "no operators found from catalog nope in namespace openshift-marketplace"),
    ],
)
def test_what_no_catalog_has_is_a_resolution_that_failed(played: Played, spec: dict[str, str], said: str) -> None:
    played.create("namespaces", OPERATOR)
    played.create(SUBSCRIPTIONS, "x", subscription(**spec), OPERATOR)
    failed = conditions(played.get(SUBSCRIPTIONS, "x", OPERATOR))["ResolutionFailed"]
    assert (failed["status"], failed["reason"]) == ("True", "ConstraintsNotSatisfiable")
    assert said in failed["message"]
    assert not played.list(PLANS)


def test_without_an_operator_group_the_install_plan_says_so_and_goes_on_when_there_is_one(played: Played) -> None:
    played.create("namespaces", OPERATOR)
    played.create(SUBSCRIPTIONS, "hco", subscription(), OPERATOR)
    (plan,) = played.list(PLANS, OPERATOR)
    assert plan["status"]["message"] == "no operator group found that is managing this namespace"
    played.create(GROUPS, "group", {"targetNamespaces": [OPERATOR]}, OPERATOR)
    assert played.list(CSVS, OPERATOR)[0]["status"]["phase"] == "Succeeded"


def test_a_second_operator_group_and_a_wrong_target_fail_the_csv(played: Played) -> None:
    played.subscribe()
    played.create(GROUPS, "second", {"targetNamespaces": [OPERATOR]}, OPERATOR)
    assert played.list(CSVS, OPERATOR)[0]["status"]["reason"] == "TooManyOperatorGroups"
    played.delete(GROUPS, "second", OPERATOR)
    assert played.list(CSVS, OPERATOR)[0]["status"]["phase"] == "Succeeded"
    played.patch(GROUPS, "group", OPERATOR, {"spec": {"targetNamespaces": None}})
    assert played.list(CSVS, OPERATOR)[0]["status"]["reason"] == "UnsupportedOperatorGroup"


def test_manual_approval_holds_every_version_until_it_is_given(played: Played) -> None:
    played.subscribe(installPlanApproval="Manual", startingCSV="kubevirt-hyperconverged-operator.v4.22.0")
    (plan,) = played.list(PLANS, OPERATOR)
    assert plan["status"]["phase"] == "RequiresApproval"
    assert not played.list(CSVS, OPERATOR)
    played.patch(PLANS, plan["metadata"]["name"], OPERATOR, {"spec": {"approved": True}})
    status = played.get(SUBSCRIPTIONS, "hco", OPERATOR)["status"]
    assert status["installedCSV"].endswith("v4.22.0")
    assert (status["state"], status["currentCSV"][-7:]) == ("UpgradePending", "v4.22.1")
    waiting = next(item for item in played.list(PLANS, OPERATOR) if item["status"]["phase"] == "RequiresApproval")
    played.patch(PLANS, waiting["metadata"]["name"], OPERATOR, {"spec": {"approved": True}})
    assert [csv["metadata"]["name"][-7:] for csv in played.list(CSVS, OPERATOR)] == ["v4.22.1"]


def test_hyperconverged_becomes_available_with_all_its_operands(played: Played) -> None:
    played.install()
    hyperconverged = played.get(HYPERCONVERGED, "kubevirt-hyperconverged", OPERATOR)
    states = {kind: item["status"] for kind, item in conditions(hyperconverged).items()}
    assert states == {
        "ReconcileComplete": "True",
        "Available": "True",
        "Progressing": "False",
        "Degraded": "False",
        "Upgradeable": "True",
    }
    assert hyperconverged["status"]["systemHealthStatus"] == "healthy"
    assert hyperconverged["status"]["versions"] == [{"name": "operator", "version": "4.22.1"}]
    related = {item["kind"] for item in hyperconverged["status"]["relatedObjects"]}
    assert related == {"KubeVirt", "CDI", "SSP", "NetworkAddonsConfig"}
    assert played.get(KUBEVIRTS, KUBEVIRT, OPERATOR)["status"]["defaultArchitecture"] == "amd64"  # virt-api asks it
    daemon_sets = {item["metadata"]["name"] for item in played.list("daemonsets.apps", OPERATOR)}
    assert {"virt-handler", "bridge-marker"} <= daemon_sets
    assert all(pod["status"]["phase"] == "Running" for pod in played.list("pods", OPERATOR))


def test_settings_reach_kubevirt_and_an_edit_of_kubevirt_is_reverted(played: Played) -> None:
    played.install()
    gates = {"spec": {"featureGates": [{"name": "downwardMetrics", "state": "Enabled"}]}}
    played.patch(HYPERCONVERGED, "kubevirt-hyperconverged", OPERATOR, gates)
    developer = played.get(KUBEVIRTS, KUBEVIRT, OPERATOR)["spec"]["configuration"]["developerConfiguration"]
    assert "DownwardMetrics" in developer["featureGates"]
    played.patch(KUBEVIRTS, KUBEVIRT, OPERATOR, {"spec": {"configuration": {"evictionStrategy": "None"}}})
    assert played.get(KUBEVIRTS, KUBEVIRT, OPERATOR)["spec"]["configuration"]["evictionStrategy"] == "LiveMigrate"


def test_nodes_instance_types_and_boot_sources_come_with_it(played: Played) -> None:
    played.install()
    node = played.get("nodes", "worker-0")
    assert node["metadata"]["labels"]["kubevirt.io/schedulable"] == "true"
    assert node["status"]["allocatable"]["devices.kubevirt.io/kvm"] == "1k"
    types = {
        item["metadata"]["name"]: item
        for item in played.list("virtualmachineclusterinstancetypes.instancetype.kubevirt.io")
    }
    assert types["u1.medium"]["spec"] == {"cpu": {"guest": 1}, "memory": {"guest": "4Gi"}}
    rhel9 = played.get("datasources.cdi.kubevirt.io", "rhel9", "openshift-virtualization-os-images")
    assert conditions(rhel9)["Ready"]["status"] == "True"
    assert rhel9["metadata"]["labels"]["instancetype.kubevirt.io/default-preference"] == "rhel.9"


def test_uninstalling_leaves_nothing_but_the_crds_olm_created_and_can_be_done_again(played: Played) -> None:
    played.install()
    played.delete(HYPERCONVERGED, "kubevirt-hyperconverged", OPERATOR)
    assert not played.list(HYPERCONVERGED)
    assert played.cluster.resource("virtualmachines.kubevirt.io") is None
    played.delete(SUBSCRIPTIONS, "hco", OPERATOR)
    for csv in played.list(CSVS, OPERATOR):
        played.delete(CSVS, csv["metadata"]["name"], OPERATOR)
    assert not played.list("deployments.apps")
    assert not played.list("pods")
    assert played.cluster.resource(HYPERCONVERGED) is not None
    played.delete("namespaces", OPERATOR)
    assert played.find("namespaces", OPERATOR) is None
    assert "kubevirt.io/schedulable" not in played.get("nodes", "worker-0")["metadata"]["labels"]
    played.install()
    assert conditions(played.list(HYPERCONVERGED)[0])["Available"]["status"] == "True"
