"""The OpenAPI documents: what kubectl looks for in them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from virtlab.resource import Resource
from virtlab.schema import openapi_protobuf
from virtlab.schema.openapi import Documents, component
from wire import Api

POD = Resource("", "v1", "Pod", "pods", custom=False, subresources=frozenset({"status"}))
VM = Resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "x-go-type": "Pod",
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "properties": {
                "port": {"x-kubernetes-int-or-string": True, "description": "A port"},
                "size": {"type": "string", "format": "quantity"},
            },
        },
    },
}


@pytest.fixture
def documents() -> Documents:
    return Documents(lambda: [POD, VM], lambda resource: SCHEMA, "v1.36.0")


def test_the_index_changes_with_what_is_served(documents: Documents) -> None:
    paths = orjson.loads(documents.v3_index())["paths"]
    assert sorted(paths) == ["api/v1", "apis/kubevirt.io/v1"]
    fewer = Documents(lambda: [POD], lambda resource: SCHEMA, "v1.36.0")
    assert orjson.loads(fewer.v3_index())["paths"]["api/v1"] == paths["api/v1"]
    more = Documents(lambda: [POD, Resource("", "v1", "Node", "nodes")], lambda resource: SCHEMA, "v1.36.0")
    assert orjson.loads(more.v3_index())["paths"]["api/v1"] != paths["api/v1"]


def test_a_patch_says_that_it_validates_fields_and_what_it_takes(documents: Documents) -> None:
    document = orjson.loads(documents.v3("apis/kubevirt.io/v1") or b"")
    patch = document["paths"]["/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}"]["patch"]
    kind = {"group": "kubevirt.io", "version": "v1", "kind": "VirtualMachine"}
    assert patch["x-kubernetes-group-version-kind"] == kind
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    core = orjson.loads(documents.v3("api/v1") or b"")["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in core["requestBody"]["content"]


def test_every_reference_leads_somewhere(documents: Documents) -> None:
    for path, place in (("api/v1", ("components", "schemas")), ("", ("definitions",))):
        text = documents.v3(path) if path else documents.v2()
        document = orjson.loads(text or b"")
        known = document
        for step in place:
            known = known[step]
        for reference in _references(document):
            assert reference.rpartition("/")[2] in known, reference


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [one for child in value.values() for one in _references(child)]
    return [one for child in value for one in _references(child)] if isinstance(value, list) else []


def test_nothing_of_ours_is_published(documents: Documents) -> None:
    text = (documents.v3("api/v1") or b"").decode()
    assert "x-go-type" not in text
    assert '"format":"quantity"' not in text
    assert '"format":"int-or-string"' in text


def test_what_is_not_served_has_no_document(documents: Documents) -> None:
    assert documents.v3("apis/apps/v1") is None


def test_components_have_the_names_that_kubernetes_gives_them() -> None:
    assert component(POD) == "io.k8s.api.core.v1.Pod"
    assert component(VM) == "io.kubevirt.v1.VirtualMachine"
    role = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles", custom=False)
    assert component(role) == "io.k8s.api.rbac.v1.Role"


def test_the_older_form_in_protobuf_is_gnostics() -> None:
    older = {
        "swagger": "2.0",
        "info": {"title": "K", "version": "v1"},
        "paths": {},
        "definitions": {"A": {"type": "object"}},
    }
    info, paths = b"\x12\x07\n\x01K\x12\x02v1", b"B\x00"
    schema = b"\xb2\x01\x08\n\x06object"  # 22, type: 1, its values
    definitions = b"J\x12\n\x10\n\x01A\x12\x0b" + schema
    assert openapi_protobuf.document(older) == b"\n\x032.0" + info + paths + definitions


def test_kubectl_before_1_27_is_answered_in_the_only_form_it_reads(api: Api) -> None:
    asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    with api.opened("GET", "/openapi/v2", Accept=asked) as response:
        assert response.getheader("Content-Type") == asked.replace("@", ".")
    assert api("GET", "/openapi/v2").body["swagger"] == "2.0"
