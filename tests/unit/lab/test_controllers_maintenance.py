"""Nodes in maintenance: cordoned, drained by eviction, held up by budgets, and given back."""

from __future__ import annotations

from typing import Any

import pytest
from played import OPERATOR, SUBSCRIPTIONS, VMIS, Played, subscription
from virtlab.controllers.budgets import budget_status, selected
from virtlab.status import StatusError

Object = dict[str, Any]
MAINTENANCES = "nodemaintenances.nodemaintenance.medik8s.io"
BUDGETS = "poddisruptionbudgets.policy"


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    place = "openshift-workload-availability"
    played.create("namespaces", place)
    played.create("operatorgroups.operators.coreos.com", "group", {}, place)
    played.create(SUBSCRIPTIONS, "nmo", subscription(name="node-maintenance-operator"), place)
    played.create("namespaces", "prod")
    return played


def node_of(played: Played, name: str) -> str:
    return str(played.get(VMIS, name, "prod")["status"]["nodeName"])


def test_maintenance_moves_guests_and_pods_and_gives_the_node_back(played: Played) -> None:
    played.machine("move")
    node = node_of(played, "move")
    played.create(MAINTENANCES, "one", {"nodeName": node, "reason": "firmware"})
    status = played.get(MAINTENANCES, "one")["status"]
    assert (status["phase"], status["drainProgress"]) == ("Succeeded", 100)
    assert "pendingPods" not in status
    assert node_of(played, "move") != node
    spec = played.get("nodes", node)["spec"]
    assert spec["unschedulable"] is True
    assert {taint["key"] for taint in spec["taints"]} == {"node.kubernetes.io/unschedulable", "medik8s.io/drain"}
    left = [pod for pod in played.list("pods", OPERATOR) if pod["spec"].get("nodeName") == node]
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in left} == {"DaemonSet"}
    played.delete(MAINTENANCES, "one")
    assert played.find(MAINTENANCES, "one") is None
    assert not played.get("nodes", node)["spec"].get("unschedulable")
    assert not played.get("nodes", node)["spec"].get("taints")


def test_a_node_has_one_maintenance_and_has_to_exist(played: Played) -> None:
    with pytest.raises(StatusError, match="invalid nodeName, no node with name worker-9 found"):
        played.create(MAINTENANCES, "none", {"nodeName": "worker-9"})
    played.create(MAINTENANCES, "first", {"nodeName": "worker-0"})
    with pytest.raises(StatusError, match="a NodeMaintenance for node worker-0 already exists"):
        played.create(MAINTENANCES, "second", {"nodeName": "worker-0"})
    played.delete(MAINTENANCES, "first")


def test_a_budget_counts_and_holds_a_pod_on_its_node(played: Played) -> None:
    container = {"name": "c", "image": "registry.example/web:1"}
    played.create("pods", "web", {"containers": [container]}, "prod", metadata={"labels": {"app": "web"}})
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    played.create(BUDGETS, "web", spec, "prod")
    status = played.get(BUDGETS, "web", "prod")["status"]
    counted = {name: status[name] for name in ("currentHealthy", "desiredHealthy", "disruptionsAllowed")}
    assert counted == {"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0}
    node = played.get("pods", "web", "prod")["spec"]["nodeName"]
    played.manager.settle(1)
    played.cluster.create(played.resource(MAINTENANCES), {"metadata": {"name": "held"}, "spec": {"nodeName": node}})
    played.manager.settle(1, horizon=0.0)
    status = played.get(MAINTENANCES, "held")["status"]
    assert (status["phase"], status["pendingPods"]) == ("Running", ["web"])
    assert "it would violate the pod's disruption budget" in status["lastError"]
    played.cluster.delete(played.resource(BUDGETS), "web", "prod")
    played.settle()
    assert played.get(MAINTENANCES, "held")["status"]["phase"] == "Succeeded"
    played.delete(MAINTENANCES, "held")


@pytest.mark.parametrize(
    ("spec", "pods", "healthy", "allowed"),
    [
        ({"minAvailable": 2}, 3, 3, 1),
        ({"minAvailable": "50%"}, 3, 3, 1),
        ({"maxUnavailable": 1}, 3, 2, 0),
        ({"maxUnavailable": "34%"}, 3, 3, 2),
        ({"minAvailable": 1}, 0, 0, 0),
    ],
)
def test_disruptions_that_a_budget_allows(spec: Object, pods: int, healthy: int, allowed: int) -> None:
    assert budget_status(spec, pods, healthy)["disruptionsAllowed"] == allowed


def test_a_selector_takes_expressions_and_when_empty_all() -> None:
    assert selected({}, {})
    assert selected({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {"a": "b"})
    assert not selected({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {})
