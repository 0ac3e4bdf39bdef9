"""Which cluster is meant, told without a client: what keeps machines of two clusters apart that have the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.plugin_utils.which_cluster import server

DOCUMENT: dict[str, Any] = {
    "current-context": "first",
    "clusters": [
        {"name": "a", "cluster": {"server": "https://a.example.com:6443/"}},
        {"name": "b", "cluster": {"server": "https://b.example.com:6443"}},
    ],
    "contexts": [
        {"name": "first", "context": {"cluster": "a", "user": "me"}},
        {"name": "second", "context": {"cluster": "b", "user": "me"}},
    ],
    "users": [{"name": "me", "user": {"token": "t"}}],
}
A, B = "https://a.example.com:6443", "https://b.example.com:6443"


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "K8S_AUTH_HOST", "K8S_AUTH_KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "config"
    found.write_text(yaml.safe_dump(DOCUMENT))
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, A),
        ({"context": "second"}, B),
        ({"host": "https://c.example.com/"}, "https://c.example.com"),
        ({"host": "https://c.example.com", "context": "second"}, "https://c.example.com"),
    ],
)
def test_it_is_the_server_that_the_client_asks(path: Path, options: dict[str, Any], expected: str) -> None:
    for kubeconfig in (str(path), path.read_text(), yaml.safe_load(path.read_text())):
        given = {**options, "kubeconfig": kubeconfig}
        assert server(given) == expected
        assert connect(given).host == expected


def test_a_server_of_the_environment_gives_way_to_a_context(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_HOST", "https://c.example.com")
    given = {"host": "https://c.example.com", "context": "second", "kubeconfig": str(path)}
    assert server(given) == connect(given).host == B
    assert server({"host": "https://c.example.com"}) == "https://c.example.com"


def test_where_nothing_is_given_the_files_of_kubectl_count(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.write_text(yaml.safe_dump({"current-context": "second", "contexts": [], "clusters": []}))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{other}:{path}")
    assert server({}) == B
    monkeypatch.delenv("KUBECONFIG")
    assert server({}) == ""
    path.rename(tmp_path / "kube")
    (tmp_path / ".kube").mkdir()
    (tmp_path / "kube").rename(tmp_path / ".kube" / "config")
    assert server({}) == A


@pytest.mark.parametrize("nonsense", ["[1]", "a: [", {"contexts": [1], "current-context": 1}, {"clusters": "x"}, "/"])
def test_nonsense_is_left_to_the_client(nonsense: Any) -> None:
    assert server({"kubeconfig": nonsense}) == ""
