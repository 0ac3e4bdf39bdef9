# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of one machine on a KVM host: argument specification, and what validated options declare. Pure.

They are those of C(vm), so that one description serves both sides. What only a cluster has is accepted and refused with
what a KVM host offers instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree.ElementTree import Element

from ..machine import quantity
from ..machine.description import CLUSTER_ONLY, Machine, read_machine
from ..machine.disks import SOURCES
from ..machine.options import MACHINE_OPTIONS, Option
from ..machine.refusal import Problems, Refused
from .naming import check_name
from .xml import parse

ALWAYS, RERUN_ON_FAILURE, MANUAL, HALTED, ONCE = RUN_STRATEGIES = (
    "Always",
    "RerunOnFailure",
    "Manual",
    "Halted",
    "Once",
)
# libvirt's names of the architectures.
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "s390x": "s390x"}
WAITS = ("running", "agent", "address")

_ANY: Option = {"type": "raw"}
_PASSWORD = re.compile(r"""\bpasswd=(["'])([^"']+)\1""")
# Options of C(vm) that a KVM host has no meaning for, and what it offers instead.
ONLY_A_CLUSTER = {
    "namespace": "leave it out; a host has no namespaces",
    "instancetype": "give cpu and memory",
    "preference": "give machine_type, firmware and the bus and model of devices",
    "pod_labels": "use labels",
    "pod_annotations": "use annotations",
    "node_selector": "choose the host with uri",
    "affinity": "choose the host with uri",
    "tolerations": "choose the host with uri",
    "topology_spread_constraints": "choose the host with uri",
    "priority_class": "set <cputune><shares> with xml",
    "scheduler": "choose the host with uri",
    "eviction_strategy": "move the machine with virtstack.core.kvm_vm_migration",
    "readiness_probe": "wait with wait_for",
    "liveness_probe": "add a <watchdog> with xml",
    "subdomain": "declare the host name in the network's DNS",
    "definition": "use xml, libvirt's own format",
}

KVM_VM_OPTIONS: dict[str, Option] = {
    **MACHINE_OPTIONS,
    "run_strategy": {"type": "str", "choices": list(RUN_STRATEGIES)},
    "autostart": {"type": "bool"},
    "title": {"type": "str"},
    "description": {"type": "str"},
    "labels": {"type": "dict"},
    "annotations": {"type": "dict"},
    "termination_grace_period": {"type": "int"},
    "architecture": {"type": "str", "choices": list(ARCHITECTURES)},
    "xml": {"type": "str"},
    **{name: _ANY for name in ONLY_A_CLUSTER if name != "namespace"},
}


@dataclass(frozen=True)
class Declaration:
    """One machine as declared; None is what is left as it is."""

    name: str
    machine: Machine
    run_strategy: str | None = None
    autostart: bool | None = None
    title: str | None = None
    description: str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    grace_period: int | None = None
    architecture: str | None = None
    xml: Element | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        return f"virtual machine {self.name}"


def read_declaration(options: Mapping[str, Any]) -> Declaration:
    """The machine that validated options declare. Raises Refused with every problem found."""
    problems = Problems()
    for option, instead in ONLY_A_CLUSTER.items():
        if options.get(option) not in (None, "", {}, []):
            problems.add(f"{option}: is not for a KVM host; {instead}")
    xml = problems.take(lambda: _xml(options.get("xml")))
    inside = ((xml.findtext("name") or "").strip() if xml is not None else "") or None
    name = options.get("name") or inside
    if not name:
        problems.add("name: is missing")
    elif inside and inside != name:
        problems.add(f'name: is "{name}", but that in xml is "{inside}"; give it once')
    else:
        problems.take(lambda: check_name(str(name)))
    firmware = options.get("firmware") or {}
    if firmware.get("persistent") is False:
        problems.add("firmware.persistent: a KVM host always keeps EFI variables and the state of a TPM; leave it out")
    period = options.get("termination_grace_period")
    if period is not None and period < 0:
        problems.add(f"termination_grace_period: {period} is less than 0 seconds")
    machine = problems.take(lambda: _machine(options))
    problems.refuse()
    return Declaration(
        name=str(name),
        machine=machine or Machine(),
        run_strategy=options.get("run_strategy"),
        autostart=options.get("autostart"),
        title=options.get("title"),
        description=options.get("description"),
        labels=_texts(options.get("labels")),
        annotations=_texts(options.get("annotations")),
        grace_period=period,
        architecture=ARCHITECTURES.get(options.get("architecture") or ""),
        xml=xml,
    )


def _machine(options: Mapping[str, Any]) -> Machine:
    """The machine. A disk may be given a size alone, to which the one that exists grows."""
    disks = list(options.get("disks") or ())
    alone = {
        item["name"]: item["size"]
        for item in disks
        if item.get("size") is not None and all(item.get(source) in (None, False) for source in SOURCES)
    }
    if not alone:
        return read_machine(options, CLUSTER_ONLY, "a KVM host")
    sizes = {name: quantity.size(size, f"disk {name}: size") for name, size in alone.items()}
    unsized = [{**item, "size": None} if item["name"] in alone else item for item in disks]
    machine = read_machine({**options, "disks": unsized}, CLUSTER_ONLY, "a KVM host")
    found = machine.disks or ()
    return replace(machine, disks=tuple(replace(disk, size=sizes.get(disk.name, disk.size)) for disk in found))


def _xml(text: str | None) -> Element | None:
    if text is None or not text.strip():
        return None
    document = parse(text)
    if document.tag != "domain":
        raise Refused(f"xml: is a <{document.tag}>; write it as it stands in a <domain>")
    return document


def _texts(values: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Labels and annotations are texts, also where YAML saw a number or a truth value; a null is one less."""
    if values is None:
        return None
    return {
        str(key): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in values.items()
        if value is not None
    }


def secrets(params: Mapping[str, Any]) -> set[str]:
    """Passwords in C(xml), and the user data of machines in C(vms), free dictionaries that no_log does not reach."""
    items = [item for item in params.get("vms") or () if isinstance(item, Mapping)]
    found = [item.get("cloud_init") for item in items]
    values = {str(seed["user_data"]) for seed in found if isinstance(seed, Mapping) and seed.get("user_data")}
    for item in (params, *items):
        values |= {match[2] for match in _PASSWORD.finditer(str(item.get("xml") or ""))}
    return values
