"""C(serviceaccounts/token): a short-lived token for a service account."""

from __future__ import annotations

from virtlab.auth.authentication import BOUND_KINDS
from virtlab.resource import Object, Resource
from virtlab.status import Cause, StatusError, conflict, invalid, not_found
from virtlab.subresources.registry import Answer, Call, action

TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", custom=False)
DEFAULT_SECONDS = 3600
SHORTEST_SECONDS = 600
LONGEST_SECONDS = 1 << 32


def expiration_problem(seconds: int) -> str | None:
    """What is wrong with a wanted life time, in the API server's words."""
    if seconds < SHORTEST_SECONDS:
        return "may not specify a duration less than 10 minutes"
    if seconds > LONGEST_SECONDS:
        return "may not specify a duration larger than 2^32 seconds"
    return None


@action("serviceaccounts", "token", "POST", group="authentication.k8s.io", version="v1", kind="TokenRequest")
def request_token(call: Call) -> Answer:
    """Signs a token, which dies with the account and with the object that it is bound to."""
    spec = call.document().get("spec") or {}
    seconds = spec.get("expirationSeconds") or DEFAULT_SECONDS
    problem = expiration_problem(seconds)
    if problem:
        cause = Cause(f"Invalid value: {seconds}: {problem}", "spec.expirationSeconds", "FieldValueInvalid")
        raise invalid(TOKEN_REQUEST, "", [cause])
    seconds = call.cluster.faults.token_lifetime() or seconds
    account = call.cluster.get(call.resource, call.name, call.namespace)
    tokens = call.cluster.authenticator.tokens
    audiences = spec.get("audiences") or [tokens.issuer]
    reference = spec.get("boundObjectRef")
    bound = _bound(call, reference) if reference else None
    issued = tokens.issue(account, seconds, audiences=audiences, bound=bound)
    body: Object = {
        "kind": TOKEN_REQUEST.kind,
        "apiVersion": TOKEN_REQUEST.api_version,
        "metadata": {
            "name": call.name,
            "namespace": call.namespace,
            "creationTimestamp": call.cluster.clock.stamp(),
        },
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
        "status": {"token": issued.token, "expirationTimestamp": issued.expires},
    }
    return Answer(201, body)


def _bound(call: Call, reference: Object) -> dict[str, dict[str, str]]:
    kind = str(reference.get("kind", "")).lower()
    resource = call.cluster.resource(BOUND_KINDS.get(kind, ""))
    if resource is None:
        text = f'cannot bind token for serviceaccount "{call.name}" to object of type {reference.get("kind")}'
        raise StatusError(400, text, "BadRequest")
    name = reference["name"]
    obj = call.cluster.find(resource, name, call.namespace if resource.namespaced else None)
    if obj is None:
        raise not_found(resource, name)
    uid = obj["metadata"]["uid"]
    if reference.get("uid") not in (None, "", uid):
        why = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
        raise conflict(resource, name, why + "The object might have been deleted and then recreated")
    return {kind: {"name": name, "uid": uid}}
