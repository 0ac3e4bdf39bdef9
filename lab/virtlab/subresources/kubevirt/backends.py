"""What stands behind the streams of a running instance: its serial console, its display, its ports.

Played guests have none of it. Where guests are real, those who run them register a backend for the cluster.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

from virtlab.cluster import Cluster
from virtlab.resource import Object


@dataclass(frozen=True)
class Pipe:
    """Two directions of bytes, which whoever opened it closes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Backend(Protocol):
    """Raises OSError where there is no connection, with the reason as its text."""

    async def console(self, instance: Object) -> Pipe: ...

    def console_log(self, instance: Object) -> Path | None:
        """The file that holds what the serial console said since the guest started; None where none is kept."""
        ...

    async def vnc(self, instance: Object) -> Pipe: ...

    async def screenshot(self, instance: Object) -> bytes:
        """What the display shows, as PNG."""
        ...

    async def dial(self, instance: Object, port: int, protocol: str) -> Pipe:
        """A connection to a port of the guest, from where its network is reached. C(protocol) is tcp or udp."""
        ...


_backends: WeakKeyDictionary[Cluster, Backend] = WeakKeyDictionary()


def register(cluster: Cluster, backend: Backend) -> None:
    """Let a backend serve the streams of the cluster's instances."""
    _backends[cluster] = backend


def backend_of(cluster: Cluster) -> Backend | None:
    """The backend of the cluster's guests, None where they are played."""
    return _backends.get(cluster)
