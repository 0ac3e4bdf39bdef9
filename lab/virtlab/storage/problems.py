"""What goes wrong with images and disks, in the words of CDI and of the system calls it makes."""

from __future__ import annotations

from typing import Self


class DataProblem(Exception):
    """Why bytes did not get where they should; the text is what CDI would say."""

    staged = False  # whether the text says already at which stage it happened

    def within(self, stage: str) -> Self:
        """The same problem, told as one of C(stage)."""
        problem = type(self)(f"{stage}: {self}")
        problem.staged = True
        return problem


class NoCapacity(DataProblem):
    """The image does not fit: into the volume, or onto the machine's own disk."""


class Cancelled(DataProblem):
    """Nobody wants the result any more."""
