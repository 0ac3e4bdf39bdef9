"""What the operator's options come to: a Subscription that keeps what is there, and a patch of HyperConverged."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.operator import wish as wishes
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure


def wish(**options: Any) -> wishes.Wish:
    return wishes.wish({"package": "kubevirt-hyperconverged", **options})


def test_the_package_is_refused_in_another_namespace() -> None:
    with pytest.raises(Failure, match="works in the namespace openshift-cnv only"):
        wish(namespace="kubevirt")


def test_another_package_may_live_elsewhere() -> None:
    assert wish(package="community-kubevirt-hyperconverged", namespace="kubevirt-hyperconverged")


def test_each_package_has_its_namespace() -> None:
    assert wish().namespace == "openshift-cnv"
    assert wish(package="kubernetes-nmstate-operator").namespace == "openshift-nmstate"


def test_settings_of_another_product_are_refused() -> None:
    with pytest.raises(Failure, match="infra: Kubernetes NMState has no such settings"):
        wish(package="kubernetes-nmstate-operator", infra={"node_selector": {"a": "b"}})


def test_a_new_subscription_takes_the_defaults() -> None:
    assert wishes.subscription_spec(wish(), None) == {
        "name": "kubevirt-hyperconverged",
        "source": "redhat-operators",
        "sourceNamespace": "openshift-marketplace",
        "installPlanApproval": "Automatic",
    }


LIVE = {
    "metadata": {"name": "hco-operatorhub", "namespace": "openshift-cnv"},
    "spec": {
        "name": "kubevirt-hyperconverged",
        "source": "mirror",
        "sourceNamespace": "openshift-marketplace",
        "channel": "candidate",
        "installPlanApproval": "Manual",
        "startingCSV": "hco.v1",
        "config": {"env": []},
    },
}


def test_an_existing_subscription_keeps_what_is_not_declared() -> None:
    spec = wishes.subscription_spec(wish(), LIVE)
    assert all(LIVE["spec"][key] == value for key, value in spec.items())
    assert "config" not in spec


def test_an_existing_subscription_follows_what_is_declared() -> None:
    spec = wishes.subscription_spec(wish(channel="stable", approval="Automatic"), LIVE)
    assert (spec["channel"], spec["installPlanApproval"], spec["source"]) == ("stable", "Automatic", "mirror")


def test_the_version_to_start_with_does_not_change_afterwards() -> None:
    assert wishes.subscription_spec(wish(starting_csv="hco.v2"), LIVE)["startingCSV"] == "hco.v1"
    assert "startingCSV" not in wishes.subscription_spec(wish(starting_csv="hco.v2"), {**LIVE, "spec": {"name": "x"}})


def test_an_adopted_subscription_keeps_its_name() -> None:
    assert wishes.subscription(wish(), {}, LIVE)["metadata"]["name"] == "hco-operatorhub"
    assert wishes.subscription(wish(), {}, None)["metadata"]["name"] == "kubevirt-hyperconverged"


CERTIFICATES = {"ca_duration": "336h", "server_renew_before": "84h"}
INFRA = {"node_selector": {"role": "infra"}, "tolerations": None, "affinity": None}


def test_each_version_has_its_own_places() -> None:
    asked = wish(certificates=CERTIFICATES, infra=INFRA, workloads={"tolerations": [{"key": "virt"}]})
    certificates = {"ca": {"duration": "336h"}, "server": {"renewBefore": "84h"}}
    assert wishes.instance_spec(asked, "v1beta1") == {
        "certConfig": certificates,
        "infra": {"nodePlacement": {"nodeSelector": {"role": "infra"}}},
        "workloads": {"nodePlacement": {"tolerations": [{"key": "virt"}]}},
    }
    assert wishes.instance_spec(asked, "v1") == {
        "security": {"certConfig": certificates},
        "deployment": {
            "nodePlacements": {
                "infra": {"nodeSelector": {"role": "infra"}},
                "workload": {"tolerations": [{"key": "virt"}]},
            }
        },
    }


def test_nothing_declared_is_no_patch() -> None:
    assert wishes.instance_patch(wish(), "v1", {"security": {"certConfig": {}}}) == {}


def test_what_is_there_already_is_no_patch() -> None:
    asked = wish(certificates=CERTIFICATES, infra=INFRA)
    assert wishes.instance_patch(asked, "v1", wishes.instance_spec(asked, "v1")) == {}


def test_a_placement_takes_the_place_of_another_and_certificates_are_laid_over() -> None:
    live = {
        "certConfig": {"ca": {"duration": "48h0m0s", "renewBefore": "24h0m0s"}},
        "infra": {"nodePlacement": {"nodeSelector": {"old": "x"}, "tolerations": [{"key": "infra"}]}},
    }
    assert wishes.instance_patch(wish(certificates={"ca_duration": "336h"}, infra=INFRA), "v1beta1", live) == {
        "certConfig": {"ca": {"duration": "336h"}},
        "infra": {"nodePlacement": {"nodeSelector": {"old": None, "role": "infra"}, "tolerations": None}},
    }
