"""The errors of an API server: the Status object and the exception that carries it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from virtlab.resource import Resource


@dataclass(frozen=True)
class Cause:
    """One cause of a refusal. Any part may be left out, as webhooks do."""

    message: str
    field: str | None = None
    reason: str | None = None

    def body(self) -> dict[str, str]:
        parts = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in parts.items() if value is not None}


@dataclass
class StatusError(Exception):
    """A request that failed; C(body()) is what the client gets."""

    code: int
    message: str
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": dict(self.metadata)}
        status["status"] = "Failure"
        status["message"] = self.message
        if self.reason is not None:
            status["reason"] = self.reason
        details = dict(self.details)
        if self.causes:
            details["causes"] = [cause.body() for cause in self.causes]
        if details:
            status["details"] = details
        status["code"] = self.code
        return status


def _details(resource: Resource, name: str | None) -> dict[str, Any]:
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in details.items() if value}


def bad_request(message: str) -> StatusError:
    return StatusError(400, message, "BadRequest")


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def not_found(resource: Resource, name: str) -> StatusError:
    return StatusError(404, f'{resource.qualified} "{name}" not found', "NotFound", _details(resource, name))


def already_exists(resource: Resource, name: str, *, deleting: bool = False, generated: bool = False) -> StatusError:
    prefix = "object is being deleted: " if deleting else ""
    suffix = ", the server was not able to generate a unique name for the object" if generated else ""
    message = f'{prefix}{resource.qualified} "{name}" already exists{suffix}'
    return StatusError(409, message, "AlreadyExists", _details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, message, "Conflict", _details(resource, name))


def invalid(resource: Resource, name: str, causes: Iterable[Cause]) -> StatusError:
    """422 as validation answers it: C(Kind.group "name" is invalid: field: message)."""
    causes = tuple(causes)
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    named = {"name": name, "group": resource.group, "kind": resource.kind}
    details = {key: value for key, value in named.items() if value}
    return StatusError(422, f'{kind} "{name}" is invalid: {text}', "Invalid", details, causes)


def denied(
    webhook: str,
    message: str,
    *,
    code: int = 400,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    causes: Iterable[Cause] = (),
) -> StatusError:
    """A refusal by an admission webhook; code, reason and causes are the webhook's own."""
    text = f'admission webhook "{webhook}" denied the request: {message}'
    return StatusError(code, text, reason, dict(details or {}), tuple(causes))
