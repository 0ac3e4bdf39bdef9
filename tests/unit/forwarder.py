"""A way to a server on this machine that can be cut, as networks are."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Forwarder:
    """Cuts its first connections after some bytes, of what is sent or, with C(answers), of what comes back.

    With C(gate) it does not cut them there, but holds them up until the gate is open; C(held) tells that one is.
    """

    def __init__(
        self,
        target: str,
        cuts: int,
        after: int,
        address: str = "127.0.0.1",
        *,
        answers: bool = False,
        gate: threading.Event | None = None,
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._cuts, self._after, self._answers = cuts, after, answers
        self._gate, self.held = gate, threading.Event()
        self._listener = socket.create_server((address, 0))
        self.url = f"https://{address}:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.answered = 0  # bytes that came back
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            left = self._after if self.connections <= self._cuts else None
            far = socket.create_connection(self._target)
            back, forth = (left, None) if self._answers else (None, left)
            threading.Thread(target=self._pump, args=(far, near, back, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(near, far, forth, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, left: int | None, counts: bool) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data if left is None or self._gate else data[: max(left, 0)])
                self.answered += len(data) if counts else 0
                if left is not None:
                    left -= len(data)
                    if left <= 0 and self._gate is None:
                        break
                    if left <= 0 and self._gate is not None:
                        self.held.set()
                        self._gate.wait()
                        left = None
        except OSError:
            pass
        for end in (source, sink):
            # Both directions end, also for who is reading.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
