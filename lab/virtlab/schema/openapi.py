"""The OpenAPI documents of what is served: /openapi/v3, one document a group and version, and /openapi/v2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from virtlab.resource import Resource
from virtlab.schema.metadata import METADATA

Schema = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_OBJECT_META, _LIST_META = _META + "ObjectMeta", _META + "ListMeta"
_DELETE_OPTIONS, _STATUS = _META + "DeleteOptions", _META + "Status"
_GVK = "x-kubernetes-group-version-kind"
_JSON, _APPLY = "application/json", "application/apply-patch+yaml"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_STRING: Schema = {"type": "string"}
_COMPONENTS: dict[str, Schema] = {
    _LIST_META: {
        "type": "object",
        "description": "ListMeta describes metadata that synthetic resources must have, including lists.",
        "properties": {
            "continue": _STRING,
            "remainingItemCount": {"type": "integer", "format": "int64"},
            "resourceVersion": _STRING,
            "selfLink": _STRING,
        },
    },
    _DELETE_OPTIONS: {
        "type": "object",
        "description": "DeleteOptions may be provided when deleting an API object.",
        "properties": {
            "apiVersion": _STRING,
            "dryRun": {"type": "array", "items": _STRING},
            "gracePeriodSeconds": {"type": "integer", "format": "int64"},
            "kind": _STRING,
            "orphanDependents": {"type": "boolean"},
            "preconditions": {"type": "object", "properties": {"resourceVersion": _STRING, "uid": _STRING}},
            "propagationPolicy": _STRING,
        },
    },
    _STATUS: {
        "type": "object",
        "description": "Status is a return value for calls that don't return other objects.",
        "properties": {
            "apiVersion": _STRING,
            "code": {"type": "integer", "format": "int32"},
            "details": {"type": "object"},
            "kind": _STRING,
            "message": _STRING,
            "metadata": {"type": "object"},
            "reason": _STRING,
            "status": _STRING,
        },
    },
}
_QUERY = {
    "read": ("pretty", "resourceVersion"),
    "list": (
        "allowWatchBookmarks",
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "pretty",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "timeoutSeconds",
        "watch",
    ),
    "write": ("dryRun", "fieldManager", "fieldValidation", "pretty"),
    "apply": ("dryRun", "fieldManager", "fieldValidation", "force", "pretty"),
    "delete": ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy", "pretty"),
}
_BOOLEANS = frozenset({"allowWatchBookmarks", "force", "orphanDependents", "sendInitialEvents", "watch"})
_INTEGERS = frozenset({"gracePeriodSeconds", "limit", "timeoutSeconds"})
# HTTP method, verb, action, parameters, on a collection (False) or an item (True)
_OPERATIONS: tuple[tuple[str, str, str, str, bool], ...] = (
    ("get", "list", "list", "list", False),
    ("post", "create", "post", "write", False),
    ("delete", "deletecollection", "deletecollection", "delete", False),
    ("get", "get", "get", "read", True),
    ("put", "update", "put", "write", True),
    ("patch", "patch", "patch", "apply", True),
    ("delete", "delete", "delete", "delete", True),
)
_VALUES = frozenset({"default", "enum", "required"})
_ONLY_V3 = frozenset({"nullable", "oneOf", "anyOf", "not"})
_INTERNAL = frozenset({"x-go-type", "x-name-pattern"})


class Documents:
    """Makes the documents; who asks keeps them. C(served) lists the resources, C(described) their schemas."""

    def __init__(
        self,
        served: Callable[[], Iterable[Resource]],
        described: Callable[[Resource], Schema | None],
        version: str,
    ) -> None:
        self._served = served
        self._described = described
        self._info = {"title": "Kubernetes", "version": version}

    def v3_index(self) -> bytes:
        """Each document's path with a hash that changes with what is served, for clients that cache."""
        paths = {}
        for path, resources in sorted(self._by_path().items()):
            text = repr(sorted((one.plural, one.kind, sorted(one.subresources)) for one in resources))
            digest = hashlib.sha512(f"{self._info}{text}".encode()).hexdigest().upper()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return orjson.dumps({"paths": paths})

    def v3(self, path: str) -> bytes | None:
        """The document of C(api/v1) or C(apis/apps/v1); None when nothing of it is served."""
        resources = self._by_path().get(path)
        if resources is None:
            return None
        paths: Schema = {}
        for resource in resources:
            paths.update(_paths(resource))
        document = {"openapi": "3.0.0", "info": self._info, "paths": paths}
        document["components"] = {"schemas": dict(self._schemas(resources))}
        return orjson.dumps(document)

    def v2(self) -> bytes:
        """One document for everything, in the older form."""
        resources = [one for some in self._by_path().values() for one in some]
        paths: Schema = {}
        for resource in resources:
            paths.update({path: _paths_v2(item) for path, item in _paths(resource).items()})
        definitions = {name: _as_v2(schema) for name, schema in self._schemas(resources)}
        return orjson.dumps({"swagger": "2.0", "info": self._info, "paths": paths, "definitions": definitions})

    def _by_path(self) -> dict[str, list[Resource]]:
        found: dict[str, list[Resource]] = {}
        for resource in self._served():
            path = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
            found.setdefault(path, []).append(resource)
        return found

    def _schemas(self, resources: Iterable[Resource]) -> Iterator[tuple[str, Schema]]:
        yield from _COMPONENTS.items()
        yield _OBJECT_META, _published(METADATA)
        for resource in resources:
            schema = _published(self._described(resource) or {"type": "object"})
            properties = schema.get("properties", {})
            if "metadata" in properties:
                properties["metadata"] = {"allOf": [_ref(_OBJECT_META)], "description": "Standard object's metadata."}
            name = component(resource)
            yield name, {**schema, _GVK: [_gvk(resource)]}
            if "list" in resource.verbs:
                yield f"{name}List", _list_schema(resource, name)


def component(resource: Resource) -> str:
    """The name of a kind's schema: C(io.k8s.api.core.v1.Pod), C(io.kubevirt.v1.VirtualMachine)."""
    if "." not in resource.group:
        return f"io.k8s.api.{resource.group or 'core'}.{resource.version}.{resource.kind}"
    reverse = ".".join(reversed(resource.group.split(".")))
    if not resource.custom and resource.group.endswith(".k8s.io"):
        reverse = f"io.k8s.api.{resource.group.split('.')[0]}"
    return f"{reverse}.{resource.version}.{resource.kind}"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _gvk(resource: Resource) -> Schema:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _list_schema(resource: Resource, name: str) -> Schema:
    return {
        "type": "object",
        "description": f"{resource.kind}List is a list of {resource.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": _STRING,
            "items": {"type": "array", "items": _ref(name)},
            "kind": _STRING,
            "metadata": {"allOf": [_ref(_LIST_META)]},
        },
        _GVK: [{**_gvk(resource), "kind": f"{resource.kind}List"}],
    }


def _published(schema: Schema) -> Schema:
    """A copy without what is only for us."""
    shown: Schema = {}
    for key, value in schema.items():
        if key in _INTERNAL or (key == "format" and value == "quantity"):
            continue
        if key == "properties":
            shown[key] = {name: _published(child) for name, child in value.items()}
        elif isinstance(value, dict) and key not in _VALUES:
            shown[key] = _published(value)
        else:
            shown[key] = value
    if shown.get("x-kubernetes-int-or-string") and "anyOf" not in shown:
        return {**shown, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
    return shown


def _paths(resource: Resource) -> Schema:
    """The paths of a resource and of its subresources that take the same object."""
    root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
    spaced = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
    collection, item = f"{spaced}/{resource.plural}", f"{spaced}/{resource.plural}/{{name}}"
    paths: Schema = {}
    for method, verb, action, query, named in _OPERATIONS:
        if verb in resource.verbs:
            operation = _operation(resource, method, action, query)
            paths.setdefault(item if named else collection, {})[method] = operation
    if resource.namespaced and "list" in resource.verbs:
        paths[f"{root}/{resource.plural}"] = {"get": _operation(resource, "get", "list", "list")}
    if "status" in resource.subresources:
        paths[f"{item}/status"] = {
            method: _operation(resource, method, action, query)
            for method, _, action, query, named in _OPERATIONS
            if named and method != "delete"
        }
    for path, methods in paths.items():
        slots = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
        methods["parameters"] = [{"name": one, "in": "path", "required": True, "schema": _STRING} for one in slots]
    return paths


def _operation(resource: Resource, method: str, action: str, query: str) -> Schema:
    name = component(resource)
    answer = _STATUS if method == "delete" else f"{name}List" if action == "list" else name
    operation: Schema = {
        "tags": [f"{(resource.group or 'core').split('.')[0]}_{resource.version}"],
        "parameters": [{"name": one, "in": "query", "schema": _query_schema(one)} for one in _QUERY[query]],
        "responses": {"200": {"description": "OK", "content": {_JSON: {"schema": _ref(answer)}}}},
        "x-kubernetes-action": action,
        _GVK: _gvk(resource),
    }
    if method in ("post", "put"):
        operation["requestBody"] = {"content": {"*/*": {"schema": _ref(name)}}, "required": True}
    elif method == "patch":
        types = (*_PATCHES, _APPLY) if resource.custom else (*_PATCHES, _STRATEGIC, _APPLY)
        operation["requestBody"] = {"content": {one: {"schema": {"type": "object"}} for one in types}, "required": True}
    elif method == "delete":
        operation["requestBody"] = {"content": {"*/*": {"schema": _ref(_DELETE_OPTIONS)}}}
    return operation


def _query_schema(name: str) -> Schema:
    kind = "boolean" if name in _BOOLEANS else "integer" if name in _INTEGERS else "string"
    return {"type": kind, "uniqueItems": True}


def _as_v2(schema: Any) -> Any:
    """A schema in the older form: references go elsewhere, and there are no alternatives."""
    if isinstance(schema, list):
        return [_as_v2(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref") or next((one.get("$ref") for one in schema.get("allOf", ()) if "$ref" in one), None)
    if isinstance(reference, str):
        prose = {"description": schema["description"]} if "description" in schema else {}
        return {**prose, "$ref": f"#/definitions/{reference.rpartition('/')[2]}"}
    if schema.get("x-kubernetes-int-or-string"):
        prose = {"description": schema["description"]} if "description" in schema else {}
        return {**prose, "type": "string", "format": "int-or-string"}
    older: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            older[key] = {name: _as_v2(child) for name, child in value.items()}
        elif key in _VALUES:
            older[key] = value
        elif key not in _ONLY_V3:
            older[key] = _as_v2(value)
    if older.get("x-kubernetes-preserve-unknown-fields"):
        # A client that validates would refuse what it does not know.
        older.pop("properties", None)
    return older


def _paths_v2(item: Schema) -> Schema:
    older: Schema = {}
    for method, operation in item.items():
        if method == "parameters":
            older[method] = [{**one, "type": "string", "schema": None} for one in operation]
            for one in older[method]:
                del one["schema"]
            continue
        parameters = [{"name": one["name"], "in": "query", **one["schema"]} for one in operation["parameters"]]
        body = operation.get("requestBody")
        entry = {key: operation[key] for key in ("tags", "x-kubernetes-action", _GVK)}
        if body is not None:
            schema = _as_v2(next(iter(body["content"].values()))["schema"])
            parameters.append({"name": "body", "in": "body", "schema": schema, "required": body.get("required", False)})
            entry["consumes"] = list(body["content"])
        schema = _as_v2(operation["responses"]["200"]["content"][_JSON]["schema"])
        older[method] = {
            **entry,
            "produces": [_JSON],
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "schema": schema}},
        }
    return older
