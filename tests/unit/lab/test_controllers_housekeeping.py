"""Namespaces, the garbage collector, nodes, workloads and network policies."""

from __future__ import annotations

import pytest
from played import Played, conditions

CONFIG_MAPS = "configmaps"
POLICIES = "nodenetworkconfigurationpolicies.nmstate.io"


@pytest.fixture
def played() -> Played:
    return Played()


def test_a_namespace_is_born_with_its_accounts_and_certificates(played: Played) -> None:
    played.create("namespaces", "new")
    assert {item["metadata"]["name"] for item in played.list("serviceaccounts", "new")} == {
        "builder",
        "default",
        "deployer",
    }
    names = {item["metadata"]["name"] for item in played.list(CONFIG_MAPS, "new")}
    assert names == {"kube-root-ca.crt", "openshift-service-ca.crt"}
    played.delete(CONFIG_MAPS, "kube-root-ca.crt", "new")
    assert played.find(CONFIG_MAPS, "kube-root-ca.crt", "new") is not None


def test_a_namespace_goes_when_its_last_finalizer_does_and_says_what_holds_it(played: Played) -> None:
    played.create("namespaces", "old")
    played.create(CONFIG_MAPS, "held", namespace="old", metadata={"finalizers": ["example.com/hold"]})
    played.delete("namespaces", "old")
    found = [
        (item["type"], item["status"], item["message"])
        for item in played.get("namespaces", "old")["status"]["conditions"]
    ]
    assert found == [
        ("NamespaceDeletionDiscoveryFailure", "False", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "All legacy kube types successfully parsed"),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "True", "Some resources are remaining: configmaps. has 1 resource instances"),
        (
            "NamespaceFinalizersRemaining",
            "True",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        ),
    ]
    played.patch(CONFIG_MAPS, "held", "old", {"metadata": {"finalizers": None}})
    assert played.find("namespaces", "old") is None


@pytest.mark.parametrize(("policy", "left"), [("Background", False), ("Foreground", False), ("Orphan", True)])
def test_dependents_go_with_their_owner_as_its_deletion_says(played: Played, policy: str, left: bool) -> None:
    owner = played.create(CONFIG_MAPS, "owner", namespace="default")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    metadata = {"ownerReferences": [{**reference, "blockOwnerDeletion": True}]}
    played.create(CONFIG_MAPS, "dependent", namespace="default", metadata=metadata)
    played.delete(CONFIG_MAPS, "owner", "default", propagationPolicy=policy)
    assert played.find(CONFIG_MAPS, "owner", "default") is None
    dependent = played.find(CONFIG_MAPS, "dependent", "default")
    assert (dependent is not None) is left
    if dependent is not None:
        assert "ownerReferences" not in dependent["metadata"]


def test_a_deployment_runs_its_pods_and_follows_its_scale(played: Played) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    played.create("deployments.apps", "web", spec, "default")
    assert played.get("deployments.apps", "web", "default")["status"]["readyReplicas"] == 2
    played.patch("deployments.apps", "web", "default", {"spec": {"replicas": 1}})
    assert len(played.list("pods", "default")) == 1
    played.delete("deployments.apps", "web", "default")
    assert not played.list("pods", "default")


def test_a_cordoned_node_gets_no_pods(played: Played) -> None:
    for number in (0, 2):
        played.patch("nodes", f"worker-{number}", None, {"spec": {"unschedulable": True}})
    played.create("pods", "one", {"containers": [{"name": "one", "image": "one:1"}]}, "default")
    assert played.get("pods", "one", "default")["spec"]["nodeName"] == "worker-1"


def test_a_network_policy_is_configured_fails_or_matches_nothing(played: Played) -> None:
    played.create("namespaces", "openshift-nmstate")
    groups = "operatorgroups.operators.coreos.com"
    played.create(groups, "group", {"targetNamespaces": ["openshift-nmstate"]}, "openshift-nmstate")
    wanted = {
        "name": "kubernetes-nmstate-operator",
        "source": "redhat-operators",
        "sourceNamespace": "openshift-marketplace",
    }
    played.create("subscriptions.operators.coreos.com", "nmstate", wanted, "openshift-nmstate")
    played.create("nmstates.nmstate.io", "nmstate")

    def bridge(port: str) -> dict[str, object]:
        link = {"name": f"br-{port}", "type": "linux-bridge", "state": "up", "bridge": {"port": [{"name": port}]}}
        return {"interfaces": [link]}

    played.create(POLICIES, "good", {"desiredState": bridge("enp2s0")})
    available = conditions(played.get(POLICIES, "good"))["Available"]
    assert (available["status"], available["message"]) == ("True", "3/3 nodes successfully configured")
    state = played.get("nodenetworkstates.nmstate.io", "worker-0")["status"]["currentState"]
    assert "br-enp2s0" in {item["name"] for item in state["interfaces"]}
    played.create(POLICIES, "bad", {"desiredState": bridge("eth9")})
    assert conditions(played.get(POLICIES, "bad"))["Degraded"]["message"] == "3/3 nodes failed to configure"
    played.create(POLICIES, "none", {"nodeSelector": {"a": "b"}, "desiredState": bridge("enp2s0")})
    ignored = conditions(played.get(POLICIES, "none"))["Ignored"]
    assert (ignored["status"], ignored["message"]) == ("True", "Policy does not match any node")
