"""A migration of a real guest that is called off, by a libvirt that has not begun to copy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

libvirt = pytest.importorskip("libvirt")
guests = pytest.importorskip("virtlab.guests.real.guests")


class Domain:
    """Has nothing to call off at first, as before the copying begins; afterwards the migration ends with it."""

    def __init__(self, transfer: Any) -> None:
        self.transfer, self.asked = transfer, 0

    def abortJob(self) -> None:
        self.asked += 1
        if self.asked < 3:
            raise libvirt.libvirtError("Requested operation is not valid: no job is active on the domain")
        self.transfer.step = guests.Step(problem="canceled by client")


def test_a_migration_is_called_off_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "ABORT_AGAIN", 0.001)
    guest = guests.Guest("prod", "db", "uid", "worker-0")
    guest.transfer = guests.Transfer("move", "worker-1")
    domain = Domain(guest.transfer)

    async def work(task: Callable[[], Any]) -> Any:
        return task()

    owner = SimpleNamespace(work=work, domain=lambda _guest: domain)
    asyncio.run(asyncio.wait_for(guests.RealGuests._abort(owner, guest), 30))
    assert (guest.moving, domain.asked) == (False, 3)
