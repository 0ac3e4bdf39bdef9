"""Bodies in protobuf: kubectl sends built-in kinds in it. Answers are always JSON, which such clients accept.

C(protobuf_fields.json) is read off the generated.proto files of k8s.io/api and k8s.io/apimachinery: of each message,
each field's number, name and type; C(*) before a type is a list, C(%) a map of strings.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from virtlab.resource import Object

MAGIC = b"k8s\x00"
Fields = dict[str, list[str]]

# Numbers that are pointers in Go: a zero was meant. Of the others a zero is what omitempty leaves out.
POINTERS = frozenset(
    {
        "activeDeadlineSeconds",
        "backoffLimit",
        "completions",
        "expirationSeconds",
        "gracePeriodSeconds",
        "parallelism",
        "replicas",
        "terminationGracePeriodSeconds",
        "ttlSecondsAfterFinished",
    }
)


class ProtobufError(ValueError):
    """The bytes are no message of the kind they claim to be."""


@cache
def _messages() -> dict[str, Fields]:
    text = resources.files("virtlab.api").joinpath("protobuf_fields.json").read_text()
    messages: dict[str, Fields] = json.loads(text)
    return messages


def decode(raw: bytes) -> Object:
    """The object in an envelope of apimachinery's protobuf serializer; raises ProtobufError."""
    if not raw.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix k8s")
    try:
        envelope = _message(raw[len(MAGIC) :], "runtime.Unknown")
        kind = envelope.get("typeMeta", {})
        name = _message_name(kind.get("apiVersion", ""), kind.get("kind", ""))
        return {**kind, **_message(base64.b64decode(envelope.get("raw", "")), name)}
    except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise ProtobufError(f"the message cannot be read: {error}") from error


def _message_name(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    package = group.partition(".")[0] or "core"
    for name in (f"{package}.{version}.{kind}", f"meta.v1.{kind}"):
        if name in _messages():
            return name
    raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _wire(raw: bytes) -> Iterator[tuple[int, Any]]:
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        match tag & 7:
            case 0:
                value: Any
                value, position = _varint(raw, position)
            case 1:
                value, position = struct.unpack_from("<d", raw, position)[0], position + 8
            case 2:
                length, position = _varint(raw, position)
                value, position = raw[position : position + length], position + length
            case 5:
                value, position = struct.unpack_from("<f", raw, position)[0], position + 4
            case other:
                raise ProtobufError(f"wire type {other}")
        yield tag >> 3, value


def _message(raw: bytes, name: str) -> Object:
    fields = _messages()[name]
    found: Object = {}
    for number, value in _wire(raw):
        if str(number) not in fields:
            continue
        field, kind = fields[str(number)]
        if kind.startswith("*"):
            found.setdefault(field, []).append(_value(value, kind[1:]))
        elif kind.startswith("%"):
            entry = dict(_wire(value))
            found.setdefault(field, {})[entry.get(1, b"").decode()] = _value(entry.get(2, b""), kind[1:])
        else:
            item = _value(value, kind)
            if item not in ("", None) and (item or field in POINTERS or isinstance(item, (dict, list))):
                found[field] = item
    return found


def _value(value: Any, kind: str) -> Any:
    if kind in SPECIAL:
        return SPECIAL[kind](value)
    match kind:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "bool":
            return bool(value)
        case "int32" | "int64":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "double" | "float" | "uint32" | "uint64":
            return value
    return _message(value, kind)


def _time(raw: bytes) -> str | None:
    parts = dict(_wire(raw))
    if not parts.get(1):
        return None
    return datetime.fromtimestamp(parts[1], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(raw: bytes) -> str | None:
    parts = dict(_wire(raw))
    if not parts.get(1):
        return None
    when = datetime.fromtimestamp(parts[1], UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{when}.{parts.get(2, 0) // 1000:06d}Z"


def _int_or_string(raw: bytes) -> int | str:
    parts = dict(_wire(raw))
    return parts.get(3, b"").decode() if parts.get(1) else int(parts.get(2, 0))


def _raw_json(raw: bytes) -> Any:
    text = dict(_wire(raw)).get(1, b"")
    return json.loads(text) if text else {}


def _items(raw: bytes) -> list[str]:
    return [value.decode() for _, value in _wire(raw)]


# Types whose JSON is not that of their message.
SPECIAL: dict[str, Callable[[bytes], Any]] = {
    "meta.v1.Time": _time,
    "meta.v1.MicroTime": _micro_time,
    "meta.v1.FieldsV1": _raw_json,
    "runtime.RawExtension": _raw_json,
    "resource.Quantity": lambda raw: dict(_wire(raw)).get(1, b"").decode(),
    "intstr.IntOrString": _int_or_string,
    "authentication.v1.ExtraValue": _items,
    "authorization.v1.ExtraValue": _items,
}
