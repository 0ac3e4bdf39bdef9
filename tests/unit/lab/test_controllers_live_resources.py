"""Processors that a running machine gains."""

from __future__ import annotations

from typing import Any

import pytest
from virtlab.controllers.kubevirt.live_resources import with_sockets


def domain(**cpu: int) -> dict[str, Any]:
    return {"domain": {"cpu": cpu}}


def test_sockets_grow_up_to_the_limit() -> None:
    running = domain(sockets=1, maxSockets=4, cores=2)
    assert with_sockets(domain(sockets=3), running) == domain(sockets=3, maxSockets=4, cores=2)
    assert running == domain(sockets=1, maxSockets=4, cores=2)


@pytest.mark.parametrize("template", [domain(sockets=5), domain(sockets=2), domain(sockets=1), domain()])
def test_everything_else_waits_for_a_restart(template: dict[str, Any]) -> None:
    running = domain(sockets=2, maxSockets=4)
    assert with_sockets(template, running) is running
