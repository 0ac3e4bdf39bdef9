# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of several objects did, step by step, and the time it has left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ..cluster.declare import Outcome
from ..cluster.resource import Object, Resource
from ..cluster.shown import difference


@dataclass
class Steps:
    """The steps taken, or in check mode those that would be."""

    actions: list[dict[str, Any]] = field(default_factory=list)
    diffs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, action: str, resource: Resource, before: Object | None, after: Object | None) -> None:
        """Take note of one change."""
        metadata = (after or before or {})["metadata"]
        step = {"action": action, "kind": resource.kind, "name": metadata["name"]}
        if resource.namespaced:
            step["namespace"] = metadata["namespace"]
        self.actions.append(step)
        header = " ".join((resource.kind, "/".join(part for part in (step.get("namespace"), step["name"]) if part)))
        self.diffs.append({"before_header": header, "after_header": header, **difference(resource, before, after)})

    def take(self, outcome: Outcome) -> Outcome:
        """Take note of a declaration's outcome, if it changed anything."""
        if outcome.changed:
            self.add(outcome.action, outcome.resource, outcome.before, outcome.after)
        return outcome

    def result(self, *, diff: bool) -> dict[str, Any]:
        """The part of a module's result that every task of several objects has."""
        told: dict[str, Any] = {"changed": bool(self.actions), "actions": self.actions}
        return told | ({"diff": self.diffs} if diff else {})


class Deadline:
    """One budget of seconds for waits that follow each other."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left, never less than one so that a wait still looks once."""
        return max(1.0, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end
