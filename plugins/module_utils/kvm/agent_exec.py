# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in a guest, run by its agent through a POSIX shell.

The agent would hand over all that a command prints at once, and libvirt breaks off with it for more than 7.5 MiB. So a
command prints into files of a directory of its own in the guest's memory; small ones come back with the command, large
ones are read afterwards.
"""

from __future__ import annotations

import base64
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .agent import Agent, AgentRefused
from .errors import KvmError, Timeout

# Places for what a command prints, the best first: in memory, so that a full disk does not matter.
_PLACES = ("/dev/shm", "/run", "/tmp", "/var/tmp")
# Bytes of output up to which the command itself brings it, and of command and input up to which the agent takes both.
_SMALL_OUTPUT, _SMALL_INPUT = 256 * 1024, 96 * 1024
# Seconds between two looks whether a command has ended: often at first, then as often as it has run long.
_FIRST_LOOK, _LOOK_SHARE, _LAST_LOOK = 0.005, 0.1, 0.5

# Finds a directory for the files and prints it; nothing where none can be made. $1: token, $2...: places.
_MAKE_ROOM = """\
token=$1; shift
umask 077
for place; do mkdir "$place/.virtstack-$token" 2>/dev/null && printf %s "$place/.virtstack-$token" && exit 0; done
exit 1
"""
# Runs $1 as a login of the agent's user would, with its output in files. $2: token, $3: the most that counts as small,
# $4: the directory that was made for the input, or nothing.
_RUN = """\
command=$1 token=$2 small=$3 room=$4
input=
if [ -n "$room" ]; then input=$room/in
else for place in /dev/shm /run /tmp /var/tmp; do
  room=$place/.virtstack-$token
  (umask 077; mkdir "$room") 2>/dev/null && break
  room=
done; fi
umask 022
[ -n "$PATH" ] || export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ -z "$HOME" ]; then user=$(id -un); eval "HOME=~$user"; export HOME USER="$user" LOGNAME="$user"; fi
cd "$HOME" 2>/dev/null
[ -n "$room" ] || exec /bin/sh -c "$command"
session=
command -v setsid >/dev/null 2>&1 && session=setsid
[ -n "$input" ] && exec <"$input"
$session /bin/sh -c 'echo $$ >"$2/pid"; exec /bin/sh -c "$1"' sh "$command" "$room" >"$room/out" 2>"$room/err"
status=$?
cd /
set -- $(wc -c "$room/out" "$room/err")
if [ "$1" -le "$small" ] && [ "$3" -le "$small" ]; then
  cat "$room/out"; cat "$room/err" >&2; rm -rf "$room"
  exit $status
fi
printf '%s %s %s' "$token" "$status" "$room"
"""
# Ends what $1's command started, as far as it is still there, and removes its files. $2...: places.
_END = """\
token=$1; shift
for place; do
  room=$place/.virtstack-$token
  [ -d "$room" ] || continue
  read pid 2>/dev/null <"$room/pid" && { kill -KILL -"$pid" || kill -KILL "$pid"; } 2>/dev/null
  rm -rf "$room"
done
"""


@dataclass(frozen=True)
class Executed:
    """How a command ended: its exit code (128 and the number of the signal that killed it), and what it printed."""

    returncode: int
    stdout: bytes
    stderr: bytes


def execute(agent: Agent, command: str, stdin: bytes | None = None, timeout: float | None = None) -> Executed:
    """Run a shell's command line in the guest as the agent's user, mostly root.

    C(timeout) is in seconds; then, and when anything interrupts the waiting, the command is killed with all that it
    started. Raises Timeout; NoAgent, Blocked, AgentRefused.
    """
    token = secrets.token_hex(16)
    room = ""
    try:
        given: dict[str, Any] = {}
        if stdin and len(stdin) + len(command) > _SMALL_INPUT:
            room = _room_for_input(agent, token, stdin)
        elif stdin:
            given["input-data"] = base64.b64encode(stdin).decode("ascii")
        ended = _run(agent, [_RUN, "sh", command, token, str(_SMALL_OUTPUT), room], given, timeout)
    except BaseException as error:
        if not isinstance(error, AgentRefused):
            _end(agent, token)
        raise
    mark, _space, rest = ended.stdout.partition(b" ")
    if mark.decode("latin-1") != token:
        return ended
    try:
        status, _blank, place = rest.decode("utf-8", "replace").partition(" ")
        if place not in _rooms(token):
            raise KvmError(f"The guest {agent.name} answered what no command of ours prints: {place!r}.")
        # The agent reads as root: what is read is only what this call's own directory holds.
        return Executed(
            int(status), b"".join(agent.read(f"{place}/out")), ended.stderr + b"".join(agent.read(f"{place}/err"))
        )
    finally:
        _end(agent, token)


def _rooms(token: str) -> list[str]:
    return [f"{place}/.virtstack-{token}" for place in _PLACES]


def _room_for_input(agent: Agent, token: str, stdin: bytes) -> str:
    made = _run(agent, [_MAKE_ROOM, "sh", token, *_PLACES], {}, agent.patience)
    room = made.stdout.decode("utf-8", "replace")
    if room not in _rooms(token):
        raise KvmError(
            f"Cannot hand {len(stdin)} bytes to a command in the guest {agent.name}: none of {', '.join(_PLACES)} can"
            " be written there."
        )
    agent.write(f"{room}/in", [stdin])
    return room


def _run(agent: Agent, arguments: list[str], given: dict[str, Any], timeout: float | None) -> Executed:
    started = time.monotonic()
    pid = agent.command("guest-exec", {"path": "/bin/sh", "arg": ["-c", *arguments], "capture-output": True, **given})[
        "pid"
    ]
    pause = _FIRST_LOOK
    while True:
        told = agent.command("guest-exec-status", {"pid": pid})
        if told["exited"]:
            break
        passed = time.monotonic() - started
        if timeout is not None and passed >= timeout:
            raise Timeout(
                f"A command in the guest {agent.name} took longer than {timeout:g} seconds and was killed. Give it more"
                " time, or run it asynchronously."
            )
        time.sleep(pause)
        pause = min(max(_FIRST_LOOK, passed * _LOOK_SHARE), _LAST_LOOK)
    code = told["exitcode"] if "exitcode" in told else 128 + int(told.get("signal") or 0)
    return Executed(
        int(code), base64.b64decode(told.get("out-data") or ""), base64.b64decode(told.get("err-data") or "")
    )


def _end(agent: Agent, token: str) -> None:
    """Kill what a command left running and remove its files, as far as the guest still answers."""
    with suppress(KvmError):
        agent.command("guest-exec", {"path": "/bin/sh", "arg": ["-c", _END, "sh", token, *_PLACES]})
