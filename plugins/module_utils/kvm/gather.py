# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All machines of many KVM hosts: the hosts side by side, each in one pass.

A host is asked for its domains, their statistics and the leases of its networks once; for a domain's document, and its
agent's word, once for each domain, several at a time. No agent is asked whose channel nobody has opened.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..task import Failure
from . import agent
from .connection import Host, connect
from .errors import KvmError, NotThere, asking, explained
from .host_variables import ARP, LEASE, Found, Reach, address_of, variables
from .library import libvirt, missing
from .side_by_side import Unanswered, side_by_side
from .vm_power import STATUSES
from .xml import parse

# Hosts that are asked at once, and questions to one host: libvirtd works on five of a client's at a time.
_HOSTS_AT_ONCE, _AT_ONCE = 32, 5
# Agents that are asked at once; libvirtd waits for them without working.
_AGENTS_AT_ONCE = 16


@dataclass(frozen=True)
class Place:
    """A host to look at: its URI, and what it is called; None for what it calls itself."""

    uri: str
    name: str | None = None


@dataclass(frozen=True)
class Patience:
    """Seconds that a host has in all, and that the agents of its machines have together; no agent is asked for 0."""

    host: float = 60
    agents: float = 10


@dataclass
class _Told:
    """What one host said, and what did not go well there."""

    node: str
    machines: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)


def gather(
    places: Sequence[Place], reach: Reach, patience: Patience, warn: Callable[[str], None], strict: bool = False
) -> tuple[list[dict[str, Any]], bool]:
    """The host variables of all machines, by host and name, and whether every host and agent answered.

    A host that does not answer is a warning; when C(strict), or when none answers, it is an error: Raises Failure.
    """
    lacking = missing()
    if lacking:
        raise Failure(lacking)

    def ask(place: Place) -> _Told:
        return _of_host(place, reach, patience)

    answers = side_by_side(ask, places, _HOSTS_AT_ONCE, patience.host)
    told: list[_Told] = []
    failures: list[Failure] = []
    for place, answer in zip(places, answers, strict=True):
        if isinstance(answer, _Told):
            told.append(answer)
            continue
        failure = _failure(place, answer, patience)
        if strict:
            raise failure
        failures.append(failure)
    if failures and not told:
        raise failures[0]
    for failure in failures:
        warn(f"{failure.message} Its machines are left out.")
    for problem in (problem for one in told for problem in one.problems):
        warn(problem)
    _tell_apart(told)
    complete = not failures and not any(one.problems for one in told)
    return [machine for one in sorted(told, key=lambda one: one.node) for machine in one.machines], complete


def _failure(place: Place, answer: object, patience: Patience) -> Failure:
    if isinstance(answer, Failure):
        return answer
    if isinstance(answer, Unanswered):
        return KvmError(
            f"libvirt at {place.uri} did not answer within {patience.host:g} seconds. Check that the host is up and the"
            " way to it open, or give it more time with the option timeout."
        )
    if isinstance(answer, Exception):
        raise answer
    raise AssertionError(f"{place.uri} gave neither an answer nor an error")


def _tell_apart(told: Iterable[_Told]) -> None:
    twice = [name for name, count in Counter(one.node for one in told).items() if count > 1]
    if twice:
        raise Failure(f"Several uris lead to a host called {', '.join(sorted(twice))}: give each a name of its own.")


def _of_host(place: Place, reach: Reach, patience: Patience) -> _Told:
    """One pass over a host. Raises Failure."""
    until = time.monotonic() + patience.host
    with connect({"uri": place.uri}, events=False) as host:
        node = place.name or host.name
        found = _domains(host, node, until)
        problems: list[str] = []
        if patience.agents > 0:
            silent = _ask_agents(found, patience.agents)
            if silent:
                problems.append(
                    f"On {node}, these did not answer by their guest agents within {patience.agents:g} seconds:"
                    f" {', '.join(silent)}. What they would tell is left out."
                )
        if LEASE in reach.address:
            problems += _take_leases(host, [domain for _handle, domain in found if domain.is_running])
        if ARP in reach.address:
            problems += _look_into_arp(host, found, reach, until - time.monotonic())
        machines = [variables(domain, reach) for _handle, domain in found]
    return _Told(node, sorted(machines, key=lambda machine: str(machine["virtstack_name"])), problems)


def _domains(host: Host, node: str, until: float) -> list[tuple[libvirt.virDomain, Found]]:
    connection = host.connection
    with asking(f"list the virtual machines of {host.uri}"):
        handles = connection.listAllDomains(0)
        starting = {one.UUIDString() for one in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)}
        passing = {one.UUIDString() for one in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)}
    statistics = _statistics(host)

    def read(handle: libvirt.virDomain) -> Found:
        identity = handle.UUIDString()
        facts = statistics.get(identity, {})
        try:
            state = facts["state.state"] if "state.state" in facts else handle.state()[0]
            document = handle.XMLDesc(0)
        except libvirt.libvirtError as error:
            raise explained(f"read virtual machine {handle.name()}", error) from error
        # Here, while the next documents are on their way, and so that no more than a few are there at a time.
        return Found(
            parse(document),
            node,
            host.uri,
            STATUSES[state].capitalize() if state < len(STATUSES) else "Unknown",
            identity in starting,
            identity not in passing,
            _sizes(facts),
        )

    found = []
    for handle, answer in zip(handles, side_by_side(read, handles, _AT_ONCE, until - time.monotonic()), strict=True):
        if isinstance(answer, NotThere):
            # One that was deleted meanwhile is none that there is.
            continue
        if isinstance(answer, Exception):
            raise answer
        found.append((handle, answer))
    return found


def _statistics(host: Host) -> dict[str, Mapping[str, Any]]:
    """States and sizes of disks by the domains' UUIDs; without waiting for a domain that is busy."""
    wanted = libvirt.VIR_DOMAIN_STATS_STATE | libvirt.VIR_DOMAIN_STATS_BLOCK
    try:
        told = host.connection.getAllDomainStats(wanted, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)
    except libvirt.libvirtError:
        # Not every driver has them; each domain is asked for its state then.
        return {}
    return {domain.UUIDString(): facts for domain, facts in told}


def _sizes(facts: Mapping[str, Any]) -> dict[str, int]:
    count = int(facts.get("block.count", 0))
    named = {facts.get(f"block.{index}.name"): facts.get(f"block.{index}.capacity") for index in range(count)}
    return {str(name): int(size) for name, size in named.items() if name and size}


def _ask_agents(found: Sequence[tuple[libvirt.virDomain, Found]], seconds: float) -> list[str]:
    """Take what the agents tell; the names of those that are there and did not answer."""
    asked = [(handle, domain) for handle, domain in found if domain.is_running and domain.agent_connected]

    def ask(one: tuple[libvirt.virDomain, Found]) -> dict[str, Any]:
        return agent.report(one[0], "os", "interfaces")

    answers = side_by_side(ask, asked, _AGENTS_AT_ONCE, seconds)
    silent = []
    for (_handle, domain), answer in zip(asked, answers, strict=True):
        if isinstance(answer, Exception):
            silent.append(domain.seen.name)
        else:
            domain.take_report(answer)
    return silent


def _take_leases(host: Host, running: Sequence[Found]) -> list[str]:
    """Take addresses by the leases of the networks that running machines are on: one question a network."""
    used = {one.source for domain in running for one in domain.seen.interfaces if one.type == "network"}
    if not used:
        return []
    try:
        networks = host.connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
        leases = [lease for network in networks if network.name() in used for lease in network.DHCPLeases()]
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return []
        failure = explained(f"read the leases of the networks of {host.uri}", error)
        return [f"{failure.message} Addresses that they would tell are left out."]
    # A guest that changed its identity has an older lease, too.
    leases.sort(key=lambda lease: lease.get("expirytime") or 0, reverse=True)
    addresses: dict[str, list[str]] = {}
    for lease in leases:
        if lease.get("mac"):
            addresses.setdefault(lease["mac"].lower(), []).append(lease["ipaddr"])
    for domain in running:
        domain.addresses[LEASE] = addresses
    return []


def _look_into_arp(
    host: Host, found: Sequence[tuple[libvirt.virDomain, Found]], reach: Reach, seconds: float
) -> list[str]:
    """Take addresses by the host's neighbour table, of running machines that nothing else tells the address of."""
    other = replace(reach, address=[source for source in reach.address if source != ARP])
    asked = [(handle, domain) for handle, domain in found if domain.is_running and address_of(domain, other) is None]

    def look(one: tuple[libvirt.virDomain, Found]) -> dict[str, list[str]]:
        told = one[0].interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, 0)
        return {
            interface["hwaddr"].lower(): [address["addr"] for address in interface.get("addrs") or ()]
            for interface in told.values()
            if interface.get("hwaddr")
        }

    problems = []
    for (_handle, domain), answer in zip(asked, side_by_side(look, asked, _AT_ONCE, seconds), strict=True):
        if isinstance(answer, Exception):
            problems.append(str(answer))
        else:
            domain.addresses[ARP] = answer
    reasons = "; ".join(dict.fromkeys(problems))
    return [f"The neighbours of {host.uri} cannot be looked into: {reasons}."] if problems else []
