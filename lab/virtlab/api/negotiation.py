"""Which form of an answer a client accepts, and how a body it sends is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import yaml

from virtlab.api import protobuf
from virtlab.resource import Object, Resource
from virtlab.status import StatusError, bad_request

JSON, YAML = "application/json", "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
WATCHED = f"{JSON};stream=watch"
Form = Literal["object", "table", "metadata"]
FORMS: dict[str, Form] = {
    "Table": "table",
    "PartialObjectMetadata": "metadata",
    "PartialObjectMetadataList": "metadata",
}
SUMMARY_LIMIT = 30  # bytes
LISTED = ("PartialObjectMetadataList",)
FORM_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True)
class Accepted:
    """C(version) is that of meta.k8s.io for the forms that are none of the resource's own; C(listed): a list's."""

    media_type: str = JSON
    form: Form = "object"
    version: str = "v1"
    pretty: bool = False
    listed: bool = False


def accepted(header: str, custom: bool, *, pretty: bool = False) -> Accepted:
    """The first form in C(Accept) that the server has; raises 406."""
    clauses = [clause for clause in header.split(",") if clause.strip()]
    routed = custom
    for clause in clauses or ["*/*"]:
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        options = dict(parameter.partition("=")[::2] for parameter in parameters)
        wanted = options.get("as")
        version = options.get("v", "v1")
        if not custom and media_type == "application/*":
            continue  # the router of built-in kinds knows no such wildcard
        routed = routed or media_type in ("*/*", JSON, YAML, PROTOBUF)
        if wanted is not None and (
            wanted not in FORMS or options.get("g") != "meta.k8s.io" or version not in FORM_VERSIONS
        ):
            continue
        form: Form = FORMS[wanted] if wanted else "object"
        if media_type in ("*/*", "application/*", JSON):
            return Accepted(JSON, form, version, pretty or options.get("pretty") == "1", wanted in LISTED)
        if media_type == YAML:
            return Accepted(YAML, form, version, listed=wanted in LISTED)
    served = [JSON, YAML] if custom else [JSON, YAML, PROTOBUF]
    if not routed:
        text = f"406: Not Acceptable\n\nAvailable representations: {', '.join(served)}"
        raise StatusError(406, text, "NotAcceptable")
    raise StatusError(406, f"only the following media types are accepted: {', '.join(served)}", "NotAcceptable")


def encoded(value: Object, media_type: str, pretty: bool = False) -> bytes:
    if media_type == YAML:
        return yaml.safe_dump(value, sort_keys=True, allow_unicode=True).encode()
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if pretty else 0)


def unsupported(types: Iterable[str]) -> StatusError:
    return StatusError(
        415,
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(types),
        "UnsupportedMediaType",
    )


@dataclass(frozen=True)
class Body:
    """C(problems): what strict decoding objects to."""

    value: Any
    problems: tuple[str, ...] = ()


def media_type_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def decoded(raw: bytes, content_type: str, resource: Resource) -> Body:
    """The object in a request's body; raises 400 and 415 in the server's words."""
    media_type = media_type_of(content_type) or JSON
    if media_type == YAML:
        return _yaml(raw, resource)
    if media_type == PROTOBUF and not resource.custom:
        try:
            return Body(protobuf.decode(raw))
        except protobuf.ProtobufError as error:
            raise bad_request(str(error)) from None
    if media_type != JSON:
        raise unsupported((JSON, YAML, PROTOBUF))
    return parsed(raw, resource)


class Unreadable(Exception):
    """A body is no object; the message is that of the server's decoder."""


def object_in(raw: bytes) -> Body:
    """Raises Unreadable."""
    prefix = "couldn't get version/kind; json parse error: "
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Unreadable(prefix + go_json_error(raw)) from None
    if value is not None and not isinstance(value, dict):
        name = {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
        struct = "struct { APIVersion string; Kind string }"
        raise Unreadable(f"{prefix}json: cannot unmarshal {name} into Go value of type {struct}")
    return Body(value or {}, tuple(duplicates(raw)))


def parsed(raw: bytes, resource: Resource) -> Body:
    try:
        return object_in(raw)
    except Unreadable as error:
        raise unrecognized(raw, resource, str(error)) from None


def unrecognized(raw: bytes, resource: Resource, why: str) -> StatusError:
    return bad_request(
        f"the object provided is unrecognized (must be of type {resource.kind}): {why} ({_summary(raw)})"
    )


def _summary(raw: bytes) -> str:
    """The beginning of a body as messages show it: in hexadecimal unless it looks like JSON."""
    if not raw:
        return "<empty>"
    start = raw[:SUMMARY_LIMIT]
    text = start.decode("utf-8", "replace") if raw.startswith(b"{") else start.hex()
    return text + (" ..." if len(raw) > SUMMARY_LIMIT else "")


def _yaml(raw: bytes, resource: Resource) -> Body:
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from None
    # Dates and the like become the text that JSON would carry.
    return parsed(json.dumps(value, default=str).encode(), resource)


def go_json_error(raw: bytes) -> str:
    """What encoding/json says of bytes that are no JSON."""
    text = raw.decode("utf-8", "replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        if not rest.strip():
            return "unexpected end of JSON input"
        if error.msg == "Extra data":
            return f"invalid character {_rune(rest.strip()[0])} after top-level value"
        literal = next((word for word in ("true", "false", "null") if word[0] == rest[0]), "")
        if literal and error.msg == "Expecting value":
            return _go_literal_error(rest, literal)
        return f"invalid character {_rune(rest.strip()[0])} {_CONTEXT.get(error.msg, 'looking for beginning of value')}"
    return "invalid JSON"


def _go_literal_error(text: str, literal: str) -> str:
    for char, expected in zip(text, literal, strict=False):
        if char != expected:
            return f"invalid character {_rune(char)} in literal {literal} (expecting '{expected}')"
    return "unexpected end of JSON input"


_CONTEXT = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
}


def _rune(char: str) -> str:
    return "'\\''" if char == "'" else f"'{char}'" if char.isprintable() else f"'\\u{ord(char):04x}'"


def duplicates(raw: bytes) -> list[str]:
    """C(duplicate field "spec.x") for each key that occurs twice in one object."""

    class Pairs(list[tuple[str, Any]]):
        pass

    found: list[str] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Pairs):
            seen: set[str] = set()
            for key, item in value:
                inner = f"{path}.{key}" if path else key
                if key in seen:
                    found.append(f'duplicate field "{inner}"')
                seen.add(key)
                walk(item, inner)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{path}[{index}]")

    class Suspicion(Exception):
        pass

    def suspicious(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise Suspicion

    try:
        json.loads(raw, object_pairs_hook=suspicious)
    except Suspicion:
        walk(json.loads(raw, object_pairs_hook=Pairs), "")
    return found
