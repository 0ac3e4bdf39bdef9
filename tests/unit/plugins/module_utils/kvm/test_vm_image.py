"""What an image from a URL is, by its head, and what is refused before anything is made of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_image import check_url, image_of
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

GIB = 1024**3


def qcow2(size: int, backing: int = 0) -> bytes:
    return b"QFI\xfb" + (3).to_bytes(4, "big") + backing.to_bytes(8, "big") + bytes(8) + size.to_bytes(8, "big")


def test_the_size_of_a_qcow2_image_is_that_of_its_disk() -> None:
    assert image_of(qcow2(5 * GIB), 200_000, "disk a", "http://x") == ("qcow2", 5 * GIB)


def test_anything_else_is_a_raw_image_of_whole_sectors() -> None:
    assert image_of(b"\xeb\x63", 1000, "disk a", "http://x") == ("raw", 1024)


@pytest.mark.parametrize(
    ("head", "length", "told"),
    [
        (qcow2(GIB, backing=72), 1000, "builds on another file"),
        (b"\x1f\x8b\x08", 1000, "packed with gzip"),
        (b"\xfd7zXZ\0", 1000, "packed with xz"),
        (b"  <!DOCTYPE html><html>", 1000, "a web page"),
        (b"raw", 0, "does not say how large"),
    ],
)
def test_what_cannot_become_a_disk_is_refused(head: bytes, length: int, told: str) -> None:
    with pytest.raises(Failure, match=told):
        image_of(head, length, "disk a", "http://x")


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/image.qcow2":
            self.send_error(404)
            return
        content = qcow2(GIB).ljust(4096, b"\0")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    found = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


def test_an_image_that_fits_is_taken(server: str) -> None:
    check_url(f"{server}/image.qcow2", "disk a", None, GIB, f"sha256:{'0' * 64}")


@pytest.mark.parametrize(
    ("path", "format_", "size", "checksum", "told"),
    [
        ("none.qcow2", None, GIB, None, "answers 404"),
        ("image.qcow2", "raw", GIB, None, "is qcow2; leave out format"),
        ("image.qcow2", None, GIB - 1, None, "give at least"),
        ("image.qcow2", None, GIB, "nonsense", "is none; write e.g. sha256"),
        ("image.qcow2", None, GIB, "sha256:xyz", "is none; write e.g. sha256"),
    ],
)
def test_what_does_not_fit_is_refused(
    server: str, path: str, format_: str | None, size: int, checksum: str | None, told: str
) -> None:
    with pytest.raises(Failure, match=told):
        check_url(f"{server}/{path}", "disk a", format_, size, checksum)


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(Failure, match="cannot be read"):
        check_url("http://127.0.0.1:9/x", "disk a", None, None, None)
