# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting by watching: until an object is ready, cannot become ready any more, or the time is over."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .client import Client
from .declare import Key
from .errors import ClusterError, Forbidden
from .resource import Object, Resource
from .verdict import Check, Failed, Progress, Ready, Verdict, condition_text
from .watch import POLL_EVERY, Event, Watch

EVENT = Resource("", "v1", "events", "Event")
# Seconds between two lines of progress.
_PROGRESS_EVERY = 3.0
_WARNINGS_SHOWN = 3
# Seconds for reading what explains a failure when the time is over.
LATE = 1.5
# Seconds after which what is hoped for is looked at again.
_HOPE_AGAIN = 30.0
# Seconds for the first reading, however short the wait.
_FIRST = 5.0


class WaitFailed(ClusterError):
    """The object cannot become ready any more."""


class WaitTimeout(ClusterError):
    """The time was over first."""


@dataclass(frozen=True)
class Related:
    """Other objects that tell about the one that is waited for: their Failed ends the wait, their Progress is shown.

    Those that the user may not read, or that the cluster does not serve, tell nothing. C(of) says by an object's
    (namespace, name) which of several that are waited for it tells about; without it, about all of them.
    """

    resource: Resource
    check: Check
    namespace: str | None = None
    name: str | None = None
    label_selector: str | None = None
    of: Callable[[Key], Collection[Key]] | None = None


def wait(
    client: Client,
    resource: Resource,
    name: str,
    namespace: str | None,
    check: Check,
    *,
    timeout: float,
    progress: Callable[[str], None] | None = None,
    related: Sequence[Related] = (),
) -> Object | None:
    """Watch one object until C(check) says Ready; the object then, or None when it is gone.

    C(progress) gets a line when something changed, at most every few seconds. Raises WaitFailed as soon as the check,
    or that of a related object, says Failed; WaitTimeout after C(timeout) seconds with what was last seen. Where the
    user may get the object but not watch it, it is read every few seconds, and C(progress) is told so.
    """
    key: Key = (namespace if resource.namespaced else None, name)
    started = time.monotonic()
    found = _first(client, started, timeout).get(resource, name, namespace)
    state = _State(client, resource, check, started, timeout, progress, {key: found})
    if state.pending:
        version = found["metadata"]["resourceVersion"] if found else None
        selected = client.watch(
            resource,
            namespace,
            name=name,
            resource_version=version,
            known=[found] if found else [],
            timeout=state.remaining(),
            on_refusal=state.remark_refusal,
        )
        watches: list[_Source] = [(None, selected)]
        watches += _watched(client, state, related)
        _follow(state, watches)
    result = state.results[key]
    if isinstance(result, ClusterError):
        raise result
    return result


def wait_many(
    client: Client,
    resource: Resource,
    keys: Iterable[Key],
    check: Check,
    *,
    timeout: float,
    progress: Callable[[str], None] | None = None,
    related: Sequence[Related] = (),
) -> dict[Key, Object | ClusterError | None]:
    """wait() for many objects of one kind, by (namespace, name), with one watch.

    C(related) tells about all of them. An object that fails or is not ready in time has its error in the result.
    Raises ClusterError when the objects cannot be listed.
    """
    wanted = list(dict.fromkeys(keys))
    if not wanted:
        return {}
    started = time.monotonic()
    reader = _first(client, started, timeout)
    listings = reader.list_namespaces(resource, {namespace for namespace, _name in wanted})
    known = {_key(resource, item): item for listing in listings.values() for item in listing.items}
    state = _State(client, resource, check, started, timeout, progress, {key: known.get(key) for key in wanted})
    if state.pending:
        watches: list[_Source] = []
        for namespace, listing in listings.items():
            selected = client.watch(
                resource,
                namespace,
                resource_version=listing.resource_version,
                known=listing.items,
                timeout=state.remaining(),
                on_refusal=state.remark_refusal,
            )
            watches.append((None, selected))
        watches += _watched(client, state, related)
        _follow(state, watches)
    return {key: state.results[key] for key in wanted}


def _first(client: Client, started: float, timeout: float) -> Client:
    return client.until(started + max(timeout, _FIRST))


def _key(resource: Resource, found: Object) -> Key:
    metadata = found["metadata"]
    return (metadata.get("namespace") if resource.namespaced else None), metadata["name"]


def _place(key: Key) -> str:
    return "/".join(part for part in key if part)


# What a doubt is about: the object that is waited for, and the one that tells of it where that is another.
_Doubted: TypeAlias = "tuple[Key, tuple[str, Key] | None]"


@dataclass
class _Doubt:
    """A failure that may pass: since when it holds, and when it counts, both as time.monotonic()."""

    failed: Failed
    reason: str
    due: float


class _State:
    """What is known of the objects that are waited for."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        check: Check,
        started: float,
        timeout: float,
        progress: Callable[[str], None] | None,
        objects: Mapping[Key, Object | None],
    ) -> None:
        self._client = client
        self.resource = resource
        self._check = check
        self._timeout = timeout
        self._deadline = started + timeout
        self._tell = progress or (lambda text: None)
        self._total = len(objects)
        self._said = ""
        self._said_at = float("-inf")
        self._news = ""
        self._refused: Forbidden | None = None
        self._remarked = False
        self._texts: dict[Key, str] = {}
        self._doubts: dict[_Doubted, _Doubt] = {}
        self.pending: dict[Key, Object | None] = dict(objects)
        self.results: dict[Key, Object | ClusterError | None] = {}
        for key, found in objects.items():
            self.see(key, found)

    def remaining(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def see(self, key: Key, found: Object | None) -> None:
        """Judge an object that came or changed."""
        if key not in self.pending:
            return
        self.pending[key] = found
        verdict = self._check(found)
        if isinstance(verdict, Ready):
            self._forget(key)
            self.results[key] = found
            self._news = ""
            return
        self._weigh(key, None, verdict, "")

    def see_related(self, other: Related, place: Key, found: Object | None) -> None:
        """Judge a related object, which is None when it has gone from its C(place)."""
        verdict = other.check(found)
        kind = other.resource.kind
        told = f"{kind} {place[1]}: " if found else f"{kind}: "
        for key in [*self.pending] if other.of is None else other.of(place):
            if key in self.pending:
                self._weigh(key, (kind, place), verdict, told)

    def _weigh(self, key: Key, teller: tuple[str, Key] | None, verdict: Verdict, told: str) -> None:
        """What a verdict other than that it is ready means for an object that is waited for."""
        if not isinstance(verdict, Failed):
            self._doubts.pop((key, teller), None)
            if isinstance(verdict, Progress):
                self._note(key, verdict.text)
            return
        reason = f"{told}{verdict.reason}"
        if not verdict.patience:
            self._fail(key, reason)
            return
        earlier = self._doubts.get((key, teller))
        due = earlier.due if earlier else time.monotonic() + min(verdict.patience, self._timeout / 10)
        self._doubts[key, teller] = _Doubt(verdict, reason, due)
        self._note(key, verdict.reason)

    def until_due(self) -> float:
        """Seconds until the next doubt counts."""
        due = min((doubt.due for doubt in self._doubts.values()), default=float("inf"))
        return max(0.0, due - time.monotonic())

    def settle_doubts(self) -> None:
        """End the waits for what has been failing for long enough."""
        now = time.monotonic()
        for (key, teller), doubt in list(self._doubts.items()):
            if doubt.due > now or key not in self.pending:
                continue
            if doubt.failed.hope and self._is_hoped(doubt.failed.hope, teller[1] if teller else key):
                doubt.due = now + _HOPE_AGAIN
                self._note(key, f"{doubt.failed.reason.rstrip('.')}; {doubt.failed.hope} was told")
                continue
            self._fail(key, doubt.reason)

    def _is_hoped(self, reason: str, place: Key) -> bool:
        """Whether an event of that reason was told of an object, or of a pod that is named after it."""
        namespace, name = place
        try:
            events = self._client.until(self._deadline + LATE).list(
                EVENT, namespace or "default", field_selector=f"reason={reason}"
            )
        except ClusterError:
            return False
        return any(name in str((event.get("involvedObject") or {}).get("name")) for event in events.items)

    def give_up(self, problem: ClusterError | None = None) -> None:
        """The time is over, or, with C(problem), the objects cannot be watched any more."""
        for key, found in list(self.pending.items()):
            if problem and self.remaining() > 0:
                self._end(key, problem)
                continue
            seen = _last_seen(found, self._texts.get(key, ""))
            trouble = f" The last request failed: {problem.message}" if problem else ""
            self._end(
                key,
                WaitTimeout(
                    f"{self.resource.kind} {_place(key)} is not ready after {round(self._timeout, 1):g} seconds."
                    f" Last seen: {seen}.{self._warnings(key)}{trouble}"
                ),
            )

    def remark_refusal(self, error: Forbidden) -> None:
        """Watching is forbidden, so that it is read instead. Called by the thread that watches."""
        self._refused = error

    def report(self) -> float:
        """Tell of progress if there is some and it is time to; the seconds until it may be told again."""
        if self._refused and not self._remarked:
            self._remarked = True
            self._tell(f"Looked up every {POLL_EVERY:g} seconds, as it may not be watched: {self._refused.message}")
        due = self._said_at + _PROGRESS_EVERY - time.monotonic()
        line = self._line()
        if not line or line == self._said:
            return _PROGRESS_EVERY
        if due > 0:
            return due
        self._tell(line)
        self._said, self._said_at = line, time.monotonic()
        return _PROGRESS_EVERY

    def _line(self) -> str:
        if self._total == 1:
            return self._news
        counted = f"{self._total - len(self.pending)} of {self._total} done"
        return f"{counted}; {self._news}" if self._news else counted

    def _note(self, key: Key, text: str) -> None:
        if text and self._texts.get(key) != text:
            self._texts[key] = text
            self._news = f"{_place(key)}: {text}"

    def _fail(self, key: Key, reason: str) -> None:
        self._end(
            key,
            WaitFailed(
                f"{self.resource.kind} {_place(key)} cannot become ready: {reason.rstrip('.')}.{self._warnings(key)}"
            ),
        )

    def _end(self, key: Key, error: ClusterError) -> None:
        self._forget(key)
        self.results[key] = error

    def _forget(self, key: Key) -> None:
        del self.pending[key]
        for doubted in [item for item in self._doubts if item[0] == key]:
            del self._doubts[doubted]

    def _warnings(self, key: Key) -> str:
        """The newest Warning events of objects of that name, for which the stack's parts share names."""
        namespace, name = key
        try:
            events = self._client.until(self._deadline + LATE).list(
                EVENT, namespace or "default", field_selector=f"involvedObject.name={name}"
            )
        except ClusterError:
            return ""
        warnings = sorted((event for event in events.items if event.get("type") == "Warning"), key=_event_time)
        texts = [f"{event.get('reason')}: {(event.get('message') or '').strip()}" for event in warnings]
        newest = list(dict.fromkeys(reversed(texts)))[:_WARNINGS_SHOWN]
        return f" Recent warnings: {'; '.join(newest)}." if newest else ""


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _last_seen(found: Object | None, text: str) -> str:
    """Phase, progress and conditions of an object, whichever of them its kind has."""
    if found is None:
        return text or "it does not exist"
    status = found.get("status") or {}
    facts = [text] if text else []
    facts += [f"{name} {status[name]}" for name in ("phase", "printableStatus", "progress") if status.get(name)]
    facts += [condition_text(condition) for condition in status.get("conditions") or ()]
    return "; ".join(facts) or "no status yet"


_Source: TypeAlias = "tuple[Related | None, Watch]"


def _watched(client: Client, state: _State, related: Sequence[Related]) -> list[_Source]:
    found: list[_Source] = []
    for other in related:
        selected = client.watch(
            other.resource,
            other.namespace,
            name=other.name,
            label_selector=other.label_selector,
            timeout=state.remaining(),
        )
        found.append((other, selected))
    return found


def _follow(state: _State, watches: Sequence[_Source]) -> None:
    """Read all watches, a thread each, until nothing is waited for or the time is over."""
    inbox: queue.SimpleQueue[tuple[Related | None, Event | ClusterError]] = queue.SimpleQueue()

    def read(source: Related | None, selected: Watch) -> None:
        try:
            for event in selected:
                inbox.put((source, event))
        except ClusterError as error:
            inbox.put((source, error))

    for source in watches:
        threading.Thread(target=read, args=source, daemon=True).start()
    try:
        while state.pending:
            pause = min(state.report(), state.remaining(), state.until_due())
            try:
                origin, event = inbox.get(timeout=max(pause, 0.001))
            except queue.Empty:
                if state.remaining() <= 0:
                    state.give_up()
            else:
                _take(state, origin, event)
            state.settle_doubts()
    finally:
        for _source, selected in watches:
            selected.close()


def _take(state: _State, origin: Related | None, event: Event | ClusterError) -> None:
    if isinstance(event, ClusterError):
        # What only tells more may be forbidden or not served.
        if origin is None:
            state.give_up(event)
        return
    found = None if event.type == "DELETED" else event.object
    if origin is not None:
        state.see_related(origin, _key(origin.resource, event.object), found)
        return
    state.see(_key(state.resource, event.object), found)
