"""Nodes whose power is cut: what becomes of them, of their pods, and of the machines that ran there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from played import VMIS, VMS, Played, conditions
from virtlab.controllers.outages import OUT_OF_SERVICE, TOLERATED, UNREACHABLE, patience

Object = dict[str, Any]
SCHEDULABLE = "kubevirt.io/schedulable"


@pytest.fixture(scope="module")
def played() -> Played:
    played = Played()
    played.install()
    return played


def running(played: Played, name: str) -> str:
    """A machine that runs; its node."""
    played.machine(name)
    return str(played.get(VMIS, name, "prod")["status"]["nodeName"])


def power(played: Played, node: str, *, on: bool) -> None:
    asyncio.run(played.cluster.power.restore(node) if on else played.cluster.power.cut(node))
    played.settle()


def ready(obj: Object) -> str:
    return str(conditions(obj)["Ready"]["status"])


def launcher(played: Played, name: str) -> Object:
    [pod] = [pod for pod in played.list("pods", "prod") if pod["metadata"]["labels"].get("vm.kubevirt.io/name") == name]
    return pod


def test_a_node_without_power_is_not_ready_and_what_runs_there_is_not_either(played: Played) -> None:
    node = running(played, "waits")
    before = played.get(VMIS, "waits", "prod")["metadata"]["uid"]
    power(played, node, on=False)
    try:
        found = played.get("nodes", node)
        said = conditions(found)["Ready"]
        assert (said["status"], said["reason"]) == ("Unknown", "NodeStatusUnknown")
        assert said["message"] == "Kubelet stopped posting node status."
        effects = [taint["effect"] for taint in found["spec"]["taints"] if taint["key"] == UNREACHABLE]
        assert effects == ["NoSchedule", "NoExecute"]
        assert found["metadata"]["labels"][SCHEDULABLE] == "false"
        assert ("NodeNotReady", f"Node {node} status is now: NodeNotReady") in played.events("default", node)
        # Nobody can say that the guest is off: it is not started elsewhere, and its pod cannot end.
        vmi, pod = played.get(VMIS, "waits", "prod"), launcher(played, "waits")
        assert (vmi["metadata"]["uid"], vmi["status"]["phase"]) == (before, "Running")
        assert conditions(vmi)["Ready"]["reason"] == "PodTerminating"
        assert "deletionTimestamp" in pod["metadata"] and ready(pod) == "False"
        assert ready(played.get(VMS, "waits", "prod")) == "False"
    finally:
        power(played, node, on=True)
    found = played.get("nodes", node)
    assert (ready(found), found["metadata"]["labels"][SCHEDULABLE]) == ("True", "true")
    assert not (found["spec"].get("taints") or [])
    vmi = played.get(VMIS, "waits", "prod")
    assert (vmi["status"]["phase"], ready(vmi)) == ("Running", "True")
    assert vmi["metadata"]["uid"] != before


def test_a_node_that_is_out_of_service_lets_its_machines_run_elsewhere(played: Played) -> None:
    node = running(played, "moves")
    before = played.get(VMIS, "moves", "prod")["metadata"]["uid"]
    power(played, node, on=False)
    try:
        taint = {"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}
        taints = played.get("nodes", node)["spec"]["taints"]
        played.patch("nodes", node, None, {"spec": {"taints": [*taints, taint]}})
        vmi = played.get(VMIS, "moves", "prod")
        assert vmi["metadata"]["uid"] != before and vmi["status"]["phase"] == "Running"
        assert vmi["status"]["nodeName"] != node
        text = f"virt-handler on node {node} is not responsive, marking VMI as failed"
        assert ("NodeUnresponsive", text) in played.events("prod", "moves")
    finally:
        power(played, node, on=True)
        played.patch("nodes", node, None, {"spec": {"taints": None}})


def test_a_pod_that_is_deleted_by_force_lets_its_machine_run_elsewhere(played: Played) -> None:
    node = running(played, "forced")
    power(played, node, on=False)
    try:
        played.delete("pods", launcher(played, "forced")["metadata"]["name"], "prod", gracePeriodSeconds=0)
        vmi = played.get(VMIS, "forced", "prod")
        assert vmi["status"]["nodeName"] != node and ready(vmi) == "True"
    finally:
        power(played, node, on=True)


def test_a_machine_that_is_not_to_run_always_stays_off(played: Played) -> None:
    played.machine("manual", strategy="Manual")
    played.edit_status(VMS, "manual", "prod", stateChangeRequests=[{"action": "Start"}])
    node = played.get(VMIS, "manual", "prod")["status"]["nodeName"]
    power(played, node, on=False)
    power(played, node, on=True)
    assert played.get(VMIS, "manual", "prod")["status"]["phase"] == "Failed"
    assert played.printable("manual") == "Stopped"


UNREACHED = {"key": UNREACHABLE, "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], TOLERATED),
        ([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20}], 20.0),
        ([{"operator": "Exists"}], None),
        ([{"key": "other", "operator": "Exists"}], TOLERATED),
    ],
)
def test_how_long_a_pod_stays_on_a_silent_node(tolerations: list[Object], seconds: float | None) -> None:
    assert patience({"spec": {"tolerations": tolerations}}, UNREACHED) == seconds


def test_a_node_that_is_deleted_takes_its_pods_along(played: Played) -> None:
    node = running(played, "orphan")
    before = played.get(VMIS, "orphan", "prod")["metadata"]["uid"]
    power(played, node, on=False)
    played.delete("nodes", node)
    vmi = played.get(VMIS, "orphan", "prod")
    assert vmi["metadata"]["uid"] != before
    assert vmi["status"]["phase"] == "Running" and vmi["status"]["nodeName"] != node
