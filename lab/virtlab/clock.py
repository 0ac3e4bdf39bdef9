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


def parse_stamp(text: str) -> datetime:
    """Reads metav1.Time and metav1.MicroTime."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
