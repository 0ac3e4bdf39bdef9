"""Uploads, imports, downloads and migrations that are cut off at every stage, by killing whoever runs them.

A real ansible-playbook is killed, with its worker or without it, or the lab is. Bytes are real, guests are simulated
(tests/kvm has the migration of a real one). What was cut off is never called done, and the next run ends it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from gates import Gate
from labs import Lab
from playing import Ansible, Begun, Played
from servers import Served, serving

Object = dict[str, Any]
Task = dict[str, Any]

MEBIBYTE = 1 << 20
SIZE = 4 * MEBIBYTE
PATIENCE = 120.0  # seconds
CDI = "/apis/cdi.kubevirt.io/v1beta1"
KUBEVIRT = "/apis/kubevirt.io/v1"
MARK = "virtstack.core/image-sha256"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of these tests, in which stages take long enough to be seen."""
    lab = Lab(tmp_path_factory.mktemp("interrupted"))
    lab.command("start", "--installed", "--time-factor", "0.2", "--quiet")
    yield lab
    lab.command("stop")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.raw"
    path.write_bytes(os.urandom(SIZE))
    return path


def until(seen: Callable[[], Any], what: str) -> Any:
    """What C(seen) returns once it is true."""
    end = time.monotonic() + PATIENCE
    while not (value := seen()):
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)
    return value


@dataclass
class Place:
    """A namespace of the lab, and the directory of a test."""

    lab: Lab
    ansible: Ansible
    directory: Path
    namespace: str
    running: ExitStack = field(default_factory=ExitStack)

    def get(self, api: str, kind: str, name: str = "") -> Object:
        """An object or a list; nothing where there is none."""
        try:
            return dict(json.loads(self.lab.ask("GET", f"{api}/namespaces/{self.namespace}/{kind}/{name}".rstrip("/"))))
        except HTTPError as error:
            if error.code == 404:
                return {}
            raise

    def phase(self, name: str = "disk", api: str = CDI, kind: str = "datavolumes") -> str | None:
        """None where it is not there."""
        found = self.get(api, kind, name)
        return str((found.get("status") or {}).get("phase") or "") if found else None

    def names(self, api: str, kind: str) -> list[str]:
        return [str(item["metadata"]["name"]) for item in self.get(api, kind).get("items") or ()]

    def disk(self, name: str = "disk") -> bytes | None:
        """What the claim holds under the name of its disk."""
        paths = list((self.lab.directory / "storage").glob(f"*/{self.namespace}/{name}/disk.img"))
        return paths[0].read_bytes() if paths else None

    def fault(self, *rule: str) -> None:
        self.lab.command("fault", "add", *rule)

    def begin(self, *tasks: Task) -> Begun:
        """A playbook of these tasks, which goes on meanwhile."""
        environment = {"K8S_AUTH_KUBECONFIG": str(self.lab.kubeconfig)}
        return self.running.enter_context(self.ansible.begun(self._written(tasks), **environment))

    def play(self, *tasks: Task) -> Played:
        return self.ansible.playbook(self._written(tasks), self.lab)

    def finish(self, *tasks: Task) -> Played:
        """The next run, which ends well."""
        played = self.play(*tasks)
        assert played.returncode == 0, played.output
        return played

    def _written(self, tasks: tuple[Task, ...]) -> Path:
        path = self.directory / f"play{next(_numbers)}.yml"
        path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}]))
        return path


@pytest.fixture
def place(own: Lab, ansible: Ansible, tmp_path: Path) -> Iterator[Place]:
    namespace = f"cut-{next(_numbers)}"
    own.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    made = Place(own, ansible, tmp_path, namespace)
    with made.running:
        yield made
    own.command("fault", "clear")


# Uploads


@dataclass(frozen=True)
class Cut:
    """Where an upload is held: after so many bytes of it, or after all of them, with the answers to come."""

    sent: int
    answers: bool = False


@pytest.fixture
def gate(place: Place) -> Iterator[Callable[[Cut], Gate]]:
    url = json.loads(place.lab.ask("GET", f"{CDI}/cdiconfigs/config"))["status"]["uploadProxyURL"]
    with ExitStack() as made:

        def make(cut: Cut) -> Gate:
            found = Gate(url, cut.sent, answers=cut.answers)
            made.callback(found.close)
            return found

        yield make


def uploading(place: Place, image: Path, **more: Any) -> Task:
    return {"virtstack.core.image_upload": {"path": str(image), "name": "disk", "namespace": place.namespace, **more}}


def is_whole(place: Place, content: bytes) -> bool:
    """Whether it is called done; asserts that it is, then."""
    if place.phase() != "Succeeded":
        return False
    disk = place.disk()
    assert disk is not None
    assert disk[: len(content)] == content
    return True


def test_an_upload_whose_volume_was_just_made(place: Place, image: Path, gate: Callable[[Cut], Gate]) -> None:
    begun = place.begin(uploading(place, image, upload_proxy_url=gate(Cut(0)).url))
    until(lambda: place.phase() is not None, "a data volume")
    begun.kill()
    assert not is_whole(place, image.read_bytes())
    assert place.disk() is None
    place.finish(uploading(place, image))
    assert is_whole(place, image.read_bytes())


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(Cut(0), id="before its first byte"),
        pytest.param(Cut(SIZE // 2), id="in the middle"),
        pytest.param(Cut(SIZE, answers=True), id="after its last byte"),
    ],
)
def test_an_upload_that_was_killed(place: Place, image: Path, gate: Callable[[Cut], Gate], cut: Cut) -> None:
    held = gate(cut)
    begun = place.begin(uploading(place, image, upload_proxy_url=held.url))
    held.await_held()
    assert cut.answers or not is_whole(place, image.read_bytes())
    begun.kill()
    held.open()
    if not cut.answers:
        assert place.phase() == "UploadReady"
        assert place.disk() is None
    place.finish(uploading(place, image))
    assert is_whole(place, image.read_bytes())
    again = place.play(uploading(place, image))
    assert (again.returncode, again.changed) == (0, 0), again.output


def test_an_upload_whose_worker_goes_on_is_waited_for(place: Place, image: Path, gate: Callable[[Cut], Gate]) -> None:
    held = gate(Cut(SIZE // 2))
    first = place.begin(uploading(place, image, upload_proxy_url=held.url))
    held.await_held()
    first.kill(alone=True)
    second = place.begin(uploading(place, image))
    second.says("Beginning anew")
    held.open()
    second.ends_well()
    assert is_whole(place, image.read_bytes())


def test_an_upload_of_another_image_is_not_taken_for_the_one_that_went_on(
    place: Place, image: Path, gate: Callable[[Cut], Gate], tmp_path: Path
) -> None:
    held = gate(Cut(SIZE // 2))
    first = place.begin(uploading(place, image, upload_proxy_url=held.url))
    held.await_held()
    first.kill(alone=True)
    other = tmp_path / "other.raw"
    other.write_bytes(os.urandom(SIZE))
    second = place.begin(uploading(place, other))
    second.says("Beginning anew")
    held.open()
    assert second.process.wait(PATIENCE) == 2
    assert is_whole(place, image.read_bytes())
    assert "another image" in place.play(uploading(place, other)).output
    until(lambda: place.get(CDI, "datavolumes", "disk")["metadata"]["annotations"][MARK] == sha256(image), "its mark")


# Imports


@pytest.fixture
def web(image: Path) -> Iterator[Served]:
    """A server that gives half of the image, and the rest when it is told to."""
    with serving(image.read_bytes()) as served:
        served.stop_after = SIZE // 2
        yield served


def importing(place: Place, web: Served) -> Task:
    source = {"http": {"url": web.url}, "size": "8Mi", "wait": True}
    return {"virtstack.core.data_volume": {"name": "disk", "namespace": place.namespace, **source}}


@pytest.mark.parametrize("phase", ["ImportScheduled", "ImportInProgress"])
def test_an_import_that_was_killed(place: Place, image: Path, web: Served, phase: str) -> None:
    begun = place.begin(importing(place, web))
    until(lambda: place.phase() in (phase, "ImportInProgress"), phase)
    begun.kill()
    assert not is_whole(place, image.read_bytes())
    assert place.disk() is None
    web.go_on.set()
    place.finish(importing(place, web))
    assert is_whole(place, image.read_bytes())
    again = place.play(importing(place, web))
    assert (again.returncode, again.changed) == (0, 0), again.output


def test_an_import_whose_server_hung_up_in_the_middle(place: Place, image: Path, web: Served) -> None:
    web.cut_off, web.cuts = True, 1
    place.finish(importing(place, web))
    assert is_whole(place, image.read_bytes())
    assert web.requests > 1


# Exports


@pytest.fixture(scope="module")
def filled(own: Lab, ansible: Ansible, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A claim that holds the image, in a namespace of its own."""
    place = Place(own, ansible, tmp_path_factory.mktemp("filled"), "filled")
    place.finish({"virtstack.core.namespace": {"name": "filled"}}, uploading(place, image))
    return place


@pytest.fixture
def source(filled: Place, place: Place) -> Place:
    """The same, with files and faults of the test."""
    return replace(place, namespace=filled.namespace)


def downloading(place: Place) -> Task:
    path = str(place.directory / "to" / "disk.img")
    return {
        "virtstack.core.image_download": {
            "path": path,
            "namespace": place.namespace,
            "pvc": "disk",
            "if_exists": "keep",
        }
    }


def own_name(place: Place) -> str:
    """Of the export of one test."""
    return place.directory.name.replace("_", "-").lower()


def exporting(place: Place) -> Task:
    there = {"name": own_name(place), "namespace": place.namespace, "pvc": "disk"}
    there |= {"download_dest": str(place.directory / "to"), "if_exists": "keep", "wait": True}
    return {"virtstack.core.vm_export": there}


Way = Callable[[Place], Task]
WAYS = pytest.mark.parametrize("way", [downloading, exporting], ids=["image_download", "vm_export"])


@pytest.fixture
def to(place: Place) -> Path:
    directory = place.directory / "to"
    directory.mkdir()
    return directory


def is_exported(place: Place, way: Way, phase: str | None = None) -> bool:
    """Whether there is the export of a test, in this phase."""
    api = "/apis/export.kubevirt.io/v1beta1"
    names = place.names(api, "virtualmachineexports")
    mine = [name for name in names if name.startswith("download-" if way is downloading else own_name(place))]
    return any(phase in (None, place.phase(name, api, "virtualmachineexports")) for name in mine)


def came_through(place: Place, image: Path, to: Path, way: Way) -> None:
    assert [path.name for path in to.iterdir()] == ["disk.img"]
    assert (to / "disk.img").read_bytes()[:SIZE] == image.read_bytes()
    # That of a download goes with it.
    assert is_exported(place, way) is (way is exporting)


@pytest.mark.parametrize(
    ("way", "phase"), [(downloading, None), (exporting, "Ready")], ids=["made by image_download", "ready for vm_export"]
)
def test_an_export_that_was_killed(source: Place, image: Path, to: Path, way: Way, phase: str | None) -> None:
    source.fault("data", "--path", "/volumes/", "--latency", "60")
    begun = source.begin(way(source))
    until(lambda: is_exported(source, way, phase), "an export")
    begun.kill()
    assert not (to / "disk.img").exists()
    source.lab.command("fault", "clear")
    source.finish(way(source))
    came_through(source, image, to, way)


def begun_download(place: Place, to: Path, way: Way) -> Begun:
    """A download in the middle of its bytes."""
    place.fault("data", "--path", "/volumes/", "--slow", "1")
    begun = place.begin(way(place))
    part = to / ".disk.img.part"
    until(lambda: part.exists() and part.stat().st_size >= MEBIBYTE, "some bytes")
    return begun


@WAYS
def test_a_download_that_was_killed(source: Place, image: Path, to: Path, way: Way) -> None:
    begun_download(source, to, way).kill()
    assert sorted(path.name for path in to.iterdir()) == [".disk.img.part", ".disk.img.part.json"]
    assert (to / ".disk.img.part").stat().st_size < SIZE
    source.lab.command("fault", "clear")
    source.finish(way(source))
    came_through(source, image, to, way)


@WAYS
def test_a_download_whose_worker_goes_on_is_waited_for(source: Place, image: Path, to: Path, way: Way) -> None:
    with begun_download(source, to, way).left_standing():
        second = source.begin(way(source))
        second.says("is being fetched by another run")
    second.ends_well()
    came_through(source, image, to, way)


def admitting(place: Place) -> list[str]:
    """What lets an import into an export, of which nothing is to stay."""
    names = [*place.names("/api/v1", "secrets"), *place.names("/api/v1", "configmaps")]
    return [name for name in names if name.startswith(("header-secret", "export-ca"))]


@pytest.mark.parametrize("left_alone", [False, True], ids=["at once", "when it has ended by itself"])
def test_an_import_of_an_export_that_was_killed(filled: Place, place: Place, image: Path, left_alone: bool) -> None:
    there = {"namespace": place.namespace, "name": "copy"}
    name = f"import-{next(_numbers)}"
    task = {
        "virtstack.core.vm_export": {
            "name": name,
            "namespace": "filled",
            "pvc": "disk",
            "wait": True,
            "import_to": there,
        }
    }
    place.fault("data", "--path", "/volumes/", "--slow", "1")
    begun = place.begin(task)
    until(lambda: place.phase("copy") == "ImportInProgress", "an import")
    begun.kill()
    assert place.disk("copy") is None
    assert admitting(place)
    place.lab.command("fault", "clear")
    if left_alone:
        until(lambda: place.phase("copy") == "Succeeded", "its end")
    assert place.finish(task).changed == 1
    assert place.phase("copy") == "Succeeded"
    assert (place.disk("copy") or b"")[:SIZE] == image.read_bytes()
    assert admitting(place) == []


# Migrations


@pytest.fixture(scope="module")
def able(own: Lab, ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A simulated guest that can be moved."""
    place = Place(own, ansible, tmp_path_factory.mktemp("able"), "able")
    disk = {"name": "root", "container_disk": "quay.io/containerdisks/fedora:latest"}
    machine = {"name": "able", "namespace": "able", "memory": "256Mi", "disks": [disk], "wait": True}
    place.finish({"virtstack.core.namespace": {"name": "able"}}, {"virtstack.core.vm": machine})
    return place


def moving(place: Place) -> Task:
    """To a node where it is not; the next run then has nothing to do where that has been done."""
    other = next(name for name in ("worker-0", "worker-1") if name != node(place))
    return {"virtstack.core.vm_migration": {"name": "able", "namespace": "able", "node": other, "wait": True}}


def node(place: Place) -> str:
    return str(place.get(KUBEVIRT, "virtualmachineinstances", "able")["status"]["nodeName"])


def migrations(place: Place) -> dict[str, str]:
    """The phases of all that there are, by their names."""
    listed = place.get(KUBEVIRT, "virtualmachineinstancemigrations")["items"]
    return {item["metadata"]["name"]: (item.get("status") or {}).get("phase") or "" for item in listed}


@pytest.mark.parametrize(
    ("phase", "alone"),
    [("", False), ("Running", False), ("Running", True)],
    ids=["just made", "in the middle", "without its worker"],
)
def test_a_migration_that_was_killed_is_followed_by_the_next_run(able: Place, phase: str, alone: bool) -> None:
    task, before = moving(able), set(migrations(able))
    with able.running:
        begun = able.begin(task)
        until(lambda: any(phase in ("", now) for name, now in migrations(able).items() if name not in before), phase)
        begun.kill(alone=alone)
        able.finish(task)
    assert [now for name, now in migrations(able).items() if name not in before] == ["Succeeded"]
    assert node(able) == task["virtstack.core.vm_migration"]["node"]


# The lab itself


def cut_power(lab: Lab) -> None:
    """End the server, with everything that it holds in its memory."""
    process = os.pidfd_open(int((lab.directory / "server.lock").read_text()))
    signal.pidfd_send_signal(process, signal.SIGKILL)
    select.select([process], [], [], 30)
    os.close(process)


def test_all_of_them_outlive_the_server(
    source: Place, image: Path, to: Path, web: Served, gate: Callable[[Cut], Gate]
) -> None:
    held = gate(Cut(SIZE // 2))
    up = {"virtstack.core.image_upload": {**uploading(source, image)["virtstack.core.image_upload"], "name": "up"}}
    up["virtstack.core.image_upload"]["upload_proxy_url"] = held.url
    into = {"virtstack.core.data_volume": {**importing(source, web)["virtstack.core.data_volume"], "name": "into"}}
    begun = [source.begin(up), source.begin(into)]
    held.await_held()
    until(lambda: source.phase("into") == "ImportInProgress", "an import")
    begun.append(begun_download(source, to, downloading))
    cut_power(source.lab)
    assert not (to / "disk.img").exists()
    source.lab.command("start", "--quiet")
    for name in ("up", "into"):
        assert source.phase(name) != "Succeeded"
        assert source.disk(name) is None
    held.open()
    web.go_on.set()
    for one in begun:
        one.ends_well()
    for name in ("up", "into"):
        assert source.phase(name) == "Succeeded"
        assert (source.disk(name) or b"")[:SIZE] == image.read_bytes()
    came_through(source, image, to, downloading)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
