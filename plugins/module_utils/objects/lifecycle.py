# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that ask a controller for one thing (a snapshot, a restore, a clone): made once, waited for, removed.

What done and failed look like is a table a kind; one engine reads them. Nothing of such a spec can be changed later, so
that a declaration either is what is there, or is refused; one that failed holds nothing and is made again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cluster.client import FIELD_MANAGER, Client
from ..cluster.compare import owned_fields, owned_part
from ..cluster.declare import Key, Outcome, declare, read_many, remove
from ..cluster.errors import ClusterError
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict, deleted
from ..cluster.wait import wait, wait_many
from ..machine.quantity import amount
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .kubevirt import at, conditions, label
from .kubevirt_task import failed_item, gathered


@dataclass(frozen=True)
class Course:
    """How a kind of object comes to its end.

    C(ready) and C(failed) map a dotted path to the values that say so: all of C(ready), any of C(failed).
    C(failing) are condition types that say so by being true. C(telling) are the conditions whose words explain where
    it is, and C(hopeless) are words among them that waiting does not mend.
    """

    resource: Resource
    noun: str
    ready: Mapping[str, frozenset[Any]]
    failed: Mapping[str, frozenset[Any]]
    failing: tuple[str, ...] = ("Failure",)
    telling: tuple[str, ...] = ("Failure", "Progressing", "Ready")
    hopeless: re.Pattern[str] | None = None

    def is_ready(self, found: Object) -> bool:
        return all(at(found, path) in values for path, values in self.ready.items())

    def has_failed(self, found: Object) -> bool:
        by_path = any(at(found, path) in values for path, values in self.failed.items())
        return by_path or any(conditions(found).get(name, {}).get("status") == "True" for name in self.failing)

    def words(self, found: Object) -> str:
        """What its controller says of it. KubeVirt writes sentences into the reasons of conditions."""
        by_type = conditions(found)
        told = [str(at(found, "status.error.message") or "")]
        for name in self.telling:
            condition = by_type.get(name, {})
            parts = [str(condition[part]) for part in ("reason", "message") if condition.get(part)]
            told.append(": ".join(parts))
        said = list(dict.fromkeys(text for text in told if text and text not in _EMPTY_WORDS))
        return "; ".join(said)

    def check(self, found: Object | None) -> Verdict:
        """Whether it has come to its end, for waits."""
        if found is None:
            return Failed("it was deleted while it was waited for")
        words = self.words(found)
        if self.has_failed(found):
            return Failed(words or "it failed, and its controller does not say why")
        if self.is_ready(found):
            return Ready()
        if self.hopeless is not None and self.hopeless.search(words):
            return Failed(words)
        return Progress(words or str(at(found, "status.phase") or "not yet seen by its controller"))


_EMPTY_WORDS = frozenset({"Not ready", "Ready", "Unknown", "Initializing"})


def seconds(text: str, option: str) -> float:
    """A duration as Kubernetes has it: C(5m), C(1h30m), C(90s), or bare seconds. Raises Failure for what is none."""
    found = str(text).strip()
    if re.fullmatch(r"\d+(\.\d+)?", found):
        return float(found)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|[smh]))+", found):
        raise Failure(f"{option}: {text!r} is no duration; write for example 90s, 5m or 1h30m.")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, _part, unit in re.findall(r"(\d+(\.\d+)?)(ms|[smh])", found))


def duration(text: str, option: str) -> str:
    """The duration as the API takes it: bare seconds get their unit."""
    seconds(text, option)
    found = str(text).strip()
    return f"{found}s" if re.fullmatch(r"\d+(\.\d+)?", found) else found


def differing(declared: Any, live: Any, path: str = "spec", hidden: Collection[str] = ()) -> Iterator[str]:
    """C(path is live, not declared) for each declared value that the live object has otherwise.

    Of C(hidden) paths no value is told.
    """
    if isinstance(declared, Mapping) and declared and isinstance(live, Mapping):
        for name, value in declared.items():
            yield from differing(value, live.get(name), f"{path}.{name}", hidden)
    elif not _same(declared, live):
        if path in hidden:
            yield f"{path} is another"
            return
        shown = "not set" if live is None else live
        yield f"{path} is {shown}, not {declared}"


def _same(declared: Any, live: Any) -> bool:
    if declared == live or (declared == [] and live is None):
        return True
    if not isinstance(declared, str) or not isinstance(live, str):
        return False
    for value in (amount, lambda text: seconds(text, "")):
        try:
            return bool(value(declared) == value(live))
        except (Refused, Failure):
            continue
    return False


def make(client: Client, course: Course, desired: Object, live: Object | None, task: Task) -> Outcome:
    """Make sure that the object is there as declared; one that failed is made again. Raises Failure."""
    resource = course.resource
    before = live
    if live is not None and course.has_failed(live):
        _clear(client, course, live, task)
        live = None
        if task.check_mode:
            return Outcome(resource, "updated", before, desired)
    if live is not None:
        others = list(differing(desired["spec"], live.get("spec") or {}, hidden=resource.secrets))
        if others:
            raise Failure(
                f"There is another {course.noun} {label(live)}: {'; '.join(others)}. It cannot be changed: choose"
                " another name, or delete it with state: absent."
            )
        desired = _with_spec_of(live, desired)
    outcome = declare(
        client,
        resource,
        desired,
        live=live,
        check_mode=task.check_mode,
        force_conflicts=bool(task.params.get("force_conflicts")),
    )
    if before is not None and live is None:
        return Outcome(resource, "updated", before, outcome.after, outcome.warnings)
    return outcome


def _with_spec_of(live: Object, desired: Object) -> Object:
    """The declaration with as much of the live spec as we declared once: what is left out now cannot go away."""
    fields = owned_fields(live, FIELD_MANAGER, desired["apiVersion"]) or {}
    body = {name: value for name, value in desired.items() if name != "spec"}
    if "f:spec" in fields:
        body["spec"] = owned_part(live.get("spec") or {}, fields["f:spec"])
    return body


def _clear(client: Client, course: Course, live: Object, task: Task) -> None:
    """Take away what failed, so that it can be made again under its name."""
    metadata = live["metadata"]
    remove(client, course.resource, metadata["name"], metadata["namespace"], live=live, check_mode=task.check_mode)
    if not task.check_mode:
        wait(client, course.resource, metadata["name"], metadata["namespace"], deleted, timeout=_CLEARING)


# Seconds for a failed object to go; its finalizers have nothing to undo.
_CLEARING = 60.0

Tell = Callable[["Object | None"], Result]
Made = tuple[Outcome, Result]


@dataclass
class Group:
    """The objects of one task: what makes each, and how it is told of. C(under) names their list in the result."""

    course: Course
    namespace: str
    names: Sequence[str]
    make: Callable[[str, Object | None], Made]
    tell: Tell
    under: str
    check: Check | None = None
    finish: Callable[[str, Object, Made], Result] | None = None
    live: dict[Key, Object] = field(default_factory=dict)
    # Names for which there is nothing to wait, which C(make) may add to.
    settled: set[str] = field(default_factory=set)
    # Whether what ended the wait for an object is no failure of it.
    excuse: Callable[[str, ClusterError], bool] | None = None


def carry_out(client: Client, task: Task, group: Group) -> Result:
    """Make all objects of a group, wait for them at once, and gather their results.

    An object that fails stops no other. C(finish) is called for those that came to their end, or are not waited for.
    Raises Failure at the end, with all results.
    """
    resource, namespace = group.course.resource, group.namespace
    keys: list[Key] = [(namespace, name) for name in group.names]
    live = group.live or read_many(client, resource, keys)

    def one(key: Key) -> Made | Failure:
        found = live.get(key)
        try:
            return group.make(key[1], found)
        except Refused as refused:
            return Failure(" ".join(f"{problem}." for problem in refused.problems), **_told(group, key, found))
        except Failure as failure:
            return Failure(failure.message, **{**_told(group, key, found), **failure.result})

    made = client.in_parallel(one, keys)
    seen = _awaited(client, task, group, keys, made)
    results = [_result(task, group, key, outcome, seen.get(key)) for key, outcome in zip(keys, made, strict=True)]
    return gathered_as(keys, results, task.diff, f"{group.course.noun}s", group.under)


def _awaited(
    client: Client, task: Task, group: Group, keys: Sequence[Key], made: Sequence[Made | Failure]
) -> dict[Key, Object | ClusterError | None]:
    if not task.params["wait"] or task.check_mode:
        return {}
    there = [
        key
        for key, outcome in zip(keys, made, strict=True)
        if not isinstance(outcome, Failure) and key[1] not in group.settled
    ]
    check = group.check or group.course.check
    seconds_left = task.params["wait_timeout"]
    return wait_many(client, group.course.resource, there, check, timeout=seconds_left, progress=task.progress)


def _result(
    task: Task, group: Group, key: Key, made: Made | Failure, seen: Object | ClusterError | None
) -> Result | Failure:
    if isinstance(made, Failure):
        return made
    outcome, more = made
    result: Result = {**_told(group, key, outcome.after), "changed": outcome.changed, **more}
    if task.diff:
        result.setdefault("diff", outcome.diff())
    if isinstance(seen, ClusterError) and group.excuse is not None and group.excuse(key[1], seen):
        seen = None
    if isinstance(seen, ClusterError):
        return Failure(seen.message, **result)
    found = seen or outcome.after
    if seen is not None:
        result.update(group.tell(seen))
    if group.finish is not None and found is not None:
        try:
            more = group.finish(key[1], found, made)
        except Failure as failure:
            return Failure(failure.message, **{**result, **failure.result})
        result.update(more, changed=result["changed"] or bool(more.get("changed")))
    return result


def _told(group: Group, key: Key, found: Object | None) -> Result:
    return {"name": key[1], "namespace": key[0], **group.tell(found)}


def gathered_as(keys: Sequence[Key], results: Sequence[Result | Failure], diff: bool, noun: str, under: str) -> Result:
    """The task's result; where one object was asked for, its failure in its own words."""
    if len(keys) == 1 and isinstance(results[0], Failure):
        failure = results[0]
        item = failed_item(keys[0], failure, alone=True)
        item.pop("diff", None)
        raise Failure(failure.message, changed=item["changed"], **{under: [item]})
    return gathered(keys, results, diff, noun=noun, under=under)


def discard(
    client: Client,
    task: Task,
    group: Group,
    guard: Callable[[Object], None] | None = None,
    propagation: str | None = None,
) -> Result:
    """Delete the objects of a group, if C(guard) raises no Failure for one, and wait until they are gone."""
    resource, namespace = group.course.resource, group.namespace
    keys: list[Key] = [(namespace, name) for name in group.names]
    live = group.live or read_many(client, resource, keys)

    def one(key: Key) -> Result | Failure:
        found = live.get(key)
        try:
            if found is not None and guard is not None and not found["metadata"].get("deletionTimestamp"):
                guard(found)
            outcome = remove(
                client, resource, key[1], namespace, live=found, check_mode=task.check_mode, propagation=propagation
            )
        except Failure as failure:
            return Failure(failure.message, **_told(group, key, found))
        result: Result = {**_told(group, key, found), "changed": outcome.changed}
        if task.diff:
            result["diff"] = outcome.diff()
        return result

    results = client.in_parallel(one, keys)
    if task.params["wait"] and not task.check_mode:
        going = [key for key, result in zip(keys, results, strict=True) if isinstance(result, dict) and key in live]
        gone = wait_many(client, resource, going, deleted, timeout=task.params["wait_timeout"], progress=task.progress)
        results = [
            Failure(stuck.message, **result)
            if isinstance(stuck := gone.get(key), ClusterError) and isinstance(result, dict)
            else result
            for key, result in zip(keys, results, strict=True)
        ]
    return gathered_as(keys, results, task.diff, f"{group.course.noun}s", group.under)
