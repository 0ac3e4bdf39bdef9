"""Built-in kinds are decoded as Go's types decode them."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.resource import Resource
from virtlab.schema.decoding import decode
from virtlab.status import StatusError

CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps", custom=False)
PORT = {
    "type": "object",
    "x-go-type": "ServicePort",
    "properties": {"port": {"type": "integer", "format": "int32"}, "targetPort": {"x-kubernetes-int-or-string": True}},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "x-go-type": "ConfigMap",
    "properties": {
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "binaryData": {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
        "ports": {"type": "array", "items": PORT},
        "size": {"type": "string", "format": "quantity"},
        "immutable": {"type": "boolean"},
    },
}


@pytest.mark.parametrize(
    ("obj", "problem"),
    [
        ({"data": {"a": 1}}, "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        (
            {"ports": [{"port": "http"}]},
            "json: cannot unmarshal string into Go struct field ServicePort.ports.port of type int32",
        ),
        ({"ports": {}}, "json: cannot unmarshal object into Go struct field ConfigMap.ports of type []v1.ServicePort"),
        ({"immutable": "yes"}, "json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool"),
        ({"binaryData": {"a": "***"}}, "illegal base64 data at input byte 0"),
        ({"binaryData": {"a": "QUJ*"}}, "illegal base64 data at input byte 3"),
        (
            {"size": "1 G"},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_a_wrong_type_is_refused_with_gos_wording(obj: dict[str, Any], problem: str) -> None:
    with pytest.raises(StatusError) as caught:
        decode(CONFIG_MAP, SCHEMA, obj)
    assert caught.value.code == 400
    assert caught.value.reason == "BadRequest"
    assert caught.value.message == f'ConfigMap in version "v1" cannot be handled as a ConfigMap: {problem}'


def test_values_take_the_form_of_their_type() -> None:
    obj: dict[str, Any] = {"size": "1024Mi", "ports": [{"port": 80.0, "targetPort": "http"}], "data": None}
    decode(CONFIG_MAP, SCHEMA, obj)
    assert obj == {"size": "1Gi", "ports": [{"port": 80, "targetPort": "http"}], "data": None}
