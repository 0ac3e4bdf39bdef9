# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is to become: its domain as it is, with the declaration merged into it. Asks, and changes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from xml.etree.ElementTree import Element

from ..machine.disks import Disk
from ..machine.interfaces import POD_NETWORK, Interface
from ..machine.refusal import Problems, Refused
from .domain_disks import SEED, Place, check_boot_order, merge_disks
from .domain_interfaces import attachment, check_interfaces, merge_interfaces
from .domain_merge import merge
from .domain_new import memory_bytes, skeleton
from .domain_overlay import overlay
from .errors import asking, explained
from .kept import keep, kept
from .library import libvirt
from .naming import check_new_name
from .platform import Platform
from .view import DiskView, DomainView, view
from .vm_addresses import check_addresses, check_macs_of_xml
from .vm_fleet import Fleet
from .vm_options import ALWAYS, ONCE, RERUN_ON_FAILURE, Declaration
from .vm_seed import DISK as SEED_DISK
from .vm_seed import Seed, plan_seed
from .vm_volumes import Making, Volumes, check_disks_of_xml, notes_of_places, plan_volumes, readable
from .xml import differences, ensure, written


@dataclass
class Draft:
    """What is to be written. C(before) is None for a new machine. C(growth) are new sizes in bytes, by disk."""

    declaration: Declaration
    before: Element | None
    desired: Element
    makings: list[Making] = field(default_factory=list)
    seed: Seed | None = None
    notes: list[str] = field(default_factory=list)
    growth: dict[str, int] = field(default_factory=dict)

    @property
    def is_new(self) -> bool:
        return self.before is None

    @cached_property
    def changes(self) -> list[str]:
        """Where the domain is to differ from what it is, as paths."""
        return [] if self.before is None else list(differences(self.before, self.desired))


def draft(
    fleet: Fleet, declaration: Declaration, before: Element | None, *, replace_lists: bool, is_active: bool
) -> Draft:
    """Raises Refused and KvmError, before anything was changed."""
    machine = declaration.machine
    if before is None:
        check_new_name(declaration.name)
        platform = _platform(fleet, declaration)
        desired = skeleton(declaration, platform)
        ensure(desired, "uuid").text = (
            (machine.firmware.uuid if machine.firmware else None) or _given_uuid(declaration) or str(uuid.uuid4())
        )
        declaration = _completed(declaration, platform)
    else:
        desired = deepcopy(before)
        given = _given_uuid(declaration)
        if given is not None and given.lower() != (before.findtext("uuid") or "").strip().lower():
            raise Refused(f"xml: uuid: {declaration.label} has another one, which libvirt never changes; leave it out")
        if declaration.run_strategy is None and kept(before).making:
            # It was not made to its end; what was to become of it is kept.
            declaration = replace(declaration, run_strategy=kept(before).run_strategy)
        if machine.cpu is not None and machine.cpu.model is not None:
            _check_model(fleet, declaration, before)
    made = Draft(declaration, before, desired)
    problems = Problems()
    problems.take(lambda: check_interfaces(declaration.machine.interfaces or ()))
    problems.take(lambda: _check_networks(fleet, declaration, before, is_active))
    problems.take(lambda: check_addresses(fleet, declaration, before))
    volumes = problems.take(lambda: _volumes(fleet, made)) or Volumes()
    problems.take(lambda: merge(desired, declaration, is_new=before is None))
    problems.refuse()
    _merge_devices(fleet, made, volumes, replace_lists)
    if declaration.xml is not None:
        overlay(desired, declaration.xml)
        _refuse_conflicts(made, volumes, replace_lists)
        check_macs_of_xml(fleet, declaration.name, before, desired)
        check_disks_of_xml(fleet, declaration.name, before, desired)
    if desired.find("memory") is None:
        raise Refused("memory: is missing; a new machine needs it, e.g. 2Gi")
    check_boot_order(desired)
    if before is None or view(before).memory != view(desired).memory:
        made.notes += memory_notes(fleet, desired)
    return made


def memory_notes(fleet: Fleet, domain: Element) -> list[str]:
    """That a machine has more memory than its host, where it has. It may start all the same, and not use it all."""
    asked, has = view(domain).memory, fleet.memory
    if asked <= has:
        return []
    return [f"memory: {readable(asked)} is more than the {readable(has)} that the host has"]


def _completed(declaration: Declaration, platform: Platform) -> Declaration:
    """What a new machine gets that the declaration leaves open, as C(vm) has it: it runs, with one interface."""
    machine = declaration.machine
    if machine.cpu is not None and machine.cpu.model is not None:
        platform.check_cpu(machine.cpu.model)
    if machine.firmware is not None:
        platform.check_firmware(machine.firmware.mode, machine.firmware.tpm)
    interfaces = machine.interfaces
    has_own = declaration.xml is not None and declaration.xml.find("devices/interface") is not None
    if interfaces is None and not has_own and platform.capabilities is not None:
        interfaces = (Interface("default", network=POD_NETWORK),)
    # The machine type is that of the skeleton, with its version.
    machine = replace(machine, interfaces=interfaces, machine_type=None)
    return replace(declaration, machine=machine, architecture=None, run_strategy=declaration.run_strategy or ALWAYS)


def _platform(fleet: Fleet, declaration: Declaration) -> Platform:
    xml = declaration.xml
    type_ = xml.find("os/type") if xml is not None else None
    machine, arch = (type_.get("machine"), type_.get("arch")) if type_ is not None else (None, None)
    return fleet.platform(
        declaration.architecture or arch,
        declaration.machine.machine_type or machine,
        xml.get("type") if xml is not None else None,
    )


def _given_uuid(declaration: Declaration) -> str | None:
    return (declaration.xml.findtext("uuid") or "").strip() or None if declaration.xml is not None else None


def _check_model(fleet: Fleet, declaration: Declaration, before: Element) -> None:
    now = view(before)
    model = declaration.machine.cpu.model if declaration.machine.cpu else None
    if model and model not in (now.cpu_mode, now.cpu_model):
        fleet.platform(now.architecture, now.machine_type, before.get("type")).check_cpu(model)


def _check_networks(fleet: Fleet, declaration: Declaration, before: Element | None, is_active: bool) -> None:
    """The networks of interfaces that are new or move must be there; for a guest that runs or starts, run."""
    known = view(before) if before is not None else None
    problems = Problems()
    starts = is_active or declaration.run_strategy in (ALWAYS, RERUN_ON_FAILURE, ONCE)
    for interface in declaration.machine.interfaces or ():
        if interface.absent or interface.network is None:
            continue
        to = attachment(interface)
        name = to.source.get("network")
        found = known.interface(interface.name) if known is not None else None
        if name is None or (found is not None and (found.type, found.source) == ("network", name)):
            continue
        label = f"interface {interface.name}"
        problems.take(lambda name=name, label=label: fleet.require_network(name, label, active=starts))  # type: ignore[misc]
    problems.refuse()


def _volumes(fleet: Fleet, made: Draft) -> Volumes:
    """The places of disks that are new, and the volumes that an interrupted task left unfinished."""
    declaration, before = made.declaration, made.before
    known = view(before) if before is not None else None
    unfinished = kept(before).making if before is not None else {}
    if known is not None:
        made.notes += notes_of_places(fleet, declaration.machine.disks or (), known)
    new = [disk for disk in declaration.machine.disks or () if not disk.absent and _is_new(disk, known)]
    volumes = plan_volumes(fleet, declaration.name, new, unfinished)
    made.makings = volumes.makings
    made.notes += volumes.notes
    made.growth = volumes.growth
    return volumes


def _is_new(disk: Disk, known: DomainView | None) -> bool:
    """Whether the place of a disk is to be found. Of those that are there, only a cdrom gets another medium."""
    found = known.disk(disk.name) if known is not None else None
    if found is None:
        return True
    return found.device == "cdrom" and disk.source is not None and disk.source.creates == "nothing"


def _merge_devices(fleet: Fleet, made: Draft, volumes: Volumes, replace_lists: bool) -> None:
    desired, machine = made.desired, made.declaration.machine
    made.seed = _seed(fleet, made)
    disks: Sequence[Disk] | None = machine.disks
    places: Mapping[str, Place] = volumes.places
    if made.seed is not None:
        disks = [*(disks or ()), SEED_DISK]
        places = {**places, SEED: made.seed.place}
        if made.before is not None and view(made.before).disk(SEED) is not None:
            # Where it is attached is as it was; its content is what counts.
            disks = list(machine.disks or ()) if machine.disks is not None else None
    merge_disks(
        desired,
        disks,
        places,
        replace=replace_lists and machine.disks is not None,
        keeps_seed=made.seed is not None,
    )
    merge_interfaces(desired, machine.interfaces, replace=replace_lists)
    _remember(made, volumes)


def _seed(fleet: Fleet, made: Draft) -> Seed | None:
    machine, before = made.declaration.machine, made.before
    # The host name alone makes a seed where it is declared, or changes the one that is there.
    if machine.cloud_init is None and machine.hostname is None:
        return None
    values = kept(made.desired)
    held = values.volumes.get(SEED) if before is not None and view(before).disk(SEED) is not None else None
    pool = next((making.pool.name for making in made.makings), None)
    uuid_ = (made.desired.findtext("uuid") or "").strip()

    def plan(hostname: str | None) -> Seed | None:
        return plan_seed(fleet, made.declaration.name, machine.cloud_init, uuid_, hostname, held, pool)

    if machine.cloud_init is None and held is not None:
        was = kept(before).hostname if before is not None else None
        if was == machine.hostname:
            return None
        of_before = plan(was or made.declaration.name)
        if of_before is not None and of_before.differs:
            # What else is in the seed is not declared by this task.
            made.notes.append("hostname: the seed keeps what it says of it; declare cloud_init or ssh_keys, too")
            return None
    return plan(machine.hostname or values.hostname)


def _remember(made: Draft, volumes: Volumes) -> None:
    """Which volumes were made for the machine's disks: these can be deleted with it."""
    values = kept(made.desired)
    names = {disk.name for disk in view(made.desired).disks}
    own = {disk: key for disk, key in values.volumes.items() if disk in names}
    own |= {making.disk.name: making.key for making in made.makings} | volumes.adopted
    if made.seed is not None and SEED in names:
        own[SEED] = made.seed.key
    making = {disk: key for disk, key in values.making.items() if disk in names and disk not in own}
    keep(made.desired, replace(values, volumes=own, making=making))


def _refuse_conflicts(made: Draft, volumes: Volumes, replace_lists: bool) -> None:
    """What an option and C(xml) both declare must be the same."""
    again = deepcopy(made.desired)
    machine = made.declaration.machine
    merge(again, made.declaration, is_new=made.is_new)
    merge_disks(again, machine.disks, volumes.places, replace=False, keeps_seed=True)
    merge_interfaces(again, machine.interfaces, replace=False)
    differing = list(differences(made.desired, again))
    if differing:
        raise Refused(f"xml: says something else than the options about {', '.join(differing[:5])}; give it once")


def check_whole(fleet: Fleet, made: Draft) -> None:
    """Have libvirt and QEMU's driver look at the whole domain as if it were to start. Raises Refused."""
    if made.desired.get("type") not in ("kvm", "qemu"):
        return
    document = deepcopy(made.desired)
    # Devices of the host are looked up when the guest starts, which this rehearsal leaves out.
    for path in ("devices/hostdev", "devices/interface[@type='hostdev']"):
        for device in document.findall(path):
            ensure(document, "devices").remove(device)
    try:
        fleet.host.connection.domainXMLToNative("qemu-argv", written(document), 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return
        failure = explained(f"make {made.declaration.label} what is declared", error)
        raise type(failure)(f"{failure.message} Nothing was changed.", code=failure.code) from error


def with_making(desired: Element, makings: Sequence[Making]) -> Element:
    """The domain with a note of the volumes whose content is still to come, and without their disks.

    No guest can have written to what the next task deletes and makes anew.
    """
    noted = deepcopy(desired)
    unfinished = {making.disk.name for making in makings}
    for disk in view(noted).disks:
        if disk.name in unfinished:
            ensure(noted, "devices").remove(disk.element)
    values = kept(noted)
    keep(noted, replace(values, making={making.disk.name: making.key for making in makings}))
    return noted


def sizes(made: Draft, domain: libvirt.virDomain | None) -> dict[str, tuple[str, int]]:
    """Disks that are declared larger: target and new size in bytes, by name. Raises Refused for smaller ones."""
    then = view(made.desired)
    found = {name: (new.target, size) for name, size in made.growth.items() if (new := then.disk(name)) is not None}
    if made.before is None or domain is None:
        return found
    problems = Problems()
    known = view(made.before)
    making = {item.disk.name for item in made.makings}
    for disk in made.declaration.machine.disks or ():
        live = known.disk(disk.name)
        if disk.size is None or disk.absent or live is None or disk.name in making:
            continue
        capacity = _capacity(domain, live, made.declaration.label)
        wanted = memory_bytes(disk.size)
        if wanted < capacity:
            problems.add(
                f"disk {disk.name}: size: {disk.size} is less than the {capacity} bytes it has; disks do not shrink"
            )
        elif wanted > capacity:
            found[disk.name] = (live.target, wanted)
    problems.refuse()
    return found


def _capacity(domain: libvirt.virDomain, disk: DiskView, label: str) -> int:
    """The bytes of a disk: of its volume where a pool knows it, since asking QEMU takes its time while a guest runs."""
    if disk.source and (disk.pool is not None or disk.type in ("file", "block")):
        connection = domain.connect()
        try:
            if disk.pool is not None:
                volume = connection.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.source)
            else:
                volume = connection.storageVolLookupByPath(disk.source)
            return int(volume.info()[1])
        except libvirt.libvirtError:
            # No pool has it.
            pass
    with asking(f"read disk {disk.name} of {label}"):
        return int(domain.blockInfo(disk.target)[0])
