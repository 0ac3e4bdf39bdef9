"""The nodes of a lab with real guests: KVM hosts, their connections, and what happens on them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from zlib import crc32

import libvirt

from virtlab.controllers.kubelet import POD_NETWORK
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.host import Host
from virtlab.hosts.requirements import HostError

log = logging.getLogger(__name__)

POD_BRIDGE = "pods"
# libvirt tells of its errors by itself, on the error output, unless it is given somebody to tell.
libvirt.registerErrorHandler(lambda context, error: None, None)

Happened = Callable[[str, str, str, int, int], None]  # node, domain's UUID, what, event, detail


class EventLoop:
    """libvirt's own event loop, in a thread that ends with the process."""

    _started = False

    @classmethod
    def start(cls) -> None:
        if not cls._started:
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=cls._run, name="libvirt events", daemon=True).start()
            cls._started = True

    @staticmethod
    def _run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()


class Node:
    """A host with a connection that tells of its domains."""

    def __init__(self, host: Host, happened: Happened) -> None:
        self.host = host
        self.name = host.name
        self._happened = happened
        self._connection: Any = None
        self._lock = threading.Lock()

    @property
    def connection(self) -> Any:
        """Open, opened anew where it broke. Raises libvirtError."""
        with self._lock:
            if self._connection is None or not self._connection.isAlive():
                self._connection = self._open()
            return self._connection

    def connect(self) -> None:
        """Be told of what happens from now on. Raises libvirtError."""
        assert self.connection

    def _open(self) -> Any:
        connection = libvirt.open(self.host.uri)
        tell = self._happened
        for kind, identifier in (
            ("lifecycle", libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE),
            ("agent", libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE),
        ):

            def told(_connection: Any, domain: Any, event: int, detail: int, opaque: str) -> None:
                tell(self.name, domain.UUIDString(), opaque, event, detail)

            connection.domainEventRegisterAny(None, identifier, told, kind)
        for identifier in (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED):

            def plugged(_connection: Any, domain: Any, alias: str, opaque: str) -> None:
                tell(self.name, domain.UUIDString(), "device", 0, 0)

            connection.domainEventRegisterAny(None, identifier, plugged, "")

        def grown(_connection: Any, domain: Any, alias: str, size: int, opaque: str) -> None:
            tell(self.name, domain.UUIDString(), "device", 0, 0)

        identifier = libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE
        connection.domainEventRegisterAny(None, identifier, grown, "")
        connection.registerCloseCallback(
            lambda _connection, reason, _opaque: tell(self.name, "", "closed", 0, reason), None
        )
        connection.setKeepAlive(5, 3)
        return connection

    def domain(self, uid: str) -> Any:
        """Raises libvirtError when there is none."""
        return self.connection.lookupByUUIDString(uid)

    def active(self) -> list[Any]:
        return list(self.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE))


class Nodes:
    """All nodes of a lab. C(shared) are the directories with their guests' files."""

    def __init__(self, directory: Path, shared: Iterable[Path]) -> None:
        self.hosts = Hosts(directory, tuple(shared))
        self.all: dict[str, Node] = {}
        self._segments: dict[str, str] = {}  # and the networks' gateways
        self._lock = threading.Lock()

    def start(self, names: Iterable[str], happened: Happened) -> None:
        """Start the hosts and connect with them. Raises HostError."""
        EventLoop.start()
        self.all = {host.name: Node(host, happened) for host in self.hosts.start(*names)}
        self.join(POD_BRIDGE, str(POD_NETWORK))
        for node in self.all.values():
            node.connect()

    def stop(self) -> None:
        self.hosts.stop()

    def join(self, segment: str, cidr: str) -> None:
        """All nodes have this Ethernet, with a server that gives addresses of the network; once made it stays."""
        network = IPv4Network(cidr, strict=False)
        with self._lock:
            if segment in self._segments:
                return
            hub, gateway = self.hosts.hub, f"{network.network_address + 1}/{network.prefixlen}"
            for node in self.all.values():
                init = node.host.init
                if init is not None:
                    hub.join(segment, node.host.identity.index, init, gateway)
            hub.serve_addresses(segment, network, self._addresses(segment))
            self._segments[segment] = gateway

    def rejoin(self, name: str) -> None:
        """A node was switched on again: connect with it, and join it to the Ethernets. Raises HostError."""
        node = self.all[name]
        node.connect()
        with self._lock:
            for segment, gateway in self._segments.items():
                init = node.host.init
                if init is None:
                    raise HostError(f"node {name} went off again")
                self.hosts.hub.join(segment, node.host.identity.index, init, gateway)

    def reserve(self, segment: str, mac: str, address: str, name: str) -> None:
        """The guest with this MAC gets this address; the server reads what is put here by itself."""
        place = self._addresses(segment) / "hosts" / mac.replace(":", "")
        partial = place.with_suffix(".new")
        if not place.exists() or place.read_text() != f"{mac},{address},{name}\n":
            partial.write_text(f"{mac},{address},{name}\n")
            partial.replace(place)

    def release(self, mac: str) -> None:
        for segment in self._segments:
            (self._addresses(segment) / "hosts" / mac.replace(":", "")).unlink(missing_ok=True)

    def _addresses(self, segment: str) -> Path:
        return self.hosts.directory / "servers" / segment


def segment_of(reference: str) -> str:
    """The name of the Ethernet that a network attachment (namespace/name) is, short enough for an interface."""
    return f"n{crc32(reference.encode()):08x}"
