"""Reading objects, and the refusals of admission webhooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from virtlab.operation import Operation
from virtlab.status import Cause, StatusError, denied

INVALID = "FieldValueInvalid"
REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
NOT_SUPPORTED = "FieldValueNotSupported"
NOT_FOUND = "FieldValueNotFound"
FORBIDDEN = "FieldValueForbidden"

Causes = Iterable[Cause]


def at(value: Any, *keys: str) -> Any:
    """What lies at that path of mappings, None where it breaks off."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def items(value: Any, *keys: str) -> list[Any]:
    """The list at that path, empty where there is none."""
    return at(value, *keys) or []


def refuse(webhook: str, causes: Causes) -> None:
    """Raises the 422 of a webhook that found C(causes), as KubeVirt's do; passes when there are none."""
    found = tuple(causes)
    if found:
        message = ", ".join(cause.message for cause in found)
        raise denied(webhook, message, code=422, reason="Invalid", causes=found)


def failed(webhook: str, message: str, code: int = 400) -> StatusError:
    """The refusal of a webhook that gives an error instead of causes: no reason, no details."""
    return denied(webhook, message, code=code)


def unchanged(operation: Operation, key: str = "spec") -> bool:
    return bool((operation.object or {}).get(key) == (operation.old or {}).get(key))


def deleting(operation: Operation) -> bool:
    return at(operation.object, "metadata", "deletionTimestamp") is not None


Rule = Callable[..., Causes]
