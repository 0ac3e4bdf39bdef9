# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check says of an object that is waited for, and the checks that fit any kind. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .resource import Object


@dataclass(frozen=True)
class Ready:
    """The wait is over."""


@dataclass(frozen=True)
class Failed:
    """It cannot become ready any more, and why.

    What may pass by itself counts only when it has held for C(patience) seconds, or for a tenth of the time that is
    waited if that is less. C(hope) is the reason of an event of the object by which it is mended, such as that of a
    cluster autoscaler: then it does not count at all.
    """

    reason: str
    patience: float = 0.0
    hope: str = ""


@dataclass(frozen=True)
class Progress:
    """Not yet; C(text) says how far it is, e.g. C(root 43 % imported)."""

    text: str = ""


# Seconds for which no node may have room for a pod, and what a cluster autoscaler says when it makes one.
NODE_PATIENCE, SCALE_UP = 30.0, "TriggeredScaleUp"


def no_room(reason: str) -> Failed:
    """What Kubernetes calls Unschedulable: a node may come, or become free, in a moment."""
    return Failed(reason, NODE_PATIENCE, SCALE_UP)


Verdict: TypeAlias = "Ready | Failed | Progress"
# None stands for an object that does not exist.
Check = Callable[["Object | None"], Verdict]


def exists(found: Object | None) -> Verdict:
    return Ready() if found else Progress("not created yet")


def deleted(found: Object | None) -> Verdict:
    """Ready when it is gone; until then, which finalizers keep it."""
    if found is None:
        return Ready()
    finalizers = found["metadata"].get("finalizers") or ()
    return Progress(f"being deleted, kept by {', '.join(finalizers)}" if finalizers else "being deleted")


def replaced(uid: str, check: Check = exists) -> Check:
    """C(check) of the object that comes after the one with this uid."""

    def checked(found: Object | None) -> Verdict:
        if found is not None and found["metadata"]["uid"] == uid:
            return Progress("the old one is still there")
        return check(found)

    return checked


def by_conditions(ready: Mapping[str, str], failed: Mapping[str, str] | None = None) -> Check:
    """A check from condition types and the status that each must have, e.g. by_conditions({"Available": "True"}).

    Conditions of an older generation than the object's do not count.
    """

    def checked(found: Object | None) -> Verdict:
        if found is None:
            return Progress("not created yet")
        current = conditions(found)
        for name, status in (failed or {}).items():
            if name in current and current[name].get("status") == status:
                return Failed(condition_text(current[name]))
        missing = [name for name, status in ready.items() if current.get(name, {}).get("status") != status]
        if not missing:
            return Ready()
        known = [condition_text(current[name]) for name in missing if name in current]
        return Progress("; ".join(known) or f"no condition {', '.join(missing)} yet")

    return checked


def conditions(found: Object) -> dict[str, dict[str, Any]]:
    """The status conditions by type, without those that speak of an older generation."""
    status = found.get("status") or {}
    generation = found["metadata"].get("generation") or 0
    if (status.get("observedGeneration") or generation) < generation:
        return {}
    return {
        condition["type"]: condition
        for condition in status.get("conditions") or ()
        if (condition.get("observedGeneration") or generation) >= generation
    }


def condition_text(condition: Mapping[str, Any]) -> str:
    """E.g. C(Ready=False, PodNotReady: the pod is pending)."""
    why = ": ".join(str(condition[name]) for name in ("reason", "message") if condition.get(name))
    return f"{condition['type']}={condition.get('status')}" + (f", {why}" if why else "")
