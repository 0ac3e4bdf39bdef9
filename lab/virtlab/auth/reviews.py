"""The review APIs: questions about users and rights, answered without anything being stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from virtlab.auth.attributes import Attributes
from virtlab.auth.rbac import Rule
from virtlab.operation import User
from virtlab.resource import Object
from virtlab.status import Cause, StatusError, bad_request, invalid
from virtlab.subresources.registry import Answer, Call, action

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
EXACTLY_ONE = "exactly one of nonResourceAttributes or resourceAttributes must be specified"

Review = Callable[[Call, Object], Object]


def user_info(user: User) -> Object:
    """A UserInfo without the parts that are empty."""
    info = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {key: value for key, value in info.items() if value}


def read_user(spec: Mapping[str, Any]) -> User:
    extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "", extra)


def read_attributes(spec: Mapping[str, Any]) -> Attributes:
    """What a review asks about. Raises ValueError unless exactly one kind of attributes is there."""
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if path is not None and resource is None:
        return Attributes(path.get("verb") or "", path=path.get("path") or "/")
    if resource is None or path is not None:
        raise ValueError(EXACTLY_ONE)
    keys = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(**{key: resource.get(key) or "" for key in keys})


def _review(resource: str, group: str) -> Callable[[Review], Review]:
    """Registers a function that takes the request's object and returns it with its status."""

    def register(review: Review) -> Review:
        @action(f"{resource}.{group}", "", "POST")
        def handler(call: Call) -> Answer:
            sent = call.document()
            body = {
                "kind": call.resource.kind,
                "apiVersion": call.resource.api_version,
                "metadata": sent.get("metadata") or {},
                "spec": sent.get("spec") or {},
            }
            return Answer(201, review(call, body))

        return review

    return register


def _access(call: Call, body: Object, user: User) -> Object:
    try:
        wanted = read_attributes(body["spec"])
    except ValueError as error:
        cause = Cause(f"Invalid value: null: {error}", "spec.resourceAttributes", "FieldValueInvalid")
        raise _invalid(call, cause) from error
    decision = call.cluster.authorizer.allowed(user, wanted)
    status: Object = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    return {**body, "status": status}


def _invalid(call: Call, cause: Cause) -> StatusError:
    """The authorization API names no kind in its errors."""
    return invalid(replace(call.resource, kind=""), "", [cause])


@_review("selfsubjectaccessreviews", AUTHORIZATION)
def self_subject_access(call: Call, body: Object) -> Object:
    return _access(call, body, call.user)


@_review("subjectaccessreviews", AUTHORIZATION)
def subject_access(call: Call, body: Object) -> Object:
    user = read_user(body["spec"])
    if not user.name and not user.groups:
        text = 'Invalid value: "": at least one of user or group must be specified'
        raise _invalid(call, Cause(text, "spec.user", "FieldValueInvalid"))
    return _access(call, body, user)


@_review("localsubjectaccessreviews", AUTHORIZATION)
def local_subject_access(call: Call, body: Object) -> Object:
    asked = (body["spec"].get("resourceAttributes") or {}).get("namespace") or ""
    if asked != call.namespace:
        raise bad_request(f"spec.resourceAttributes.namespace must match namespace: {call.namespace}")
    return subject_access(call, body)


@_review("selfsubjectrulesreviews", AUTHORIZATION)
def self_subject_rules(call: Call, body: Object) -> Object:
    namespace = body["spec"].get("namespace") or ""
    if not namespace:
        raise bad_request("no namespace on request")
    rules = call.cluster.authorizer.rules(call.user, namespace)
    return {**body, "spec": {}, "status": {**_rule_lists(rules), "incomplete": False}}


def _rule_lists(rules: list[Rule]) -> Object:
    resources: list[Object] = []
    paths: list[Object] = []
    for rule in rules:
        if rule.paths:
            paths.append({"verbs": sorted(rule.verbs), "nonResourceURLs": list(rule.paths)})
        else:
            entry = {
                "verbs": sorted(rule.verbs),
                "apiGroups": sorted(rule.groups),
                "resources": sorted(rule.resources),
                "resourceNames": sorted(rule.names),
            }
            resources.append({key: value for key, value in entry.items() if value})
    return {"resourceRules": resources, "nonResourceRules": paths}


@_review("selfsubjectreviews", AUTHENTICATION)
def self_subject(call: Call, body: Object) -> Object:
    metadata = {"creationTimestamp": call.cluster.clock.stamp()}
    head = {key: body[key] for key in ("kind", "apiVersion")}
    return {**head, "metadata": metadata, "status": {"userInfo": user_info(call.user)}}


@_review("tokenreviews", AUTHENTICATION)
def token(call: Call, body: Object) -> Object:
    spec = body["spec"]
    audiences = spec.get("audiences") or []
    if not spec.get("token"):
        raise bad_request("token is required for TokenReview in authentication")
    try:
        user = call.cluster.authenticator.token_user(spec["token"], audiences)
    except StatusError:
        return {**body, "status": {"user": {}, "error": "[invalid bearer token, token lookup failed]"}}
    status: Object = {"authenticated": True, "user": user_info(user)}
    if audiences:
        status["audiences"] = audiences
    return {**body, "status": status}
