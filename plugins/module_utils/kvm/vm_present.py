# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a machine what is declared: checked first, written once, brought to the running guest as far as that goes."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from ..known import known
from ..task import Failure, Result
from .domain_live import Change, live_changes
from .domain_new import in_order
from .domain_pending import pending
from .errors import KvmError, asking
from .kept import kept
from .library import libvirt
from .view import DiskView, view
from .vm_draft import Draft, check_whole, draft, memory_notes, sizes, with_making
from .vm_facts import described
from .vm_fleet import Fleet, document, volume_at
from .vm_live import GUEST_TIME, apply_live, live_xml
from .vm_options import ALWAYS, HALTED, MANUAL, ONCE, RERUN_ON_FAILURE, Declaration
from .vm_power import ACTIVE, Waiting, await_guest, call_to_shut_down, shut_down, start, status
from .vm_seed import write_seed
from .vm_volumes import Occupied, make_volumes
from .xml import differences, ensure, parse, remove, same, shown, written

# So often a machine is read anew that something else writes at the same time.
_ATTEMPTS = 10
AUTOSTART = {ALWAYS: True, RERUN_ON_FAILURE: True, MANUAL: False, HALTED: False, ONCE: False}


@dataclass(frozen=True)
class Policy:
    """How machines are written. C(waiting.timeout) is None where nothing is waited for, else in seconds."""

    check_mode: bool = False
    diff: bool = False
    replace_lists: bool = False
    apply: str = "next_boot"
    wait_for: str = "running"
    waiting: Waiting = field(default_factory=Waiting)


@dataclass
class _Plan:
    """All that is to be done. C(power) is start, stop or None; C(autostart) None where it stays."""

    draft: Draft
    growth: dict[str, tuple[str, int]]
    live: Element | None
    changes: list[Change]
    reasons: list[str]
    power: str | None
    autostart: bool | None
    was_autostart: bool

    @property
    def is_needed(self) -> bool:
        seed = self.draft.seed
        return bool(
            self.draft.is_new
            or self.draft.changes
            or self.draft.makings
            or self.growth
            or self.changes
            or (seed is not None and seed.differs)
            or self.power
            or self.autostart is not None
        )


class _Overtaken(KvmError):
    """Something else has written the machine since it was read."""


def present(fleet: Fleet, declaration: Declaration, domain: libvirt.virDomain | None, policy: Policy) -> Result:
    """Make one machine what is declared; the task's result for it. Raises Failure and Refused.

    Everything that can be refused is refused before the first write. What another task writes at the same time is read
    again, so that it is not lost.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _present(fleet, declaration, domain, policy)
        except _Overtaken:
            if attempt == _ATTEMPTS - 1:
                raise
            domain = fleet.host.domain(declaration.name)
    raise AssertionError("unreachable")


def _present(fleet: Fleet, declaration: Declaration, domain: libvirt.virDomain | None, policy: Policy) -> Result:
    before = document(domain) if domain is not None else None
    was = status(domain) if domain is not None else "stopped"
    plan = _plan(fleet, declaration, domain, before, was, policy)
    if policy.apply == "live" and plan.reasons:
        raise Failure(
            f"{_capital(declaration.label)} was not changed: with apply: live only what reaches the running guest is"
            f" written, but it takes a restart for {'; '.join(plan.reasons)}. Set apply to next_boot or restart.",
            restart_required=True,
            restart_reasons=plan.reasons,
        )
    if plan.draft.is_new or plan.draft.changes:
        check_whole(fleet, plan.draft)
    result: Result = {
        "name": declaration.name,
        "changed": plan.is_needed,
        "action": "created" if plan.draft.is_new else "updated" if plan.is_needed else "unchanged",
        "restart_required": bool(plan.reasons),
        "restart_reasons": plan.reasons,
        "restarted": False,
        "expanded": {name: size for name, (_target, size) in plan.growth.items()},
        "notes": plan.draft.notes,
    }
    if policy.check_mode:
        return _foretold(plan, result, was, policy)
    if not plan.is_needed:
        after = before if before is not None else plan.draft.desired
        if domain is not None:
            _wait(fleet, domain, plan, declaration, was, policy)
    else:
        domain, after = _write(fleet, plan, domain, policy, result)
    if policy.apply == "restart" and result["restart_required"]:
        _restart(fleet, domain, plan, declaration, policy)
        result.update(changed=True, action="updated", restarted=True, restart_required=False, restart_reasons=[])
    if policy.diff:
        result["diff"] = _diff(plan, after)
    if domain is not None:
        now, starts = (status(domain), _autostart(domain)) if result["changed"] else (was, plan.was_autostart)
        result["vm"] = described(after, now, starts)
    return result


def _plan(
    fleet: Fleet,
    declaration: Declaration,
    domain: libvirt.virDomain | None,
    before: Element | None,
    was: str,
    policy: Policy,
) -> _Plan:
    is_active = was in ACTIVE
    made = draft(fleet, declaration, before, replace_lists=policy.replace_lists, is_active=is_active)
    growth = sizes(made, domain)
    live = live_xml(domain) if domain is not None and is_active else None
    changes: list[Change] = []
    reasons: list[str] = []
    if live is not None:
        changes, then = live_changes(live, made.desired)
        reasons = pending(then, made.desired)
        if made.seed is not None and made.seed.differs:
            reasons.append("cloud_init: the guest reads it when it boots")
    power = _power(made.declaration, before, was)
    saved = _saved(domain) if domain is not None and not is_active else None
    if saved is not None:
        # It goes on as it was, whatever its definition says by then.
        reasons = pending(saved, made.desired)
        _refuse_saved(declaration, growth, reasons, power, policy)
    elif power is not None:
        # A guest that is started, or shut down, has nothing to be restarted for.
        reasons = []
    wanted = declaration.autostart if declaration.autostart is not None else _wanted_autostart(made, before)
    starts = _autostart(domain)
    autostart = wanted if wanted is not None and wanted != starts else None
    return _Plan(made, growth, live, changes, reasons, power, autostart, starts)


def _saved(domain: libvirt.virDomain) -> Element | None:
    """What the guest that was saved goes on with; None where none was."""
    with asking(f"read virtual machine {domain.name()}"):
        try:
            return parse(domain.managedSaveGetXMLDesc(0)) if domain.hasManagedSaveImage(0) else None
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                raise
            return None


def _refuse_saved(
    declaration: Declaration, growth: Collection[str], reasons: list[str], power: str | None, policy: Policy
) -> None:
    """Raises Failure for what a saved memory does not bear, or cannot be done while its guest is not there."""
    asked = f"disk {', '.join(sorted(growth))} cannot grow" if growth else ""
    if not asked and reasons and power is None and policy.apply == "restart":
        asked = "it cannot be restarted"
    if asked:
        raise Failure(
            f"{_capital(declaration.label)} was not changed: its guest was saved while it ran, and {asked} before it"
            " goes on. Start it with virtstack.core.kvm_vm_power and state: restored."
        )


def _wanted_autostart(made: Draft, before: Element | None) -> bool | None:
    strategy = made.declaration.run_strategy
    return AUTOSTART[strategy] if strategy is not None else None if before is not None else True


def _power(declaration: Declaration, before: Element | None, was: str) -> str | None:
    strategy = declaration.run_strategy
    is_active = was in ACTIVE
    if strategy == HALTED:
        return "stop" if is_active else None
    if is_active or strategy in (None, MANUAL):
        return None
    # These two run once they are declared; a guest that has shut itself down since stays down.
    is_settled = before is not None and kept(before).run_strategy == strategy and not kept(before).making
    if strategy in (ONCE, RERUN_ON_FAILURE) and is_settled:
        return None
    return "start"


def _autostart(domain: libvirt.virDomain | None) -> bool:
    if domain is None:
        return False
    with asking(f"read virtual machine {domain.name()}"):
        return bool(domain.autostart())


def _foretold(plan: _Plan, result: Result, was: str, policy: Policy) -> Result:
    if policy.apply == "restart" and plan.reasons:
        result.update(restarted=True, restart_required=False, restart_reasons=[])
    if policy.diff:
        result["diff"] = _diff(plan, plan.draft.desired)
    then = {"start": "running", "stop": "stopped"}.get(plan.power or "", was)
    wanted = plan.autostart if plan.autostart is not None else plan.was_autostart
    result["vm"] = described(plan.draft.desired, then, wanted)
    return result


def _diff(plan: _Plan, after: Element) -> dict[str, str]:
    seed = plan.draft.seed
    notes = [f"<!-- disk {name} grows to {size} bytes -->\n" for name, (_target, size) in plan.growth.items()]
    if seed is not None and seed.differs:
        notes.append("<!-- the cloud-init seed is written -->\n")
    if plan.power:
        notes.append(f"<!-- {plan.power} -->\n")
    if plan.autostart is not None:
        notes.append(f"<!-- autostart: {str(plan.autostart).lower()} -->\n")
    return {"before": shown(plan.draft.before), "after": shown(after) + "".join(notes)}


def _write(
    fleet: Fleet, plan: _Plan, domain: libvirt.virDomain | None, policy: Policy, result: Result
) -> tuple[libvirt.virDomain, Element]:
    made = plan.draft
    read = made.before
    if made.makings:
        # What is interrupted from here on is known by this note, and made anew by the next task.
        noted = with_making(made.desired, made.makings) if made.is_new else _noted(made)
        domain = _define(fleet, noted, made, domain, read)
        read = document(domain)
    try:
        make_volumes(fleet, made.makings, policy.waiting.progress)
    except Failure as failure:
        if isinstance(failure, Occupied) and made.before is not None:
            # With the note the next task would take what is there for what this one had left.
            domain = _define(fleet, made.before, made, domain, read)
        if made.is_new and domain is not None:
            # Nothing of a machine that could not be made stays; volumes that are whole are used the next time.
            with suppress(libvirt.libvirtError):
                domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        raise
    if made.seed is not None and made.seed.differs:
        write_seed(fleet, made.seed)
    desired = made.desired
    if domain is not None and plan.live is not None:
        failed = apply_live(fleet.host, domain, plan.changes, _guest_time(policy))
        if failed and policy.apply == "live":
            raise Failure(
                f"{_capital(made.declaration.label)} was changed in part: {' '.join(failed)}", **_public(result)
            )
        desired = _with_addresses(desired, live_xml(domain)) if status(domain) in ACTIVE else desired
    if made.is_new or made.makings or made.changes:
        domain = _define(fleet, desired, made, domain, read)
    if domain is None:
        raise AssertionError("a machine that is written is defined")
    _grow(domain, plan, status(domain) in ACTIVE)
    if plan.autostart is not None:
        with asking(f"set autostart of {made.declaration.label}"):
            domain.setAutostart(int(plan.autostart))
    after = document(domain)
    _change_power(fleet, domain, plan, policy, result)
    if made.before is not None:
        result["changed"] = _has_changed(made, after, plan)
        result["action"] = "updated" if result["changed"] else "unchanged"
    if plan.live is not None and plan.power is None and status(domain) in ACTIVE:
        reasons = pending(live_xml(domain), after)
        reasons += [reason for reason in plan.reasons if reason.startswith("cloud_init")]
        result.update(restart_required=bool(reasons), restart_reasons=reasons)
    return domain, after


def _guest_time(policy: Policy) -> float:
    """Seconds that the guest has to let go of what it loses."""
    return GUEST_TIME if policy.waiting.timeout is None else min(GUEST_TIME, policy.waiting.timeout)


def _public(result: Result) -> Result:
    return {name: value for name, value in result.items() if name != "notes"}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _noted(made: Draft) -> Element:
    """The machine as it was, with a note of the volumes that are about to be made for it."""
    return with_making(known(made.before), made.makings)


def _define(
    fleet: Fleet, desired: Element, made: Draft, domain: libvirt.virDomain | None, read: Element | None
) -> libvirt.virDomain:
    """Define it, where it still is as it was C(read). Raises _Overtaken where it is not."""
    if domain is not None and read is not None and not same(read, document(domain)):
        raise _Overtaken(f"{_capital(made.declaration.label)} is changed by something else again and again; try later.")
    text = written(in_order(desired))
    connection = fleet.host.connection
    with asking(f"define {made.declaration.label}"):
        try:
            return connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            invalid = error.get_error_code() == libvirt.VIR_ERR_XML_INVALID_SCHEMA
            if not invalid or made.declaration.xml is not None:
                raise
            # The schema is behind what libvirt itself wrote; there is nothing of the user's in it to check.
            return connection.defineXMLFlags(text, 0)


def _with_addresses(desired: Element, live: Element) -> Element:
    """Devices that were plugged in have the same place, and MAC, at the next boot."""
    placed = deepcopy(desired)
    now, then = view(live), view(placed)
    pairs = [(disk.element, now.disk(disk.name)) for disk in then.disks]
    pairs += [(interface.element, now.interface(interface.name)) for interface in then.interfaces]  # type: ignore[misc]
    # A device that waits for the next boot may have been given the place that the running guest had free.
    taken = [address.attrib for address in placed.findall("devices/*/address")]
    for ours, theirs in pairs:
        for tag in ("address", "mac"):
            found = theirs.element.find(tag) if theirs is not None else None
            if found is not None and ours.find(tag) is None and found.attrib not in taken:
                ours.append(deepcopy(found))
    _copy_controllers(placed, live)
    return placed


def _copy_controllers(placed: Element, live: Element) -> None:
    """A controller that libvirt added for a device that was plugged in; the device's address needs it."""
    have = {(item.get("type"), item.get("index")): item for item in placed.findall("devices/controller")}
    for controller in live.findall("devices/controller"):
        ours = have.get((controller.get("type"), controller.get("index")))
        if ours is None:
            added = deepcopy(controller)
            remove(added, "alias")
            ensure(placed, "devices").append(added)
        elif ours.find("address") is None and controller.find("address") is not None:
            ours.append(deepcopy(known(controller.find("address"))))


def _grow(domain: libvirt.virDomain, plan: _Plan, is_active: bool) -> None:
    for name, (target, size) in plan.growth.items():
        with asking(f"expand disk {name} of {plan.draft.declaration.label}"):
            if is_active:
                domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
            else:
                disk = known(view(plan.draft.desired).disk(name))
                _volume(domain, disk).resize(size, 0)


def _volume(domain: libvirt.virDomain, disk: DiskView) -> libvirt.virStorageVol:
    connection = domain.connect()
    if disk.pool is not None:
        return connection.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.source)
    found = volume_at(connection, disk.source or "")
    if found is None:
        raise Failure(
            f"disk {disk.name}: no storage pool of the host has {disk.source}, so that it cannot be expanded."
        )
    return found


def _has_changed(made: Draft, after: Element, plan: _Plan) -> bool:
    seed = made.seed
    return bool(
        made.makings
        or plan.growth
        or plan.power
        or plan.changes
        or plan.autostart is not None
        or (seed is not None and seed.differs)
        or (made.before is not None and next(differences(made.before, after), None) is not None)
    )


def _change_power(fleet: Fleet, domain: libvirt.virDomain, plan: _Plan, policy: Policy, result: Result) -> None:
    declaration = plan.draft.declaration
    if plan.power == "start":
        try:
            start(domain)
        except KvmError as error:
            what = "It is defined, with its disks." if plan.draft.is_new else "Its definition was written."
            what = " ".join([*(f"{_capital(note)}." for note in memory_notes(fleet, plan.draft.desired)), what])
            error.add(what, **_public(result))
            raise
    if plan.power == "stop" and policy.waiting.timeout is None:
        call_to_shut_down(domain)
        return
    _wait(fleet, domain, plan, declaration, status(domain), policy)


def _wait(
    fleet: Fleet, domain: libvirt.virDomain, plan: _Plan, declaration: Declaration, was: str, policy: Policy
) -> None:
    """With C(wait), until the guest is as far as the run strategy takes it."""
    if policy.waiting.timeout is None:
        return
    if plan.power == "stop":
        shut_down(fleet.host, domain, _grace(plan), policy.waiting)
    elif was in ACTIVE and (plan.power == "start" or declaration.run_strategy == ALWAYS):
        await_guest(fleet.host, domain, policy.wait_for, policy.waiting)


def _grace(plan: _Plan) -> int | None:
    return kept(plan.draft.desired).grace_period


def _restart(
    fleet: Fleet, domain: libvirt.virDomain | None, plan: _Plan, declaration: Declaration, policy: Policy
) -> None:
    if domain is None:
        return
    shut_down(fleet.host, domain, _grace(plan), replace(policy.waiting, timeout=policy.waiting.timeout or 300.0))
    start(domain)
    _wait(fleet, domain, plan, declaration, status(domain), policy)
