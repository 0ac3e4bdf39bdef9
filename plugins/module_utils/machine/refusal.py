# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a machine's description is refused: every mistake named at once, before anything is asked of a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Refused(ValueError):
    """A description that cannot be made into a machine. Each problem says which option, what it was, what to write."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Problems:
    """Collects what is wrong with a description, so that a user corrects it in one go."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        self.found.append(problem)

    def take(self, read: Callable[[], T]) -> T | None:
        """The value that C(read) returns, or None with its problems noted."""
        try:
            return read()
        except Refused as refused:
            self.found.extend(refused.problems)
            return None

    def refuse(self) -> None:
        """Raise Refused when anything was found."""
        if self.found:
            raise Refused(*self.found)
