# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making VirtualMachines what is declared: checked first, written once, waited for, restarted only when told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import Outcome, declare
from ..cluster.errors import ClusterError, Forbidden
from ..cluster.resource import Object
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from ..cluster.wait import WaitTimeout, wait
from ..known import known
from ..machine import quantity
from ..task import Failure, Result
from . import kubevirt_status as status
from .cdi import DATA_VOLUME
from .claim_users import Users, is_for_several, refuse_taken, users
from .core import PVC, STORAGE_CLASS
from .kubevirt import (
    ALWAYS,
    DEVICES,
    HALTED,
    MANUAL,
    ONCE,
    RERUN_ON_FAILURE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    at,
    by_name,
    claims,
    is_active,
    label,
    run_strategy,
)
from .kubevirt_manifest import Plan, plan, whole_lists
from .kubevirt_options import Declaration, is_platform_namespace
from .kubevirt_power import Waiting, Wish, act, related_volumes
from .kubevirt_restart import reasons

# Seconds in which the controller says whether a change needs a restart.
_VERDICT_TIME = 10.0


@dataclass(frozen=True)
class Policy:
    """How VMs are written. C(timeout) is None where nothing is waited for, else in seconds.

    C(classes) remembers which storage classes exist, and C(users) who uses the claims of a namespace, for all VMs of a
    task, under the C(lock).
    """

    check_mode: bool = False
    diff: bool = False
    force_conflicts: bool = False
    replace_lists: bool = False
    apply: str = "next_boot"
    allow_platform_namespace: bool = False
    timeout: float | None = None
    progress: Callable[[str], None] | None = None
    classes: dict[str, bool] = field(default_factory=dict)
    users: dict[str, Users] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def waiting(self) -> Waiting:
        return Waiting(self.timeout, self.progress)


def present(client: Client, declaration: Declaration, live: Object | None, policy: Policy) -> tuple[Result, Object]:
    """Make one VM what is declared; the task's result for it, and the VM. Raises Failure and Refused.

    Everything that can be refused is refused before the first write.
    """
    planned = plan(declaration, live, policy.replace_lists)
    _refuse(client, declaration, live, planned, policy)
    warnings = _refuse_taken(client, live, planned.body, policy)

    def write(check_mode: bool) -> Outcome:
        return declare(
            client,
            VIRTUAL_MACHINE,
            planned.body,
            live=live,
            check_mode=check_mode,
            force_conflicts=policy.force_conflicts,
            replace_lists=policy.replace_lists and whole_lists(declaration),
            rebase=lambda now: plan(declaration, now, policy.replace_lists).body,
        )

    if live is not None and (planned.growth or policy.apply == "live"):
        rehearsal = write(check_mode=True)
        if policy.apply == "live":
            _refuse_restart(live, rehearsal)
    expanded = _expand(client, declaration.namespace, planned.growth, policy)
    outcome = write(policy.check_mode)
    after = outcome.after or {}
    why = _restart_reasons(client, outcome, policy)
    result: Result = {
        "name": declaration.name,
        "namespace": declaration.namespace,
        "changed": outcome.changed or bool(expanded),
        "action": "updated" if expanded and not outcome.changed else outcome.action,
        "restart_required": bool(why),
        "restart_reasons": why,
        "restarted": False,
        "expanded": expanded,
        "notes": [*planned.notes, *warnings, *outcome.warnings],
    }
    if policy.diff:
        result["diff"] = outcome.diff()
    if why and policy.apply == "restart":
        _restart(client, after, policy)
        result.update(changed=True, restarted=True)
        if not policy.check_mode:
            result.update(restart_required=False)
    return result, after


def _refuse(client: Client, declaration: Declaration, live: Object | None, planned: Plan, policy: Policy) -> None:
    """Everything that is known to go wrong, before anything is written."""
    if live is None and is_platform_namespace(declaration.namespace) and not policy.allow_platform_namespace:
        raise Failure(
            f"Cannot create VirtualMachine {declaration.label}: the namespace {declaration.namespace} belongs to the"
            " platform. Use one of your own, or set allow_platform_namespace: true."
        )
    if live is not None and at(live, "metadata.deletionTimestamp"):
        raise Failure(f"VirtualMachine {label(live)} is being deleted. Run this again when it is gone.")
    for name in planned.storage_classes:
        if name not in policy.classes:
            policy.classes[name] = _has_storage_class(client, name)
        if not policy.classes[name]:
            known = sorted(item["metadata"]["name"] for item in client.list(STORAGE_CLASS).items)
            raise Failure(
                f"Cannot write VirtualMachine {declaration.label}: there is no storage class {name}."
                f" The cluster has: {', '.join(known) or 'none'}."
            )


def _refuse_taken(client: Client, live: Object | None, body: Object, policy: Policy) -> list[str]:
    """Raises Failure where a disk would be that of another running machine; what to warn of.

    It is looked up only where a machine gets a claim, or is to start from now on: what is there already is not judged.
    """
    runs = _is_to_run(live, body)
    starts = runs and (live is None or not (is_active(live) or _is_to_run(live, {})))
    present = claims(live) if live is not None else {}
    disks = {**by_name(at(live, f"{DEVICES}.disks")), **by_name(at(body, f"{DEVICES}.disks"))}
    # A file system is shared by its server, for which it is made.
    shared = {**by_name(at(live, f"{DEVICES}.filesystems")), **by_name(at(body, f"{DEVICES}.filesystems"))}
    new = {
        disk: claim
        for disk, claim in {**present, **claims(body)}.items()
        if (starts or present.get(disk) != claim) and disk not in shared and not is_for_several(disks.get(disk) or {})
    }
    if not new:
        return []
    namespace = body["metadata"]["namespace"]
    with policy.lock:
        if namespace not in policy.users:
            policy.users[namespace] = users(client, namespace, pods=False)
        using = policy.users[namespace]
        told = [refuse_taken(using, body, disk, claim, runs=runs) for disk, claim in new.items()]
        if runs:
            # For the other machines of the task.
            for claim in new.values():
                using.due.setdefault(claim, []).append(body["metadata"]["name"])
    return [warning for warning in told if warning]


def _is_to_run(live: Object | None, body: Object) -> bool:
    """Whether a machine runs by itself once it is as declared."""
    for found in (body, live or {}):
        if at(found, "spec.runStrategy") or at(found, "spec.running") is not None:
            return run_strategy(found) in (ALWAYS, RERUN_ON_FAILURE, ONCE)
    return False


def _has_storage_class(client: Client, name: str) -> bool:
    try:
        return client.get(STORAGE_CLASS, name) is not None
    except Forbidden:
        # Who may not look them up may still use them.
        return True


def _refuse_restart(live: Object, rehearsal: Outcome) -> None:
    if not is_active(live) or not rehearsal.changed or rehearsal.after is None:
        return
    why = [reason for reason in reasons(live, rehearsal.after) if reason.endswith(" changed")]
    if why:
        raise Failure(
            f"VirtualMachine {label(live)} was not changed: with apply: live only what reaches the running guest is"
            f" written, but {'; '.join(why)}. Set apply to next_boot or restart.",
            restart_required=True,
            restart_reasons=why,
        )


def _expand(client: Client, namespace: str, growth: Mapping[str, str], policy: Policy) -> dict[str, str]:
    """Raise the request of claims to the size declared; what was raised. A claim that is larger is left alone."""
    expanded = {}
    for claim, size in growth.items():
        found = client.get(PVC, claim, namespace)
        present = at(found, "spec.resources.requests.storage")
        if found is None or (present and quantity.amount(present) >= quantity.amount(size)):
            continue
        body = {"spec": {"resources": {"requests": {"storage": size}}}}
        client.patch(PVC, claim, namespace, body, dry_run=policy.check_mode)
        expanded[claim] = size
    return expanded


def _restart_reasons(client: Client, outcome: Outcome, policy: Policy) -> list[str]:
    """Why the guest has to be restarted, once the controller has had time to say so."""
    before, after = outcome.before, outcome.after
    if before is None or after is None or not is_active(before):
        return []
    why = reasons(before, after)
    if why or policy.check_mode or at(before, "spec") == at(after, "spec"):
        return why
    try:
        seen = wait(
            client,
            VIRTUAL_MACHINE,
            after["metadata"]["name"],
            after["metadata"]["namespace"],
            _seen,
            timeout=_VERDICT_TIME,
        )
    except WaitTimeout:
        return why
    return reasons(None, seen) if seen else []


def _seen(vm: Object | None) -> Verdict:
    return Ready() if vm is None or status.is_seen(vm) else Progress()


def _restart(client: Client, vm: Object, policy: Policy) -> None:
    metadata = vm["metadata"]
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, metadata["name"], metadata["namespace"])
    act(client, Wish("restarted"), vm, instance, check_mode=policy.check_mode, waiting=policy.waiting)


def await_ready(client: Client, vm: Object, created: bool, expanded: Mapping[str, str], policy: Policy) -> Object:
    """Wait until the VM is as far as its run strategy takes it; the VM then. Raises ClusterError."""
    name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
    deadline = time.monotonic() + known(policy.timeout)

    def until(check: Check, **more: Any) -> Object | None:
        remaining = max(0.0, deadline - time.monotonic())
        return wait(
            client, VIRTUAL_MACHINE, name, namespace, check, timeout=remaining, progress=policy.progress, **more
        )

    for claim in expanded:
        remaining = max(0.0, deadline - time.monotonic())
        wait(client, PVC, claim, namespace, _expanded, timeout=remaining, progress=policy.progress)
    strategy = run_strategy(vm)
    check = status.expected(vm, created)
    if isinstance(check(vm), Ready):
        return vm
    if strategy == HALTED or (created and strategy == MANUAL):
        # Nothing starts, so that the volumes themselves say when they are filled.
        until(status.provisioning)
        templates = by_name(at(vm, "spec.dataVolumeTemplates"))
        for disk, claim in claims(vm).items():
            if claim in templates and client.get(DATA_VOLUME, claim, namespace) is not None:
                remaining = max(0.0, deadline - time.monotonic())
                wait(
                    client,
                    DATA_VOLUME,
                    claim,
                    namespace,
                    status.volume_check(disk),
                    timeout=remaining,
                    progress=policy.progress,
                )
        return until(check) or vm
    return until(check, related=related_volumes(vm)) or vm


def _expanded(claim: Object | None) -> Verdict:
    """Whether a claim has the size it asks for; the file system in it grows when a guest uses it."""
    if claim is None:
        return Failed("it was deleted")
    wanted = at(claim, "spec.resources.requests.storage", "0")
    has = at(claim, "status.capacity.storage", "0")
    conditions = {item["type"]: item for item in at(claim, "status.conditions") or ()}
    if quantity.amount(has) >= quantity.amount(wanted) or "FileSystemResizePending" in conditions:
        return Ready()
    for name in ("ControllerResizeError", "NodeResizeError"):
        if name in conditions:
            return Failed(str(conditions[name].get("message") or name))
    return Progress(f"{claim['metadata']['name']} grows from {has} to {wanted}")


def waiting_check(created: Mapping[tuple[str | None, str], bool]) -> Check:
    """One check for many VMs, each by its own run strategy."""

    def check(vm: Object | None) -> Verdict:
        if vm is None:
            return Failed("it was deleted while it was waited for")
        key = (vm["metadata"]["namespace"], vm["metadata"]["name"])
        return status.expected(vm, created.get(key, False))(vm)

    return check


def explained(client: Client, vm: Object, error: ClusterError) -> str:
    """The message of a wait that failed, and what CDI says of the volumes: the VM tells only that they failed."""
    told = [reason for reason in _volume_troubles(client, vm) if reason not in error.message]
    return " ".join([error.message, *(f"{reason}." for reason in told)])


def _volume_troubles(client: Client, vm: Object) -> Iterator[str]:
    for related in related_volumes(vm):
        try:
            found = client.get(DATA_VOLUME, related.name or "", related.namespace)
        except ClusterError:
            return
        verdict = related.check(found)
        if isinstance(verdict, Failed):
            yield f"DataVolume {related.name}: {verdict.reason.rstrip('.')}"
