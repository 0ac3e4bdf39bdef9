"""Built-in kinds are decoded as Go's types decode them."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.schema.decoding import Undecodable, decode, decode_metadata

CONFIG_MAP = "ConfigMap"
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
    with pytest.raises(Undecodable) as caught:
        decode(CONFIG_MAP, SCHEMA, obj)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    ("obj", "problem"),
    [
        ({"data": {"a": 1}}, "cannot convert int64 to string"),
        ({"data": []}, "cannot restore map from slice"),
        ({"ports": "x"}, "cannot restore slice from string"),
        ({"ports": ["x"]}, "cannot restore struct from: string"),
        ({"immutable": "x"}, "unrecognized type: bool"),
    ],
)
def test_a_strategic_patch_words_a_wrong_type_its_own_way(obj: dict[str, Any], problem: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(CONFIG_MAP, SCHEMA, obj)
    assert caught.value.restoring == problem


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("x", "json: cannot unmarshal string into Go value of type v1.ObjectMeta"),
        ({"labels": {"a": 1}}, "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"),
    ],
)
def test_the_metadata_of_a_custom_resource_has_types(metadata: Any, problem: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode_metadata({"metadata": metadata})
    assert str(caught.value) == problem


def test_a_null_in_a_map_of_texts_is_the_empty_text() -> None:
    obj: dict[str, Any] = {"metadata": {"labels": {"a": None}}}
    decode_metadata(obj)
    assert obj == {"metadata": {"labels": {"a": ""}}}


def test_values_take_the_form_of_their_type() -> None:
    obj: dict[str, Any] = {"size": "1024Mi", "ports": [{"port": 80.0, "targetPort": "http"}], "data": None}
    decode(CONFIG_MAP, SCHEMA, obj)
    assert obj == {"size": "1Gi", "ports": [{"port": 80, "targetPort": "http"}]}


def test_empty_lists_and_maps_are_not_written() -> None:
    obj: dict[str, Any] = {"data": {}, "ports": [], "immutable": False}
    decode(CONFIG_MAP, SCHEMA, obj)
    assert obj == {"immutable": False}
