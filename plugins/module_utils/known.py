# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For values that may be missing by their type, where the caller has made sure that they are not."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def known(value: T | None) -> T:
    """The value itself. Raises AssertionError for None, which is a defect of the caller."""
    if value is None:
        raise AssertionError("a value is missing that was made sure of")
    return value
