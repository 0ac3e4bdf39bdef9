"""Container images with a disk in them: from a registry on this machine, from an OCI archive, from an OCI directory."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from virtlab.datapath.fetch import Access, asked
from virtlab.storage.formats import sniff, unpacker
from virtlab.storage.problems import DataProblem
from virtlab.storage.receive import PULL_FAILED, Receiver

DISK_DIRECTORY = "disk"
ARCHITECTURE = "amd64"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
REFERENCE = re.compile(r"^([^/]+)/([^:@]+)(?::([^@]+))?(?:@(sha256:[0-9a-f]{64}))?$")
PIECE = 1 << 20
NOT_FOUND = "Failed to find VM disk image file in the container image"


class Source(Protocol):
    """Where the manifests and layers of one image are."""

    def manifest(self, digest: str | None) -> dict[str, Any]:
        """The image's own, or the one of that digest. Raises DataProblem."""
        ...

    def blob(self, digest: str) -> Iterator[bytes]:
        """Raises DataProblem, also where the bytes are not what the digest says."""
        ...


def verified(pieces: Iterator[bytes], digest: str) -> Iterator[bytes]:
    """The pieces; their end is a DataProblem where they do not make the digest."""
    algorithm, _, wanted = digest.partition(":")
    if algorithm != "sha256":
        raise DataProblem(f"unsupported digest algorithm: {algorithm}")
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
        yield piece
    if found.hexdigest() != wanted:
        raise DataProblem(f"Digest did not match, expected {digest}, got sha256:{found.hexdigest()}")


@dataclass(frozen=True)
class Registry:
    """An image of a registry; C(base) is C(http://host:port/v2/repository), C(reference) a tag or digest."""

    base: str
    reference: str
    access: Access

    def manifest(self, digest: str | None) -> dict[str, Any]:
        url = f"{self.base}/manifests/{digest or self.reference}"
        with asked("GET", url, self.access, {"Accept": ", ".join((*INDEXES, *MANIFESTS))}) as answer:
            if answer.status != 200:
                raise DataProblem(f"reading manifest {self.reference} in {self._name}: {_registry_said(answer.status)}")
            text = answer.text()
        wanted = digest or (self.reference if self.reference.startswith("sha256:") else "")
        if wanted and f"sha256:{hashlib.sha256(text).hexdigest()}" != wanted:
            raise DataProblem(f"Digest did not match, expected {wanted}")
        return _document(text)

    def blob(self, digest: str) -> Iterator[bytes]:
        with asked("GET", f"{self.base}/blobs/{digest}", self.access) as answer:
            if answer.status != 200:
                raise DataProblem(f"fetching blob {digest}: {_registry_said(answer.status)}")
            yield from verified(answer.pieces(), digest)

    @property
    def _name(self) -> str:
        return self.base.partition("://")[2].replace("/v2/", "/")


def _registry_said(status: int) -> str:
    known = {401: "unauthorized: authentication required", 404: "manifest unknown", 403: "denied"}
    return known.get(status, f"received unexpected HTTP status: {status}")


def _document(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataProblem(f"parsing manifest: {error}") from None
    if not isinstance(found, dict):
        raise DataProblem("parsing manifest: no JSON object")
    return found


@dataclass(frozen=True)
class Layout:
    """An OCI image layout: a directory, or a tar archive of one. C(name): of several images the one to take."""

    path: Path
    name: str = ""

    def manifest(self, digest: str | None) -> dict[str, Any]:
        if digest is not None:
            return _document(b"".join(self.blob(digest)))
        with self._open("index.json") as file:
            index = _document(file.read())
        named = "org.opencontainers.image.ref.name"
        entries = index.get("manifests") or []
        if self.name:
            index = {"manifests": [e for e in entries if (e.get("annotations") or {}).get(named) == self.name]}
        return {"mediaType": INDEXES[0], **index}

    def blob(self, digest: str) -> Iterator[bytes]:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise DataProblem(f"invalid digest {digest}")
        with self._open(f"blobs/{digest.replace(':', '/')}") as file:
            yield from verified(iter(lambda: file.read(PIECE), b""), digest)

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        try:
            if self.path.is_dir():
                with open(self.path / name, "rb") as file:
                    yield file
                return
            with tarfile.open(self.path) as tar:
                member = next((item for item in tar if _normal(item.name) == name and item.isreg()), None)
                file_in_tar = tar.extractfile(member) if member is not None else None
                if file_in_tar is None:
                    raise DataProblem(f"open {self.path}: no {name} in it: this is no OCI image")
                yield file_in_tar
        except tarfile.TarError as error:
            raise DataProblem(f"open {self.path}: {error}") from None
        except OSError as error:
            raise DataProblem(f"open {error.filename or self.path}: {(error.strerror or str(error)).lower()}") from None


def _normal(name: str) -> str:
    return name.removeprefix("./")


def source_of(url: str, access: Access) -> Source:
    """Of C(docker://host:port/repository:tag), C(oci-archive:/path) or C(oci:/path). Raises DataProblem.

    A registry is asked by HTTPS where a certificate is given for it, else by HTTP: it is on this machine.
    """
    scheme, _, rest = url.partition(":")
    if scheme in ("oci-archive", "oci"):
        path, _, name = (f"/{rest.lstrip('/')}").partition(":")
        return Layout(Path(path), name)
    if scheme != "docker":
        raise DataProblem(f'Could not parse image: Invalid image name "{url}", unknown transport')
    match = REFERENCE.match(rest.removeprefix("//"))
    if match is None:
        raise DataProblem(f"Could not parse image: invalid reference format: {rest}")
    host, repository, tag, digest = match.groups()
    protocol = "https" if access.authority else "http"
    return Registry(f"{protocol}://{host}/v2/{repository}", digest or tag or "latest", access)


def layers(source: Source) -> list[dict[str, Any]]:
    """The layers of the image for this lab's architecture. Raises DataProblem."""
    manifest = source.manifest(None)
    for _ in range(4):  # an index may lead to another one
        entries = manifest.get("manifests")
        if entries is None:
            break
        chosen = next((e for e in entries if (e.get("platform") or {}).get("architecture") == ARCHITECTURE), None)
        chosen = chosen or next((e for e in entries if not (e.get("platform") or {}).get("architecture")), None)
        if chosen is None:
            raise DataProblem(f"no image found in image index for architecture {ARCHITECTURE}")
        manifest = source.manifest(chosen["digest"])
    found = manifest.get("layers")
    if not isinstance(found, list):
        raise DataProblem("parsing manifest: it names no layers")
    return found


class _Stream(io.RawIOBase):
    """Reads pieces as a file is read; what is compressed is unpacked."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = _unpacked(pieces)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    first = next(pieces, b"")
    format = sniff(first)
    if format not in ("gz", "xz", "zst"):
        yield first
        yield from pieces
        return
    unpack = unpacker(format)
    yield from unpack.feed(first)
    for piece in pieces:
        yield from unpack.feed(piece)
    unpack.finish()


def take_disk(source: Source, receiver: Receiver, progress: Any, file: str = "") -> None:
    """Feed the receiver with the disk in the image, to its end: C(file), or the first below C(disk).

    Raises DataProblem.
    """
    for layer in layers(source):
        total = int(layer.get("size") or 0)
        if _take_from(_counted(source.blob(layer["digest"]), total, progress), receiver, file):
            receiver.end()
            return
    raise DataProblem(NOT_FOUND)


def _counted(pieces: Iterator[bytes], total: int, progress: Any) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        progress(min(1.0, done / total) if total else 0.0)


def _take_from(pieces: Iterator[bytes], receiver: Receiver, wanted: str) -> bool:
    """Whether the layer has a disk; it is read to its end, which proves it whole."""
    stream = io.BufferedReader(_Stream(pieces), PIECE)
    found = False
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as tar:
            for member in tar:
                path = PurePosixPath(_normal(member.name).lstrip("/"))
                whiteout = path.name.startswith(".wh.")
                right = str(path) == wanted.lstrip("/") if wanted else path.parts[:1] == (DISK_DIRECTORY,)
                if found or not right or not member.isreg() or whiteout:
                    continue
                file = tar.extractfile(member)
                assert file is not None
                while data := file.read(PIECE):
                    receiver.feed(data)
                found = True
        while stream.read(PIECE):
            pass
    except tarfile.TarError as error:
        raise DataProblem(f"{PULL_FAILED}: Could not read layer: {error}") from None
    return found
