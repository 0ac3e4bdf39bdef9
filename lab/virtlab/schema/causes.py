"""The field errors of kube-apiserver's validation: k8s.io/apimachinery/pkg/util/validation/field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from virtlab.goformat import quoted
from virtlab.status import Cause

_IMMUTABLE = "field is immutable"


def required(path: str, text: str = "") -> Cause:
    return Cause(f"Required value: {text}" if text else "Required value", path, "FieldValueRequired")


def invalid(path: str, value: Any, text: str) -> Cause:
    return Cause(f"Invalid value: {quoted(value)}: {text}", path, "FieldValueInvalid")


def forbidden(path: str, text: str) -> Cause:
    return Cause(f"Forbidden: {text}", path, "FieldValueForbidden")


def duplicate(path: str, value: Any) -> Cause:
    return Cause(f"Duplicate value: {quoted(value)}", path, "FieldValueDuplicate")


def supported(path: str, value: Any, known: Sequence[str]) -> Iterator[Cause]:
    if value not in known:
        listed = ", ".join(quoted(item) for item in known)
        yield Cause(f"Unsupported value: {quoted(value)}: supported values: {listed}", path, "FieldValueNotSupported")


def unchanged(path: str, new: Any, old: Any, text: str = _IMMUTABLE) -> Iterator[Cause]:
    if new != old:
        yield invalid(path, new, text)
