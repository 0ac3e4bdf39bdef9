"""Refusals in words. The messages are those of a real control plane."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster import errors
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import Asked, ClusterError, refusal
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource

VM = Resource("kubevirt.io", "v1", "virtualmachines", "VirtualMachine", hint="install the operator")
ASKED = Asked("apply", VM, "db", "prod")


def refused(code: int, message: str, reason: str | None = None, asked: Asked = ASKED, **details: Any) -> ClusterError:
    status = {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details}
    return refusal(asked, code, {}, json.dumps(status).encode())


WEBHOOK = 'admission webhook "virtualmachine-validator.kubevirt.io" denied the request: '
NOT_FOUND = 'NetworkAddonsConfig.networkaddonsoperator.network.kubevirt.io "cluster" not found'


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (422, "Invalid", f"{WEBHOOK}Invalid RunStrategy (Foo)"),
        (400, None, f"{WEBHOOK}quantities must match the regular expression"),
        (404, "NotFound", f"{WEBHOOK}{NOT_FOUND}"),
        (409, "Conflict", f"{WEBHOOK}in-flight migration detected"),
        (429, "TooManyRequests", f"{WEBHOOK}Eviction triggered evacuation"),
        (500, None, f"{WEBHOOK}failed decoding policy"),
        (
            403,
            "Forbidden",
            "x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: in progress",
        ),
    ],
)
def test_a_webhooks_denial_is_one_whatever_its_status(code: int, reason: str | None, message: str) -> None:
    error = refused(code, message, reason)
    assert isinstance(error, errors.Denied)
    assert error.message.startswith("Cannot apply VirtualMachine prod/db: ")
    assert "denied" not in error.message


def test_a_denial_says_the_words_and_who_said_them() -> None:
    error = refused(422, f"{WEBHOOK}Invalid RunStrategy (Foo)", "Invalid")
    assert error.message == (
        "Cannot apply VirtualMachine prod/db: Invalid RunStrategy (Foo)."
        " (Refused by virtualmachine-validator.kubevirt.io.)"
    )


def test_a_denial_passed_on_by_another_webhook_is_that_of_the_inner_one() -> None:
    outer = 'admission webhook "validate-hco.kubevirt.io" denied the request: '
    error = refused(403, f"{outer}{WEBHOOK}Rejecting the uninstall request", "Forbidden")
    assert "validate-hco" not in error.message
    assert "Rejecting the uninstall request. (Refused by virtualmachine-validator.kubevirt.io.)" in error.message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            500,
            "failed to create typed patch object (/s1; kubevirt.io/v1, Kind=VirtualMachine):"
            " .spec.template.spec.domain.memery: field not declared in schema",
        ),
        (
            400,
            'VirtualMachine in version "v1" cannot be handled as a VirtualMachine: strict decoding error: unknown field'
            ' "spec.template.spec.domain.memery"',
        ),
    ],
)
def test_a_misspelled_field_is_named_with_its_path(code: int, message: str) -> None:
    error = refused(code, message)
    assert isinstance(error, errors.Invalid)
    assert error.message == (
        "Cannot apply VirtualMachine prod/db: VirtualMachine (kubevirt.io/v1) has no field"
        " spec.template.spec.domain.memery. Check the spelling and where it is placed."
    )


def test_several_misspelled_fields_are_all_named() -> None:
    error = refused(400, 'strict decoding error: unknown field "spec.alsoBogus", unknown field "spec.bogus"')
    assert "has no field spec.alsoBogus, spec.bogus." in error.message


def test_an_api_that_is_not_served_says_what_to_install() -> None:
    error = refusal(ASKED, 404, {}, b"404 page not found\n")
    assert isinstance(error, errors.NotServed)
    assert error.message.endswith("the cluster does not serve kubevirt.io/v1 virtualmachines: install the operator.")


def test_a_missing_object_is_not_a_missing_api() -> None:
    error = refused(404, 'virtualmachines.kubevirt.io "db" not found', "NotFound", name="db", kind="virtualmachines")
    assert error.__class__ is errors.NotFound


def test_a_missing_namespace_is_told_as_one() -> None:
    error = refused(404, 'namespaces "prod" not found', "NotFound", name="prod", kind="namespaces")
    assert isinstance(error, errors.NamespaceMissing)
    assert "Create the namespace first" in error.message


def test_a_403_names_verb_and_resource() -> None:
    message = (
        'virtualmachines.kubevirt.io "db" is forbidden: User "system:serviceaccount:prod:robot" cannot patch resource'
        ' "virtualmachines" in API group "kubevirt.io" in the namespace "prod"'
    )
    error = refused(403, message, "Forbidden")
    assert isinstance(error, errors.Forbidden)
    assert (
        "Missing right: verb patch on virtualmachines.kubevirt.io for system:serviceaccount:prod:robot, granted by a"
        " Role in namespace prod."
    ) in error.message


def test_a_403_at_the_cluster_scope_asks_for_a_cluster_role() -> None:
    message = 'nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at the cluster scope'
    assert "verb list on nodes for u, granted by a ClusterRole." in refused(403, message, "Forbidden").message


def test_a_quota_is_forbidden_without_talk_of_rights() -> None:
    error = refused(403, 'pods "a" is forbidden: exceeded quota: q', "Forbidden")
    assert isinstance(error, errors.Forbidden)
    assert "Missing right" not in error.message


CONFLICT_CAUSES = [
    {"reason": "FieldManagerConflict", "message": 'conflict with "argocd"', "field": ".spec.runStrategy"},
    {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "virt-api" using kubevirt.io/v1 at 2026-11-20T19:11:40Z',
        "field": ".spec.template",
    },
    {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "virt-controller" with subresource "status" using kubevirt.io/v1',
        "field": ".status",
    },
]


def test_a_field_conflict_tells_who_declares_from_who_updated() -> None:
    error = refused(409, "Apply failed with 3 conflicts", "Conflict", causes=CONFLICT_CAUSES)
    assert isinstance(error, errors.FieldConflict)
    assert error.applied == [("argocd", "spec.runStrategy")]
    assert len(error.conflicts) == 3
    assert "argocd holds spec.runStrategy" in error.message
    assert "force_conflicts: true" in error.message


def test_409s_are_told_apart() -> None:
    assert refused(409, '"db" already exists', "AlreadyExists").__class__ is errors.AlreadyExists
    assert refused(409, "VM is already running", "Conflict").__class__ is errors.Conflict


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (401, "Unauthorized", errors.Unauthorized),
        (410, "Expired", errors.Expired),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.Unavailable),
        (500, "InternalError", errors.Unavailable),
        (500, None, errors.Invalid),
        (503, "ServiceUnavailable", errors.Unavailable),
        (504, "Timeout", errors.Unavailable),
        (415, "UnsupportedMediaType", errors.Invalid),
    ],
)
def test_what_kind_of_error_it_is(code: int, reason: str | None, kind: type[ClusterError]) -> None:
    assert refused(code, "words", reason).__class__ is kind


def test_retry_after_comes_from_the_header_or_the_details() -> None:
    status = {"kind": "Status", "code": 429, "message": "busy", "details": {"retryAfterSeconds": 3}}
    assert refusal(ASKED, 429, {}, json.dumps(status).encode()).retry_after == 3
    assert refusal(ASKED, 429, {"Retry-After": "7"}, b"busy").retry_after == 7
    assert refusal(ASKED, 503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"busy").retry_after is None


def test_an_eviction_that_a_budget_forbids_is_no_overload() -> None:
    error = refused(429, "Cannot evict pod", "TooManyRequests", causes=[{"reason": "DisruptionBudget"}])
    assert isinstance(error, errors.Conflict)


def test_a_proxys_page_is_shown_as_it_is() -> None:
    error = refusal(ASKED, 502, {}, b"<html>Bad Gateway</html>")
    assert isinstance(error, errors.Unavailable)
    assert "Bad Gateway" in error.message


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (Asked("get", VM, "db", "prod"), "get VirtualMachine prod/db"),
        (Asked("list", VM), "list virtualmachines.kubevirt.io"),
        (Asked("list", VM, namespace="prod"), "list virtualmachines.kubevirt.io in namespace prod"),
        (Asked("call", VM, "db", "prod", "start"), "start VirtualMachine prod/db"),
        (Asked("GET", path="/version"), "GET /version"),
    ],
)
def test_what_was_asked_in_words(asked: Asked, text: str) -> None:
    assert str(asked) == text
