"""Query parameters of requests and DeleteOptions, checked as apimachinery checks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtlab.goformat import quoted
from virtlab.resource import Object
from virtlab.schema.decoding import Undecodable, decode
from virtlab.status import Cause, StatusError, bad_request

PROPAGATION = ("Foreground", "Background", "Orphan")
FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
MANAGER_LIMIT = 128


def refuse(kind: str, causes: Iterable[Cause]) -> None:
    """Raises the 422 of an options object when there are causes."""
    causes = tuple(causes)
    if not causes:
        return
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"group": "meta.k8s.io", "kind": kind}
    raise StatusError(422, f'{kind}.meta.k8s.io "" is invalid: {text}', "Invalid", details, causes)


def _dry_run_causes(values: Sequence[str]) -> list[Cause]:
    if all(value == "All" for value in values):
        return []
    text = f'Unsupported value: {quoted(list(values))}: supported values: "All"'
    return [Cause(text, "dryRun", "FieldValueNotSupported")]


@dataclass(frozen=True)
class WriteOptions:
    """CreateOptions, UpdateOptions or PatchOptions."""

    dry_run: bool = False
    manager: str = ""
    field_validation: str = "Warn"
    force: bool = False


def write_options(
    kind: str, query: Mapping[str, str], dry_run: Sequence[str], user_agent: str, *, applying: bool = False
) -> WriteOptions:
    """C(kind) is the name of the options object, for errors."""
    causes: list[Cause] = []
    force = query.get("force")
    manager = query.get("fieldManager", "")
    if applying and not manager:
        causes.append(Cause("Required value: is required for apply patch", "fieldManager", "FieldValueRequired"))
    if kind == "PatchOptions" and not applying and force is not None:
        causes.append(Cause("Forbidden: may not be specified for non-apply patch", "force", "FieldValueForbidden"))
    if len(manager.encode()) > MANAGER_LIMIT:
        causes.append(Cause("Too long: may not be more than 128 bytes", "fieldManager", "FieldValueTooLong"))
    bad = next(((index, char) for index, char in enumerate(manager) if not char.isprintable()), None)
    if bad is not None:
        text = f"Invalid value: {quoted(manager)}: should only contain printable characters"
        causes.append(Cause(text, "fieldManager", "FieldValueInvalid"))
    causes += _dry_run_causes(dry_run)
    validation = query.get("fieldValidation", "")
    if validation not in FIELD_VALIDATION:
        supported = ", ".join(quoted(value) for value in FIELD_VALIDATION)
        text = f"Unsupported value: {quoted(validation)}: supported values: {supported}"
        causes.append(Cause(text, "fieldValidation", "FieldValueNotSupported"))
    refuse(kind, causes)
    return WriteOptions(
        bool(dry_run),
        manager or user_agent.partition("/")[0][:MANAGER_LIMIT] or "unknown",
        validation or "Warn",
        boolean(force),
    )


_STRING: dict[str, Any] = {"type": "string"}
DELETE_OPTIONS: dict[str, Any] = {
    "type": "object",
    "x-go-type": "DeleteOptions",
    "properties": {
        "dryRun": {"type": "array", "items": _STRING},
        "gracePeriodSeconds": {"type": "integer", "format": "int64"},
        "orphanDependents": {"type": "boolean"},
        "preconditions": {
            "type": "object",
            "x-go-type": "Preconditions",
            "properties": {"resourceVersion": _STRING, "uid": _STRING},
        },
        "propagationPolicy": _STRING,
    },
}
OPTIONS_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"


def _check_delete_options(options: Object) -> None:
    """Raises 400 for a body that is something else."""
    kind = options.get("kind") or "DeleteOptions"
    if kind != "DeleteOptions":
        version = options.get("apiVersion") or ""
        raise bad_request(f'no kind "{kind}" is registered for version "{version}" in scheme "{OPTIONS_SCHEME}"')
    try:
        decode(kind, DELETE_OPTIONS, options)
    except Undecodable as problem:
        raise bad_request(str(problem)) from None


def delete_options(body: Object | None, query: Mapping[str, str], dry_run: Sequence[str]) -> dict[str, Any]:
    """DeleteOptions from the body, or from the query when there is no body."""
    options: dict[str, Any] = dict(body or {})
    _check_delete_options(options)
    if not body:
        for name in ("propagationPolicy", "gracePeriodSeconds", "orphanDependents"):
            if name in query:
                options[name] = query[name]
        if dry_run:
            options["dryRun"] = list(dry_run)
        grace = options.get("gracePeriodSeconds")
        if isinstance(grace, str):
            options["gracePeriodSeconds"] = integer(grace)
        if "orphanDependents" in options:
            options["orphanDependents"] = boolean(query["orphanDependents"])
    causes: list[Cause] = []
    policy = options.get("propagationPolicy")
    if policy is not None and options.get("orphanDependents") is not None:
        text = f"Invalid value: {quoted(policy)}: orphanDependents and deletionPropagation cannot be both set"
        causes.append(Cause(text, "propagationPolicy", "FieldValueInvalid"))
    if policy is not None and policy not in PROPAGATION:
        supported = ", ".join(quoted(value) for value in (*PROPAGATION, "nil"))
        text = f"Unsupported value: {quoted(policy)}: supported values: {supported}"
        causes.append(Cause(text, "propagationPolicy", "FieldValueNotSupported"))
    causes += _dry_run_causes(options.get("dryRun") or [])
    refuse("DeleteOptions", causes)
    return options


def boolean(text: str | None) -> bool:
    """Whatever is there and neither "0" nor "false" is true, the empty text as well."""
    return text is not None and text != "0" and text.lower() != "false"


def resource_version(text: str) -> int:
    """Raises the 500 that reads and watches answer; lists make a 400 of it."""
    if not text.isdigit():
        why = f"strconv.ParseUint: parsing {quoted(text)}: invalid syntax"
        raise StatusError(500, f"resourceVersion: Invalid value: {quoted(text)}: {why}")
    return int(text)


def integer(text: str) -> int:
    """Raises the 400 of strconv.ParseInt."""
    try:
        return int(text)
    except ValueError:
        raise bad_request(f"strconv.ParseInt: parsing {quoted(text)}: invalid syntax") from None
