"""A way to a server on this machine that holds what it carries until it is told to go on."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Gate:
    """Carries the first C(sent) bytes of each connection to the server, or lets all through and holds the answers that
    come after them, until C(open)."""

    def __init__(self, target: str, sent: int, *, answers: bool = False) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._sent, self._answers = sent, answers
        self._opened = threading.Event()
        self._held = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def await_held(self) -> None:
        """Wait until one more connection is held."""
        assert self._held.acquire(timeout=120), "nothing came to the gate"

    def open(self) -> None:
        """Let everything through from now on."""
        self._opened.set()

    def close(self) -> None:
        self._opened.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            passed = threading.Event()
            if self._sent == 0:
                passed.set()
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink, passed, source is near), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, passed: threading.Event, forth: bool) -> None:
        done = 0
        try:
            while data := source.recv(65536):
                if forth is not self._answers and passed.is_set() and not self._opened.is_set():
                    self._held.release()
                    self._opened.wait()
                sink.sendall(data)
                done += len(data)
                if forth and done >= self._sent:
                    passed.set()
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
