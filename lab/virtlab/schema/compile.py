"""Turns the schemas as they are published (with references, gaps and prose) into schemas that stand alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from virtlab.schema import models
from virtlab.schema.kinds import Kind, is_custom
from virtlab.schema.lacking import LACKING

Schema = dict[str, Any]

# Kinds whose scope the package mistakes for that of another kind of the same name.
_NAMESPACED: dict[tuple[str, str], bool] = {
    ("build.openshift.io", "Build"): True,
    ("metrics.k8s.io", "NodeMetrics"): False,
    ("networking.k8s.io", "Ingress"): True,
}
# Names that a CRD demands by a pattern, which its published schema does not show.
_NAME_PATTERNS = {("hco.kubevirt.io", "HyperConverged"): "kubevirt-hyperconverged"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SCALARS: dict[str, Schema] = {
    _META + "Time": {"type": "string", "format": "date-time", "nullable": True},
    _META + "MicroTime": {"type": "string", "format": "date-time", "nullable": True},
    _META + "Duration": {"type": "string"},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string", "format": "quantity"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
}
OPAQUE: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_DROPPED = frozenset({"namespaced", "x-kubernetes-group-version-kind", "x-kubernetes-selectable-fields", "example"})
_NAMED = frozenset({"properties", "patternProperties", "definitions"})
_VALUES = frozenset({"default", "enum", "required", "x-kubernetes-list-map-keys"})


@dataclass(frozen=True)
class Compiled:
    """One kind with its schema, C(description) included at every level."""

    kind: Kind
    schema: Schema


def compile_all(mappings: Mapping[str, list[Schema]], definitions: Mapping[str, Schema]) -> Iterator[Compiled]:
    """Every kind once; of several schemas for one kind the one that says most."""
    best: dict[tuple[str, str, str], Schema] = {}
    for schemas in mappings.values():
        for schema in schemas:
            for group, version, kind in _kinds_of(schema):
                known = best.get((group, version, kind))
                if known is None or len(schema["properties"]) > len(known["properties"]):
                    best[group, version, kind] = schema
    for (group, version, kind), schema in sorted(best.items()):
        compiler = Compiler(definitions, custom=is_custom(group, kind))
        namespaced = _NAMESPACED.get((group, kind), bool(schema.get("namespaced")))
        compiled = compiler.top(schema, kind)
        if (group, kind) in _NAME_PATTERNS:
            compiled["x-name-pattern"] = _NAME_PATTERNS[group, kind]
        yield _compiled(group, version, kind, namespaced, compiled)
    for lacking in LACKING:
        yield _compiled(lacking.group, lacking.version, lacking.kind, lacking.namespaced, lacking.schema())


def _compiled(group: str, version: str, kind: str, namespaced: bool, schema: Schema) -> Compiled:
    return Compiled(Kind(group, version, kind, namespaced, "status" in schema["properties"]), schema)


def _kinds_of(schema: Schema) -> Iterator[tuple[str, str, str]]:
    """The kinds a schema is of. OpenShift's own are named once more in the core group, where nobody serves them."""
    named = schema.get("x-kubernetes-group-version-kind") or []
    if "properties" not in schema or "kind" not in schema["properties"]:
        return
    groups = {entry.get("group", "") for entry in named}
    for entry in named:
        group = entry.get("group", "")
        if not group and len(groups) > 1:
            continue
        if not entry["kind"].endswith("List"):
            yield group, entry["version"], entry["kind"]


class Compiler:
    """Resolves references. Only a CRD's defaults are defaults: those of built-in kinds are an artifact of OpenAPI."""

    def __init__(self, definitions: Mapping[str, Schema], *, custom: bool) -> None:
        self._definitions = definitions
        self._custom = custom

    def top(self, schema: Schema, kind: str) -> Schema:
        compiled = self._resolve(schema)
        properties = compiled["properties"]
        for name in ("apiVersion", "kind"):
            properties[name] = {"type": "string", **_prose(properties.get(name, {}))}
        if "metadata" in properties:
            properties["metadata"] = {"type": "object"}
        if not self._custom:
            compiled["x-go-type"] = kind
            compiled.pop("required", None)
        return compiled

    def _resolve(self, schema: Schema) -> Schema:
        reference = schema.get("$ref")
        if reference is None and len(schema.get("allOf", ())) == 1:
            reference = schema["allOf"][0].get("$ref")
        if reference is not None:
            markers = {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
            return {**self._referred(reference.rpartition("/")[2]), **markers, **_prose(schema)}
        resolved: Schema = {}
        for key, value in schema.items():
            if key in _DROPPED or (key == "default" and not self._custom):
                continue
            if key in _NAMED:
                resolved[key] = {name: self._resolve(child) for name, child in value.items()}
            elif key not in _VALUES and isinstance(value, dict):
                resolved[key] = self._resolve(value)
            elif key in ("allOf", "anyOf", "oneOf"):
                resolved[key] = [self._resolve(child) for child in value]
            else:
                resolved[key] = value
        if not self._custom and _is_bare_object(resolved):
            resolved |= OPAQUE
        return resolved

    def _referred(self, name: str) -> Schema:
        if name in _SCALARS:
            return dict(_SCALARS[name])
        definition = self._definitions.get(name, {})
        model = models.model_name(name)
        if model is not None:
            return _with_prose(models.structure(model), definition)
        if definition.get("properties"):
            return self._resolve(definition)
        return dict(OPAQUE)


def _is_bare_object(schema: Schema) -> bool:
    return schema.get("type") == "object" and not (schema.get("properties") or "additionalProperties" in schema)


def _prose(schema: Schema) -> Schema:
    return {"description": schema["description"]} if isinstance(schema.get("description"), str) else {}


def _with_prose(schema: Schema, definition: Schema) -> Schema:
    """C(schema) with the descriptions that C(definition) has for its first level."""
    described = definition.get("properties", {})
    properties = {name: {**child, **_prose(described.get(name, {}))} for name, child in schema["properties"].items()}
    return {**schema, **_prose(definition), "properties": properties}


def without_prose(schema: Schema) -> Schema:
    """The schema without descriptions: what validation needs, a quarter of the size."""
    bare: Schema = {}
    for key, value in schema.items():
        if key == "description" and isinstance(value, str):
            continue
        if key in _NAMED:
            bare[key] = {name: without_prose(child) for name, child in value.items()}
        elif key not in _VALUES and isinstance(value, dict):
            bare[key] = without_prose(value)
        elif key in ("allOf", "anyOf", "oneOf"):
            bare[key] = [without_prose(child) for child in value]
        else:
            bare[key] = value
    return bare
