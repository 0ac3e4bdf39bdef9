"""Ports of pods, forwarded as virtctl and kubectl ask for it: SPDY streams in a WebSocket. The frames are made here."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml
from virtlab.api.spdy import DICTIONARY, Session, Stream
from volumes import MIB, Object, Volumes, image

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
SYN_STREAM, SYN_REPLY, PING = 1, 2, 6


def control(kind: int, body: bytes, flags: int = 0) -> bytes:
    return b"\x80\x03" + kind.to_bytes(2, "big") + bytes([flags]) + len(body).to_bytes(3, "big") + body


class Peer:
    """The client's side: numbers and compresses as spdystream does."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def opening(self, number: int, *, ended: bool = False, **headers: str) -> bytes:
        block = len(headers).to_bytes(4, "big")
        for name, value in headers.items():
            for text in (name, value):
                block += len(text).to_bytes(4, "big") + text.encode()
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = number.to_bytes(4, "big") + bytes(6) + packed
        return control(SYN_STREAM, body, 1 if ended else 0)

    def pair(self, port: int) -> bytes:
        """The stream of what goes wrong, 1, and that of the bytes, 3."""
        about = {"port": str(port), "requestid": "0"}
        return self.opening(1, ended=True, streamtype="error", **about) + self.opening(3, streamtype="data", **about)


def data(number: int, content: bytes, *, last: bool = False) -> bytes:
    return number.to_bytes(4, "big") + bytes([last]) + len(content).to_bytes(3, "big") + content


def test_frames_are_read_however_they_are_cut() -> None:
    opened: list[Stream] = []
    sent: list[bytes] = []

    async def write(content: bytes) -> None:
        sent.append(content)

    async def run() -> list[bytes]:
        session = Session(write, opened.append)
        everything = Peer().pair(8443) + data(3, b"one") + control(PING, b"\0\0\0\7") + data(3, b"two", last=True)
        for byte in everything:
            assert await session.feed(bytes([byte]))
        return [chunk async for chunk in opened[1].chunks()]

    assert asyncio.run(run()) == [b"one", b"two"]
    assert opened[0].headers == {"streamtype": "error", "port": "8443", "requestid": "0"}
    assert [content[:4] for content in sent] == [b"\x80\x03\0\2", b"\x80\x03\0\2", b"\x80\x03\0\6"]


def test_what_is_no_spdy_is_told() -> None:
    async def run(content: bytes) -> None:
        async def write(content: bytes) -> None:
            del content

        await Session(write, lambda stream: None).feed(content)

    for content in (b"\x80\x02\0\1\0\0\0\0", control(SYN_STREAM, bytes(10) + b"no headers")):
        with pytest.raises(ValueError, match=r"SPDY|headers"):
            asyncio.run(run(content))


class Forwarded:
    """A client of one port of a pod; C(received) is what came, by stream."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.received = {1: bytearray(), 3: bytearray()}
        self.ended: set[int] = set()
        self._buffer = b""

    async def problem(self) -> str:
        """What went wrong, once both streams are over."""
        while {1, 3} - self.ended:
            await self.more()
        return self.received[1].decode()

    async def more(self) -> None:
        """Take in one message."""
        message = await self.socket.receive(60)
        assert message.type == aiohttp.WSMsgType.BINARY, message
        self._buffer += message.data
        while len(self._buffer) >= 8 and len(self._buffer) >= 8 + (size := int.from_bytes(self._buffer[5:8], "big")):
            frame, self._buffer = self._buffer[: 8 + size], self._buffer[8 + size :]
            if not frame[0] & 0x80:
                number = int.from_bytes(frame[:4], "big")
                self.received[number] += frame[8:]
                if frame[4] & 1:
                    self.ended.add(number)


def _goodbye(tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> bytes:
    """What ends a TLS connection, which the server waits for."""
    with suppress(ssl.SSLError):
        tls.unwrap()
    return outgoing.read()


def forwarded(volumes: Volumes, pod: str, port: int, request: bytes) -> tuple[bytes, str]:
    """What the pod's port answers to C(request) over TLS, and what went wrong."""
    config = yaml.safe_load(volumes.api.kubeconfig.read_text())
    server, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    url = f"{server}/api/v1/namespaces/{volumes.namespace}/pods/{pod}/portforward"

    async def run() -> tuple[bytes, str]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.ws_connect(url, protocols=[PROTOCOL], ssl=False, max_msg_size=0) as socket,
        ):
            assert socket.protocol == PROTOCOL
            client = Forwarded(socket)
            await socket.send_bytes(Peer().pair(port))
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            tls = context.wrap_bio(incoming, outgoing)
            answer, taken, greeted = b"", 0, False
            while {1, 3} - client.ended:
                incoming.write(client.received[3][taken:])
                taken = len(client.received[3])
                try:
                    if not greeted:
                        tls.do_handshake()
                        greeted = True
                        tls.write(request)
                    while chunk := tls.read(65536):
                        answer += chunk
                    over = greeted
                except ssl.SSLWantReadError:
                    over = False
                if over:
                    await socket.send_bytes(data(3, _goodbye(tls, outgoing), last=True))
                    return answer, await client.problem()
                if outgoing.pending:
                    await socket.send_bytes(data(3, outgoing.read()))
                await client.more()
            return answer, await client.problem()

    return asyncio.run(asyncio.wait_for(run(), 120))


@pytest.fixture
def export(volumes: Volumes, tmp_path: Path) -> Object:
    """An export of a disk."""
    volumes.data_volume("disk", {"upload": {}})
    volumes.phase("disk", "UploadReady")
    assert volumes.upload("disk", image(tmp_path / "raw", 16 * MIB)).status == 200
    volumes.phase("disk", "Succeeded")
    volumes.export("e", "PersistentVolumeClaim", "disk")
    return volumes.exported("e")


def test_an_export_is_downloaded_through_the_port_of_its_pod(volumes: Volumes, export: Object) -> None:
    service = volumes.api("GET", f"/api/v1/namespaces/{{ns}}/services/{export['status']['serviceName']}").body
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(443, 8443)]
    chosen = ",".join(f"{name}={value}" for name, value in service["spec"]["selector"].items())
    pods = volumes.api("GET", f"/api/v1/namespaces/{{ns}}/pods?labelSelector={chosen}").body["items"]
    assert [pod["metadata"]["name"] for pod in pods] == ["virt-export-e"]
    internal = export["status"]["links"]["internal"]["volumes"][0]["formats"]
    path = urlsplit(next(item["url"] for item in internal if item["format"] == "raw")).path
    token = volumes.export_token(export)
    host, token = "Host: 127.0.0.1:5000", f"x-kubevirt-export-token: {token}"
    lines = [f"GET {path} HTTP/1.1", host, token, "Range: bytes=0-8191", "Connection: close", "", ""]
    answer, told = forwarded(volumes, "virt-export-e", 8443, "\r\n".join(lines).encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (head.split()[1], told) == (b"206", "")
    assert body == volumes.disk("disk").read_bytes()[:8192]


def test_a_port_that_nothing_listens_on_is_told(volumes: Volumes, export: Object) -> None:
    del export
    answer, told = forwarded(volumes, "virt-export-e", 80, b"GET / HTTP/1.1\r\n\r\n")
    assert answer == b""
    assert told.startswith("error forwarding port 80 to pod ")
    assert told.endswith("dial tcp4 127.0.0.1:80: connect: connection refused")


def test_a_client_without_websocket_is_told(volumes: Volumes, export: Object) -> None:
    del export
    reply = volumes.api("POST", "/api/v1/namespaces/{ns}/pods/virt-export-e/portforward", {})
    assert (reply.status, "WebSocket" in reply.text) == (400, True)
    assert volumes.api("POST", "/api/v1/namespaces/{ns}/pods/gone/portforward", {}).status == 404
