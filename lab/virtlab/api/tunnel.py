"""Port forwarding to pods: SPDY streams in a WebSocket, as clients since Kubernetes 1.31 ask for it.

Each connection has two streams with one request's number: one for its bytes, one for what went wrong.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import WSMsgType, web

from virtlab.api.spdy import Session, Stream
from virtlab.status import bad_request
from virtlab.subresources.kubevirt.backends import Pipe
from virtlab.subresources.registry import Dialer

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
CHUNK = 64 * 1024


async def serve(request: web.BaseRequest, dial: Dialer) -> web.StreamResponse:
    """Forward what a client asks for until it goes away. Raises a 400 for clients that speak SPDY alone."""
    if PROTOCOL not in request.headers.get("Sec-WebSocket-Protocol", ""):
        raise bad_request(f"unable to upgrade: ports are forwarded over WebSocket ({PROTOCOL}) only")
    socket = web.WebSocketResponse(protocols=(PROTOCOL,), max_msg_size=0)
    await socket.prepare(request)
    tunnel = _Tunnel(dial)
    session = Session(socket.send_bytes, tunnel.opened)
    try:
        with suppress(ConnectionError, ValueError):
            async for message in socket:
                if message.type != WSMsgType.BINARY or not await session.feed(message.data):
                    break
    finally:
        session.end()
        await tunnel.close()
    with suppress(ConnectionError):
        await socket.close()
    return socket


class _Tunnel:
    """The connections of one client."""

    def __init__(self, dial: Dialer) -> None:
        self._dial = dial
        self._errors: dict[str, Stream] = {}  # by the request's number
        self._tasks: set[asyncio.Task[None]] = set()

    def opened(self, stream: Stream) -> None:
        number = stream.headers.get("requestid", "")
        if stream.headers.get("streamtype") == "error":
            self._errors[number] = stream
            return
        task = asyncio.create_task(self._forward(stream, self._errors.pop(number, None)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self, stream: Stream, problems: Stream | None) -> None:
        told = ""
        try:
            pipe = await self._dial(int(stream.headers.get("port", "")))
        except (OSError, ValueError) as error:
            told = str(error)
        else:
            await _joined(stream, pipe)
        with suppress(ConnectionError):
            await stream.send(b"", last=True)
            if problems is not None:
                await problems.send(told.encode(), last=True)


async def _joined(stream: Stream, pipe: Pipe) -> None:
    """Pass bytes on until the pod's side ends."""
    incoming = asyncio.create_task(_in(stream, pipe))
    try:
        with suppress(ConnectionError):
            while data := await pipe.reader.read(CHUNK):
                await stream.send(data)
    finally:
        pipe.writer.close()
        incoming.cancel()
        await asyncio.gather(incoming, return_exceptions=True)


async def _in(stream: Stream, pipe: Pipe) -> None:
    with suppress(ConnectionError):
        async for data in stream.chunks():
            pipe.writer.write(data)
            await pipe.writer.drain()
        if pipe.writer.can_write_eof():
            pipe.writer.write_eof()
