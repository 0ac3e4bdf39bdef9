# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to a host's libvirt, and the objects on it by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from ..task import Failure
from .errors import asking, explained, not_reached
from .events import LOOP, Watch
from .library import libvirt, missing

T = TypeVar("T")
R = TypeVar("R")

# Remote hosts are asked for a sign of life after so many seconds, and given up after so many unanswered questions.
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 5, 6
# Connections are shared by threads; libvirtd works on few requests of one client at a time (max_client_requests = 5).
_THREADS = 5


def connect(params: Mapping[str, Any], option: str = "uri", *, events: bool = True) -> Host:
    """The host behind C(uri), see Host. Raises Failure: what to install, or NotReached with what to do."""
    lacking = missing()
    if lacking:
        raise Failure(lacking)
    return Host(params[option], events=events)


def is_local(uri: str) -> bool:
    """Whether a URI leads to a libvirt on this machine."""
    scheme = uri.split(":")[0]
    return "+" not in scheme or scheme.endswith("+unix")


class Host:
    """A host's libvirt; closed at the end of a C(with) block.

    What is looked up by name is None where it does not exist. Errors are KvmErrors. Without C(events) nothing can be
    watched, and a host that dies is not noticed; but every call takes less, since each wakes the loop's thread twice.
    """

    def __init__(self, uri: str, *, events: bool = True) -> None:
        self.uri = uri
        # Once the loop is set up, libvirt leaves the signs of life of every connection to it.
        self._uses_loop = events or LOOP.is_set_up
        self._enter()
        try:
            self.connection = libvirt.openAuth(uri, [[], lambda _credentials, _data: -1, None], 0)
        except libvirt.libvirtError as error:
            self._leave()
            raise not_reached(uri, error) from error
        if self._uses_loop and not is_local(uri):
            self.connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT)

    def _enter(self) -> None:
        if self._uses_loop:
            LOOP.enter()

    def _leave(self) -> None:
        if self._uses_loop:
            LOOP.leave()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        # One that was lost before cannot be closed; what was asked of it has said so.
        with suppress(libvirt.libvirtError):
            self.connection.close()
        self._leave()

    @property
    def name(self) -> str:
        """The host's own name."""
        with asking(f"ask {self.uri} for its name"):
            return str(self.connection.getHostname())

    @property
    def version(self) -> int:
        """libvirt's version on the host, as major * 1,000,000 + minor * 1,000 + release."""
        with asking(f"ask {self.uri} for its version"):
            return int(self.connection.getLibVersion())

    def domain(self, name: str) -> libvirt.virDomain | None:
        return self._found(f"look up virtual machine {name}", lambda: self.connection.lookupByName(name))

    def network(self, name: str) -> libvirt.virNetwork | None:
        return self._found(f"look up network {name}", lambda: self.connection.networkLookupByName(name))

    def pool(self, name: str) -> libvirt.virStoragePool | None:
        return self._found(f"look up pool {name}", lambda: self.connection.storagePoolLookupByName(name))

    def volume(self, pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
        return self._found(f"look up volume {name}", lambda: pool.storageVolLookupByName(name))

    def watch(self, domain: libvirt.virDomain | None, *kinds: str) -> Watch:
        """See Watch."""
        return Watch(self.connection, domain, *kinds)

    def in_parallel(self, function: Callable[[T], R], items: Sequence[T], threads: int = _THREADS) -> list[R]:
        """The function's values for the items, in their order, a few at a time. What it raises is raised."""
        if len(items) <= 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(min(threads, len(items))) as pool:
            return list(pool.map(function, items))

    def _found(self, asked: str, look_up: Callable[[], T]) -> T | None:
        try:
            return look_up()
        except libvirt.libvirtError as error:
            if error.get_error_code() in _MISSING:
                return None
            raise explained(asked, error) from error


_MISSING = (
    frozenset()
    if libvirt is None
    else frozenset(
        {
            libvirt.VIR_ERR_NO_DOMAIN,
            libvirt.VIR_ERR_NO_NETWORK,
            libvirt.VIR_ERR_NO_STORAGE_POOL,
            libvirt.VIR_ERR_NO_STORAGE_VOL,
        }
    )
)
