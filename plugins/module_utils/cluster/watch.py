# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watch that goes on: it resumes where it was cut, and lists again when the server has forgotten that point."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..libraries import http_errors as http
from .errors import Asked, ClusterError, Expired, Forbidden, Unavailable, Unreachable, refusal
from .resource import Object, Resource
from .transport import Transport

# The selected objects and the resourceVersion to watch from.
Lister = Callable[[], tuple[list[Object], str]]

# A bookmark comes about once a minute, so that longer silence means a dead connection.
_SILENCE = 90.0
_LONGEST = 300.0
_PAUSE = 1.0
# Seconds between two readings where the user may not watch.
POLL_EVERY = 2.0


@dataclass(frozen=True)
class Event:
    """C(type) is ADDED, MODIFIED or DELETED; C(object) as the server sent it."""

    type: str
    object: Object


class Watch:
    """What happens to the selected objects during C(timeout) seconds: iterate over it.

    Without C(resource_version) the present objects come first, as ADDED; with it, C(known) are the objects as of then.
    When the server's history no longer reaches back (410), the objects are listed again and the differences come as
    events, deletions among them. Where the user may read but not watch, C(on_refusal) is called once and the objects
    are read every few seconds. Iterating raises ClusterError for what does not pass by itself; a server that is away is
    waited for until the time is over.
    """

    def __init__(
        self,
        lister: Lister,
        transport: Transport,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str | None,
        field_selector: str | None,
        resource_version: str | None,
        known: Iterable[Object],
        timeout: float,
        on_refusal: Callable[[Forbidden], None] | None,
    ) -> None:
        self._lister = lister
        self._on_refusal = on_refusal
        self._may_watch = True
        self._transport = transport
        self._asked = Asked("watch", resource, namespace=namespace)
        self._path = resource.path(None, namespace)
        self._selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._version = resource_version
        self._seen = {_key(item): item for item in known}
        self._deadline = time.monotonic() + timeout
        self._response: Any = None
        self._closed = False

    def close(self) -> None:
        """End the iteration, also from another thread."""
        self._closed = True
        response = self._response
        if response is not None:
            # The connection may end at this moment, in the thread that reads.
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                # Only urllib3 2.3 and newer can wake a thread that reads; before, the next event or timeout does.
                getattr(response, "shutdown", lambda: None)()

    def __iter__(self) -> Iterator[Event]:
        while not self._over():
            started = time.monotonic()
            try:
                if not self._version:
                    yield from self._listed()
                yield from self._watched() if self._may_watch else self._polled()
            except Expired:
                self._version = None
            except (Unavailable, Unreachable):
                if self._deadline - time.monotonic() <= _PAUSE:
                    raise
                time.sleep(_PAUSE)
            else:
                # A server or proxy that ends every watch at once is not asked in a tight loop.
                if time.monotonic() - started < _PAUSE and not self._over():
                    time.sleep(_PAUSE)

    def _over(self) -> bool:
        return self._closed or time.monotonic() >= self._deadline

    def _watched(self) -> Iterator[Event]:
        try:
            yield from self._changes()
        except Forbidden as error:
            self._may_watch = False
            if self._on_refusal:
                self._on_refusal(error)

    def _polled(self) -> Iterator[Event]:
        time.sleep(max(0.0, min(POLL_EVERY, self._deadline - time.monotonic())))
        yield from self._listed()

    def _listed(self) -> Iterator[Event]:
        items, self._version = self._lister()
        present = {_key(item): item for item in items}
        for key in [key for key in self._seen if key not in present]:
            yield Event("DELETED", self._seen.pop(key))
        for key, item in present.items():
            known = self._seen.get(key)
            self._seen[key] = item
            if known is None:
                yield Event("ADDED", item)
            elif known["metadata"].get("resourceVersion") != item["metadata"].get("resourceVersion"):
                yield Event("MODIFIED", item)

    def _changes(self) -> Iterator[Event]:
        remaining = max(0.1, self._deadline - time.monotonic())
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": max(1, int(min(remaining, _LONGEST))),
            **self._selectors,
        }
        self._response = self._transport.stream(self._asked, self._path, query, min(remaining, _SILENCE))
        try:
            for kind, found in _lines(self._response, self._asked):
                self._version = (found.get("metadata") or {}).get("resourceVersion") or self._version
                if kind == "DELETED":
                    self._seen.pop(_key(found), None)
                elif kind != "BOOKMARK":
                    self._seen[_key(found)] = found
                if kind != "BOOKMARK":
                    yield Event(kind, found)
                if self._over():
                    return
        finally:
            self._response.close()
            self._response = None


def _lines(response: Any, asked: Asked) -> Iterator[tuple[str, Object]]:
    """The events of one connection. It ends when the server closes it, and quietly when it breaks."""
    rest = b""
    try:
        for chunk in response.stream(65536, decode_content=True):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if not line.strip():
                    continue
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(asked, event["object"])
                yield event["type"], event["object"]
    except (http.HTTPError, OSError, ValueError):
        return


def _error(asked: Asked, status: Object) -> ClusterError:
    return refusal(asked, int(status.get("code") or 500), {}, json.dumps({"kind": "Status", **status}).encode())


def _key(found: Object) -> tuple[str, str]:
    metadata = found["metadata"]
    return metadata.get("namespace") or "", metadata["name"]
