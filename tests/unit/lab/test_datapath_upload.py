"""Uploads: the proxy as CDI serves it, what becomes of the bytes, and what is said when they are no good."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from volumes import CDI, MIB, Volumes, digest, image, zstd_compress

UPLOAD: dict[str, Any] = {"upload": {}}
NOW = {"annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": ""}}
PHASE = "cdi.kubevirt.io/storage.pod.phase"
READY = "cdi.kubevirt.io/storage.pod.ready"
TARGET = "cdi.kubevirt.io/storage.upload.target"
needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def running(data_volume: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in data_volume["status"]["conditions"] if c["type"] == "Running")
    return found


def emptied(directory: Path) -> None:
    """Wait until nothing of an upload that was cut off is left."""
    until = time.monotonic() + 30
    while directory.exists() and any(directory.iterdir()):
        assert time.monotonic() < until, list(directory.iterdir())
        time.sleep(0.02)


@pytest.fixture
def ready(volumes: Volumes) -> Volumes:
    """With a data volume C(disk) of 16 MiB that waits for an upload."""
    volumes.data_volume("disk", UPLOAD)
    volumes.phase("disk", "UploadReady")
    return volumes


def test_an_image_arrives_bit_for_bit_and_stays_sparse(ready: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw", 8 * MIB)
    assert ready.upload("disk", raw).status == 200
    done = ready.phase("disk", "Succeeded")
    assert (running(done)["reason"], running(done)["message"]) == ("Completed", "Upload Complete")
    disk = ready.disk("disk")
    assert disk.stat().st_size == 16 * MIB
    assert digest(disk, 8 * MIB) == digest(raw)
    assert disk.stat().st_blocks * 512 < MIB
    claim = ready.get(ready.claim_path("disk"))
    assert claim["status"]["phase"] == "Bound"
    assert claim["metadata"]["annotations"][PHASE] == "Succeeded"
    assert [item.name for item in disk.parent.iterdir()] == ["disk.img"]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstd_compress], ids=["gz", "xz", "zst"])
def test_what_is_compressed_is_unpacked(ready: Volumes, tmp_path: Path, pack: Any) -> None:
    raw = image(tmp_path / "raw", 8 * MIB)
    assert ready.upload("disk", pack(raw.read_bytes()), "upload-async").status == 200
    ready.phase("disk", "Succeeded")
    assert digest(ready.disk("disk"), 8 * MIB) == digest(raw)


@needs_qemu
@pytest.mark.parametrize("path", ["upload", "upload-async"])
def test_a_qcow2_image_becomes_raw(ready: Volumes, tmp_path: Path, path: str) -> None:
    raw = image(tmp_path / "raw", 8 * MIB)
    packed = tmp_path / "packed.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, packed], check=True)
    assert ready.upload("disk", packed, path).status == 200
    ready.phase("disk", "Succeeded")
    assert digest(ready.disk("disk"), 8 * MIB) == digest(raw)


def test_a_client_asks_first_whether_uploads_may_be_processed_later(ready: Volumes) -> None:
    assert ready.ask("HEAD", "upload-async", ready.token("disk")).status == 200
    assert ready.ask("HEAD", "upload", ready.token("disk")).status == 404
    assert ready.ask("GET", "upload-async", ready.token("disk")).status == 404


def test_who_may_not_upload_is_refused(ready: Volumes, lab: Any) -> None:
    assert ready.ask("POST", "upload", None, b"x" * 1024).status == 400
    assert ready.ask("POST", "upload", "bad token", b"x" * 1024).status == 400
    assert ready.ask("POST", "upload", "a.b.c", b"x" * 1024).status == 401
    lab.fault("token", lifetime=1)
    token = ready.token("disk")
    time.sleep(1.2)
    assert ready.ask("POST", "upload", token, b"x" * 1024).status == 401


def test_what_cannot_take_an_upload_says_why(volumes: Volumes) -> None:
    gone = volumes.upload("gone", b"x" * 1024)
    assert (gone.status, gone.text) == (503, "rejecting Upload Request for PVC gone that doesn&#x27;t exist")
    volumes.data_volume("blank", {"blank": {}})
    volumes.phase("blank", "Succeeded")
    assert volumes.upload("blank", b"x" * 1024).text == "PVC blank is not an upload target"


def test_where_to_upload_and_what_to_trust_is_told_as_in_a_cluster(volumes: Volumes) -> None:
    url = volumes.get(f"{CDI}/cdiconfigs/config")["status"]["uploadProxyURL"]
    routes = "/apis/route.openshift.io/v1/namespaces/openshift-cnv/routes"
    upload = volumes.get(f"{routes}/cdi-uploadproxy")
    assert url == f"https://{upload['spec']['host']}"
    assert upload["status"]["ingress"][0]["host"] == upload["spec"]["host"]
    assert volumes.get(f"{routes}/virt-exportproxy")["spec"]["host"] != upload["spec"]["host"]
    authority = (volumes.state_dir / "ca.crt").read_text()
    maps = "/api/v1/namespaces/openshift-cnv/configmaps"
    assert volumes.get(f"{maps}/cdi-uploadproxy-signer-bundle")["data"]["ca-bundle.crt"] == authority
    exports = (volumes.state_dir / "export-ca/ca.crt").read_text()
    assert volumes.get(f"{maps}/kubevirt-export-ca")["data"]["ca-bundle"] == exports
    trusted = volumes.get("/api/v1/namespaces/openshift-config-managed/configmaps/default-ingress-cert")
    assert trusted["data"]["ca-bundle.crt"] == authority


def test_a_volume_takes_one_upload(ready: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    assert ready.upload("disk", raw).status == 200
    ready.phase("disk", "Succeeded")
    again = ready.upload("disk", raw)
    assert (again.status, again.text) == (503, "rejecting Upload Request for PVC disk that already finished uploading")


def test_an_image_that_does_not_fit_is_refused_and_the_next_one_taken(ready: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw", 17 * MIB)
    large = ready.upload("disk", raw)
    assert large.status == 400
    assert large.text == (
        "Saving stream failed: effective image size is larger than the reported available storage: Unable to transfer "
        "source data to target file: unable to write to file: write /data/disk.img: no space left on device"
    )
    assert list(ready.disk("disk").parent.iterdir()) == []
    assert ready.phase("disk", "UploadReady", "Succeeded")["status"]["phase"] == "UploadReady"
    assert ready.upload("disk", image(tmp_path / "raw", 16 * MIB)).status == 200
    ready.phase("disk", "Succeeded")


@needs_qemu
def test_a_virtual_size_that_does_not_fit_is_said(ready: Volumes, tmp_path: Path) -> None:
    packed = tmp_path / "packed.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", packed, "1G"], check=True)
    large = ready.upload("disk", packed, "upload-async")
    assert large.status == 400
    assert (
        f"virtual image size {1 << 30} is larger than the reported available storage {16 * MIB}. "
        "A larger PVC is required" in large.text
    )


@needs_qemu
def test_an_image_that_refers_to_other_files_is_refused(ready: Volumes, tmp_path: Path) -> None:
    secret, packed = image(tmp_path / "secret"), tmp_path / "packed.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", packed], check=True)
    assert f"because it has invalid backing file {secret}" in ready.upload("disk", packed).text
    outside = tmp_path / "outside.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", outside, "1M"], check=True
    )
    assert ready.upload("disk", outside).status == 500


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "could not process image header: EOF"),
        (b"too short", "could not process image header: unexpected EOF"),
        (gzip.compress(bytes(4096), mtime=0)[:-9], "unexpected EOF"),
        (b"\x1f\x8b" + b"no gzip" * 100, "gzip: invalid checksum or damaged data"),
        (b"QFI\xfb" + bytes(1024), "Could not open '/scratch/tmpimage': Unsupported qcow2 version 0"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 1024, "zstd: Unsupported frame parameter"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(ready: Volumes, data: bytes, why: str) -> None:
    answer = ready.upload("disk", data)
    assert answer.status == 500
    assert why in answer.text
    assert ready.phase("disk", "UploadReady", "Succeeded")["status"]["phase"] == "UploadReady"


@needs_qemu
def test_an_image_that_was_cut_off_is_refused(ready: Volumes, tmp_path: Path) -> None:
    packed = tmp_path / "packed.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", image(tmp_path / "raw"), packed], check=True)
    answer = ready.upload("disk", packed.read_bytes()[: packed.stat().st_size - MIB // 4])
    assert answer.status == 500
    assert "is invalid because it is truncated or damaged" in answer.text


def test_an_upload_that_is_cut_off_leaves_nothing_and_can_be_done_again(ready: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    connection = ready.proxy()
    connection.putrequest("POST", "/v1beta1/upload")
    connection.putheader("Authorization", f"Bearer {ready.token('disk')}")
    connection.putheader("Content-Length", str(8 * MIB))
    connection.endheaders(raw.read_bytes()[: 4 * MIB])
    directory = ready.disk("disk").parent
    until = time.monotonic() + 30
    while not (directory.exists() and any(directory.iterdir())) and time.monotonic() < until:
        time.sleep(0.02)
    assert ready.upload("disk", raw).status == 503  # one at a time
    connection.close()
    emptied(directory)
    assert ready.phase("disk", "UploadReady", "Succeeded")["status"]["phase"] == "UploadReady"
    assert ready.upload("disk", raw).status == 200
    ready.phase("disk", "Succeeded")
    assert digest(ready.disk("disk"), 8 * MIB) == digest(raw)


def test_rules_make_uploads_go_wrong(ready: Volumes, lab: Any, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    lab.fault("data", path="/upload", code=502, count=1)
    assert ready.upload("disk", raw).status == 502
    for drop in ("before", "amid"):
        lab.fault("data", path="/upload", drop=drop, count=1)
        with pytest.raises(OSError):  # the connection, or its encryption, ended
            ready.upload("disk", raw)
        emptied(ready.disk("disk").parent)
    assert ready.phase("disk", "UploadReady", "Succeeded")["status"]["phase"] == "UploadReady"
    lab.fault("data", path="/upload", drop="after", count=1)
    with pytest.raises(OSError):
        ready.upload("disk", raw)
    ready.phase("disk", "Succeeded")  # only the answer was lost
    assert digest(ready.disk("disk"), 8 * MIB) == digest(raw)


def test_a_volume_that_waits_for_its_consumer_waits_unless_told(volumes: Volumes, tmp_path: Path) -> None:
    volumes.data_volume("waits", UPLOAD, storage={"storageClassName": "lab-file"})
    assert volumes.phase("waits", "PendingPopulation", "UploadReady")["status"]["phase"] == "PendingPopulation"
    volumes.data_volume("now", UPLOAD, "32Mi", storage={"storageClassName": "lab-file"}, metadata=NOW)
    volumes.phase("now", "UploadReady")
    raw = image(tmp_path / "raw")
    assert volumes.upload("now", raw).status == 200
    volumes.phase("now", "Succeeded")
    assert digest(volumes.disk("now", "lab-file"), 8 * MIB) == digest(raw)


def test_a_claim_of_ones_own_can_be_an_upload_target(volumes: Volumes, tmp_path: Path) -> None:
    volumes.claim("mine", storage_class="lab-file", metadata={"annotations": {TARGET: "", **NOW["annotations"]}})
    claim = volumes.wait(
        volumes.claim_path("mine"), lambda found: found["metadata"]["annotations"].get(READY) == "true"
    )
    assert claim["metadata"]["annotations"][PHASE] == "Running"
    raw = image(tmp_path / "raw")
    assert volumes.upload("mine", raw).status == 200
    volumes.wait(volumes.claim_path("mine"), lambda found: found["metadata"]["annotations"][PHASE] == "Succeeded")
    assert ("UploadSucceeded", "Upload Successful") in volumes.events("mine")
    assert digest(volumes.disk("mine", "lab-file"), 8 * MIB) == digest(raw)


def test_a_form_carries_an_image_as_well(ready: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="raw"\r\n\r\n'
    body = head + raw.read_bytes() + b"\r\n--cut--\r\n"
    answer = ready.upload("disk", body, "upload-form", **{"Content-Type": "multipart/form-data; boundary=cut"})
    assert answer.status == 200
    ready.phase("disk", "Succeeded")
    assert digest(ready.disk("disk"), 8 * MIB) == digest(raw)


def test_an_archive_becomes_the_files_of_a_volume(volumes: Volumes, tmp_path: Path) -> None:
    archive = {"contentType": "archive"}
    files = {"storageClassName": "lab-file", "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}
    volumes.data_volume("files", UPLOAD, storage=files, spec=archive, metadata=NOW)
    volumes.phase("files", "UploadReady")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/hello").write_text("world")
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        tar.add(tmp_path / "in", "in")
    answer = volumes.upload("files", tmp_path / "in.tar")
    assert answer.status == 200, answer.text
    volumes.phase("files", "Succeeded")
    assert (volumes.disk("files", "lab-file").parent / "in/hello").read_text() == "world"


def test_an_archive_cannot_write_outside_of_its_volume(volumes: Volumes, tmp_path: Path) -> None:
    files = {"storageClassName": "lab-file", "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}
    volumes.data_volume("files", UPLOAD, storage=files, spec={"contentType": "archive"}, metadata=NOW)
    volumes.phase("files", "UploadReady")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.add(image(tmp_path / "raw", MIB), "../../escaped")
    answer = volumes.upload("files", tmp_path / "evil.tar")
    assert answer.status == 500
    assert "unable to untar files from endpoint" in answer.text
    assert not list(volumes.disk("files", "lab-file").parents[2].rglob("escaped"))


def test_a_large_image_never_sits_in_memory(volumes: Volumes, lab: Any) -> None:
    volumes.data_volume("large", UPLOAD, "2Gi")
    volumes.phase("large", "UploadReady")
    pid = int((volumes.state_dir / "server.lock").read_text())

    def most() -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

    def zeros() -> Iterator[bytes]:
        """2 GiB of zeros, gzipped: members of 64 MiB, one after another."""
        member = gzip.compress(bytes(64 * MIB), 1)
        for _ in range(32):
            yield member

    before = most()
    assert volumes.upload("large", zeros()).status == 200
    volumes.phase("large", "Succeeded")
    disk = volumes.disk("large").stat()
    assert (disk.st_size, disk.st_blocks) == (2 << 30, 0)
    assert most() - before < 64
