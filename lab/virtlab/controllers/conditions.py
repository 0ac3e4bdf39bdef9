"""Conditions: lists keyed by type whose transition times move with the status only."""

from __future__ import annotations

from typing import Any

from virtlab.resource import Object

Condition = dict[str, Any]


def find_condition(obj: Object | None, kind: str) -> Condition | None:
    """The condition of type C(kind) in the object's status."""
    for condition in ((obj or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return None


def is_true(obj: Object | None, kind: str) -> bool:
    condition = find_condition(obj, kind)
    return condition is not None and condition.get("status") == "True"


def with_condition(conditions: list[Condition], wanted: Condition, stamp: str) -> list[Condition]:
    """C(conditions) with C(wanted) in its place, or at the end; lastTransitionTime is kept while status is."""
    result, found = [], False
    for old in conditions:
        if old.get("type") != wanted["type"]:
            result.append(old)
            continue
        found = True
        transition = old.get("lastTransitionTime") if old.get("status") == wanted["status"] else stamp
        result.append({**wanted, "lastTransitionTime": transition})
    if not found:
        result.append({**wanted, "lastTransitionTime": stamp})
    return result


def without_condition(conditions: list[Condition], kind: str) -> list[Condition]:
    return [condition for condition in conditions if condition.get("type") != kind]


def merged(conditions: list[Condition], wanted: list[Condition], stamp: str) -> list[Condition]:
    """C(conditions) after each of C(wanted) was put in."""
    for condition in wanted:
        conditions = with_condition(conditions, condition, stamp)
    return conditions


def condition(kind: str, status: bool | str, reason: str = "", message: str = "", **more: Any) -> Condition:
    """One condition without times; empty reason and message are left out as omitempty does."""
    text = status if isinstance(status, str) else "True" if status else "False"
    result: Condition = {"type": kind, "status": text}
    if reason:
        result["reason"] = reason
    if message:
        result["message"] = message
    return {**result, **more}
