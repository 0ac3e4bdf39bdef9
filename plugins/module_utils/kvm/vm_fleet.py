# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task asks of a host once, however many machines it is for: domains, networks, pools, platforms."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ..machine.refusal import Refused
from .backing import Images, Overlay, images, is_there
from .connection import Host
from .errors import asking, explained
from .library import libvirt
from .overlay import meaning
from .platform import Platform, platform
from .usage import Use, uses
from .view import DiskView, DomainView, view
from .xml import parse

# Pools whose volumes are files or devices below the pool's target, and of which libvirt's type a disk is then.
LOCAL_POOLS = {"dir": "file", "fs": "file", "netfs": "file", "gluster": "file", "logical": "block", "zfs": "block"}


@dataclass(frozen=True)
class Pool:
    """A storage pool that runs."""

    name: str
    pool: libvirt.virStoragePool
    type: str
    target: str

    @property
    def is_local(self) -> bool:
        return self.type in LOCAL_POOLS

    @property
    def makes_files(self) -> bool:
        return LOCAL_POOLS.get(self.type) == "file"

    def path(self, volume: str) -> str:
        """Where a volume of that name is, or will be."""
        return f"{self.target.rstrip('/')}/{volume}"


class Fleet:
    """The host, with what was asked of it. Its methods may be called by several threads at once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._lock = threading.RLock()
        self._domains: dict[str, DomainView] | None = None
        self._networks: dict[str, bool] = {}
        self._pools: dict[str, Pool] = {}
        self._platforms: dict[tuple[str | None, str | None, str | None], Platform] = {}
        self._claimed: dict[str, str] = {}
        self._targets: dict[str, str | None] = {}
        self._uses: list[Use] | None = None
        self._memory: int | None = None
        self._reserved: dict[str, dict[str, str]] = {}
        self._images: Images | None = None
        self._are_new = False
        self._looked: set[str] = set()

    def platform(self, architecture: str | None, machine: str | None, type_: str | None) -> Platform:
        """See platform. Raises Refused."""
        key = (architecture, machine, type_)
        with self._lock:
            if key not in self._platforms:
                self._platforms[key] = platform(self.host, architecture, machine, type_)
            return self._platforms[key]

    def domains(self) -> dict[str, DomainView]:
        """All domains of the host as they are configured, by name; read once."""
        with self._lock:
            if self._domains is None:
                with asking(f"list the virtual machines of {self.host.uri}"):
                    found = self.host.connection.listAllDomains(0)
                read = [_read(domain) for domain in found]
                self._domains = {item.name: item for item in read if item is not None}
            return self._domains

    def check_mac(self, mac: str, name: str, label: str) -> None:
        """Raises Refused where another machine of the host has the address, or is given it in the same task."""
        with self._lock:
            owner = self._claimed.setdefault(f"mac {mac}", name)
        other = next((item for item in self._addresses(mac) if item != name), None)
        other = other or (owner if owner != name else None)
        if other is not None:
            raise Refused(f"{label}: mac: {mac} is that of virtual machine {other}; give each machine its own")

    def check_address(self, address: str, network: str, macs: Collection[str], name: str) -> None:
        """Raises Refused for an IP address that the network has itself or keeps for others than the MACs, or that is
        given to two machines of a task."""
        with self._lock:
            owner = self._claimed.setdefault(f"address {address} in {network}", name)
            if network not in self._reserved:
                self._reserved[network] = self._read_reserved(network)
            mac = self._reserved[network].get(address)
        if owner != name:
            raise Refused(f"cloud_init: {address} is given to virtual machine {owner}, too; give each its own")
        if mac is not None and mac not in macs:
            what = f"reserved for {mac} in network {network}" if mac else f"the address of network {network} itself"
            raise Refused(f"cloud_init: {address} is {what}; give the guest another one, or none for DHCP's")

    def _read_reserved(self, network: str) -> dict[str, str]:
        """The addresses of a network, with the MAC, the id or the name that each is reserved for; empty for its own."""
        found = self.host.network(network)
        if found is None:
            return {}
        with asking(f"read network {network}"):
            document = parse(found.XMLDesc(0))
        own = {meaning("address", ip.get("address") or ""): "" for ip in document.findall("ip")}
        return own | {
            meaning("address", item.get("ip") or ""): (
                item.get("mac") or item.get("id") or item.get("name") or "?"
            ).lower()
            for item in document.findall("ip/dhcp/host")
        }

    def _addresses(self, mac: str) -> Iterator[str]:
        for domain in self.domains().values():
            if any((interface.mac or "").lower() == mac for interface in domain.interfaces):
                yield domain.name

    def check_free(self, path: str, pool: str | None, volume: str | None, name: str, label: str) -> None:
        """Raises Refused where another machine writes to it, now or by the same task, or a volume is built on it."""
        with self._lock:
            owner = self._claimed.setdefault(f"path {path}", name)
        paths = self.images().names(path)
        other = next(
            (
                domain.name
                for domain in self.domains().values()
                if domain.name != name
                and any(
                    ((disk.pool is not None and (disk.pool, disk.source) == (pool, volume)) or self._is_at(disk, paths))
                    and not disk.readonly
                    and not disk.shareable
                    for disk in domain.disks
                )
            ),
            None,
        )
        other = other or (owner if owner != name else None)
        if other is not None:
            raise Refused(
                f"{label}: {path} is a disk of virtual machine {other}; use another, or set shareable: true on both"
            )
        above = self.overlay(path)
        if above is not None:
            raise Refused(
                f"{label}: {above.label} is built on {path}, and would be lost when a guest writes to that; use"
                " that, or another one that virtstack.core.kvm_volume makes with backing"
            )

    def place(self, disk: DiskView) -> str | None:
        """The path of what a disk is, also of one that names a volume and its pool."""
        if disk.pool is None or disk.source is None:
            return disk.source
        target = self.target(disk.pool)
        return f"{target}/{disk.source}" if target else None

    def target(self, pool: str) -> str | None:
        """The directory of a pool, also of one that does not run."""
        with self._lock:
            if pool not in self._targets:
                found = self.host.pool(pool)
                with asking(f"read pool {pool}"):
                    document = parse(found.XMLDesc(0)) if found is not None else None
                self._targets[pool] = document.findtext("target/path") if document is not None else None
            target = self._targets[pool]
        return target.strip().rstrip("/") if target else None

    def user(self, path: str, pool: str, volume: str, name: str) -> str | None:
        """Another machine than C(name) that has the volume: as a disk, or, as far as its XML tells, below one."""
        paths = self.images().names(path)
        for domain in self.domains().values():
            if domain.name != name and any(self._is_at(disk, paths) for disk in domain.disks):
                return domain.name
        with self._lock:
            if self._uses is None:
                self._uses = uses(self.host, running_only=False)
        others = (use for use in self._uses if use.guest != name)
        return next(
            (
                use.guest
                for use in others
                if use.is_of(path, pool, volume) or (use.path and posixpath.normpath(use.path) in paths)
            ),
            None,
        )

    def _is_at(self, disk: DiskView, paths: Collection[str]) -> bool:
        place = self.place(disk)
        return place is not None and posixpath.normpath(place) in paths

    def overlay(self, path: str, but: Collection[str] = ()) -> Overlay | None:
        """An image that is built on the file and is still there, none of the paths C(but)."""
        return next((item for item in self.images().above(path, but) if self._is_there(item)), None)

    def chain(self, path: str) -> list[str]:
        """The files that an image is built on, the nearest first."""
        return self.images().chain(path)

    def images(self, *, anew: bool = False) -> Images:
        """What is known of the host's images, see images; read once, and with C(anew) once more at most."""
        with self._lock:
            if self._images is None or (anew and not self._are_new):
                self._images, self._are_new = images(self.host, anew=anew), anew
            return self._images

    def _is_there(self, item: Overlay) -> bool:
        if item.pool is None:
            return is_there(self.host, item)
        return volume_at(self.host.connection, item.path) is not None

    def require_network(self, name: str, label: str, *, active: bool) -> None:
        """Raises Refused for a network that the host does not have, or that does not run where a guest is to start."""
        with self._lock:
            if name not in self._networks:
                network = self.host.network(name)
                if network is None:
                    with asking("list the networks"):
                        known = sorted(item.name() for item in self.host.connection.listAllNetworks(0))
                    raise Refused(
                        f"{label}: network: this host has no network {name}; it has {', '.join(known) or 'none'}."
                        " virtstack.core.kvm_network makes one"
                    )
                with asking(f"read network {name}"):
                    self._networks[name] = bool(network.isActive())
            if active and not self._networks[name]:
                raise Refused(f"{label}: network: {name} does not run; start it with virtstack.core.kvm_network")

    def pool(self, name: str, label: str) -> Pool:
        """The pool. Raises Refused for one that the host does not have, or that does not run."""
        with self._lock:
            if name not in self._pools:
                self._pools[name] = self._read_pool(name, label)
            return self._pools[name]

    def volume(self, pool: Pool, name: str) -> libvirt.virStorageVol | None:
        """A volume of a pool, also where it came to be behind its back; each pool looks once a task."""
        found = self.host.volume(pool.pool, name)
        with self._lock:
            if found is not None or pool.name in self._looked:
                return found
            self._looked.add(pool.name)
            # One that somebody fills at the moment cannot be refreshed.
            with suppress(libvirt.libvirtError):
                pool.pool.refresh(0)
        return self.host.volume(pool.pool, name)

    def pool_of(self, directory: str) -> Pool | None:
        """A pool that runs and has the files of a directory."""
        with asking("list the pools"):
            pools = self.host.connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
        for pool in pools:
            with suppress(libvirt.libvirtError, Refused):
                found = self.pool(pool.name(), "")
                if found.makes_files and posixpath.normpath(found.target) == directory:
                    return found
        return None

    @property
    def memory(self) -> int:
        """The bytes of memory that the host has."""
        with self._lock:
            if self._memory is None:
                with asking(f"ask {self.host.uri} for its memory"):
                    self._memory = int(self.host.connection.getInfo()[1]) << 20
            return self._memory

    def _read_pool(self, name: str, label: str) -> Pool:
        found = self.host.pool(name)
        if found is None:
            with asking("list the pools"):
                known = sorted(item.name() for item in self.host.connection.listAllStoragePools(0))
            raise Refused(
                f"{label}: this host has no storage pool {name}; it has {', '.join(known) or 'none'}."
                " virtstack.core.kvm_pool makes one"
            )
        with asking(f"read pool {name}"):
            is_active, document = bool(found.isActive()), parse(found.XMLDesc(0))
        if not is_active:
            raise Refused(f"{label}: storage pool {name} does not run; start it with virtstack.core.kvm_pool")
        target = (document.findtext("target/path") or "").strip()
        return Pool(name, found, document.get("type") or "", target)


def _read(domain: libvirt.virDomain) -> DomainView | None:
    try:
        return view(parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        with asking("read the virtual machines"):
            raise


def volume_at(connection: libvirt.virConnect, path: str) -> libvirt.virStorageVol | None:
    """The volume behind a path, also where it came to be behind its pool's back; None where no pool has it."""
    for attempt in range(2):
        try:
            return connection.storageVolLookupByPath(path)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise explained(f"look up {path}", error) from error
        if attempt == 0:
            for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
                # One that somebody fills at the moment cannot be refreshed.
                with suppress(libvirt.libvirtError):
                    pool.refresh(0)
    return None


def document(domain: libvirt.virDomain) -> Element:
    """A domain as it is configured, with its secrets."""
    with asking(f"read virtual machine {domain.name()}"):
        return parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
