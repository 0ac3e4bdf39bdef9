"""The schemas as one SQLite file, read kind by kind: opening it costs milliseconds however much it holds."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sqlite3
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from virtlab.resource import Resource
from virtlab.schema.compile import compile_all, without_prose
from virtlab.schema.kinds import Kind, resources_of, schema_version
from virtlab.schema.metadata import METADATA

Schema = dict[str, Any]
# Raised whenever the compiler would make something else of the same package.
FORMAT = 4

_TABLE = """
CREATE TABLE kinds (
    api_group TEXT, version TEXT, kind TEXT, namespaced INTEGER, has_status INTEGER,
    structure BLOB, documented BLOB,
    PRIMARY KEY (api_group, version, kind)
) WITHOUT ROWID
"""


def version() -> str:
    """Names what the content depends on beside the package: the format, and the kubernetes client's models."""
    return f"{FORMAT}-{importlib.metadata.version('kubernetes')}"


def write(mappings: Mapping[str, list[Schema]], definitions: Mapping[str, Schema], path: Path) -> None:
    """Compile all schemas into the file C(path), which is empty or not there."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(_TABLE)
        for compiled in compile_all(mappings, definitions):
            kind = compiled.kind
            row = (kind.group, kind.version, kind.kind, kind.namespaced, kind.has_status)
            blobs = (_packed(without_prose(compiled.schema)), _packed(compiled.schema))
            database.execute("INSERT INTO kinds VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, *blobs))


def _packed(schema: Schema) -> bytes:
    return zlib.compress(orjson.dumps(schema), 6)


class Schemas:
    """The schemas of all kinds. What it returns is shared: never change it."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        self._structures: dict[tuple[str, str, str], Schema | None] = {}

    def close(self) -> None:
        self._database.close()

    @cached_property
    def kinds(self) -> list[Kind]:
        rows = self._database.execute("SELECT api_group, version, kind, namespaced, has_status FROM kinds")
        return [Kind(group, version, kind, bool(space), bool(status)) for group, version, kind, space, status in rows]

    @cached_property
    def resources(self) -> list[Resource]:
        """Every resource in every served version, built in or not."""
        return resources_of(self.kinds)

    def structure(self, resource: Resource) -> Schema | None:
        """The schema by which objects are pruned and validated; None for a kind that only its CRD describes."""
        return self.structure_of(resource.group, resource.version, resource.kind, resource.qualified)

    def structure_of(self, group: str, version: str, kind: str, qualified: str = "") -> Schema | None:
        key = (group, schema_version(qualified, version), kind)
        if key not in self._structures:
            self._structures[key] = self._read("structure", key)
        return self._structures[key]

    def documented(self, resource: Resource) -> Schema | None:
        """The schema with its descriptions. Not kept: only OpenAPI documents need it."""
        version = schema_version(resource.qualified, resource.version)
        return self._read("documented", (resource.group, version, resource.kind))

    def _read(self, column: str, key: tuple[str, str, str]) -> Schema | None:
        query = f"SELECT {column} FROM kinds WHERE api_group = ? AND version = ? AND kind = ?"
        row = self._database.execute(query, key).fetchone()
        if row is None:
            return None
        schema: Schema = orjson.loads(zlib.decompress(row[0]))
        if "metadata" in schema["properties"]:
            schema["properties"]["metadata"] = METADATA
        return schema
