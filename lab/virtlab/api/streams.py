"""Streams: over WebSocket, as virt-api serves them, the bytes of both directions in binary frames; and logs.

The subprotocol is plain.kubevirt.io; a client that names none gets none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import WSMsgType, web

from virtlab.status import bad_request
from virtlab.subresources.kubevirt.backends import Pipe
from virtlab.subresources.registry import Opener

PROTOCOLS = ("plain.kubevirt.io",)
CHUNK = 64 * 1024
NOT_UPGRADED = "websocket: the client is not using the websocket protocol: 'upgrade' token not found in"


async def serve(request: web.BaseRequest, opener: Opener) -> web.StreamResponse:
    """Connect what stands behind the stream, then the client. Raises StatusError while nothing was sent yet."""
    if "upgrade" not in request.headers.get("Connection", "").lower():
        raise bad_request(f"{NOT_UPGRADED} 'Connection' header")
    pipe = await opener()
    try:
        socket = web.WebSocketResponse(protocols=PROTOCOLS, autoping=True, max_msg_size=0)
        await socket.prepare(request)
        await _joined(socket, pipe)
        return socket
    finally:
        pipe.writer.close()


async def _joined(socket: web.WebSocketResponse, pipe: Pipe) -> None:
    """Pass bytes on until one side ends."""
    both = [asyncio.create_task(_out(socket, pipe)), asyncio.create_task(_in(socket, pipe))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
    with suppress(ConnectionError):
        await socket.close()


async def _out(socket: web.WebSocketResponse, pipe: Pipe) -> None:
    with suppress(ConnectionError):
        while data := await pipe.reader.read(CHUNK):
            await socket.send_bytes(data)


async def _in(socket: web.WebSocketResponse, pipe: Pipe) -> None:
    with suppress(ConnectionError):
        async for message in socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                return
            pipe.writer.write(message.data if message.type == WSMsgType.BINARY else message.data.encode())
            await pipe.writer.drain()


async def send(request: web.BaseRequest, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    """Send a text piece by piece, until it ends or the client goes."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for chunk in chunks:
        if request.transport is None or request.transport.is_closing():
            return response
        if chunk:
            await response.write(chunk)
    await response.write_eof()
    return response
