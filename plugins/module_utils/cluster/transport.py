# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests over kept-alive connections, repeated where repeating is safe.

What is repeated follows client-go: an answer that says "later" (429 or 5xx with Retry-After) means that nothing was
done, so that any request may come again; after a broken connection or a bare 5xx only requests that may be done twice.
"""

from __future__ import annotations

import copy
import json
import math
import random
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ..libraries import http_errors as http
from ..libraries import urllib3
from .credentials import Session
from .errors import Asked, ClusterError, Unauthorized, Unavailable, Unreachable, refusal
from .options import Connection
from .stream import Stream

CONNECT_TIMEOUT = 10.0
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 10.0
_LONGEST_RETRY_AFTER = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back: C(body) is decoded JSON, or text where the server sent something else."""

    status: int
    body: Any


class Transport:
    """One API server. Threads may share it: there are as many connections as C(size) requests at a time need."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._renewing = threading.Lock()
        self._session = Session(connection, size)
        self._deadline = math.inf

    @property
    def host(self) -> str:
        return self._session.host

    @property
    def verifies(self) -> bool:
        return self._session.verifies

    @property
    def connection(self) -> Connection:
        return self._connection

    def authorities(self) -> list[bytes]:
        return self._session.authorities()

    def until(self, deadline: float) -> Transport:
        """The same connections for requests that are given up at C(deadline), a time.monotonic()."""
        bounded = copy.copy(self)
        bounded._deadline = deadline
        return bounded

    def send(
        self,
        asked: Asked,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        repeatable: bool,
    ) -> Answer:
        """Send a request and decode its answer.

        C(repeatable): doing it twice is the same as doing it once. Raises ClusterError.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Accept": accept}
        if data is not None:
            headers["Content-Type"] = content_type
        response = self._answered(asked, method, path, query, data, headers, repeatable, None)
        return Answer(response.status, _decode(response.data))

    def stream(
        self, asked: Asked, path: str, query: Mapping[str, Any], read_timeout: float
    ) -> urllib3.BaseHTTPResponse:
        """Open a watch. C(read_timeout) is the longest silence in seconds. The caller closes the response."""
        return self._answered(asked, "GET", path, query, None, {"Accept": "application/json"}, True, read_timeout)

    def read(self, asked: Asked, path: str, query: Mapping[str, Any], accept: str) -> bytes:
        """What a GET answers, as it came."""
        return bytes(self._answered(asked, "GET", path, query, None, {"Accept": accept}, True, None).data)

    def pieces(self, asked: Asked, path: str, query: Mapping[str, Any], silence: float) -> Generator[bytes, None, None]:
        """What a GET answers, in pieces as they come. Raises TimeoutError after C(silence) seconds without one."""
        response = self._answered(asked, "GET", path, query, None, {"Accept": "*/*"}, True, silence)
        try:
            yield from response.stream(None, decode_content=True)
        except http.ReadTimeoutError:
            raise TimeoutError from None
        except http.HTTPError as error:
            raise _unreachable(asked, self.host, error, silence) from error
        finally:
            response.close()

    def connect(self, asked: Asked, path: str) -> Stream:
        """Open a stream of bytes over WebSocket, which the caller closes. Raises ClusterError."""
        seconds = min(self._connection.request_timeout, self._deadline - time.monotonic())
        session = self._session
        try:
            return Stream(asked, session, path, seconds)
        except Unauthorized:
            self._renew(session)
            return Stream(asked, self._session, path, seconds)

    def _answered(
        self,
        asked: Asked,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        data: bytes | None,
        headers: Mapping[str, str],
        repeatable: bool,
        stream_timeout: float | None,
    ) -> urllib3.BaseHTTPResponse:
        attempt = 0
        renewed = lost = False
        while True:
            attempt += 1
            session = self._session
            seconds = min(self._connection.request_timeout, self._deadline - time.monotonic())
            if seconds <= 0:
                raise Unreachable(f"Cannot {asked} at {session.host}: the time for it is over.")
            try:
                response = self._once(session, method, path, query, data, headers, seconds, stream_timeout)
                if response.status < 400:
                    return response
                problem: ClusterError = refusal(asked, response.status, response.headers, response.data)
                problem.after_loss = lost
                patience = _patience(problem, repeatable)
            except http.HTTPError as error:
                lost = True
                problem = _unreachable(asked, session.host, error, seconds)
                patience = _patience_after(error, repeatable)
            if isinstance(problem, Unauthorized) and not renewed:
                renewed = True
                self._renew(session)
                continue
            delay = _delay(attempt, problem.retry_after)
            if attempt >= patience or time.monotonic() + delay >= self._deadline:
                raise problem
            time.sleep(delay)

    def _once(
        self,
        session: Session,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        data: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
        stream_timeout: float | None,
    ) -> urllib3.BaseHTTPResponse:
        given = session.headers()
        given.update(headers)
        url = f"{session.host}{path}"
        if query:
            url = f"{url}?{urlencode({name: value for name, value in query.items() if value is not None})}"
        response = session.pool.request(
            method,
            url,
            body=data,
            headers=given,
            timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, seconds), read=stream_timeout or seconds),
            retries=False,
            redirect=False,
            preload_content=stream_timeout is None,
        )
        if stream_timeout is not None and response.status >= 400:
            response.read(cache_content=True)
            response.release_conn()
        return response

    def _renew(self, refused: Session) -> None:
        """Read the credentials again: a token file may have rotated, an exec plugin has a new one to give."""
        with self._renewing:
            if self._session is refused:
                self._session = Session(self._connection, self._size)


def _decode(data: bytes) -> Any:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def _patience(problem: ClusterError, repeatable: bool) -> int:
    """How many attempts an error answer is worth."""
    if not isinstance(problem, Unavailable):
        return 1
    return 6 if repeatable or problem.retry_after is not None else 1


def _patience_after(error: http.HTTPError, repeatable: bool) -> int:
    """How many attempts a missing answer is worth."""
    if isinstance(error, http.SSLError):
        return 1
    if isinstance(error, (http.NewConnectionError, http.ConnectTimeoutError)):
        return 3
    if not repeatable:
        return 1
    return 2 if isinstance(error, http.ReadTimeoutError) else 5


def _delay(attempt: int, retry_after: float | None) -> float:
    if retry_after is not None:
        return min(retry_after, _LONGEST_RETRY_AFTER) + random.uniform(0, 0.1)
    return min(_FIRST_DELAY * 2.0 ** (attempt - 1), _LONGEST_DELAY) * random.uniform(0.8, 1.2)


def _unreachable(asked: Asked, host: str, error: http.HTTPError, seconds: float) -> Unreachable:
    text = str(error)
    if isinstance(error, http.SSLError):
        what = f"its TLS certificate or ours is refused: {_plain(text)}"
        todo = "Check ca_cert, client_cert and the clock; validate_certs: false turns verification off."
        if "certificate has expired" in text:
            what = "its TLS certificate has expired"
            todo = "Renew it; validate_certs: false accepts it meanwhile."
        elif "CERTIFICATE_VERIFY_FAILED" in text:
            what = f"its TLS certificate is not trusted: {_plain(text)}"
            todo = "Give the CA that signed it as ca_cert; validate_certs: false turns verification off."
    elif isinstance(error, http.NewConnectionError) and _is_unresolved(text):
        what, todo = "its name cannot be resolved", "Check host, or the server in the kubeconfig, and DNS."
    elif isinstance(error, http.ProxyError):
        what, todo = f"the proxy does not let us through: {_plain(text)}", "Check proxy and no_proxy."
    elif isinstance(error, http.NewConnectionError):
        what, todo = f"there is no connection: {_plain(text)}", "Check that the API server runs, host, and proxy."
    elif isinstance(error, http.ConnectTimeoutError):
        what, todo = "there is no connection in time", "Check host, firewalls and proxy."
    elif isinstance(error, http.ReadTimeoutError):
        what = f"there was no answer within {seconds:.3g} seconds"
        todo = "Whether it was done is not known: look before repeating. request_timeout sets the time."
    else:
        what = f"the connection broke: {_plain(text)}"
        todo = "Whether it was done is not known: look before repeating."
    return Unreachable(f"Cannot {asked} at {host}: {what}. {todo}")


def _is_unresolved(text: str) -> bool:
    # urllib3 2 says so; urllib3 1 passes on getaddrinfo's error, whose numbers are negative.
    return "Failed to resolve" in text or "[Errno -" in text


def _plain(text: str) -> str:
    """urllib3's message without the representation of its objects in front."""
    words = text.rsplit("object at 0x", 1)[-1]
    words = words.split(">: ", 1)[-1] if ">: " in words else words.split(": ", 1)[-1] if "0x" in text else words
    return words.rstrip(".")
