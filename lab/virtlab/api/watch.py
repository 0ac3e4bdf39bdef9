"""WATCH: events from the store's history and then as they happen, one JSON text a line."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from virtlab.api.crud import Request
from virtlab.api.options import boolean, integer, refuse, resource_version
from virtlab.catalog import CRD_KEY
from virtlab.goformat import quoted
from virtlab.resource import Object, Resource
from virtlab.selectors import selector
from virtlab.status import Cause, StatusError
from virtlab.store import Entry, Event, Expired

BOOKMARK_EVERY = 10.0  # seconds
LONGEST = (1800, 3600)  # seconds a watch lasts that sets no timeout
BACKLOG = 50_000  # events a client may be behind before it is cut off

Encode = Callable[[Entry], bytes]


class Watch:
    """One client's watch. C(encode) turns an entry into the JSON text of the form that was asked for."""

    def __init__(self, request: Request, encode: Encode, marker: Callable[[Object], bytes]) -> None:
        query = request.query
        self.request = request
        self.encode = encode
        self.marker = marker
        self.store = request.cluster.store
        self.selects = selector(
            request.resource,
            query.get("labelSelector", ""),
            _with_name(query.get("fieldSelector", ""), request.target.name),
            request.cluster.catalog.selectable(request.resource),
        )
        self.bookmarks = boolean(query.get("allowWatchBookmarks"))
        self.since = query.get("resourceVersion", "")
        self.initial = _initial_events(query, self.since)
        seconds = integer(query["timeoutSeconds"]) if query.get("timeoutSeconds") else 0
        self.timeout = seconds or random.uniform(*LONGEST)
        self.backlog: deque[Event | StatusError | None] = deque()
        self.cut = False
        self.wake = asyncio.Event()
        self.prefix = f"{request.namespace}/" if request.namespace else ""
        if self.since not in ("", "0"):
            resource_version(self.since)

    def _offer(self, event: Event) -> None:
        if event.key == self.request.resource.key and event.entry.path.startswith(self.prefix):
            self.backlog.append(event)
            self.wake.set()
        elif event.key == CRD_KEY:
            self.wake.set()  # it may have been this API that went

    def end(self, error: StatusError | None = None, *, cut: bool = False) -> None:
        """End the watch: with C(error) as its last event, or with the connection when C(cut)."""
        self.cut = cut
        self.backlog.append(error)
        self.wake.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """What goes over the wire; ends with the timeout, an error, or the client."""
        stop = self.store.subscribe(self._offer)
        try:
            try:
                for line in self._beginning():
                    yield line
            except Expired as error:
                yield error_line(StatusError(410, str(error), "Expired"))
                return
            loop = asyncio.get_running_loop()
            end = loop.time() + self.timeout
            marked = loop.time()
            while True:
                while self.backlog:
                    if len(self.backlog) > BACKLOG:
                        return
                    event = self.backlog.popleft()
                    if event is None:
                        return
                    if isinstance(event, StatusError):
                        yield error_line(event)
                        return
                    if (seen := self._line(event)) is not None:
                        yield seen
                now = loop.time()
                if now >= end:
                    if self.bookmarks:
                        yield self._bookmark()
                    return
                if self.bookmarks and now - marked >= BOOKMARK_EVERY:
                    marked = now
                    yield self._bookmark()
                self.wake.clear()
                if self._served() != self.request.resource:
                    return
                try:
                    await asyncio.wait_for(self.wake.wait(), min(end - now, BOOKMARK_EVERY))
                except TimeoutError:
                    continue
        finally:
            stop()

    def _served(self) -> Resource | None:
        resource = self.request.resource
        return self.request.cluster.catalog.find(resource.group, resource.version, resource.plural)

    def _beginning(self) -> list[bytes]:
        if not self.initial:
            events = self.store.events(self.request.resource.key, resource_version(self.since))
            relevant = (event for event in events if event.entry.path.startswith(self.prefix))
            return [line for event in relevant if (line := self._line(event)) is not None]
        entries = self.store.entries(self.request.resource.key, self.request.namespace)
        lines = [
            b'{"type":"ADDED","object":' + self.encode(entry) + b"}\n"
            for entry in entries
            if self.selects is None or self.selects(entry.object)
        ]
        if boolean(self.request.query.get("sendInitialEvents")) and self.bookmarks:
            lines.append(self._bookmark({"k8s.io/initial-events-end": "true"}))
        return lines

    def _line(self, event: Event) -> bytes | None:
        """The event as this client sees it: an object that leaves the selection is deleted to it."""
        kind: str = event.type
        if self.selects is not None:
            before = event.previous is not None and self.selects(event.previous.object)
            after = event.type != "DELETED" and self.selects(event.object)
            if not before and not after:
                return None
            kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
        return b'{"type":"' + kind.encode() + b'","object":' + self.encode(event.entry) + b"}\n"

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        resource = self.request.resource
        metadata: Object = {"resourceVersion": str(self.store.version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return b'{"type":"BOOKMARK","object":' + self.marker(obj) + b"}\n"


def error_line(error: StatusError) -> bytes:
    return b'{"type":"ERROR","object":' + orjson.dumps(error.body()) + b"}\n"


def _with_name(fields: str, name: str) -> str:
    return fields if not name else ",".join(filter(None, (fields, f"metadata.name={name}")))


def _initial_events(query: Any, since: str) -> bool:
    """Whether the watch begins with what is there. Raises 422 for options that do not go together."""
    wanted, match = query.get("sendInitialEvents"), query.get("resourceVersionMatch", "")
    forbidden = []
    if wanted is not None and match != "NotOlderThan":
        forbidden.append("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if wanted is None and match:
        forbidden.append("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if query.get("continue"):
        forbidden.append("resourceVersionMatch is forbidden when continue is provided")
    causes = [Cause(f"Forbidden: {text}", "resourceVersionMatch", "FieldValueForbidden") for text in forbidden]
    if match not in ("", "NotOlderThan"):
        text = f'Unsupported value: {quoted(match)}: supported values: "NotOlderThan"'
        causes.append(Cause(text, "resourceVersionMatch", "FieldValueNotSupported"))
    refuse("ListOptions", causes)
    return since in ("", "0") if wanted is None else boolean(wanted)
