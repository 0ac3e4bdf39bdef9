"""Imports from servers and images of this machine: what arrives, and what is said when it does not."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import lzma
import os
import select
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from served import as_archive, as_layout, as_repository, container_disk, serving
from virtlab.certificates import Authority
from volumes import CDI, MIB, Object, Volumes, digest, image, zstd_compress

needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def running(data_volume: Object) -> Object:
    found: Object = next(item for item in data_volume["status"]["conditions"] if item["type"] == "Running")
    return found


def failing(volumes: Volumes, name: str) -> str:
    """What the data volume's Running condition says, once an attempt has failed."""
    path = f"{CDI}/namespaces/{{ns}}/datavolumes/{name}"
    found = volumes.wait(path, lambda item: (item.get("status") or {}).get("restartCount"))
    assert found["status"]["phase"] == "ImportInProgress"
    assert running(found)["status"] == "False"
    return f"{running(found)['reason']}: {running(found)['message']}"


def last_words(volumes: Volumes, name: str) -> str:
    """What the importer's pod said at its end, whole."""
    uid = volumes.get(f"{CDI}/namespaces/{{ns}}/datavolumes/{name}")["metadata"]["uid"]
    pod = volumes.get(f"/api/v1/namespaces/{{ns}}/pods/importer-prime-{uid}")
    return str(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["message"])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstd_compress], ids=["raw", "gz", "xz", "zst"])
def test_an_image_is_imported_bit_for_bit(volumes: Volumes, tmp_path: Path, pack: Any) -> None:
    raw = image(tmp_path / "raw")
    with serving(files={"/disk": pack(raw.read_bytes())}) as served:
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk"}})
        done = volumes.phase("disk", "Succeeded")
    assert done["status"]["progress"] == "100.0%"
    assert (running(done)["reason"], running(done)["message"]) == ("Completed", "Import Complete")
    told = volumes.events("disk")
    assert ("ImportScheduled", "Import into disk scheduled") in told
    assert ("ImportInProgress", "Import into disk in progress") in told
    assert ("ImportSucceeded", "Successfully imported into PVC disk") in told
    disk = volumes.disk("disk")
    assert (digest(disk, 8 * MIB), disk.stat().st_size) == (digest(raw), 16 * MIB)
    assert disk.stat().st_blocks * 512 < MIB
    assert [item.name for item in disk.parent.iterdir()] == ["disk.img"]


@needs_qemu
def test_a_qcow2_image_is_imported(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, tmp_path / "packed"], check=True)
    with serving(files={"/disk.qcow2": (tmp_path / "packed").read_bytes()}) as served:
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk.qcow2"}})
        volumes.phase("disk", "Succeeded")
    assert digest(volumes.disk("disk"), 8 * MIB) == digest(raw)


def test_a_cd_is_imported_as_it_is(volumes: Volumes) -> None:
    cd = bytes(32 << 10) + b"\x01CD001\x01".ljust(2048, b"\0") + b"\xffCD001\x01".ljust(2048, b"\0") + b"x" * 2048
    with serving(files={"/install.iso": cd}) as served:
        volumes.data_volume("cd", {"http": {"url": f"{served.url}/install.iso"}})
        volumes.phase("cd", "Succeeded")
    assert volumes.disk("cd").read_bytes()[: len(cd)] == cd


def test_credentials_headers_and_redirects_are_used(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw", MIB)
    secrets = "/api/v1/namespaces/{ns}/secrets"
    volumes.create(secrets, "Secret", "login", stringData={"accessKeyId": "me", "secretKey": "pass"})
    volumes.create(secrets, "Secret", "hidden", stringData={"header": "X-Hidden: two"})
    login = base64.b64encode(b"me:pass").decode()
    needs = {"Authorization": f"Basic {login}", "X-Shown": "one", "X-Hidden": "two"}
    with serving(files={"/there": raw.read_bytes()}, redirects={"/here": "/there"}, needs=needs) as served:
        http = {"url": f"{served.url}/here", "secretRef": "login"}
        volumes.data_volume("without", {"http": http})
        expected = "Unable to connect to http data source: expected status code 200, got 401. Status: 401 Unauthorized"
        assert failing(volumes, "without") == f"Error: {expected}"
        headers = {"extraHeaders": ["X-Shown: one"], "secretExtraHeaders": ["hidden"]}
        volumes.data_volume("disk", {"http": {**http, **headers}})
        volumes.phase("disk", "Succeeded")
    assert digest(volumes.disk("disk"), MIB) == digest(raw)


def test_a_server_is_trusted_by_the_certificate_that_is_given(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca", "a test")
    raw = image(tmp_path / "raw", MIB)
    with serving(authority, files={"/disk": raw.read_bytes()}) as served:
        url = f"{served.url}/disk"
        volumes.data_volume("distrusted", {"http": {"url": url}})
        assert failing(volumes, "distrusted") == (
            f'Error: Unable to connect to http data source: HTTP request errored: Get "{url}": '
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
        maps = "/api/v1/namespaces/{ns}/configmaps"
        volumes.create(maps, "ConfigMap", "trust", data={"ca.pem": authority.pem})
        volumes.data_volume("trusted", {"http": {"url": url, "certConfigMap": "trust"}})
        volumes.phase("trusted", "Succeeded")
    assert digest(volumes.disk("trusted"), MIB) == digest(raw)


def test_what_cannot_be_imported_says_why(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw", 17 * MIB).read_bytes()
    cut = gzip.compress(raw[: 8 * MIB])[:-99]
    files = {"/large": raw, "/large.gz": gzip.compress(raw), "/short": b"short", "/cut.gz": cut}
    with serving(files=files) as served:
        http = {
            name: {"http": {"url": f"{served.url}/{name}"}} for name in ("large", "large.gz", "short", "cut.gz", "gone")
        }
        for name, source in http.items():
            volumes.data_volume(name.replace(".", "-"), source)
        missing = "expected status code 200, got 404. Status: 404 Not Found"
        assert failing(volumes, "gone") == f"Error: Unable to connect to http data source: {missing}"
        too_small = "DataVolume too small to contain image"
        for name in ("large", "large-gz"):
            assert failing(volumes, name) == f"Error: {too_small}"
        size, room = 17 * MIB, 16 * MIB
        assert last_words(volumes, "large") == (
            f"Unable to process data: virtual image size {size} is larger than the reported available storage {room}. "
            "A larger PVC is required"
        )
        assert last_words(volumes, "large-gz") == (
            "Unable to process data: Unable to transfer source data to scratch space: unable to write to file: "
            "write /scratch/tmpimage: no space left on device"
        )
        assert failing(volumes, "short") == (
            "Error: Unable to process data: Unable to obtain information about data source: "
            "could not process image header: unexpected EOF"
        )
        assert failing(volumes, "cut-gz") == (
            "ImagePullFailed: Unable to process data: Unable to transfer source data to scratch space: "
            "failed to pull image: unexpected EOF"
        )
    for name in ("large", "short", "cut-gz"):
        assert not volumes.disk(name).exists()


def test_nobody_listening_is_said(volumes: Volumes) -> None:
    with serving() as served:
        url = f"{served.url}/disk"
    port = url.rpartition(":")[2].partition("/")[0]
    volumes.data_volume("disk", {"http": {"url": url}})
    assert failing(volumes, "disk") == (
        f'Error: Unable to connect to http data source: HTTP request errored: Get "{url}": '
        f"dial tcp 127.0.0.1:{port}: connect: connection refused"
    )


def test_an_import_that_breaks_off_is_made_again_from_its_beginning(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    with serving(files={"/disk": raw.read_bytes()}, cut=3 * MIB) as served:
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk"}})
        assert "failed to pull image: unexpected EOF" in failing(volumes, "disk")
        assert not volumes.disk("disk").exists()
        served.cut = None
        volumes.phase("disk", "Succeeded")
    assert digest(volumes.disk("disk"), 8 * MIB) == digest(raw)


def test_progress_is_shown_and_a_data_volume_that_is_deleted_leaves_nothing(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw")
    with serving(files={"/disk": raw.read_bytes()}, wait=threading.Event()) as served:
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk"}})
        path = f"{CDI}/namespaces/{{ns}}/datavolumes/disk"
        shown = volumes.wait(path, lambda item: item.get("status", {}).get("progress", "N/A") not in ("N/A", "0.00%"))
        assert shown["status"]["progress"] == "45.00%"  # half of what is nine tenths of the work
        volumes.api("DELETE", path)
        assert served.wait is not None
        served.wait.set()
    until = time.monotonic() + 30
    while volumes.disk("disk").parent.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not volumes.disk("disk").parent.exists()


def test_hosts_elsewhere_are_played_and_that_is_said(volumes: Volumes) -> None:
    volumes.data_volume("disk", {"http": {"url": "https://images.example.com/disk.img"}})
    volumes.phase("disk", "Succeeded")
    text = "images.example.com is not on this machine: the import is played, and the disk stays blank"
    assert ("ImportPlayed", text) in volumes.events("disk")
    disk = volumes.disk("disk").stat()
    assert (disk.st_size, disk.st_blocks) == (16 * MIB, 0)
    volumes.data_volume("object", {"s3": {"url": "http://127.0.0.1:9000/bucket/disk"}})
    volumes.phase("object", "Succeeded")
    text = "the lab has no s3 to import from: the import is played, and the disk stays blank"
    assert ("ImportPlayed", text) in volumes.events("object")


def test_a_machine_starts_when_what_it_waits_for_was_imported(volumes: Volumes, tmp_path: Path) -> None:
    """The class waits for the first consumer, which is the machine."""
    raw = image(tmp_path / "raw")
    with serving(files={"/disk": raw.read_bytes()}) as served:
        storage = {"storageClassName": "lab-file", "resources": {"requests": {"storage": "16Mi"}}}
        http = {"http": {"url": f"{served.url}/disk"}}
        templates = [{"metadata": {"name": "root"}, "spec": {"source": http, "storage": storage}}]
        volumes.machine("vm", "root", strategy="Halted", dataVolumeTemplates=templates)
        volumes.phase("root", "PendingPopulation")
        assert served.asked == []
        path = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines/vm"
        kind = {"Content_Type": "application/merge-patch+json"}
        assert volumes.api("PATCH", path, {"spec": {"runStrategy": "Always"}}, **kind).status == 200
        volumes.wait(path, lambda vm: vm.get("status", {}).get("ready"))
    assert digest(volumes.disk("root", "lab-file"), 8 * MIB) == digest(raw)


def test_a_redirect_leads_nowhere_but_to_this_machine(volumes: Volumes) -> None:
    with serving(redirects={"/disk": "http://images.example.com/disk"}) as served:
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk"}})
        assert "the lab reaches hosts of its own machine only" in failing(volumes, "disk")


@pytest.mark.parametrize("form", ["registry", "archive", "directory"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_container_disk_is_imported(volumes: Volumes, tmp_path: Path, form: str, packed: bool) -> None:
    raw = image(tmp_path / "raw", MIB)
    made = container_disk(raw.read_bytes(), packed=packed)
    with serving(files=as_repository(made, "images/tiny", "1.0")) as served:
        host = served.url.removeprefix("http://")
        urls = {
            "registry": lambda: f"docker://{host}/images/tiny:1.0",
            "archive": lambda: f"oci-archive://{as_archive(made, tmp_path / 'image.tar')}",
            "directory": lambda: f"oci-archive://{as_layout(made, tmp_path / 'image')}",
        }
        volumes.data_volume("disk", {"registry": {"url": urls[form]()}})
        volumes.phase("disk", "Succeeded")
    assert digest(volumes.disk("disk"), MIB) == digest(raw)


def test_a_registry_with_a_certificate_and_a_login_is_used(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca", "a test")
    raw = image(tmp_path / "raw", MIB)
    made = as_repository(container_disk(raw.read_bytes()), "tiny", "1")
    login = base64.b64encode(b"me:pass").decode()
    secrets, maps = "/api/v1/namespaces/{ns}/secrets", "/api/v1/namespaces/{ns}/configmaps"
    volumes.create(secrets, "Secret", "login", stringData={"accessKeyId": "me", "secretKey": "pass"})
    volumes.create(maps, "ConfigMap", "trust", data={"ca.pem": authority.pem})
    with serving(authority, files=made, needs={"Authorization": f"Basic {login}"}) as served:
        url = f"docker://{served.url.removeprefix('https://')}/tiny:1"
        volumes.data_volume("stranger", {"registry": {"url": url, "certConfigMap": "trust"}})
        assert "unauthorized" in failing(volumes, "stranger").lower()
        volumes.data_volume("disk", {"registry": {"url": url, "certConfigMap": "trust", "secretRef": "login"}})
        volumes.phase("disk", "Succeeded")
    assert digest(volumes.disk("disk"), MIB) == digest(raw)


def test_an_image_that_is_not_right_is_refused(volumes: Volumes, tmp_path: Path) -> None:
    made = container_disk(image(tmp_path / "raw", MIB).read_bytes())
    files = as_repository(made, "tiny", "bad")
    largest = max((name for name in files if "/blobs/" in name), key=lambda name: len(files[name]))
    files[largest] = files[largest][:-40] + bytes(40)
    files |= as_repository(container_disk(b""), "empty", "latest")
    with serving(files=files) as served:
        host = served.url.removeprefix("http://")
        for name, reference in {"bad": "tiny:bad", "gone": "tiny:gone"}.items():
            volumes.data_volume(name, {"registry": {"url": f"docker://{host}/{reference}"}})
        assert failing(volumes, "gone").endswith(
            "Failed to read registry image: failed to pull image: reading manifest gone in "
            f"{host}/tiny: manifest unknown"
        )
        assert failing(volumes, "bad").startswith("ImagePullFailed: Unable to process data: ")
    volumes.data_volume("nowhere", {"registry": {"url": f"oci-archive://{tmp_path}/none"}})
    assert f"open {tmp_path}/none: no such file or directory" in failing(volumes, "nowhere")
    assert not volumes.disk("bad").exists()


def test_a_file_system_gets_room_for_itself(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw", 16 * MIB)
    now = {"annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": ""}}
    with serving(files={"/disk": raw.read_bytes()}) as served:
        volumes.data_volume(
            "disk", {"http": {"url": f"{served.url}/disk"}}, storage={"storageClassName": "lab-file"}, metadata=now
        )
        volumes.phase("disk", "Succeeded")
    claim = volumes.get(volumes.claim_path("disk"))
    assert claim["spec"]["resources"]["requests"]["storage"] == "17753668"  # 16 MiB / 0.945
    assert digest(volumes.disk("disk", "lab-file")) == digest(raw)


def test_an_archive_is_imported_as_files_and_a_disk_may_be_preallocated(volumes: Volumes, tmp_path: Path) -> None:
    raw = image(tmp_path / "raw", MIB)
    with tarfile.open(tmp_path / "in.tar.gz", "w:gz") as tar:
        tar.add(raw, "in/raw")
    files = {"/in.tar.gz": (tmp_path / "in.tar.gz").read_bytes(), "/disk": raw.read_bytes()}
    storage = {"storageClassName": "lab-block", "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}
    with serving(files=files) as served:
        http = {"http": {"url": f"{served.url}/in.tar.gz"}}
        volumes.data_volume("files", http, storage=storage, spec={"contentType": "archive"})
        full = {"preallocation": True}
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk"}}, "4Mi", spec=full)
        volumes.data_volume("blank", {"blank": {}}, "4Mi", spec=full)
        for name in ("files", "disk", "blank"):
            volumes.phase(name, "Succeeded")
    assert digest(volumes.disk("files").parent / "in/raw") == digest(raw)
    for name in ("disk", "blank"):
        assert volumes.disk(name).stat().st_blocks * 512 >= 4 * MIB


def test_an_export_is_imported_into_another_namespace(volumes: Volumes, tmp_path: Path) -> None:
    """By its internal link and by its external one: this is how a machine is brought over."""
    volumes.data_volume("disk", {"upload": {}})
    volumes.phase("disk", "UploadReady")
    assert volumes.upload("disk", image(tmp_path / "raw")).status == 200
    volumes.phase("disk", "Succeeded")
    volumes.export("e", "PersistentVolumeClaim", "disk")
    export = volumes.exported("e")
    token = volumes.export_token(export)
    for side in ("internal", "external"):
        links = export["status"]["links"][side]
        volumes.create("/api/v1/namespaces/{ns}/configmaps", "ConfigMap", side, data={"ca.pem": links["cert"]})
        text = f"x-kubevirt-export-token:{token}"
        volumes.create("/api/v1/namespaces/{ns}/secrets", "Secret", side, stringData={"token": text})
        url = next(item["url"] for item in links["volumes"][0]["formats"] if item["format"] == "gzip")
        http = {"url": url, "certConfigMap": side, "secretExtraHeaders": [side]}
        volumes.data_volume(f"by-{side}", {"http": http})
        volumes.phase(f"by-{side}", "Succeeded")
        assert digest(volumes.disk(f"by-{side}")) == digest(volumes.disk("disk"))


def test_what_comes_is_held_against_a_checksum(tmp_path: Path) -> None:
    from virtlab.datapath.fetch import Access
    from virtlab.datapath.http_import import HttpSource, import_http
    from virtlab.datapath.jobs import Job
    from virtlab.storage.problems import DataProblem
    from virtlab.storage.receive import Target

    raw = image(tmp_path / "raw", MIB).read_bytes()
    target = Target(tmp_path / "v" / "disk.img", MIB, MIB)
    with serving(files={"/disk": raw}) as served:
        right = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        wrong = HttpSource(f"{served.url}/disk", Access(), checksum="sha256:" + "0" * 64)
        with pytest.raises(DataProblem, match=f"checksum mismatch: expected sha256:0+, calculated {right}"):
            import_http(wrong, target, "t", Job())
        assert list(target.path.parent.iterdir()) == []
        import_http(HttpSource(f"{served.url}/disk", Access(), checksum=right), target, "t", Job())
    assert target.path.read_bytes() == raw


def test_a_container_disk_becomes_a_file_once(tmp_path: Path) -> None:
    from virtlab.datapath.container_disks import ContainerDisks

    raw = image(tmp_path / "raw", MIB)
    made = container_disk(raw.read_bytes())
    disks = ContainerDisks(tmp_path / "storage")
    with serving(files=as_repository(made, "tiny", "latest")) as served:
        host = served.url.removeprefix("http://")
        path = disks.path(f"{host}/tiny")
        assert path is not None
        assert digest(path) == digest(raw)
        asked = len(served.asked)
        assert disks.path(f"{host}/tiny:latest") == path
        assert not any("/blobs/" in item for item in served.asked[asked:])
    assert disks.path(f"oci:{as_layout(made, tmp_path / 'layout')}") == path
    assert disks.path(f"oci:{tmp_path / 'layout'}", "/disk/disk.img") is not None
    assert disks.path("quay.io/containerdisks/fedora:latest") is None


@needs_qemu
def test_a_guest_boots_over_the_container_disk_of_its_image(tmp_path: Path) -> None:
    from virtlab.datapath.container_disks import ContainerDisks
    from virtlab.guests.real import files

    layout = as_layout(container_disk(image(tmp_path / "raw", MIB).read_bytes()), tmp_path / "layout")
    disks = ContainerDisks(tmp_path / "storage")
    vmi = {"spec": {"volumes": [{"name": "root", "containerDisk": {"image": f"oci:{layout}"}}]}}

    def disk_of(name: str) -> Path:
        found = disks.path(name)
        assert found is not None
        return found

    root = files.prepare(vmi, tmp_path / "guest", files.Sources({}), disk_of)["root"]
    told = json.loads(subprocess.run(["qemu-img", "info", "--output=json", root.path], capture_output=True).stdout)
    assert (told["backing-filename-format"], told["virtual-size"]) == ("raw", MIB)


def test_an_import_goes_on_when_the_lab_was_killed_in_its_middle(own_lab: Any, tmp_path: Path) -> None:
    from wire import Api

    lab = own_lab
    volumes = Volumes(Api(Path(lab.kubeconfig), "default"), lab.state_dir)
    raw = image(tmp_path / "raw")
    with serving(files={"/disk": raw.read_bytes()}, wait=threading.Event()) as served:
        volumes.data_volume("disk", {"http": {"url": f"{served.url}/disk"}})
        path = f"{CDI}/namespaces/{{ns}}/datavolumes/disk"
        volumes.wait(path, lambda item: item.get("status", {}).get("progress") == "45.00%")
        time.sleep(0.5)  # the database is written behind
        process = os.pidfd_open(int((lab.state_dir / "server.lock").read_text()))
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [])
        os.close(process)
        lab.command("start", "--quiet")
        assert not volumes.disk("disk").exists()
        assert served.wait is not None
        served.wait.set()
        volumes.phase("disk", "Succeeded")
    assert digest(volumes.disk("disk"), 8 * MIB) == digest(raw)
    assert [item.name for item in volumes.disk("disk").parent.iterdir()] == ["disk.img"]
