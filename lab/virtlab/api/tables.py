"""Tables for C(kubectl get): the columns of a CRD, those of built-in kinds, or name and age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from virtlab.api.ages import age
from virtlab.api.columns import BUILT_IN, STORAGE_CLASS_NAME, Column
from virtlab.api.jsonpath import first
from virtlab.cluster import Cluster
from virtlab.goformat import quoted
from virtlab.resource import Object, Resource
from virtlab.status import bad_request

NAME = Column("Name", lambda obj: obj["metadata"].get("name", ""), format="name")
NAMES = {"storageclasses.storage.k8s.io": STORAGE_CLASS_NAME}
UNNAMED = frozenset({"events"})  # their name is one of their wide columns
NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


def table(
    objects: Sequence[Object],
    resource: Resource,
    cluster: Cluster,
    version: str,
    metadata: Mapping[str, Any],
    include: str,
) -> Object:
    """meta.k8s.io Table. C(include): None, Metadata (also when empty) or Object, as the query says."""
    if include not in ("", "None", "Metadata", "Object"):
        text = f"Invalid value: {quoted(include)}: must be 'Metadata', 'Object', 'None', or empty"
        raise bad_request(f"Unable to convert to Table as requested: includeObject: {text}")
    columns = columns_of(resource, cluster)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {
            key: metadata[key] for key in ("resourceVersion", "continue", "remainingItemCount") if key in metadata
        },
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(obj, columns, version, include) for obj in objects],
    }


def columns_of(resource: Resource, cluster: Cluster) -> Sequence[Column]:
    built_in = BUILT_IN.get(resource.qualified)
    if built_in is not None:
        return (NAMES.get(resource.qualified, NAME), *built_in) if resource.qualified not in UNNAMED else built_in
    described = cluster.catalog.columns(resource)
    if described is None and not resource.custom:
        return (NAME, Column("Created At", lambda obj: obj["metadata"].get("creationTimestamp"), format="date-time"))
    return (NAME, *(_custom(column) for column in described or (AGE,)))


AGE: Object = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _custom(column: Object) -> Column:
    path, kind = column["jsonPath"], column["type"]

    def cell(obj: Object) -> Any:
        value = first(obj, path)
        if kind == "date":
            return "<unknown>" if value is None else age(str(value))
        if value is None or kind == "string":
            return value if value is None or isinstance(value, str) else _text(value)
        return value

    text = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return Column(column["name"], cell, kind, column.get("format", ""), column.get("priority", 0), text)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or (NAME_TEXT if column is NAME else column.name),
        "priority": column.priority,
    }


def _row(obj: Object, columns: Sequence[Column], version: str, include: str) -> Object:
    row: Object = {"cells": [column.cell(obj) for column in columns]}
    if include == "Object":
        row["object"] = obj
    elif include != "None":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": obj["metadata"],
        }
    return row
