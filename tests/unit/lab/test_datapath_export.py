"""Exports: links that lead to the bytes, who may read them, parts of them, manifests, and their end."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from virtlab.datapath.ranges import Unsatisfiable, wanted_range
from volumes import MIB, Object, Volumes, digest, image

READY = "cdi.kubevirt.io/storage.pod.ready"


def formats(export: Object, side: str = "external", volume: int = 0) -> dict[str, str]:
    found = export["status"]["links"][side]["volumes"][volume]["formats"]
    return {item["format"]: item["url"] for item in found}


def condition(obj: Object, kind: str) -> Object:
    found: Object = next(item for item in obj["status"]["conditions"] if item["type"] == kind)
    return found


@pytest.fixture
def filled(volumes: Volumes, tmp_path: Path) -> Volumes:
    """With a volume C(disk) of 16 MiB that has data in it."""
    volumes.data_volume("disk", {"upload": {}})
    volumes.phase("disk", "UploadReady")
    assert volumes.upload("disk", image(tmp_path / "raw", 16 * MIB)).status == 200
    volumes.phase("disk", "Succeeded")
    return volumes


def test_a_machine_is_exported_bit_for_bit(filled: Volumes) -> None:
    filled.machine("vm", "disk")
    filled.export("e", "VirtualMachine", "vm")
    export = filled.exported("e")
    assert condition(export, "Ready")["reason"] == "PodReady"
    assert export["status"]["virtualMachineName"] == "vm"
    assert export["status"]["serviceName"] == "virt-export-e"
    assert len(filled.export_token(export)) == 20
    assert export["status"]["links"]["external"]["volumes"][0]["name"] == "disk"
    urls = formats(export)
    wanted = filled.disk("disk").read_bytes()
    status, headers, raw = filled.read(export, urls["raw"])
    assert (status, headers["Content-Length"], raw) == (200, str(16 * MIB), wanted)
    status, _, packed = filled.read(export, urls["gzip"])
    assert (status, gzip.decompress(packed)) == (200, wanted)
    assert len(packed) < MIB


def test_a_part_is_had_by_its_range_and_only_of_the_same_disk(filled: Volumes) -> None:
    filled.export("e", "PersistentVolumeClaim", "disk")
    export = filled.exported("e")
    assert condition(export, "PVCReady")["reason"] == "PVCBound"
    url, wanted = formats(export)["raw"], filled.disk("disk").read_bytes()
    status, headers, part = filled.read(export, url, Range="bytes=4000-9999")
    assert (status, part) == (206, wanted[4000:10000])
    assert headers["Content-Range"] == f"bytes 4000-9999/{16 * MIB}"
    assert filled.read(export, url, Range=f"bytes={16 * MIB - 10}-")[2] == wanted[-10:]
    assert filled.read(export, url, Range="bytes=-7")[2] == wanted[-7:]
    status, headers, _ = filled.read(export, url, Range=f"bytes={16 * MIB}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{16 * MIB}")
    status, headers, body = filled.read(export, url, "HEAD")
    assert (status, headers["Accept-Ranges"], body) == (200, "bytes", b"")
    tag = {"If-Range": headers["ETag"]}
    assert filled.read(export, url, Range="bytes=0-9", **tag)[0] == 206
    assert filled.read(export, url, Range="bytes=0-9", **{"If-Range": '"another"'})[0] == 200


def test_only_who_has_the_token_may_read(filled: Volumes) -> None:
    filled.create("/api/v1/namespaces/{ns}/secrets", "Secret", "mine", stringData={"token": "my-own-token"})
    filled.export("e", "PersistentVolumeClaim", "disk", tokenSecretRef="mine")
    export = filled.exported("e")
    url = formats(export)["raw"]
    assert filled.export_token(export) == "my-own-token"
    assert filled.read(export, url, **{"x-kubevirt-export-token": "wrong"})[0] == 401
    query = f"{url}?x-kubevirt-export-token=my-own-token"
    assert filled.read(export, query, "HEAD", **{"x-kubevirt-export-token": ""})[0] == 200
    assert filled.read(export, url.replace("disk.img", "../../secret"))[0] == 404
    assert filled.read(export, url.replace("/volumes/", "/elsewhere/"))[0] == 404
    assert filled.read(export, url.replace("/e/volumes/", "/f/volumes/"))[0] == 404


def test_manifests_bring_the_machine_over(filled: Volumes) -> None:
    template = {
        "metadata": {"name": "made"},
        "spec": {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Mi"}}}},
    }
    filled.machine("vm", "disk", "made", dataVolumeTemplates=[template])
    filled.export("e", "VirtualMachine", "vm")
    export = filled.exported("e")
    manifests = {item["type"]: item["url"] for item in export["status"]["links"]["external"]["manifests"]}
    items = json.loads(filled.read(export, manifests["all"])[2])["items"]
    by_kind = {item["kind"]: item for item in items}
    assert by_kind["ConfigMap"]["metadata"]["name"] == "export-ca-cm-e"
    assert by_kind["ConfigMap"]["data"]["ca.pem"] == export["status"]["links"]["external"]["cert"]
    vm = by_kind["VirtualMachine"]
    assert (vm["metadata"]["name"], "status" in vm, "uid" in vm["metadata"]) == ("vm", False, False)
    urls = {
        by_kind["DataVolume"]["metadata"]["name"]: by_kind["DataVolume"]["spec"]["source"]["http"],
        "made": vm["spec"]["dataVolumeTemplates"][0]["spec"]["source"]["http"],
    }
    for name, http_source in urls.items():
        assert http_source["url"].endswith(f"/e/volumes/{name}/disk.img.gz")
        assert http_source["certConfigMap"] == "export-ca-cm-e"
        assert http_source["secretExtraHeaders"] == ["header-secret-e"]
    text = filled.read(export, manifests["auth-header-secret"], Accept="application/yaml")[2].decode()
    secret = next(yaml.safe_load_all(text))
    assert secret["metadata"]["name"] == "header-secret-e"
    assert secret["stringData"] == {"token": f"x-kubevirt-export-token:{filled.export_token(export)}"}


def test_what_cannot_be_exported_yet_waits_with_the_reason(filled: Volumes) -> None:
    filled.machine("vm", "disk", strategy="Always")
    vmi = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachineinstances/vm"
    filled.wait("/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines/vm", lambda vm: vm.get("status", {}).get("ready"))
    assert filled.get(vmi)
    filled.export("of-vm", "VirtualMachine", "vm")
    waiting = condition(filled.exported("of-vm", "Pending"), "Ready")
    assert (waiting["reason"], waiting["message"]) == ("InUse", f"Virtual Machine {filled.namespace}/vm is running")
    filled.export("of-claim", "PersistentVolumeClaim", "disk")
    waiting = condition(filled.exported("of-claim", "Pending"), "Ready")
    text = f"PersistentVolumeClaim {filled.namespace}/disk is in use"
    assert (waiting["reason"], waiting["message"]) == ("InUse", text)
    patch = {"spec": {"runStrategy": "Halted"}}
    kind = {"Content_Type": "application/merge-patch+json"}
    assert filled.api("PATCH", "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines/vm", patch, **kind).status == 200
    filled.exported("of-vm")
    filled.exported("of-claim")


def test_what_is_not_there_or_empty_is_said(volumes: Volumes) -> None:
    volumes.export("gone", "VirtualMachine", "gone")
    found = condition(volumes.exported("gone", "Skipped"), "Ready")
    assert (found["reason"], found["message"]) == ("VMNotFound", f"Virtual Machine {volumes.namespace}/gone not found")
    volumes.machine("empty")
    volumes.export("empty", "VirtualMachine", "empty")
    assert condition(volumes.exported("empty", "Skipped"), "Ready")["reason"] == "VMNoVolumes"
    volumes.export("claim", "PersistentVolumeClaim", "claim")
    assert condition(volumes.exported("claim", "Pending"), "PVCReady")["reason"] == "PVCNotFound"
    volumes.claim("claim", "1Mi")
    volumes.exported("claim")


def test_an_export_goes_when_its_time_is_over(filled: Volumes) -> None:
    filled.export("e", "PersistentVolumeClaim", "disk", ttlDuration="3s")
    export = filled.exported("e")
    assert export["status"]["ttlExpirationTime"] > export["metadata"]["creationTimestamp"]
    until = time.monotonic() + 30
    path = "/apis/export.kubevirt.io/v1/namespaces/{ns}/virtualmachineexports/e"
    while filled.api("GET", path).status != 404:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_download_is_cut_off_when_its_machine_starts(volumes: Volumes) -> None:
    volumes.data_volume("large", {"blank": {}}, "512Mi")
    volumes.phase("large", "Succeeded")
    volumes.machine("vm", "large")
    volumes.export("e", "VirtualMachine", "vm")
    export = volumes.exported("e")
    with volumes.reading(export, formats(export)["raw"]) as answer:
        answer.read(MIB)
        patch, kind = {"spec": {"runStrategy": "Always"}}, {"Content_Type": "application/merge-patch+json"}
        volumes.api("PATCH", "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines/vm", patch, **kind)
        volumes.exported("e", "Pending")
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    assert ("ExportPaused", f"Virtual Machine {volumes.namespace}/vm is running") in volumes.events("e")


def test_rules_make_downloads_go_wrong(filled: Volumes, lab: Any) -> None:
    filled.export("e", "PersistentVolumeClaim", "disk")
    export = filled.exported("e")
    url, wanted = formats(export)["raw"], filled.disk("disk").read_bytes()
    lab.fault("data", path="disk.img", drop="amid", count=1)
    cut = pytest.raises((http.client.IncompleteRead, ConnectionError))
    with filled.reading(export, url) as answer, cut as broken:
        answer.read()
    if isinstance(broken.value, http.client.IncompleteRead):
        got = broken.value.partial
        assert got == wanted[: len(got)] and 0 < len(got) < len(wanted)
    lab.fault("data", path="disk.img", code=503, retry_after=2, count=1)
    status, headers, _ = filled.read(export, url)
    assert (status, headers["Retry-After"]) == (503, "2")
    assert filled.read(export, url)[2] == wanted


def test_files_that_are_no_disk_are_had_as_they_are(volumes: Volumes, tmp_path: Path) -> None:
    annotations = {
        "cdi.kubevirt.io/storage.upload.target": "",
        "cdi.kubevirt.io/storage.contentType": "archive",
        "cdi.kubevirt.io/storage.bind.immediate.requested": "",
    }
    volumes.claim("files", storage_class="lab-file", metadata={"annotations": annotations})
    volumes.wait(volumes.claim_path("files"), lambda found: found["metadata"]["annotations"].get(READY) == "true")
    raw = image(tmp_path / "raw", MIB)
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        tar.add(raw, "in/raw")
    assert volumes.upload("files", tmp_path / "in.tar").status == 200
    volumes.export("e", "PersistentVolumeClaim", "files")
    export = volumes.exported("e")
    urls = formats(export)
    assert set(urls) == {"dir", "tar.gz"}
    assert '<a href="in/">in/</a>' in volumes.read(export, urls["dir"])[2].decode()
    assert volumes.read(export, f"{urls['dir']}in/raw")[2] == raw.read_bytes()
    assert volumes.read(export, f"{urls['dir']}../../../../objects.sqlite")[0] == 404
    with tarfile.open(fileobj=io.BytesIO(volumes.read(export, urls["tar.gz"])[2])) as tar:
        member: Any = tar.extractfile("./in/raw")
        assert member.read() == raw.read_bytes()


def test_the_snapshot_of_a_machine_is_exported_as_it_was(filled: Volumes) -> None:
    was = digest(filled.disk("disk"))
    filled.machine("vm", "disk")
    path = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/{ns}/virtualmachinesnapshots"
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "vm"}
    filled.create(path, "VirtualMachineSnapshot", "s", spec={"source": source})
    filled.wait(f"{path}/s", lambda found: (found.get("status") or {}).get("readyToUse"))
    filled.export("e", "VirtualMachineSnapshot", "s")
    export = filled.exported("e")
    assert condition(export, "VolumesCreated")["reason"] == "AllPVCsReady"
    assert export["status"]["links"]["external"]["volumes"][0]["name"] == "disk"
    assert "/volumes/e-disk/" in formats(export)["raw"]
    assert digest(filled.disk("e-disk")) == was


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("", None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=10-500", (10, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=20-10", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
    ],
)
def test_a_range_is_the_part_that_it_says(header: str, part: tuple[int, int] | None) -> None:
    assert wanted_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=-0"])
def test_a_range_beyond_the_end_is_none(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        wanted_range(header, 100)
