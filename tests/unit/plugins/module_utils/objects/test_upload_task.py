"""Uploads to the lab's own proxy: cut off, with tokens that end, not trusted, left unfinished by others."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object
from ansible_collections.virtstack.core.plugins.module_utils.objects.cdi import CDI_CONFIG, CDI_CONFIG_NAME, DATA_VOLUME
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt import at
from ansible_collections.virtstack.core.plugins.module_utils.objects.upload_target import CHECKSUM
from ansible_collections.virtstack.core.plugins.module_utils.objects.upload_task import upload
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task
from ansible_collections.virtstack.core.plugins.modules.image_upload import SPEC
from forwarder import Forwarder

MEBIBYTE = 1024**2


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


@contextmanager
def held_up(client: Client, image: Path, namespace: str) -> Iterator[tuple[threading.Event, Future[dict[str, Any]]]]:
    """An upload that stops in the middle until the gate is opened, as that of a killed playbook's worker may be."""
    gate = threading.Event()
    way = Forwarder(at(client.get(CDI_CONFIG, CDI_CONFIG_NAME), "status.uploadProxyURL"), 1, MEBIBYTE, gate=gate)
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(upload, client, task(image, namespace, upload_proxy_url=way.url))
            assert way.held.wait(60)
            yield gate, first
        finally:
            gate.set()
            way.close()


def opens(gate: threading.Event) -> Callable[[str], None]:
    """Opens the gate once the target was found busy."""

    def tell(text: str) -> None:
        if "another upload into it is under way" in text:
            gate.set()

    return tell


def test_a_second_run_waits_for_the_upload_of_the_first(client: Client, namespace: str, image: Path) -> None:
    with held_up(client, image, namespace) as (gate, first):
        second = upload(client, replace(task(image, namespace), progress=opens(gate)))
        assert first.result(60)["uploaded"]
    assert (second["phase"], second["uploaded"]) == ("Succeeded", False)


def test_an_upload_of_another_image_is_not_taken_for_this_one(client: Client, namespace: str, image: Path) -> None:
    other = image.with_name("other.raw")
    other.write_bytes(os.urandom(MEBIBYTE))
    with held_up(client, image, namespace) as (gate, first):
        with pytest.raises(Failure, match="was filled by another run meanwhile"):
            upload(client, replace(task(other, namespace), progress=opens(gate)))
        sent = first.result(60)
    assert volume(client, namespace)["metadata"]["annotations"][CHECKSUM] == sent["sha256"]
    assert not upload(client, task(image, namespace))["changed"]


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
