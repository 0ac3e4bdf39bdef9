"""The power of nodes that are KVM hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import libvirt

from virtlab.guests.power import Switches
from virtlab.hosts.requirements import HostError

if TYPE_CHECKING:
    from virtlab.guests.real.nodes import Nodes

LOOK = 0.5  # seconds between two looks at a host that is off: somebody else may switch it on
PATIENCE = 60.0  # seconds for a host to come up


class RealPower(Switches):
    """Implements Power: a node is down while its host has no first process."""

    def __init__(self, nodes: Nodes, work: Callable[[Callable[[], Any]], Any]) -> None:
        """C(work) does in a thread what waits for libvirt."""
        super().__init__()
        self._nodes = nodes
        self._work = work
        self._watching: set[asyncio.Task[None]] = set()

    async def cut(self, node: str) -> None:
        self.lost(node)
        await self._work(self._nodes.all[node].host.crash)

    def lost(self, node: str) -> None:
        """The node went down, by whatever it was."""
        if self.down(node):
            return
        self.set(node, on=False)
        task = asyncio.get_running_loop().create_task(self._watch(node))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def restore(self, node: str) -> None:
        """Raises HostError."""
        await self._work(lambda: self._nodes.hosts.start(node))
        until = asyncio.get_running_loop().time() + PATIENCE
        while self.down(node):
            if asyncio.get_running_loop().time() > until:
                raise HostError(f"libvirtd of node {node} does not answer")
            await asyncio.sleep(LOOK / 5)

    async def _watch(self, node: str) -> None:
        """Until the node is on again, connected, and on the guests' Ethernets."""
        host = self._nodes.all[node].host
        gone = host.init
        while True:
            await asyncio.sleep(LOOK)
            init = host.init
            if init is None or init == gone:
                continue
            try:
                await self._work(lambda: self._nodes.rejoin(node))
            except (HostError, libvirt.libvirtError):
                continue
            self.set(node, on=True)
            return
