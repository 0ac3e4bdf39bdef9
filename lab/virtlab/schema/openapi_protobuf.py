"""/openapi/v2 in protobuf, the only form that kubectl before 1.27 reads: what it validates and explains from.

The field numbers are those of gnostic's OpenAPIv2.proto. Of paths there is what clients look for there: which query
parameters a PATCH of each kind takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED_AS = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")  # the latter is no media type

_LENGTH_DELIMITED = 2
_TEXTS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_COUNTS = {"maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15, "maxProperties": 17, "minProperties": 18}


def document(older: dict[str, Any]) -> bytes:
    """C(older), an OpenAPI v2 document, as gnostic's Document."""
    info = older["info"]
    return b"".join(
        (
            _field(1, older["swagger"]),
            _field(2, _field(1, info["title"]) + _field(2, info["version"])),
            _field(8, b"".join(_path(path, item) for path, item in older["paths"].items() if "patch" in item)),
            _field(9, _named_schemas(older["definitions"])),
        )
    )


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _field(number: int, content: str | bytes) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(raw)) + raw


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _any(value: Any) -> bytes:
    """YAML text, which JSON is."""
    return _field(2, orjson.dumps(value))


def _extensions(number: int, holder: dict[str, Any]) -> Iterable[bytes]:
    for name, value in holder.items():
        if name.startswith("x-"):
            yield _field(number, _field(1, name) + _field(2, _any(value)))


def _path(path: str, item: dict[str, Any]) -> bytes:
    operation = item["patch"]
    parameters = (
        # ParametersItem, Parameter, NonBodyParameter, QueryParameterSubSchema
        _field(8, _field(1, _field(2, _field(3, _field(2, "query") + _field(4, parameter["name"])))))
        for parameter in operation["parameters"]
        if parameter["in"] == "query"
    )
    patch = b"".join((*parameters, *_extensions(13, operation)))
    return _field(2, _field(1, path) + _field(2, _field(8, patch)))


def _named_schemas(schemas: dict[str, Any]) -> bytes:
    return b"".join(_field(1, _field(1, name) + _field(2, _schema(schema))) for name, schema in schemas.items())


def _schema(schema: dict[str, Any]) -> bytes:
    parts = [_field(number, schema[name]) for name, number in _TEXTS.items() if name in schema]
    parts += [_number(number, schema[name]) for name, number in _COUNTS.items() if name in schema]
    parts += [_field(19, name) for name in schema.get("required", ())]
    parts += [_field(20, _any(value)) for value in schema.get("enum", ())]
    if "default" in schema:
        parts.append(_field(5, _any(schema["default"])))
    match schema.get("additionalProperties"):
        case bool(allowed):
            parts.append(_field(21, _number(2, allowed)))
        case dict(values):
            parts.append(_field(21, _field(1, _schema(values))))
    if "type" in schema:
        parts.append(_field(22, _field(1, schema["type"])))
    if "items" in schema:
        parts.append(_field(23, _field(1, _schema(schema["items"]))))
    if "properties" in schema:
        parts.append(_field(25, _named_schemas(schema["properties"])))
    parts += _extensions(31, schema)
    return b"".join(parts)
