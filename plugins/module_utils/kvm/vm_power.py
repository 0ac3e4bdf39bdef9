# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping a domain, and waiting for it by its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..task import Failure
from .connection import Host
from .errors import KvmError, Timeout, asking
from .library import libvirt

# libvirt's states of a domain (virDomainState), by their numbers.
STATUSES = ("unknown", "running", "running", "paused", "stopping", "stopped", "crashed", "suspended")
# Those in which there is a guest.
ACTIVE = frozenset({"running", "paused", "stopping", "suspended"})

# A guest that is busy booting does not hear the first call to shut down; it is called again after so many seconds.
_CALL_AGAIN = 5.0
_SHUT_OFF_REASONS = {5: "it failed", 2: "it crashed"}


@dataclass(frozen=True)
class Waiting:
    """How long is waited, in seconds, None where nothing is waited for; and whom progress is told."""

    timeout: float | None = None
    progress: Callable[[str], None] = lambda _text: None


def status(domain: libvirt.virDomain) -> str:
    """The state of a domain: running, paused, stopping, stopped, crashed, suspended."""
    with asking(f"read the state of virtual machine {domain.name()}"):
        number = int(domain.state()[0])
    return STATUSES[number] if number < len(STATUSES) else "unknown"


def start(domain: libvirt.virDomain, *, paused: bool = False) -> None:
    """Start it; a saved state is restored. Raises KvmError with what QEMU said."""
    flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
    with asking(f"start virtual machine {domain.name()}"):
        try:
            domain.createWithFlags(flags)
        except libvirt.libvirtError as error:
            # Something else may have started it in the meantime.
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or paused or not domain.isActive():
                raise


def switch_off(domain: libvirt.virDomain) -> None:
    """As by pulling the plug; nothing happens to one that is off by now."""
    with asking(f"switch off virtual machine {domain.name()}"):
        try:
            domain.destroyFlags(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                raise


def call_to_shut_down(domain: libvirt.virDomain) -> None:
    """Ask the guest to shut down, by its agent where it has one, else by ACPI."""
    with asking(f"shut down virtual machine {domain.name()}"):
        try:
            domain.shutdownFlags(0)
        except libvirt.libvirtError as error:
            # It went off between the look and the call.
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or domain.isActive():
                raise


def shut_down(host: Host, domain: libvirt.virDomain, grace: float | None, waiting: Waiting) -> None:
    """Shut the guest down and wait until it is off.

    With C(grace) it is switched off after so many seconds; without, a guest that does not stop within the time of
    C(waiting) keeps running and Timeout is raised.
    """
    name = domain.name()
    if status(domain) == "paused":
        if grace is None:
            raise Failure(
                f"Virtual machine {name} is paused, so that its guest cannot shut down. Unpause it, or set force: true"
                " to switch it off."
            )
        switch_off(domain)
        return
    timeout = waiting.timeout if waiting.timeout is not None else 300.0
    called = [0.0]

    def look() -> bool | None:
        if status(domain) not in ACTIVE:
            return True
        now = time.monotonic()
        if now - called[0] >= _CALL_AGAIN:
            called[0] = now
            call_to_shut_down(domain)
        return None

    with host.watch(domain, "LIFECYCLE") as watch:
        try:
            watch.until(
                look,
                min(grace, timeout) if grace is not None else timeout,
                lambda: (
                    f"Virtual machine {name} did not shut down within {timeout:.0f} s and keeps running. Give it more"
                    " time with wait_timeout, or have it switched off with grace_period or force."
                ),
            )
        except Timeout:
            if grace is None or grace > timeout:
                raise
            waiting.progress(f"{name} did not shut down within {grace:.0f} s, and is switched off")
            switch_off(domain)


def await_guest(host: Host, domain: libvirt.virDomain, wanted: str, waiting: Waiting) -> None:
    """Wait until the guest runs (C(running)), its agent answers (C(agent)), or it has an address (C(address)).

    Ends at once when the guest goes off.
    """
    name = domain.name()
    timeout = waiting.timeout if waiting.timeout is not None else 300.0

    def look() -> bool | None:
        now = status(domain)
        if now not in ACTIVE:
            with asking(f"read the state of virtual machine {name}"):
                reason = _SHUT_OFF_REASONS.get(int(domain.state()[1]), "it was shut down")
            raise KvmError(f"Virtual machine {name} does not run any more: {reason}. Its log is on the host.")
        if wanted == "running":
            return True if now == "running" else None
        return True if _READY[wanted](domain) else None

    with host.watch(domain, "LIFECYCLE", "AGENT_LIFECYCLE") as watch:
        watch.until(
            look,
            timeout,
            lambda: f"Virtual machine {name} runs, but within {timeout:.0f} s {_LATE[wanted]}",
        )


def _agent_answers(domain: libvirt.virDomain) -> bool:
    try:
        domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME, 0)
    except libvirt.libvirtError as error:
        unanswered = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_OPERATION_INVALID)
        return error.get_error_code() not in unanswered
    return True


def _has_address(domain: libvirt.virDomain) -> bool:
    for source in (libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT):
        try:
            found = domain.interfaceAddresses(source, 0)
        except libvirt.libvirtError:
            continue
        for name, interface in found.items():
            told = [str(address["addr"]).lower() for address in interface.get("addrs") or ()]
            if name != "lo" and any(not address.startswith("fe80:") for address in told):
                return True
    return False


_READY: dict[str, Callable[[libvirt.virDomain], bool]] = {"agent": _agent_answers, "address": _has_address}
_LATE = {
    "running": "it was not unpaused.",
    "agent": "no agent answered. Install qemu-guest-agent in its image, or wait for running.",
    "address": "it got no address. See what its console says, and whether its network gives addresses.",
}
