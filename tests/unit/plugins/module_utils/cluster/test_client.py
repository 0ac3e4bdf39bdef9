"""Requests against a server that misbehaves."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster import errors
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Resource
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
MACHINE = Resource("kubevirt.io", "v1", "virtualmachines", "VirtualMachine")
WIDGET = Resource("widgets.example.com", "v1", "widgets", "Widget", hint="install the widget operator")

Maker = Callable[..., dict[str, Any]]


def test_an_object_that_is_not_there_is_none(client: Client, namespace: str) -> None:
    assert client.get(CONFIG_MAP, "nothing", namespace) is None


def test_an_api_that_is_not_there_is_an_error(client: Client, namespace: str) -> None:
    with pytest.raises(errors.NotServed, match="install the widget operator"):
        client.get(WIDGET, "w", namespace)
    assert not client.serves(WIDGET)
    assert client.serves(MACHINE)


def test_the_first_version_that_is_served_is_preferred(client: Client) -> None:
    newest = Resource("hco.kubevirt.io", "v1", "hyperconvergeds", "HyperConverged")
    older = Resource("hco.kubevirt.io", "v1beta1", "hyperconvergeds", "HyperConverged")
    future = Resource("hco.kubevirt.io", "v9", "hyperconvergeds", "HyperConverged")
    assert client.preferred([future, newest, older]) is newest
    with pytest.raises(errors.NotServed, match="Widget"):
        client.preferred([WIDGET])


def test_lists_are_read_in_pages(client: Client, config_map: Maker, namespace: str) -> None:
    client.in_parallel(lambda number: client.create(CONFIG_MAP, config_map(f"c{number}")), range(7))
    pages = list(client.pages(CONFIG_MAP, namespace, limit=3))
    names = [item["metadata"]["name"] for page in pages for item in page.items]
    assert len(pages) >= 3
    assert {f"c{number}" for number in range(7)} <= set(names)
    assert all(item["kind"] == "ConfigMap" for page in pages for item in page.items)


def test_a_list_whose_next_page_is_gone_begins_again(
    client: Client, lab: Any, config_map: Maker, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.in_parallel(lambda number: client.create(CONFIG_MAP, config_map(f"c{number}")), range(5))
    whole = client.pages
    expired = []

    def pages(*arguments: Any, **options: Any) -> Any:
        for page in whole(*arguments, limit=2, **options):
            if not expired:
                expired.append(True)
                lab.command("expire")
            yield page

    monkeypatch.setattr(client, "pages", pages)
    found = client.list(CONFIG_MAP, namespace).items
    assert {f"c{number}" for number in range(5)} <= {item["metadata"]["name"] for item in found}


@pytest.mark.parametrize(
    "fault",
    [
        {"code": 503},
        {"code": 429, "retry_after": 1},
        {"code": 500, "reason": "InternalError", "message": "etcdserver: leader changed"},
        {"drop": "before"},
        {"drop": "after"},
    ],
)
def test_reading_is_repeated(
    client: Client, lab: Any, config_map: Maker, namespace: str, fault: dict[str, Any]
) -> None:
    created = client.create(CONFIG_MAP, config_map())
    lab.fault("request", verb="get", path=namespace, count=2, **fault)
    assert client.get(CONFIG_MAP, "a", namespace) == created
    assert lab.faults() == []


def test_retry_after_is_waited_for(client: Client, lab: Any, namespace: str) -> None:
    lab.fault("request", verb="get", path=namespace, count=1, code=429, retry_after=1)
    started = time.monotonic()
    client.get(CONFIG_MAP, "nothing", namespace)
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_create_whose_answer_is_lost_is_looked_up(
    client: Client, lab: Any, config_map: Maker, namespace: str, drop: str
) -> None:
    lab.fault("request", verb="create", path=namespace, count=1, drop=drop)
    created = client.create(CONFIG_MAP, config_map("a", x="1"))
    found = client.get(CONFIG_MAP, "a", namespace)
    assert found is not None
    assert created["metadata"]["uid"] == found["metadata"]["uid"]


def test_a_create_of_what_exists_fails(client: Client, config_map: Maker) -> None:
    client.create(CONFIG_MAP, config_map())
    with pytest.raises(errors.AlreadyExists):
        client.create(CONFIG_MAP, config_map())


def test_a_create_is_not_repeated_after_a_bare_503(client: Client, lab: Any, config_map: Maker, namespace: str) -> None:
    lab.fault("request", verb="create", path=namespace, count=1, code=503)
    with pytest.raises(errors.Unavailable):
        client.create(CONFIG_MAP, config_map())


def test_any_request_is_repeated_when_the_server_says_later(
    client: Client, lab: Any, config_map: Maker, namespace: str
) -> None:
    lab.fault("request", verb="create", path=namespace, count=1, code=429, retry_after=1)
    assert client.create(CONFIG_MAP, config_map())["metadata"]["name"] == "a"


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_webhooks_denial_is_not_repeated(
    client: Client, lab: Any, config_map: Maker, namespace: str, code: int
) -> None:
    message = 'admission webhook "x.example.com" denied the request: not on a Sunday'
    lab.fault("request", verb="patch", path=namespace, count=2, code=code, message=message)
    with pytest.raises(errors.Denied, match="not on a Sunday"):
        client.apply(CONFIG_MAP, config_map())
    assert len(lab.faults()) == 1


def test_a_delete_whose_answer_is_lost_is_done(client: Client, lab: Any, config_map: Maker, namespace: str) -> None:
    uid = client.create(CONFIG_MAP, config_map())["metadata"]["uid"]
    lab.fault("request", verb="delete", path=namespace, count=1, drop="after")
    assert client.delete(CONFIG_MAP, "a", namespace, uid=uid)
    assert client.get(CONFIG_MAP, "a", namespace) is None


def test_deleting_what_is_not_there_is_told(client: Client, namespace: str) -> None:
    assert not client.delete(CONFIG_MAP, "nothing", namespace)


def test_a_delete_never_hits_a_successor(client: Client, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map())
    with pytest.raises(errors.Conflict):
        client.delete(CONFIG_MAP, "a", namespace, uid="11111111-1111-1111-1111-111111111111")


def test_an_action_is_never_repeated(client: Client, lab: Any, namespace: str) -> None:
    lab.fault("request", path="/start", count=2, drop="before")
    actions = Resource("subresources.kubevirt.io", "v1", "virtualmachines", "VirtualMachine")
    with pytest.raises(errors.Unreachable, match="Whether it was done is not known"):
        client.call(actions, "db", namespace, "start")
    assert lab.faults()[0]["count"] == 2


def test_no_answer_in_time_is_an_error(lab: Any, namespace: str) -> None:
    impatient = connect({"kubeconfig": lab.kubeconfig, "request_timeout": 0.3})
    lab.fault("request", verb="create", path=namespace, count=1, latency=2)
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "a", "namespace": namespace}}
    with pytest.raises(errors.Unreachable, match=r"no answer within 0\.3 seconds"):
        impatient.create(CONFIG_MAP, body)


def test_a_slow_answer_is_waited_for(client: Client, lab: Any, config_map: Maker, namespace: str) -> None:
    client.create(CONFIG_MAP, config_map("a", x="y" * 5000))
    lab.fault("request", verb="get", path=namespace, count=1, slow=0.02)
    found = client.get(CONFIG_MAP, "a", namespace)
    assert found is not None
    assert found["data"]["x"] == "y" * 5000


def test_requests_go_in_parallel_and_come_back_in_order(client: Client, config_map: Maker, namespace: str) -> None:
    def create(name: str) -> str:
        created: str = client.create(CONFIG_MAP, config_map(name))["metadata"]["name"]
        return created

    names = [f"c{number}" for number in range(20)]
    results = client.in_parallel(create, [*names[:10], "Bad_Name", *names[10:]])
    assert isinstance(results[10], errors.Invalid)
    assert [result for result in results if isinstance(result, str)] == names


def test_a_server_that_is_not_there_is_told_quickly() -> None:
    away = connect({"host": "https://127.0.0.1:1", "api_key": "x"})
    started = time.monotonic()
    with pytest.raises(errors.Unreachable, match="Check that the API server runs"):
        away.request("GET", "/version")
    assert time.monotonic() - started < 5


def test_a_name_that_does_not_resolve_is_told() -> None:
    away = connect({"host": "https://nowhere.invalid:6443", "api_key": "x"})
    with pytest.raises(errors.Unreachable, match="cannot be resolved"):
        away.request("GET", "/version")


def test_a_certificate_that_nobody_trusts_is_told(client: Client) -> None:
    stranger = connect({"host": client.host, "api_key": "x"})
    with pytest.raises(errors.Unreachable, match="Give the CA that signed it as ca_cert"):
        stranger.request("GET", "/version")


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A server whose certificate has expired: its URL, and the file of the certificate, which vouches for itself."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now - datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = tmp_path / "old.pem", tmp_path / "old.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", str(pem)
    server.shutdown()
    server.server_close()


def test_a_certificate_that_has_expired_is_told(expired: tuple[str, str]) -> None:
    url, ca_cert = expired
    late = connect({"host": url, "api_key": "x", "ca_cert": ca_cert})
    with pytest.raises(errors.Unreachable, match=r"its TLS certificate has expired\. Renew it"):
        late.request("GET", "/version")


def test_verification_can_be_turned_off(client: Client) -> None:
    stranger = connect({"host": client.host, "api_key": "wrong", "validate_certs": False})
    with pytest.raises(errors.Unauthorized, match="log in again"):
        stranger.get(CONFIG_MAP, "a", "default")


def test_a_file_that_is_no_kubeconfig_is_told(tmp_path: Any) -> None:
    path = tmp_path / "config"
    path.write_text("{}")
    with pytest.raises(Failure, match="kubeconfig cannot be used"):
        connect({"kubeconfig": str(path)})


def test_a_context_that_is_not_there_is_told(lab: Any) -> None:
    with pytest.raises(Failure, match=r"kubeconfig cannot be used.*nowhere"):
        connect({"kubeconfig": lab.kubeconfig, "context": "nowhere"})


def test_threads_share_a_client(client: Client, namespace: str) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(client.get(CONFIG_MAP, "x", namespace))) for _number in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [None] * 30


def test_a_watch_is_closed_while_its_connection_ends(
    client: Client, namespace: str, config_map: Callable[..., dict[str, Any]]
) -> None:
    client.create(CONFIG_MAP, config_map())
    watch = client.watch(CONFIG_MAP, namespace, timeout=20)
    events = iter(watch)
    while not watch._response:
        client.create(CONFIG_MAP, config_map(f"n{time.monotonic_ns()}"))
        next(events)
    watch._response.close()
    watch.close()
    assert list(events) == []
