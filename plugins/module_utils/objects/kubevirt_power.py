# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, stopping, pausing: which action a wanted state takes, given what is there, and what a refusal means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import Conflict, NotFound
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict, deleted, exists, replaced
from ..cluster.wait import Related, WaitFailed, WaitTimeout, wait
from ..known import known
from ..task import Failure
from . import kubevirt_status as status
from .cdi import DATA_VOLUME
from .kubevirt import (
    ALWAYS,
    HALTED,
    INSTANCE_ACTIONS,
    MACHINE_ACTIONS,
    ONCE,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    at,
    by_name,
    claims,
    holds,
    label,
    printable_status,
    run_strategy,
)

STATES = ("started", "stopped", "restarted", "paused", "unpaused", "soft_rebooted", "reset")
# These act each time.
ACTIONS = frozenset({"restarted", "soft_rebooted", "reset"})

# What virt-api's refusals mean; none of them says which state is in the way.
MEANINGS: Mapping[str, str] = {
    "Always does not support manual start": "its run strategy is Always, so KubeVirt starts it by itself",
    "Once does not support manual start": "its run strategy is Once and it has run; set another run_strategy",
    "Once does not support manual restart": "its run strategy is Once, which allows no restart; set another",
    "Halted does not support manual restart": "it is halted; start it",
    "with a shorter graceperiod": "it is stopping already; a shorter grace_period would hasten it",
    "VM is already running": "its guest is running, or still stopping",
    "VM is not running": "it has no running guest",
    "already paused": "its guest is paused already",
    "is not paused": "its guest is not paused",
    "Volume Migration": "its volumes are being migrated",
}


@dataclass(frozen=True)
class Wish:
    """The state that is wanted, and how to get there. C(grace_period) is in seconds."""

    state: str
    grace_period: int | None = None
    force: bool = False
    start_paused: bool = False


@dataclass(frozen=True)
class Step:
    """What to do for one VM: an action (none when there is nothing to do), and what to wait for afterwards.

    C(after) is what has to be over before the action is taken.
    """

    resource: Resource | None = None
    subresource: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = True
    check: Check | None = None
    after: Check | None = None


def is_live(instance: Object | None) -> bool:
    """Whether a guest is there that is not ending."""
    return not status.instance_is_over(instance) and not at(instance, "metadata.deletionTimestamp")


def _instance_running(paused: bool) -> Check:
    def check(instance: Object | None) -> Verdict:
        if instance is None:
            return Progress("waiting for its instance")
        phase = str(at(instance, "status.phase") or "Pending")
        if phase == "Failed":
            return Failed("its guest failed")
        if phase == "Running" and (holds(instance, "Ready") or holds(instance, "Paused") or paused):
            return Ready()
        return Progress(f"instance {phase}")

    return check


def _paused(wanted: bool) -> Check:
    def check(instance: Object | None) -> Verdict:
        if instance is None:
            return Failed("it was stopped meanwhile")
        return Ready() if holds(instance, "Paused") is wanted else Progress("paused" if not wanted else "running")

    return check


def _over(instance: Object | None) -> Check:
    uid = at(instance, "metadata.uid")

    def check(found: Object | None) -> Verdict:
        if found is not None and uid is not None and found["metadata"]["uid"] != uid:
            return Failed("it was started again meanwhile")
        return Ready() if status.instance_is_over(found) else deleted(found)

    return check


def plan(wish: Wish, vm: Object, instance: Object | None) -> Step:
    """The step that takes the VM from what it is to what is wanted. Raises Failure where there is no way."""
    return _PLANS[wish.state](wish, vm, instance)


def _start(wish: Wish, vm: Object, instance: Object | None) -> Step:
    is_stopping = _is_stopping(vm, instance)
    if is_live(instance) and not is_stopping:
        return Step(check=_instance_running(wish.start_paused))
    uid = at(instance, "metadata.uid") or ""
    check = replaced(uid, _instance_running(wish.start_paused))
    strategy = run_strategy(vm)
    if strategy == ALWAYS or (strategy == ONCE and instance is None):
        # It starts by itself, unless it is to start paused, which only the first start can do.
        return Step(check=check)
    if strategy == ONCE:
        raise Failure(f"Cannot start {label(vm)}: {MEANINGS['Once does not support manual start']}.")
    body = {"paused": True} if wish.start_paused else {}
    # What is being deleted has to be gone; what has ended by itself is no hindrance.
    after = (deleted if is_stopping else _over(instance)) if instance is not None else None
    return Step(MACHINE_ACTIONS, "start", body, check=check, after=after)


def _requested(vm: Object) -> str:
    """What the controller was last asked for and has not done yet: Start, Stop, or nothing."""
    requests = at(vm, "status.stateChangeRequests") or [{}]
    return str(requests[-1].get("action") or "")


def _is_stopping(vm: Object, instance: Object | None) -> bool:
    """Whether an instance is there that is about to go, also where its deletion has yet to be asked for."""
    if instance is None:
        return False
    is_told = is_live(instance) and (run_strategy(vm) == HALTED or _requested(vm) == "Stop")
    return is_told or bool(at(instance, "metadata.deletionTimestamp"))


def _stop(wish: Wish, vm: Object, instance: Object | None) -> Step:
    over = status.instance_is_over(instance)
    strategy = run_strategy(vm)
    if over and _requested(vm) == "Start":
        # KubeVirt refuses to stop what has not started, and would start it then.
        return Step(MACHINE_ACTIONS, "stop", dry_run=False, check=deleted, after=exists)
    if over and strategy != ALWAYS:
        return Step(check=_over(instance))
    period = 0 if wish.force else wish.grace_period
    body = {} if period is None else {"gracePeriod": period}
    is_stopping = bool(at(instance, "metadata.deletionTimestamp"))
    if is_stopping and strategy == HALTED and not _hastens(period, instance):
        return Step(check=_over(instance))
    return Step(MACHINE_ACTIONS, "stop", body, check=_over(instance))


def _hastens(period: int | None, instance: Object | None) -> bool:
    present = at(instance, "spec.terminationGracePeriodSeconds")
    return period is not None and present is not None and period < present


def _restart(wish: Wish, vm: Object, instance: Object | None) -> Step:
    if wish.grace_period:
        raise Failure(
            f"Cannot restart {label(vm)} with a grace_period of {wish.grace_period}: KubeVirt restarts with the VM's"
            " termination grace period, or at once with force: true."
        )
    found = _guest("restart", vm, instance)
    body = {"gracePeriodSeconds": 0} if wish.force or wish.grace_period == 0 else {}
    check = replaced(found["metadata"]["uid"], _instance_running(False))
    return Step(MACHINE_ACTIONS, "restart", body, check=check)


def _pause(wish: Wish, vm: Object, instance: Object | None) -> Step:
    if holds(_guest("pause", vm, instance), "Paused"):
        return Step()
    return Step(INSTANCE_ACTIONS, "pause", check=_paused(True))


def _unpause(wish: Wish, vm: Object, instance: Object | None) -> Step:
    if not holds(_guest("unpause", vm, instance), "Paused"):
        return Step()
    return Step(INSTANCE_ACTIONS, "unpause", check=_paused(False))


def _in_guest(subresource: str) -> Callable[[Wish, Object, Object | None], Step]:
    """Actions that the running instance gets as they are: they have no dry run, and leave nothing to wait for."""

    def plan_action(wish: Wish, vm: Object, instance: Object | None) -> Step:
        found = _guest(subresource, vm, instance)
        if holds(found, "Paused"):
            raise Failure(f"Cannot {subresource} {label(vm)}: its guest is paused; unpause it first.")
        return Step(INSTANCE_ACTIONS, subresource, dry_run=False)

    return plan_action


def _guest(action: str, vm: Object, instance: Object | None) -> Object:
    if instance is None or not is_live(instance):
        seen = printable_status(vm) or "unknown"
        raise Failure(
            f"Cannot {action} {label(vm)}: it has no running guest (status {seen}). Start it with state: started."
        )
    return instance


_PLANS: Mapping[str, Callable[[Wish, Object, Object | None], Step]] = {
    "started": _start,
    "stopped": _stop,
    "restarted": _restart,
    "paused": _pause,
    "unpaused": _unpause,
    "soft_rebooted": _in_guest("softreboot"),
    "reset": _in_guest("reset"),
}


@dataclass(frozen=True)
class Waiting:
    """How long to wait, in seconds; C(timeout) is None where nothing is waited for."""

    timeout: float | None = None
    progress: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Acted:
    """What came of a wish: whether that took an action, and VM and instance as they were last seen."""

    changed: bool
    vm: Object
    instance: Object | None


def act(
    client: Client, wish: Wish, vm: Object, instance: Object | None, *, check_mode: bool, waiting: Waiting
) -> Acted:
    """Bring one VM into the wanted state. Raises Failure with what a refusal means.

    A refusal may come of what was read being past: a new VM, for one, gets its instance in a moment of its own. So what
    is there is read again, and the refusal counts where the same action would still be needed.
    """
    step = plan(wish, vm, instance)
    try:
        changed = _take(client, step, vm, check_mode, waiting)
    except _Refusal:
        now = _read_again(client, vm)
        step = plan(wish, *now)
        if step.resource is not None and at(instance, "metadata.uid") == at(now[1], "metadata.uid"):
            raise
        vm, instance = now
        changed = _take(client, step, vm, check_mode, waiting)
    is_there = not changed and (step.check is None or isinstance(step.check(instance), Ready))
    if check_mode or is_there or not (changed or waiting.timeout):
        return Acted(changed, vm, instance)
    if step.check is not None and waiting.timeout is not None:
        _await(client, vm, step.check, waiting)
        _await_told(client, wish, vm)
    return Acted(changed, *_read_again(client, vm))


class _Refusal(Failure):
    """An action that virt-api refused because of the state that the VM is in."""


def _take(client: Client, step: Step, vm: Object, check_mode: bool, waiting: Waiting) -> bool:
    """Take the action of a step, if it has one."""
    if step.resource is None:
        return False
    if step.after is not None and not check_mode:
        # KubeVirt refuses to start what has not stopped.
        patience = waiting.timeout or 120
        _await(client, vm, step.after, Waiting(patience, waiting.progress))
        wait(client, VIRTUAL_MACHINE, vm["metadata"]["name"], vm["metadata"]["namespace"], _settled, timeout=patience)
    _call(client, step, vm["metadata"]["name"], vm["metadata"]["namespace"], check_mode)
    return True


def _call(client: Client, step: Step, name: str, namespace: str, check_mode: bool) -> None:
    if check_mode and not step.dry_run:
        return
    # virt-api reads dryRun from the body, not from the query.
    body = {**step.body, **({"dryRun": ["All"]} if check_mode else {})}
    try:
        client.call(known(step.resource), name, namespace, step.subresource, body, dry_run=check_mode)
    except (Conflict, NotFound) as error:
        meaning = next((text for words, text in MEANINGS.items() if words in error.server_message), None)
        if meaning is None:
            raise
        raise _Refusal(
            f"Cannot {step.subresource} {namespace}/{name}: {meaning}. The server said: {error.server_message}"
        ) from error


def _settled(vm: Object | None) -> Verdict:
    """Whether the controller has done what it was asked for; until then it takes no other request."""
    return Progress("stop or start underway") if at(vm, "status.stateChangeRequests") else Ready()


def _read_again(client: Client, vm: Object) -> tuple[Object, Object | None]:
    name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
    now = client.get(VIRTUAL_MACHINE, name, namespace)
    return now or vm, client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)


def _await_told(client: Client, wish: Wish, vm: Object) -> None:
    """Give the controller a moment to write into the VM what its instance has become."""
    check = _TOLD.get(wish.state)
    if check is None:
        return
    try:
        wait(client, VIRTUAL_MACHINE, vm["metadata"]["name"], vm["metadata"]["namespace"], check, timeout=_TELLING_TIME)
    except (WaitTimeout, WaitFailed):
        # The instance is there all the same, and that was waited for.
        return


# Seconds in which the controller writes the state of an instance into its VM.
_TELLING_TIME = 10.0
_TOLD: Mapping[str, Check] = {
    "started": status.running,
    "restarted": status.running,
    "stopped": status.stopped,
    "paused": status.paused,
    "unpaused": status.running,
}


def _await(client: Client, vm: Object, check: Check, waiting: Waiting) -> None:
    name, namespace = vm["metadata"]["name"], vm["metadata"]["namespace"]
    wait(
        client,
        VIRTUAL_MACHINE_INSTANCE,
        name,
        namespace,
        check,
        timeout=known(waiting.timeout),
        progress=waiting.progress,
        related=[Related(VIRTUAL_MACHINE, machine_trouble, namespace, name), *related_volumes(vm)],
    )


def machine_trouble(vm: Object | None) -> Verdict:
    """What keeps a VM from having an instance."""
    if vm is None:
        return Failed("it was deleted")
    if not status.is_seen(vm):
        return Progress()
    return status.failing(vm) or Progress(printable_status(vm))


def related_volumes(vm: Object) -> list[Related]:
    """The DataVolumes that are made for the VM: their failure is its failure."""
    templates = by_name(at(vm, "spec.dataVolumeTemplates"))
    namespace = vm["metadata"]["namespace"]
    return [
        Related(DATA_VOLUME, _filling(disk), namespace, claim)
        for disk, claim in claims(vm).items()
        if claim in templates
    ]


def _filling(disk: str) -> Check:
    check = status.volume_check(disk)

    def checked(volume: Object | None) -> Verdict:
        return Progress() if volume is None else check(volume)

    return checked
