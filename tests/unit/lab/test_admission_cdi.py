"""What CDI refuses."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.admission.cdi import data_volume_problems, is_schedule, url_problem

STORAGE = {"resources": {"requests": {"storage": "1Gi"}}}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"source": {"blank": {}}}, "spec.PVC", "Missing Data volume PVC"),
        (
            {"source": {"blank": {}}, "storage": STORAGE, "pvc": STORAGE},
            "spec.PVC.Storage",
            "Duplicate storage definition, both target storage and target pvc defined",
        ),
        ({"source": {"blank": {}}, "storage": {}}, "spec.Storage.resources.requests.size", "Storage size is missing"),
        (
            {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "0"}}}},
            "spec.Storage.resources.requests.size",
            "Storage size can't be equal or less than zero",
        ),
        (
            {"source": {"blank": {}}, "pvc": STORAGE},
            "spec.PVC.accessModes",
            "Required value: at least 1 access mode is required",
        ),
        (
            {"storage": STORAGE},
            "spec.source",
            "Data volume should have either Source or SourceRef, or be externally populated",
        ),
        ({"source": {"blank": {}, "upload": {}}, "storage": STORAGE}, "spec.source", "Multiple Data volume sources"),
        (
            {"source": {"http": {"url": ""}}, "storage": STORAGE},
            "spec.source.HTTP.url",
            "spec.source source URL is empty",
        ),
        (
            {"source": {"registry": {"url": "ftp://x"}}, "storage": STORAGE},
            "spec.source.Registry.URL",
            "Illegal registry source URL scheme ftp://x",
        ),
        (
            {"source": {"blank": {}}, "contentType": "archive", "storage": STORAGE},
            "spec.contentType",
            "SourceType cannot be blank and the contentType be archive",
        ),
        (
            {"sourceRef": {"kind": "Secret", "name": "a"}, "storage": {}},
            "spec.sourceRef.Kind",
            "Unsupported sourceRef kind Secret, currently only DataSource is supported",
        ),
    ],
)
def test_a_data_volume_s_first_mistake(spec: dict[str, Any], field: str, message: str) -> None:
    assert [(cause.field, cause.message) for cause in data_volume_problems("spec", spec)] == [(field, message)]


@pytest.mark.parametrize(
    "spec",
    [
        {"source": {"blank": {}}, "storage": STORAGE},
        {"source": {"pvc": {"namespace": "a", "name": "b"}}, "storage": {}},
        {"sourceRef": {"kind": "DataSource", "name": "rhel9"}, "storage": {}},
        {"source": {"upload": {}}, "pvc": {**STORAGE, "accessModes": ["ReadWriteOnce"]}},
        {"storage": {**STORAGE, "dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}}},
    ],
)
def test_data_volumes_that_are_fine(spec: dict[str, Any]) -> None:
    assert list(data_volume_problems("spec", spec)) == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://a.example/b.qcow2", None),
        ("", "source URL is empty"),
        ("nonsense", "Invalid source URL: nonsense"),
        ("ftp://a", "Invalid source URL scheme: ftp://a"),
    ],
)
def test_urls(url: str, problem: str | None) -> None:
    assert url_problem(url) == problem


@pytest.mark.parametrize("text", ["0 */12 * * *", "*/5 0-6 1,15 jan-mar MON", "@daily", "@every 1h30m"])
def test_schedules(text: str) -> None:
    assert is_schedule(text)


@pytest.mark.parametrize("text", ["bad", "60 * * * *", "* * * *", "*/0 * * * *", "5-1 * * * *", "@sometimes"])
def test_what_is_no_schedule(text: str) -> None:
    assert not is_schedule(text)


@pytest.mark.parametrize(
    ("checksum", "problem"),
    [
        ("nonsense", "invalid checksum format: expected 'algorithm:hash', got 'nonsense'"),
        ("md5: ", "checksum hash value cannot be empty"),
        ("crc:00", "unsupported hash algorithm 'crc': supported algorithms are: md5, sha1, sha256, sha512"),
        ("sha256:00", "invalid sha256 hash length: expected 64 hex characters, got 2"),
        ("md5:" + "z" * 32, "checksum hash is not valid hexadecimal: encoding/hex: invalid byte: U+007A 'z'"),
        ("MD5:" + "AB" * 16, ""),
    ],
)
def test_a_checksum_that_is_none_is_told_in_cdis_words(checksum: str, problem: str) -> None:
    spec = {"source": {"http": {"url": "http://a/b.img", "checksum": checksum}}, "storage": STORAGE}
    found = [cause.message for cause in data_volume_problems("spec", spec)]
    assert found == ([f"Invalid checksum format: {problem}"] if problem else [])
