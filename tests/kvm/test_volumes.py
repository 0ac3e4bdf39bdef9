"""Volumes of a real pool: what is in them is whole or not there, and is never lost to a default."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guests import Guest, disk_xml
from modules import call, refusal
from playing import Ansible, executable
from servers import Served, serving
from virtlab.hosts.host import Host

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")

MIB = 1024**2
Start = Callable[..., Guest]


@pytest.fixture(scope="module")
def pool(beta: Host) -> Iterator[Path]:
    """The directory of the pool C(vols) on beta, as this machine sees it."""
    call("kvm_pool", uri=beta.uri, name="vols", type="dir", target="/var/lib/libvirt/images/vols", build=True,
         state="active")  # fmt: skip
    yield beta.images / "vols"
    call("kvm_pool", uri=beta.uri, name="vols", state="absent", delete_contents=True)


@pytest.fixture
def volume(beta: Host, pool: Path) -> Callable[..., dict[str, Any]]:
    """Call the module for one volume; its result with the volume's own on top."""

    def declare(name: str, **options: Any) -> dict[str, Any]:
        result = call("kvm_volume", uri=beta.uri, pool="vols", name=name, **options)
        return {**result, **result["volumes"][0]}

    return declare


@pytest.fixture
def refused(beta: Host, pool: Path) -> Callable[..., str]:
    """The message of a call that fails."""

    def declare(name: str, **options: Any) -> str:
        return refusal("kvm_volume", uri=beta.uri, **{"pool": "vols", **options}, name=name).message

    return declare


@pytest.fixture(scope="module")
def content() -> bytes:
    """The bytes of a disk of 6 MiB, with zeros in the middle and at the end."""
    noise = random.Random(7)
    return noise.randbytes(2 * MIB) + bytes(2 * MIB) + noise.randbytes(MIB) + bytes(MIB)


@pytest.fixture
def raw(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "image.raw"
    with path.open("wb") as file:
        for at in range(0, len(content), MIB):
            if any(content[at : at + MIB]):
                file.seek(at)
                file.write(content[at : at + MIB])
        file.truncate(len(content))
    return path


@pytest.fixture
def server(content: bytes) -> Iterator[Served]:
    with serving(content) as served:
        yield served


def names(pool: Path) -> set[str]:
    return {path.name for path in pool.iterdir()}


def wait_for_bytes(path: Path) -> None:
    """Until something has been written into a volume's file."""
    until = time.monotonic() + 60
    while not (path.exists() and path.stat().st_blocks):
        assert time.monotonic() < until, f"nothing is written to {path}"
        time.sleep(0.02)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_an_image_comes_back_bit_for_bit_and_stays_sparse(
    volume: Callable[..., dict[str, Any]], pool: Path, raw: Path, content: bytes, tmp_path: Path
) -> None:
    foretold = volume("sparse", src=str(raw), check_mode=True)
    assert foretold["actions"] == ["uploaded"]
    assert "sparse" not in names(pool)
    made = volume("sparse", src=str(raw), checksum=digest(content))
    assert made["actions"] == ["uploaded"]
    assert made["capacity"] == len(content)
    assert (pool / "sparse").read_bytes() == content
    assert (pool / "sparse").stat().st_blocks * 512 <= 4 * MIB
    assert names(pool).isdisjoint({"sparse.incomplete"})

    dest = tmp_path / "back"
    (tmp_path / "back.part").write_text("left behind by one that was killed")
    back = volume("sparse", dest=str(dest), checksum=digest(content))
    assert back["actions"] == ["downloaded"]
    assert dest.read_bytes() == content
    assert dest.stat().st_blocks * 512 <= 4 * MIB
    assert dest.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "back.part").exists()
    assert not volume("sparse", src=str(raw), dest=str(dest))["changed"]


def test_what_guests_wrote_is_kept_unless_the_bytes_are_asked_for(
    volume: Callable[..., dict[str, Any]], pool: Path, raw: Path, content: bytes
) -> None:
    volume("kept", src=str(raw))
    with (pool / "kept").open("r+b") as file:
        file.write(b"written by a guest")
    assert not volume("kept", src=str(raw))["changed"]
    assert (pool / "kept").read_bytes().startswith(b"written by a guest")
    assert volume("kept", src=str(raw), overwrite=True)["actions"] == ["uploaded"]
    assert (pool / "kept").read_bytes() == content
    assert not volume("kept", src=str(raw), overwrite=True)["changed"]


@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_a_volume_that_was_never_written_to_is_filled(
    volume: Callable[..., dict[str, Any]], pool: Path, raw: Path, content: bytes, format_: str
) -> None:
    name = f"blank.{format_}"
    volume(name, capacity="8Mi", format=format_, mode="0640")
    made = volume(name, src=str(raw))
    assert made["actions"] == ["uploaded"]
    assert made["capacity"] == 8 * MIB
    assert (pool / name).read_bytes() == content + bytes(2 * MIB)
    assert (pool / name).stat().st_mode & 0o777 == 0o640


def test_an_image_from_a_url_is_checked_when_all_has_come(
    volume: Callable[..., dict[str, Any]], refused: Callable[..., str], pool: Path, server: Served, content: bytes
) -> None:
    told = refused("web", url=server.url, checksum=digest(b"other"))
    assert f"The checksum of {server.url} is {digest(content)}, not {digest(b'other')}" in told
    assert names(pool).isdisjoint({"web", "web.incomplete"})
    assert volume("web", url=server.url, checksum=digest(content))["actions"] == ["uploaded"]
    assert (pool / "web").read_bytes() == content
    assert (pool / "web").stat().st_blocks * 512 <= 4 * MIB
    asked = server.requests
    assert not volume("web", url=server.url, checksum=digest(content))["changed"]
    assert server.requests == asked


def test_an_image_that_ends_early_is_no_volume(refused: Callable[..., str], pool: Path, server: Served) -> None:
    server.stop_after, server.cut_off = 3 * MIB, True
    assert f"ended after {3 * MIB} of {6 * MIB} bytes. Run this again." in refused("short", url=server.url)
    assert names(pool).isdisjoint({"short", "short.incomplete"})


def test_a_playbook_killed_in_an_upload_leaves_a_mark_and_its_rerun_repairs(
    beta: Host, ansible: Ansible, pool: Path, server: Served, content: bytes, tmp_path: Path,
    refused: Callable[..., str],
) -> None:  # fmt: skip
    task = {"virtstack.core.kvm_volume": {"uri": beta.uri, "pool": "vols", "name": "cut", "url": server.url}}
    playbook = tmp_path / "upload.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    server.stop_after = 3 * MIB
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ansible.collections), "ANSIBLE_HOME": str(tmp_path)}
    running = subprocess.Popen(
        [executable("ansible-playbook"), playbook],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_bytes(pool / "cut")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert {"cut", "cut.incomplete"} <= names(pool)
    assert "was never finished" in refused("cut", capacity="8Mi")

    server.stop_after = None
    repaired = ansible.play(playbook)
    assert repaired.returncode == 0, repaired.output
    assert repaired.changed == 1
    assert (pool / "cut").read_bytes() == content
    assert "cut.incomplete" not in names(pool)
    assert ansible.play(playbook).changed == 0


def test_libvirtd_killed_in_an_upload_is_an_error_and_a_rerun_repairs(
    beta: Host, volume: Callable[..., dict[str, Any]], refused: Callable[..., str], pool: Path, server: Served,
    content: bytes,
) -> None:  # fmt: skip
    server.stop_after = 3 * MIB
    messages: list[str] = []
    upload = threading.Thread(target=lambda: messages.append(refused("torn", url=server.url)))
    upload.start()
    wait_for_bytes(pool / "torn")
    beta.kill_daemon()
    server.go_on.set()
    upload.join(60)
    beta.start_daemon()
    call("kvm_pool", uri=beta.uri, name="vols", state="active")
    assert "is not finished; run this again" in messages[0]
    assert "torn.incomplete" in names(pool)
    server.stop_after = None
    assert volume("torn", url=server.url)["actions"] == ["uploaded"]
    assert (pool / "torn").read_bytes() == content
    assert "torn.incomplete" not in names(pool)


def test_a_volume_grows_and_is_cut_only_when_told(
    volume: Callable[..., dict[str, Any]], refused: Callable[..., str]
) -> None:
    volume("sized", capacity="4Mi", format="qcow2")
    assert volume("sized", capacity="8Mi")["actions"] == ["grown"]
    assert "shrink: true cuts it" in refused("sized", capacity="4Mi")
    assert volume("sized", capacity="4Mi", shrink=True)["actions"] == ["shrunk"]
    assert volume("sized", capacity="4Mi")["capacity"] == 4 * MIB


def test_a_clone_may_have_another_format_and_the_same_bytes(
    volume: Callable[..., dict[str, Any]], refused: Callable[..., str], pool: Path, raw: Path, content: bytes
) -> None:
    volume("original", src=str(raw))
    assert "is to be smaller" in refused("little", clone={"volume": "original"}, capacity="1Mi")
    assert "There is no volume vols/nothing" in refused("little", clone={"volume": "nothing"})
    assert volume("copied", clone={"volume": "original"}, format="qcow2")["format"] == "qcow2"
    back = volume("again", clone={"volume": "copied"}, format="raw")
    assert back["actions"] == ["cloned"]
    assert (pool / "again").read_bytes() == content
    assert (pool / "again").stat().st_blocks * 512 <= 4 * MIB


def test_a_clone_that_was_never_finished_is_made_anew(
    beta: Host, volume: Callable[..., dict[str, Any]], pool: Path, raw: Path, content: bytes
) -> None:
    volume("whole", src=str(raw))
    volume("half", capacity="1Mi", format="raw")
    (pool / "half").write_bytes(b"half" * 100)
    (pool / "half.incomplete").touch()
    call("kvm_pool", uri=beta.uri, name="vols", refresh=True)
    made = volume("half", clone={"volume": "whole"})
    assert made["actions"] == ["cloned"]
    assert (pool / "half").read_bytes() == content
    assert "half.incomplete" not in names(pool)


def test_what_others_build_on_is_not_deleted_with_them(
    volume: Callable[..., dict[str, Any]], refused: Callable[..., str]
) -> None:
    volume("base", capacity="4Mi", format="qcow2")
    volume("top", backing={"volume": "base"})
    assert "top, built on it, would be lost as well" in refused("base", state="absent")
    assert "force: true" in refused("base", state="wiped")
    assert "no backing file, not" in refused("base", backing={"volume": "top"})
    assert volume("top", state="absent")["actions"] == ["deleted"]
    assert volume("base", state="absent")["changed"]
    assert not volume("base", state="absent")["changed"]


def test_a_wiped_volume_is_blank_and_as_large_as_before(
    volume: Callable[..., dict[str, Any]], refused: Callable[..., str], pool: Path, raw: Path
) -> None:
    volume("old.raw", src=str(raw))
    assert volume("old.raw", state="wiped")["actions"] == ["wiped"]
    assert not any((pool / "old.raw").read_bytes())
    volume("old.qcow2", clone={"volume": "old.raw"}, format="qcow2", capacity="8Mi")
    wiped = volume("old.qcow2", state="wiped")
    assert (wiped["format"], wiped["capacity"]) == ("qcow2", 8 * MIB)
    assert "(dod): " in refused("old.raw", state="wiped", wipe_algorithm="dod") or Path("/usr/bin/scrub").exists()
    assert "There is no volume vols/none to wipe" in refused("none", state="wiped")


def test_a_disk_of_a_running_guest_is_not_touched(
    beta: Host, guest: Start, volume: Callable[..., dict[str, Any]], refused: Callable[..., str], pool: Path,
    raw: Path, tmp_path: Path,
) -> None:  # fmt: skip
    volume("below", capacity="4Mi", format="qcow2")
    path = volume("busy", backing={"volume": "below"})["path"]
    guest(beta, "user", wait=False, kernel=False, disks=disk_xml(Path(path)))
    for options, verb in (
        ({"capacity": "8Mi"}, "resize"),
        ({"state": "absent"}, "delete"),
        ({"state": "wiped"}, "wipe"),
        ({"src": str(raw), "overwrite": True}, "overwrite"),
        ({"dest": str(tmp_path / "torn")}, "download"),
    ):
        assert f"Cannot {verb} volume vols/busy: it is in use by user" in refused("busy", **options), options
    assert "Cannot clone volume vols/busy" in refused("copy-of-busy", clone={"volume": "busy"})
    assert "Cannot resize volume vols/below: it is in use by user" in refused("below", capacity="8Mi")
    assert volume("below-copy", clone={"volume": "below"})["actions"] == ["cloned"]
    stopped = refusal("kvm_pool", uri=beta.uri, name="vols", state="inactive")
    assert "disks of running guests are in it (user)" in stopped.message
    lost = refusal("kvm_pool", uri=beta.uri, name="vols", state="absent", delete_contents=True)
    assert "(user)" in lost.message


def qcow2(path: Path, **options: Any) -> bytes:
    arguments = [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *arguments, path, "1G"], check=True)
    return path.read_bytes()


def test_an_image_that_no_guest_could_use_is_refused_before_anything_is_made(
    refused: Callable[..., str], pool: Path, tmp_path: Path, content: bytes
) -> None:
    whole = qcow2(tmp_path / "whole")
    cases: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "is empty"),
        "packed": (gzip.compress(content), "is packed with gzip"),
        "page": (b"<!DOCTYPE html><html></html>", "is a web page"),
        "vmdk": (b"KDMV" + bytes(1000), "is a VMDK image; convert it first"),
        "cut": (whole[: len(whole) // 2], "was cut off"),
        "headless": (whole[:40], "cut off in its header"),
        "corrupt": (whole[:79] + b"\x02" + whole[80:], "is marked as corrupt"),
    }
    before = names(pool)
    for name, (image, told) in cases.items():
        path = tmp_path / name
        path.write_bytes(image)
        assert told in refused(f"bad-{name}", src=str(path)), name
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", tmp_path / "whole", "-F", "qcow2", tmp_path / "top"],
        check=True,
    )
    assert "builds on another file; flatten it first" in refused("bad-top", src=str(tmp_path / "top"))
    assert names(pool) == before


def test_mistakes_are_named_before_anything_is_made(
    refused: Callable[..., str], beta: Host, pool: Path, raw: Path, server: Served, tmp_path: Path, content: bytes
) -> None:
    before = names(pool)
    large = tmp_path / "large"
    qcow2(large)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "capacity: is missing"),
        ({"capacity": "10"}, "give a unit, e.g. 10Gi"),
        ({"pool": "none", "capacity": "1Mi"}, f"There is no pool none at {beta.uri}"),
        ({"src": str(raw), "capacity": "2Mi"}, f"holds a disk of {len(content)} bytes, vols/new has {2 * MIB}"),
        ({"src": str(large), "capacity": "1Mi"}, f"holds a disk of {1024**3} bytes"),
        ({"src": str(raw), "checksum": digest(b"x")}, "The checksum of"),
        ({"src": str(raw), "checksum": "md4711:00"}, "names no algorithm"),
        ({"src": str(raw), "checksum": "sha256:00"}, "is no checksum of sha256"),
        ({"src": str(raw), "format": "qcow2"}, "is raw, vols/new is to be qcow2"),
        ({"src": str(tmp_path / "none")}, "No such file or directory"),
        ({"src": str(tmp_path)}, "Is a directory|neither a file nor a block device"),
        ({"src": str(raw), "url": server.url}, "a volume begins with one of them"),
        ({"url": f"{server.url}/missing"}, "answers 404"),
        ({"url": "ftp://example.com/x"}, "neither http nor https"),
        ({"url": "http://[::1/x"}, "neither http nor https"),
        ({"url": "http://127.0.0.1:9/x"}, "Cannot read http://127.0.0.1:9/x"),
        ({"capacity": "1Mi", "xml": "<volume><target>"}, "xml: is no XML"),
        ({"capacity": "1Mi", "xml": "<volume><capacity>5</capacity></volume>"}, "says something else"),
        ({"backing": {"volume": "none"}}, "There is no volume vols/none to build on"),
        ({"backing": {}}, "needs a volume or a path"),
        ({"capacity": "1Mi", "dest": "/nowhere/file"}, "directory /nowhere is not there"),
    ]
    for options, told in cases:
        message = refused("new", **options)
        assert any(part in message for part in told.split("|")), (options, message)
    for name in ("a/b", "..", "x.incomplete"):
        assert "is no name of a volume" in refused(name, capacity="1Mi")
    assert names(pool) - before <= {"new"}
    server.told_length = False
    assert "does not say how long it is" in refused("unsaid", url=server.url)


def test_one_bad_volume_of_many_stops_none_of_the_others(beta: Host, pool: Path) -> None:
    several = [{"name": f"many-{number}"} for number in range(8)] + [{"name": "many-bad", "format": "vmdk"}]
    failure = refusal("kvm_volume", uri=beta.uri, pool="vols", capacity="2Mi", format="qcow2", volumes=several)
    assert "1 of 9 volumes failed. many-bad: " in failure.message
    assert {f"many-{number}" for number in range(8)} <= names(pool)
    good = call("kvm_volume", uri=beta.uri, pool="vols", capacity="2Mi", format="qcow2", volumes=several[:8])
    assert not good["changed"]


def test_several_images_and_clones_are_made_at_a_time(beta: Host, pool: Path, raw: Path, content: bytes) -> None:
    call("kvm_volume", uri=beta.uri, pool="vols", name="at-a-time", src=str(raw))
    several = [{"name": f"image-{number}", "src": str(raw)} for number in range(6)]
    several += [{"name": f"clone-{number}", "clone": {"volume": "at-a-time"}, "format": "raw"} for number in range(6)]
    result = call("kvm_volume", uri=beta.uri, pool="vols", volumes=several)
    assert [volume["actions"] for volume in result["volumes"]] == [["uploaded"]] * 6 + [["cloned"]] * 6
    assert all((pool / volume["name"]).read_bytes() == content for volume in several)
    assert not [name for name in names(pool) if name.endswith(".incomplete") and name.startswith(("image", "clone"))]
    assert not call("kvm_volume", uri=beta.uri, pool="vols", volumes=several)["changed"]


def test_secrets_of_an_item_are_not_shown(beta: Host, pool: Path, ansible: Ansible, tmp_path: Path) -> None:
    item = {
        "name": "x",
        "url": "http://me:w0rd@127.0.0.1:9/x",
        "headers": {"X-Token": "t0ken"},
        "url_password": "s3cret",
    }
    task = {"virtstack.core.kvm_volume": {"uri": beta.uri, "pool": "vols", "volumes": [item]}}
    playbook = tmp_path / "secrets.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    played = ansible.play(playbook, "-vvv")
    told = played.output.split("fatal: ")[1]
    assert "Cannot read http://127.0.0.1:9/x" in told
    assert not any(secret in told for secret in ("t0ken", "s3cret", "w0rd"))


def test_a_pool_that_is_not_active_says_how_to_start_it(beta: Host, pool: Path, refused: Callable[..., str]) -> None:
    call("kvm_pool", uri=beta.uri, name="off", type="dir", target="/var/lib/libvirt/images/off", build=True)
    assert "Start it with virtstack.core.kvm_pool" in refused("x", pool="off", capacity="1Mi")
    call("kvm_pool", uri=beta.uri, name="off", state="absent")
    assert (beta.images / "off").is_dir()
