# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's event loop, and waiting for what its events tell.

libvirt has one loop for a process, and its connections must be opened after it was set up. The thread that runs it
lives while a connection does: the controller forks a worker for every task, and a thread does not live through that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import Timeout
from .library import libvirt

T = TypeVar("T")

# Milliseconds after which the loop looks whether it is still wanted.
_LOOP_TICK = 200
# Seconds between two looks at what has no event of its own, such as the progress of a job.
_LOOK_EVERY = 0.5


class _Loop:
    """The loop's thread, counted by those who need it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered = False
        self._users = 0
        self._timer = -1
        self._thread: threading.Thread | None = None

    @property
    def is_set_up(self) -> bool:
        """Whether libvirt knows the loop; it does from the first use of it to the end of the process."""
        return self._registered

    def enter(self) -> None:
        with self._lock:
            if not self._registered:
                libvirt.virEventRegisterDefaultImpl()
                # Without a timer the loop would sleep until a connection has something to say.
                self._timer = libvirt.virEventAddTimeout(_LOOP_TICK, lambda *_timer: None, None)
                self._registered = True
            self._users += 1
            if self._thread is None or not self._thread.is_alive():
                libvirt.virEventUpdateTimeout(self._timer, _LOOP_TICK)
                self._thread = threading.Thread(target=self._run, name="libvirt events", daemon=True)
                self._thread.start()

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            thread = self._thread if self._users == 0 else None
            if thread is not None:
                # The loop ends at its timer's next beat: at once.
                libvirt.virEventUpdateTimeout(self._timer, 0)
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def _run(self) -> None:
        while self._users > 0:
            libvirt.virEventRunDefaultImpl()


LOOP = _Loop()


class Watch:
    """The events of one connection, or of one domain of it, for as long as the C(with) block lasts.

    C(kinds) are names of VIR_DOMAIN_EVENT_ID_...; an event of any of them makes C(until) look again. Each event is kept
    in C(seen) as (kind, arguments) for checks that need what it said.
    """

    def __init__(self, connection: libvirt.virConnect, domain: libvirt.virDomain | None, *kinds: str) -> None:
        self._connection, self._domain = connection, domain
        self._kinds = kinds or ("LIFECYCLE",)
        self._callbacks: list[int] = []
        self._news = threading.Condition()
        self._count = 0
        self.seen: list[tuple[str, tuple[object, ...]]] = []

    def __enter__(self) -> Watch:
        for kind in self._kinds:
            number = getattr(libvirt, f"VIR_DOMAIN_EVENT_ID_{kind}")
            self._callbacks.append(self._connection.domainEventRegisterAny(self._domain, number, self._told, kind))
        return self

    def __exit__(self, *_error: object) -> None:
        for callback in self._callbacks:
            try:
                self._connection.domainEventDeregisterAny(callback)
            except libvirt.libvirtError:
                # The connection is gone, and its callbacks with it.
                return

    def _told(self, _connection: object, _domain: object, *arguments: object) -> None:
        kind = str(arguments[-1])
        with self._news:
            self.seen.append((kind, arguments[:-1]))
            self._count += 1
            self._news.notify_all()

    def wake(self) -> None:
        """Make C(until) look again, for what is known from elsewhere."""
        with self._news:
            self._count += 1
            self._news.notify_all()

    def until(self, look: Callable[[], T | None], timeout: float, late: Callable[[], str]) -> T:
        """What C(look) finds, as soon as it finds something; it looks at once, after every event, and now and then.

        What cannot come any more C(look) raises itself. After C(timeout) seconds raises Timeout with what C(late) says.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._news:
                count = self._count
            found = look()
            if found is not None:
                return found
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise Timeout(late())
            with self._news:
                self._news.wait_for(lambda seen=count: self._count != seen, min(remaining, _LOOK_EVERY))  # type: ignore[misc]
