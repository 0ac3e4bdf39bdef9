# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Label selectors, evaluated here where a list cannot ask the server: C(app=db,tier in (a, b),!legacy)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .task import Failure

Labels = Mapping[str, str]

_REQUIREMENT = re.compile(
    r"""\s*(?:
        (?P<absent>!\s*[\w./-]+)
      | (?P<key>[\w./-]+)\s*(?:
            (?P<operator>==|=|!=)\s*(?P<value>[\w.-]*)
          | (?P<set>\s(?:not)?in)\s*\((?P<values>[^()]*)\)
          | (?P<exists>(?=\s*(?:,|$)))
        )
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def matcher(selector: str | None) -> Callable[[Labels], bool]:
    """What tells whether labels match. Raises Failure for a text that is no label selector.

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
    """
    requirements = _requirements(selector or "")
    return lambda labels: all(holds(labels) for holds in requirements)


def _requirements(selector: str) -> list[Callable[[Labels], bool]]:
    found: list[Callable[[Labels], bool]] = []
    position = 0
    while position < len(selector):
        match = _REQUIREMENT.match(selector, position)
        if match is None:
            raise Failure(
                f"label_selector is no label selector: {selector!r} is not understood from {selector[position:]!r} on."
                " Write requirements like app=db, tier!=test, zone in (a, b), !legacy, separated by commas."
            )
        found.append(_requirement(match))
        position = match.end()
    return found


def _requirement(match: re.Match[str]) -> Callable[[Labels], bool]:
    if match["absent"]:
        missing = match["absent"].lstrip("! \t")
        return lambda labels: missing not in labels
    key = match["key"]
    if match["exists"] is not None:
        return lambda labels: key in labels
    if match["operator"]:
        values = frozenset({match["value"]})
        wanted = match["operator"] != "!="
    else:
        values = frozenset(value.strip() for value in match["values"].split(","))
        wanted = match["set"].strip() == "in"
    # An object without the label satisfies != and notin, as at the server.
    return lambda labels: (key in labels and labels[key] in values) is wanted
