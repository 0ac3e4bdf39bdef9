"""The seam between the controllers and the guests.

Nothing here waits: what takes its time is a step that is asked about again. Guests tell those who follow them of every
change, so that nobody polls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from virtlab.resource import Object


@dataclass(frozen=True)
class Step:
    """How far something is. C(wait): real seconds until it is worth another look; None: followers are told.

    C(problem) is why it failed; it is over then as well.
    """

    done: bool = False
    wait: float | None = None
    problem: str = ""

    @property
    def over(self) -> bool:
        return self.done or bool(self.problem)


DONE = Step(done=True)
WAITING = Step()


@dataclass(frozen=True)
class Agent:
    """What the guest agent tells of the system, None while none is connected; C(wait) as for a step."""

    info: Object | None = None
    wait: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a guest that nobody stopped has come to its end."""

    phase: str  # Succeeded or Failed
    message: str


@dataclass(frozen=True)
class Move:
    """A live migration that is asked for. C(bandwidth) is in bytes a second, 0 for no limit; C(timeout) in seconds."""

    uid: str
    target: str  # the node
    bandwidth: int = 0
    timeout: float = 0.0
    auto_converge: bool = False
    post_copy: bool = False


@dataclass(frozen=True)
class Moved:
    """How far a migration is; C(figures) are what was measured, in milliseconds and bytes."""

    step: Step
    figures: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Resized:
    """What came of a guest's new processors and memory; each may have a problem of its own."""

    over: bool = True
    cpu_problem: str = ""
    memory_problem: str = ""


@dataclass(frozen=True)
class Credentials:
    """By user of the guest: all of the public keys, and the password."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    passwords: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspection:
    """What a guest's agent tells when it is asked; users and file systems as virt-api lists them."""

    hostname: str
    timezone: str = ""
    version: str = ""  # the agent's
    commands: tuple[str, ...] = ()
    users: tuple[Object, ...] = ()
    file_systems: tuple[Object, ...] = ()


class Guests(Protocol):
    """The guests of a cluster, known by their instances."""

    simulated: bool
    description: str  # what they are, for people
    node: str  # what their nodes are

    def follow(self, changed: Callable[[str, str], None]) -> None:
        """C(changed) is called with namespace and name of an instance whose guest is not what it was."""
        ...

    def boot(self, vmi: Object, pod: Object) -> Step: ...

    def agent(self, vmi: Object) -> Agent: ...

    def ended(self, vmi: Object) -> Ending | None: ...

    def paused(self, vmi: Object) -> bool | None:
        """Whether the guest stands still; None where only the instance's own condition tells."""
        ...

    def shut_down(self, vmi: Object) -> Step:
        """Let it shut down within its grace period, then stop it; the problem is that it had to be stopped."""
        ...

    def forget(self, vmi: Object) -> None:
        """The instance is over: nothing of its guest stays, not even a running one."""
        ...

    def hardware(self, vmi: Object) -> Object:
        """Of the instance's status: currentCPUTopology, memory, machine."""
        ...

    def interfaces(self, vmi: Object, pod_address: str, *, agent: bool) -> list[Object]:
        """Of the instance's status."""
        ...

    def volumes(self, vmi: Object, statuses: list[Object]) -> list[Object]:
        """The instance's volumeStatus as it is in the guest."""
        ...

    def adjust(self, vmi: Object) -> None:
        """Plug and unplug what the instance's devices now are."""
        ...

    def migrate(self, vmi: Object, move: Move) -> Moved: ...

    def abort(self, vmi: Object, move_uid: str) -> None:
        """Give the migration up; the guest stays where it is."""
        ...

    def resize(self, vmi: Object) -> Resized:
        """Give the guest the processors and memory that its instance has now; followers are told of its end."""
        ...

    def memory(self, vmi: Object) -> int | None:
        """Bytes that the guest has at the moment; None where only the instance's status tells."""
        ...

    def dump(self, vmi: Object, label: str, path: Path | None) -> Step:
        """Write the guest's memory into a new file. C(label) tells several of them apart."""
        ...

    def set_credentials(self, vmi: Object, wanted: Credentials) -> Step:
        """Have the agent set keys and passwords; what is set already is not set again."""
        ...

    def inspect(self, vmi: Object) -> Awaitable[Inspection]:
        """What the guest's agent tells now. Raises CommandFailed."""
        ...

    def command(self, vmi: Object, command: str) -> Awaitable[None]:
        """pause, unpause, reset, soft-reboot, freeze or unfreeze. Raises CommandFailed."""
        ...


class CommandFailed(Exception):
    """Why a guest does not do what it is told, in the hypervisor's words."""
