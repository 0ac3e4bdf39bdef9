"""Time as the cluster sees it: wall-clock stamps for objects, scaled durations for what controllers play."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """C(factor) scales durations only: 0.1 makes a boot of 20 s take 2 s. Time stamps are always real."""

    def __init__(self, factor: float = 1.0) -> None:
        if factor < 0:
            raise ValueError(f"time factor must not be negative: {factor}")
        self.factor = factor

    def now(self) -> datetime:
        return datetime.now(UTC)

    def stamp(self, when: datetime | None = None) -> str:
        """Seconds, as metav1.Time is written."""
        return (when or self.now()).strftime("%Y-%m-%dT%H:%M:%SZ")

    def monotonic(self) -> float:
        return time.monotonic()

    def scaled(self, seconds: float) -> float:
        """Real seconds that C(seconds) of the played cluster take."""
        return seconds * self.factor

    async def sleep(self, seconds: float) -> None:
        """Sleep C(seconds) of the played cluster."""
        await asyncio.sleep(self.scaled(seconds))


class Timers:
    """How long steps of objects have been taking."""

    def __init__(self, clock: Clock) -> None:
        self.since: dict[tuple[str, str], float] = {}
        self._clock = clock

    def remaining(self, uid: str, step: str, seconds: float) -> float:
        """Real seconds left until C(step) of object C(uid) has taken C(seconds) of the played cluster."""
        duration = self._clock.scaled(seconds)
        if duration <= 0:
            return 0.0
        now = self._clock.monotonic()
        return max(0.0, self.since.setdefault((uid, step), now) + duration - now)

    def forget(self, uid: str, *steps: str) -> None:
        """The steps are over: a later C(remaining) of the same name starts anew."""
        for step in steps:
            self.since.pop((uid, step), None)


def parse_stamp(text: str) -> datetime:
    """Reads metav1.Time and metav1.MicroTime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
