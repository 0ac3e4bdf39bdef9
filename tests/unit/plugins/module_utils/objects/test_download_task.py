"""Downloads from the lab's own export server: cut off, gone on with, changed meanwhile, never half under their name."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client
from ansible_collections.virtstack.core.plugins.module_utils.cluster.endpoint import Untrusted
from ansible_collections.virtstack.core.plugins.module_utils.cluster.fetch import Fetch, Target
from ansible_collections.virtstack.core.plugins.module_utils.cluster.wait import wait
from ansible_collections.virtstack.core.plugins.module_utils.objects import exports
from ansible_collections.virtstack.core.plugins.module_utils.objects.download_task import download
from ansible_collections.virtstack.core.plugins.module_utils.objects.exports import Served
from ansible_collections.virtstack.core.plugins.module_utils.objects.lifecycle import make
from ansible_collections.virtstack.core.plugins.module_utils.objects.upload_task import upload
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure, Task
from ansible_collections.virtstack.core.plugins.modules import image_download, image_upload
from forwarder import Forwarder

MEBIBYTE = 1024**2


def options(module: Any, **given: Any) -> dict[str, Any]:
    return {**{name: spec.get("default") for name, spec in module.SPEC.options.items()}, "wait_timeout": 60, **given}


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """8 MiB, half of it nothing, which ends with nothing."""
    path = tmp_path / "content"
    with path.open("wb") as file:
        file.truncate(8 * MEBIBYTE)
        file.seek(2 * MEBIBYTE + 77)
        file.write(os.urandom(4 * MEBIBYTE))
    return path


@pytest.fixture
def served(client: Client, namespace: str, content: Path) -> Served:
    """An export of a claim that holds the content."""
    upload(client, Task(options(image_upload, path=str(content), name="disk", namespace=namespace)))
    course = exports.course(client)
    params = {**options(image_download), "pvc": "disk", "namespace": namespace, "wait": True}
    desired = exports.manifest(course.resource, "out", params)
    make(client, course, desired, None, Task(params))
    ready = wait(client, course.resource, "out", namespace, course.check, timeout=60)
    assert ready is not None
    return exports.served(client, ready)


@pytest.fixture
def fetching(served: Served, tmp_path: Path) -> Iterator[Callable[..., tuple[Fetch, Forwarder]]]:
    """What fetches the content through a way that is cut."""
    made: list[Forwarder] = []

    def make_one(cuts: int = 0, after: int = MEBIBYTE, **more: Any) -> tuple[Fetch, Forwarder]:
        endpoint, path = served.endpoint(served.link(served.volume(None), "raw"))
        way = Forwarder(endpoint.url, cuts, after, answers=True)
        made.append(way)
        target = Target(tmp_path / "back", **more)
        said: list[str] = []
        timeout = 3.0 if cuts > 50 else 60.0
        through = replace(endpoint, url=way.url, _context=None)
        return Fetch(through, path, "it", served.headers, target, timeout, said.append), way

    yield make_one
    for way in made:
        way.close()


def left(target: Target) -> list[str]:
    return sorted(path.name for path in target.path.parent.iterdir() if path.name != "content")


def test_what_is_cut_off_is_gone_on_with(fetching: Callable[..., Any], content: Path) -> None:
    fetch, way = fetching(cuts=3)
    found = fetch.run()
    assert Path(found.path).read_bytes() == content.read_bytes()
    assert found.sha256 == hashlib.sha256(content.read_bytes()).hexdigest()
    assert way.connections == 4
    # Nothing was sent twice, but for what was on its way when it was cut.
    assert way.answered < 11 * MEBIBYTE
    assert left(fetch.target) == ["back"]


def test_another_run_goes_on_with_what_the_first_left(fetching: Callable[..., Any], content: Path) -> None:
    fetch, _way = fetching(cuts=100, after=2 * MEBIBYTE)
    fetch.timeout = 0.1
    with pytest.raises(Failure, match="the next run goes on with it"):
        fetch.run()
    assert left(fetch.target) == [".back.part", ".back.part.json"]
    begun = fetch.target.part.stat().st_size
    assert begun > MEBIBYTE
    again, way = fetching()
    assert Path(again.run().path).read_bytes() == content.read_bytes()
    assert way.answered < 8 * MEBIBYTE - begun + MEBIBYTE


def test_what_has_changed_since_is_fetched_from_its_beginning(fetching: Callable[..., Any], content: Path) -> None:
    fetch, way = fetching()
    fetch.target.part.write_bytes(b"old" * MEBIBYTE)
    fetch.target.notes.write_text(json.dumps({"validator": '"another"', "identity": "it"}))
    assert Path(fetch.run().path).read_bytes() == content.read_bytes()
    assert way.connections == 1


def test_what_is_left_of_another_disk_is_not_gone_on_with(fetching: Callable[..., Any], content: Path) -> None:
    fetch, _way = fetching()
    fetch.target.part.write_bytes(b"x" * MEBIBYTE)
    fetch.target.notes.write_text(json.dumps({"validator": '"a"', "identity": "another"}))
    assert Path(fetch.run().path).read_bytes() == content.read_bytes()


def test_nothing_stays_nothing(fetching: Callable[..., Any], content: Path) -> None:
    found = fetching()[0].run()
    assert found.size == 8 * MEBIBYTE
    assert Path(found.path).stat().st_blocks * 512 < 5 * MEBIBYTE


def test_another_checksum_leaves_what_was_there(fetching: Callable[..., Any]) -> None:
    fetch, _way = fetching(checksum=("sha256", "0" * 64), if_exists="replace")
    fetch.target.path.write_text("dear")
    with pytest.raises(Failure, match="removed again"):
        fetch.run()
    assert fetch.target.path.read_text() == "dear"
    assert left(fetch.target) == ["back"]


def test_a_token_that_is_not_accepted_is_told_as_such(fetching: Callable[..., Any]) -> None:
    fetch, _way = fetching()
    fetch.headers = lambda: {exports.TOKEN_HEADER: "x"}
    with pytest.raises(Failure, match="token of the export is not accepted"):
        fetch.run()
    assert "back" not in left(fetch.target)


def test_only_the_certificate_that_the_export_names_is_trusted(served: Served, tmp_path: Path, lab: Any) -> None:
    # The authority of the API server is another than that of exports.
    certificate = (lab.state_dir / "ca.crt").read_text()
    status = served.export["status"]
    link = served.link(served.volume(None), "raw")
    links = {**status["links"], served.side: {**status["links"][served.side], "cert": certificate}}
    export = {**served.export, "status": {**status, "links": links}}
    endpoint, path = Served(served.client, export, served.side).endpoint(link)
    with pytest.raises(Untrusted, match="not the one that the export names"):
        Fetch(endpoint, path, "it", served.headers, Target(tmp_path / "back"), 5.0, lambda text: None).run()


def test_a_full_disk_keeps_nothing_of_it(fetching: Callable[..., Any], tiny: Path) -> None:
    fetch, _way = fetching()
    fetch.target = Target(tiny / "back")
    with pytest.raises(Failure, match=r"no space left for .*back. What was fetched of it is removed again"):
        fetch.run()
    assert list(tiny.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/b", "..", ".hidden", "", "a\0b"])
def test_a_name_that_leads_out_of_the_directory_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no plain file name"):
        exports.within(str(tmp_path), name, "raw", "refuse")


def test_a_plain_name_lies_in_the_directory(tmp_path: Path) -> None:
    assert exports.within(str(tmp_path), "vm-root.1", "gzip", "keep").path == tmp_path / "vm-root.1.img.gz"


def test_a_download_is_never_in_memory_and_leaves_no_export(client: Client, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 * MEBIBYTE)
        file.write(os.urandom(MEBIBYTE))
    upload(client, Task(options(image_upload, path=str(path), name="large", namespace=namespace)))
    tracemalloc.start()
    try:
        given = {"path": str(tmp_path / "back"), "pvc": "large", "namespace": namespace}
        result = download(client, Task(options(image_download, **given)))
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
    assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert client.list(exports.course(client).resource, namespace).items == []


def test_two_runs_do_not_write_to_one_file(client: Client, namespace: str, content: Path, tmp_path: Path) -> None:
    upload(client, Task(options(image_upload, path=str(content), name="disk", namespace=namespace)))
    back = tmp_path / "back"
    given = Task(options(image_download, pvc="disk", namespace=namespace, path=str(back), wait_timeout=1))
    with Target(back).held(0, print):
        Target(back).part.write_bytes(b"of the other run")
        with pytest.raises(Failure, match="is being fetched by another run"):
            download(client, given)
        assert Target(back).part.read_bytes() == b"of the other run"
        # The export is that of the other run as well.
        assert client.list(exports.course(client).resource, namespace).items == []
    given = replace(given, params={**given.params, "wait_timeout": 60})
    assert download(client, given)["changed"]
    assert back.read_bytes() == content.read_bytes()
    assert left(Target(back)) == ["back"]


def test_what_holds_a_file_leaves_nothing_where_nothing_came(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no more"), Target(tmp_path / "back").held(0, print):
        raise Failure("no more")
    assert left(Target(tmp_path / "back")) == []
