"""Prints how long each task of a playbook took and how many of its results changed something."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_seconds
type: notification
short_description: Seconds of every task
description: Prints a line for every task when it has ended.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """One line a task: C(took SECONDS CHANGED NAME)."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_seconds"

    def __init__(self) -> None:
        super().__init__()
        self._task: tuple[str, float] | None = None
        self._changed = False

    def _finish(self) -> None:
        if self._task is not None:
            name, start = self._task
            print(f"took {time.perf_counter() - start:.4f} {self._changed} {name}", flush=True)
        self._task, self._changed = None, False

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._finish()
        self._task = (task.get_name(), time.perf_counter())

    def v2_runner_on_ok(self, result: Any) -> None:
        self._changed = self._changed or bool(result._result.get("changed"))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._finish()
