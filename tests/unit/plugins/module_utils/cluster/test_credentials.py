"""Ways to reach a server and log in, each tried on a real one."""

from __future__ import annotations

import base64
import datetime
import json
import os
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes.config.incluster_config
import pytest
import yaml
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.credentials import Session
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import Forbidden, Unauthorized
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS, Connection
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

NODE = Resource("", "v1", "nodes", "Node", namespaced=False)


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for option in CONNECTION_OPTIONS.values():
        monkeypatch.delenv(option["fallback"][1][0], raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def config(lab: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path(lab.kubeconfig).read_text())
    return found


@pytest.fixture
def server(config: dict[str, Any]) -> str:
    url: str = config["clusters"][0]["cluster"]["server"]
    return url


@pytest.fixture
def token(config: dict[str, Any]) -> str:
    text: str = config["users"][0]["user"]["token"]
    return text


@pytest.fixture
def ca_cert(config: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    return str(path)


def works(**options: Any) -> bool:
    return bool(connect(options).list(NODE).items)


def test_a_kubeconfig_by_path_and_inline(lab: Any, config: dict[str, Any]) -> None:
    assert works(kubeconfig=lab.kubeconfig)
    assert works(kubeconfig=config)
    assert works(kubeconfig=yaml.safe_dump(config))


@pytest.mark.parametrize(
    "content", ["root:x:0:0:root:/root:/bin/bash\n", "- a\n- b\n", "3\n", "clusters: 3\ncontexts: 4\n"]
)
def test_a_file_that_is_no_kubeconfig_is_refused_as_such(tmp_path: Path, content: str) -> None:
    place = tmp_path / "file"
    place.write_text(content)
    with pytest.raises(Failure, match="kubeconfig"):
        connect({"kubeconfig": str(place)})


def test_the_default_kubeconfig_is_found(
    lab: Any, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failure, match="No cluster is named"):
        connect({})
    monkeypatch.setenv("KUBECONFIG", lab.kubeconfig)
    assert works()
    monkeypatch.delenv("KUBECONFIG")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(json.dumps(config))
    assert works()


def test_several_kubeconfigs_are_merged(lab: Any, tmp_path: Path, config: dict[str, Any]) -> None:
    more = tmp_path / "more"
    context = {"name": "second", "context": config["contexts"][0]["context"]}
    more.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "contexts": [context]}))
    assert works(kubeconfig=f"{lab.kubeconfig}{os.pathsep}{more}", context="second")


def test_host_and_token(server: str, token: str, ca_cert: str) -> None:
    assert works(host=server, api_key=token, ca_cert=ca_cert)
    assert works(host=server.removeprefix("https://"), api_key=token, ca_cert=ca_cert)
    with pytest.raises(Unauthorized):
        works(host=server, api_key="wrong", ca_cert=ca_cert)


def test_the_same_client_goes_on_until_something_changes(server: str, token: str, ca_cert: str) -> None:
    options = {"host": server, "api_key": token, "ca_cert": ca_cert}
    first = connect(options)
    assert connect(dict(options)) is first
    assert connect({**options, "request_timeout": 7}) is not first
    again = connect(options)
    os.utime(ca_cert, (1, 1))
    assert connect(options) is not again


def test_an_exec_plugin_in_the_kubeconfig(config: dict[str, Any], token: str, tmp_path: Path) -> None:
    plugin = tmp_path / "login"
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}}
    plugin.write_text(f"#!/bin/sh\ncat <<'EOF'\n{json.dumps(answer)}\nEOF\n")
    plugin.chmod(0o755)
    command = {"apiVersion": answer["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": command}
    assert works(kubeconfig=config)


def test_an_exec_plugin_that_fails_is_told(config: dict[str, Any]) -> None:
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": command}
    with pytest.raises(Failure, match="login gave no credentials: exec: process returned 1"):
        works(kubeconfig=config)


def test_a_client_certificate(lab: Any, config: dict[str, Any], server: str, ca_cert: str) -> None:
    authority = pytest.importorskip("virtlab.certificates").Authority(lab.state_dir)
    certificate, key = map(str, authority.client_files("jane", "system:masters"))
    assert works(host=server, ca_cert=ca_cert, client_cert=certificate, client_key=key)
    config["users"][0]["user"] = {"client-certificate": certificate, "client-key": key}
    assert works(kubeconfig=config)
    powerless = map(str, authority.client_files("john"))
    with pytest.raises(Forbidden, match=r"john.* verb list on nodes"):
        works(host=server, ca_cert=ca_cert, **dict(zip(("client_cert", "client_key"), powerless, strict=True)))


def test_a_token_file_that_rotates(config: dict[str, Any], token: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("expired")
    config["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
    client = connect({"kubeconfig": config})
    with pytest.raises(Unauthorized):
        client.list(NODE)
    (tmp_path / "token").write_text(token)
    assert client.list(NODE).items


def test_a_token_without_rights_is_told_which(lab: Any, namespace: str) -> None:
    accounts = Resource("", "v1", "serviceaccounts", "ServiceAccount")
    admin = connect({"kubeconfig": lab.kubeconfig})
    metadata = {"name": "powerless", "namespace": namespace}
    admin.create(accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    issued = admin.request("POST", accounts.path("powerless", namespace, "token"), body=request)["status"]["token"]
    with pytest.raises(Forbidden, match=rf"{namespace}:powerless.* verb list on nodes"):
        works(host=admin.host, api_key=issued, validate_certs=False)


def test_a_service_account_in_a_pod(
    server: str, token: str, ca_cert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(token)
    monkeypatch.setattr(kubernetes.config.incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(kubernetes.config.incluster_config, "SERVICE_CERT_FILENAME", ca_cert)
    address = urlsplit(server)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    assert works()


def test_impersonation(lab: Any) -> None:
    with pytest.raises(Forbidden, match="for jane"):
        works(kubeconfig=lab.kubeconfig, impersonate_user="jane")
    groups = ["developers", "system:masters"]
    assert works(kubeconfig=lab.kubeconfig, impersonate_user="jane", impersonate_groups=groups)


def test_inline_certificates_leave_no_file_behind(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "jane")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    config["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode(),
        "client-key-data": base64.b64encode(pem).decode(),
    }
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for _again in range(2):
        session = Session(Connection(kubeconfig=config), 1)
        assert session.pool.connection_pool_kw["ssl_context"] is not None
        assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy that tunnels; its URL and what it was asked for."""
    asked: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def tunnel(inside: socket.socket) -> None:
        request = inside.recv(65536).decode()
        asked.append(request.splitlines()[0])
        host, port = request.split()[1].rsplit(":", 1)
        with inside, socket.create_connection((host, int(port))) as outside:
            inside.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            while True:
                ready = select.select([inside, outside], [], [], 10)[0]
                for source in ready:
                    data = source.recv(65536)
                    if not data:
                        return
                    (outside if source is inside else inside).sendall(data)
                if not ready:
                    return

    def serve() -> None:
        while True:
            try:
                inside, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=tunnel, args=(inside,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.close()


def test_a_proxy_and_hosts_without_it(lab: Any, proxy: tuple[str, list[str]]) -> None:
    url, asked = proxy
    assert works(kubeconfig=lab.kubeconfig, proxy=url)
    assert asked
    assert asked[0].startswith("CONNECT 127.0.0.1:")
    asked.clear()
    assert works(kubeconfig=lab.kubeconfig, proxy=url, no_proxy="127.0.0.1")
    assert not asked
