# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of C(vm) and C(vm_power): one VM or many, each with its own result, none stopping the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..cluster.client import CONCURRENCY, Client
from ..cluster.declare import read_many
from ..cluster.errors import ClusterError
from ..cluster.resource import Object
from ..cluster.shown import shown
from ..cluster.verdict import Progress, Verdict
from ..cluster.wait import LATE, Related, wait_many
from ..journal import JOURNAL
from ..known import known
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .cdi import DATA_VOLUME
from .kubevirt import VIRTUAL_MACHINE, at
from .kubevirt_absent import Removal, absent
from .kubevirt_options import VM_OPTIONS, Declaration, read_declaration, renamed
from .kubevirt_power import related_volumes
from .kubevirt_present import Policy, await_ready, explained, present, waiting_check

Key: TypeAlias = "tuple[str | None, str]"
# Options of an item of C(vms) that the task's own options stand in for.
INHERITED = ("namespace", *VM_OPTIONS)

T = TypeVar("T")
R = TypeVar("R")

# Portions into which many items are divided, several for each thread.
_PORTIONS = 64

# Namespaces that are watched one by one, rather than the whole cluster.
_WATCHED = 8
# Failed items that a message spells out; the result holds all of them.
_SPELLED_OUT = 10


def declare_vms(client: Client, task: Task) -> Result:
    """Run a task of C(vm)."""
    params = task.params
    if params["vms"] is None:
        return _declare_one(client, task)
    items: list[Mapping[str, Any]] = [{"namespace": params["namespace"], **item} for item in params["vms"]]
    if params["state"] == "absent":
        return _many(task, items, lambda keys: _remove_many(client, task, keys))
    read = _reader({name: params[name] for name in INHERITED if params[name] is not None})
    declared = [_attempt(lambda item=item: read(item)) for item in items]  # type: ignore[misc]
    return _many(task, items, lambda keys: _present_many(client, task, declared))


_ITEM = ArgumentSpecValidator({"name": {"type": "str"}, "namespace": {"type": "str"}, **VM_OPTIONS})


def _reader(inherited: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Declaration]:
    """What reads an item of C(vms), checked as the options of a task are, which stand in for what it leaves out.

    Items that have but a name are read once for all: a thousand of them take no time.
    """
    common: list[Declaration] = []

    def read(item: Mapping[str, Any]) -> Declaration:
        unknown = sorted(set(item) - {"name", *INHERITED})
        if unknown:
            raise Refused(f"vms: {', '.join(unknown)} is no option of a machine")
        is_plain = item.keys() == {"name", "namespace"} and "definition" not in inherited
        if is_plain and common and all(isinstance(value, str) for value in item.values()):
            return renamed(common[0], item["name"], item["namespace"])
        checked = _ITEM.validate(dict(item))
        if checked.error_messages:
            raise Refused(*(message.rstrip(".") for message in checked.error_messages))
        own = {name: value for name, value in checked.validated_parameters.items() if value is not None}
        declaration = read_declaration({**inherited, **own})
        if is_plain:
            common.append(declaration)
        return declaration

    return read


def _policy(task: Task) -> Policy:
    params = task.params
    return Policy(
        check_mode=task.check_mode,
        diff=task.diff,
        force_conflicts=params["force_conflicts"],
        replace_lists=params["replace_lists"],
        apply=params["apply"],
        allow_platform_namespace=params["allow_platform_namespace"],
        timeout=params["wait_timeout"] if params["wait"] else None,
        progress=task.progress,
    )


def _removal(task: Task) -> Removal:
    params = task.params
    return Removal(
        delete_disks=params["delete_disks"],
        force=params["force"],
        check_mode=task.check_mode,
        diff=task.diff,
        timeout=params["wait_timeout"] if params["wait"] else None,
        progress=task.progress,
    )


def _declare_one(client: Client, task: Task) -> Result:
    params = task.params
    if params["state"] == "absent":
        namespace, name = _key(params)
        if not namespace:
            raise Failure("namespace: is missing.")
        return absent(client, namespace, name, client.get(VIRTUAL_MACHINE, name, namespace), _removal(task))
    try:
        declaration = read_declaration(params)
        policy = _policy(task)
        live = client.get(VIRTUAL_MACHINE, declaration.name, declaration.namespace)
        result, vm = present(client, declaration, live, policy)
    except Refused as refused:
        raise Failure(_sentences(refused)) from refused
    notes = result.pop("notes")
    for note in notes:
        task.warn(note)
    if policy.timeout is not None and not task.check_mode:
        try:
            vm = await_ready(client, vm, result["action"] == "created", result["expanded"], policy)
        except ClusterError as error:
            message = explained(client.until(time.monotonic() + LATE), vm, error)
            raise Failure(message, **result, vm=shown(VIRTUAL_MACHINE, vm)) from error
    return {**result, "vm": shown(VIRTUAL_MACHINE, vm)}


def _sentences(refused: Refused) -> str:
    return " ".join(f"{problem}." for problem in refused.problems)


def _key(item: Mapping[str, Any]) -> Key:
    metadata = (item.get("definition") or {}).get("metadata") or {}
    return item.get("namespace") or metadata.get("namespace"), item.get("name") or metadata.get("name") or ""


def _attempt(step: Callable[[], Any]) -> Any:
    """What a step returns, or the Failure it ends in."""
    try:
        return step()
    except Refused as refused:
        return Failure(_sentences(refused))
    except Failure as failure:
        return failure


def _present_many(client: Client, task: Task, declared: Sequence[Declaration | Failure]) -> list[Result | Failure]:
    policy = _policy(task)
    keys = [(item.namespace, item.name) for item in declared if isinstance(item, Declaration)]
    live = read_many(client, VIRTUAL_MACHINE, keys)

    def one(declaration: Declaration | Failure) -> tuple[Result, Object] | Failure:
        if isinstance(declaration, Failure):
            return declaration
        found = live.get((declaration.namespace, declaration.name))
        outcome: tuple[Result, Object] | Failure = _attempt(lambda: present(client, declaration, found, policy))
        return outcome

    outcomes = _in_parallel(client, one, declared)
    results: list[Result | Failure] = []
    written: dict[Key, tuple[Result, Object]] = {}
    for declaration, outcome in zip(declared, outcomes, strict=True):
        if isinstance(outcome, Failure) or isinstance(declaration, Failure):
            results.append(outcome if isinstance(outcome, Failure) else Failure("not declared"))
            continue
        result, _vm = outcome
        for note in result.pop("notes"):
            task.warn(f"{declaration.label}: {note}")
        written[declaration.namespace, declaration.name] = outcome
        results.append(result)
    if policy.timeout is not None and not task.check_mode:
        failed = _await_many(client, written, policy)
        results = [
            failed.get((result["namespace"], result["name"]), result) if isinstance(result, dict) else result
            for result in results
        ]
    return results


def _in_parallel(client: Client, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Many items in few portions: most need nothing, and handing each to a thread takes longer than that."""
    size = max(1, len(items) // _PORTIONS)
    portions = [items[start : start + size] for start in range(0, len(items), size)]
    done = client.in_parallel(lambda portion: [function(item) for item in portion], portions)
    results: list[R] = []
    for portion in done:
        if isinstance(portion, ClusterError):
            raise portion
        results += portion
    return results


def _await_many(client: Client, written: Mapping[Key, tuple[Result, Object]], policy: Policy) -> dict[Key, Failure]:
    """Wait for all VMs at once; those that did not become ready, by their key."""
    created = {key: result["action"] == "created" for key, (result, _vm) in written.items()}
    seen = wait_many(
        client,
        VIRTUAL_MACHINE,
        written,
        waiting_check(created),
        timeout=known(policy.timeout),
        progress=policy.progress,
        related=_volumes_of([vm for _result, vm in written.values()]),
    )
    failed: dict[Key, Failure] = {}
    reader = client.until(time.monotonic() + LATE)
    for key, found in seen.items():
        if not isinstance(found, ClusterError):
            continue
        result, vm = written[key]
        failed[key] = Failure(explained(reader, vm, found), **result)
    return failed


def _volumes_of(vms: Sequence[Object]) -> list[Related]:
    """The DataVolumes that are made for machines, by few watches: each tells about its own machine."""
    told: dict[Key, tuple[Related, Key]] = {}
    for vm in vms:
        owner = (vm["metadata"]["namespace"], vm["metadata"]["name"])
        told.update({(item.namespace, item.name or ""): (item, owner) for item in related_volumes(vm)})

    def check(volume: Object | None) -> Verdict:
        place = (at(volume, "metadata.namespace"), at(volume, "metadata.name"))
        return told[place][0].check(volume) if place in told else Progress()

    def of(place: Key) -> list[Key]:
        return [told[place][1]] if place in told else []

    namespaces: list[str | None] = [*sorted({namespace or "" for namespace, _name in told})]
    if len(namespaces) > _WATCHED:
        namespaces = [None]
    return [Related(DATA_VOLUME, check, namespace, of=of) for namespace in namespaces]


def _remove_many(client: Client, task: Task, keys: Sequence[Key]) -> list[Result | Failure]:
    removal = _removal(task)
    live = read_many(client, VIRTUAL_MACHINE, [key for key in keys if all(key)])

    def one(key: Key) -> Result | Failure:
        namespace, name = key
        if not namespace or not name:
            return Failure(f"{'name' if namespace else 'namespace'}: is missing.")
        outcome: Result | Failure = _attempt(lambda: absent(client, namespace, name, live.get(key), removal))
        return outcome

    return _in_parallel(client, one, keys)


def _many(
    task: Task, items: Sequence[Mapping[str, Any]], act: Callable[[Sequence[Key]], Sequence[Result | Failure]]
) -> Result:
    """Run all items and gather their results; fails at the end, naming each item that failed."""
    keys = [_key(item) for item in items]
    doubled = sorted({f"{namespace}/{name}" for namespace, name in keys if keys.count((namespace, name)) > 1})
    if doubled:
        raise Failure(f"vms: declared twice: {', '.join(doubled)}. Declare each VM once.")
    return gathered(keys, act(keys), task.diff)


def for_each(
    client: Client,
    task: Task,
    keys: Sequence[Key],
    act: Callable[[Key], Result | Failure],
    *,
    single: bool,
    limit: int = CONCURRENCY,
) -> Result:
    """C(act) of every machine, C(limit) at a time, and the task's result. With C(single) its failure is the task's."""
    outcomes = client.in_parallel(act, keys, limit)
    if single and outcomes and isinstance(outcomes[0], Failure):
        failure = outcomes[0]
        raise Failure(failure.message, vms=[failed_item(keys[0], failure, alone=True)])
    return gathered(keys, outcomes, task.diff)


def gathered(
    keys: Sequence[Key],
    outcomes: Sequence[Result | Failure],
    diff: bool,
    *,
    noun: str = "virtual machines",
    under: str = "vms",
) -> Result:
    """The result of a task for many objects. Raises Failure, with all results, when one of them failed."""
    results: list[Result] = []
    failures: list[str] = []
    for (namespace, name), outcome in zip(keys, outcomes, strict=True):
        if isinstance(outcome, Failure):
            label = f"{namespace or ''}/{name}".strip("/")
            failures.append(f"{label or 'an item without a name'}: {outcome.message}")
            results.append(failed_item((namespace, name), outcome))
        else:
            results.append(outcome)
    diffs = [result.pop("diff") for result in results if "diff" in result]
    result: Result = {"changed": any(item["changed"] for item in results), under: results}
    if diff:
        result["diff"] = [item for item in diffs if item["before"] != item["after"]]
    if failures:
        told = "\n".join(failures[:_SPELLED_OUT])
        more = f"\nand {len(failures) - _SPELLED_OUT} more" if len(failures) > _SPELLED_OUT else ""
        raise Failure(f"{len(failures)} of {len(results)} {noun} failed:\n{told}{more}", **result)
    return result


def failed_item(key: Key, failure: Failure, *, alone: bool = False) -> Result:
    """The result of an object that failed, with whether anything was written for it before.

    Where the task was about this object alone, all that it wrote was for it.
    """
    namespace, name = key
    item: Result = {"name": name, "namespace": namespace, "changed": False, **failure.result}
    changed = bool(item["changed"]) or (bool(JOURNAL.told()) if alone else JOURNAL.touched(namespace, name))
    return {**item, "changed": changed, "failed": True, "msg": failure.message}
