"""The Range header, for one range. Pure functions."""

from __future__ import annotations

import re

_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


class Unsatisfiable(Exception):
    """Nothing of the file lies in the range."""


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, end) of the bytes that are asked for, the end excluded; None for all of them.

    Raises Unsatisfiable. What is no single range is answered with everything, as HTTP allows.
    """
    match = _RANGE.match(header.replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = int(match[2])
        if not length or not size:
            raise Unsatisfiable
        return max(0, size - length), size
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(size, int(match[2]) + 1) if match[2] else size
