"""Uploads to the lab's own proxy: cut off, with tokens that end, not trusted, left unfinished by others."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.objects.cdi import CDI_CONFIG, CDI_CONFIG_NAME, DATA_VOLUME
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import at
from ansible_collections.virtstack.core.plugins.module_utils.objects.upload_target import CHECKSUM
from ansible_collections.virtstack.core.plugins.module_utils.objects.upload_task import upload
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task
from ansible_collections.virtstack.core.plugins.modules.image_upload import SPEC

MEBIBYTE = 1024**2


class Forwarder:
    """A way to a server on this machine that cuts its first connections after some bytes."""

    def __init__(self, target: str, cuts: int, after: int, address: str = "127.0.0.1") -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._cuts, self._after = cuts, after
        self._listener = socket.create_server((address, 0))
        self.url = f"https://{address}:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            left = self._after if self.connections <= self._cuts else None
            far = socket.create_connection(self._target)
            threading.Thread(target=self._pump, args=(far, near, None), daemon=True).start()
            threading.Thread(target=self._pump, args=(near, far, left), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data if left is None else data[: max(left, 0)])
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        break
        except OSError:
            pass
        for end in (source, sink):
            # Both directions end, also for who is reading.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def through(client: Client) -> Iterator[Callable[..., Forwarder]]:
    made: list[Forwarder] = []

    def make(cuts: int, after: int, address: str = "127.0.0.1") -> Forwarder:
        target = at(client.get(CDI_CONFIG, CDI_CONFIG_NAME), "status.uploadProxyURL")
        made.append(Forwarder(target, cuts, after, address))
        return made[-1]

    yield make
    for forwarder in made:
        forwarder.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(os.urandom(4 * MEBIBYTE))
    return path


def task(image: Path, namespace: str, **given: Any) -> Task:
    options = {name: spec.get("default") for name, spec in SPEC.options.items()}
    said: list[str] = given.pop("said", [])
    named = {"path": str(image), "name": "golden", "namespace": namespace, "wait_timeout": 60}
    return Task({**options, **named, **given}, progress=said.append)


def volume(client: Client, namespace: str) -> Object:
    found = client.get(DATA_VOLUME, "golden", namespace)
    assert found is not None
    return found


def test_an_upload_that_is_cut_off_begins_anew(
    client: Client, namespace: str, image: Path, through: Callable[..., Forwarder]
) -> None:
    way, said = through(2, MEBIBYTE), []
    result = upload(client, task(image, namespace, upload_proxy_url=way.url, said=said))
    assert result["phase"] == "Succeeded"
    assert way.connections == 3
    assert sum("Beginning anew" in line for line in said) == 2


def test_a_token_that_ends_on_the_way_is_replaced(
    client: Client, namespace: str, image: Path, through: Callable[..., Forwarder], lab: Any
) -> None:
    lab.fault("token", lifetime=3)
    way = through(3, MEBIBYTE)
    result = upload(client, task(image, namespace, upload_proxy_url=way.url))
    assert result["phase"] == "Succeeded"
    # Cut off three times, refused for its old token, then taken.
    assert way.connections == 5


def test_what_is_cut_off_again_and_again_is_told_and_finished_by_the_next_run(
    client: Client, namespace: str, image: Path, through: Callable[..., Forwarder]
) -> None:
    way = through(100, MEBIBYTE)
    with pytest.raises(Failure, match=r"upload proxy at .* broke"):
        upload(client, task(image, namespace, upload_proxy_url=way.url, wait_timeout=4))
    assert volume(client, namespace)["status"]["phase"] != "Succeeded"
    result = upload(client, task(image, namespace))
    assert result["changed"]
    assert volume(client, namespace)["status"]["phase"] == "Succeeded"
    assert not upload(client, task(image, namespace))["changed"]


def test_one_that_was_left_for_another_image_takes_this_one(
    client: Client, namespace: str, image: Path, through: Callable[..., Forwarder]
) -> None:
    with pytest.raises(Failure):
        upload(client, task(image, namespace, upload_proxy_url=through(100, 4096).url, wait_timeout=2))
    before = volume(client, namespace)["metadata"]["annotations"][CHECKSUM]
    image.write_bytes(os.urandom(2 * MEBIBYTE))
    result = upload(client, task(image, namespace))
    assert volume(client, namespace)["metadata"]["annotations"][CHECKSUM] == result["sha256"] != before


def test_a_proxy_that_is_not_trusted_gets_nothing(
    client: Client, namespace: str, image: Path, through: Callable[..., Forwarder]
) -> None:
    # Its certificate is for another address.
    way = through(0, 0, "127.0.0.2")
    with pytest.raises(Failure, match=r"is not trusted: .*127\.0\.0\.2.* upload_proxy_ca_cert"):
        upload(client, task(image, namespace, upload_proxy_url=way.url))
    upload(client, task(image, namespace, upload_proxy_url=way.url, upload_proxy_validate_certs=False))


def test_an_address_without_tls_is_refused(client: Client, namespace: str, image: Path) -> None:
    with pytest.raises(Failure, match="is no https URL"):
        upload(client, task(image, namespace, upload_proxy_url="http://127.0.0.1:1"))


def test_an_image_is_never_in_memory(client: Client, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 * MEBIBYTE)
    tracemalloc.start()
    try:
        assert upload(client, task(path, namespace))["phase"] == "Succeeded"
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
