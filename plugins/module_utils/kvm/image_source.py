# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image comes from: a file, or a URL. Both are read once, in pieces, and checked."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit

from ansible.module_utils.urls import open_url

from ..machine.image import HEAD, Image, recognized
from ..machine.refusal import Refused
from ..task import Failure
from .transfer import PIECE, Section, filled, is_zero, sections_of

_DIGITS = frozenset("0123456789abcdef")


class Source(Protocol):
    """An image that is about to be read. C(descriptor) is that of a file, None where it comes from elsewhere."""

    label: str
    image: Image
    allocated: int

    @property
    def descriptor(self) -> int | None: ...

    @property
    def is_full(self) -> bool:
        """Whether it is known to have no holes."""

    def sections(self) -> Iterator[Section]:
        """Its bytes. Raises Failure at their end where the checksum, or their number, is wrong."""


@contextmanager
def opened(options: Mapping[str, Any]) -> Iterator[Source]:
    """The source that C(src) or C(url) names. Raises Refused or Failure: not there, no image, wrong checksum."""
    digest = Digest(options["checksum"])
    if options["src"] is not None:
        source = _File(options["src"], digest)
        try:
            yield source
        finally:
            os.close(source.descriptor)
    else:
        with _answer(options) as answer:
            yield _Url(_without_login(options["url"]), answer, digest)


class Digest:
    """A checksum as C(algorithm:digits), or none."""

    def __init__(self, text: str | None) -> None:
        self.text = (text or "").strip().lower()
        self._name, _colon, self._digits = self.text.partition(":")
        if not self.text:
            return
        if self._name not in hashlib.algorithms_guaranteed or self._name.startswith("shake"):
            raise Refused(f"checksum: {text} names no algorithm; write e.g. sha256:<64 hexadecimal digits>")
        if len(self._digits) != hashlib.new(self._name).digest_size * 2 or not _DIGITS.issuperset(self._digits):
            raise Refused(f"checksum: {text} is no checksum of {self._name}; write it in hexadecimal digits")

    def __bool__(self) -> bool:
        return bool(self.text)

    def of(self, sections: Iterator[Section], label: str) -> Iterator[Section]:
        """The sections themselves. Raises Failure at their end, if the checksum is another."""
        if not self.text:
            yield from sections
            return
        digest = hashlib.new(self._name)
        for section in sections:
            for piece in filled((section,)):
                digest.update(piece)
            yield section
        if digest.hexdigest() != self._digits:
            raise Failure(f"The checksum of {label} is {self._name}:{digest.hexdigest()}, not {self.text}.")

    def verify(self, sections: Iterator[Section], label: str) -> None:
        """Read it all and raise Failure, if the checksum is another."""
        if self.text:
            for _section in self.of(sections, label):
                pass


class _File:
    def __init__(self, path: str, digest: Digest) -> None:
        self.label = path
        try:
            self.descriptor: int = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Failure(f"Cannot read {path}, where the task runs: {error.strerror}.") from error
        try:
            about = os.fstat(self.descriptor)
            if not (stat.S_ISREG(about.st_mode) or stat.S_ISBLK(about.st_mode)):
                raise Refused(f"src: {path} is neither a file nor a block device")
            length = os.lseek(self.descriptor, 0, os.SEEK_END)
            self.image = recognized(os.pread(self.descriptor, HEAD, 0), length, path)
            self.allocated = min(about.st_blocks * 512 or length, length)
            digest.verify(self.sections(), path)
        except BaseException:
            os.close(self.descriptor)
            raise

    @property
    def is_full(self) -> bool:
        return self.allocated == self.image.length

    def sections(self) -> Iterator[Section]:
        sent = 0
        for section in sections_of(self.descriptor, self.image.length):
            sent += section if isinstance(section, int) else len(section)
            yield section
        if sent != self.image.length:
            raise Failure(f"{self.label} became shorter while it was read: {sent} of {self.image.length} bytes.")


class _Url:
    descriptor: int | None = None
    is_full = False

    def __init__(self, url: str, answer: Any, digest: Digest) -> None:
        self.label = url
        self._answer, self._digest = answer, digest
        length = answer.headers.get("Content-Length")
        if length is None:
            raise Failure(f"{url} does not say how long it is. Use a server that does, or fetch the file first (src).")
        self._head = self._read(HEAD)
        self.image = recognized(self._head, int(length), url)
        self.allocated = self.image.length

    def _read(self, size: int) -> bytes:
        pieces = []
        while size > 0:
            try:
                piece = self._answer.read(size)
            except (OSError, ValueError) as error:
                raise Failure(f"{self.label} stopped answering: {error}. Run this again.") from error
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def sections(self) -> Iterator[Section]:
        yield from self._digest.of(self._sections(), self.label)

    def _sections(self) -> Iterator[Section]:
        piece, sent = self._head, 0
        while piece:
            sent += len(piece)
            yield len(piece) if is_zero(piece) else piece
            piece = self._read(PIECE)
        if sent != self.image.length:
            raise Failure(f"{self.label} ended after {sent} of {self.image.length} bytes. Run this again.")


def password_in(url: str) -> str | None:
    """The password that is part of a URL, as it is written there."""
    login = _split(url).netloc.rpartition("@")[0]
    return login.partition(":")[2] or None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")


def _without_login(url: str) -> str:
    """The URL as it may be shown: a password can be part of one."""
    parts = _split(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def _answer(options: Mapping[str, Any]) -> Iterator[Any]:
    url, shown = options["url"], _without_login(options["url"])
    if _split(url).scheme not in ("http", "https"):
        raise Refused(f"url: {shown} is neither http nor https")
    try:
        answer = open_url(
            url,
            validate_certs=options["validate_certs"],
            ca_path=options["ca_path"],
            headers={"Accept-Encoding": "identity", **(options["headers"] or {})},
            url_username=options["url_username"],
            url_password=options["url_password"],
            force_basic_auth=options["url_username"] is not None,
            timeout=options["timeout"],
            http_agent="ansible-virtstack.core",
            decompress=False,
        )
    except HTTPError as error:
        raise Failure(f"{shown} answers {error.code} {error.reason}. Check the URL and who may read it.") from error
    except Exception as error:
        # open_url raises URLError, OSError, its own certificate errors and those of the ssl module alike.
        raise Failure(f"Cannot read {shown}: {getattr(error, 'reason', None) or error}.") from error
    try:
        yield answer
    finally:
        answer.close()
