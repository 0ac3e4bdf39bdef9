"""Whether an HTTP source can be had, told in the words of CDI's importer. Only addresses of this machine are asked."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import aiohttp

TIMEOUT = 10.0  # seconds
PREFIX = "Unable to connect to http data source: "


def is_local(url: str) -> bool:
    """Is the host a loopback address?"""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def http_problem(url: str) -> str | None:
    """Why C(url) cannot be imported; None when it can. Never raises."""
    parts = urlsplit(url)
    try:
        # TLS is not verified: certificates of a test's own server are nothing that this machine trusts.
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.head(url, ssl=False, allow_redirects=True) as answer,
        ):
            status, reason = answer.status, answer.reason
            if status == 405:
                async with session.get(url, ssl=False) as got:
                    status, reason = got.status, got.reason
    except aiohttp.ClientConnectorError as error:
        why = "connection refused" if isinstance(error.os_error, ConnectionRefusedError) else str(error.os_error)
        return f'{PREFIX}HTTP request errored: Head "{url}": dial tcp {parts.hostname}:{error.port}: connect: {why}'
    except TimeoutError:
        return f'{PREFIX}HTTP request errored: Head "{url}": context deadline exceeded'
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return f'{PREFIX}HTTP request errored: Head "{url}": {error}'
    if status != 200:
        return f"{PREFIX}expected status code 200, got {status}. Status: {status} {reason}"
    return None
