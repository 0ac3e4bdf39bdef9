"""Nodes are drained on a lab of their own: by evictions that budgets hold, and by the Node Maintenance Operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.cluster.wait import wait
from ansible_collections.virtstack.core.plugins.module_utils.objects.core import NAMESPACE, NODE, POD
from ansible_collections.virtstack.core.plugins.module_utils.objects.node_drain import BUDGET, NODE_MAINTENANCE
from ansible_collections.virtstack.core.plugins.module_utils.objects.node_maintenance import maintain
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task

OPERATOR_GROUP = Resource("operators.coreos.com", "v1", "operatorgroups", "OperatorGroup")
SUBSCRIPTION = Resource("operators.coreos.com", "v1alpha1", "subscriptions", "Subscription")
PLACE = "openshift-workload-availability"
SECONDS = 60


@pytest.fixture(scope="module")
def client(new_lab: Callable[[], Iterator[Any]]) -> Iterator[Client]:
    running = new_lab()
    lab = next(running, None)
    assert lab is not None
    yield connect({"kubeconfig": lab.kubeconfig})
    next(running, None)


def made(client: Client, resource: Resource, name: str, namespace: str | None = None, **parts: Any) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("metadata", {})}
    return client.create(
        resource, {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **parts}
    )


def job(**options: Any) -> Task:
    defaults = {
        "state": "drained",
        "force": False,
        "pods": True,
        "delete_emptydir_data": False,
        "operator": False,
        "reason": None,
        "wait": True,
        "wait_timeout": SECONDS,
    }
    return Task({**defaults, **options}, check_mode=bool(options.pop("check", False)))


@pytest.fixture(scope="module")
def web(client: Client) -> Object:
    """A pod without a controller that a disruption budget holds."""
    made(client, NAMESPACE, "web")
    container = {"name": "c", "image": "registry.example/web:1"}
    made(client, POD, "web", "web", spec={"containers": [container]}, metadata={"labels": {"app": "web"}})
    found = wait(client, POD, "web", "web", _ready, timeout=SECONDS)
    assert found is not None
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    made(client, BUDGET, "web", "web", spec=spec)
    wait(
        client, BUDGET, "web", "web", lambda budget: Ready() if (budget or {}).get("status") else Progress(), timeout=9
    )
    return found


def _ready(pod: Object | None) -> Any:
    conditions = ((pod or {}).get("status") or {}).get("conditions") or ()
    return Ready() if any(item["type"] == "Ready" and item["status"] == "True" for item in conditions) else Progress()


def test_a_pod_that_nothing_makes_anew_and_one_that_a_budget_holds_are_named(client: Client, web: Object) -> None:
    node = web["spec"]["nodeName"]
    with pytest.raises(Failure, match="web/web: no controller would make it anew elsewhere"):
        maintain(client, job(name=node))
    planned = maintain(client, job(name=node, force=True, check=True))
    reasons = {item["name"]: item["reason"] for item in planned["pods"]}
    assert "violate the pod's disruption budget" in reasons["web"]
    assert client.get(NODE, node)["spec"].get("unschedulable") is None  # type: ignore[index]
    with pytest.raises(Failure, match="is cordoned, but not empty") as held:
        maintain(client, job(name=node, force=True, wait_timeout=2))
    assert "held by the disruption budget web: 1 of at least 1 pods are healthy" in held.value.message
    assert held.value.result["node"]["unschedulable"] is True


def test_a_drain_goes_on_when_the_budget_lets_the_pod_go(client: Client, web: Object) -> None:
    node = web["spec"]["nodeName"]
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        if "held by the disruption budget" in text and client.get(BUDGET, "web", "web"):
            client.delete(BUDGET, "web", "web")

    task = job(name=node, force=True)
    done = maintain(client, Task(task.params, progress=progress))
    assert done["changed"] is True
    assert client.get(POD, "web", "web") is None
    assert any("held by the disruption budget web" in text for text in told)
    again = maintain(client, job(name=node, force=True))
    assert (again["changed"], again["pods"]) == (False, [])
    assert maintain(client, job(name=node, state="uncordoned"))["changed"] is True


def test_the_operator_drains_and_gives_the_node_back(client: Client) -> None:
    made(client, NAMESPACE, PLACE)
    made(client, OPERATOR_GROUP, "group", PLACE, spec={})
    wanted = {
        "name": "node-maintenance-operator",
        "channel": "stable",
        "source": "redhat-operators",
        "sourceNamespace": "openshift-marketplace",
    }
    made(client, SUBSCRIPTION, "nmo", PLACE, spec=wanted)
    csv = Resource("operators.coreos.com", "v1alpha1", "clusterserviceversions", "ClusterServiceVersion")
    wait(
        client,
        csv,
        "node-maintenance-operator.v5.5.0",
        PLACE,
        lambda found: Ready() if ((found or {}).get("status") or {}).get("phase") == "Succeeded" else Progress(),
        timeout=SECONDS,
    )
    options = {"name": "worker-2", "operator": True, "reason": "firmware"}
    drained = maintain(client, job(**options))
    assert (drained["changed"], drained["node"]["unschedulable"]) == (True, True)
    maintenance = client.get(NODE_MAINTENANCE, "worker-2")
    assert maintenance is not None
    assert maintenance["spec"] == {"nodeName": "worker-2", "reason": "firmware"}
    assert maintain(client, job(**options))["changed"] is False
    with pytest.raises(Failure, match="is in maintenance by the NodeMaintenance worker-2"):
        maintain(client, job(name="worker-2", state="uncordoned"))
    assert maintain(client, job(name="worker-2", operator=True, state="uncordoned"))["changed"] is True
    assert client.get(NODE_MAINTENANCE, "worker-2") is None
    assert not client.get(NODE, "worker-2")["spec"].get("unschedulable")  # type: ignore[index]
