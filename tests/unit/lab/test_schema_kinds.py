"""What is known of each kind beside its schema: names, versions, and what installs it."""

from __future__ import annotations

import pytest
from virtlab.schema import kinds
from virtlab.schema.columns import columns
from virtlab.schema.kinds import Kind, resources_of
from virtlab.schema.names import plural


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("VirtualMachine", "virtualmachines"),
        ("Ingress", "ingresses"),
        ("NetworkPolicy", "networkpolicies"),
        ("Gateway", "gateways"),
        ("StorageClass", "storageclasses"),
        ("Prometheus", "prometheuses"),
    ],
)
def test_plurals_follow_kubernetes_rule(kind: str, name: str) -> None:
    assert plural("", kind) == name


def test_plurals_that_follow_no_rule() -> None:
    assert plural("", "Endpoints") == "endpoints"
    assert plural("k8s.cni.cncf.io", "NetworkAttachmentDefinition") == "network-attachment-definitions"
    assert plural("config.openshift.io", "DNS") == "dnses"


def kind(group: str, version: str, name: str, **more: bool) -> Kind:
    return Kind(group, version, name, more.get("namespaced", True), more.get("has_status", True))


def test_of_versions_that_nobody_recorded_the_most_stable_is_stored() -> None:
    versions = ("v1alpha1", "v1beta1", "v1", "v2alpha1")
    found = resources_of([kind("example.com", version, "Thing") for version in versions])
    assert {one.storage_version for one in found} == {"v1"}
    assert [one.version for one in found] == ["v1", "v1beta1", "v2alpha1", "v1alpha1"]


def test_versions_that_a_real_cluster_does_not_serve_are_left_out() -> None:
    versions = ("v1alpha1", "v1alpha2", "v1beta1")
    found = resources_of([kind("instancetype.kubevirt.io", v, "VirtualMachineInstancetype") for v in versions])
    assert [one.version for one in found] == ["v1beta1"]


def test_a_version_without_a_schema_of_its_own_is_served_like_its_neighbour() -> None:
    found = resources_of([kind("export.kubevirt.io", "v1beta1", "VirtualMachineExport")])
    assert {one.version for one in found} == {"v1", "v1beta1"}
    assert {one.storage_version for one in found} == {"v1"}
    assert kinds.schema_version("virtualmachineexports.export.kubevirt.io", "v1") == "v1beta1"
    assert [kinds.deprecated(one) for one in sorted(found, key=lambda one: one.version)] == [False, True]


def test_bodies_of_requests_are_no_resources() -> None:
    assert resources_of([kind("policy", "v1", "Eviction"), kind("autoscaling", "v1", "Scale")]) == []


def test_the_status_of_an_instance_is_no_subresource() -> None:
    versions = ("v1", "v1alpha3")
    [vm, *_] = resources_of([kind("kubevirt.io", version, "VirtualMachine") for version in versions])
    [vmi, *_] = resources_of([kind("kubevirt.io", version, "VirtualMachineInstance") for version in versions])
    assert "status" in vm.subresources
    assert "status" not in vmi.subresources


@pytest.mark.parametrize(
    ("group", "name", "owner"),
    [
        ("", "Pod", None),
        ("route.openshift.io", "Route", None),
        ("operators.coreos.com", "Subscription", kinds.BASE),
        ("nmstate.io", "NodeNetworkState", kinds.NMSTATE),
        ("cdi.kubevirt.io", "CDI", kinds.HYPERCONVERGED),
        ("cdi.kubevirt.io", "DataVolume", kinds.CDI),
        ("instancetype.kubevirt.io", "VirtualMachinePreference", kinds.KUBEVIRT),
        ("example.com", "Thing", "example.com"),
    ],
)
def test_who_installs_the_crd(group: str, name: str, owner: str | None) -> None:
    versions = ("v1beta1",) if group in ("instancetype.kubevirt.io", "nmstate.io", "cdi.kubevirt.io") else ("v1",)
    [resource] = resources_of([kind(group, version, name) for version in versions])
    assert kinds.owner(resource) == owner


def test_a_virtual_machine_shows_its_status() -> None:
    [vm, *_] = resources_of([kind("kubevirt.io", version, "VirtualMachine") for version in ("v1", "v1alpha3")])
    assert [column["name"] for column in columns(vm)] == ["Age", "Status", "Ready"]
