"""Nodes in maintenance: cordoned, drained by eviction, held up by budgets, and given back."""

from __future__ import annotations

from typing import Any

import pytest
from played import OPERATOR, SUBSCRIPTIONS, VMIS, Played, machine_spec, subscription
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


def evicted(played: Played, name: str, strategy: str | None, *, migratable: bool = True) -> tuple[str, str, bool]:
    """Put a machine's node into maintenance: what became of that, and whether the instance is another one and moved."""
    binding = {"masquerade": {}} if migratable else {"bridge": {}}
    devices = {"interfaces": [{"name": "default", **binding}]}
    template = {"domain": {"devices": devices}, "volumes": [], **({"evictionStrategy": strategy} if strategy else {})}
    played.create("virtualmachines.kubevirt.io", name, machine_spec(template=template), "prod")
    before = played.get(VMIS, name, "prod")
    node = before["status"]["nodeName"]
    played.cluster.create(played.resource(MAINTENANCES), {"metadata": {"name": name}, "spec": {"nodeName": node}})
    played.manager.settle(3, horizon=0.0)
    after = played.find(VMIS, name, "prod")
    told = played.get(MAINTENANCES, name)["status"]
    moved = after is not None and after["status"].get("nodeName") != node
    kind = "none" if after is None else "same" if after["metadata"]["uid"] == before["metadata"]["uid"] else "new"
    asked = after is not None and after["status"].get("evacuationNodeName") == node
    played.delete("virtualmachines.kubevirt.io", name, "prod")
    played.delete(MAINTENANCES, name)
    return told["phase"], f"{kind}, {'moved' if moved else 'stayed'}", asked


@pytest.mark.parametrize(
    ("strategy", "migratable", "phase", "became", "asked"),
    [
        ("LiveMigrate", True, "Succeeded", "same, moved", False),
        ("LiveMigrateIfPossible", True, "Succeeded", "same, moved", False),
        ("LiveMigrateIfPossible", False, "Succeeded", "new, moved", False),
        ("None", True, "Succeeded", "new, moved", False),
        ("LiveMigrate", False, "Running", "same, stayed", False),
        ("External", True, "Running", "same, stayed", True),
        (None, True, "Succeeded", "same, moved", False),  # the cluster's own strategy: LiveMigrate
    ],
)
def test_a_drain_does_with_a_machine_what_its_eviction_strategy_says(
    played: Played, strategy: str | None, migratable: bool, phase: str, became: str, asked: bool
) -> None:
    name = f"evict-{(strategy or 'default').lower()}-{'m' if migratable else 'n'}"
    assert evicted(played, name, strategy, migratable=migratable) == (phase, became, asked)


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
