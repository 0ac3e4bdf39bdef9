"""Single objects over HTTP: create, read, update, patch, delete, and the forms of answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from wire import Api

MAPS = "/api/v1/namespaces/{ns}/configmaps"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


def test_a_new_object_gets_what_the_server_gives(api: Api) -> None:
    reply = api.config_map("a", data={"k": "v"})
    assert reply.status == 201
    metadata = reply.body["metadata"]
    assert metadata["namespace"] == api.namespace
    assert metadata["uid"] and metadata["creationTimestamp"] and int(metadata["resourceVersion"])
    assert api("GET", f"{MAPS}/a").body == reply.body


def test_an_update_needs_the_version_that_was_read(api: Api) -> None:
    old = api.config_map("a", data={"k": "1"}).body
    assert api("PUT", f"{MAPS}/a", {**old, "data": {"k": "2"}}).status == 200
    late = api("PUT", f"{MAPS}/a", {**old, "data": {"k": "3"}})
    assert (late.status, late.body["reason"]) == (409, "Conflict")
    assert api("GET", f"{MAPS}/a").body["data"] == {"k": "2"}


def test_a_write_that_changes_nothing_keeps_the_version(api: Api) -> None:
    version = api.config_map("a", data={"k": "1"}).body["metadata"]["resourceVersion"]
    same = api("PATCH", f"{MAPS}/a", {"data": {"k": "1"}}, Content_Type=MERGE)
    assert same.body["metadata"]["resourceVersion"] == version


def test_a_dry_run_leaves_nothing(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dry"}}
    assert api("POST", f"{MAPS}?dryRun=All", body).status == 201
    assert api("GET", f"{MAPS}/dry").status == 404


def test_strict_validation_names_unknown_and_duplicate_fields(api: Api) -> None:
    raw = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"},"dta":{}}'
    refused = api("POST", f"{MAPS}?fieldValidation=Strict", raw)
    assert refused.status == 400
    assert 'duplicate field "data.k"' in refused.message
    assert 'unknown field "dta"' in refused.message


def test_warnings_name_unknown_fields(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dta": {}}
    assert api("POST", MAPS, body).headers["Warning"] == '299 - "unknown field \\"dta\\""'
    quiet = api("PUT", f"{MAPS}/a?fieldValidation=Ignore", body)
    assert "Warning" not in quiet.headers


def test_yaml_goes_both_ways(api: Api) -> None:
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "y"}, "data": {"k": "v"}})
    reply = api("POST", MAPS, text, Content_Type="application/yaml", Accept="application/yaml")
    assert (reply.status, reply.headers["Content-Type"]) == (201, "application/yaml")
    assert yaml.safe_load(reply.text)["data"] == {"k": "v"}


def test_a_form_that_nobody_has_is_not_acceptable(api: Api) -> None:
    reply = api("GET", MAPS, Accept="text/html")
    assert (reply.status, reply.body["reason"]) == (406, "NotAcceptable")


def test_metadata_alone(api: Api) -> None:
    api.config_map("a", data={"k": "v"})
    form = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    reply = api("GET", f"{MAPS}/a", Accept=form).body
    assert (reply["kind"], "data" in reply) == ("PartialObjectMetadata", False)


def test_a_table_has_the_columns_of_kubectl(api: Api) -> None:
    api.config_map("a", data={"k": "v"})
    form = "application/json;as=Table;v=v1;g=meta.k8s.io"
    reply = api("GET", f"{MAPS}?fieldSelector=metadata.name=a", Accept=form).body
    assert [column["name"] for column in reply["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert reply["rows"][0]["cells"][:2] == ["a", 1]
    assert reply["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_generated_names_differ(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "g-"}}
    first, second = (api("POST", MAPS, body).body["metadata"]["name"] for _ in range(2))
    assert first != second
    assert first.startswith("g-") and len(first) == len("g-") + 5


def test_preconditions_guard_a_deletion(api: Api) -> None:
    api.config_map("a")
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "another"}}
    assert api("DELETE", f"{MAPS}/a", options).status == 409
    assert api("DELETE", f"{MAPS}/a").body["status"] == "Success"
    assert api("GET", f"{MAPS}/a").status == 404


def test_an_object_with_finalizers_waits_for_them(api: Api) -> None:
    api.config_map("f", metadata={"finalizers": ["example.com/hold"]})
    assert "deletionTimestamp" in api("DELETE", f"{MAPS}/f").body["metadata"]
    again = api.config_map("f")
    assert again.message == 'object is being deleted: configmaps "f" already exists'
    assert api("PATCH", f"{MAPS}/f", {"metadata": {"finalizers": None}}, Content_Type=MERGE).status == 200
    assert api("GET", f"{MAPS}/f").status == 404


def test_a_failing_test_operation_changes_nothing(api: Api) -> None:
    api.config_map("a", data={"k": "1"})
    operations = [
        {"op": "test", "path": "/data/k", "value": "2"},
        {"op": "replace", "path": "/data/k", "value": "3"},
    ]
    assert api("PATCH", f"{MAPS}/a", operations, Content_Type=JSON_PATCH).status == 422
    assert api("GET", f"{MAPS}/a").body["data"] == {"k": "1"}


def test_the_status_endpoint_writes_status_alone(api: Api) -> None:
    path = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"
    machine = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "a"},
        "spec": {
            "runStrategy": "Halted",
            "template": {"spec": {"domain": {"devices": {}, "memory": {"guest": "1Gi"}}}},
        },
    }
    assert api("POST", path, machine).status == 201
    change = {"spec": {"runStrategy": "Manual"}, "status": {"snapshotInProgress": "s"}}
    answered = api("PATCH", f"{path}/a/status", change, Content_Type=MERGE).body
    assert (answered["spec"]["runStrategy"], answered["status"]["snapshotInProgress"]) == ("Halted", "s")


@pytest.mark.parametrize(
    "path",
    [
        "/apis/nope.example/v1/widgets",
        "/apis/kubevirt.io/v1/widgets",
        "/apis/kubevirt.io/v1/virtualmachines/x",
        "/nowhere",
        "/healthz/nowhere",
    ],
)
def test_paths_that_no_api_has_are_plain_text(api: Api, path: str) -> None:
    reply = api("GET", path)
    assert (reply.status, reply.text) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/api/v1/namespaces/{ns}/widgets", 404, "NotFound"),
        ("GET", "/apis/apps/v9", 404, "NotFound"),
        ("GET", "/api/v1/configmaps/x", 404, "NotFound"),
        ("GET", f"{MAPS}/a/status", 404, "NotFound"),
        ("POST", f"{MAPS}/a", 405, "MethodNotAllowed"),
        ("PUT", MAPS, 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/configmaps", 405, "MethodNotAllowed"),
        ("DELETE", "/api/v1/namespaces", 405, "MethodNotAllowed"),
        ("POST", "/version", 405, "MethodNotAllowed"),
        ("PUT", "/apis/apps/v1", 405, "MethodNotAllowed"),
    ],
)
def test_routes_that_a_built_in_api_does_not_have(api: Api, method: str, path: str, status: int, reason: str) -> None:
    reply = api(method, path, {} if method in ("POST", "PUT") else None)
    assert (reply.status, reply.body["reason"]) == (status, reason)


def test_a_patch_may_not_rename(api: Api) -> None:
    api.config_map("a")
    renamed = api("PATCH", f"{MAPS}/a", {"metadata": {"name": "b"}}, Content_Type=MERGE)
    assert (renamed.status, renamed.body["message"]) == (
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    )
    unnamed = api("PATCH", f"{MAPS}/a", {"metadata": None}, Content_Type=MERGE)
    assert unnamed.body["message"].endswith("was undeterminable: name must be provided")


def test_a_patch_that_makes_another_kind_is_refused(api: Api) -> None:
    api.config_map("a")
    reply = api("PATCH", f"{MAPS}/a", {"kind": "Secret"}, Content_Type=MERGE)
    assert reply.status == 422
    assert reply.body["message"].endswith("converting (v1.Secret) to (core.ConfigMap): unknown conversion")


def test_a_patch_that_makes_a_wrong_type_is_refused(api: Api) -> None:
    api.config_map("a", data={"k": "1"})
    merged = api("PATCH", f"{MAPS}/a", {"data": {"k": 1}}, Content_Type=MERGE)
    assert merged.status == 422
    assert merged.body["details"]["causes"][0]["field"] == "patch"
    strategic = api("PATCH", f"{MAPS}/a", {"data": {"k": 1}}, Content_Type="application/strategic-merge-patch+json")
    assert strategic.body["message"].endswith('"map[data:map[k:1]]": cannot convert int64 to string')


def test_the_uid_of_a_put_is_a_precondition_and_that_of_a_patch_is_immutable(api: Api) -> None:
    old = api.config_map("a").body
    other = {**old, "metadata": {**old["metadata"], "uid": "11111111-1111-1111-1111-111111111111"}}
    assert api("PUT", f"{MAPS}/a", other).status == 409
    assert api("PATCH", f"{MAPS}/a", {"metadata": {"uid": "x"}}, Content_Type=MERGE).status == 422


def test_scale_writes_replicas_alone(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/{ns}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    assert api("POST", path, deployment).status == 201
    scaled = api("PATCH", f"{path}/d/scale", {"spec": {"replicas": 0}}, Content_Type=MERGE).body
    assert (scaled["kind"], scaled["spec"], scaled["status"]["selector"]) == ("Scale", {"replicas": 0}, "a=b")
    assert api("GET", f"{path}/d").body["spec"]["replicas"] == 0


def _protobuf(name: str, namespace: str) -> bytes:
    """A ConfigMap with data {"k": "v"} as kubectl encodes it."""

    def part(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    metadata = part(1, name.encode()) + part(3, namespace.encode())
    raw = part(1, metadata) + part(2, part(1, b"k") + part(2, b"v"))
    return b"k8s\x00" + part(1, part(1, b"v1") + part(2, b"ConfigMap")) + part(2, raw)


def test_kubectl_may_send_protobuf(api: Api) -> None:
    body: Any = _protobuf("p", api.namespace)
    accept = "application/vnd.kubernetes.protobuf,application/json"
    reply = api("POST", MAPS, body, Content_Type="application/vnd.kubernetes.protobuf", Accept=accept)
    assert (reply.status, reply.body["data"]) == (201, {"k": "v"})
    assert json.loads(reply.text)["metadata"]["name"] == "p"


def test_a_form_for_lists_is_none_for_objects(api: Api) -> None:
    api.config_map("a")
    form = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    for path, kind in ((f"{MAPS}/a", "List"), (MAPS, "")):
        reply = api("GET", path, Accept=form.format(kind))
        assert (reply.status, reply.body["reason"]) == (406, "NotAcceptable")


def test_a_table_includes_what_it_knows(api: Api) -> None:
    form = "application/json;as=Table;v=v1;g=meta.k8s.io"
    assert api("GET", f"{MAPS}?includeObject=Foo", Accept=form).status == 400


def test_discovery_tells_the_version_in_which_objects_are_stored(api: Api) -> None:
    found = {entry["name"]: entry for entry in api("GET", "/apis/kubevirt.io/v1").body["resources"]}
    assert found["virtualmachineinstances"]["storageVersionHash"] == "1DClFQM6+os="
    assert found["virtualmachineinstances"]["verbs"][:2] == ["delete", "deletecollection"]


MACHINES = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"


@pytest.mark.parametrize(("method", "verb"), [("DELETE", "delete"), ("POST", "create")])
def test_the_status_of_a_custom_resource_is_only_read_and_written(api: Api, method: str, verb: str) -> None:
    reply = api(method, f"{MACHINES}/a/status", {})
    assert reply.status == 405
    assert reply.message == f'{verb} is not supported on resources of kind "virtualmachines.kubevirt.io"'


def test_a_custom_resource_says_what_it_is(api: Api) -> None:
    unnamed = api("POST", MACHINES, {"metadata": {"name": "a"}})
    assert (unnamed.status, "Object 'Kind' is missing in" in unnamed.message) == (400, True)
    versionless = api("POST", MACHINES, {"kind": "VirtualMachine", "metadata": {"name": "a"}})
    assert versionless.message.startswith("the API version in the data () does not match")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (b"junk", "couldn't get version/kind; json parse error: invalid character 'j' looking for beginning of value"),
        (
            {"gracePeriodSeconds": "x"},
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
        (
            {"kind": "ConfigMap", "apiVersion": "v1"},
            'no kind "ConfigMap" is registered for version "v1" in scheme '
            '"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"',
        ),
    ],
)
def test_options_of_a_delete_that_are_none(api: Api, options: Any, message: str) -> None:
    reply = api("DELETE", f"{MAPS}/nope", options)
    assert (reply.status, reply.message) == (400, message)


def test_a_json_patch_is_a_list_of_operations(api: Api) -> None:
    reply = api("PATCH", f"{MAPS}/a", [5], Content_Type=JSON_PATCH)
    assert reply.status == 400
    assert reply.message.endswith("cannot unmarshal number into Go value of type handlers.jsonPatchOp")


def test_a_set_of_machines_has_no_negative_size(api: Api) -> None:
    labels = {"matchLabels": {"a": "b"}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}}
    body = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceReplicaSet",
        "metadata": {"name": "a"},
        "spec": {"replicas": -1, "selector": labels, "template": template},
    }
    reply = api("POST", "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachineinstancereplicasets", body)
    assert (reply.status, reply.body["details"]["causes"][0]["field"]) == (422, ".spec.replicas")


def test_a_migration_of_a_number_is_refused(api: Api) -> None:
    body = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {"name": "m"},
        "spec": {"vmiName": 5},
    }
    reply = api("POST", "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachineinstancemigrations", body)
    assert reply.status == 422
    assert reply.message.endswith('spec.vmiName in body must be of type string: "number"')
