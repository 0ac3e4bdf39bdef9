"""What becomes of guests and pods when their node is drained."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Failed, Progress, Ready
from ansible_collections.virtstack.core.plugins.module_utils.objects import node_drain as drain


def guest(strategy: str | None = None, able: bool = True, **status: Any) -> Object:
    condition = {"type": "LiveMigratable", "status": "True" if able else "False"}
    if not able:
        condition.update(reason="DisksNotLiveMigratable", message="root is not shared")
    found = {"phase": "Running", "nodeName": "one", "conditions": [condition], **status}
    spec = {"evictionStrategy": strategy} if strategy else {}
    return {"metadata": {"name": "db", "namespace": "prod", "uid": "u"}, "spec": spec, "status": found}


def pod(owner: str | None = "ReplicaSet", phase: str = "Running", **spec: Any) -> Object:
    metadata: Object = {"name": "web", "namespace": "prod", "uid": "u"}
    if owner:
        metadata["ownerReferences"] = [{"kind": owner, "name": "x", "uid": "o", "controller": True}]
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("instance", "default", "action", "forced"),
    [
        (guest("LiveMigrate"), None, "migrated", "migrated"),
        (guest("LiveMigrateIfPossible"), None, "migrated", "migrated"),
        (guest(None), "LiveMigrate", "migrated", "migrated"),
        (guest("LiveMigrate", able=False), None, "blocked", "shut_down"),
        (guest("LiveMigrateIfPossible", able=False), None, "blocked", "shut_down"),
        (guest("None"), "LiveMigrate", "blocked", "shut_down"),
        (guest(None), None, "blocked", "shut_down"),
        (guest("External", able=False), None, "evicted", "evicted"),
        (guest("None", phase="Succeeded"), None, "leaving", "leaving"),
    ],
)
def test_a_guest_leaves_by_its_strategy_and_is_shut_down_only_when_told(
    instance: Object, default: str | None, action: str, forced: str
) -> None:
    assert drain.guest_fate(instance, default, False).action == action
    assert drain.guest_fate(instance, default, True).action == forced


def node(name: str, *, ready: bool = True, cordoned: bool = False, taint: str = "", **labels: str) -> Object:
    spec: Object = {"unschedulable": True} if cordoned else {}
    if taint:
        spec["taints"] = [{"key": taint, "effect": "NoSchedule"}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    told = {"kubevirt.io/schedulable": "true", **labels}
    return {"metadata": {"name": name, "labels": told}, "spec": spec, "status": {"conditions": conditions}}


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ((), "the cluster has no other node"),
        ((node("two", cordoned=True),), "no other node takes it: two is cordoned"),
        ((node("two", ready=False),), "no other node takes it: two is not ready"),
        ((node("two", zone="b"),), "no other node takes it: two is not labelled zone=a"),
        ((node("two", zone="a", taint="gpu"),), "no other node takes it: two has the taint gpu"),
        (
            (node("two", zone="a", **{"kubevirt.io/schedulable": "false"}),),
            "no other node takes it: two takes no guests",
        ),
        ((node("two", cordoned=True), node("three", zone="a", taint="dedicated")), None),
    ],
)
def test_a_guest_that_has_nowhere_to_go_is_kept(nodes: tuple[Object, ...], reason: str | None) -> None:
    found = guest("LiveMigrate")
    toleration = {"key": "dedicated", "operator": "Exists"}
    found["spec"].update(nodeSelector={"zone": "a"}, tolerations=[toleration])
    elsewhere = drain.Elsewhere(nodes, known=True)
    fate = drain.guest_fate(found, None, False, elsewhere)
    assert fate == (
        drain.Fate("migrated") if reason is None else drain.Fate("blocked", f"it has nowhere to go: {reason}")
    )
    assert drain.guest_fate(found, None, True, elsewhere).action == ("migrated" if reason is None else "shut_down")


def test_a_guest_lives_on_another_node_with_a_taint_that_it_endures_here() -> None:
    """Its launcher's pod got the toleration from its namespace, say."""
    here = node("one", taint="dedicated")["spec"]["taints"]
    elsewhere = drain.Elsewhere((node("two", taint="dedicated"),), known=True, endured=tuple(here))
    assert drain.guest_fate(guest("LiveMigrate"), None, False, elsewhere) == drain.Fate("migrated")
    elsewhere = drain.Elsewhere((node("two", taint="gpu"),), known=True, endured=tuple(here))
    assert drain.guest_fate(guest("LiveMigrate"), None, False, elsewhere).action == "blocked"


def test_pods_of_the_only_node_are_kept() -> None:
    elsewhere = drain.Elsewhere((node("two", cordoned=True),), known=True)
    assert drain.pod_fate(pod(), False, False, elsewhere) == drain.Fate(
        "blocked", "it has nowhere to go: no other node takes it: two is cordoned"
    )
    assert drain.pod_fate(pod(), True, False, elsewhere) == drain.Fate("evicted")
    # Who may not read nodes is not held up by that.
    assert drain.pod_fate(pod(), False, False, drain.Elsewhere()) == drain.Fate("evicted")


def test_a_guest_that_is_kept_says_what_keeps_it() -> None:
    fate = drain.guest_fate(guest("LiveMigrate", able=False), None, False)
    assert fate.reason == (
        "it cannot be migrated (DisksNotLiveMigratable: root is not shared), its eviction strategy is LiveMigrate"
    )


@pytest.mark.parametrize(
    ("found", "action", "forced"),
    [
        (pod(), "evicted", "evicted"),
        (pod(None), "blocked", "evicted"),
        (pod(None, "Succeeded"), "evicted", "evicted"),
        (pod(volumes=[{"name": "scratch", "emptyDir": {}}]), "blocked", "blocked"),
        (pod("DaemonSet"), None, None),
    ],
)
def test_pods_are_evicted_as_a_drain_does(found: Object, action: str | None, forced: str | None) -> None:
    def taken(force: bool) -> str | None:
        fate = drain.pod_fate(found, force, False)
        return fate.action if fate else None

    assert (taken(False), taken(True)) == (action, forced)


def test_data_of_pods_is_lost_only_when_told() -> None:
    found = pod(volumes=[{"name": "scratch", "emptyDir": {}}])
    fate = drain.pod_fate(found, False, True)
    assert fate is not None
    assert fate.action == "evicted"


def test_the_pods_of_guests_and_of_the_node_itself_are_none_to_evict() -> None:
    launcher = pod(None)
    launcher["metadata"]["labels"] = {"kubevirt.io": "virt-launcher"}
    mirror = pod(None)
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert drain.pod_fate(launcher, True, True) is None
    assert drain.pod_fate(mirror, True, True) is None


@pytest.mark.parametrize(
    ("instance", "verdict"),
    [
        (None, Ready()),
        (guest(nodeName="two"), Ready()),
        (guest(phase="Failed"), Ready()),
        ({**guest(), "metadata": {"name": "db", "namespace": "prod", "uid": "new"}}, Ready()),
        (guest(), Progress("is on the node")),
        (guest(evacuationNodeName="one"), Progress("waits for its migration")),
        (guest(migrationState={"startTimestamp": "x", "targetNode": "two"}), Progress("moves to two")),
        (
            guest(migrationState={"failed": True, "failureReason": "no route"}),
            Progress("its migration failed (no route); KubeVirt tries again"),
        ),
    ],
)
def test_when_a_guest_is_off_its_node(instance: Object | None, verdict: Any) -> None:
    assert drain.left("one", "u")(instance) == verdict


def test_a_budget_is_found_in_a_refusal_and_waited_for() -> None:
    said = "The disruption budget web needs 2 healthy pods and has 2 currently"
    assert drain.budget_named(said) == "web"
    budget = {
        "metadata": {"name": "web"},
        "status": {"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2},
    }
    assert drain.budget_allows(budget) == Progress(
        "held by the disruption budget web: 2 of at least 2 pods are healthy"
    )
    assert drain.budget_allows({**budget, "status": {"disruptionsAllowed": 1}}) == Ready()
    assert drain.budget_allows(None) == Ready()


def test_how_far_the_operator_is() -> None:
    def verdict(**status: Any) -> Any:
        return drain.maintained({"metadata": {"name": "one"}, "status": status})

    assert verdict(phase="Succeeded") == Ready()
    assert verdict(phase="Failed", lastError="no lease") == Failed("no lease")
    assert verdict(phase="Running", drainProgress=50, pendingPods=["a", "b"]) == Progress(
        "50 % drained, 2 pods left: a, b"
    )
    assert verdict() == Progress("not yet seen by the Node Maintenance Operator")
