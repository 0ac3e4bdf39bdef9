# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an earlier task declared of a VM and the present one does not speak of: it is declared on. Pure.

A server-side apply takes away what the manager applied before and now leaves out. That is right within what a task
gives (C(labels) without a label of before), and wrong for what it does not mention: a label edit must not take away
memory. So a part of the VM that is not given stays, with the value it has now; a null takes it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.client import FIELD_MANAGER
from ..cluster.compare import owned_fields, owned_part
from ..cluster.resource import Object
from .kubevirt import DEVICES, SPEC, VIRTUAL_MACHINE, at

# Maps that only hold the parts of a VM; each of their fields is given or not on its own.
_FRAMES = frozenset(
    {
        "",
        "metadata",
        "spec",
        "spec.template",
        "spec.template.metadata",
        SPEC,
        f"{SPEC}.domain",
        f"{SPEC}.domain.features",
        f"{SPEC}.domain.firmware",
        DEVICES,
    }
)

# Whoever gives the one of these gives up the other: KubeVirt refuses both.
_CPU, _MEMORY = f"{SPEC}.domain.cpu", f"{SPEC}.domain.memory"
_INSTEAD_OF: Mapping[str, tuple[str, ...]] = {
    "spec.runStrategy": ("spec.running",),
    "spec.running": ("spec.runStrategy",),
    "spec.instancetype": (_CPU, _MEMORY, f"{SPEC}.domain.resources"),
    _CPU: ("spec.instancetype",),
    _MEMORY: ("spec.instancetype",),
    f"{SPEC}.domain.resources": ("spec.instancetype",),
}


def carry(body: Object, live: Object) -> None:
    """Complete C(body) by what our manager owns of the C(live) VM and the body does not mention."""
    owned = owned_fields(live, FIELD_MANAGER, VIRTUAL_MACHINE.api_version)
    if owned:
        given_up = {
            path for path, others in _INSTEAD_OF.items() if any(at(body, other) is not None for other in others)
        }
        _carry(body, live, owned, "", given_up)


def _carry(body: Object, live: Mapping[str, Any], owned: Mapping[str, Any], frame: str, given_up: set[str]) -> None:
    for key, below in owned.items():
        name = key.removeprefix("f:")
        path = f"{frame}.{name}".lstrip(".")
        if key == name or name not in live or path in given_up:
            continue
        if path not in _FRAMES:
            if name not in body:
                body[name] = owned_part(live[name], below)
        elif isinstance(body.get(name, {}), dict):
            inner: Object = body.get(name, {})
            _carry(inner, live[name], below, path, given_up)
            if inner:
                body[name] = inner
