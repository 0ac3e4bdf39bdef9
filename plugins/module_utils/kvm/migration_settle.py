# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a machine is, and what an earlier migration that was cut off has left of it on two hosts.

A migration can be cut off at any time: the task, libvirt on a side, or a whole host goes. Then both hosts may know the
machine. Which of them has the guest follows from both states together, and only what cannot be the guest is ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ..task import Failure
from .connection import Host
from .errors import NotThere, asking
from .library import libvirt
from .migration_checks import refuse_taken
from .notes import forget, noted

# Both hosts have one machine, by its uuid. What is to be done, by (state on the source, state on the target).
_MOVE, _FINISH, _DROP, _RESUME = "move", "finish", "drop", "resume"
_BOTH, _SPLIT, _LOST, _UNCLEAR = "both", "split", "lost", "unclear"
_PLANS = {
    ("running", "running"): _BOTH,
    ("running", "held"): _DROP,
    ("running", "paused"): _UNCLEAR,
    ("paused", "held"): _DROP,
    ("paused", "running"): _UNCLEAR,
    ("paused", "paused"): _UNCLEAR,
    ("held", "running"): _FINISH,
    ("held", "paused"): _FINISH,
    ("held", "held"): _DROP,
    ("held", "off"): _RESUME,
    ("held", "none"): _RESUME,
    ("off", "running"): _FINISH,
    ("off", "paused"): _FINISH,
    ("off", "held"): _UNCLEAR,
    ("split", "split"): _SPLIT,
    ("split", "held"): _SPLIT,
    ("split", "running"): _FINISH,
    ("split", "paused"): _FINISH,
    ("split", "off"): _LOST,
    ("split", "none"): _LOST,
}


@dataclass
class Settled:
    """Where the machine is now. C(moved) is whether the source has it no more; C(repaired) tells what was done."""

    moved: bool
    source: libvirt.virDomain | None
    target: libvirt.virDomain | None
    repaired: list[str] = field(default_factory=list)
    # A post-copy that broke off is to be taken up again.
    resume: bool = False


def state_of(domain: libvirt.virDomain | None) -> str:
    """C(none), C(off), C(running), C(paused) by its user, C(held) by a migration, or C(split) between two hosts."""
    if domain is None:
        return "none"
    try:
        with asking(f"read the state of {domain.name()}"):
            state, reason = domain.state()
    except NotThere:
        # It has gone in this moment: a guest that never ran is ended by libvirt itself.
        return "none"
    if state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED):
        return "off"
    if state != libvirt.VIR_DOMAIN_PAUSED:
        is_split = state == libvirt.VIR_DOMAIN_RUNNING and reason in _RUNNING_SPLIT
        return "split" if is_split else "running"
    if reason in _SPLIT_REASONS:
        return "split"
    return "held" if reason in _HELD_REASONS else "paused"


_HELD_REASONS = (
    ()
    if libvirt is None
    else (libvirt.VIR_DOMAIN_PAUSED_MIGRATION, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, libvirt.VIR_DOMAIN_PAUSED_UNKNOWN)
)
_SPLIT_REASONS = (
    () if libvirt is None else (libvirt.VIR_DOMAIN_PAUSED_POSTCOPY, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED)
)
_RUNNING_SPLIT = (
    ()
    if libvirt is None
    else (libvirt.VIR_DOMAIN_RUNNING_POSTCOPY, getattr(libvirt, "VIR_DOMAIN_RUNNING_POSTCOPY_FAILED", -1))
)


def stands_broken(domain: libvirt.virDomain) -> bool:
    """Whether the host sent the guest away by a post-copy that broke off before all of its memory was sent."""
    try:
        return tuple(domain.state()) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED)
    except libvirt.libvirtError:
        return False


def is_migrating(domain: libvirt.virDomain | None) -> bool:
    """Whether a migration away from the host is under way."""
    if domain is None:
        return False
    # A post-copy that broke off keeps its job until it is taken up again.
    if stands_broken(domain):
        return False
    try:
        stats = domain.jobStats()
    except libvirt.libvirtError:
        return False
    return bool(
        stats.get("type", 0) != libvirt.VIR_DOMAIN_JOB_NONE
        and stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    )


def settle(source: Host, target: Host, name: str, *, check_mode: bool) -> Settled:
    """Find out where the machine is, and repair what was left half-done. Raises Failure where nobody can tell."""
    here, there = _present(source.domain(name)), _present(target.domain(name))
    if here is None:
        if there is None:
            raise Failure(f"There is no machine {name} on {source.uri}, and none on {target.uri}. Check the name.")
        return _arrived(there, target, check_mode)
    refuse_taken(target, name, here.UUIDString())
    states = (state_of(here), state_of(there))
    todo = _PLANS.get(states, _MOVE)
    settled = Settled(False, here, there, resume=todo == _SPLIT)
    if todo in (_BOTH, _UNCLEAR):
        raise Failure(
            f"{name} is {states[0]} on {source.uri} and {states[1]} on {target.uri}, and nothing tells which of the two"
            " is the one to keep. Nothing was done. Look at both, and destroy the wrong one before disks are damaged."
        )
    if todo == _LOST:
        raise Failure(
            f"The guest of {name} is lost: it had changed over to {target.uri}, and ended there before all its memory"
            f" had come. What is left of it on {source.uri} may be older than its disks and is not let run. Destroy it"
            " there, and start it anew."
        )
    if todo == _FINISH:
        settled.repaired.append(f"{name} runs on {target.uri}; what was left of it on {source.uri} was removed")
        if not check_mode:
            _finish(here, there)
        return Settled(True, None, there, settled.repaired)
    if todo == _SPLIT:
        settled.repaired.append(f"the post-copy of {name} that broke off was taken up again")
    if todo == _DROP:
        settled.repaired.append(f"a guest of {name} that never ran on {target.uri} was ended")
        if not check_mode:
            _end(there)
            settled.target = target.domain(name)
    if todo == _RESUME or states == ("held", "held"):
        settled.repaired.append(f"{name}, which a migration had stopped on {source.uri}, runs again there")
        if not check_mode:
            with asking(f"let {name} run again on {source.uri}"):
                here.resume()
    return settled


def _present(domain: libvirt.virDomain | None) -> libvirt.virDomain | None:
    return None if state_of(domain) == "none" else domain


def _arrived(there: libvirt.virDomain, target: Host, check_mode: bool) -> Settled:
    """Only the target has it."""
    settled = Settled(True, None, there)
    if state_of(there) == "held" and not is_migrating(there):
        settled.repaired.append(f"{there.name()}, which a migration had left stopped on {target.uri}, runs")
        if not check_mode:
            with asking(f"let {there.name()} run on {target.uri}"):
                there.resume()
    left = noted(there, "migration")
    if left and left.get("autostart") and not there.autostart():
        settled.repaired.append(f"{there.name()}, whose move went on without its task, starts with {target.uri} again")
    if left and not check_mode:
        _carry(there)
    return settled


def _carry(there: libvirt.virDomain) -> None:
    """Give a machine that has arrived what the task that moved it could not give it any more."""
    with asking(f"set the autostart of {there.name()}"):
        if noted(there, "migration").get("autostart"):
            there.setAutostart(1)
    forget(there, "migration")


def _end(domain: libvirt.virDomain) -> None:
    # libvirt may end it in this moment, too.
    with suppress(NotThere), asking(f"end the guest of {domain.name()}"):
        domain.destroy()


def _finish(here: libvirt.virDomain, there: libvirt.virDomain) -> None:
    """The guest runs on the target: what the source still has is ended and forgotten, but no file is deleted."""
    with asking(f"remove what is left of {here.name()}"):
        autostart = bool(here.autostart()) if here.isPersistent() else False
        if there.isPersistent() and autostart:
            there.setAutostart(1)
        if not there.isPersistent():
            raise Failure(
                f"{there.name()} runs on the target but is not defined there. Nothing was removed; define it before."
            )
        _carry(there)
        if here.isActive():
            here.destroy()
        if here.isPersistent():
            undefine(here)


def undefine(domain: libvirt.virDomain) -> None:
    """Take the definition away; UEFI variables and the state of a TPM stay where they are."""
    keep = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", 0)
    with asking(f"undefine {domain.name()}"):
        domain.undefineFlags(keep)


def ended(source: Host, name: str, timeout: float, told: Callable[[str], None]) -> None:
    """Wait for the end of a migration of the machine that is under way on the source, as nobody else may."""
    domain = source.domain(name)
    if domain is None or not is_migrating(domain):
        return
    told(f"{name}: a migration is under way already; its end is waited for")

    def look() -> bool | None:
        return True if not is_migrating(source.domain(name)) else None

    with source.watch(domain, "JOB_COMPLETED", "LIFECYCLE") as watch:
        watch.until(
            look, timeout, lambda: f"A migration of {name} that was under way before did not end in {timeout:g} s."
        )
