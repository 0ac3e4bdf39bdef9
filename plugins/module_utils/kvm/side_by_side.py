# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many questions at once, some of which may never be answered.

A thread that waits inside libvirt cannot be interrupted. Those here do not keep Python from ending, as those of an
executor would, and nobody waits for them longer than agreed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Unanswered(Exception):
    """The time was over first."""


def side_by_side(function: Callable[[T], R], items: Sequence[T], at_once: int, seconds: float) -> list[R | Exception]:
    """The function's values for the items, in their order; what it raised, or Unanswered, in the place of a value."""
    results: list[R | Exception] = [Unanswered() for _item in items]
    indices = iter(range(len(items)))
    taking = threading.Lock()
    over = threading.Event()
    working = min(at_once, len(items))

    def take() -> int | None:
        nonlocal working
        with taking:
            index = None if over.is_set() else next(indices, None)
            if index is None:
                working -= 1
                if not working:
                    over.set()
            return index

    def work() -> None:
        while (index := take()) is not None:
            try:
                results[index] = function(items[index])
            except Exception as error:
                results[index] = error

    for _number in range(working):
        threading.Thread(target=work, daemon=True).start()
    if items:
        over.wait(max(seconds, 0))
        over.set()
    return list(results)
