"""The export proxy and the export servers behind it, in one: disks, files and manifests of VirtualMachineExports.

From outside an export is C(/api/export.kubevirt.io/<version>/namespaces/<namespace>/virtualmachineexports/<name>/...);
within the cluster the same paths lie at the host C(<service>.<namespace>.svc).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import html
import logging
import re
import tarfile
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from aiohttp import web

from virtlab.datapath import export_manifests
from virtlab.datapath.export_sources import EXPORTS, Served, served_volumes
from virtlab.datapath.mishaps import Mishap
from virtlab.datapath.ranges import Unsatisfiable, wanted_range
from virtlab.datapath.volumes import Volumes
from virtlab.resource import Object
from virtlab.storage.sparse import chunks

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

log = logging.getLogger(__name__)

HEADER = "x-kubevirt-export-token"
OUTSIDE = re.compile(
    r"^/api/export\.kubevirt\.io/(?:v1alpha1|v1beta1|v1)/namespaces/([^/]+)/virtualmachineexports/([^/]+)/(.*)$"
)
INSIDE = re.compile(r"^(virt-export-[^.]+)\.([^.]+)\.svc(?::\d+)?$")
OCTETS = "application/octet-stream"
MISHAP = "mishap"  # where a request carries what is to go wrong with it
AHEAD = 2  # pieces that are read or packed before they are sent


class Refused(Exception):
    """The status that a request is answered with."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def _inside(request: web.Request) -> tuple[str, str] | None:
    """Service and namespace of the export, where it is asked for by the service's name."""
    host = INSIDE.match(request.headers.get("Host", ""))
    return (host[1], host[2]) if host is not None else None


class ExportServer:
    """Serves every export of the cluster that is ready."""

    def __init__(self, cluster: Cluster, volumes: Volumes) -> None:
        self.cluster, self.volumes = cluster, volumes

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/healthz", _healthy)
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            mishap = await Mishap.met(self.cluster, request)
            if mishap.refusal is not None:
                return mishap.refusal
            request[MISHAP] = mishap
            export, path = self._export(request)
            self._check_token(request, export)
            return await self._serve(request, export, path)
        except Refused as refused:
            return web.Response(status=refused.status)

    def _export(self, request: web.Request) -> tuple[Object, str]:
        """The export that is asked for, and the path within it."""
        inside = self._forwarded(request) or _inside(request)
        if inside is not None:
            (service, namespace), path = inside, request.path.lstrip("/")
            entries = self.cluster.store.entries(EXPORTS, namespace)
            found = (e.object for e in entries if (e.object.get("status") or {}).get("serviceName") == service)
            export = next(found, None)
        else:
            match = OUTSIDE.match(request.path)
            if match is None:
                raise Refused(400)
            entry = self.cluster.store.find(EXPORTS, match[1], match[2])
            export, path = entry.object if entry is not None else None, match[3]
        if export is None:
            raise Refused(404)
        if not self._ready(export):
            raise Refused(503)
        return export, path

    def _forwarded(self, request: web.Request) -> tuple[str, str] | None:
        """Service and namespace of the export whose pod's port was forwarded to the client."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        client = self.volumes.export_clients.get(peer[1]) if peer else None
        if client is None or client.writer.is_closing():
            return None
        return client.service, client.namespace

    def _ready(self, export: Object) -> bool:
        metadata = export["metadata"]
        entry = self.cluster.store.find(EXPORTS, metadata["namespace"], metadata["name"])
        if entry is None or entry.object["metadata"]["uid"] != metadata["uid"]:
            return False
        return (entry.object.get("status") or {}).get("phase") == "Ready"

    def _check_token(self, request: web.Request, export: Object) -> None:
        wanted = self._token(export)
        given = (request.query.get(HEADER, ""), request.headers.get(HEADER, ""))
        if not any(hmac.compare_digest(wanted, token.encode()) for token in given):
            raise Refused(401)

    def _token(self, export: Object) -> bytes:
        name = (export.get("status") or {}).get("tokenSecretRef", "")
        entry = self.cluster.store.find(("", "secrets"), export["metadata"]["namespace"], name)
        data = ((entry.object.get("data") or {}) if entry is not None else {}).get("token")
        if not data:
            raise Refused(500)
        return base64.b64decode(data)

    async def _serve(self, request: web.Request, export: Object, path: str) -> web.StreamResponse:
        side, _, rest = path.partition("/")
        if side in ("internal", "external") and rest in ("manifests/all", "manifests/secret"):
            return self._manifest(request, export, side, rest.rpartition("/")[2])
        kind, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        found = next((item for item in served_volumes(self.cluster, export) if item.claim_name == name), None)
        if kind != "volumes" or found is None:
            raise Refused(404)
        handlers = {"disk.img": self._raw, "disk.img.gz": self._packed, "disk.tar.gz": self._archive}
        allowed = ("disk.img", "disk.img.gz") if found.is_disk else ("disk.tar.gz",)
        if file in allowed:
            return await handlers[file](request, export, found)
        if not found.is_disk and (file == "dir" or file.startswith("dir/")):
            return await self._file(request, export, found, file.removeprefix("dir").lstrip("/"))
        raise Refused(404)

    # Manifests

    def _manifest(self, request: web.Request, export: Object, side: str, which: str) -> web.Response:
        if request.method != "GET":
            raise Refused(400)
        if which == "secret":
            objects = [export_manifests.header_secret(export, self._token(export).decode())]
        else:
            found = export_manifests.everything(self.cluster, self.volumes, export, external=side == "external")
            if found is None:
                raise Refused(404)
            objects = found
        as_yaml = request.headers.get("Accept") == "application/yaml"
        return web.Response(body=export_manifests.written(objects, as_yaml=as_yaml), content_type="text/plain")

    # Disks

    async def _raw(self, request: web.Request, export: Object, volume: Served) -> web.StreamResponse:
        return await self._bytes_of(request, export, volume.path)

    async def _bytes_of(self, request: web.Request, export: Object, path: Path) -> web.StreamResponse:
        """The file or a part of it, as Go's http.ServeContent serves it, with an ETag in addition."""
        if request.method not in ("GET", "HEAD"):
            raise Refused(405)
        try:
            status = path.stat()
        except OSError:
            raise Refused(500) from None
        size, tag = status.st_size, f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        headers = {"Accept-Ranges": "bytes", "ETag": tag, "Content-Type": OCTETS}
        try:
            part = wanted_range(request.headers.get("Range", ""), size)
        except Unsatisfiable:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}", "ETag": tag})
        if request.headers.get("If-Range", tag) != tag:
            part = None
        start, end = part or (0, size)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        response = web.StreamResponse(status=206 if part is not None else 200, headers=headers)
        response.content_length = end - start
        await response.prepare(request)
        if request.method == "GET":
            await self._send(request, response, export, lambda: chunks(path, start, end))
        await response.write_eof()
        return response

    async def _packed(self, request: web.Request, export: Object, volume: Served) -> web.StreamResponse:
        if not volume.path.exists():
            raise Refused(500)
        return await self._stream(request, export, "application/gzip", lambda: gzipped(chunks(volume.path)))

    async def _archive(self, request: web.Request, export: Object, volume: Served) -> web.StreamResponse:
        return await self._stream(request, export, "application/gzip", lambda: gzipped(archived(volume.path.parent)))

    async def _stream(
        self, request: web.Request, export: Object, kind: str, pieces: Callable[[], Iterator[bytes]]
    ) -> web.StreamResponse:
        """What is made while it is sent: its length is not known, and no part of it can be asked for."""
        if request.method != "GET":
            raise Refused(400)
        response = web.StreamResponse(headers={"Content-Type": kind})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await self._send(request, response, export, pieces)
        await response.write_eof()
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, export: Object, pieces: Callable[[], Iterator[bytes]]
    ) -> None:
        """Cut off, so that the client sees it, when the export ends or its source comes into use meanwhile."""
        mishap: Mishap = request[MISHAP]
        async for piece in mishap.through(ahead(pieces), response.content_length):
            if not self._ready(export):
                raise ConnectionResetError("the export is over")
            await response.write(piece)
        mishap.at_the_end()

    # Files of a volume that holds no disk image

    async def _file(self, request: web.Request, export: Object, volume: Served, name: str) -> web.StreamResponse:
        root = volume.path.parent.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root) or any(part.startswith(".") for part in path.relative_to(root).parts):
            raise Refused(404)
        if path.is_file():
            return await self._bytes_of(request, export, path)
        if not path.is_dir():
            raise Refused(404)
        names = sorted(f"{item.name}/" if item.is_dir() else item.name for item in _visible(path))
        links = "".join(f'<a href="{html.escape(item)}">{html.escape(item)}</a>\n' for item in names)
        return web.Response(text=f"<pre>\n{links}</pre>\n", content_type="text/html")


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK")


def _visible(directory: Path) -> list[Path]:
    """What a guest sees of a volume: not what the lab keeps there while it works."""
    return [item for item in directory.iterdir() if not item.name.startswith(".")]


def gzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


class _Collected:
    """A file that only takes, and gives away what it took."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.taken.append(bytes(data))
        return len(data)


def archived(directory: Path) -> Iterator[bytes]:
    """A tar stream of the files of a volume; what is sparse is written with its zeros."""
    out = _Collected()
    with tarfile.open(fileobj=cast(IO[bytes], out), mode="w|") as tar:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if name.parts[0].startswith("."):
                continue
            info = tar.gettarinfo(path, f"./{name}")
            if not info.isreg():
                tar.addfile(info)
                continue
            tar.addfile(info, None if not info.size else cast(IO[bytes], _Pieces(chunks(path))))
            yield from out.taken
            out.taken.clear()
    yield from out.taken


class _Pieces:
    """Reads pieces as a file is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self._left) < size and (piece := next(self._pieces, b"")):
            self._left += piece
        found, self._left = self._left[:size], self._left[size:]
        return found


async def ahead(pieces: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    """The pieces, made in a thread a little before they are needed."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)
    over = threading.Event()

    def work() -> None:
        last: BaseException | None = None
        try:
            for piece in pieces():
                room.acquire()
                if over.is_set():
                    return
                loop.call_soon_threadsafe(ready.put_nowait, piece)
        except Exception as error:
            last = error
        loop.call_soon_threadsafe(ready.put_nowait, last)

    thread = loop.run_in_executor(None, work)
    try:
        while (item := await ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            room.release()
    finally:
        over.set()
        room.release()
        await thread
