"""The structure of built-in kinds below their first level, which the schemas lack: from the kubernetes client's models.

The client is generated from kube-apiserver's own OpenAPI document. It says the names and types of all fields, but not
how lists merge: that is in listtypes.py.
"""

from __future__ import annotations

import re
from typing import Any

from virtlab.schema.listtypes import LISTS, MAPS

Schema = dict[str, Any]

# Of type `object` in the client, an integer or a string in the API.
_INT_OR_STRING = frozenset({"targetPort", "maxUnavailable", "maxSurge", "minAvailable", "port"})
_QUANTITY_MAPS = frozenset(
    {
        "allocatable",
        "allocatedResources",
        "capacity",
        "default",
        "defaultRequest",
        "hard",
        "limits",
        "max",
        "maxLimitRequestRatio",
        "min",
        "overhead",
        "podFixed",
        "requests",
        "used",
    }
)
_QUANTITIES = frozenset({"averageValue", "divisor", "maximumVolumeSize", "sizeLimit"})
_QUANTITIES_OF = frozenset({("V1CSIStorageCapacity", "capacity"), ("V2MetricTarget", "value")})
# The client knows int only; everything else is int32.
_INT64 = frozenset(
    {
        "activeDeadlineSeconds",
        "deletionGracePeriodSeconds",
        "expirationSeconds",
        "fsGroup",
        "generation",
        "gracePeriodSeconds",
        "nodeAllocatableUpdatePeriodSeconds",
        "observedGeneration",
        "remainingItemCount",
        "resourceSliceCount",
        "revision",
        "runAsGroup",
        "runAsUser",
        "sizeBytes",
        "startingDeadlineSeconds",
        "supplementalGroups",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
# Older clients have str where newer ones have bytes.
_BYTES = frozenset(
    {
        ("V1Secret", "data"),
        ("V1ConfigMap", "binaryData"),
        ("V1CertificateSigningRequestSpec", "request"),
        ("V1CertificateSigningRequestStatus", "certificate"),
    }
)
# A schema within a schema has no end: what it holds is not looked into.
_OPAQUE = frozenset({"V1JSONSchemaProps", "V1FieldsV1"})
_LIST = re.compile(r"^[lL]ist\[(.*)\]$")
_DICT = re.compile(r"^[dD]ict[(\[]str, (.*)[)\]]$")


def model_name(reference: str) -> str | None:
    """The model of a definition's name: C(io.k8s.api.core.v1.PodSpec) is C(V1PodSpec). None if there is none."""
    parts = reference.split(".")
    if len(parts) < 3 or not reference.startswith("io.k8s."):
        return None
    version = parts[-2].capitalize()
    for name in (version + parts[-1], parts[-3].capitalize() + version + parts[-1]):
        if _model(name) is not None:
            return name
    return None


def _model(name: str) -> Any:
    # Imported late: it takes a second, and only building the cache needs it.
    from kubernetes.client import models

    return getattr(models, name, None)


def structure(name: str) -> Schema:
    """The schema of a model, everything it refers to included."""
    if name in _OPAQUE:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    model = _model(name)
    properties: dict[str, Schema] = {}
    described = getattr(model, "model_fields", {})
    for attribute, type_name in model.openapi_types.items():
        field = model.attribute_map[attribute]
        markers = LISTS.get((go_type(name), field), {})
        # Only newer clients carry descriptions.
        prose = getattr(described.get(attribute), "description", None)
        properties[field] = {**_field(name, field, type_name), **markers, **({"description": prose} if prose else {})}
    schema: Schema = {"type": "object", "properties": properties, "x-go-type": go_type(name)}
    if go_type(name) in MAPS:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def go_type(name: str) -> str:
    """The Go type behind a model: C(V1ServicePort) is C(ServicePort)."""
    return re.sub(r"^(?:[A-Z][a-z]+)?V\d+(?:alpha\d+|beta\d+)?", "", name)


def _field(model: str, field: str, type_name: str) -> Schema:
    items, values = _LIST.match(type_name), _DICT.match(type_name)
    if items:
        return {"type": "array", "items": _field(model, field, items[1])}
    if values:
        if field in _QUANTITY_MAPS and values[1] == "str":
            return {"type": "object", "additionalProperties": dict(_QUANTITY)}
        return {"type": "object", "additionalProperties": _field(model, field, values[1])}
    if type_name == "str" and (field in _QUANTITIES or (model, field) in _QUANTITIES_OF):
        return dict(_QUANTITY)
    if type_name == "str" and ((model, field) in _BYTES or field == "caBundle"):
        return dict(_SCALARS["bytes"])
    if type_name == "int" and field in _INT64:
        return {"type": "integer", "format": "int64"}
    if type_name in _SCALARS:
        return dict(_SCALARS[type_name])
    if type_name == "object":
        if field in _INT_OR_STRING:
            return {"x-kubernetes-int-or-string": True}
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return structure(type_name)


_QUANTITY: Schema = {"type": "string", "format": "quantity"}
_SCALARS: dict[str, Schema] = {
    "str": {"type": "string"},
    "bytes": {"type": "string", "format": "byte"},
    "int": {"type": "integer", "format": "int32"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
}
