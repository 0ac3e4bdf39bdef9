"""KubeVirt's own OpenAPI check of what users write, in go-openapi's words: paths name no indexes.

The schema is the CRD's; where the one that virt-api generates from its Go types differs, the tables here say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from virtlab.admission.kubevirt.encoding import UNSIGNED
from virtlab.resource import Object
from virtlab.schema.metadata import METADATA
from virtlab.status import Cause

NAMES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    ((int, float), "number"),
    (list, "array"),
    (dict, "object"),
)
# What Go writes for a field that is not there, unless the field says otherwise: such fields are never missed.
ZEROS: dict[str, str | int | bool] = {"string": "", "integer": 0, "number": 0, "boolean": False}
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
# Values that Go's constants allow, by the end of the field's path. CRDs do not list them.
ENUMS: dict[tuple[str, str], tuple[str, ...]] = {
    ("containerDisk", "imagePullPolicy"): PULL_POLICIES,
    ("container", "imagePullPolicy"): PULL_POLICIES,
    ("httpGet", "scheme"): ("HTTP", "HTTPS"),
    ("pvc", "accessModes"): ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"),
    ("pvc", "volumeMode"): ("Block", "Filesystem", "FromStorageProfile"),
    ("spec", "dnsPolicy"): ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    ("tolerations", "effect"): ("NoExecute", "NoSchedule", "PreferNoSchedule"),
    ("tolerations", "operator"): ("Equal", "Exists"),
    ("topologySpreadConstraints", "nodeAffinityPolicy"): ("Honor", "Ignore"),
    ("topologySpreadConstraints", "nodeTaintsPolicy"): ("Honor", "Ignore"),
    ("topologySpreadConstraints", "whenUnsatisfiable"): ("DoNotSchedule", "ScheduleAnyway"),
}
NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")


def structure_problems(schema: Mapping[str, Any] | None, obj: Object) -> Iterator[Cause]:
    """Wrong types, missing and unknown fields of C(spec)."""
    spec_schema = ((schema or {}).get("properties") or {}).get("spec")
    if spec_schema is None:
        return
    if obj.get("spec") is None:
        if "spec" in ((schema or {}).get("required") or ()):
            yield Cause("spec in body is required")
            yield Cause('spec in body must be of type object: "null"')
        return
    yield from _problems(spec_schema, obj["spec"], ("spec",))


def _problems(schema: Mapping[str, Any], value: Any, path: tuple[str, ...]) -> Iterator[Cause]:
    if value is None:
        return
    where = ".".join(path)
    if mismatch := _mismatch(schema, value, path):
        yield Cause(f"{where} in body must be of type {mismatch}")
        return
    if isinstance(value, dict):
        yield from _object_problems(_own(schema, path), value, path)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            yield from _problems(schema["items"], item, path)
    allowed = _allowed(path)
    if allowed and isinstance(value, str) and value not in allowed:
        yield Cause(f"{where} in body should be one of [{' '.join(allowed)}]")


def _own(schema: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    """CRDs leave the metadata of templates open; the Go type is known."""
    return METADATA if path[-1] == "metadata" and not schema.get("properties") else schema


def _object_problems(schema: Mapping[str, Any], value: Object, path: tuple[str, ...]) -> Iterator[Cause]:
    properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in schema.get("required") or ():
        if name not in value and (properties.get(name) or {}).get("type") not in ZEROS:
            yield Cause(f"{'.'.join((*path, name))} in body is required")
    for name, item in value.items():
        below = properties.get(name) or (extra if isinstance(extra, dict) else None)
        if below:
            yield from _problems(below, item, (*path, name))
        elif properties and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield Cause(f"{'.'.join((*path, name))} in body is a forbidden property")


def _mismatch(schema: Mapping[str, Any], value: Any, path: tuple[str, ...]) -> str | None:
    """C(wanted: "found") of a value of another type."""
    found = next((name for kind, name in NAMES if isinstance(value, kind)), "null")
    if schema.get("x-kubernetes-int-or-string"):
        wanted: tuple[str, ...] = ("string", "integer", "number") if "pattern" in schema else ("string", "number")
        return None if found in wanted else f'{",".join(wanted)}: "{found}"'
    name = schema.get("type")
    if name is None or found == name:
        return None
    if name == "integer":
        if found == "number" and value == int(value):
            return None
        if found not in ("string", "array") and "format" in schema:
            of = "int64" if path[-2:] in UNSIGNED else schema["format"]
            return f'{of}: "{"float64" if found == "number" else ""}"'
    return f'{name}: "{found}"'


def _allowed(path: tuple[str, ...]) -> tuple[str, ...]:
    if path[-2:] == ("matchExpressions", "operator") and "nodeAffinity" in path:
        return NODE_OPERATORS
    return ENUMS.get((path[-2], path[-1]), ()) if len(path) > 1 else ()


def fill_zeros(schema: Mapping[str, Any] | None, obj: Object) -> None:
    """Write the required texts, numbers and switches of C(spec) that are not there, as Go does, in place."""
    spec_schema = ((schema or {}).get("properties") or {}).get("spec")
    if spec_schema is not None:
        _fill(spec_schema, obj["spec"])


def _fill(schema: Mapping[str, Any], value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _fill(schema.get("items") or {}, item)
    if not isinstance(value, dict):
        return
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        zero = ZEROS.get((properties.get(name) or {}).get("type", ""))
        if zero is not None:
            value.setdefault(name, zero)
    for name, item in value.items():
        if isinstance(item, dict | list) and name in properties:
            _fill(properties[name], item)
