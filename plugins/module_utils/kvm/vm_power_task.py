# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_vm_power): the machines of a name or a selector, each brought into the state on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..selector import matcher
from ..task import Failure, Result, Task
from .connection import Host
from .errors import NotThere, asking
from .kept import kept
from .library import libvirt
from .vm_fleet import document
from .vm_power import ACTIVE, Waiting, await_guest, call_to_shut_down, shut_down, start, status, switch_off
from .vm_task import gathered
from .xml import parse

STATES = (
    "started",
    "stopped",
    "restarted",
    "paused",
    "unpaused",
    "rebooted",
    "reset",
    "saved",
    "restored",
)
# Which options mean something with which states.
_FOR: Mapping[str, tuple[str, ...]] = {
    "grace_period": ("stopped", "restarted"),
    "force": ("started", "stopped", "restarted", "saved"),
    "start_paused": ("started", "restarted", "restored"),
    "file": ("saved", "restored"),
}
# Waiting for guests costs the host nothing; so many are waited for at a time.
_AT_ONCE = 50


@dataclass(frozen=True)
class Wish:
    """The state that is wanted, and how to get there. C(grace_period) is in seconds."""

    state: str
    grace_period: int | None = None
    force: bool = False
    start_paused: bool = False
    file: str | None = None
    wait_for: str = "running"
    waiting: Waiting = field(default_factory=Waiting)


def power_vms(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_vm_power). Raises Failure for a machine that is not there, or cannot be brought there."""
    params = task.params
    wish = _wish(task)
    domains = _domains(host, params)

    def one(domain: libvirt.virDomain) -> Result | Failure:
        name = domain.name()
        before = "unknown"
        try:
            before = status(domain)
            action = _ACTIONS[wish.state](host, domain, before, wish)
            if action is not None and not task.check_mode:
                action()
            elif wish.state in ("started", "restored") and before == "running" and not task.check_mode:
                _await(host, domain, wish)
            after = before if task.check_mode else _after(domain)
        except Failure as failure:
            return Failure(failure.message, status=before)
        result: Result = {"name": name, "status": after, "changed": action is not None}
        if task.diff:
            then = _EXPECTED.get(wish.state, before) if action is not None and task.check_mode else after
            result["diff"] = {"before": {"name": name, "status": before}, "after": {"name": name, "status": then}}
        return result

    outcomes = host.in_parallel(one, domains, _AT_ONCE)
    names = [domain.name() for domain in domains]
    if params["name"] is not None and isinstance(outcomes[0], Failure):
        failure = outcomes[0]
        told = {"name": names[0], **failure.result, "changed": False, "failed": True, "msg": failure.message}
        raise Failure(failure.message, vms=[told])
    return gathered(names, outcomes, task.diff)


_EXPECTED = {
    "started": "running",
    "restarted": "running",
    "unpaused": "running",
    "rebooted": "running",
    "reset": "running",
    "restored": "running",
    "stopped": "stopped",
    "saved": "stopped",
    "paused": "paused",
}


def _after(domain: libvirt.virDomain) -> str:
    try:
        return status(domain)
    except NotThere:
        # A transient domain is gone with its guest.
        return "stopped"


def _wish(task: Task) -> Wish:
    params = task.params
    state, period = params["state"], params["grace_period"]
    if period is not None and period < 0:
        raise Failure(f"grace_period: {period} is less than 0 seconds.")
    if params["force"] and period is not None:
        raise Failure("force: switches the guest off at once; leave out grace_period, or force.")
    for option, states in _FOR.items():
        if params[option] not in (None, False) and state not in states:
            raise Failure(f"{option}: means nothing with state: {state}; it is for {' and '.join(states)}.")
    file = params["file"]
    if file is not None and params["name"] is None:
        raise Failure("file: holds the memory of one machine; give its name.")
    if file is not None and not file.startswith("/"):
        raise Failure(f"file: {file} does not begin with /; give the whole path on the host.")
    waiting = Waiting(params["wait_timeout"] if params["wait"] else None, task.progress)
    return Wish(state, period, params["force"], params["start_paused"], file, params["wait_for"], waiting)


def _domains(host: Host, params: Mapping[str, Any]) -> list[libvirt.virDomain]:
    if params["name"] is not None:
        domain = host.domain(params["name"])
        if domain is None:
            raise Failure(f"There is no virtual machine {params['name']} on {host.uri}. Check name and uri.")
        return [domain]
    matches = matcher(params["label_selector"])
    with asking(f"list the virtual machines of {host.uri}"):
        found = host.connection.listAllDomains(0)
        labelled = [(domain, kept(parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))).labels) for domain in found]
    return sorted((domain for domain, labels in labelled if matches(labels)), key=lambda domain: str(domain.name()))


Action = Callable[[], None]


def _started(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    if before in ACTIVE and before != "stopping":
        return None

    def act() -> None:
        if before == "stopping":
            shut_down(host, domain, _grace(domain, wish), wish.waiting)
        _start(host, domain, wish)

    return act


def _start(host: Host, domain: libvirt.virDomain, wish: Wish) -> None:
    if wish.force and wish.state == "started":
        with asking(f"start virtual machine {domain.name()} anew"):
            paused = libvirt.VIR_DOMAIN_START_PAUSED if wish.start_paused else 0
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT | paused)
    else:
        start(domain, paused=wish.start_paused)
    _await(host, domain, wish)


def _await(host: Host, domain: libvirt.virDomain, wish: Wish) -> None:
    if wish.waiting.timeout is not None and not wish.start_paused:
        await_guest(host, domain, wish.wait_for, wish.waiting)


def _grace(domain: libvirt.virDomain, wish: Wish) -> int | None:
    """How long the guest may take before it is switched off; None where nobody said that it may be."""
    return wish.grace_period if wish.grace_period is not None else kept(document(domain)).grace_period


def _stopped(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    if before not in ACTIVE:
        return None
    return lambda: _stop(host, domain, wish)


def _stop(host: Host, domain: libvirt.virDomain, wish: Wish) -> None:
    if wish.force:
        switch_off(domain)
    elif wish.waiting.timeout is None and wish.state == "stopped" and wish.grace_period is None:
        call_to_shut_down(domain)
    else:
        shut_down(host, domain, _grace(domain, wish), wish.waiting)


def _restarted(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    _require_guest(domain, before, "restarted")
    if not domain.isPersistent():
        raise Failure(f"Virtual machine {domain.name()} is transient: it would be gone when it stops. Define it first.")

    def act() -> None:
        _stop(host, domain, wish)
        _start(host, domain, wish)

    return act


def _require_guest(domain: libvirt.virDomain, before: str, state: str) -> None:
    if before not in ACTIVE:
        raise Failure(
            f"Virtual machine {domain.name()} cannot be {state}: it is {before}. Start it with state: started."
        )


def _paused(_host: Host, domain: libvirt.virDomain, before: str, _wish: Wish) -> Action | None:
    if before == "paused":
        return None
    _require_guest(domain, before, "paused")

    def act() -> None:
        with asking(f"pause virtual machine {domain.name()}"):
            domain.suspend()

    return act


def _unpaused(_host: Host, domain: libvirt.virDomain, before: str, _wish: Wish) -> Action | None:
    if before == "running":
        return None
    _require_guest(domain, before, "unpaused")

    def act() -> None:
        with asking(f"unpause virtual machine {domain.name()}"):
            if before == "suspended":
                domain.pMWakeup(0)
            else:
                domain.resume()

    return act


def _rebooted(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    _require_running(domain, before, "reboot")

    def act() -> None:
        with host.watch(domain, "REBOOT", "LIFECYCLE") as watch:
            with asking(f"reboot virtual machine {domain.name()}"):
                domain.reboot(0)
            if wish.waiting.timeout is None:
                return

            def look() -> bool | None:
                if status(domain) not in ACTIVE:
                    raise Failure(f"Virtual machine {domain.name()} shut down instead of rebooting. Start it again.")
                return True if any(kind == "REBOOT" for kind, _arguments in watch.seen) else None

            watch.until(
                look,
                wish.waiting.timeout,
                lambda: (
                    f"Virtual machine {domain.name()} did not reboot within {wish.waiting.timeout:.0f} s: its guest"
                    " does not listen. Use state: reset, or restarted."
                ),
            )
        _await(host, domain, wish)

    return act


def _require_running(domain: libvirt.virDomain, before: str, what: str) -> None:
    _require_guest(domain, before, f"made to {what}")
    if before != "running":
        raise Failure(f"Virtual machine {domain.name()} cannot {what}: it is {before}. Unpause it first.")


def _reset(_host: Host, domain: libvirt.virDomain, before: str, _wish: Wish) -> Action | None:
    _require_guest(domain, before, "reset")

    def act() -> None:
        with asking(f"reset virtual machine {domain.name()}"):
            domain.reset(0)

    return act


def _saved(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    name = domain.name()
    if wish.file is not None:
        return _saved_to_file(host, domain, before, wish)
    if before not in ACTIVE and _has_saved(domain):
        return None
    _require_guest(domain, before, "saved")

    def act() -> None:
        with asking(f"save the memory of virtual machine {name}"):
            domain.managedSave(0)

    return act


def _has_saved(domain: libvirt.virDomain) -> bool:
    with asking(f"read virtual machine {domain.name()}"):
        return bool(domain.hasManagedSaveImage(0))


def _saved_to_file(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    owner = _saved_in(host, wish.file or "")
    if before not in ACTIVE and owner == domain.name():
        return None
    _require_guest(domain, before, "saved")
    if owner is not None and not wish.force:
        raise Failure(
            f"file: {wish.file} holds the saved memory of virtual machine {owner}. Choose another file, or set force:"
            " true to write over it."
        )

    def act() -> None:
        with asking(f"save the memory of virtual machine {domain.name()} to {wish.file}"):
            domain.save(wish.file)

    return act


def _saved_in(host: Host, file: str) -> str | None:
    """The name of the machine whose memory a file holds, None where it holds none."""
    try:
        return str(parse(host.connection.saveImageGetXMLDesc(file, 0)).findtext("name"))
    except libvirt.libvirtError:
        return None


def _restored(host: Host, domain: libvirt.virDomain, before: str, wish: Wish) -> Action | None:
    if before in ACTIVE:
        return None
    if wish.file is None:
        if not _has_saved(domain):
            raise Failure(
                f"Virtual machine {domain.name()} cannot be restored: its memory was not saved. Start it with state:"
                " started."
            )
        return lambda: _start(host, domain, wish)
    owner = _saved_in(host, wish.file)
    if owner != domain.name():
        holds = "holds no saved memory" if owner is None else f"holds that of virtual machine {owner}"
        raise Failure(f"Virtual machine {domain.name()} cannot be restored: {wish.file} {holds}.")

    def act() -> None:
        flags = libvirt.VIR_DOMAIN_SAVE_PAUSED if wish.start_paused else 0
        with asking(f"restore virtual machine {domain.name()} from {wish.file}"):
            host.connection.restoreFlags(wish.file, None, flags)
        _await(host, domain, wish)

    return act


_ACTIONS: Mapping[str, Callable[[Host, libvirt.virDomain, str, Wish], Action | None]] = {
    "started": _started,
    "stopped": _stopped,
    "restarted": _restarted,
    "paused": _paused,
    "unpaused": _unpaused,
    "rebooted": _rebooted,
    "reset": _reset,
    "saved": _saved,
    "restored": _restored,
}
