# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image from a URL, streamed into a volume: its head says what it is before anything is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import IO
from urllib.error import HTTPError

from ansible.module_utils.urls import open_url

from ..task import Failure
from .connection import Host
from .errors import asking
from .library import libvirt

_PIECE = 1024 * 1024
_HEAD = 64 * 1024
# Seconds without a byte after which a download is given up.
_PATIENCE = 60
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_HEX = "0123456789abcdef"


def fill_from_url(
    host: Host,
    pool: libvirt.virStoragePool,
    url: str,
    *,
    label: str,
    name: str,
    wanted_format: str | None,
    size: int | None,
    checksum: str | None,
    make_volume: Callable[[str, int, str], str],
    progress: Callable[[str], None],
) -> None:
    """Make a volume from the image behind a URL, at least C(size) bytes large. Raises Failure."""
    digest, expected = _digest(checksum, label)
    with _opened(url, label) as response:
        head, length, format_, capacity = _head(response, url, label, wanted_format, size)
        with asking(f"make volume {name}"):
            volume = pool.createXML(make_volume(name, max(capacity, 1), format_), 0)
        got = _stream(host, volume, response, head, digest, (url, label, length), progress)
    if expected and digest is not None and digest.hexdigest() != expected:
        raise Failure(
            f"{label}: the checksum of what {url} gave is {digest.hexdigest()}, not {expected}. Nothing of it was kept."
        )
    with asking(f"read volume {name}"):
        # Its head is read anew here: what the pool knows is from before the upload.
        if int(volume.info()[1]) < max(size or 0, got if format_ == "raw" else 0):
            volume.resize(max(size or 0, capacity), 0)


def check_url(url: str, label: str, wanted_format: str | None, size: int | None, checksum: str | None) -> None:
    """Look at the head of the image behind a URL. Raises Failure for one that cannot become the disk."""
    _digest(checksum, label)
    with _opened(url, label) as response:
        _head(response, url, label, wanted_format, size)


def _head(
    response: IO[bytes], url: str, label: str, wanted_format: str | None, size: int | None
) -> tuple[bytes, int, str, int]:
    """The first bytes, the length of the whole, the image's format, and the bytes of its disk."""
    head = _read(response, _HEAD, url, label)
    length = int(response.headers.get("Content-Length") or 0)  # type: ignore[attr-defined]
    format_, capacity = image_of(head, length, label, url)
    if wanted_format is not None and wanted_format != format_:
        raise Failure(f"{label}: format: the image behind {url} is {format_}; leave out format, or use {format_}.")
    if size is not None and size < capacity:
        raise Failure(
            f"{label}: size: the image behind {url} has {capacity} bytes, more than the {size} of the disk; give at"
            " least that."
        )
    return head, length, format_, capacity


def image_of(head: bytes, length: int, label: str, url: str) -> tuple[str, int]:
    """Format and bytes of the disk in an image, by its head. Raises Failure for what is none.

    qcow2: https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.txt
    """
    packed = next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
    if packed:
        raise Failure(f"{label}: the image behind {url} is packed with {packed}; unpack it first.")
    if head[:200].lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise Failure(f"{label}: {url} gives a web page, not an image. Check the URL.")
    if head[:4] != b"QFI\xfb":
        if length == 0:
            raise Failure(f"{label}: {url} does not say how large the image is; use a server that does.")
        return "raw", -(-length // 512) * 512
    if int.from_bytes(head[8:16], "big"):
        raise Failure(f"{label}: the image behind {url} builds on another file, which is not there; flatten it first.")
    return "qcow2", int.from_bytes(head[24:32], "big")


def _digest(checksum: str | None, label: str) -> tuple[hashlib._Hash | None, str]:
    if not checksum:
        return None, ""
    name, _colon, value = checksum.strip().partition(":")
    if name not in hashlib.algorithms_guaranteed or not value or set(value.lower()) - set(_HEX):
        raise Failure(f'{label}: http.checksum: "{checksum}" is none; write e.g. sha256:<64 hexadecimal digits>.')
    return hashlib.new(name), value.lower()


def _opened(url: str, label: str) -> IO[bytes]:
    try:
        opened: IO[bytes] = open_url(url, timeout=_PATIENCE)
    except HTTPError as error:
        raise Failure(f"{label}: {url} answers {error.code} {error.reason}. Check the URL.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(f"{label}: {url} cannot be read: {reason}. Check the URL and the way to it.") from error
    return opened


def _read(response: IO[bytes], length: int, url: str, label: str) -> bytes:
    try:
        return response.read(length)
    except OSError as error:
        raise Failure(f"{label}: {url} stopped answering: {error}. Run this again.") from error


def _stream(
    host: Host,
    volume: libvirt.virStorageVol,
    response: IO[bytes],
    head: bytes,
    digest: hashlib._Hash | None,
    source: tuple[str, str, int],
    progress: Callable[[str], None],
) -> int:
    """Send what comes into the volume; the number of bytes."""
    url, label, length = source
    stream = host.connection.newStream(0)
    sent, told, piece = 0, 0, head
    try:
        with asking(f"upload to volume {volume.name()}"):
            volume.upload(stream, 0, length, 0)
            while piece:
                if digest is not None:
                    digest.update(piece)
                _send(stream, piece)
                sent += len(piece)
                if length and sent * 10 // length > told:
                    told = sent * 10 // length
                    progress(f"{label}: {told * 10} % of {url}")
                piece = _read(response, _PIECE, url, label)
            if length and sent != length:
                raise Failure(f"{label}: {url} ended after {sent} of {length} bytes. Run this again.")
            stream.finish()
    except BaseException:
        with suppress(libvirt.libvirtError):
            stream.abort()
        raise
    return sent


def _send(stream: libvirt.virStream, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[stream.send(bytes(view)) :]
