# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of an object: without what the server alone writes, and never a secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .merge import SERVER_METADATA
from .resource import Object, Resource

HIDDEN = "********"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Fields that hold a secret in whatever kind they appear.
_SECRET_FIELDS = frozenset(
    {
        "password",
        "passphrase",
        "token",
        "userData",
        "userDataBase64",
        "privateKey",
        # An annotation by which CDI lets clone from another namespace.
        "cdi.kubevirt.io/storage.clone.token",
    }
)


def essence(found: Object | None) -> Object | None:
    """What a user declares of an object: without status and server-written metadata."""
    if found is None:
        return None
    metadata = {name: value for name, value in found.get("metadata", {}).items() if name not in SERVER_METADATA}
    annotations = metadata.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        metadata["annotations"] = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    return {**{name: value for name, value in found.items() if name != "status"}, "metadata": metadata}


def shown(resource: Resource, found: Object | None) -> Object | None:
    """An object for a task's result: whole but for managedFields, its secrets hidden."""
    if found is None:
        return None
    metadata = {name: value for name, value in found.get("metadata", {}).items() if name != "managedFields"}
    return _veiled(resource, {**found, "metadata": metadata}, {})


def difference(resource: Resource, before: Object | None, after: Object | None) -> dict[str, Any]:
    """Before and after for Ansible's diff. A secret that changes is told from one that stays, but neither is shown."""
    seen: _Seen = {}
    return {
        "before": _veiled(resource, essence(before) or {}, seen),
        "after": _veiled(resource, essence(after) or {}, seen),
    }


# The values met at the path of a secret, so that another value there gets another veil.
_Seen = dict[tuple[str, ...], list[Any]]


def _veiled(resource: Resource, found: Object, seen: _Seen) -> Object:
    patterns = [tuple(path.split(".")) for path in resource.secrets]
    result: Object = _veil(found, (), patterns, seen)
    return result


def _veil(value: Any, path: tuple[str, ...], patterns: list[tuple[str, ...]], seen: _Seen) -> Any:
    """C(patterns) are what remains of the secrets' paths at this place."""
    if () in patterns or (path and path[-1] in _SECRET_FIELDS and isinstance(value, str)):
        values = seen.setdefault(path, [])
        if value not in values:
            values.append(value)
        place = values.index(value)
        return f"{HIDDEN} ({place + 1})" if place else HIDDEN
    if isinstance(value, Mapping):
        return {name: _veil(item, (*path, name), _below(patterns, name), seen) for name, item in value.items()}
    if isinstance(value, list):
        return [
            _veil(item, (*path, str(place)), _below(patterns, str(place)), seen) for place, item in enumerate(value)
        ]
    return value


def _below(patterns: list[tuple[str, ...]], name: str) -> list[tuple[str, ...]]:
    return [pattern[1:] for pattern in patterns if pattern and pattern[0] in (name, "*")]
