"""Processes that outlive the command that started them, known by number and start, so that no other is ever killed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of this machine. C(started) is in clock ticks after boot, as /proc tells it."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Raises ProcessLookupError when there is none of this number."""
        return cls(pid, _started(pid))

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """The process that a file tells of, if it still runs."""
        try:
            process = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return process if process.alive else None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"pid": self.pid, "started": self.started}))

    @property
    def alive(self) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return _started(self.pid) == self.started
        return False

    def end(self, timeout: float = 10.0) -> bool:
        """Kill it and wait until it is gone, all of its PID namespace with it; false if it is still there then."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive:
                return True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            return bool(ended.poll(timeout * 1000))
        finally:
            os.close(descriptor)


def _started(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return int(fields[19])
