"""openshift-python-wrapper, with which OpenShift Virtualization's own tests drive a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import UnprocessibleEntityError
from machine import MACHINE

pytest.importorskip("ocp_resources.resource", reason="openshift-python-wrapper is not installed")

from ocp_resources.datavolume import DataVolume
from ocp_resources.namespace import Namespace
from ocp_resources.node import Node
from ocp_resources.pod import Pod
from ocp_resources.resource import Resource
from ocp_resources.virtual_machine import VirtualMachine
from timeout_sampler import TimeoutSampler

SECONDS = 60


def get_to(machine: VirtualMachine, status: str) -> None:
    """Wait for C(status), which C(wait_for_status) looks for in a phase that machines do not have."""
    for shown in TimeoutSampler(wait_timeout=SECONDS, sleep=0.2, func=lambda: machine.printable_status):
        if shown == status:
            return


@pytest.fixture
def machine(dynamic: DynamicClient, namespace: str) -> Iterator[VirtualMachine]:
    """A stopped machine."""
    with VirtualMachine(name="db", namespace=namespace, client=dynamic, body=MACHINE) as made:
        get_to(made, VirtualMachine.Status.STOPPED)
        yield made


def test_a_namespace_comes_and_goes(dynamic: DynamicClient) -> None:
    with Namespace(name="wrapped", client=dynamic, label={"team": "a"}) as made:
        made.wait_for_status(status=Namespace.Status.ACTIVE, timeout=SECONDS)
        assert made.labels["team"] == "a"
        assert [found.name for found in Namespace.get(client=dynamic, label_selector="team=a")] == ["wrapped"]
    assert not made.exists


def test_a_machine_is_started_restarted_and_stopped(machine: VirtualMachine) -> None:
    machine.start(wait=True, timeout=SECONDS)
    get_to(machine, VirtualMachine.Status.RUNNING)
    first = machine.vmi.instance.metadata.uid
    machine.restart(wait=True, timeout=SECONDS)
    assert machine.vmi.instance.metadata.uid != first
    machine.stop(wait=True, timeout=SECONDS)
    get_to(machine, VirtualMachine.Status.STOPPED)
    assert not machine.vmi.exists


def test_an_instance_is_paused_and_shows_its_pod_and_node(machine: VirtualMachine, dynamic: DynamicClient) -> None:
    machine.start(wait=True, timeout=SECONDS)
    instance = machine.vmi
    instance.wait_until_running(timeout=SECONDS)
    instance.pause(wait=True, timeout=SECONDS)
    instance.unpause(wait=True, timeout=SECONDS)
    instance.wait_for_condition(condition="Ready", status="True", timeout=SECONDS)
    assert instance.interfaces[0]["ipAddress"]
    pod = instance.get_virt_launcher_pod()
    pod.wait_for_status(status=Pod.Status.RUNNING, timeout=SECONDS)
    assert pod.node.name in {node.name for node in Node.get(client=dynamic)}
    assert instance.get_virt_handler_pod().node.name == pod.node.name


def test_a_data_volume_is_made_and_deleted_with_its_claim(dynamic: DynamicClient, namespace: str) -> None:
    volume = DataVolume(
        name="disk",
        namespace=namespace,
        client=dynamic,
        source_dict={"blank": {}},
        size="1Gi",
        api_name="storage",
        bind_immediate_annotation=True,
    )
    volume.deploy()
    volume.wait_for_dv_success(timeout=SECONDS)
    assert volume.pvc.instance.spec.resources.requests.storage
    assert volume.clean_up(timeout=SECONDS)
    assert not volume.exists and not volume.pvc.exists


def test_an_object_is_changed_and_its_events_are_heard(machine: VirtualMachine) -> None:
    machine.update({"metadata": {"name": "db", "labels": {"tier": "data"}}})
    assert machine.labels["tier"] == "data"
    machine.start(wait=True, timeout=SECONDS)
    reasons = {event["object"].reason for event in machine.events(timeout=1)}
    assert "SuccessfulCreate" in reasons


def test_what_the_server_refuses_is_raised(dynamic: DynamicClient, namespace: str) -> None:
    spec: dict[str, Any] = {**MACHINE["spec"], "runStrategy": "Sometimes"}
    refused = VirtualMachine(name="bad", namespace=namespace, client=dynamic, body={"spec": spec})
    with pytest.raises(UnprocessibleEntityError, match="runStrategy"):
        refused.create()


def test_everything_in_the_cluster_is_listed(dynamic: DynamicClient) -> None:
    kinds = {found.kind for found in Resource.get_all_cluster_resources(client=dynamic)}
    assert {"Node", "StorageClass", "HyperConverged", "KubeVirt", "CDI", "NetworkAddonsConfig"} <= kinds
