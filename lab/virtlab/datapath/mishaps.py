"""Fault rules at work on uploads and downloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from virtlab.faults import Fault

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

CUT = "cut by a fault rule"


class Mishap:
    """What a rule does to one request; nothing where there is no rule."""

    def __init__(self, fault: Fault | None, request: web.Request) -> None:
        self._fault, self._request = fault, request

    @classmethod
    async def met(cls, cluster: Cluster, request: web.Request) -> Mishap:
        """The request's mishap, the first part of it done. Raises ConnectionResetError when that was to cut it."""
        mishap = cls(cluster.faults.hit("data", "", request.path), request)
        fault = mishap._fault
        if fault is not None:
            await asyncio.sleep(fault.latency)
            if fault.drop == "before":
                mishap.hang_up()
        return mishap

    @property
    def refusal(self) -> web.Response | None:
        """The answer instead of the right one."""
        fault = self._fault
        if fault is None or not fault.code or fault.drop:
            return None
        headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
        return web.Response(status=fault.code, text=fault.message, headers=headers)

    def hang_up(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
        raise ConnectionResetError(CUT)

    async def through(self, pieces: AsyncIterator[bytes], total: int | None) -> AsyncIterator[bytes]:
        """The pieces, of C(total) bytes where that is known; slower, or cut off once half of them went."""
        if self._fault is None:
            async for piece in pieces:
                yield piece
            return
        done = 0
        async for piece in pieces:
            if self._fault.drop == "amid" and done and done >= (total or 0) // 2:
                self.hang_up()
            await asyncio.sleep(self._fault.slow)
            yield piece
            done += len(piece)

    def at_the_end(self) -> None:
        """Everything is done: the answer to that may be lost."""
        if self._fault is not None and self._fault.drop == "after":
            self.hang_up()
