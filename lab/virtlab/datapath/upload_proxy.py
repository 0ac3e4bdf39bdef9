"""CDI's upload proxy and the upload servers behind it, in one: POST an image, with a token, into a claim."""

from __future__ import annotations

import asyncio
import html
import logging
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import hdrs, web

from virtlab.auth.tokens import InvalidToken
from virtlab.datapath.archive import ArchiveReceiver
from virtlab.datapath.jobs import Job
from virtlab.datapath.mishaps import Mishap
from virtlab.datapath.uploads import Upload
from virtlab.datapath.volumes import Volumes
from virtlab.resource import Object
from virtlab.storage.problems import DataProblem, NoCapacity
from virtlab.storage.receive import PULL_FAILED, Receiver

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

log = logging.getLogger(__name__)

PREFIX = "cdi.kubevirt.io"
UPLOAD_TARGET = f"{PREFIX}/storage.upload.target"
CONTENT_TYPE = f"{PREFIX}/storage.contentType"
POD_PHASE = f"{PREFIX}/storage.pod.phase"
POD_READY = f"{PREFIX}/storage.pod.ready"
VERSIONS = "v1beta1", "v1alpha1"
SYNC, ASYNC, FORM, FORM_ASYNC = "upload", "upload-async", "upload-form", "upload-form-async"
BEARER = re.compile(r"(?i)^Bearer\s+([A-Za-z0-9\-._~+/]+)$")
READY_SECONDS = 10.0  # that a request waits for the upload server of its claim
LEEWAY = 10  # seconds that a token is good for after its end
BATCH = 1 << 20  # bytes that are handed on at once

AnyReceiver = Receiver | ArchiveReceiver


class Refused(Exception):
    """The status and text that a request is answered with."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status, self.text = status, text


class UploadProxy:
    """Serves C(/v1beta1/upload) and its kin."""

    def __init__(self, cluster: Cluster, volumes: Volumes) -> None:
        self.cluster, self.volumes = cluster, volumes

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/healthz", _healthy)
        for version in VERSIONS:
            for path in (SYNC, ASYNC, FORM, FORM_ASYNC):
                application.router.add_route("*", f"/{version}/{path}", self.handle, expect_handler=_expect)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            mishap = await Mishap.met(self.cluster, request)
            if mishap.refusal is not None:
                return mishap.refusal
            claim = await self._claim(request)
            path = request.path.rpartition("/")[2]
            if claim["metadata"].get("annotations", {}).get(CONTENT_TYPE) == "archive":
                path = "upload-archive"
            if request.method == "HEAD" and path in (ASYNC, FORM_ASYNC):
                return web.Response()
            if request.method != "POST":
                raise Refused(404)
            upload = self._take(claim)
            answer = await self._save(request, claim, upload, path, mishap)
            mishap.at_the_end()
            return answer
        except Refused as refused:
            return web.Response(status=refused.status, text=refused.text)

    # Whose upload it is

    async def _claim(self, request: web.Request) -> Object:
        """The claim that the token names, once its upload server is ready."""
        match = BEARER.match(request.headers.get("Authorization", ""))
        if match is None:
            raise Refused(400)
        claims = self._token(match[1])
        namespace, name = str(claims.get("namespace") or ""), str(claims.get("name") or "")
        kind = claims.get("resource")
        resource = kind.get("resource") if isinstance(kind, dict) else None
        if claims.get("operation") != "Upload" or not (namespace and name) or resource != "persistentvolumeclaims":
            raise Refused(400)
        until = asyncio.get_running_loop().time() + READY_SECONDS
        while True:
            entry = self.cluster.store.find(("", "persistentvolumeclaims"), namespace, name)
            problem = self._impossible(name, entry.object if entry is not None else None)
            if problem:
                raise Refused(503, html.escape(problem))
            assert entry is not None
            if (entry.object["metadata"].get("annotations") or {}).get(POD_READY) == "true":
                return entry.object
            if asyncio.get_running_loop().time() > until:
                raise Refused(503, "context deadline exceeded")
            await asyncio.sleep(0.1)

    def _token(self, token: str) -> dict[str, object]:
        try:
            claims = dict(self.cluster.authenticator.tokens.verify(token, leeway=LEEWAY))
        except InvalidToken:
            raise Refused(401) from None
        if claims.get("iss") != "cdi-apiserver":
            raise Refused(401)
        return claims

    def _impossible(self, name: str, claim: Object | None) -> str:
        if claim is None:
            return f"rejecting Upload Request for PVC {name} that doesn't exist"
        annotations = claim["metadata"].get("annotations") or {}
        if UPLOAD_TARGET not in annotations:
            return f"PVC {name} is not an upload target"
        if annotations.get(POD_PHASE) == "Succeeded":
            return f"rejecting Upload Request for PVC {name} that already finished uploading"
        content = annotations.get(CONTENT_TYPE, "kubevirt")
        if content not in ("", "kubevirt", "archive"):
            return f"rejecting upload request for PVC {name} - upload content-type {content} is invalid"
        return ""

    def _take(self, claim: Object) -> Upload:
        metadata = claim["metadata"]
        upload = self.volumes.uploads.of(metadata["uid"], (metadata["namespace"], metadata["name"]))
        if upload.uploading or upload.processing:
            raise Refused(503)
        if upload.done:
            raise Refused(409)
        upload.uploading = True
        return upload

    # Its bytes

    async def _save(
        self, request: web.Request, claim: Object, upload: Upload, path: str, mishap: Mishap
    ) -> web.Response:
        receiver: AnyReceiver
        try:
            target = self.volumes.target(self.cluster, claim)
            tag = claim["metadata"]["uid"]
            receiver = ArchiveReceiver(target, tag) if path == "upload-archive" else Receiver(target, tag=tag)
            pieces = _form(request) if path in (FORM, FORM_ASYNC) else request.content.iter_any()
            await self._receive(request, receiver, mishap.through(_batches(pieces), request.content_length))
            if upload.cancelled:
                receiver.abandon()
                raise DataProblem("the PVC is gone")
        except DataProblem as problem:
            return _failed(problem)
        finally:
            upload.uploading = False
        upload.processing = True
        if path in (ASYNC, FORM_ASYNC):
            self._finish_later(claim, upload, receiver)
            return web.Response()
        try:
            await asyncio.to_thread(receiver.finish)
        except DataProblem as problem:
            upload.processing = False
            return _failed(problem)
        self.volumes.uploads.finished(upload)
        return web.Response()

    async def _receive(self, request: web.Request, receiver: AnyReceiver, batches: AsyncIterator[bytes]) -> None:
        """Everything that the client sends, to its end. Raises DataProblem; then nothing is left of it."""
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        feeding: asyncio.Task[None] | None = None
        try:
            async for data in batches:
                if feeding is not None:
                    await feeding
                feeding = asyncio.create_task(asyncio.to_thread(receiver.feed, data))
            if feeding is not None:
                await feeding
            await asyncio.to_thread(receiver.end)
        except (DataProblem, asyncio.CancelledError):
            receiver.abandon()
            raise
        except (OSError, aiohttp.ClientError, web.RequestPayloadError) as error:
            if feeding is not None:
                await asyncio.gather(feeding, return_exceptions=True)
            receiver.abandon()
            log.info("an upload to %s was cut off: %s", receiver.target.path, error)
            raise DataProblem(f"{receiver.place}: {PULL_FAILED}: unexpected EOF") from None

    def _finish_later(self, claim: Object, upload: Upload, receiver: AnyReceiver) -> None:
        """What remains is done after the client was told of success; the claim's conditions tell of it."""
        key = f"upload/{claim['metadata']['uid']}"

        def work(job: Job) -> None:
            receiver.finish(job.report)

        def told() -> None:
            job = self.volumes.jobs.find(key)
            self.volumes.jobs.drop(key)
            problem = str(job.problem) if job is not None and job.problem is not None else ""
            self.volumes.uploads.finished(upload, problem)

        self.volumes.jobs.begin(key, work, told)


def _failed(problem: DataProblem) -> web.Response:
    full = isinstance(problem, NoCapacity)
    text = f"effective image size is larger than the reported available storage: {problem}" if full else str(problem)
    return web.Response(status=400 if full else 500, text=f"Saving stream failed: {text}")


async def _healthy(request: web.Request) -> web.Response:
    return web.Response(text="OK")


async def _expect(request: web.Request) -> None:
    """A client that asks is told to go on when its body is read, not before it is known who it is."""


async def _form(request: web.Request) -> AsyncIterator[bytes]:
    """The part C(file) of a multipart form."""
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, aiohttp.BodyPartReader) and part.name == "file":
                while data := await part.read_chunk(BATCH):
                    yield data
                return
    except (AssertionError, ValueError):
        pass
    raise Refused(400)


async def _batches(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        if len(waiting) >= BATCH:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
