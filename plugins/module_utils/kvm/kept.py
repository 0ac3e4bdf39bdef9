# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this collection keeps of a machine in its domain's metadata, where libvirt itself has no place for it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from .xml import NAMESPACE, make

_MACHINE = f"{{{NAMESPACE}}}machine"
METADATA = f"metadata/{_MACHINE}"


@dataclass(frozen=True)
class Kept:
    """Labels, annotations, and what of the declaration libvirt has no place for.

    C(volumes) are those that were made for disks, as C(pool/volume) by the disk's name. C(making) are those of them
    whose content is not complete: an interrupted task leaves them, and the next one makes them anew.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    making: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_strategy(self) -> str | None:
        return self.settings.get("run_strategy")

    @property
    def grace_period(self) -> int | None:
        """Seconds that the guest has to shut down."""
        period = self.settings.get("termination_grace_period", "")
        return int(period) if period.isdigit() else None

    @property
    def hostname(self) -> str | None:
        return self.settings.get("hostname")


_PARTS = ("labels", "annotations", "settings", "volumes", "making")


def kept(domain: Element) -> Kept:
    """What a domain's metadata keep; nothing where somebody made it unreadable."""
    found: dict[str, dict[str, str]] = {}
    metadata = domain.find("metadata")
    machine = metadata.find(_MACHINE) if metadata is not None else None
    if machine is None:
        return Kept()
    for part in _PARTS:
        text = machine.findtext(f"{{{NAMESPACE}}}{part}")
        try:
            values: Any = json.loads(text or "{}")
        except ValueError:
            continue
        if isinstance(values, dict):
            found[part] = {str(key): str(value) for key, value in values.items()}
    return Kept(**found)


def keep(domain: Element, values: Kept) -> None:
    """Write it into a domain's metadata, where it differs from what they have."""
    if kept(domain) == values:
        return
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = SubElement(domain, "metadata")
    for old in metadata.findall(_MACHINE):
        metadata.remove(old)
    metadata.append(element(values))


def element(values: Kept) -> Element:
    """The element that keeps it, each part as a JSON text."""
    whole = make(_MACHINE)
    for part in _PARTS:
        held = getattr(values, part)
        if held:
            whole.append(make(f"{{{NAMESPACE}}}{part}", json.dumps(dict(held), sort_keys=True)))
    return whole
