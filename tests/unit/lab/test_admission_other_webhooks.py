"""nmstate's policy, the MAC pool, HyperConverged's settings: as functions of what is written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from machines import machine
from virtlab.admission import hyperconverged, mac_pool, nmstate
from virtlab.cluster import Cluster
from virtlab.operation import ADMIN, Operation
from virtlab.resource import Resource
from virtlab.status import StatusError
from virtlab.store import Store

POLICIES = Resource("nmstate.io", "v1", "NodeNetworkConfigurationPolicy", "nodenetworkconfigurationpolicies", False)
MACHINES = Resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
POLICY = (
    "ValidatingAdmissionPolicy 'nncp-validation-policy' with binding 'nncp-validation-policy-binding' denied request"
)


def operation(
    store: Store,
    resource: Resource,
    obj: dict[str, Any],
    old: dict[str, Any] | None = None,
    namespace: str | None = None,
) -> Operation:
    cluster = cast(Cluster, SimpleNamespace(store=store))
    verb = "UPDATE" if old else "CREATE"
    return Operation(cluster, verb, resource, namespace, obj["metadata"]["name"], obj, old, ADMIN)


# nmstate


def policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"desiredState": {}, **spec}}


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        (policy(nodeSelector={"zone": "b c"}), "nodeSelector values must be valid label values"),
        (
            policy("x" * 64),
            f'invalid policy name: "{"x" * 64}": must be no more than 63 characters or match label value format',
        ),
    ],
)
def test_a_policy_that_is_none(obj: dict[str, Any], why: str) -> None:
    with pytest.raises(StatusError) as refusal:
        nmstate.check(operation(Store(), POLICIES, obj))
    assert (refusal.value.code, refusal.value.causes[0].message) == (422, f"{POLICY}: {why}")


def test_a_policy_in_progress_does_not_change() -> None:
    old = policy()
    old["status"] = {"conditions": [{"type": "Progressing", "status": "True"}]}
    nmstate.check(operation(Store(), POLICIES, policy(), old))
    with pytest.raises(StatusError) as refusal:
        nmstate.check(operation(Store(), POLICIES, policy(maxUnavailable=1), old))
    assert (refusal.value.code, refusal.value.causes[0].message) == (403, f"{POLICY}: policy p is still in progress")


def test_a_policy_is_stamped_when_its_spec_changes() -> None:
    new = policy()
    nmstate.stamp(operation(Store(), POLICIES, new))
    assert nmstate.TIMESTAMP in new["metadata"]["annotations"]
    same = policy()
    nmstate.stamp(operation(Store(), POLICIES, same, policy()))
    assert "annotations" not in same["metadata"]


# MAC pool


def pooled(**pool: str) -> Store:
    store = Store()
    body = {
        "apiVersion": "v1",
        "kind": "NetworkAddonsConfig",
        "metadata": {"name": "cluster"},
        "spec": {"kubeMacPool": pool},
    }
    store.put(mac_pool.CONFIG, body)
    store.put(("", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod"}})
    return store


def with_mac(name: str, mac: str | None) -> dict[str, Any]:
    vm = machine(name)
    vm["metadata"]["namespace"] = "prod"
    if mac:
        vm["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0]["macAddress"] = mac
    return vm


def given(store: Store, vm: dict[str, Any], old: dict[str, Any] | None = None) -> str | None:
    mac_pool.give_addresses(operation(store, MACHINES, vm, old, "prod"))
    interface = vm["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"][0]
    return cast("str | None", interface.get("macAddress"))


def test_an_address_in_use_is_refused() -> None:
    store = pooled()
    store.put(mac_pool.MACHINES, with_mac("a", "02:00:00:00:00:0A"))
    with pytest.raises(StatusError, match="already in use by vm/prod/a"):
        given(store, with_mac("b", "02:00:00:00:00:0a"))
    store.remove(mac_pool.MACHINES, "prod", "a")
    assert given(store, with_mac("b", "02:00:00:00:00:0a")) == "02:00:00:00:00:0a"


def test_addresses_come_from_the_range_and_stay() -> None:
    store = pooled(rangeStart="02:00:00:00:00:00", rangeEnd="02:00:00:00:00:01")
    first = with_mac("a", None)
    assert given(store, first) == "02:00:00:00:00:00"
    store.put(mac_pool.MACHINES, first)
    assert given(store, with_mac("a", None), first) == "02:00:00:00:00:00"
    second = with_mac("b", None)
    assert given(store, second) == "02:00:00:00:00:01"


def test_without_a_range_a_machine_stays_as_it_was_declared() -> None:
    assert given(pooled(), with_mac("a", None)) is None
    assert given(Store(), with_mac("a", None)) is None


def test_a_namespace_can_opt_out() -> None:
    store = pooled()
    metadata = {"name": "prod", "labels": {mac_pool.WEBHOOK: "ignore"}}
    store.put(("", "namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    store.put(mac_pool.MACHINES, with_mac("a", "02:00:00:00:00:0a"))
    assert given(store, with_mac("b", "02:00:00:00:00:0a")) == "02:00:00:00:00:0a"


# HyperConverged


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({}, None),
        ({"certConfig": {"ca": {"duration": "5m"}}}, "spec.certConfig.ca.duration: value is too small"),
        (
            {"certConfig": {"server": {"duration": "1h0m0s", "renewBefore": "2h"}}},
            "spec.certConfig.server: duration is smaller than renewBefore",
        ),
        (
            {
                "security": {
                    "certConfig": {"ca": {"duration": "24h", "renewBefore": "12h"}, "server": {"duration": "30h"}}
                }
            },
            "spec.certConfig: ca.duration is smaller than server.duration",
        ),
        (
            {"tlsSecurityProfile": {"type": "Custom"}},
            "missing required field spec.tlsSecurityProfile.custom when type is Custom",
        ),
        (
            {"dataImportCronTemplates": [{"metadata": {"name": "a"}}]},
            "dataImportCronTemplate spec is empty for an enabled DataImportCronTemplate",
        ),
    ],
)
def test_settings_of_hyperconverged(spec: dict[str, Any], why: str | None) -> None:
    assert hyperconverged.spec_problem({"spec": spec}) == why
