"""The server's side of SPDY/3.1, as far as port forwarding needs it: streams that clients open, in both directions.

There is no flow control: the streams' clients (spdystream of Kubernetes) have none either.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GO_AWAY = 1, 2, 3, 6, 7
FIN = 1
HEADER = 8  # bytes before each frame's own
# What both sides' compression of headers starts with, by the specification: words with their lengths, then text.
WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning
www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"""
TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset="
    "utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _sized(word: str) -> bytes:
    return len(word).to_bytes(4, "big") + word.encode()


DICTIONARY = b"".join(_sized(word.replace("_", " ")) for word in WORDS.split()) + TEXT.encode()


@dataclass(eq=False)
class Stream:
    """One stream of a client; C(headers) have lower-case names."""

    session: Session
    number: int
    headers: dict[str, str]
    _received: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    def take(self, data: bytes) -> None:
        self._received.put_nowait(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends, until it sends no more."""
        while data := await self._received.get():
            yield data

    async def send(self, data: bytes, *, last: bool = False) -> None:
        size = len(data) | (FIN if last else 0) << 24
        await self.session.write(self.number.to_bytes(4, "big") + size.to_bytes(4, "big") + data)


class Session:
    """Takes in what a client sends and calls C(opened) with each stream; C(write) sends to it."""

    def __init__(self, write: Callable[[bytes], Awaitable[None]], opened: Callable[[Stream], None]) -> None:
        self.write, self._opened = write, opened
        self._streams: dict[int, Stream] = {}
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    async def feed(self, data: bytes) -> bool:
        """Take in some bytes; False when the client goes away. Raises ValueError for what is no SPDY."""
        self._buffer += data
        while len(self._buffer) >= HEADER:
            size = int.from_bytes(self._buffer[5:8], "big")
            if len(self._buffer) < HEADER + size:
                break
            frame = bytes(self._buffer[: HEADER + size])
            del self._buffer[: HEADER + size]
            if not await self._frame(frame):
                return False
        return True

    def end(self) -> None:
        """No stream gets anything any more."""
        for stream in self._streams.values():
            stream.take(b"")

    async def _frame(self, frame: bytes) -> bool:
        flags, body = frame[4], frame[HEADER:]
        if not frame[0] & 0x80:
            stream = self._streams.get(int.from_bytes(frame[:4], "big"))
            if stream is not None and body:
                stream.take(body)
            if stream is not None and flags & FIN:
                stream.take(b"")
            return True
        kind = int.from_bytes(frame[2:4], "big")
        if int.from_bytes(frame[:2], "big") & 0x7FFF != VERSION:
            raise ValueError("this is not SPDY/3.1")
        number = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
        if kind == SYN_STREAM:
            await self._open(number, body[10:], ended=bool(flags & FIN))
        elif kind == RST_STREAM:
            stream = self._streams.pop(number, None)
            if stream is not None:
                stream.take(b"")
        elif kind == PING:
            await self._control(PING, body)
        return kind != GO_AWAY

    async def _open(self, number: int, block: bytes, *, ended: bool) -> None:
        try:
            headers = _headers(self._inflate.decompress(block))
        except zlib.error as error:
            raise ValueError(f"the headers of a stream cannot be read: {error}") from None
        stream = self._streams[number] = Stream(self, number, headers)
        none = self._deflate.compress((0).to_bytes(4, "big")) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self._control(SYN_REPLY, number.to_bytes(4, "big") + none)
        if ended:
            stream.take(b"")
        self._opened(stream)

    async def _control(self, kind: int, body: bytes) -> None:
        head = (0x8000 | VERSION).to_bytes(2, "big") + kind.to_bytes(2, "big")
        await self.write(head + len(body).to_bytes(4, "big") + body)


def _headers(block: bytes) -> dict[str, str]:
    texts: list[str] = []
    position = 4
    for _text in range(2 * int.from_bytes(block[:4], "big")):
        start = position + 4
        position = start + int.from_bytes(block[position:start], "big")
        texts.append(block[start:position].decode())
    return {name.lower(): value for name, value in zip(texts[::2], texts[1::2], strict=True)}
