"""Disks where KubeVirt plugs by request (feature gate HotplugVolumes): into the machine, or into its instance alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.cluster.verdict import Progress, Ready, Verdict
from ansible_collections.virtstack.core.plugins.module_utils.cluster.wait import wait
from ansible_collections.virtstack.core.plugins.module_utils.objects.cdi import DATA_VOLUME
from ansible_collections.virtstack.core.plugins.module_utils.objects.core import NAMESPACE
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    at,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_disk_task import manage_disk
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task
from ansible_collections.virtstack.core.plugins.modules.vm_disk import SPEC

KUBEVIRT = Resource("kubevirt.io", "v1", "kubevirts", "KubeVirt")
HYPERCONVERGED = Resource("hco.kubevirt.io", "v1", "hyperconvergeds", "HyperConverged")
GATES = "spec.configuration.developerConfiguration.featureGates"
SECONDS = 90


def gated(kubevirt: Object | None) -> Verdict:
    return Ready() if "HotplugVolumes" in at(kubevirt, GATES, []) else Progress()


def running(vmi: Object | None) -> Verdict:
    return Ready() if at(vmi, "status.phase") == "Running" else Progress()


@pytest.fixture(scope="module")
def client(new_lab: Callable[[], Iterator[Any]]) -> Iterator[Client]:
    lab = new_lab()
    started = next(lab, None)
    assert started is not None
    client = connect({"kubeconfig": started.kubeconfig})
    path = f"/{GATES.replace('.', '/')}/-"
    patch = json.dumps([{"op": "add", "path": path, "value": "HotplugVolumes"}])
    body = {"metadata": {"annotations": {"kubevirt.kubevirt.io/jsonpatch": patch}}}
    client.patch(HYPERCONVERGED, "kubevirt-hyperconverged", "openshift-cnv", body)
    found = client.list(KUBEVIRT).items[0]["metadata"]
    wait(client, KUBEVIRT, found["name"], found["namespace"], gated, timeout=SECONDS)
    client.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod"}})
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}}
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "db", "namespace": "prod"},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}},
    }
    client.create(VIRTUAL_MACHINE, vm)
    wait(client, VIRTUAL_MACHINE_INSTANCE, "db", "prod", running, timeout=SECONDS)
    yield client
    next(lab, None)


def disk(client: Client, **options: Any) -> dict[str, Any]:
    defaults = {name: option.get("default") for name, option in SPEC.options.items()}
    given = {"vm": "db", "namespace": "prod", "wait": True, "wait_timeout": SECONDS, **options}
    return manage_disk(client, Task({**defaults, **given}))


def names(found: Object | None, path: str) -> list[str]:
    return [item["name"] for item in at(found, path) or ()]


def test_a_disk_of_the_machine_comes_by_request_and_goes_with_its_volume(client: Client) -> None:
    plugged = disk(client, name="data", blank=True, size="1Gi")
    assert (plugged["action"], plugged["target"]) == ("plugged", "sda")
    assert not disk(client, name="data", blank=True, size="1Gi")["changed"]
    vm = client.get(VIRTUAL_MACHINE, "db", "prod")
    assert names(vm, "spec.template.spec.volumes") == ["data"]
    assert at(vm, "status.volumeRequests") is None
    gone = disk(client, name="data", state="absent", delete_volume="db-data")
    assert (gone["action"], gone["volume_deleted"]) == ("unplugged", True)
    assert client.get(DATA_VOLUME, "db-data", "prod") is None
    assert not disk(client, name="data", state="absent", delete_volume="db-data")["changed"]


def test_a_disk_of_the_instance_alone_is_not_the_machines(client: Client) -> None:
    plugged = disk(client, name="scratch", blank=True, size="1Gi", persist=False)
    assert plugged["action"] == "plugged"
    assert not disk(client, name="scratch", blank=True, size="1Gi", persist=False)["changed"]
    assert names(client.get(VIRTUAL_MACHINE, "db", "prod"), "spec.template.spec.volumes") == []
    assert names(client.get(VIRTUAL_MACHINE_INSTANCE, "db", "prod"), "spec.volumes") == ["scratch"]
    gone = disk(client, name="scratch", state="absent", persist=False)
    assert (gone["action"], gone["volume"], gone["volume_deleted"]) == ("unplugged", "db-scratch", False)
    assert client.get(DATA_VOLUME, "db-scratch", "prod") is not None


def test_a_disk_of_the_instance_becomes_the_machines(client: Client) -> None:
    disk(client, name="kept", blank=True, size="1Gi", persist=False)
    assert disk(client, name="kept", blank=True, size="1Gi")["changed"]
    assert names(client.get(VIRTUAL_MACHINE, "db", "prod"), "spec.template.spec.volumes") == ["kept"]
    with pytest.raises(Failure, match="is a disk of the machine prod/db, not only of its guest"):
        disk(client, name="kept", state="absent", persist=False)


def test_a_disk_that_another_guest_writes_to_is_not_shared_by_accident(client: Client) -> None:
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}}
    for name in ("owner", "sleeper"):
        vm = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": name, "namespace": "prod"},
            "spec": {"runStrategy": "Always" if name == "owner" else "Halted", "template": {"spec": spec}},
        }
        client.create(VIRTUAL_MACHINE, vm)
    wait(client, VIRTUAL_MACHINE_INSTANCE, "owner", "prod", running, timeout=SECONDS)
    disk(client, vm="owner", name="dear", blank=True, size="1Gi", access_modes=["ReadWriteMany"])
    with pytest.raises(Failure, match="VirtualMachine prod/owner, which runs, and two guests"):
        disk(client, name="stolen", pvc="owner-dear")
    with pytest.raises(Failure, match="VirtualMachine prod/owner, which runs"):
        disk(client, vm="sleeper", name="stolen", data_volume="owner-dear")
    assert "stolen" not in names(client.get(VIRTUAL_MACHINE, "db", "prod"), "spec.template.spec.volumes")
    assert disk(client, vm="sleeper", name="stolen", pvc="owner-dear", shareable=True, wait=False)["changed"]


def test_a_disk_that_is_never_filled_is_told_with_what_it_means_for_the_machine(client: Client) -> None:
    with pytest.raises(Failure, match=r"may not start again before .* delete_volume: db-void"):
        disk(client, name="void", http={"url": "http://127.0.0.1:1/x.img"}, size="1Gi")
    gone = disk(client, name="void", state="absent", delete_volume="db-void")
    assert (gone["action"], gone["volume_deleted"]) == ("unplugged", True)
