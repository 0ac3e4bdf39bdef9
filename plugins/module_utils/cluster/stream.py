# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of bytes through the API server: consoles, displays and ports of guests, over WebSocket.

KubeVirt's subprotocol is C(plain.kubevirt.io): the bytes of both directions, in binary frames.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from ..libraries import websocket
from ..task import Failure
from .credentials import Session
from .errors import Asked, ClusterError, Unreachable, refusal

PROTOCOL = "plain.kubevirt.io"
# Seconds between signs of life on a silent stream: proxies and load balancers drop what says nothing.
_PING_EVERY = 30.0


class Stream:
    """An open stream; one thread may read while another writes. Closed at the end of a C(with) block."""

    def __init__(self, asked: Asked, session: Session, path: str, timeout: float) -> None:
        """Open it, within C(timeout) seconds. Raises ClusterError."""
        if websocket is None:
            raise Failure("Install websocket-client for the Python that runs this task.")
        self._asked, self._host = asked, session.host
        try:
            self._socket = websocket.create_connection(
                f"ws{session.host.removeprefix('http')}{path}",
                timeout=timeout,
                header=[f"{name}: {value}" for name, value in session.headers().items()],
                subprotocols=[PROTOCOL],
                sslopt={"context": session.pool.connection_pool_kw.get("ssl_context")},
                suppress_origin=True,
                enable_multithread=True,
                **_proxy(session),
            )
        except websocket.WebSocketBadStatusException as error:
            body = error.resp_body or b""
            raise refusal(asked, error.status_code, error.resp_headers or {}, body) from error
        except (OSError, websocket.WebSocketException) as error:
            raise self._lost(error) from error
        self._closed = threading.Event()
        self._pinger = threading.Thread(target=self._ping, name="stream ping", daemon=True)
        self._pinger.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def read(self, timeout: float | None = None) -> bytes:
        """The next bytes; none at the end of the stream. Raises TimeoutError after C(timeout) seconds of silence."""
        self._socket.settimeout(timeout)
        try:
            while True:
                code, data = self._socket.recv_data()
                if code == websocket.ABNF.OPCODE_CLOSE:
                    return b""
                if data:
                    return bytes(data)
        except websocket.WebSocketTimeoutException:
            raise TimeoutError from None
        except websocket.WebSocketConnectionClosedException:
            return b""
        except (OSError, websocket.WebSocketException) as error:
            if self._closed.is_set():
                return b""
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        """Send bytes. Raises ClusterError when the stream is lost."""
        try:
            self._socket.send_binary(data)
        except (OSError, websocket.WebSocketException) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        self._closed.set()
        self._socket.close(timeout=1)

    def _ping(self) -> None:
        while not self._closed.wait(_PING_EVERY):
            try:
                self._socket.ping()
            except (OSError, websocket.WebSocketException):
                return

    def _lost(self, error: Exception) -> ClusterError:
        what = "its TLS certificate is not trusted" if isinstance(error, ssl.SSLError) else "the stream broke"
        return Unreachable(f"Cannot {self._asked} at {self._host}: {what}: {error}.")


def _proxy(session: Session) -> dict[str, Any]:
    """The HTTP proxy of the session's connections, as websocket-client takes it."""
    proxy = getattr(session.pool, "proxy", None)
    if proxy is None:
        return {}
    parts = urlsplit(str(proxy))
    settings: dict[str, Any] = {"http_proxy_host": parts.hostname, "http_proxy_port": parts.port, "proxy_type": "http"}
    if parts.username:
        settings["http_proxy_auth"] = (parts.username, parts.password or "")
    return settings
