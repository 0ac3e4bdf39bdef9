"""The cluster's etcd: objects in memory, one resourceVersion over all, a window of history, SQLite behind.

Objects that went in or come out are never mutated: copy, edit, put. Each has its JSON text cached without the leading
apiVersion and kind, so that an answer in any version, and a list of thousands, is a join of bytes.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

from virtlab.resource import Object

Key = tuple[str, str]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

FIRST_VERSION = 1000  # of a new cluster: clients treat small numbers, 0 above all, as special
HISTORY = 20_000  # events kept for each resource; a watch from before them is expired


def tail(obj: Object) -> bytes:
    """The object's JSON text after apiVersion and kind: C("metadata":{...},...})."""
    return orjson.dumps({key: value for key, value in obj.items() if key not in ("apiVersion", "kind")})[1:]


def head(api_version: str, kind: str) -> bytes:
    """What makes a C(tail) an object again."""
    return b'{"apiVersion":' + orjson.dumps(api_version) + b',"kind":' + orjson.dumps(kind) + b","


class Entry:
    """A stored object: its text, and the object itself once somebody looked."""

    __slots__ = ("_object", "api_version", "kind", "path", "tail", "version")

    def __init__(
        self, path: str, version: int, api_version: str, kind: str, text: bytes, obj: Object | None = None
    ) -> None:
        self.path = path
        self.version = version
        self.api_version = api_version
        self.kind = kind
        self.tail = text
        self._object = obj

    @property
    def object(self) -> Object:
        if self._object is None:
            self._object = orjson.loads(head(self.api_version, self.kind) + self.tail)
        return self._object


@dataclass(frozen=True, slots=True)
class Event:
    """One change. Of a deletion C(entry) is the last state, under the deletion's resourceVersion."""

    type: EventType
    key: Key
    entry: Entry
    previous: Entry | None

    @property
    def version(self) -> int:
        return self.entry.version

    @property
    def object(self) -> Object:
        return self.entry.object


class Expired(Exception):
    """History does not reach back that far; C(oldest) is where it begins."""

    def __init__(self, version: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {version} ({oldest})")
        self.version = version
        self.oldest = oldest


class _Table:
    """The objects of one resource, in etcd's order."""

    def __init__(self, floor: int) -> None:
        self.entries: dict[str, Entry] = {}
        self.paths: list[str] = []
        self.history: deque[Event] = deque()
        self.floor = floor

    def span(self, namespace: str | None) -> tuple[int, int]:
        if namespace is None:
            return 0, len(self.paths)
        return bisect_left(self.paths, f"{namespace}/"), bisect_left(self.paths, f"{namespace}0")

    def remember(self, event: Event) -> None:
        self.history.append(event)
        if len(self.history) > HISTORY:
            self.floor = self.history.popleft().version


def path_of(namespace: str | None, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


class Store:
    """C(file) is the SQLite database, or None for a store that only lives in memory."""

    def __init__(self, file: Path | None = None) -> None:
        self.version = FIRST_VERSION
        self._tables: dict[Key, _Table] = {}
        self._subscribers: list[Callable[[Event], None]] = []
        self._dirty: dict[tuple[Key, str], Entry | None] = {}
        self._database: sqlite3.Connection | None = None
        if file is not None:
            self._open(file)
        self._first = self.version

    def _open(self, file: Path) -> None:
        database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID")
        database.execute(
            "CREATE TABLE IF NOT EXISTS objects (grp TEXT, plural TEXT, path TEXT, version INTEGER,"
            " api_version TEXT, kind TEXT, text BLOB, PRIMARY KEY (grp, plural, path))"
        )
        self._database = database
        row = database.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
        self.version = row[0] if row else FIRST_VERSION
        rows = database.execute("SELECT grp, plural, path, version, api_version, kind, text FROM objects")
        for group, plural, path, version, api_version, kind, text in rows:
            self._table((group, plural)).entries[path] = Entry(path, version, api_version, kind, text)
        for table in self._tables.values():
            table.paths = sorted(table.entries)
            table.floor = self.version

    def _table(self, key: Key) -> _Table:
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _Table(getattr(self, "_first", self.version))
        return table

    # Reading

    def find(self, key: Key, namespace: str | None, name: str) -> Entry | None:
        table = self._tables.get(key)
        return table.entries.get(path_of(namespace, name)) if table else None

    def entries(self, key: Key, namespace: str | None = None) -> list[Entry]:
        """All entries (of one namespace), in etcd's order."""
        table = self._tables.get(key)
        if table is None:
            return []
        first, last = table.span(namespace)
        entries = table.entries
        return [entries[path] for path in table.paths[first:last]]

    def entries_at(self, key: Key, namespace: str | None, version: int) -> list[Entry]:
        """The entries as they were at C(version); raises Expired."""
        table = self._table(key)
        if version < table.floor:
            raise Expired(version, table.floor)
        past: dict[str, Entry | None] = {}
        for event in reversed(table.history):
            if event.version <= version:
                break
            past[event.entry.path] = event.previous
        if not past:
            return self.entries(key, namespace)
        prefix = "" if namespace is None else f"{namespace}/"
        state: dict[str, Entry | None] = {entry.path: entry for entry in self.entries(key, namespace)}
        state.update((path, entry) for path, entry in past.items() if path.startswith(prefix))
        return [entry for _, entry in sorted(state.items()) if entry is not None]

    def count(self, key: Key) -> int:
        table = self._tables.get(key)
        return len(table.entries) if table else 0

    def keys(self) -> list[Key]:
        return [key for key, table in self._tables.items() if table.entries]

    def events(self, key: Key, version: int) -> Iterator[Event]:
        """What happened after C(version), oldest first; raises Expired."""
        table = self._table(key)
        if version < table.floor:
            raise Expired(version, table.floor)
        missed: list[Event] = []
        for event in reversed(table.history):
            if event.version <= version:
                break
            missed.append(event)
        return reversed(missed)

    def expire(self, key: Key | None = None) -> None:
        """Forget history, as compaction does: every older resourceVersion answers 410."""
        for table in self._tables.values() if key is None else [self._table(key)]:
            table.history.clear()
            table.floor = self.version

    # Writing

    def put(self, key: Key, obj: Object) -> Object:
        """Write C(obj) under a new resourceVersion and return it as stored."""
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        obj = {**obj, "metadata": metadata}
        path = path_of(metadata.get("namespace"), metadata["name"])
        entry = Entry(path, self.version, obj["apiVersion"], obj["kind"], tail(obj), obj)
        table = self._table(key)
        previous = table.entries.get(path)
        table.entries[path] = entry
        if previous is None:
            insort(table.paths, path)
        self._dirty[(key, path)] = entry
        self._publish(table, Event("ADDED" if previous is None else "MODIFIED", key, entry, previous))
        return obj

    def remove(self, key: Key, namespace: str | None, name: str, last: Object | None = None) -> Object:
        """Take the object out; C(last) is its last state if that differs from what is stored."""
        self.version += 1
        path = path_of(namespace, name)
        table = self._table(key)
        previous = table.entries.pop(path)
        del table.paths[bisect_left(table.paths, path)]
        obj = last or previous.object
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        entry = Entry(path, self.version, obj["apiVersion"], obj["kind"], tail(obj), obj)
        self._dirty[(key, path)] = None
        self._publish(table, Event("DELETED", key, entry, previous))
        return obj

    def _publish(self, table: _Table, event: Event) -> None:
        table.remember(event)
        for subscriber in tuple(self._subscribers):
            subscriber(event)

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call C(callback) with every event from now on, at once, in order; returns how to stop that."""
        self._subscribers.append(callback)

        def stop() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return stop

    # SQLite

    def flush(self) -> None:
        """Write what changed since the last flush that succeeded to the database, in one transaction."""
        if self._database is None or not self._dirty:
            return
        dirty = self._dirty
        written = [
            (*key, path, entry.version, entry.api_version, entry.kind, entry.tail)
            for (key, path), entry in dirty.items()
            if entry is not None
        ]
        removed = [(*key, path) for (key, path), entry in dirty.items() if entry is None]
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany("DELETE FROM objects WHERE grp = ? AND plural = ? AND path = ?", removed)
            self._database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", written)
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (self.version,))
        self._dirty = {}

    def close(self) -> None:
        self.flush()
        if self._database is not None:
            self._database.close()
            self._database = None
