"""What the connection options come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.virtstack.core.plugins.doc_fragments import cluster as cluster_fragment
from ansible_collections.virtstack.core.plugins.doc_fragments import declare as declare_fragment
from ansible_collections.virtstack.core.plugins.doc_fragments import wait as wait_fragment
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
    Connection,
    connection,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import (
    WAIT_OPTIONS,
    Failure,
    ModuleSpec,
    secret_values,
)

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "a",
    "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "a", "user": {"token": "s3cr3t-t0ken", "client-key-data": "a2V5"}}],
}


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in CONNECTION_OPTIONS.values():
        monkeypatch.delenv(option["fallback"][1][0], raising=False)


def connected(**params: Any) -> Connection:
    """As a module gets there: through the argument spec."""
    result = ArgumentSpecValidator({**CONNECTION_OPTIONS, **WAIT_OPTIONS}).validate(params)
    assert not result.error_messages
    return connection(result.validated_parameters)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        (CONNECTION_OPTIONS, cluster_fragment),
        (DECLARE_OPTIONS, declare_fragment),
        (WAIT_OPTIONS, wait_fragment),
    ],
)
def test_documentation_and_spec_agree(options: dict[str, dict[str, Any]], fragment: Any) -> None:
    documented = yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert documented.keys() == options.keys()
    for name, option in options.items():
        for aspect in ("type", "default", "aliases", "elements", "choices"):
            assert documented[name].get(aspect) == option.get(aspect), f"{name}: {aspect}"


def test_the_environment_variables_are_documented_for_modules_and_for_plugins() -> None:
    modules = yaml.safe_load(cluster_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    plugins = yaml.safe_load(cluster_fragment.ModuleDocFragment.PLUGIN)["options"]
    for name, option in CONNECTION_OPTIONS.items():
        variable = option["fallback"][1][0]
        assert f"E({variable})" in modules[name]["description"][-1]
        assert plugins[name]["env"] == [{"name": variable}]


def test_an_awx_credential_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ca_cert = tmp_path / "ca.pem"
    ca_cert.write_text("PEM")
    monkeypatch.setenv("K8S_AUTH_HOST", "https://api.example.com:6443")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "token")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "True")
    monkeypatch.setenv("K8S_AUTH_SSL_CA_CERT", str(ca_cert))
    found = connected()
    assert found.complete
    assert (found.host, found.api_key, found.validate_certs, found.ca_cert) == (
        "https://api.example.com:6443",
        "token",
        True,
        str(ca_cert),
    )


def test_an_explicit_kubeconfig_beats_a_credential_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_HOST", "https://api.example.com:6443")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "token")
    monkeypatch.setenv("K8S_AUTH_VERIFY_SSL", "False")
    found = connected(kubeconfig=KUBECONFIG)
    assert not found.complete
    assert (found.host, found.api_key, found.validate_certs) == (None, None, None)


def test_options_beside_an_explicit_kubeconfig_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_AUTH_HOST", "https://api.example.com:6443")
    found = connected(kubeconfig=KUBECONFIG, validate_certs=False, proxy="http://proxy:3128")
    assert (found.host, found.validate_certs, found.proxy) == (None, False, "http://proxy:3128")


def test_host_and_key_beat_a_kubeconfig_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps(KUBECONFIG))
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", str(path))
    assert connected(host="https://h", api_key="k").complete
    monkeypatch.setenv("K8S_AUTH_HOST", "https://h")
    monkeypatch.setenv("K8S_AUTH_API_KEY", "k")
    assert connected().complete


@pytest.mark.parametrize("form", ["dict", "json", "yaml"])
def test_a_kubeconfig_may_be_inline(form: str) -> None:
    given: Any = {"dict": KUBECONFIG, "json": json.dumps(KUBECONFIG), "yaml": yaml.safe_dump(KUBECONFIG)}[form]
    assert connected(kubeconfig=given).kubeconfig == KUBECONFIG
    assert secret_values(ModuleSpec({}), {"kubeconfig": given}) == {"s3cr3t-t0ken", "a2V5"}


def test_a_path_is_expanded_and_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert connected(kubeconfig="~/config").kubeconfig == str(tmp_path / "config")
    assert secret_values(ModuleSpec({}), {"kubeconfig": "~/config"}) == set()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kubeconfig": "/nowhere/config"}, "no file /nowhere/config"),
        ({"kubeconfig": "a:\n- b: ["}, "neither a path nor a YAML document"),
        ({"kubeconfig": "just\ntext"}, "no kubeconfig document"),
        ({"ca_cert": "/nowhere/ca.pem"}, "ca_cert: there is no file /nowhere/ca.pem"),
        ({"username": "u"}, "without password"),
        ({"impersonate_groups": ["g"]}, "without impersonate_user"),
        ({"request_timeout": -1}, "more than 0 seconds"),
        ({"request_timeout": 0}, "more than 0 seconds"),
        ({"wait_timeout": -5}, "wait_timeout is -5: it must be 0 seconds or more"),
    ],
)
def test_wrong_options_are_told_before_anything_is_asked(params: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure, match=message):
        connected(**params)


def test_a_broken_inline_kubeconfig_is_not_quoted() -> None:
    with pytest.raises(Failure) as failure:
        connected(kubeconfig="users:\n- user: {token: s3cr3t-t0ken")
    assert "s3cr3t" not in failure.value.message
