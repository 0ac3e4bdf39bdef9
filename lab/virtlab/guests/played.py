"""Guests that are played: they take the time of real ones and tell what real ones would."""

from __future__ import annotations

from collections.abc import Callable

from virtlab.clock import Clock, Timers
from virtlab.controllers.kubevirt import instance_status
from virtlab.controllers.kubevirt.guests import guest_of
from virtlab.guests.interface import DONE, Agent, Ending, Move, Moved, Step
from virtlab.resource import Object

BOOT = 4.0  # seconds from the launcher's start to a running guest
AGENT = 6.0  # seconds until the guest agent answers
SHUTDOWN = 3.0  # seconds a guest takes to shut down, if its grace period allows
TRANSFER = 6.0  # seconds to copy the memory
GRACE = 30  # seconds, of an instance that says none


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

    async def command(self, vmi: Object, command: str) -> None:
        """They do as they are told, at once."""

    def _step(self, uid: str, step: str, seconds: float) -> Step:
        wait = self._timers.remaining(uid, step, seconds)
        if wait:
            return Step(wait=wait)
        self._timers.forget(uid, step)
        return DONE
