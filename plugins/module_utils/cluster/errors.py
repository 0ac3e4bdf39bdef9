# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong between a task and an API server, in words: what was asked, what came back, what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..task import Failure
from .resource import Resource


@dataclass(frozen=True)
class Asked:
    """A request in the words of its user, e.g. Asked("create", VIRTUAL_MACHINE, "db", "prod")."""

    verb: str
    resource: Resource | None = None
    name: str | None = None
    namespace: str | None = None
    subresource: str | None = None
    path: str | None = None

    @property
    def target(self) -> str:
        if self.resource is None:
            return self.path or "the API server"
        where = "/".join(part for part in (self.namespace if self.resource.namespaced else None, self.name) if part)
        what = self.resource.kind if self.name else self.resource.qualified
        place = where if self.name else (f"in namespace {where}" if where else "")
        return f"{what} {place}".rstrip()

    def __str__(self) -> str:
        if self.subresource is None:
            return f"{self.verb} {self.target}"
        return f"{self.subresource if self.verb == 'call' else f'{self.verb} {self.subresource} of'} {self.target}"


class ClusterError(Failure):
    """A request that was refused or not answered. C(code) is the HTTP status, 0 when there was no answer.

    C(after_loss): an earlier attempt of the same request had no answer, so that it may have been done.
    """

    after_loss = False

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        reason: str = "",
        causes: Sequence[Mapping[str, Any]] = (),
        server_message: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.causes = list(causes)
        self.server_message = server_message
        self.retry_after = retry_after


class NotFound(ClusterError):
    """The object, or the namespace it was to be put into, does not exist."""


class NamespaceMissing(NotFound):
    """The namespace that the object was to be put into does not exist."""


class NotServed(ClusterError):
    """The API server does not know the API at all: an operator or a custom resource definition is missing."""


class AlreadyExists(ClusterError):
    """An object of that name exists."""


class Conflict(ClusterError):
    """The object's present state does not allow it, or it changed in between."""


class FieldConflict(Conflict):
    """Other field managers hold the declared fields with other values."""

    def __init__(self, message: str, *, conflicts: Sequence[tuple[str, str, bool]], **more: Any) -> None:
        super().__init__(message, **more)
        self.conflicts = list(conflicts)

    @property
    def applied(self) -> list[tuple[str, str]]:
        """(manager, field) of those who declare the field themselves; the others have merely updated it once."""
        return [(manager, field) for manager, field, applies in self.conflicts if applies]


class Forbidden(ClusterError):
    """The user's roles do not allow it."""


class Unauthorized(ClusterError):
    """The server does not accept the credentials."""


class Invalid(ClusterError):
    """The object or the request is not acceptable as it is."""


class Denied(Invalid):
    """An admission webhook or policy refused. Its HTTP status means nothing."""


class Expired(ClusterError):
    """A resourceVersion or a continue token is too old."""


class Unavailable(ClusterError):
    """The server answered that it cannot answer now (429, 5xx)."""


class Unreachable(ClusterError):
    """There was no answer: no connection, a broken one, or none in time."""


def refusal(asked: Asked, code: int, headers: Mapping[str, str], data: bytes) -> ClusterError:
    """The error for an HTTP answer of 400 and above, told apart by status, reason and message together.

    Webhooks answer with any status and often without a reason, so their words decide; an API that does not exist
    answers 404 in plain text.
    """
    status = _status_object(data)
    text = str(status.get("message") or "").strip() if status else data.decode(errors="replace").strip()
    code = int(status.get("code") or code)
    details = status.get("details") or {}
    facts: dict[str, Any] = {
        "code": code,
        "reason": str(status.get("reason") or ""),
        "causes": details.get("causes") or [],
        "server_message": text,
        "retry_after": _seconds(headers.get("Retry-After") or details.get("retryAfterSeconds")),
    }
    if _is_denial(text):
        return Denied(f"Cannot {asked}: {_denial(text)}", **facts)
    unknown = _unknown_fields(text)
    if unknown:
        fields = ", ".join(unknown)
        kind = f"{asked.resource.kind} ({asked.resource.api_version})" if asked.resource else "the object"
        return Invalid(
            f"Cannot {asked}: {kind} has no field {fields}. Check the spelling and where it is placed.", **facts
        )
    if code == 404 and (not status or "could not find the requested resource" in text):
        return NotServed(_not_served(asked), **facts)
    if code == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in facts["causes"]):
        return _field_conflict(asked, facts)
    if code == 429 and any(cause.get("reason") == "DisruptionBudget" for cause in facts["causes"]):
        return Conflict(f"Cannot {asked}: {text}", **facts)
    kind_of_error, advice = _class_of(code, facts["reason"])
    if code == 403:
        advice = _missing_right(text)
    if code == 404 and details.get("kind") == "namespaces" and asked.namespace == details.get("name"):
        kind_of_error, advice = NamespaceMissing, "Create the namespace first, with virtstack.core.namespace."
    words = _ABOUT_ITSELF.sub("", text) or f"the server answered {code}"
    message = f"Cannot {asked}: {_sentence(words)}"
    return kind_of_error(f"{message} {advice}".rstrip(), **facts)


_LOG_IN_AGAIN = (
    "The server does not know these credentials, or they have expired: log in again, or check api_key or the"
    " kubeconfig."
)
_CLASSES: dict[tuple[int, str], tuple[type[ClusterError], str]] = {
    (401, ""): (Unauthorized, _LOG_IN_AGAIN),
    (403, ""): (Forbidden, ""),
    (404, ""): (NotFound, ""),
    (409, "AlreadyExists"): (AlreadyExists, ""),
    (409, ""): (Conflict, ""),
    (410, ""): (Expired, ""),
    (429, ""): (Unavailable, ""),
    (500, "InternalError"): (Unavailable, ""),
    (500, "ServerTimeout"): (Unavailable, ""),
    (500, ""): (Invalid, ""),
}


def _class_of(code: int, reason: str) -> tuple[type[ClusterError], str]:
    known = _CLASSES.get((code, reason)) or _CLASSES.get((code, ""))
    return known or ((Unavailable if code > 500 else Invalid), "")


def _status_object(data: bytes) -> dict[str, Any]:
    try:
        status = json.loads(data)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _seconds(value: Any) -> float | None:
    # Retry-After may be a date as well (RFC 9110, 10.2.3); API servers send seconds.
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


# An invalid object is named once more by the server.
_ABOUT_ITSELF = re.compile(r'^\S* "[^"]*" is invalid: ')
_WEBHOOK = re.compile(r'admission webhook "([^"]+)" denied the request(?: without explanation)?:?\s*', re.DOTALL)
_POLICY = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '[^']*' denied request:\s*", re.DOTALL)


def _is_denial(text: str) -> bool:
    return bool(_WEBHOOK.search(text) or _POLICY.search(text))


def _denial(text: str) -> str:
    """The webhook's words, innermost first: one webhook may pass on what another said."""
    match = list(_WEBHOOK.finditer(text) or ()) or list(_POLICY.finditer(text))
    last = match[-1]
    words = text[last.end() :].strip() or "no reason is given"
    return f"{_sentence(words)} (Refused by {last.group(1)}.)"


_STRICT = re.compile(r'unknown field "([^"]+)"')
_TYPED = re.compile(r"\.([^\s:]+): field not declared in schema")


def _unknown_fields(text: str) -> list[str]:
    return list(dict.fromkeys(_STRICT.findall(text) + _TYPED.findall(text)))


_RBAC = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: (?:in the namespace "(?P<namespace>[^"]+)"|(?P<scope>at the cluster scope)))?'
)


def _missing_right(text: str) -> str:
    """The rule that a role lacks, when RBAC refused. A quota or policy refuses with 403 as well."""
    match = _RBAC.search(text)
    if not match:
        return ""
    where = f"a Role in namespace {match['namespace']}" if match["namespace"] else "a ClusterRole"
    return (
        f"Missing right: verb {match['verb']} on {match['resource']}{'.' if match['group'] else ''}{match['group']} for"
        f" {match['user']}, granted by {where}."
    )


def _not_served(asked: Asked) -> str:
    if asked.resource is None:
        return f"Cannot {asked}: the API server does not know this path."
    hint = asked.resource.hint or "the operator or custom resource definition that brings it is not installed"
    return f"Cannot {asked}: the cluster does not serve {asked.resource.api_version} {asked.resource.plural}: {hint}."


_MANAGER = re.compile(
    r'conflict with "(?P<manager>(?:[^"\\]|\\.)*)"(?: with subresource "[^"]*")?(?P<updated> using )?'
)


def _field_conflict(asked: Asked, facts: Mapping[str, Any]) -> FieldConflict:
    conflicts: list[tuple[str, str, bool]] = []
    for cause in facts["causes"]:
        match = _MANAGER.search(str(cause.get("message") or ""))
        if match:
            # An updater is printed with "using <apiVersion>"; who applied, that is declares, is not.
            conflicts.append((match["manager"], str(cause.get("field") or "").lstrip("."), not match["updated"]))
    held: dict[str, list[str]] = {}
    for manager, path, _applies in conflicts:
        held.setdefault(manager, []).append(path)
    owners = "; ".join(f"{manager} holds {', '.join(sorted(set(paths)))}" for manager, paths in sorted(held.items()))
    return FieldConflict(
        f"Cannot {asked}: another field manager declares the same fields with other values: {owners}."
        " Leave them out here, or take them over with force_conflicts: true.",
        conflicts=conflicts,
        **facts,
    )
