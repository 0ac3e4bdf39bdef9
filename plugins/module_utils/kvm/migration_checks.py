# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a machine cannot be moved to another host, found before anything moves."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from ..task import Failure
from .connection import Host
from .errors import KvmError, asking
from .folder import Folder
from .library import libvirt
from .migration_disks import CopiedDisk
from .migration_plan import Plan, too_old
from .view import DomainView, InterfaceView
from .xml import parse, written

# The guest's state would go with a device that is the host's own.
_BOUND_DEVICES = {
    "hostdev": "a device of the host",
    "filesystem": "a shared directory",
    "redirdev": "a USB redirection",
}
# These CPU modes name no model that another host could be asked for.
_HOST_CPUS = ("host-passthrough", "host-model", "maximum")


@dataclass(frozen=True)
class Candidate:
    """A machine that is to be moved, with its XML as it goes to the other host."""

    domain: libvirt.virDomain
    element: Element
    view: DomainView
    live: bool
    disks: Sequence[CopiedDisk]
    # Files on the other host that are ours.
    ours: Sequence[str]


def host_uuid(host: Host) -> str:
    """What tells a host from all others."""
    with asking(f"read the capabilities of {host.uri}"):
        return parse(host.connection.getCapabilities()).findtext("host/uuid") or ""


def reasons(source: Host, target: Host, candidate: Candidate, plan: Plan) -> list[str]:
    """Everything that stands against the move; nothing does where the list is empty."""
    found = [*too_old(plan, {source.uri: source.version, target.uri: target.version}), *_bound(candidate)]
    if "cpu" not in plan.skip:
        found += _platform(target, candidate)
    if candidate.live and "memory" not in plan.skip:
        found += short_of_memory(candidate.view.memory, _free_memory(target), target.uri)
    if "network" not in plan.skip:
        found += _networks(target, candidate.view.interfaces)
    found += _storage(target, candidate, plan)
    if plan.post_copy and candidate.live and not _runs(candidate.domain):
        found.append("it is paused, and post_copy is for guests that run; leave post_copy out, or let it run")
    if not candidate.live and "firmware_state" not in plan.skip:
        found += _left_behind(candidate)
    return found


def _runs(domain: libvirt.virDomain) -> bool:
    with asking(f"read the state of {domain.name()}"):
        return bool(domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING)


def _bound(candidate: Candidate) -> Iterator[str]:
    """What libvirt does not move: snapshots and checkpoints, a saved state, devices of the host."""
    domain, view = candidate.domain, candidate.view
    with asking(f"read the snapshots of {view.name}"):
        snapshots, checkpoints = domain.snapshotListNames(), [item.getName() for item in domain.listAllCheckpoints()]
        is_saved = bool(domain.hasManagedSaveImage())
    if snapshots:
        yield (
            f"it has snapshots, which libvirt does not move ({', '.join(sorted(snapshots))}); delete or merge them"
            " before (virtstack.core.kvm_vm_snapshot)"
        )
    if checkpoints:
        yield (
            f"it has checkpoints of backups, which libvirt does not move ({', '.join(sorted(checkpoints))});"
            " delete them before, and begin with a full backup on the other host"
        )
    if is_saved and not candidate.live:
        yield "its memory is saved, and would stay behind; start it, or remove the saved state, before"
    for tag, meaning in _BOUND_DEVICES.items() if candidate.live else ():
        if candidate.element.find(f"devices/{tag}") is not None:
            yield f"it has {meaning} ({tag}), which a running guest cannot take along; detach it, or shut it down"


def _platform(target: Host, candidate: Candidate) -> Iterator[str]:
    """Emulator, machine type and CPU."""
    element, view = candidate.element, candidate.view
    kind = element.get("type") or "qemu"
    try:
        target.connection.getDomainCapabilities(None, view.architecture, view.machine_type, kind, 0)
    except libvirt.libvirtError as error:
        what = f"{view.architecture} machine {view.machine_type} of the type {kind}"
        yield f"{target.uri} cannot run a {what}: {error.get_error_message()}"
        return
    cpu = element.find("cpu")
    if cpu is None or cpu.get("mode") in _HOST_CPUS or cpu.find("model") is None:
        return
    try:
        target.connection.compareHypervisorCPU(
            None,
            view.architecture,
            view.machine_type,
            kind,
            written(cpu),
            libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE,
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_CPU_INCOMPATIBLE, libvirt.VIR_ERR_INTERNAL_ERROR):
            yield (
                f"its CPU {view.cpu_model} is not to be had on {target.uri}: {error.get_error_message()}"
                " (choose a model that both hosts have, e.g. by cpu.model of kvm_vm)"
            )


def _free_memory(target: Host) -> int:
    """Bytes of memory that the host has free, or can free at once."""
    with asking(f"ask {target.uri} for its free memory"):
        stats = target.connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
    return sum(int(stats.get(part, 0)) for part in ("free", "buffers", "cached")) * 1024


def short_of_memory(needed: int, free: int, uri: str) -> list[str]:
    """Both in bytes."""
    if needed <= free:
        return []
    return [f"it has {_mib(needed)} of memory and {uri} only {_mib(free)} free"]


def short_of_space(needed: int, free: int, place: str) -> list[str]:
    """Both in bytes."""
    return [f"its disks need {_mib(needed)} in {place}, which has only {_mib(free)} free"] if needed > free else []


def _mib(size: int) -> str:
    return f"{size // 1024**2} MiB"


def _networks(target: Host, interfaces: Iterable[InterfaceView]) -> Iterator[str]:
    devices = _devices(target)
    for interface in interfaces:
        source = interface.source
        if interface.type == "network" and source:
            network = target.network(source)
            if network is None:
                yield f"its interface {interface.name} is on the network {source}, which {target.uri} does not have"
            elif not network.isActive():
                yield f"its interface {interface.name} is on the network {source}, which is not started on {target.uri}"
            elif interface.portgroup and interface.portgroup not in _portgroups(network):
                yield f"the network {source} of {target.uri} has no portgroup {interface.portgroup}"
        elif interface.type in ("bridge", "direct") and source and devices and source not in devices:
            kind = "bridge" if interface.type == "bridge" else "device"
            yield f"its interface {interface.name} is on the {kind} {source}, which {target.uri} does not have"


def _portgroups(network: libvirt.virNetwork) -> set[str]:
    with asking(f"read network {network.name()}"):
        return {group.get("name") or "" for group in parse(network.XMLDesc()).findall("portgroup")}


def _devices(target: Host) -> set[str]:
    """The host's network devices; none where its libvirt does not tell (without udev, or without the driver)."""
    try:
        nodes = target.connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET)
        return {parse(node.XMLDesc()).findtext("capability/interface") or "" for node in nodes}
    except libvirt.libvirtError:
        return set()


def _storage(target: Host, candidate: Candidate, plan: Plan) -> Iterator[str]:
    """Files that have to be there, files that must not be there, and the space for those to come."""
    copied = {disk.path: disk for disk in candidate.disks}
    paths = {disk.source: disk for disk in candidate.view.disks if disk.type == "file" and disk.source}
    backing = [disk.backing[0] for disk in candidate.disks if disk.backing]
    directories: dict[str, list[str]] = {}
    for path in dict.fromkeys([*paths, *backing]):
        directories.setdefault(posixpath.dirname(path), []).append(path)
    for directory, inside in directories.items():
        try:
            with Folder(target, directory) as folder:
                there = set(folder.names())
                free = folder.available
        except KvmError:
            yield f"{target.uri} has no directory {directory} for {', '.join(inside)}; make it there, or share it"
            continue
        for path in inside:
            is_there = posixpath.basename(path) in there
            if path in copied and is_there and path not in candidate.ours:
                yield f"{target.uri} already has a file {path}, which would be overwritten; move or delete it"
            elif path not in copied and not is_there:
                yield f"{target.uri} does not have {path}; share its directory, or copy it (copy_storage: all)"
        if "space" not in plan.skip:
            needed = _needed((copied[path] for path in inside if path in copied), candidate.live)
            yield from short_of_space(needed, free, directory)


def _needed(disks: Iterable[CopiedDisk], live: bool) -> int:
    # A running guest's disk may be written out in full on the other side; all else takes what it takes here.
    return sum(max(disk.capacity, disk.allocation) if live and not disk.backing else disk.allocation for disk in disks)


def _left_behind(candidate: Candidate) -> Iterator[str]:
    element = candidate.element
    if element.find("devices/tpm/backend[@type='emulator']") is not None:
        yield (
            "the state of its TPM goes along only while it runs; start it and move it live, or leave the state behind"
            " (skip_checks: [firmware_state])"
        )
    if element.find("os/nvram") is not None:
        yield (
            "its UEFI variables go along only while it runs; start it and move it live, or leave them behind"
            " (skip_checks: [firmware_state])"
        )


def refuse_taken(target: Host, name: str, uuid: str) -> None:
    """Raise Failure where the other host has another machine with the name or the uuid."""
    there = target.domain(name)
    if there is not None and there.UUIDString() != uuid:
        raise Failure(
            f"{target.uri} already has another machine with the name {name} (uuid {there.UUIDString()}). Rename one."
        )
    try:
        twin = target.connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError:
        return
    if twin.name() != name:
        raise Failure(f"The uuid {uuid} of {name} is taken on {target.uri} by the machine {twin.name()}.")
