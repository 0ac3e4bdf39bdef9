# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS servers beside the API server, such as an upload proxy: files go there and come from there in pieces.

A file is never held in memory, and a server that answers before it has everything is heard.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

from ..task import Failure
from .credentials import USER_AGENT
from .transport import CONNECT_TIMEOUT, Transport

PIECE = 1 << 20
# Seconds without a byte in either direction.
SILENCE = 120.0
# Bytes of an error's text that are read.
_TEXT = 4096


class Broken(Failure):
    """There was no answer, or it was cut off: it may be tried again."""


class Untrusted(Failure):
    """The server's certificate is not the one that was to be expected."""


@dataclass(frozen=True)
class Reply:
    """An answer: its status, headers in lower case, and its text where it was an error."""

    status: int
    headers: Mapping[str, str]
    text: str = ""


@dataclass(frozen=True)
class Trust:
    """Whom to trust: C(system) authorities, those of C(pem) texts, C(der) certificates and C(files)."""

    verify: bool = True
    system: bool = True
    pem: tuple[str, ...] = ()
    der: tuple[bytes, ...] = ()
    files: tuple[str, ...] = ()

    def context(self, what: str) -> ssl.SSLContext:
        """Raises Failure for a certificate that is none; C(what) says whose it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        # What is given may be the server's own certificate rather than that of an authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if self.system:
            context.load_default_certs()
        try:
            for text in self.pem:
                context.load_verify_locations(cadata=text)
            if self.der:
                context.load_verify_locations(cadata=b"".join(self.der))
            for path in self.files:
                context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise Failure(f"The CA certificate for {what} cannot be used: {error}") from None
        return context


@dataclass
class Endpoint:
    """One HTTPS server. C(what) names it in messages, C(advice) says what to do where it is not trusted."""

    url: str
    what: str
    trust: Trust
    transport: Transport
    advice: str = ""
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname:
            raise Failure(f"The address of {self.what}, {self.url!r}, is no https URL.")
        self._host: str = parts.hostname
        self._port: int = parts.port or 443
        self._path: str = parts.path.rstrip("/")

    def _connect(self, timeout: float = SILENCE) -> http.client.HTTPSConnection:
        if self._context is None:
            self._context = self.trust.context(self.what)
        proxy = _proxy(self.transport, self._host)
        host, port = (proxy[0], proxy[1]) if proxy else (self._host, self._port)
        connection = http.client.HTTPSConnection(
            host, port, timeout=CONNECT_TIMEOUT, context=self._context, blocksize=PIECE
        )
        if proxy:
            connection.set_tunnel(self._host, self._port)
        with self._told():
            connection.connect()
        connection.sock.settimeout(timeout)
        return connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of a connection in words."""
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or str(error)
            raise Untrusted(
                f"The TLS certificate of {self.what} at {self.url} is not trusted: {reason}. {self.advice}".rstrip()
            ) from None
        except (OSError, http.client.HTTPException) as error:
            text = str(error) or type(error).__name__
            raise Broken(f"The connection to {self.what} at {self.url} broke: {text.rstrip('.')}.") from None

    def send(
        self,
        path: str,
        headers: Mapping[str, str],
        file: BinaryIO,
        size: int,
        sent: Callable[[int], None],
    ) -> Reply:
        """POST a file of C(size) bytes from its beginning; the answer. C(sent) gets the bytes that are gone so far.

        Raises Broken when there is no answer, Untrusted, and Failure when the file is shorter than it was.
        """
        connection = self._connect()
        try:
            with self._told():
                connection.putrequest("POST", f"{self._path}{path}")
                given = {"User-Agent": USER_AGENT, "Content-Type": "application/octet-stream", **headers}
                for name, value in {**given, "Content-Length": str(size)}.items():
                    connection.putheader(name, value)
                connection.endheaders()
            early = self._pour(connection, file, size, sent)
            if early is not None:
                return early
            with self._told():
                return _reply(connection.getresponse())
        finally:
            connection.close()

    def _pour(
        self, connection: http.client.HTTPSConnection, file: BinaryIO, size: int, sent: Callable[[int], None]
    ) -> Reply | None:
        """Send the content; what the server said where it stopped listening."""
        file.seek(0)
        done = 0
        while done < size:
            piece = file.read(min(PIECE, size - done))
            if not piece:
                raise Failure("The file became shorter while it was sent. Start again when it is complete.")
            try:
                connection.send(piece)
            except OSError as error:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection.sock.settimeout(CONNECT_TIMEOUT)
                    return _reply(connection.getresponse())
                with self._told():
                    raise error
            done += len(piece)
            sent(done)
        return None

    @contextlib.contextmanager
    def open(self, path: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """GET; the answer with its content still to be read. Raises Broken and Untrusted."""
        connection = self._connect()
        try:
            with self._told():
                connection.request("GET", f"{self._path}{path}", headers={"User-Agent": USER_AGENT, **headers})
                response = connection.getresponse()
            yield response
        finally:
            connection.close()

    def pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The content of an answer, piece by piece. Raises Broken where it is cut off."""
        while True:
            with self._told():
                piece = response.read(PIECE)
            if not piece:
                return
            yield piece

    def fill(self, response: http.client.HTTPResponse, buffer: bytearray) -> int:
        """Read what comes next into a buffer until it is full; the number of bytes, 0 at the end. Raises Broken."""
        with self._told():
            return response.readinto(buffer)


def _reply(response: http.client.HTTPResponse) -> Reply:
    text = response.read(_TEXT).decode(errors="replace").strip() if response.status >= 300 else ""
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, text)


def _proxy(transport: Transport, host: str) -> tuple[str, int] | None:
    """Host and port of the proxy to a host: the connection's own, or the environment's."""
    connection = transport.connection
    listed = [name.strip().lstrip(".") for name in (connection.no_proxy or "").split(",") if name.strip()]
    if any(host == name or host.endswith(f".{name}") for name in listed):
        return None
    url = connection.proxy
    if not url and not urllib.request.proxy_bypass(host):
        url = urllib.request.getproxies().get("https")
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return (parts.hostname or "", parts.port or 8080) if parts.hostname else None


@dataclass
class Pace:
    """Lines of progress: how much of a file is through, and how fast, at most every few seconds."""

    total: int | None
    verb: str
    tell: Callable[[str], None]
    every: float = 3.0
    _begun: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said < self.every:
            return
        self._said = now
        rate = done / max(now - self._begun, 0.001) / 1024**2
        mebibytes = f"{done // 1024**2} MiB"
        if self.total:
            mebibytes = f"{done * 100 // self.total} % of {self.total // 1024**2} MiB"
        self.tell(f"{mebibytes} {self.verb}, {rate:.0f} MiB/s")
