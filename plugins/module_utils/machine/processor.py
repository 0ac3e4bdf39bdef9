# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU and memory of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import quantity
from .refusal import Problems

FEATURE_POLICIES = ("force", "require", "optional", "disable", "forbid")


@dataclass(frozen=True)
class Cpu:
    """The guest's processors: sockets x cores x threads. None is what the description leaves to the system."""

    cores: int | None = None
    sockets: int | None = None
    threads: int | None = None
    model: str | None = None
    features: tuple[tuple[str, str], ...] = ()
    dedicated: bool | None = None

    @property
    def count(self) -> int:
        """vCPUs of the guest."""
        return (self.cores or 1) * (self.sockets or 1) * (self.threads or 1)


def read_cpu(options: Mapping[str, Any] | None) -> Cpu | None:
    """The CPU that C(cpu:) describes. Raises Refused for a count below one."""
    if options is None:
        return None
    problems = Problems()
    for part in ("cores", "sockets", "threads"):
        value = options.get(part)
        if value is not None and value < 1:
            problems.add(f"cpu.{part}: {value} is less than 1")
    problems.refuse()
    features = tuple((item["name"], item.get("policy") or "require") for item in options.get("features") or ())
    return Cpu(
        options.get("cores"),
        options.get("sockets"),
        options.get("threads"),
        options.get("model"),
        features,
        options.get("dedicated"),
    )


@dataclass(frozen=True)
class Memory:
    """What the guest sees, and the size of the pages behind it, as quantities of bytes."""

    guest: str | None = None
    hugepages: str | None = None


def read_memory(options: Mapping[str, Any]) -> Memory:
    """The memory that C(memory:) and C(hugepages:) describe."""
    guest, hugepages = options.get("memory"), options.get("hugepages")
    return Memory(
        None if guest is None else quantity.size(guest, "memory"),
        None if hugepages is None else quantity.size(hugepages, "hugepages"),
    )
