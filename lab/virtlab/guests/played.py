"""Guests that are played: they take the time of real ones and tell what real ones would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from virtlab.clock import Clock, Timers
from virtlab.controllers.kubevirt import instance_status
from virtlab.controllers.kubevirt.guests import guest_of
from virtlab.guests.interface import (
    DONE,
    Agent,
    Credentials,
    Ending,
    Inspection,
    Move,
    Moved,
    Resized,
    Step,
)
from virtlab.resource import Object
from virtlab.schema.quantity import parse

BOOT = 4.0  # seconds from the launcher's start to a running guest
AGENT = 6.0  # seconds until the guest agent answers
SHUTDOWN = 3.0  # seconds a guest takes to shut down, if its grace period allows
TRANSFER = 6.0  # seconds to copy the memory
DUMP = 4.0  # seconds to write the memory down
GRACE = 30  # seconds, of an instance that says none

AGENT_VERSION = "9.0.0"
COMMANDS = (
    "guest-sync-delimited", "guest-ping", "guest-get-time", "guest-info", "guest-shutdown", "guest-fsfreeze-status",
    "guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-network-get-interfaces", "guest-get-fsinfo",
    "guest-get-users", "guest-get-host-name", "guest-get-timezone", "guest-get-osinfo", "guest-exec",
    "guest-set-user-password",
)  # fmt: skip


def file_systems(vmi: Object) -> list[Object]:
    """The first disk of the guest, as the agent of a freshly installed Linux shows it. Sizes are in bytes."""
    for status in vmi["status"].get("volumeStatus") or ():
        capacity = ((status.get("persistentVolumeClaimInfo") or {}).get("capacity") or {}).get("storage")
        if capacity is None:
            continue
        total = int(parse(capacity))
        return [
            {
                "diskName": f"{status.get('target', 'vda')}1",
                "mountPoint": "/",
                "fileSystemType": "xfs",
                "usedBytes": total // 4,
                "totalBytes": total,
                "disk": [{"busType": "virtio"}],
            }
        ]
    return []


class PlayedGuests:
    """Implements Guests."""

    simulated = True
    description = "simulated"
    node = "simulated node"

    def __init__(self, clock: Clock) -> None:
        self._timers = Timers(clock)

    def follow(self, changed: Callable[[str, str], None]) -> None:
        """They never change unasked."""

    def boot(self, vmi: Object, pod: Object) -> Step:
        return self._step(vmi["metadata"]["uid"], "boot", BOOT)

    def agent(self, vmi: Object) -> Agent:
        info = guest_of(vmi).info
        if info is None:
            return Agent()
        wait = self._timers.remaining(vmi["metadata"]["uid"], "agent", AGENT)
        return Agent(wait=wait) if wait else Agent(dict(info))

    def ended(self, vmi: Object) -> Ending | None:
        return None

    def paused(self, vmi: Object) -> bool | None:
        return None

    def shut_down(self, vmi: Object) -> Step:
        grace = vmi["spec"].get("terminationGracePeriodSeconds")
        return self._step(vmi["metadata"]["uid"], "shutdown", min(SHUTDOWN, GRACE if grace is None else grace))

    def forget(self, vmi: Object) -> None:
        self._timers.forget(vmi["metadata"]["uid"], "agent", "boot", "shutdown")

    def hardware(self, vmi: Object) -> Object:
        return instance_status.hardware(vmi)

    def interfaces(self, vmi: Object, pod_address: str, *, agent: bool) -> list[Object]:
        return instance_status.interfaces(vmi, pod_address, agent)

    def volumes(self, vmi: Object, statuses: list[Object]) -> list[Object]:
        return statuses

    def adjust(self, vmi: Object) -> None:
        """What is declared is plugged."""

    def migrate(self, vmi: Object, move: Move) -> Moved:
        return Moved(self._step(move.uid, "transfer", TRANSFER))

    def abort(self, vmi: Object, move_uid: str) -> None:
        self._timers.forget(move_uid, "transfer")

    def resize(self, vmi: Object) -> Resized:
        return Resized()

    def memory(self, vmi: Object) -> int | None:
        return None

    def dump(self, vmi: Object, label: str, path: Path | None) -> Step:
        return self._step(vmi["metadata"]["uid"], f"dump {label}", DUMP)

    def set_credentials(self, vmi: Object, wanted: Credentials) -> Step:
        return DONE

    async def inspect(self, vmi: Object) -> Inspection:
        host = str(vmi["spec"].get("hostname") or vmi["metadata"]["name"])
        return Inspection(host, "UTC, 0", AGENT_VERSION, COMMANDS, file_systems=tuple(file_systems(vmi)))

    async def command(self, vmi: Object, command: str) -> None:
        """They do as they are told, at once."""

    def _step(self, uid: str, step: str, seconds: float) -> Step:
        wait = self._timers.remaining(uid, step, seconds)
        if wait:
            return Step(wait=wait)
        self._timers.forget(uid, step)
        return DONE
