"""Defaults and rules of built-in kinds."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.schema.builtin import default
from virtlab.schema.builtin_rules import problems


def defaulted(qualified: str, obj: dict[str, Any]) -> dict[str, Any]:
    default(qualified, obj)
    return obj


def test_a_service_port_goes_to_the_same_port_of_the_pod() -> None:
    spec = defaulted("services", {"spec": {"ports": [{"port": 22}]}})["spec"]
    assert spec["ports"] == [{"port": 22, "protocol": "TCP", "targetPort": 22}]
    assert (spec["type"], spec["sessionAffinity"], spec["internalTrafficPolicy"]) == ("ClusterIP", "None", "Cluster")


def test_what_is_written_is_no_default() -> None:
    obj = defaulted("deployments.apps", {"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}})
    assert obj["spec"]["replicas"] == 0
    assert obj["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("registry:5000/a", "Always"),
        ("a@sha256:1", "IfNotPresent"),
    ],
)
def test_an_image_without_a_fixed_version_is_always_pulled(image: str, policy: str) -> None:
    obj = defaulted("pods", {"spec": {"containers": [{"name": "x", "image": image}]}})
    assert obj["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_defaulting_twice_changes_nothing_more() -> None:
    pod = {"containers": [{"name": "a", "image": "b"}]}
    once = defaulted("deployments.apps", {"spec": {"template": {"spec": pod}}})
    again = defaulted("deployments.apps", {"spec": {**once["spec"]}})
    assert again == once


def test_two_objects_share_no_default() -> None:
    one, two = defaulted("daemonsets.apps", {}), defaulted("daemonsets.apps", {})
    one["spec"]["updateStrategy"]["type"] = "OnDelete"
    assert two["spec"]["updateStrategy"]["type"] == "RollingUpdate"


def causes(qualified: str, new: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str | None, str]]:
    return [(cause.field, cause.message) for cause in problems(qualified, new, old)]


def test_a_service_needs_ports_unless_it_has_no_address() -> None:
    assert causes("services", {"spec": {}}) == [("spec.ports", "Required value")]
    assert causes("services", {"spec": {"clusterIP": "None"}}) == []
    assert causes("services", {"spec": {"type": "ExternalName", "externalName": "x"}}) == []


def test_several_ports_of_a_service_have_different_names() -> None:
    ports = [{"port": 80, "name": "a"}, {"port": 81}, {"port": 82, "name": "a"}]
    assert causes("services", {"spec": {"ports": ports}}) == [
        ("spec.ports[1].name", "Required value"),
        ("spec.ports[2].name", 'Duplicate value: "a"'),
    ]


def test_the_address_of_a_service_stays() -> None:
    old = {"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}
    new = {"spec": {**old["spec"], "clusterIP": "10.0.0.2"}}
    assert causes("services", new, old) == [
        ("spec.clusterIPs[0]", 'Invalid value: ["10.0.0.2"]: may not change once set')
    ]


def test_what_is_marked_immutable_is() -> None:
    old = {"immutable": True, "data": {"a": "1"}}
    text = "Forbidden: field is immutable when `immutable` is set"
    assert causes("configmaps", {"data": {"a": "2"}}, old) == [("immutable", text), ("data", text)]


def claim(size: str, **status: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "volumeName": "pv"}
    return {"spec": spec, "status": status}


def test_a_bound_claim_grows_and_does_not_shrink() -> None:
    old = claim("2Gi", phase="Bound", capacity={"storage": "2Gi"})
    assert causes("persistentvolumeclaims", claim("3Gi"), old) == []
    assert causes("persistentvolumeclaims", claim("1Gi"), old) == [
        ("spec.resources.requests.storage", "Forbidden: field can not be less than status.capacity")
    ]


def test_nothing_else_of_a_claim_changes() -> None:
    old = claim("2Gi", phase="Bound")
    new = claim("2Gi")
    new["spec"]["accessModes"] = ["ReadWriteMany"]
    [(field, message)] = causes("persistentvolumeclaims", new, old)
    assert field == "spec"
    assert message.startswith("Forbidden: spec is immutable after creation except resources.requests")


def test_a_claim_says_how_it_is_used_and_how_large_it_is() -> None:
    assert causes("persistentvolumeclaims", {"spec": {}}) == [
        ("spec.accessModes", "Required value: at least 1 access mode is required"),
        ("spec.resources[storage]", "Required value"),
    ]


def test_a_selector_finds_the_pods_of_its_template() -> None:
    template = {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": [{"name": "x", "image": "y"}]}}
    new = {"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}}
    [(field, message)] = causes("deployments.apps", new)
    assert field == "spec.template.metadata.labels"
    assert message.endswith("`selector` does not match template `labels`")


def test_a_binding_keeps_its_role() -> None:
    old = {"roleRef": {"kind": "Role", "name": "a"}}
    new = {"roleRef": {"kind": "Role", "name": "b"}}
    [(field, message)] = causes("rolebindings.rbac.authorization.k8s.io", new, old)
    assert field == "roleRef"
    assert message.endswith("cannot change roleRef")


def test_a_config_map_holds_each_key_once() -> None:
    obj = {"data": {"x": "1"}, "binaryData": {"x": "MQ=="}}
    assert causes("configmaps", obj) == [("data[x]", 'Invalid value: "x": duplicate of key present in binaryData')]


def test_what_secrets_of_a_type_must_hold() -> None:
    assert causes("secrets", {"type": "kubernetes.io/ssh-auth"}) == [("data[ssh-privatekey]", "Required value")]


def test_a_role_of_a_namespace_is_about_resources() -> None:
    rule = {"nonResourceURLs": ["/x"], "verbs": ["get"]}
    text = 'Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'
    found = causes("roles.rbac.authorization.k8s.io", {"rules": [rule]})
    assert found[0] == ("rules[0].nonResourceURLs", text)
    assert causes("clusterroles.rbac.authorization.k8s.io", {"rules": [rule]}) == []


def test_an_account_that_a_role_binding_names_may_be_of_its_own_namespace() -> None:
    binding = {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "a"}]}
    assert causes("rolebindings.rbac.authorization.k8s.io", binding) == []
    required = ("subjects[0].namespace", "Required value")
    assert causes("clusterrolebindings.rbac.authorization.k8s.io", binding) == [required]


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "a", "image": "i", **container}]}}


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        (pod(name="A_"), "spec.containers[0].name"),
        (pod(imagePullPolicy="Foo"), "spec.containers[0].imagePullPolicy"),
        (pod(env=[{"name": ""}]), "spec.containers[0].env[0].name"),
        (pod(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}), "spec.containers[0].resources.requests"),
        ({"spec": {**pod()["spec"], "dnsPolicy": "Foo"}}, "spec.dnsPolicy"),
        ({"spec": {**pod()["spec"], "nodeSelector": {"bad!": "x"}}}, "spec.nodeSelector"),
        ({"spec": {**pod()["spec"], "volumes": [{"name": "v"}, {"name": "v"}]}}, "spec.volumes[1].name"),
    ],
)
def test_what_a_pod_may_not_say(obj: dict[str, Any], field: str) -> None:
    assert [path for path, _ in causes("pods", obj)] == [field]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"strategy": {"type": "Foo"}}, "spec.strategy"),
        ({"minReadySeconds": -1}, "spec.minReadySeconds"),
        ({"progressDeadlineSeconds": 0}, "spec.progressDeadlineSeconds"),
    ],
)
def test_what_a_deployment_may_not_say(spec: dict[str, Any], field: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, **pod()}
    obj = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}}
    assert [path for path, _ in causes("deployments.apps", obj)] == [field]


def test_a_job_ends() -> None:
    required = ("spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"')
    assert causes("jobs.batch", {"spec": {"template": pod()}}) == [required]


def test_kinds_of_network_policies() -> None:
    found = causes("networkpolicies.networking.k8s.io", {"spec": {"policyTypes": ["Foo"]}})
    assert found == [("spec.policyTypes[0]", 'Unsupported value: "Foo": supported values: "Ingress", "Egress"')]


def test_an_event_is_in_the_namespace_of_what_it_is_about() -> None:
    event = {"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}
    assert [path for path, _ in causes("events", event)] == ["involvedObject.namespace"]
