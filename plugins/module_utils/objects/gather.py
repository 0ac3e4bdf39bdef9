# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All guests of a cluster in as few requests as possible: one paginated list a kind, the kinds side by side.

Of each object only what host variables need survives its page, so that memory grows with the variables, not with the
objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError, Expired, Forbidden, NotFound, NotServed
from ..cluster.resource import Object, Resource
from ..selector import matcher
from ..task import Failure
from . import hostvars
from .addresses import Reach, Surroundings, connection_variables
from .core import NAMESPACE, NODE, SERVICE
from .hostvars import Guest
from .kubevirt import (
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_CLUSTER_INSTANCETYPE,
    VIRTUAL_MACHINE_INSTANCE,
    VIRTUAL_MACHINE_INSTANCETYPE,
)

PROJECT = Resource("project.openshift.io", "v1", "projects", "Project", namespaced=False)
CLUSTER_DNS = Resource("config.openshift.io", "v1", "dnses", "DNS", namespaced=False)

# More namespaces than this are asked for with one list over the whole cluster, if the user may.
_ONE_BY_ONE = 10
_LISTS_AT_ONCE = 8
_TRIES = 3


@dataclass(frozen=True)
class Selection:
    """Which guests are wanted. No C(namespaces): all that the user may see."""

    namespaces: Sequence[str] = ()
    label_selector: str | None = None
    field_selector: str | None = None


@dataclass
class _Reading:
    """One kind's list: what is asked for, and what takes each object."""

    resource: Resource
    take: Callable[[Object], None]
    label_selector: str | None = None
    field_selector: str | None = None
    optional: bool = False


@dataclass
class _Found:
    machines: dict[tuple[str, str], Guest] = field(default_factory=dict)
    instances: dict[tuple[str, str], Guest] = field(default_factory=dict)
    standalone: dict[tuple[str, str], Guest] = field(default_factory=dict)
    services: dict[str, dict[str, Object]] = field(default_factory=dict)
    nodes: dict[str, Object] = field(default_factory=dict)
    instancetypes: dict[tuple[str, str], Object] = field(default_factory=dict)


def gather(client: Client, selection: Selection, reach: Reach, warn: Callable[[str], None]) -> list[dict[str, Any]]:
    """The host variables of every wanted guest, sorted by namespace and name.

    Warns of namespaces and kinds that the user may not list. Raises Failure when none can be listed.
    """
    found = _Found()
    labels_match = matcher(selection.label_selector)

    def take_machine(vm: Object) -> None:
        guest = hostvars.of_machine(vm)
        found.machines[guest.key] = guest

    def take_instance(vmi: Object) -> None:
        owned = any(owner.get("kind") == "VirtualMachine" for owner in vmi["metadata"].get("ownerReferences") or ())
        # A VM's labels and its instance's are two things: only a standalone instance is selected by its own.
        if owned or labels_match(vmi["metadata"].get("labels") or {}):
            guest = hostvars.of_instance(vmi)
            (found.instances if owned else found.standalone)[guest.key] = guest

    def take_service(service: Object) -> None:
        if (service.get("spec") or {}).get("selector"):
            name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
            found.services.setdefault(namespace, {})[name] = {
                "metadata": {"name": name, "namespace": namespace},
                "spec": service["spec"],
                "status": service.get("status"),
            }

    def take_node(node: Object) -> None:
        found.nodes[node["metadata"]["name"]] = {"status": {"addresses": (node.get("status") or {}).get("addresses")}}

    readings = [
        _Reading(VIRTUAL_MACHINE, take_machine, selection.label_selector, selection.field_selector),
        _Reading(VIRTUAL_MACHINE_INSTANCE, take_instance, None, selection.field_selector),
    ]
    if reach.wants_services:
        readings.append(_Reading(SERVICE, take_service, optional=True))
    if reach.wants_nodes:
        readings.append(_Reading(NODE, take_node, optional=True))
    _read_all(client, readings, selection.namespaces, warn)
    guests = _joined(found)
    _size(client, guests, found)
    if "secondary_dns" in reach.address and reach.secondary_dns_domain is None:
        reach = replace(reach, secondary_dns_domain=_cluster_domain(client))
    services = {namespace: [*there.values()] for namespace, there in found.services.items()}
    surroundings = Surroundings(services, found.nodes)
    for guest in guests:
        guest.variables |= connection_variables(guest, reach, surroundings)
    return [guest.variables for guest in guests]


def _joined(found: _Found) -> list[Guest]:
    guests = dict(found.standalone)
    for key, machine in found.machines.items():
        instance = found.instances.pop(key, None)
        guests[key] = hostvars.running(machine, instance) if instance else machine
    return [guests[key] for key in sorted(guests)]


def _read_all(
    client: Client, readings: Sequence[_Reading], namespaces: Sequence[str], warn: Callable[[str], None]
) -> None:
    """Read every kind over the whole cluster, and those that the user may not list so in each namespace."""
    if 0 < len(namespaces) <= _ONE_BY_ONE:
        _read_by_namespace(client, readings, namespaces, warn)
        return
    wanted = frozenset(namespaces)

    def read(reading: _Reading) -> None:
        _read(client, reading, None, wanted)

    results = client.in_parallel(read, readings, limit=_LISTS_AT_ONCE)
    refused = [reading for reading, result in zip(readings, results, strict=True) if isinstance(result, Forbidden)]
    _raise_others(results)
    if refused:
        places = namespaces or _visible_namespaces(client)
        if not places and not all(reading.optional for reading in refused):
            raise Failure(
                "not allowed to list virtual machines in the whole cluster, nor to find out its namespaces: name those"
                " to look into with the option namespaces."
            )
        _read_by_namespace(client, refused, places, warn)


def _read_by_namespace(
    client: Client, readings: Sequence[_Reading], namespaces: Sequence[str], warn: Callable[[str], None]
) -> None:
    jobs: list[tuple[_Reading, str | None]] = [
        (reading, namespace)
        for reading in readings
        for namespace in (namespaces if reading.resource.namespaced else (None,))
    ]

    def read(job: tuple[_Reading, str | None]) -> None:
        _read(client, job[0], job[1], frozenset())

    results = client.in_parallel(read, jobs, limit=_LISTS_AT_ONCE)
    _raise_others(results)
    refused = [(job, result) for job, result in zip(jobs, results, strict=True) if isinstance(result, Forbidden)]
    for reading in readings:
        places = [namespace or "the cluster" for (other, namespace), _result in refused if other is reading]
        if places:
            effect = "what they would tell is left out" if reading.optional else "skipped"
            warn(f"not allowed to list {reading.resource.qualified} in {', '.join(places)}: {effect}.")
    refusals = [result for (reading, _place), result in refused if not reading.optional]
    if refusals and len(refusals) == sum(not reading.optional for reading, _place in jobs):
        raise refusals[0]


def _read(client: Client, reading: _Reading, namespace: str | None, wanted: frozenset[str]) -> None:
    everywhere = not wanted or not reading.resource.namespaced
    for attempt in range(_TRIES):
        pages = client.pages(
            reading.resource, namespace, label_selector=reading.label_selector, field_selector=reading.field_selector
        )
        try:
            for page in pages:
                for obj in page.items:
                    if everywhere or obj["metadata"]["namespace"] in wanted:
                        reading.take(obj)
        except Expired:
            # The list was too long in the making: what was taken is taken again, under the same keys.
            if attempt + 1 == _TRIES:
                raise
        else:
            return


def _raise_others(results: Iterable[Any]) -> None:
    for result in results:
        if isinstance(result, ClusterError) and not isinstance(result, Forbidden):
            raise result


def _visible_namespaces(client: Client) -> list[str]:
    """The namespaces that the user may see. OpenShift lists a user's projects even where it refuses namespaces."""
    for resource in (PROJECT, NAMESPACE):
        try:
            return [item["metadata"]["name"] for item in client.list(resource).items]
        except (Forbidden, NotFound, NotServed):
            continue
    return []


def _size(client: Client, guests: Sequence[Guest], found: _Found) -> None:
    """Read instance types when a stopped machine's CPU and memory stand nowhere else."""
    unsized = [guest for guest in guests if guest.variables["virtstack_memory"] is None]
    for resource in (VIRTUAL_MACHINE_CLUSTER_INSTANCETYPE, VIRTUAL_MACHINE_INSTANCETYPE):
        if not any(guest.variables["virtstack_instancetype"] for guest in unsized):
            return
        try:
            items = client.list(resource).items
        except (Forbidden, NotServed, NotFound):
            continue
        found.instancetypes |= {
            (item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in items
        }
        for guest in unsized:
            hostvars.size_by(guest, found.instancetypes)
        unsized = [guest for guest in unsized if guest.variables["virtstack_memory"] is None]


def _cluster_domain(client: Client) -> str | None:
    """OpenShift's base domain, where there is one."""
    try:
        dns = client.get(CLUSTER_DNS, "cluster")
    except (Forbidden, NotServed, NotFound):
        return None
    return ((dns or {}).get("spec") or {}).get("baseDomain")
