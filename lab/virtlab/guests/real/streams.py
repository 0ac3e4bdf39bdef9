"""Consoles, displays and ports of real guests."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading
from pathlib import Path
from typing import Any

import libvirt

from virtlab.guests.real.files import directory_of
from virtlab.guests.real.guest import Guest
from virtlab.guests.real.guests import RealGuests
from virtlab.guests.real.workshop import SOCKETS
from virtlab.resource import Object
from virtlab.subresources.kubevirt.backends import Pipe

CONNECT = 10.0  # seconds
NEW_NETWORK = 0x40000000


class RealStreams:
    """Implements Backend."""

    def __init__(self, guests: RealGuests) -> None:
        self._guests = guests
        self._open: list[tuple[Guest, Pipe]] = []
        guests.follow(self._cut)

    def _cut(self, _namespace: str, _name: str) -> None:
        """End the streams of guests that are over: a guest that is gone ends no connection itself."""
        for guest, pipe in self._open:
            if not guest.running or guest.ending is not None:
                pipe.writer.transport.abort()
        self._open = [(guest, pipe) for guest, pipe in self._open if not pipe.writer.is_closing()]

    def _kept(self, guest: Guest, pipe: Pipe) -> Pipe:
        self._open.append((guest, pipe))
        return pipe

    def _guest(self, instance: Object) -> Guest:
        guest = self._guests.known(instance)
        if guest is None:
            raise OSError("the guest is not running")
        return guest

    async def console(self, instance: Object) -> Pipe:
        return await self._socket(self._guest(instance), "console")

    def console_log(self, instance: Object) -> Path | None:
        path = directory_of(self._guests.directory, instance) / "console.log"
        return path if path.exists() else None

    async def vnc(self, instance: Object) -> Pipe:
        return await self._socket(self._guest(instance), "vnc")

    async def screenshot(self, instance: Object) -> bytes:
        """What the display shows, as PNG."""
        guest = self._guest(instance)
        try:
            return await self._guests.work(lambda: _screenshot(self._guests.domain(guest)))
        except libvirt.libvirtError as error:
            raise OSError(str(error)) from error

    async def dial(self, instance: Object, port: int, protocol: str) -> Pipe:
        guest = self._guest(instance)
        hub = self._guests.nodes.hosts.hub.process
        if hub is None or not guest.address:
            raise OSError("the guest is on no network")
        if protocol != "tcp":
            raise OSError(f"{protocol} is not forwarded")
        connected = await self._guests.work(lambda: connect_in(hub.pid, guest.address, port))
        reader, writer = await asyncio.open_connection(sock=connected)
        return self._kept(guest, Pipe(reader, writer))

    async def _socket(self, guest: Guest, kind: str) -> Pipe:
        """The guest's socket on its node, whose path from here may be too long for one."""
        directory = self._guests.place(guest).host.directory / SOCKETS.lstrip("/")
        descriptor = os.open(directory, os.O_PATH)
        try:
            path = f"/proc/self/fd/{descriptor}/{guest.uid}.{kind}"
            async with asyncio.timeout(CONNECT):
                reader, writer = await asyncio.open_unix_connection(path)
        finally:
            os.close(descriptor)
        return self._kept(guest, Pipe(reader, writer))


def connect_in(pid: int, address: str, port: int) -> socket.socket:
    """A TCP connection made in the network namespace of a process. Raises OSError."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def run() -> None:
        # A thread of its own: it leaves the network namespace of the others for good.
        try:
            descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, NEW_NETWORK):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
            finally:
                os.close(descriptor)
            made.append(socket.create_connection((address, port), CONNECT))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    made[0].setblocking(False)
    return made[0]


def _screenshot(domain: Any) -> bytes:
    stream = domain.connect().newStream(0)
    kind = domain.screenshot(stream, 0)
    chunks: list[bytes] = []
    while data := stream.recv(1 << 18):
        chunks.append(data)
    stream.finish()
    if kind != "image/png":
        raise OSError(f"the display's picture is {kind} and not image/png; QEMU 7.1 or newer makes that")
    return b"".join(chunks)
