"""Who may ask what of the server, over the wire."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from awaited import awaited

Api = Any  # the raw HTTP of conftest.py

VMS = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"
REVIEWS = "/apis/authorization.k8s.io/v1"
WHO = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


def who(api: Api, **headers: str) -> Any:
    reply = api("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", WHO, **headers)
    return reply.body["status"]["userInfo"]


def token(api: Api, account: str = "default", **spec: Any) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    reply = api("POST", f"/api/v1/namespaces/{{ns}}/serviceaccounts/{account}/token", body)
    assert reply.status == 201, reply.text
    return str(reply.body["status"]["token"])


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def bind(api: Api, role: str, subject: dict[str, str]) -> None:
    group = "rbac.authorization.k8s.io"
    body = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    assert api("POST", f"/apis/{group}/v1/namespaces/{{ns}}/rolebindings", body).status == 201


@pytest.fixture
def robot(api: Api) -> str:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    assert api("POST", "/api/v1/namespaces/{ns}/serviceaccounts", body).status == 201
    return token(api, "robot")


def test_a_wrong_token_is_unauthorized(api: Api) -> None:
    reply = api("GET", VMS, **bearer("wrong"))
    assert (reply.status, reply.message, reply.body["reason"]) == (401, "Unauthorized", "Unauthorized")


def test_nobody_may_read_the_version_but_no_machines(api: Api) -> None:
    assert api("GET", "/version", Authorization="").status == 200
    reply = api("GET", VMS, Authorization="")
    assert reply.status == 403
    assert 'User "system:anonymous" cannot list resource "virtualmachines"' in reply.message


def test_a_service_account_s_token_is_its_user(api: Api, robot: str) -> None:
    user = who(api, **bearer(robot))
    assert user["username"] == f"system:serviceaccount:{api.namespace}:robot"
    assert "system:serviceaccounts" in user["groups"]


def test_a_token_dies_with_its_account(api: Api, robot: str) -> None:
    assert api("DELETE", "/api/v1/namespaces/{ns}/serviceaccounts/robot").status == 200
    assert api("GET", VMS, **bearer(robot)).status == 401


def test_a_token_for_another_audience_does_not_open_the_api(api: Api) -> None:
    assert api("GET", VMS, **bearer(token(api, audiences=["vault"]))).status == 401


def test_a_token_must_live_ten_minutes(api: Api) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 5}}
    reply = api("POST", "/api/v1/namespaces/{ns}/serviceaccounts/default/token", body)
    assert reply.status == 422
    assert "may not specify a duration less than 10 minutes" in reply.message


def test_rights_come_and_go_with_bindings(api: Api, robot: str) -> None:
    assert api("GET", VMS, **bearer(robot)).status == 403
    bind(api, "view", {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace})
    assert api("GET", VMS, **bearer(robot)).status == 200
    assert api("PUT", _start("a"), {}, Accept="*/*", **bearer(robot)).status == 403
    bind(api, "edit", {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace})
    assert api("PUT", _start("a"), {}, Accept="*/*", **bearer(robot)).status == 404


def _start(name: str) -> str:
    return f"/apis/subresources.kubevirt.io/v1/namespaces/{{ns}}/virtualmachines/{name}/start"


def test_impersonation_needs_the_right_and_has_that_user_s_rights(api: Api, robot: str) -> None:
    reply = api("GET", VMS, **bearer(robot), Impersonate_User="joe")
    assert (reply.status, reply.message.partition(":")[0]) == (403, 'users "joe" is forbidden')
    user = who(api, Impersonate_User="joe", Impersonate_Group="dev", Impersonate_Extra_team="core")
    assert user == {
        "username": "joe",
        "groups": ["dev", "system:authenticated"],
        "extra": {"team": ["core"]},
    }
    assert api("GET", VMS, Impersonate_User="joe").status == 403


def test_access_reviews_answer_for_oneself_and_for_others(api: Api, robot: str) -> None:
    bind(api, "view", {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace})
    resource = {"verb": "list", "group": "kubevirt.io", "resource": "virtualmachines", "namespace": api.namespace}
    spec = {"resourceAttributes": resource}
    own = api("POST", f"{REVIEWS}/selfsubjectaccessreviews", {"spec": spec}, **bearer(robot))
    assert own.body["status"]["allowed"] is True
    assert own.body["status"]["reason"].startswith('RBAC: allowed by RoleBinding "view/')
    other = api("POST", f"{REVIEWS}/subjectaccessreviews", {"spec": {**spec, "user": "joe"}})
    assert other.body["status"] == {"allowed": False}
    assert api("POST", f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {}}).status == 422


def test_a_token_review_tells_good_from_bad(api: Api, robot: str) -> None:
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    good = api("POST", path, {"spec": {"token": robot}}).body["status"]
    assert (good["authenticated"], good["user"]["username"]) == (
        True,
        f"system:serviceaccount:{api.namespace}:robot",
    )
    assert "authenticated" not in api("POST", path, {"spec": {"token": "wrong"}}).body["status"]


def test_a_token_secret_is_filled_and_works(api: Api) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "default"}},
    }
    assert api("POST", "/api/v1/namespaces/{ns}/secrets", body).status == 201
    secret = awaited(api, "/api/v1/namespaces/{ns}/secrets", "old", lambda found: "token" in found.get("data", {}))
    text = base64.b64decode(secret["data"]["token"]).decode()
    assert who(api, **bearer(text))["username"] == f"system:serviceaccount:{api.namespace}:default"


def test_groups_alone_are_nobody_to_impersonate(api: Api) -> None:
    reply = api("GET", VMS, Impersonate_Group="dev")
    assert (reply.status, reply.body["reason"]) == (400, "BadRequest")
    assert 'Groups:[]string{"dev"}, Extra:map[string][]string(nil)} without impersonating a user name' in reply.message


def test_a_review_that_asks_nothing_is_refused_without_naming_its_kind(api: Api) -> None:
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}}
    reply = api("POST", f"{REVIEWS}/selfsubjectaccessreviews", body)
    assert reply.status == 422
    assert reply.message.startswith('.authorization.k8s.io "" is invalid: spec.resourceAttributes')
