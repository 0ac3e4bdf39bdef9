# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_vm_migration): machines of a host, each moved to another one on its own, several at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from ..task import Failure, Result, Task
from .connection import Host
from .errors import KvmError, NotThere, asking
from .jobs import busy
from .library import libvirt, missing
from .migration_checks import Candidate, host_uuid, reasons
from .migration_disks import copy_files, delete_files, make_files, to_copy
from .migration_plan import Plan, flags, plan
from .migration_run import Migration, Stats, cancel
from .migration_settle import Settled, ended, is_migrating, settle, state_of
from .notes import forget, note, noted
from .view import view
from .xml import parse

# Seconds to wait for the end of a migration that was cancelled, or that somebody else began, where no timeout is set.
_ENDING = 600.0
_AT_ONCE = 16
# From this version on QEMU knows of all that an emulated guest writes while it moves (its commit 03bfc2188f).
_LOSES_NO_WRITES = 9_000_000
_LOOKS = 3


def migrate_machines(task: Task) -> Result:
    """Run a task of C(kvm_vm_migration). Raises Failure for one machine, or with the report of all where one failed."""
    params = task.params
    lacking = missing()
    if lacking:
        raise Failure(lacking)
    names = list(dict.fromkeys(params["names"] if params["names"] is not None else [params["name"]]))
    if not 1 <= params["parallel"] <= _AT_ONCE:
        raise Failure(f"parallel: {params['parallel']} is not between 1 and {_AT_ONCE}.")
    one = _cancelling(task) if params["state"] == "cancelled" else _moving(task)
    if not names:
        return {"changed": False, "vms": []}

    def attempted(name: str) -> Result:
        try:
            return one(name)
        except Failure as failure:
            return {"name": name, "changed": False, **failure.result, "failed": True, "msg": failure.message}

    with ThreadPoolExecutor(min(params["parallel"], len(names))) as threads:
        told = list(threads.map(attempted, names))
    return _reported(told, task)


def _reported(told: list[Result], task: Task) -> Result:
    failed = [item for item in told if item.get("failed")]
    diffs = [item.pop("diff") for item in told if "diff" in item]
    result: Result = {"changed": any(item["changed"] for item in told), "vms": told}
    if task.diff:
        result["diff"] = diffs
    if not failed:
        return result
    if len(told) == 1:
        raise Failure(failed[0]["msg"], **result)
    lines = "".join(f"\n- {item['name']}: {item['msg']}" for item in failed)
    raise Failure(f"{len(failed)} of {len(told)} machines were not moved:{lines}", **result)


def _cancelling(task: Task) -> Callable[[str], Result]:
    def one(name: str) -> Result:
        with Host(task.params["uri"]) as host:
            timeout = float(task.params["timeout"] or _ENDING)
            return {"name": name, "changed": cancel(host, name, timeout, check_mode=task.check_mode)}

    return one


def _moving(task: Task) -> Callable[[str], Result]:
    params = task.params
    if params["target_uri"] is None:
        raise Failure("target_uri: name the libvirt of the host that the machine is to be moved to.")
    wanted = plan(params, params["target_uri"])

    def one(name: str) -> Result:
        with Host(params["uri"]) as source, Host(params["target_uri"]) as target:
            return _Move(task, source, target, wanted, name).run()

    return one


@dataclass
class _Move:
    """One machine on its way from a host to another."""

    task: Task
    source: Host
    target: Host
    plan: Plan
    name: str

    def run(self) -> Result:
        self.target_uuid = host_uuid(self.target)
        if host_uuid(self.source) == self.target_uuid:
            raise Failure(
                f"{self.source.uri} and {self.target.uri} are one host (uuid {self.target_uuid}): {self.name} cannot be"
                " moved to where it is. If they are two, give each a host_uuid of its own in its libvirtd.conf."
            )
        check_mode = self.task.check_mode
        if check_mode and is_migrating(self.source.domain(self.name)):
            return self._result(changed=True, repaired=[f"a migration of {self.name} is under way"])
        if not check_mode:
            ended(self.source, self.name, float(self.plan.timeout or _ENDING), self.task.progress)
        settled, candidate = self._settled()
        if candidate is None:
            return self._result(changed=bool(settled.repaired), repaired=settled.repaired)
        return self._move(settled, candidate)

    def _settled(self) -> tuple[Settled, Candidate | None]:
        """Where the machine is, and how it can be moved; no candidate where it is there already."""
        for _attempt in range(_LOOKS):
            settled = settle(self.source, self.target, self.name, check_mode=self.task.check_mode)
            if settled.moved or settled.source is None:
                return settled, None
            # A migration that has just ended takes the machine away from under our eyes.
            with suppress(NotThere):
                return settled, self._candidate(settled.source)
        raise KvmError(f"{self.name} comes and goes on {self.source.uri}. Run this again when nobody else moves it.")

    def _move(self, settled: Settled, candidate: Candidate) -> Result:
        domain = candidate.domain
        self._check(candidate, settled)
        self._warn_of_lost_writes(candidate)
        if self.task.check_mode:
            return self._result(changed=True, live=candidate.live, repaired=settled.repaired)
        with asking(f"read the autostart of {self.name}"):
            autostart = bool(domain.autostart()) if domain.isPersistent() else False
        files = [disk.path for disk in candidate.disks]
        if domain.isPersistent() and not settled.resume:
            note(domain, "migration", {"target": self.target_uuid, "files": files, "autostart": autostart})
        started = time.monotonic()
        try:
            stats = self._run(candidate, settled)
        except Failure as failure:
            stats = self._after(failure, files, settled)
        duration = time.monotonic() - started
        there = self.target.domain(self.name)
        if there is None:
            raise Failure(
                f"libvirt moved {self.name}, but it is not on {self.target.uri}. See the logs of libvirt there."
            )
        forget(there, "migration")
        with asking(f"set the autostart of {self.name} on {self.target.uri}"):
            if autostart:
                there.setAutostart(1)
        return self._result(
            changed=True,
            live=candidate.live,
            repaired=settled.repaired,
            duration=round(duration, 3),
            downtime=stats.downtime,
            memory_bytes=stats.memory,
            storage_bytes=stats.storage,
            rounds=stats.rounds,
            left_files=files,
        )

    def _candidate(self, domain: libvirt.virDomain) -> Candidate:
        with asking(f"read {self.name} on {self.source.uri}"):
            live = bool(domain.isActive())
            # Without the flag a running machine's CPU is that of its declaration, not the one it runs with.
            moved = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE if live else 0))
            seen = view(parse(domain.XMLDesc()))
        incremental = self.plan.copy_storage == "incremental"
        disks = to_copy(domain, seen, self.plan.copy_disks, incremental=incremental) if self.plan.copies else []
        left = noted(domain, "migration")
        host, ours = left.get("target", ""), left.get("files", [])
        if host not in ("", self.target_uuid):
            if ours:
                self.task.warn(f"An earlier migration of {self.name} left on the host {host}: {', '.join(ours)}.")
            ours = []
        return Candidate(domain, moved, seen, live, disks, ours)

    def _check(self, candidate: Candidate, settled: Settled) -> None:
        job = None if settled.resume else busy(candidate.domain, candidate.view)
        found = [f"{job}; wait for its end, or cancel it"] if job else []
        if not settled.resume:
            found += reasons(self.source, self.target, candidate, self.plan)
        if not candidate.live and self.plan.copy_storage == "incremental":
            found.append("incremental copies are of a running guest; copy the files of one that is off with all")
        if found:
            lines = "".join(f"\n- {reason}" for reason in found)
            raise Failure(
                f"{self.name} cannot be moved from {self.source.uri} to {self.target.uri}; nothing was moved:{lines}",
                reasons=found,
            )

    def _warn_of_lost_writes(self, candidate: Candidate) -> None:
        """Not a refusal: most moves lose nothing, and where one does nobody but the guest can tell."""
        version = self.source.connection.getVersion()
        emulated = candidate.element.get("type") == "qemu" and state_of(candidate.domain) == "running"
        if emulated and version < _LOSES_NO_WRITES:
            self.task.warn(
                f"{self.name} is emulated, and QEMU {version // 1_000_000}.{version // 1000 % 1000} can lose what such"
                " a guest writes to its memory while it moves (mended in QEMU 9.0). Where that must not be, pause it"
                " before (virtstack.core.kvm_vm_power, state: paused), and let it run on afterwards."
            )

    def _run(self, candidate: Candidate, settled: Settled) -> Stats:
        if not candidate.live:
            return self._run_offline(candidate)
        # A post-copy that is taken up again has its disks on the other side already.
        disks = [] if settled.resume else candidate.disks
        make_files(self.target, disks)
        copied = [disk.view.target for disk in disks]
        move = Migration(
            self.source,
            self.target,
            candidate.domain,
            self.plan,
            self.task.progress,
            copied=copied,
            resume=settled.resume,
        )
        return move.run()

    def _run_offline(self, candidate: Candidate) -> Stats:
        copied = copy_files(
            self.source, self.target, candidate.disks, lambda text: self.task.progress(f"{self.name}: {text}")
        )
        with asking(f"move {self.name} to {self.target.uri}"):
            wanted = flags(self.plan, live=False, persistent=True)
            candidate.domain.migrate3(self.target.connection, {}, wanted)
        return Stats(storage=copied)

    def _after(self, failure: Failure, files: list[str], settled: Settled) -> Stats:
        """Look where the guest is after an error, and clean up. Raises the failure with that, unless it arrived."""
        again = "Run this again when both hosts answer; it finds out where the machine is, and repairs what is left."
        try:
            now = settle(self.source, self.target, self.name, check_mode=False)
            where = state_of(now.source)
        except Failure as lost:
            raise Failure(f"{failure.message} Where it is now is not known: {lost.message} {again}") from failure
        settled.repaired += now.repaired
        if now.moved:
            return Stats()
        if where == "split":
            # The guest is on the other side by now, with its disks there.
            text = f"{failure.message} {self.name} has changed over, and waits for the rest of its memory. {again}"
            raise Failure(text, **failure.result) from failure
        left = delete_files(self.target, files)
        if not left and now.source is not None:
            with suppress(Failure):
                forget(now.source, "migration")
        state = {"off": "is off", "running": "runs", "paused": "is paused"}.get(where, "is held by the migration")
        text = f"{failure.message} {self.name} {state} on {self.source.uri}, as before."
        if left:
            text += f" Left on {self.target.uri}: {', '.join(left)}; the next run takes them away."
        raise Failure(text, **failure.result) from failure

    def _result(self, *, changed: bool, repaired: list[str], live: bool | None = None, **figures: object) -> Result:
        result: Result = {
            "name": self.name,
            "changed": changed,
            "uri": self.target.uri,
            "live": live,
            "duration": None,
            "downtime": None,
            "memory_bytes": None,
            "storage_bytes": None,
            "rounds": None,
            "left_files": [],
            "repaired": repaired,
            **figures,
        }
        if self.task.diff:
            after = {"name": self.name, "uri": self.target.uri}
            result["diff"] = {"before": {**after, "uri": self.source.uri} if changed else after, "after": after}
        return result
