"""The way of machines without a route to their mirror: a proxy that hands on GET, and has each package fetched once."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import tempfile
import threading
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NEW_NETWORK = 0x40000000
PASSED_ON = ("If-Modified-Since", "Cache-Control", "Range", "If-Range")


def _listening(namespace: int, address: tuple[str, int]) -> socket.socket:
    """A socket that listens in the network namespace of a process: a thread goes there, and is gone afterwards."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with open(f"/proc/{namespace}/ns/net", "rb") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), NEW_NETWORK):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_server(address))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(listening.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening


@contextmanager
def proxy(namespace: int, address: tuple[str, int]) -> Iterator[None]:
    """Serve in the network namespace of a process, for the time of a C(with) block; requests go out from ours."""
    locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
    with tempfile.TemporaryDirectory(prefix="packages-") as directory:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                try:
                    if not self.path.endswith(".deb"):
                        self._hand_on()
                        return
                    with locks[self.path]:
                        self._keep()
                except urllib.error.HTTPError as error:
                    self.send_response(error.code)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError as error:
                    self.close_connection = True
                    self.log_error("%s: %s", self.path, error)

            def _hand_on(self) -> None:
                headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
                request = urllib.request.Request(self.path, headers=headers)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    self.send_response(answer.status)
                    for name in ("Content-Length", "Last-Modified", "Content-Range", "Content-Type"):
                        if name in answer.headers:
                            self.send_header(name, answer.headers[name])
                    if "Content-Length" not in answer.headers:
                        self.send_header("Connection", "close")
                        self.close_connection = True
                    self.end_headers()
                    shutil.copyfileobj(answer, self.wfile)

            def _keep(self) -> None:
                kept = Path(directory, sha256(self.path.encode()).hexdigest())
                if not kept.exists():
                    coming = kept.with_suffix(".coming")
                    with urllib.request.urlopen(self.path, timeout=60) as answer, coming.open("wb") as file:
                        shutil.copyfileobj(answer, file)
                    os.rename(coming, kept)
                self.send_response(200)
                self.send_header("Content-Length", str(kept.stat().st_size))
                self.end_headers()
                with kept.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile)

            def log_message(self, *_arguments: object) -> None:
                pass

        server = _Server(_listening(namespace, address), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
