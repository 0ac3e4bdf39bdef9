# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes in a machine's own metadata about what a task is about to make, for the run after one that was cut off.

Without them a later run could not tell its own leftovers from a user's files. A note is JSON, one for each kind.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from xml.etree.ElementTree import Element

from .errors import asking
from .library import libvirt
from .xml import NAMESPACE, make, parse, written


def note(domain: libvirt.virDomain, kind: str, value: dict[str, Any]) -> None:
    """Write a note, in the place of an earlier one of its kind."""
    _set(domain, kind, make(kind, json.dumps(value, sort_keys=True)))


def noted(domain: libvirt.virDomain, kind: str) -> dict[str, Any]:
    """The note of that kind; empty where there is none."""
    with suppress(libvirt.libvirtError, ValueError):
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, f"{NAMESPACE}/{kind}", _where(domain))
        found = json.loads(parse(text).text or "")
        return found if isinstance(found, dict) else {}
    return {}


def forget(domain: libvirt.virDomain, kind: str) -> None:
    """Take a note away, where there is one."""
    if noted(domain, kind):
        _set(domain, kind, None)


def _set(domain: libvirt.virDomain, kind: str, element: Element | None) -> None:
    text = written(element) if element is not None else None
    with asking(f"note the {kind} in the metadata of {domain.name()}"):
        domain.setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, f"virtstack-{kind}", f"{NAMESPACE}/{kind}", _where(domain)
        )


def _where(domain: libvirt.virDomain) -> int:
    return int(libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else libvirt.VIR_DOMAIN_AFFECT_LIVE)
