# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What machines of a host are and do: their domains, libvirt's statistics of all at once, and what guests tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from ..selector import matcher
from ..task import Result, Task
from .agent import report
from .connection import Host
from .domain_pending import pending
from .errors import KvmError, NotThere, asking
from .kept import kept
from .library import libvirt
from .view import is_agent_connected
from .vm_facts import described
from .vm_power import ACTIVE, STATUSES
from .xml import parse, shown

Stats = Mapping[str, Any]

_STATS = ("STATE", "CPU_TOTAL", "BALLOON", "BLOCK")
# The sources of addresses besides the agent, in the order in which they are believed.
_SOURCES = (("lease", "LEASE"), ("arp", "ARP"))


@dataclass(frozen=True)
class _Machine:
    domain: libvirt.virDomain
    config: Element
    live: Element | None
    stats: Stats

    @property
    def status(self) -> str:
        number = int(self.stats.get("state.state", 0))
        return STATUSES[number] if number < len(STATUSES) else "unknown"


def inform(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_vm_info)."""
    params = task.params
    matches = matcher(params["label_selector"])
    read = host.in_parallel(_read, _listed(host, params["name"]))
    machines = [machine for machine in read if machine is not None and matches(kept(machine.config).labels)]
    machines.sort(key=lambda machine: str(machine.config.findtext("name")))

    def tell(machine: _Machine) -> Result | None:
        try:
            return _told(machine, asks_agent=params["agent"], with_xml=params["xml"])
        except NotThere:
            # It was deleted meanwhile.
            return None

    told = host.in_parallel(tell, machines)
    return {"changed": False, "vms": [one for one in told if one is not None]}


def _listed(host: Host, name: str | None) -> Sequence[tuple[libvirt.virDomain, Stats]]:
    """The domains with their statistics: one request for all of them."""
    parts = sum(int(getattr(libvirt, f"VIR_DOMAIN_STATS_{part}")) for part in _STATS)
    connection = host.connection
    with asking(f"list the virtual machines of {host.uri}"):
        try:
            if name is None:
                return list(connection.getAllDomainStats(parts, 0))
            one = host.domain(name)
            return list(connection.domainListGetStats([one], parts, 0)) if one is not None else []
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                raise
        found = connection.listAllDomains(0)
        return [(domain, {"state.state": domain.state()[0]}) for domain in found if name in (None, domain.name())]


def _read(item: tuple[libvirt.virDomain, Stats]) -> _Machine | None:
    domain, stats = item
    try:
        with asking("read a virtual machine"):
            config = parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            number = int(stats.get("state.state", 0))
            is_active = number < len(STATUSES) and STATUSES[number] in ACTIVE
            live = parse(domain.XMLDesc(0)) if is_active else None
    except NotThere:
        return None
    return _Machine(domain, config, live, stats)


def _told(machine: _Machine, *, asks_agent: bool, with_xml: bool) -> Result:
    domain, stats, now = machine.domain, machine.stats, machine.live
    document = now if now is not None else machine.config
    with asking(f"read virtual machine {domain.name()}"):
        autostart, is_persistent = bool(domain.autostart()), bool(domain.isPersistent())
        is_saved = now is None and bool(domain.hasManagedSaveImage(0))
    # What is declared is in the document of the next start; of a running guest, the rest is.
    values = kept(machine.config)
    result = described(document, machine.status, autostart)
    result.update(
        run_strategy=values.run_strategy,
        labels=dict(values.labels),
        annotations=dict(values.annotations),
        persistent=is_persistent,
        saved=is_saved,
        cpu_time=_seconds(stats.get("cpu.time")) if now is not None else None,
    )
    reasons = pending(now, machine.config) if now is not None and is_persistent else []
    result.update(restart_required=bool(reasons), restart_reasons=reasons)
    agent = _agent(domain, document) if asks_agent and now is not None else None
    result["guest"] = _guest(document, agent)
    result["filesystems"] = agent["filesystems"] if agent else []
    result["users"] = agent["users"] if agent else []
    result["disks"] = [{**disk, **_sizes(machine, disk)} for disk in result["disks"]]
    result["interfaces"] = _interfaces(domain, result["interfaces"], agent, is_active=now is not None)
    result["addresses"] = [
        address
        for interface in result["interfaces"]
        for address in interface["addresses"]
        if not is_link_local(address)
    ]
    if with_xml:
        result["xml"] = shown(machine.config)
    return result


def _seconds(nanoseconds: Any) -> float | None:
    return round(int(nanoseconds) / 1e9, 3) if nanoseconds is not None else None


def _agent(domain: libvirt.virDomain, document: Element) -> dict[str, Any] | None:
    if not is_agent_connected(document):
        return None
    try:
        return report(domain)
    except NotThere:
        raise
    except KvmError:
        # One that does not answer in time tells nothing.
        return None


def _guest(document: Element, agent: Mapping[str, Any] | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"agent_connected": is_agent_connected(document), "agent_answers": agent is not None}
    told = agent or {}
    facts |= {"hostname": told.get("hostname"), "timezone": told.get("timezone") or {}, "os": told.get("os") or {}}
    return facts


def _sizes(machine: _Machine, disk: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes in bytes: C(size) is what the guest sees, C(allocation) what it takes of the host."""
    for number in range(int(machine.stats.get("block.count", 0))):
        place = f"block.{number}."
        if machine.stats.get(f"{place}name") == disk["target"]:
            return {
                "size": machine.stats.get(f"{place}capacity"),
                "allocation": machine.stats.get(f"{place}allocation"),
            }
    if disk["source"] is None:
        return {"size": None, "allocation": None}
    try:
        capacity, allocation, _physical = machine.domain.blockInfo(disk["target"])
    except libvirt.libvirtError:
        # Its file may not be there, say, which is for the one who starts it to find out.
        return {"size": None, "allocation": None}
    return {"size": capacity, "allocation": allocation}


def _interfaces(
    domain: libvirt.virDomain,
    interfaces: Sequence[Mapping[str, Any]],
    agent: Mapping[str, Any] | None,
    *,
    is_active: bool,
) -> list[dict[str, Any]]:
    """The interfaces with their addresses, and who told them: the agent, else a lease, else the host's ARP table."""
    by_mac: dict[str, dict[str, Any]] = {}
    for told in (agent or {}).get("interfaces", ()):
        found = [str(ip["address"]) for ip in told["ips"]]
        if told["mac"]:
            by_mac[told["mac"]] = {"addresses": found, "address_source": "agent", "guest_name": told["name"]}
    wanted = {str(interface["mac"] or "").lower() for interface in interfaces}
    for source, constant in _SOURCES if is_active else ():
        if all(_reaches(by_mac.get(mac)) for mac in wanted):
            break
        for mac, found in _addresses(domain, constant).items():
            known = by_mac.get(mac)
            if not _reaches(known):
                name = known["guest_name"] if known else None
                by_mac[mac] = {"addresses": found, "address_source": source, "guest_name": name}
    nothing: dict[str, Any] = {"addresses": [], "address_source": None, "guest_name": None}
    return [{**interface, **by_mac.get(str(interface["mac"] or "").lower(), nothing)} for interface in interfaces]


def _reaches(told: Mapping[str, Any] | None) -> bool:
    """Whether an interface has an address by which others than its neighbours reach it."""
    return told is not None and any(not is_link_local(address) for address in told["addresses"])


def is_link_local(address: str) -> bool:
    return address.lower().startswith("fe80:")


def _addresses(domain: libvirt.virDomain, source: str) -> dict[str, list[str]]:
    try:
        told = domain.interfaceAddresses(getattr(libvirt, f"VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_{source}"), 0)
    except libvirt.libvirtError:
        return {}
    return {
        str(interface["hwaddr"]).lower(): [str(address["addr"]) for address in interface["addrs"]]
        for interface in told.values()
        if interface.get("hwaddr") and interface.get("addrs")
    }
