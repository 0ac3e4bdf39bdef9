"""Many questions at once, of which some are never answered."""

from __future__ import annotations

import threading
import time

from ansible_collections.virtstack.core.plugins.module_utils.kvm.side_by_side import Unanswered, side_by_side


def test_answers_come_in_the_order_of_the_questions() -> None:
    assert side_by_side(lambda number: number * 2, list(range(20)), 4, 30) == [number * 2 for number in range(20)]
    assert side_by_side(str, [], 4, 30) == []


def test_an_error_stands_in_the_place_of_its_answer() -> None:
    one, two = side_by_side(lambda number: 1 // number, [1, 0], 2, 30)

    assert one == 1
    assert isinstance(two, ZeroDivisionError)


def test_nobody_waits_for_an_answer_longer_than_agreed() -> None:
    never = threading.Event()
    started = time.monotonic()
    quick, stuck = side_by_side(lambda wait: never.wait(60) if wait else "here", [False, True], 2, 0.2)
    took = time.monotonic() - started
    never.set()

    assert quick == "here"
    assert isinstance(stuck, Unanswered)
    assert took < 20


def test_what_was_not_begun_in_time_is_not_begun_later() -> None:
    begun: list[int] = []
    never = threading.Event()

    def ask(number: int) -> None:
        begun.append(number)
        never.wait(60)

    side_by_side(ask, [1, 2, 3], 1, 0.1)
    never.set()
    time.sleep(0.1)

    assert begun == [1]
