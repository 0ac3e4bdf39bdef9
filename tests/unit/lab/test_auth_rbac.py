"""What roles and bindings allow."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.auth.attributes import Attributes
from virtlab.auth.rbac import Authorizer
from virtlab.auth.roles import cdi_roles, kubernetes_roles, kubevirt_roles
from virtlab.operation import User
from virtlab.status import StatusError
from virtlab.store import Store

GROUP = "rbac.authorization.k8s.io"
JOE = User("joe", ("dev", "system:authenticated"))
ROBOT = User("system:serviceaccount:prod:robot", ("system:authenticated",))
VMS = {"group": "kubevirt.io", "resource": "virtualmachines"}


def add(store: Store, kind: str, name: str, namespace: str | None = None, **content: Any) -> None:
    metadata = {"name": name, "uid": name, **({"namespace": namespace} if namespace else {})}
    metadata.update(content.pop("metadata", {}))
    store.put((GROUP, f"{kind.lower()}s"), {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, **content})


def rule(verbs: str, resources: str, **more: Any) -> dict[str, Any]:
    return {"apiGroups": ["kubevirt.io"], "verbs": verbs.split(), "resources": resources.split(), **more}


def bind(store: Store, role: str, *subjects: dict[str, str], namespace: str | None = None, kind: str = "Role") -> None:
    add(
        store,
        "RoleBinding" if namespace else "ClusterRoleBinding",
        f"bind-{role}",
        namespace,
        roleRef={"apiGroup": GROUP, "kind": kind if namespace else "ClusterRole", "name": role},
        subjects=list(subjects),
    )


def test_nothing_is_allowed_without_a_binding() -> None:
    assert not Authorizer(Store()).allowed(JOE, Attributes("list", **VMS)).allowed


def test_system_masters_may_do_everything() -> None:
    assert (
        Authorizer(Store()).allowed(User("root", ("system:masters",)), Attributes("delete", resource="nodes")).allowed
    )


def test_a_role_holds_in_its_namespace_only() -> None:
    store = Store()
    authorizer = Authorizer(store)
    add(store, "Role", "reader", "prod", rules=[rule("list", "virtualmachines")])
    bind(store, "reader", {"kind": "ServiceAccount", "name": "robot", "namespace": "prod"}, namespace="prod")
    decision = authorizer.allowed(ROBOT, Attributes("list", namespace="prod", **VMS))
    assert decision.reason == (
        'RBAC: allowed by RoleBinding "bind-reader/prod" of Role "reader" to ServiceAccount "robot/prod"'
    )
    assert not authorizer.allowed(ROBOT, Attributes("get", namespace="prod", **VMS)).allowed
    assert not authorizer.allowed(ROBOT, Attributes("list", namespace="other", **VMS)).allowed
    assert not authorizer.allowed(ROBOT, Attributes("list", **VMS)).allowed


def test_a_binding_that_goes_takes_its_rights_along() -> None:
    store = Store()
    authorizer = Authorizer(store)
    add(store, "ClusterRole", "reader", rules=[rule("list", "virtualmachines")])
    bind(store, "reader", {"kind": "Group", "name": "dev"})
    assert authorizer.allowed(JOE, Attributes("list", **VMS)).allowed
    store.remove((GROUP, "clusterrolebindings"), None, "bind-reader")
    assert not authorizer.allowed(JOE, Attributes("list", **VMS)).allowed


@pytest.mark.parametrize(
    ("granted", "wanted", "allowed"),
    [
        (rule("*", "*"), Attributes("update", subresource="status", **VMS), True),
        (rule("update", "virtualmachines"), Attributes("update", subresource="status", **VMS), False),
        (rule("update", "virtualmachines/status"), Attributes("update", subresource="status", **VMS), True),
        (rule("update", "*/status"), Attributes("update", subresource="status", **VMS), True),
        (rule("get", "virtualmachines", resourceNames=["a"]), Attributes("get", name="a", **VMS), True),
        (rule("get", "virtualmachines", resourceNames=["a"]), Attributes("get", name="b", **VMS), False),
        (rule("list", "virtualmachines", resourceNames=["a"]), Attributes("list", **VMS), False),
        ({"nonResourceURLs": ["/healthz/*"], "verbs": ["get"]}, Attributes("get", path="/healthz/etcd"), True),
        ({"nonResourceURLs": ["/healthz"], "verbs": ["get"]}, Attributes("get", path="/healthz/etcd"), False),
        ({"nonResourceURLs": ["*"], "verbs": ["get"]}, Attributes("put", path="/healthz"), False),
    ],
)
def test_rules(granted: dict[str, Any], wanted: Attributes, allowed: bool) -> None:
    store = Store()
    add(store, "ClusterRole", "r", rules=[granted])
    bind(store, "r", {"kind": "User", "name": "joe"})
    assert Authorizer(store).allowed(JOE, wanted).allowed is allowed


def test_view_edit_and_admin_collect_what_the_operators_bring() -> None:
    store = Store()
    for role in (*kubernetes_roles(), *kubevirt_roles(), *cdi_roles()):
        add(store, **{**{key: role[key] for key in role if key != "apiVersion"}, "name": role["metadata"]["name"]})
    authorizer = Authorizer(store)
    start = Attributes("update", "subresources.kubevirt.io", "v1", "virtualmachines", "start", "prod", "db")
    answers = {}
    for level in ("view", "edit", "admin"):
        user = User(level)
        bind(store, level, {"kind": "User", "name": level}, namespace="prod", kind="ClusterRole")
        answers[level] = [
            authorizer.allowed(user, wanted).allowed
            for wanted in (
                Attributes("list", namespace="prod", **VMS),
                Attributes("list", "cdi.kubevirt.io", resource="datavolumes", namespace="prod"),
                start,
                Attributes("deletecollection", namespace="prod", **VMS),
                Attributes("create", GROUP, resource="rolebindings", namespace="prod"),
            )
        ]
        store.remove((GROUP, "rolebindings"), "prod", f"bind-{level}")
    assert answers == {
        "view": [True, True, False, False, False],
        "edit": [True, True, True, False, False],
        "admin": [True, True, True, True, True],
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            Attributes("list", namespace="obs", **VMS),
            'virtualmachines.kubevirt.io is forbidden: User "joe" cannot list resource "virtualmachines" in API group '
            '"kubevirt.io" in the namespace "obs"',
        ),
        (
            Attributes("update", "subresources.kubevirt.io", "v1", "virtualmachines", "start", "obs", "s1"),
            'virtualmachines.subresources.kubevirt.io "s1" is forbidden: User "joe" cannot update resource '
            '"virtualmachines/start" in API group "subresources.kubevirt.io" in the namespace "obs"',
        ),
        (
            Attributes("list", resource="nodes"),
            'nodes is forbidden: User "joe" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        (Attributes("get", path="/metrics"), 'forbidden: User "joe" cannot get path "/metrics"'),
    ],
)
def test_a_refusal_in_the_api_server_s_words(wanted: Attributes, message: str) -> None:
    with pytest.raises(StatusError) as refusal:
        Authorizer(Store()).require(JOE, wanted)
    assert (refusal.value.code, refusal.value.message) == (403, message)
