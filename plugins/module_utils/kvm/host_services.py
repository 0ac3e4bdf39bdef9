# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's daemons under systemd: what is to be done to their units, and that libvirt answers afterwards."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from ..machine.refusal import Refused
from ..task import Failure
from . import host_system
from .host_plan import Units
from .library import libvirt

VERBS = ("stopped", "enabled", "started", "restarted")
# What a unit that is off may be: there is none, or it neither starts by itself nor runs.
_OFF = tuple((file, False) for file in ("", "disabled", "static", "indirect", "masked", "alias"))
# States of a unit's file that need nothing done for the unit to start with the host.
_ENABLED = ("enabled", "static", "indirect", "generated", "alias")
_ATTEMPTS = 5
# Seconds for libvirt to answer, and between looks at whether it still can.
_PATIENCE, _INTERVAL = 120.0, 0.3
# Lines of the journal that are looked at, and of these, of each daemon, how many an error shows.
_SEARCHED, _TOLD = 40, 3
# What libvirt puts before a message while it does not yet know where messages go.
_STAMP = re.compile(r"^\d{4}-\S+ \S+: \d+: error : \S+ : ")


def steps(units: Units, states: Mapping[str, tuple[str, bool]], *, edited: bool, whole: bool) -> dict[str, list[str]]:
    """What is to be done to units, given the state of each one's file and whether it is active. Pure.

    Raises Refused where one that is wanted is masked, or not there, unless packages are still to come (not C(whole)).
    """
    nothing = ("", False)
    absent = [unit for unit in units.wanted if unit not in states]
    if absent and whole:
        raise Refused(f"systemd does not know {', '.join(absent)}; the package that has it is not installed")
    listening = [*units.wanted, *(helper for helper in units.helpers if helper in states or not whole)]
    wanted = [*listening, *units.at_boot]
    masked = [unit for unit in wanted if states.get(unit, nothing)[0].startswith("masked")]
    if masked:
        raise Refused(
            f"somebody saw to it that {', '.join(masked)} cannot start; run `systemctl unmask {' '.join(masked)}`, or"
            " set start: false"
        )
    return {
        "stopped": [unit for unit in units.unwanted if states.get(unit, nothing) not in _OFF],
        "enabled": [unit for unit in wanted if states.get(unit, nothing)[0] not in _ENABLED],
        "started": [unit for unit in listening if not states.get(unit, nothing)[1]],
        "restarted": list(units.daemons) if edited else [],
    }


def apply(units: Units, told: Mapping[str, Sequence[str]], active: Sequence[str]) -> None:
    """Do these steps. C(active) are the units that run; daemons among them run afterwards. Guests do not notice.

    Daemons that are to be restarted run then, too: it shows whether they can, with what is new.
    """
    if told["stopped"]:
        host_system.run("systemctl", "disable", "--now", *told["stopped"])
    if told["enabled"]:
        host_system.run("systemctl", "enable", *told["enabled"])
    if told["started"]:
        _start_sockets(units.daemons, told["started"])
        if running := [daemon for daemon in units.daemons if daemon in active or daemon in told["restarted"]]:
            host_system.run("systemctl", "start", *running)
    elif told["restarted"]:
        host_system.run("systemctl", "restart", *told["restarted"])


def _start_sockets(daemons: Sequence[str], sockets: Sequence[str]) -> None:
    """Start sockets, which do not start while the daemon behind them runs; whoever comes in by another wakes it up."""
    for attempt in range(_ATTEMPTS):
        host_system.run("systemctl", "stop", *daemons)
        try:
            host_system.run("systemctl", "start", *sockets)
        except Failure:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def revive(units: Units) -> None:
    """Let daemons start that systemd gave up, as they came to an end too often."""
    listening = [unit for unit in units.wanted if unit.endswith(".socket")]
    host_system.run("systemctl", "reset-failed", *units.daemons, *listening, ok=range(256))
    host_system.run("systemctl", "start", *listening, ok=range(256))
    # One that somebody else woke up meanwhile may have seen the settings that were taken back.
    host_system.run("systemctl", "restart", *units.at_boot, ok=range(256))


def last_words(units: Units, since: float) -> str:
    """The errors of which daemons spoke last, since some time (in seconds of the clock)."""
    found = []
    for daemon in units.daemons:
        told = ("-o", "cat", "-n", str(_SEARCHED), "--no-pager", f"--since=@{int(since)}", f"_SYSTEMD_UNIT={daemon}")
        lines = host_system.run("journalctl", *told, ok=range(256)).splitlines()
        errors = [_STAMP.sub("", line).strip() for line in lines if re.search("error|failed", line, re.IGNORECASE)]
        found += [f"{daemon}: {'; '.join(errors[-_TOLD:])}"] if errors else []
    return ". ".join(found)


def answers(uri: str, daemons: Sequence[str] = ()) -> bool | None:
    """Whether libvirt answers on this host; None where neither virsh nor libvirt-python is there to ask it.

    Whoever asks a daemon that fails has systemd start it again, and waits as long as that goes on. Thus a start of one
    of C(daemons) in the meantime is an answer, too: no.
    """
    if shutil.which("virsh"):
        asking = ["virsh", "--connect", uri, "uri"]
    elif libvirt is not None:
        asking = [sys.executable, "-c", "import libvirt, sys; libvirt.openReadOnly(sys.argv[1])", uri]
    else:
        return None
    before, until = _starts(daemons), time.monotonic() + _PATIENCE
    with subprocess.Popen(asking, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
        while True:
            try:
                return it.wait(_INTERVAL) == 0
            except subprocess.TimeoutExpired:
                if time.monotonic() > until or _starts(daemons) != before:
                    it.kill()
                    return False


def _starts(daemons: Sequence[str]) -> str:
    """What tells whether daemons were started since it was asked last."""
    return host_system.run("systemctl", "show", "-p", "InvocationID,Result", *daemons) if daemons else ""
