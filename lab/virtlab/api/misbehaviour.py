"""Fault rules at work on requests and watches."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable

from aiohttp import web

from virtlab.api.watch import Watch
from virtlab.cluster import Cluster
from virtlab.faults import Fault
from virtlab.status import StatusError

CHUNK = 1024  # bytes between the pauses of a slow answer
REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden by a fault rule"),
    409: ("Conflict", "the object has been modified; please apply your changes to the latest version and try again"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "an error on the server has prevented the request from succeeding"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}


def hang_up(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


async def before(fault: Fault, request: web.BaseRequest) -> None:
    """Delay, refuse or cut the request before anything is done."""
    if fault.latency:
        await asyncio.sleep(fault.latency)
    if fault.drop == "before":
        hang_up(request)
        raise ConnectionResetError("cut by a fault rule")
    if fault.code and fault.drop != "after":
        raise refusal(fault)


def refusal(fault: Fault) -> StatusError:
    reason, message = REASONS.get(fault.code, (None, f"status {fault.code} by a fault rule"))
    headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
    details = {"retryAfterSeconds": fault.retry_after} if fault.retry_after else {}
    return StatusError(fault.code, fault.message or message, fault.reason or reason, details, (), headers)


async def after(fault: Fault, request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Lose or slow down the answer to a request that was executed."""
    if fault.drop == "after":
        hang_up(request)
        raise ConnectionResetError("cut by a fault rule")
    if not fault.slow or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    slow = web.StreamResponse(status=response.status, headers=response.headers)
    slow.content_length = len(response.body)
    await slow.prepare(request)
    for start in range(0, len(response.body), CHUNK):
        await slow.write(response.body[start : start + CHUNK])
        await asyncio.sleep(fault.slow)
    await slow.write_eof()
    return slow


def disturb(cluster: Cluster, watches: Iterable[Watch]) -> None:
    """Let the rules about watches meet these, which are open."""
    for watch in tuple(watches):
        request = watch.request
        fault = cluster.faults.hit("watch", "watch", request.target.path, request.user.name)
        if fault is None:
            continue
        error = None
        if not fault.drop:
            text = fault.message or f"too old resource version: {cluster.store.version - 1} ({cluster.store.version})"
            error = StatusError(fault.code or 410, text, fault.reason or "Expired")
        end = functools.partial(watch.end, error, cut=bool(fault.drop))
        asyncio.get_running_loop().call_later(fault.latency, end)
