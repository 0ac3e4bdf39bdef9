# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of C(kvm_vm): one machine or many, each with its own result, none stopping the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .connection import Host
from .errors import asking
from .library import libvirt
from .vm_absent import Removal, absent, read_delete_disks
from .vm_fleet import Fleet
from .vm_options import KVM_VM_OPTIONS, Declaration, read_declaration
from .vm_power import Waiting
from .vm_present import Policy, present

_SPELLED_OUT = 10
# So many machines are written at a time; so many where most of them only wait for their guests.
_WRITES, _AT_ONCE = 5, 50
_ITEM = ArgumentSpecValidator({"name": {"type": "str"}, "namespace": {"type": "raw"}, **KVM_VM_OPTIONS})
_INHERITED = ("namespace", *KVM_VM_OPTIONS)


def declare_vms(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_vm)."""
    fleet = Fleet(host)
    params = task.params
    if params["vms"] is None:
        return _declare_one(fleet, task)
    inherited = {name: params[name] for name in _INHERITED if params[name] is not None}
    read = [_attempt(lambda item=item: _read(item, inherited)) for item in params["vms"]]  # type: ignore[misc]
    names = [
        item.name if isinstance(item, Declaration) else _name(raw)
        for item, raw in zip(read, params["vms"], strict=True)
    ]
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise Failure(f"vms: declared twice: {', '.join(doubled)}. Declare each virtual machine once.")
    found = _found(host)

    def one(item: Declaration | Failure) -> Result | Failure:
        if isinstance(item, Failure):
            return item
        outcome: Result | Failure = _attempt(lambda: _act(fleet, task, item, found.get(item.name)))
        return outcome

    outcomes = host.in_parallel(one, read, _AT_ONCE if params["wait"] else _WRITES)
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, dict):
            _warn(task, outcome, f"{name}: ")
            outcome.pop("vm", None)
    return gathered(names, outcomes, task.diff)


def _declare_one(fleet: Fleet, task: Task) -> Result:
    try:
        if task.params["state"] == "absent" and task.params["name"]:
            # A machine that is to go needs no description that fits.
            name = str(task.params["name"])
            return absent(fleet, name, fleet.host.domain(name), _removal(task))
        declaration = read_declaration(task.params)
        result = _act(fleet, task, declaration, fleet.host.domain(declaration.name))
    except Refused as refused:
        raise Failure(_sentences(refused)) from refused
    _warn(task, result, "")
    return result


def _act(fleet: Fleet, task: Task, declaration: Declaration, domain: libvirt.virDomain | None) -> Result:
    if task.params["state"] == "absent":
        return absent(fleet, declaration.name, domain, _removal(task))
    return present(fleet, declaration, domain, _policy(task))


def _warn(task: Task, result: Result, prefix: str) -> None:
    for note in result.pop("notes", ()):
        task.warn(f"{prefix}{note}")


def _found(host: Host) -> dict[str, libvirt.virDomain]:
    with asking(f"list the virtual machines of {host.uri}"):
        return {domain.name(): domain for domain in host.connection.listAllDomains(0)}


def _name(item: Any) -> str:
    return str(item.get("name") or "") if isinstance(item, Mapping) else ""


def _read(item: Mapping[str, Any], inherited: Mapping[str, Any]) -> Declaration:
    """An item of C(vms), checked as the options of a task are, which stand in for what it leaves out."""
    unknown = sorted(set(item) - {"name", *_INHERITED})
    if unknown:
        raise Refused(f"vms: {', '.join(unknown)} is no option of a machine")
    checked = _ITEM.validate(dict(item))
    if checked.error_messages:
        raise Refused(*(message.rstrip(".") for message in checked.error_messages))
    own = {name: value for name, value in checked.validated_parameters.items() if value is not None}
    return read_declaration({**inherited, **own})


def _policy(task: Task) -> Policy:
    params = task.params
    return Policy(
        check_mode=task.check_mode,
        diff=task.diff,
        replace_lists=params["replace_lists"],
        apply=params["apply"],
        wait_for=params["wait_for"],
        waiting=_waiting(task),
    )


def _removal(task: Task) -> Removal:
    params = task.params
    return Removal(
        disks=read_delete_disks(params["delete_disks"]),
        force=params["force"],
        check_mode=task.check_mode,
        diff=task.diff,
        waiting=_waiting(task),
    )


def _waiting(task: Task) -> Waiting:
    return Waiting(task.params["wait_timeout"] if task.params["wait"] else None, task.progress)


def _sentences(refused: Refused) -> str:
    return " ".join(f"{problem}." for problem in refused.problems)


def _attempt(step: Callable[[], Any]) -> Any:
    """What a step returns, or the Failure it ends in."""
    try:
        return step()
    except Refused as refused:
        return Failure(_sentences(refused))
    except Failure as failure:
        return failure


def gathered(names: Sequence[str], outcomes: Sequence[Result | Failure], diff: bool) -> Result:
    """The result of a task for many machines. Raises Failure, with all results, when one of them failed."""
    results: list[Result] = []
    failures: list[str] = []
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, Failure):
            failures.append(f"{name or 'an item without a name'}: {outcome.message}")
            results.append({"name": name, "changed": False, **outcome.result, "failed": True, "msg": outcome.message})
        else:
            results.append(outcome)
    diffs = [result.pop("diff") for result in results if "diff" in result]
    result: Result = {"changed": any(item["changed"] for item in results), "vms": results}
    if diff:
        result["diff"] = [item for item in diffs if item["before"] != item["after"]]
    if failures:
        told = "\n".join(failures[:_SPELLED_OUT])
        more = f"\nand {len(failures) - _SPELLED_OUT} more" if len(failures) > _SPELLED_OUT else ""
        raise Failure(f"{len(failures)} of {len(results)} virtual machines failed:\n{told}{more}", **result)
    return result
