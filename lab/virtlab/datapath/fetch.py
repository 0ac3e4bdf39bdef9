"""HTTP for importers, in threads: from this machine only, with the certificates and credentials that a source names."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from virtlab.storage.problems import DataProblem

TIMEOUT = 60.0  # seconds without a byte
REDIRECTS = 10
AGENT = "cdi-golang-importer"
SERVICE = re.compile(r"^virt-export-[^./]+\.[^./]+\.svc$")
UNKNOWN_AUTHORITY = "tls: failed to verify certificate: x509: certificate signed by unknown authority"


def is_local(url: str) -> bool:
    """Is the host an address of this machine, or the service of an export?"""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or SERVICE.match(host):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """How a source is asked. C(authority): PEM, trusted beside what the machine trusts; C(services): host:port where
    the services of exports are."""

    user: str = ""
    password: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    authority: str = ""
    services: str = ""
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.authority:
            try:
                context.load_verify_locations(cadata=self.authority)
            except ssl.SSLError:
                raise DataProblem("Error creating http client: no certificate in the config map") from None
        return context


@dataclass
class Answer:
    """C(length): of the body where the server says it."""

    status: int
    reason: str
    headers: Mapping[str, str]
    length: int | None
    _response: http.client.HTTPResponse = field(repr=False)
    received: int = 0

    def pieces(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The body. Raises DataProblem where it ends early."""
        try:
            while data := self._response.read(size):
                self.received += len(data)
                yield data
        except (OSError, http.client.HTTPException) as error:
            raise DataProblem(_broken(error)) from None
        if self.length is not None and self.received < self.length:
            raise DataProblem("unexpected EOF")

    def text(self, limit: int = 4 << 20) -> bytes:
        """All of a small body."""
        return b"".join(self.pieces())[:limit]


class _Service(http.client.HTTPSConnection):
    """TLS to a service of the cluster: its name is what is verified, its address that of the lab's own server."""

    def __init__(self, name: str, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(name, 443, context=context, timeout=TIMEOUT)
        self._address, self._tls = address, context

    def connect(self) -> None:
        plain = socket.create_connection(self._address, TIMEOUT)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


@contextmanager
def asked(method: str, url: str, access: Access, extra: Mapping[str, str] | None = None) -> Iterator[Answer]:
    """The answer to a request, after redirects. Raises DataProblem where there is none, in Go's words."""
    verb = method.capitalize()
    for _ in range(REDIRECTS):
        if not is_local(url):
            raise DataProblem(f'HTTP request errored: {verb} "{url}": the lab reaches hosts of its own machine only')
        connection = _connection(url, access)
        try:
            response = _response(connection, method, url, access, extra or {})
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                url = urljoin(url, location)
                continue
            length = response.headers.get("Content-Length")
            yield Answer(
                response.status,
                response.reason,
                dict(response.headers),
                int(length) if length and length.isdigit() and method != "HEAD" else None,
                response,
            )
            return
        finally:
            connection.close()
    raise DataProblem(f'HTTP request errored: {verb} "{url}": stopped after {REDIRECTS} redirects')


def _connection(url: str, access: Access) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and SERVICE.match(host) and access.services:
        name, _, port = access.services.rpartition(":")
        return _Service(host, (name, int(port)), access.context())
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=access.context())
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)


def _response(
    connection: http.client.HTTPConnection, method: str, url: str, access: Access, extra: Mapping[str, str]
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    headers = {"User-Agent": AGENT, "Accept-Encoding": "identity", **extra, **dict(access.headers)}
    if access.user and access.password:
        pair = base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    said = f'HTTP request errored: {method.capitalize()} "{url}"'
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise DataProblem(f"{said}: {_untrusted(error, parts.hostname or '')}") from None
    except ConnectionRefusedError:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        raise DataProblem(f"{said}: dial tcp {parts.hostname}:{port}: connect: connection refused") from None
    except TimeoutError:
        raise DataProblem(f"{said}: context deadline exceeded") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataProblem(f"{said}: {_broken(error)}") from None


def _untrusted(error: ssl.SSLCertVerificationError, host: str) -> str:
    if "mismatch" in error.verify_message:
        return f"tls: failed to verify certificate: x509: certificate is not valid for {host}"
    if "expired" in error.verify_message:
        return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
    return UNKNOWN_AUTHORITY


def _broken(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "unexpected EOF"
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected):
        return "EOF" if isinstance(error, http.client.RemoteDisconnected) else "read: connection reset by peer"
    if isinstance(error, TimeoutError):
        return "context deadline exceeded"
    return str(error) or type(error).__name__
