# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests are called in an inventory, and which groups they belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The values that Kubernetes writes in camel case.
_CAMEL_CASE = frozenset({"kind", "run_strategy", "status"})


@dataclass(frozen=True)
class Grouping:
    """Of what to make groups, under the names of the inventory's options."""

    group_by: Sequence[str] = ()
    group_by_labels: Sequence[str] = ()
    group_prefix: str = ""
    cluster_name: str | None = None

    def names(self, variables: Mapping[str, Any]) -> Iterator[str]:
        """The groups of a guest, as they come: Ansible may have to replace characters in them."""
        if self.cluster_name:
            yield f"{self.group_prefix}cluster_{self.cluster_name}"
        for fact in self.group_by:
            value = variables[f"virtstack_{fact}"]
            if value:
                yield f"{self.group_prefix}{fact}_{_snake(value) if fact in _CAMEL_CASE else value}"
        if self.group_by_labels:
            for key, value in variables["virtstack_labels"].items():
                if any(fnmatchcase(key, pattern) for pattern in self.group_by_labels):
                    yield f"{self.group_prefix}label_{key}_{value}" if value else f"{self.group_prefix}label_{key}"


def _snake(text: str) -> str:
    """C(ErrorUnschedulable) is C(error_unschedulable)."""
    return _HUMP.sub("_", text).lower()


def default_name(variables: Mapping[str, Any]) -> str:
    """C(<name>.<namespace>) in a cluster, C(<name>.<KVM host>) elsewhere: where a machine's name is its own."""
    return f"{variables['virtstack_name']}.{variables['virtstack_namespace'] or variables['virtstack_node']}"


def unique_names(guests: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> list[str]:
    """The wanted names, where each is wanted once; all guests that want the same one get their default name instead.

    Which of them comes first plays no part, so that a host keeps its name when others come and go elsewhere.
    """
    names = [*wanted]
    while True:
        asked = Counter(names)
        shared = [index for index, name in enumerate(names) if asked[name] > 1]
        fallbacks = {index: default_name(guests[index]) for index in shared}
        changed = {index: name for index, name in fallbacks.items() if names[index] != name}
        if not changed:
            return names
        for index, name in changed.items():
            names[index] = name
