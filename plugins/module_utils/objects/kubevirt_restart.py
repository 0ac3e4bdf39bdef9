# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes of a VM reach a running guest, and which wait for its next start. Pure.

Source: KubeVirt's VM controller (addRestartRequiredIfNeeded) and
https://kubevirt.io/user-guide/user_workloads/vm_rollout_strategies/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..cluster.resource import Object
from .kubevirt import DEVICES, SPEC, at, by_name, conditions, holds

# Fields that KubeVirt carries over to the running instance.
LIVE_FIELDS = (
    f"{SPEC}.domain.cpu.sockets",
    f"{SPEC}.domain.memory.guest",
    f"{SPEC}.nodeSelector",
    f"{SPEC}.affinity",
    f"{SPEC}.tolerations",
)
# Lists of which items may come and go while the guest runs, if they are of the right sort.
_VOLUMES, _DISKS = f"{SPEC}.volumes", f"{DEVICES}.disks"
_NETWORKS, _INTERFACES = f"{SPEC}.networks", f"{DEVICES}.interfaces"
_PLUGGABLE = (_VOLUMES, _DISKS, _NETWORKS, _INTERFACES)

CONDITION = "RestartRequired"


def changed_paths(before: Any, after: Any, path: str) -> Iterator[str]:
    """The paths below C(path) whose values differ; lists count as one value."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from changed_paths(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, Mapping) and after is None:
        yield from changed_paths(before, {}, path)
    elif isinstance(after, Mapping) and before is None:
        yield from changed_paths({}, after, path)
    elif before != after:
        yield path


def predicted(before: Object, after: Object) -> list[str]:
    """The changed fields that a running guest gets only by a restart."""
    fields = [
        path
        for path in changed_paths(at(before, "spec.template") or {}, at(after, "spec.template") or {}, "spec.template")
        if not any(path == live or path.startswith(f"{live}.") for live in (*LIVE_FIELDS, *_PLUGGABLE))
    ]
    fields += [path for path in ("spec.preference",) if at(before, path) != at(after, path)]
    fields += [f"{path}[{name}]" for path in _PLUGGABLE for name in _unplugged(before, after, path)]
    return fields


def _unplugged(before: Object, after: Object, path: str) -> Iterator[str]:
    """The items of a list that changed in a way that hot plug does not cover."""
    old, new = by_name(at(before, path)), by_name(at(after, path))
    for name in dict.fromkeys([*old, *new]):
        first, second = old.get(name), new.get(name)
        if first == second:
            continue
        if path in (_VOLUMES, _DISKS):
            volume = by_name(at(after, _VOLUMES)).get(name) or by_name(at(before, _VOLUMES)).get(name) or {}
            if first is None or second is None or path == _VOLUMES:
                live = any(at(volume, f"{kind}.hotpluggable") for kind in ("dataVolume", "persistentVolumeClaim"))
            else:
                live = False
        else:
            live = _plugs_live(name, first, second, path, after)
        if not live:
            yield name


def _plugs_live(name: str, first: Object | None, second: Object | None, path: str, after: Object) -> bool:
    """Interfaces on secondary networks are added live, and their state changes: up, down, absent."""
    interface = by_name(at(after, _INTERFACES)).get(name) or {}
    if first is None:
        return "bridge" in interface or "sriov" in interface
    if second is None or path == _NETWORKS:
        return False
    return {key for key in {*first, *second} if first.get(key) != second.get(key)} == {"state"}


def reasons(before: Object | None, after: Object) -> list[str]:
    """Why the running guest has to be restarted to be what its VM says; empty when it has not."""
    found = [f"{path} changed" for path in (predicted(before, after) if before else [])]
    if holds(after, CONDITION):
        message = str(conditions(after)[CONDITION].get("message") or "KubeVirt says so")
        found.append(message)
    return list(dict.fromkeys(found))
