# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One migration by libvirt, from its beginning to its end: progress, time limits, and what it came to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..task import Failure
from .connection import Host
from .errors import KvmError, Timeout, explained
from .events import Watch
from .library import libvirt
from .migration_plan import Plan, flags, parameters
from .migration_settle import is_migrating, stands_broken

_FOREVER = 10.0 * 365 * 24 * 3600
# Seconds after which a cancelled migration, or one that lost its connection, is given up.
_ENDING = 120.0
# Seconds in which libvirt itself is to say that a post-copy broke off; its target may wait for QEMU for ever.
_BROKEN = 45.0
# Seconds in which QEMU on the other side is to see that its post-copy broke off.
_NOTICING = 15.0
# Seconds to wait for libvirt's figures after the end.
_FIGURES = 2.0


@dataclass(frozen=True)
class Stats:
    """What libvirt counted: milliseconds and bytes; None where it did not say."""

    downtime: int | None = None
    memory: int | None = None
    storage: int | None = None
    rounds: int | None = None


def stats_of(counted: Mapping[str, Any]) -> Stats:
    """The figures of a job, from libvirt's own names."""
    return Stats(
        downtime=counted.get("downtime"),
        memory=counted.get("memory_processed"),
        storage=counted.get("disk_processed"),
        rounds=counted.get("memory_iteration"),
    )


@dataclass
class Migration:
    """A migration under way; C(run) ends with it."""

    source: Host
    target: Host
    domain: libvirt.virDomain
    plan: Plan
    told: Callable[[str], None]
    copied: list[str] = field(default_factory=list)
    resume: bool = False
    _outcome: list[Any] = field(default_factory=list)
    _acted: bool = False
    _lost: bool = False
    _post_copy: bool = False
    _started: float = 0.0
    _broken: float | None = None
    _storage: int = 0
    _shown: tuple[int, int] = (-1, -1)

    def run(self) -> Stats:
        """Move the guest. Raises Failure with libvirt's reason; the caller looks where the guest is then."""
        name = self.domain.name()
        thread = threading.Thread(target=self._migrate, name=f"migration of {name}", daemon=True)
        kinds = ("JOB_COMPLETED", "MIGRATION_ITERATION", "BLOCK_JOB_2", "LIFECYCLE")
        with self.source.watch(self.domain, *kinds) as watch:
            self._started = time.monotonic()
            self._wake = watch.wake
            thread.start()
            try:
                watch.until(lambda: self._look(watch), _FOREVER, str)
            except BaseException:
                # The task itself was interrupted: nobody would see the migration through.
                with suppress(libvirt.libvirtError):
                    self.domain.abortJob()
                thread.join(_ENDING)
                raise
            error = self._outcome[0]
            if not isinstance(error, BaseException):
                with suppress(Timeout):
                    watch.until(lambda: self._completed(watch), _FIGURES, str)
            counted = self._completed(watch) or {}
        if isinstance(error, BaseException):
            raise self._failure(error)
        return self._stats(counted)

    @staticmethod
    def _completed(watch: Watch) -> dict[str, Any] | None:
        """What the source's libvirt counted, which it tells in an event after the end."""
        told = [dict(seen[1][0]) for seen in watch.seen if seen[0] == "JOB_COMPLETED"]  # type: ignore[call-overload]
        return told[-1] if told else None

    def _migrate(self) -> None:
        persistent = bool(self.domain.isPersistent())
        wanted = flags(self.plan, live=True, persistent=persistent, resume=self.resume)
        params = parameters(self.plan, live=True, copied=self.copied)
        try:
            if self.plan.max_downtime is not None and not self.resume:
                self.domain.migrateSetMaxDowntime(self.plan.max_downtime)
            if self.resume:
                self._set_speed()
                self._outcome.append(self._taken_up(params, wanted))
            else:
                self._outcome.append(self._asked(params, wanted))
        except Exception as error:
            self._outcome.append(error)
        finally:
            self._wake()

    def _asked(self, params: dict[str, Any], wanted: int) -> libvirt.virDomain | None:
        if self.plan.peer_uri is None:
            return self.domain.migrate3(self.target.connection, params, wanted)
        self.domain.migrateToURI3(self.plan.peer_uri, params, wanted)
        return None

    def _taken_up(self, params: dict[str, Any], wanted: int) -> libvirt.virDomain | None:
        """Ask to take a post-copy up until QEMU on either side has seen that it broke off."""
        until = time.monotonic() + _NOTICING
        while True:
            try:
                return self._asked(params, wanted)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or time.monotonic() > until:
                    raise
            time.sleep(0.5)

    def _set_speed(self) -> None:
        """Of a post-copy that is taken up again, QEMU keeps the limit that the first task set."""
        flag = getattr(libvirt, "VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY", 1)
        with suppress(libvirt.libvirtError):
            self.domain.migrateSetMaxSpeed(self.plan.bandwidth or 0, flag)

    def _look(self, watch: Watch) -> bool | None:
        if self._outcome:
            return True
        if self._given_up():
            self._outcome.append(self._unanswered())
            return True
        try:
            counted = self.domain.jobStats()
        except libvirt.libvirtError:
            # The machine is just about to leave, or the connection is gone; the migration itself will say so.
            return None
        if self.plan.peer_uri is None and not self._lost and not self.target.connection.isAlive():
            # The guest cannot be handed over any more; libvirt would notice only when all of its memory is sent.
            self._lost = True
            with suppress(libvirt.libvirtError):
                self.domain.abortJob()
            return None
        self._show(counted)
        self._switch(counted, watch)
        self._limit()
        return None

    def _given_up(self) -> bool:
        """Whether the post-copy broke off, and libvirt had its time to say so."""
        if not (self._post_copy or self.resume) or not stands_broken(self.domain):
            self._broken = None
            return False
        now = time.monotonic()
        if self._broken is None:
            self._broken = now
        return now - self._broken > _BROKEN

    def _unanswered(self) -> KvmError:
        return KvmError(
            f"Cannot migrate {self.domain.name()} to {self.target.uri}: the post-copy broke off, and QEMU there did not"
            f" answer its libvirt for {_BROKEN:g} s."
        )

    def _show(self, counted: Mapping[str, Any]) -> None:
        self._storage = max(self._storage, int(counted.get("disk_processed", 0)))
        storage, total = int(counted.get("disk_processed", 0)), int(counted.get("disk_total", 0))
        left, rounds = int(counted.get("memory_remaining", 0)), int(counted.get("memory_iteration", 0))
        step = (storage * 10 // total if total else 0, rounds)
        if step == self._shown or not counted.get("type"):
            return
        self._shown = step
        parts = [f"{storage // 1024**2} of {total // 1024**2} MiB of storage"] if total else []
        parts += [f"{left // 1024**2} MiB of memory left in pass {rounds}"] if rounds else []
        if parts:
            self.told(f"{self.domain.name()}: {', '.join(parts)}")

    def _switch(self, counted: Mapping[str, Any], watch: Watch) -> None:
        """Switch to post-copy: after the time asked for, or after the first pass over the memory."""
        if not self.plan.post_copy or self._post_copy:
            return
        after = self.plan.post_copy_after
        passes = [int(seen[1][0]) for seen in watch.seen if seen[0] == "MIGRATION_ITERATION"]  # type: ignore[call-overload]
        due = self._elapsed >= after if after is not None else max(passes, default=0) > 1
        if due and counted.get("memory_iteration", 0) > 0:
            self._start_post_copy()

    def _start_post_copy(self) -> None:
        self._post_copy = True
        self.told(f"{self.domain.name()}: runs on the other side now, and fetches the rest of its memory")
        # Where it is over by now there is nothing to switch.
        with suppress(libvirt.libvirtError):
            self.domain.migrateStartPostCopy(0)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _limit(self) -> None:
        """Do what was asked for when the time is over, once."""
        if self.plan.timeout is None or self._acted or self._elapsed < self.plan.timeout:
            return
        self._acted = True
        action = self.plan.timeout_action
        self.told(f"{self.domain.name()}: not there after {self.plan.timeout} s ({action})")
        with suppress(libvirt.libvirtError):
            if action == "abort":
                self.domain.abortJob()
            elif action == "pause":
                self.domain.suspend()
            else:
                self._start_post_copy()

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, Failure):
            return error
        if not isinstance(error, libvirt.libvirtError):
            return Failure(f"Cannot migrate {self.domain.name()}: {error}.")
        asked = f"migrate {self.domain.name()} to {self.target.uri}"
        code = error.get_error_code()
        if self.resume and code in (libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_OPERATION_INVALID):
            return KvmError(
                f"Cannot {asked}: its post-copy, which broke off, cannot be taken up again while QEMU there does not"
                f" answer its libvirt ({error.get_error_message()}). Where that lasts the guest is lost: destroy it on"
                " both hosts, and start it anew.",
                code=code,
            )
        if self._lost:
            return KvmError(
                f"Cannot {asked}: the connection to {self.target.uri} was lost, and the migration was cancelled. See"
                " that libvirt runs there, then run this again.",
                code=code,
            )
        if code == libvirt.VIR_ERR_OPERATION_ABORTED and self._acted:
            return KvmError(
                f"Cannot {asked} within {self.plan.timeout} s; it was cancelled. Give it more time, more bandwidth or a"
                " longer max_downtime, or let auto_converge, post_copy or timeout_action bring it to its end.",
                code=code,
            )
        if code == libvirt.VIR_ERR_OPERATION_ABORTED and "canceled by client" in str(error):
            return KvmError(f"Cannot {asked}: it was cancelled from elsewhere.", code=code)
        if code == libvirt.VIR_ERR_MIGRATE_UNSAFE:
            return KvmError(
                f"Cannot {asked}: {error.get_error_message()}. Copy its disks (copy_storage: all), put them on storage"
                " that both hosts share, or, where they are shared in a way that libvirt does not see, say so"
                " (skip_checks: [storage]).",
                code=code,
            )
        return explained(asked, error)

    def _stats(self, counted: Mapping[str, Any]) -> Stats:
        if counted.get("downtime") is None:
            # A busy libvirt may not have sent its event yet; that of the target knows about the memory, too.
            with suppress(libvirt.libvirtError, AttributeError):
                there = self.target.domain(self.domain.name())
                counted = {**there.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED), **counted}  # type: ignore[union-attr]
        stats = stats_of(counted)
        return replace(stats, storage=max(stats.storage or 0, self._storage))


def cancel(host: Host, name: str, timeout: float, *, check_mode: bool) -> bool:
    """Cancel the migration of a machine that is under way; whether there was one. Raises KvmError where it is late."""
    domain = host.domain(name)
    if domain is None or not is_migrating(domain):
        return False
    if check_mode:
        return True
    with host.watch(domain, "JOB_COMPLETED", "LIFECYCLE") as watch:
        try:
            domain.abortJob()
        except libvirt.libvirtError as error:
            raise explained(f"cancel the migration of {name}", error) from error
        watch.until(
            lambda: True if not is_migrating(host.domain(name)) else None,
            timeout,
            lambda: f"The migration of {name} was cancelled, but did not end in {timeout:g} s.",
        )
    return True
