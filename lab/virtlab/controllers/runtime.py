"""What runs the controllers: one queue for all, fed by store events, drained in the server's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from virtlab.clock import Timers
from virtlab.controllers import direct
from virtlab.resource import Object, Resource
from virtlab.status import StatusError
from virtlab.store import Event

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

log = logging.getLogger(__name__)

Key = tuple[str, str]  # namespace ("" at the cluster's scope) and name
Task = tuple["Controller", Key]

# Kinds that a controller creates by the thousand, and that no admission of the lab looks at.
PLAIN = frozenset({"pods", "controllerrevisions.apps"})

SLICE = 0.02  # seconds of reconciling before requests get their turn
FIRST_RETRY = 0.01  # seconds, doubled with every failure in a row
LAST_RETRY = 30.0


def store_key(qualified: str) -> tuple[str, str]:
    """The store's (group, plural) of C(virtualmachines.kubevirt.io)."""
    plural, _, group = qualified.partition(".")
    return group, plural


def key_of(obj: Object) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Observer(Protocol):
    """Keeps something up to date by events."""

    def observe(self, event: Event) -> None: ...


class Index:
    """Which objects carry a value, kept up to date by events: what C(list) with a filter would cost too much for."""

    def __init__(self, values: Callable[[Object], Iterable[str]]) -> None:
        self._values = values
        self._keys: dict[str, dict[tuple[str, str, str, str], None]] = {}

    def observe(self, event: Event) -> None:
        path = (*event.key, *key_of(event.object))
        before = set(self._values(event.previous.object)) if event.previous is not None else set()
        after = set(self._values(event.object)) if event.type != "DELETED" else set()
        for value in before - after:
            keys = self._keys.get(value, {})
            keys.pop(path, None)
            if not keys:
                self._keys.pop(value, None)
        for value in after - before:
            self._keys.setdefault(value, {})[path] = None

    def paths(self, value: str) -> list[tuple[str, str, str, str]]:
        """(group, plural, namespace, name) of each object that carries C(value)."""
        return list(self._keys.get(value, ()))

    def keys(self, value: str) -> list[Key]:
        return [(namespace, name) for _, _, namespace, name in self._keys.get(value, ())]

    def count(self, value: str) -> int:
        return len(self._keys.get(value, ()))


class Controller:
    """Watches kinds and brings one object at a time to where it should be.

    C(reconcile) reads, computes the wanted state by pure functions and writes what differs. It returns the seconds of
    real time after which it wants to look again, or None. It is told of every change, so it never polls.
    """

    manager_name: ClassVar[str] = "virtlab"  # the field manager, as the real component is called
    watches: ClassVar[tuple[str, ...]] = ()

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.cluster: Cluster = manager.cluster
        self._timers = Timers(self.cluster.clock)
        self._since = self._timers.since

    def keys(self, event: Event) -> Iterable[Key]:
        """What to reconcile after C(event). Here: the object itself."""
        return (key_of(event.object),)

    def reconcile(self, key: Key) -> float | None:
        raise NotImplementedError

    # Time

    def remaining(self, uid: str, step: str, seconds: float) -> float:
        """Real seconds left until C(step) of object C(uid) has taken C(seconds) of the played cluster."""
        return self._timers.remaining(uid, step, seconds)

    def forget(self, uid: str, *steps: str) -> None:
        """The steps are over: a later C(remaining) of the same name starts anew."""
        self._timers.forget(uid, *steps)

    # Reading: stored objects, never to be mutated

    def find(self, qualified: str, namespace: str | None, name: str) -> Object | None:
        entry = self.cluster.store.find(store_key(qualified), namespace or None, name)
        return entry.object if entry is not None else None

    def list(self, qualified: str, namespace: str | None = None) -> list[Object]:
        return [entry.object for entry in self.cluster.store.entries(store_key(qualified), namespace)]

    def served(self, qualified: str) -> Resource | None:
        return self.cluster.resource(qualified)

    # Writing

    def create(self, qualified: str, obj: Object) -> Object | None:
        """Create; None when the name is taken already or the API is not served."""
        resource = self.served(qualified)
        if resource is None:
            return None
        namespace = obj["metadata"].get("namespace")
        if qualified in PLAIN and not self.manager.thorough and self._open(namespace):
            return direct.create(self.cluster, resource, obj, self.manager_name)
        try:
            made = self.cluster.create(resource, obj, namespace=namespace, manager=self.manager_name)
        except StatusError as error:
            if error.code == 409 and error.reason == "AlreadyExists":
                return None
            raise
        if obj.get("status") and "status" in resource.subresources:
            return self.write_status(qualified, made, obj["status"])
        return made

    def _open(self, namespace: str | None) -> bool:
        """Does the namespace take new objects?"""
        found = self.find("namespaces", None, namespace or "")
        return found is not None and "deletionTimestamp" not in found["metadata"]

    def update(self, qualified: str, obj: Object) -> Object:
        """Write C(obj), past the pipeline where only metadata, or a status without subresource, changed."""
        resource = self._resource(qualified)
        if not self.manager.thorough:
            live = direct.live_of(self.cluster, resource, obj)
            if direct.only_free_fields(live, obj):
                return direct.write_metadata(self.cluster, resource, live, obj, self.manager_name)
        return self.cluster.update(resource, obj, manager=self.manager_name)

    def write_status(self, qualified: str, obj: Object, status: Object) -> Object:
        """Write C(status) if it differs; where there is no status subresource, with the object."""
        if obj.get("status", {}) == status:
            return obj
        resource = self._resource(qualified)
        if not self.manager.thorough:
            return direct.write_status(self.cluster, resource, obj, status, self.manager_name)
        subresource = "status" if "status" in resource.subresources else None
        return self.cluster.update(
            resource, {**obj, "status": status}, subresource=subresource, manager=self.manager_name
        )

    def delete(self, qualified: str, namespace: str | None, name: str, propagation: str = "Background") -> None:
        """Delete; what is gone already is no error."""
        resource = self.served(qualified)
        if resource is None:
            return
        try:
            self.cluster.delete(resource, name, namespace or None, options={"propagationPolicy": propagation})
        except StatusError as error:
            if error.code != 404:
                raise

    def drop_finalizer(self, qualified: str, obj: Object, finalizer: str) -> None:
        """Take C(finalizer) off; the object goes with the last one when it is being deleted."""
        finalizers = [item for item in obj["metadata"].get("finalizers", []) if item != finalizer]
        metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
        if finalizers:
            metadata["finalizers"] = finalizers
        self.update(qualified, {**obj, "metadata": metadata})

    def event(self, obj: Object, reason: str, message: str, *, warning: bool = False, component: str = "") -> None:
        kind = "Warning" if warning else "Normal"
        self.cluster.event(obj, kind, reason, message, component or self.manager_name)

    def _resource(self, qualified: str) -> Resource:
        resource = self.served(qualified)
        if resource is None:
            raise LookupError(f"{qualified} is not served")
        return resource


class Manager:
    """Queues each (controller, key) once, runs one reconcile at a time, retries those that fail."""

    def __init__(self, cluster: Cluster, controllers: Iterable[type[Controller]], *, thorough: bool = False) -> None:
        self.cluster = cluster
        self.thorough = thorough  # every write through the whole pipeline: slow, and proves what is written
        self._observers: dict[tuple[str, str] | None, list[Observer]] = {}
        self._queue: dict[Task, None] = {}
        self._timers: list[tuple[float, int, Task]] = []
        self._due: dict[Task, float] = {}
        self._failures: dict[Task, int] = {}
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] | None = None
        self._untold: set[tuple[tuple[str, str], str]] = set()  # what the store held and observers do not know yet
        self.controllers = [controller(self) for controller in controllers]
        self._watchers: dict[tuple[str, str] | None, list[Controller]] = {}
        for controller in self.controllers:
            for qualified in controller.watches:
                self._watchers.setdefault(None if qualified == "*" else store_key(qualified), []).append(controller)

    def index(self, qualified: str, values: Callable[[Object], Iterable[str]]) -> Index:
        """An index over one kind, or over C(*) all; to be asked for when a controller is made."""
        index = Index(values)
        self.add_observer(qualified, index)
        return index

    def add_observer(self, qualified: str, observer: Observer) -> None:
        """Tell C(observer) of every event of the kind before any controller is."""
        self._observers.setdefault(None if qualified == "*" else store_key(qualified), []).append(observer)

    # Life

    def subscribe(self) -> None:
        """Take in everything the store holds, then follow it."""
        for _ in self._take_in():
            pass

    def _take_in(self) -> Iterator[None]:
        """Tell of everything the store holds, an object at a time; what changes meanwhile is told of as it happens."""
        held = [(key, entry) for key in self._kinds() for entry in self.cluster.store.entries(key)]
        self._untold.update((key, entry.path) for key, entry in held)
        self._unsubscribe = self.cluster.store.subscribe(self.observe)
        told = []
        for key, entry in held:
            if (key, entry.path) in self._untold:
                self._untold.remove((key, entry.path))
                event = Event("ADDED", key, entry, None)
                self._observe(event)
                told.append(event)
            yield
        # Controllers are told last, for to them an index must be complete.
        for event in told:
            self._dispatch(event)
            yield

    def _kinds(self) -> list[tuple[str, str]]:
        return list(self.cluster.store.keys())

    def start(self) -> None:
        """Begin reconciling in the running event loop."""
        self._running = asyncio.get_running_loop().create_task(self._run(), name="controllers")

    async def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
        tasks = [task for task in (self._running, *self._background) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what has to wait for something outside, such as a HEAD request, beside the reconciling."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Queue

    def observe(self, event: Event) -> None:
        place = (event.key, event.entry.path)
        if place not in self._untold:
            self._observe(event)
        else:
            self._untold.remove(place)
            if event.type != "DELETED":
                self._observe(Event("ADDED", event.key, event.entry, None))
        self._dispatch(event)

    def _observe(self, event: Event) -> None:
        for scope in (event.key, None):
            for observer in self._observers.get(scope, ()):
                observer.observe(event)

    def _dispatch(self, event: Event) -> None:
        for scope in (event.key, None):
            for controller in self._watchers.get(scope, ()):
                try:
                    for key in controller.keys(event):
                        self._queue[(controller, key)] = None
                except Exception:
                    log.exception("%s does not understand an event of %s", type(controller).__name__, event.key)
        if self._queue:
            self._wake.set()

    def enqueue(self, controller: Controller, key: Key, after: float = 0.0) -> None:
        """Reconcile C(key) now, or C(after) real seconds; the earliest of several times counts."""
        task = (controller, key)
        if after <= 0:
            self._queue[task] = None
        else:
            due = time.monotonic() + after
            if self._due.get(task, float("inf")) <= due:
                return
            self._due[task] = due
            heapq.heappush(self._timers, (due, next(self._order), task))
        self._wake.set()

    def _ripen(self) -> float | None:
        """Queue what is due; seconds until the next timer, None without one."""
        now = time.monotonic()
        while self._timers:
            due, _, task = self._timers[0]
            if due > now:
                return due - now
            heapq.heappop(self._timers)
            if self._due.get(task) == due:
                del self._due[task]
                self._queue[task] = None
        return None

    def _next(self) -> Iterator[Task]:
        while self._queue:
            task = next(iter(self._queue))
            del self._queue[task]
            yield task

    def _reconcile(self, task: Task) -> None:
        controller, key = task
        try:
            again = controller.reconcile(key)
        except Exception as error:
            failures = self._failures[task] = self._failures.get(task, 0) + 1
            if not (isinstance(error, StatusError) and error.code in (404, 409)):
                level = logging.ERROR if failures in (1, 5) else logging.DEBUG
                log.log(level, "%s %s failed", type(controller).__name__, "/".join(key), exc_info=error)
            self.enqueue(controller, key, min(LAST_RETRY, FIRST_RETRY * 2 ** min(failures, 16)))
            return
        self._failures.pop(task, None)
        if again is not None:
            self.enqueue(controller, key, max(again, 0.001))

    async def _run(self) -> None:
        until = time.monotonic() + SLICE
        for _ in self._take_in():
            if time.monotonic() > until:
                await asyncio.sleep(0)
                until = time.monotonic() + SLICE
        while True:
            wait = self._ripen()
            if not self._queue:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
                continue
            until = time.monotonic() + SLICE
            for task in self._next():
                self._reconcile(task)
                if time.monotonic() > until:
                    break
            await asyncio.sleep(0)

    def settle(self, timeout: float = 10.0, horizon: float = 0.2) -> None:
        """Reconcile until nothing is queued and no timer is due within C(horizon) seconds; for tests without a loop."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            self._ripen()
            for task in self._next():
                self._reconcile(task)
            pause = self._ripen()
            if self._queue:
                continue
            if pause is None or pause > horizon:
                return
            time.sleep(pause)
