"""Volumes of a lab that runs, their bytes, and the servers for them, for tests of the data path."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import http.client
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from virtlab.storage.zstd import library
from wire import Api, Reply

MIB = 1 << 20
PATIENCE = 60.0  # seconds
CDI = "/apis/cdi.kubevirt.io/v1beta1"
TOKENS = "/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/{ns}/uploadtokenrequests"
Object = dict[str, Any]


def image(path: Path, size: int = 8 * MIB, seed: int = 1) -> Path:
    """A raw image with some data at its beginning, in its middle, and at its end."""
    noise = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset in (0, size // 2, size - 4096):
            file.seek(offset)
            file.write(noise.randbytes(4096))
    return path


def zstd_compress(data: bytes) -> bytes:
    """By the library that unpacks; skips the test where there is none."""
    found = library()
    if found is None:
        pytest.skip("this machine has no libzstd")
    size = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_size_t)(("ZSTD_compressBound", found))
    room = ctypes.create_string_buffer(size(len(data)))
    found.ZSTD_compress.restype = ctypes.c_size_t
    taken = found.ZSTD_compress(room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), 3)
    return room.raw[:taken]


def digest(path: Path, size: int | None = None) -> str:
    """SHA-256 of the file, or of its first C(size) bytes."""
    found, left = hashlib.sha256(), path.stat().st_size if size is None else size
    with open(path, "rb") as file:
        while left > 0 and (data := file.read(min(MIB, left))):
            found.update(data)
            left -= len(data)
    return found.hexdigest()


@dataclass
class Volumes:
    """What a test does with the volumes of its own namespace."""

    api: Api
    state_dir: Path

    @property
    def namespace(self) -> str:
        return self.api.namespace

    def disk(self, name: str, storage_class: str = "lab-block") -> Path:
        return self.state_dir / "storage" / storage_class / self.namespace / name / "disk.img"

    def create(self, path: str, kind: str, name: str, **content: Any) -> Object:
        version = "v1" if path.startswith("/api/") else path.removeprefix("/apis/").partition("/namespaces/")[0]
        metadata = {"name": name, **content.pop("metadata", {})}
        reply = self.api("POST", path, {"apiVersion": version, "kind": kind, "metadata": metadata, **content})
        assert reply.status == 201, reply.text
        made: Object = reply.body
        return made

    def data_volume(self, name: str, source: Object, size: str = "16Mi", **more: Any) -> Object:
        storage = {"resources": {"requests": {"storage": size}}, **more.pop("storage", {})}
        spec = {"source": source, "storage": storage, **more.pop("spec", {})}
        return self.create(f"{CDI}/namespaces/{{ns}}/datavolumes", "DataVolume", name, spec=spec, **more)

    def claim(self, name: str, size: str = "16Mi", storage_class: str = "lab-block", **more: Any) -> Object:
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": storage_class,
            **more.pop("spec", {}),
        }
        return self.create(
            "/api/v1/namespaces/{ns}/persistentvolumeclaims", "PersistentVolumeClaim", name, spec=spec, **more
        )

    def get(self, path: str) -> Object:
        reply = self.api("GET", path)
        assert reply.status == 200, reply.text
        found: Object = reply.body
        return found

    def wait(self, path: str, done: Callable[[Object], Any], seconds: float = PATIENCE) -> Object:
        """The object once C(done) holds of it."""
        until = time.monotonic() + seconds
        while True:
            found = self.get(path)
            if done(found):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.05)

    def phase(self, name: str, *phases: str) -> Object:
        """The data volume once it is in one of the phases."""
        path = f"{CDI}/namespaces/{{ns}}/datavolumes/{name}"
        return self.wait(path, lambda found: (found.get("status") or {}).get("phase") in phases)

    def claim_path(self, name: str) -> str:
        return f"/api/v1/namespaces/{{ns}}/persistentvolumeclaims/{name}"

    def events(self, name: str) -> set[tuple[str, str]]:
        """(reason, message) of the events about objects of that name."""
        items = self.get("/api/v1/namespaces/{ns}/events")["items"]
        return {(item["reason"], item["message"]) for item in items if item["involvedObject"]["name"] == name}

    # Machines and exports

    def machine(self, name: str, *claims: str, strategy: str = "Halted", **spec: Any) -> Object:
        volumes = [{"name": f"d{n}", "persistentVolumeClaim": {"claimName": claim}} for n, claim in enumerate(claims)]
        disks = [{"name": volume["name"], "disk": {"bus": "virtio"}} for volume in volumes]
        domain = {"devices": {"disks": disks}, "memory": {"guest": "128Mi"}}
        template = {"spec": {"domain": domain, "volumes": volumes, "terminationGracePeriodSeconds": 0}}
        path = "/apis/kubevirt.io/v1/namespaces/{ns}/virtualmachines"
        return self.create(path, "VirtualMachine", name, spec={"runStrategy": strategy, "template": template, **spec})

    def export(self, name: str, kind: str, of: str, **spec: Any) -> Object:
        groups = {"VirtualMachine": "kubevirt.io", "VirtualMachineSnapshot": "snapshot.kubevirt.io"}
        source = {"apiGroup": groups.get(kind, ""), "kind": kind, "name": of}
        path = "/apis/export.kubevirt.io/v1/namespaces/{ns}/virtualmachineexports"
        return self.create(path, "VirtualMachineExport", name, spec={"source": source, **spec})

    def exported(self, name: str, phase: str = "Ready") -> Object:
        path = f"/apis/export.kubevirt.io/v1/namespaces/{{ns}}/virtualmachineexports/{name}"
        return self.wait(path, lambda found: (found.get("status") or {}).get("phase") == phase)

    def export_token(self, export: Object) -> str:
        name = export["status"]["tokenSecretRef"]
        data = self.get(f"/api/v1/namespaces/{{ns}}/secrets/{name}")["data"]
        return base64.b64decode(data["token"]).decode()

    @contextmanager
    def reading(
        self, export: Object, url: str, method: str = "GET", **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """What an export answers, verified by the certificate in its links."""
        parts = urlsplit(url)
        context = ssl.create_default_context(cadata=export["status"]["links"]["external"]["cert"])
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=PATIENCE)
        sent = {"x-kubevirt-export-token": self.export_token(export), **headers}
        try:
            connection.request(method, f"{parts.path}?{parts.query}", headers=sent)
            yield connection.getresponse()
        finally:
            connection.close()

    def read(self, export: Object, url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        with self.reading(export, url, method, **headers) as answer:
            return answer.status, dict(answer.getheaders()), answer.read()

    # Uploading

    def token(self, claim: str) -> str:
        request = {"apiVersion": "upload.cdi.kubevirt.io/v1beta1", "kind": "UploadTokenRequest"}
        body = {**request, "metadata": {"generateName": "token-"}, "spec": {"pvcName": claim}}
        token: str = self.api("POST", TOKENS, body).body["status"]["token"]
        return token

    def proxy(self) -> http.client.HTTPSConnection:
        """A connection to the upload proxy, verified by the cluster's own authority."""
        url = urlsplit(self.get(f"{CDI}/cdiconfigs/config")["status"]["uploadProxyURL"])
        context = ssl.create_default_context(cafile=str(self.state_dir / "ca.crt"))
        return http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=PATIENCE)

    def upload(
        self,
        claim: str,
        data: bytes | Path | Iterable[bytes],
        path: str = "upload",
        *,
        token: str | None = None,
        **headers: str,
    ) -> Reply:
        """What the proxy answers to an image; one that comes piece by piece is sent chunked."""
        return self.ask("POST", path, token or self.token(claim), data, **headers)

    def ask(
        self,
        method: str,
        path: str,
        token: str | None,
        data: bytes | Path | Iterable[bytes] | None = None,
        **headers: str,
    ) -> Reply:
        connection = self.proxy()
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            if isinstance(data, Path):
                with open(data, "rb") as file:
                    length = {"Content-Length": str(data.stat().st_size)}
                    connection.request(method, f"/v1beta1/{path}", file, {**sent, **length, **headers})
                    return _reply(connection)
            connection.request(method, f"/v1beta1/{path}", data, {**sent, **headers})
            return _reply(connection)
        finally:
            connection.close()


def _reply(connection: http.client.HTTPConnection) -> Reply:
    answer = connection.getresponse()
    return Reply(answer.status, dict(answer.getheaders()), answer.read().decode())
