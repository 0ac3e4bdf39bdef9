"""An image that is uploaded and downloaded, beside curl with the same endpoints and the same file."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Report, compared, speeds
from programs import in_turns
from stage import Stage

UP, DOWN = "the image is in the cluster", "the image is here"
NAMESPACE = "transfer"
VOLUMES = f"/apis/cdi.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/datavolumes"
EXPORTS = f"/apis/export.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/virtualmachineexports"
CURL, OURS = "curl", "ours"
RATIO = 1 / 0.8
TIMES_UP, TIMES_DOWN = 2, 5
PIECE = 1 << 20
PATIENCE = 120.0  # seconds


def bench(stage: Stage, quick: bool) -> Report:
    mebibytes = 8 if quick else 512
    report = Report(f"{mebibytes} MiB uploaded and downloaded", ["what", "best", "in the middle", "MiB/s"])
    if shutil.which("curl") is None:
        report.notes.append("not measured, curl is missing")
        return report
    source = stage.work / "image.raw"
    with source.open("wb") as file:
        for _number in range(mebibytes):
            file.write(os.urandom(PIECE))
    stage.namespace(NAMESPACE)
    # Of each run of curl: the transfer alone, and with what ours does beside it.
    sent: list[tuple[float, float]] = []
    got: list[tuple[float, float]] = []

    def curl_sends() -> float:
        sent.append(curl_up(stage, source, f"curl-{len(sent)}"))
        stage.ask("DELETE", f"{VOLUMES}/curl-{len(sent) - 1}")
        return sent[-1][0]

    def we_send() -> float:
        times, _whole = stage.play("up", uploading(source, "image", mebibytes))
        stage.ask("DELETE", f"{VOLUMES}/image")
        gone(stage, f"{VOLUMES}/image")
        return times[UP].seconds

    def curl_fetches() -> float:
        got.append(curl_down(stage, link, token, "curl.raw"))
        return got[-1][0]

    def we_fetch() -> float:
        target = stage.work / "fetched.raw"
        times, _whole = stage.play("down", downloading(target))
        if not filecmp.cmp(source, target, shallow=False):
            report.notes.append("what came back is not what was sent")
        target.unlink()
        return times[DOWN].seconds

    up = in_turns({CURL: curl_sends, OURS: we_send}, quick, TIMES_UP)
    curl_up(stage, source, "exported")
    link, token = export(stage, "exported")
    down = in_turns({CURL: curl_fetches, OURS: we_fetch}, quick, TIMES_DOWN)
    whole_up, whole_down = ([whole for _bare, whole in runs] for runs in (sent, got))
    rows = {
        "image_upload": up[OURS],
        "curl alone, sending": up[CURL],
        "curl, with sha256sum before, its volume made and waited for": whole_up,
        "image_download": down[OURS],
        "curl alone, fetching": down[CURL],
        "curl, with sync and sha256sum after": whole_down,
    }
    report.rows += [speeds(what, seconds, mebibytes) for what, seconds in rows.items()]
    report.figures += [
        *compared("upload, of the time of curl that does as much", up[OURS], whole_up, RATIO),
        *compared("upload, of the time of curl alone", up[OURS], up[CURL], RATIO),
        *compared("download, of the time of curl that does as much", down[OURS], whole_down, RATIO),
        *compared("download, of the time of curl alone", down[OURS], down[CURL], RATIO),
    ]
    report.notes.append(
        "in turns, after a sync each. The times of ours have the checksum, the volume or request made, the wait for it,"
        " and the file kept by an fsync in them; curl alone has none of it"
    )
    return report


def uploading(source: Path, name: str, mebibytes: int) -> dict[str, Any]:
    options = {"path": str(source), "name": name, "namespace": NAMESPACE, "size": f"{mebibytes}Mi"}
    return {"name": UP, "virtstack.core.image_upload": options | {"bind_immediately": True}}


def downloading(target: Path) -> dict[str, Any]:
    return {
        "name": DOWN,
        "virtstack.core.image_download": {"path": str(target), "namespace": NAMESPACE, "export": "bench"},
    }


def curl(*arguments: str | Path) -> None:
    # Whom to trust is no matter of speed; the encryption is the same.
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--insecure", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"curl failed: {done.stderr or done.stdout}")


def curl_up(stage: Stage, source: Path, name: str) -> tuple[float, float]:
    """Seconds of the sending, and of all from the checksum to the filled volume."""
    begin = time.perf_counter()
    subprocess.run(["sha256sum", source], check=True, capture_output=True)
    annotations = {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"}
    size = {"requests": {"storage": source.stat().st_size}}
    spec = {"source": {"upload": {}}, "storage": {"resources": size}}
    head = {"name": name, "annotations": annotations}
    body = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": head, "spec": spec}
    stage.ask("POST", VOLUMES, body)
    reached(stage, f"{VOLUMES}/{name}", lambda status: status.get("phase") == "UploadReady")
    asked = {"apiVersion": "upload.cdi.kubevirt.io/v1beta1", "kind": "UploadTokenRequest", "metadata": {"name": name}}
    tokens = f"/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/uploadtokenrequests"
    token = stage.ask("POST", tokens, asked | {"spec": {"pvcName": name}})["status"]["token"]
    proxy = stage.ask("GET", "/apis/cdi.kubevirt.io/v1beta1/cdiconfigs/config")["status"]["uploadProxyURL"]
    address = proxy if "://" in proxy else f"https://{proxy}"
    started = time.perf_counter()
    curl(
        *("--request", "POST", "--header", f"Authorization: Bearer {token}", "--header", "Expect:"),
        *("--upload-file", source, f"{address}/v1beta1/upload-async"),
    )
    sending = time.perf_counter() - started
    reached(stage, f"{VOLUMES}/{name}", lambda status: status.get("phase") == "Succeeded")
    return sending, time.perf_counter() - begin


def export(stage: Stage, claim: str) -> tuple[str, str]:
    """Make an export of a claim: where its raw disk is, and the token for it."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bench"}, "stringData": {"token": "benchmark"}}
    stage.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)
    source = {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": claim}
    spec = {"tokenSecretRef": "bench", "source": source}
    kind = {"apiVersion": "export.kubevirt.io/v1beta1", "kind": "VirtualMachineExport"}
    stage.ask("POST", EXPORTS, kind | {"metadata": {"name": "bench"}, "spec": spec})
    status = reached(stage, f"{EXPORTS}/bench", lambda status: status.get("phase") == "Ready")
    formats = status["links"]["external"]["volumes"][0]["formats"]
    return next(item["url"] for item in formats if item["format"] == "raw"), "benchmark"


def curl_down(stage: Stage, link: str, token: str, name: str) -> tuple[float, float]:
    """Seconds of the fetching, and of all up to the checksum of a file that is on the disk."""
    target = stage.work / name
    begin = time.perf_counter()
    curl("--header", f"x-kubevirt-export-token: {token}", "--output", target, link)
    fetching = time.perf_counter() - begin
    subprocess.run(["sync", target], check=True)
    subprocess.run(["sha256sum", target], check=True, capture_output=True)
    whole = time.perf_counter() - begin
    target.unlink()
    return fetching, whole


def reached(stage: Stage, path: str, far_enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while not far_enough(status := stage.ask("GET", path).get("status") or {}):
        if time.monotonic() > until:
            raise SystemExit(f"{path} does not get on: {status}")
        time.sleep(0.02)
    return status


def gone(stage: Stage, path: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            stage.ask("GET", path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return
            raise
        if time.monotonic() > until:
            raise SystemExit(f"{path} does not go away")
        time.sleep(0.02)
