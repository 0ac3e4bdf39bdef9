# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file from an HTTPS server: in pieces, gone on with where it was cut off, sparse, and under its name only whole.

While it is fetched it lies beside its target as C(.NAME.part), with what tells whether it can be gone on with in
C(.NAME.part.json).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from ..journal import note
from ..task import Failure
from .endpoint import PIECE, Broken, Endpoint, Pace
from .errors import Unreachable

# Zeros of this length, and at such places, become holes.
_BLOCK = 65536
_ZEROS = bytes(_BLOCK)
# Bytes that are written at once: for more Linux takes large pages, which a busy or virtual machine has to find first.
_WRITTEN = 16384
# Pieces that are read before their checksum is made, and the bytes of each: few enough for a processor's cache.
_AHEAD, _PIECE = 8, 1 << 18
_ATTEMPTS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_LATER = frozenset({429, 502, 503, 504})
IF_EXISTS = ("refuse", "keep", "replace")


@dataclass(frozen=True)
class Fetched:
    """What lies at C(path) now: its bytes, its checksum, and whether it was fetched."""

    path: str
    size: int
    sha256: str
    changed: bool


@dataclass(frozen=True)
class Target:
    """Where a file is to be. C(checksum) is an algorithm and a digest, C(if_exists) what becomes of one there."""

    path: Path
    if_exists: str = "refuse"
    checksum: tuple[str, str] | None = None

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def notes(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part.json")

    @contextlib.contextmanager
    def held(self, timeout: float, tell: Callable[[str], None]) -> Iterator[bool]:
        """Keep other runs from writing to the part meanwhile, once none does; whether one did, and is over.

        Raises Failure where it does so for longer than C(timeout) seconds. A worker of Ansible outlives a playbook that
        is killed, and goes on with what it does.
        """
        descriptor, waited = self._locked(time.monotonic() + timeout, tell)
        try:
            yield waited
        finally:
            with contextlib.suppress(OSError):
                if _is_at(descriptor, self.part) and os.fstat(descriptor).st_size == 0:
                    self.part.unlink()
            os.close(descriptor)

    def _locked(self, deadline: float, tell: Callable[[str], None]) -> tuple[int, bool]:
        waited = False
        while True:
            try:
                descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise Failure(f"{self.path} cannot be written: {error.strerror or error}.") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                busy = f"{self.path} is being fetched by another run, or by what a killed one left running."
                if time.monotonic() > deadline:
                    raise Failure(f"{busy} Nothing was changed. Wait until it has ended, and try again.") from None
                if not waited:
                    tell(f"{busy} Waiting for it.")
                waited = True
                time.sleep(_FIRST_PAUSE)
                continue
            except OSError:
                # A file system without locks.
                return descriptor, waited
            if _is_at(descriptor, self.part):
                return descriptor, waited
            # The other run has given it its name, or removed it, in between.
            os.close(descriptor)

    def present(self) -> Fetched | None:
        """What is there already, if it stays. Raises Failure where it may not be touched, or nothing can be put."""
        path = self.path
        if not path.parent.is_dir():
            raise Failure(f"There is no directory {path.parent} to put {path.name} into. Make it first.")
        try:
            status = path.stat()
        except FileNotFoundError:
            if path.is_symlink():
                raise Failure(f"{path} is a link to nowhere. Remove it first.") from None
            return None
        if stat.S_ISDIR(status.st_mode):
            raise Failure(f"{path} is a directory. Give the path of the file to write.")
        if not stat.S_ISREG(status.st_mode):
            raise Failure(f"{path} is no regular file, and is not written to.")
        if self.checksum is not None:
            digests = digests_of(path, self.checksum[0])
            if digests[self.checksum[0]] == self.checksum[1]:
                return Fetched(str(path), status.st_size, digests["sha256"], False)
        if self.if_exists == "replace":
            return None
        if self.checksum is not None:
            raise Failure(
                f"{path} exists, and its {self.checksum[0]} is not the one wanted. Nothing was fetched. Remove it, or"
                " set if_exists: replace."
            )
        if self.if_exists == "keep":
            return Fetched(str(path), status.st_size, digests_of(path)["sha256"], False)
        raise Failure(
            f"{path} exists. Nothing was fetched. Remove it, or set if_exists: replace to fetch it anew, or keep to"
            " leave it as it is."
        )


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def digests_of(path: Path, *algorithms: str) -> dict[str, str]:
    """Checksums of a file by their algorithm, SHA-256 among them."""
    found = {name: hashlib.new(name) for name in {"sha256", *algorithms}}
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            for digest in found.values():
                digest.update(piece)
    return {name: digest.hexdigest() for name, digest in found.items()}


class _Digests:
    """Checksums made beside the writing, in a thread of their own; hashlib lets others run meanwhile.

    What is read goes into a few buffers that are used again and again: fresh memory costs as much as a checksum.
    """

    def __init__(self, algorithms: set[str]) -> None:
        self._found = {name: hashlib.new(name) for name in algorithms}
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[bytearray, int] | None] = queue.SimpleQueue()
        for _number in range(_AHEAD):
            self._free.put(bytearray(_PIECE))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (piece := self._full.get()) is not None:
            buffer, size = piece
            for digest in self._found.values():
                digest.update(memoryview(buffer)[:size])
            self._free.put(buffer)

    def buffer(self) -> bytearray:
        """A buffer to read into, as soon as there is one."""
        return self._free.get()

    def feed(self, buffer: bytearray, size: int) -> None:
        """Take the first bytes of a buffer, which is no more the caller's."""
        self._full.put((buffer, size))

    def end(self) -> dict[str, str]:
        self._full.put(None)
        self._thread.join()
        return {name: digest.hexdigest() for name, digest in self._found.items()}


@dataclass
class Fetch:
    """One file of a server. C(headers) are made for each attempt, since a token may have to be read again.

    C(identity) says what it is wherever it is served, so that another run knows what it can go on with.
    """

    endpoint: Endpoint
    path: str
    identity: str
    headers: Callable[[], Mapping[str, str]]
    target: Target
    timeout: float
    tell: Callable[[str], None]

    def run(self) -> Fetched:
        """Fetch it and put it under its name. Raises Failure; what was fetched until then is gone on with next time."""
        deadline = time.monotonic() + self.timeout
        pause, attempts, is_begun = _FIRST_PAUSE, 0, False
        while True:
            began = time.monotonic()
            before = self._have()
            try:
                attempts += 1
                return self._finish(self._attempt())
            except (Broken, Unreachable) as broken:
                problem: Failure = broken
                if self._have() > before:
                    # It goes on, so that it may break again.
                    attempts, is_begun = 1, True
                elif is_begun:
                    # A server that was there is waited for.
                    attempts -= 1
            except _Later as later:
                problem = later
                attempts -= 1
            except OSError as error:
                raise self._unwritable(error) from error
            if self._have() > before:
                # The time that fetching takes is not counted; that of asking in vain is.
                deadline += time.monotonic() - began
            if attempts >= _ATTEMPTS or time.monotonic() + pause > deadline:
                raise Failure(f"{problem.message} {self.target.path} was not written; the next run goes on with it.")
            self.tell(f"{problem.message} Going on.")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _have(self) -> int:
        try:
            return self.target.part.stat().st_size
        except OSError:
            return 0

    def _unwritable(self, error: OSError) -> Failure:
        if error.errno == errno.ENOSPC:
            self._discard()
            return Failure(
                f"There is no space left for {self.target.path}. What was fetched of it is removed again. Make room, or"
                " choose another directory."
            )
        return Failure(f"{self.target.path} cannot be written: {error.strerror or error}.")

    def _discard(self) -> None:
        for path in (self.target.part, self.target.notes):
            with contextlib.suppress(OSError):
                path.unlink()

    def _attempt(self) -> dict[str, str]:
        """One request, for what is missing where the server can tell that it is of the same content; the checksums."""
        have, validator = self._resumable()
        asked = dict(self.headers())
        if have:
            asked |= {"Range": f"bytes={have}-", "If-Range": validator}
        with self.endpoint.open(self.path, asked) as response:
            if response.status == 416:
                # Emptied, not removed, for it is held.
                os.truncate(self.target.part, 0)
                raise Broken(f"{self.endpoint.what} has another content now.")
            if response.status not in (200, 206):
                self._refuse(response)
            begin = have if response.status == 206 else 0
            self._note(response)
            length = response.getheader("Content-Length")
            total = begin + int(length) if length is not None else None
            digests = _Digests({"sha256", *([self.target.checksum[0]] if self.target.checksum else [])})
            try:
                with self._opened(begin, digests) as file:
                    self._pour(response, file.fileno(), begin, total, digests)
            finally:
                found = digests.end()
            return found

    def _opened(self, begin: int, digests: _Digests) -> FileIO:
        # Nobody else may read an image that may hold secrets; the umask decides again when it has its name.
        descriptor = os.open(self.target.part, os.O_RDWR | os.O_CREAT, 0o600)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        file.truncate(begin)
        while size := file.readinto(buffer := digests.buffer()):
            digests.feed(buffer, size)
        return file

    def _pour(
        self,
        response: http.client.HTTPResponse,
        descriptor: int,
        begin: int,
        total: int | None,
        digests: _Digests,
    ) -> None:
        pace = Pace(total, "fetched", self.tell)
        done = begin
        try:
            while size := self.endpoint.fill(response, buffer := digests.buffer()):
                _write(descriptor, buffer, size, done)
                digests.feed(buffer, size)
                done += size
                pace(done)
        finally:
            # A hole at the end is not part of the file before this.
            os.ftruncate(descriptor, done)
        if total is not None and done < total:
            raise Broken(f"{self.endpoint.what} ended {total - done} bytes too early.")

    def _resumable(self) -> tuple[int, str]:
        """The bytes that are there, and by what the server knows that they are of the same content."""
        try:
            notes = json.loads(self.target.notes.read_text())
            validator = str(notes.get("validator") or "")
            if notes.get("identity") == self.identity and validator:
                return self._have(), validator
        except (OSError, ValueError, AttributeError):
            pass
        return 0, ""

    def _note(self, response: http.client.HTTPResponse) -> None:
        tag = response.getheader("ETag") or ""
        validator = tag if tag and not tag.startswith("W/") else response.getheader("Last-Modified") or ""
        if response.getheader("Accept-Ranges") != "bytes" and response.status != 206:
            validator = ""
        notes = {"validator": validator, "identity": self.identity}
        self.target.notes.write_text(json.dumps(notes))

    def _refuse(self, response: http.client.HTTPResponse) -> None:
        text = response.read(4096).decode(errors="replace").strip()
        said = f"it answered {response.status}" + (f" ({text})" if text else "")
        message = f"{self.endpoint.what} does not give {self.path.rpartition('/')[2]}: {said}."
        if response.status in _LATER:
            raise _Later(message)
        if response.status in (401, 403):
            message += " The token of the export is not accepted, or has expired."
        raise Failure(message)

    def _finish(self, digests: Mapping[str, str]) -> Fetched:
        """Compare the checksum and give the file its name."""
        target = self.target
        wanted = target.checksum
        if wanted is not None and digests[wanted[0]] != wanted[1]:
            self._discard()
            raise Failure(
                f"What was fetched for {target.path} has {wanted[0]}:{digests[wanted[0]]}, not {wanted[1]}. It was"
                " removed again, and nothing else was touched."
            )
        with target.part.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        os.replace(target.part, target.path)
        note("wrote", ("file", None, str(target.path)))
        with contextlib.suppress(OSError):
            target.notes.unlink()
        return Fetched(str(target.path), size, digests["sha256"], True)


class _Later(Failure):
    """The server says that it cannot answer yet."""


def _write(descriptor: int, buffer: bytearray, size: int, at: int) -> None:
    """Write the first bytes of a buffer to a place in a file; blocks of zeros are left out."""
    view, place = memoryview(buffer), 0
    while place < size:
        # Up to the next block's beginning.
        end = min(size, place + _BLOCK - (at + place) % _BLOCK)
        if end - place == _BLOCK and buffer.startswith(_ZEROS, place):
            place = end
        while place < end:
            place += os.pwrite(descriptor, view[place : min(end, place + _WRITTEN)], at + place)
