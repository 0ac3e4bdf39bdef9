"""Servers on this machine that imports are made from: plain HTTP, TLS with an authority of its own, a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from virtlab.certificates import Authority


@dataclass
class Served:
    """What a server answers: bodies by path. C(cut): only so many bytes of each are sent, whatever was promised."""

    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)  # headers that a request must have
    cut: int | None = None
    wait: threading.Event | None = None  # where half of a body was sent, for this
    asked: list[str] = field(default_factory=list)
    url: str = ""


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.asked.append(self.path)
            if any(self.headers.get(name) != value for name, value in served.needs.items()):
                self._answer(401, b"")
            elif self.path in served.redirects:
                self.send_response(302)
                self.send_header("Location", served.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path not in served.files:
                self._answer(404, b"")
            else:
                self._answer(200, served.files[self.path])

        do_HEAD = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", served.types.get(self.path, "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if served.wait is not None:
                half = len(body) // 2
                self.wfile.write(body[:half])
                self.wfile.flush()
                served.wait.wait(60)
                body = body[half:]
            self.wfile.write(body if served.cut is None else body[: served.cut])
            if served.cut is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            return None

    return Handler


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Importers hang up in the middle of what is no good."""


@contextmanager
def serving(authority: Authority | None = None, **content: Any) -> Iterator[Served]:
    """A server on loopback, with TLS where it has an authority."""
    served = Served(**content)
    server = _Server(("127.0.0.1", 0), _handler(served))
    if authority is not None:
        context: ssl.SSLContext = authority.serving_context("images")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    served.url = f"{'https' if authority else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        if served.wait is not None:
            served.wait.set()
        server.shutdown()
        thread.join()
        server.server_close()


# Container images


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _layer(files: dict[str, bytes], *, packed: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), 1) if packed else buffer.getvalue()


@dataclass
class Image:
    """A container image: blobs by digest, and its manifest's digest."""

    blobs: dict[str, bytes]
    manifest: str
    index: str


def container_disk(disk: bytes, *, packed: bool = True) -> Image:
    """An image of two layers, the second of which holds C(disk/disk.img), behind an index of two architectures."""
    layers = [_layer({"etc/motd": b"hello"}, packed=packed), _layer({"./disk/disk.img": disk}, packed=packed)]
    blobs = {_digest(data): data for data in layers}
    config = b"{}"
    blobs[_digest(config)] = config
    kind = "application/vnd.oci.image"
    described = [{"mediaType": f"{kind}.layer.v1.tar", "digest": _digest(data), "size": len(data)} for data in layers]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", "digest": _digest(config), "size": len(config)},
            "layers": described,
        }
    ).encode()
    blobs[_digest(manifest)] = manifest
    entries = [
        {"digest": _digest(b"other"), "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": _digest(manifest), "size": len(manifest), "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": entries}).encode()
    blobs[_digest(index)] = index
    return Image(blobs, _digest(manifest), _digest(index))


def as_layout(image: Image, directory: Path) -> Path:
    """The image as an OCI directory."""
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_bytes(image.blobs[image.index])
    for digest, data in image.blobs.items():
        (directory / "blobs" / digest.replace(":", "/")).write_bytes(data)
    return directory


def as_archive(image: Image, path: Path) -> Path:
    """The image as an OCI archive."""
    layout = as_layout(image, path.with_suffix(".layout"))
    with tarfile.open(path, "w") as tar:
        tar.add(layout, ".")
    return path


def as_repository(image: Image, name: str, tag: str) -> dict[str, bytes]:
    """What a registry answers for the image, by path."""
    files = {f"/v2/{name}/blobs/{digest}": data for digest, data in image.blobs.items()}
    manifests = {digest: data for digest, data in image.blobs.items() if data[:1] == b"{"}
    files |= {f"/v2/{name}/manifests/{digest}": data for digest, data in manifests.items()}
    return {**files, f"/v2/{name}/manifests/{tag}": image.blobs[image.index]}
