"""How much of a volume an image may take, as CDI reckons it. Pure functions; all sizes in bytes."""

from __future__ import annotations

import math

MIB = 1 << 20
OVERHEAD = 0.055  # of a file system, unless CDI's configuration says otherwise


def usable(overhead: float, space: int) -> int:
    """What a disk image may take of a file system volume of C(space) bytes."""
    return math.ceil((1 - overhead) * space) // MIB * MIB


def required(overhead: float, size: int) -> int:
    """The file system volume that a disk image of C(size) bytes needs."""
    aligned = -(-size // MIB) * MIB
    return math.ceil(aligned / (1 - overhead))
