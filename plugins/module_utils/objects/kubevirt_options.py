# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of one virtual machine on a cluster: argument specification, and what validated options declare.

The part that a KVM host understands too comes from C(machine). No option has a default: what is not declared is left
alone on a VM that exists, and what a new VM needs is chosen where its manifest is made. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..machine import names
from ..machine.description import KVM_ONLY, Machine, read_machine
from ..machine.interfaces import HOST_PREFIXES
from ..machine.options import MACHINE_OPTIONS, Option
from ..machine.refusal import Problems, Refused
from .kubevirt import RUN_STRATEGIES

EVICTION_STRATEGIES = ("LiveMigrate", "LiveMigrateIfPossible", "None", "External")

# Typed options whose value is a field of the API as it is, and where that field is.
PLAIN_FIELDS: Mapping[str, str] = {
    "labels": "metadata.labels",
    "annotations": "metadata.annotations",
    "run_strategy": "spec.runStrategy",
    "pod_labels": "spec.template.metadata.labels",
    "pod_annotations": "spec.template.metadata.annotations",
    "node_selector": "spec.template.spec.nodeSelector",
    "affinity": "spec.template.spec.affinity",
    "tolerations": "spec.template.spec.tolerations",
    "topology_spread_constraints": "spec.template.spec.topologySpreadConstraints",
    "priority_class": "spec.template.spec.priorityClassName",
    "scheduler": "spec.template.spec.schedulerName",
    "eviction_strategy": "spec.template.spec.evictionStrategy",
    "termination_grace_period": "spec.template.spec.terminationGracePeriodSeconds",
    "readiness_probe": "spec.template.spec.readinessProbe",
    "liveness_probe": "spec.template.spec.livenessProbe",
    "subdomain": "spec.template.spec.subdomain",
    "architecture": "spec.template.spec.architecture",
}

VM_OPTIONS: dict[str, Option] = {
    **MACHINE_OPTIONS,
    "instancetype": {"type": "raw"},
    "preference": {"type": "raw"},
    "run_strategy": {"type": "str", "choices": list(RUN_STRATEGIES)},
    "labels": {"type": "dict"},
    "annotations": {"type": "dict"},
    "pod_labels": {"type": "dict"},
    "pod_annotations": {"type": "dict"},
    "node_selector": {"type": "dict"},
    "affinity": {"type": "dict"},
    "tolerations": {"type": "list", "elements": "dict"},
    "topology_spread_constraints": {"type": "list", "elements": "dict"},
    "priority_class": {"type": "str"},
    "scheduler": {"type": "str"},
    "eviction_strategy": {"type": "str", "choices": list(EVICTION_STRATEGIES)},
    "termination_grace_period": {"type": "int"},
    "readiness_probe": {"type": "dict"},
    "liveness_probe": {"type": "dict"},
    "subdomain": {"type": "str"},
    "architecture": {"type": "str", "choices": ["amd64", "arm64", "s390x"]},
    "definition": {"type": "dict"},
}

# Kinds by the short words that users know them by, cluster-wide first.
_MATCHERS = {
    "instancetype": ("VirtualMachineClusterInstancetype", "VirtualMachineInstancetype"),
    "preference": ("VirtualMachineClusterPreference", "VirtualMachinePreference"),
}
_MATCHER_FIELDS = {
    "name": "name",
    "kind": "kind",
    "revision": "revisionName",
    "infer_from_volume": "inferFromVolume",
    "infer_failure_policy": "inferFromVolumeFailurePolicy",
}
_TEXT_MAPS = ("labels", "annotations", "pod_labels", "pod_annotations", "node_selector")
_API_VERSIONS = ("kubevirt.io/v1", "kubevirt.io/v1alpha3")


@dataclass(frozen=True)
class Declaration:
    """One VM as declared. C(fields) are paths of the API and their values."""

    name: str
    namespace: str
    machine: Machine
    fields: Mapping[str, Any] = field(default_factory=dict)
    definition: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def run_strategy(self) -> str | None:
        """The declared run strategy, from the option or the definition."""
        declared = self.fields.get("spec.runStrategy") or (self.definition.get("spec") or {}).get("runStrategy")
        return str(declared) if declared else None


def read_declaration(options: Mapping[str, Any]) -> Declaration:
    """The VM that validated options declare. Raises Refused with every problem found."""
    problems = Problems()
    definition = problems.take(lambda: _definition(options.get("definition"))) or {}
    metadata = definition.get("metadata") or {}
    name = options.get("name") or metadata.get("name") or ""
    namespace = options.get("namespace") or metadata.get("namespace") or ""
    for option, value, inside in (
        ("name", name, metadata.get("name")),
        ("namespace", namespace, metadata.get("namespace")),
    ):
        if not value:
            problems.add(f"{option}: is missing")
        elif inside and inside != value:
            problems.add(f'{option}: is "{value}", but definition.metadata.{option} is "{inside}"; give it once')
    _check_names(problems, name, namespace)
    machine = problems.take(lambda: read_machine(options, KVM_ONLY, "a cluster"))
    for interface in (machine.interfaces if machine else None) or ():
        if (interface.network or "").startswith(HOST_PREFIXES):
            problems.add(
                f"interface {interface.name}: network: {interface.network} is a device of a KVM host; name a"
                " NetworkAttachmentDefinition"
            )
    fields = problems.take(lambda: _fields(options)) or {}
    if "spec.instancetype" in fields:
        for option in ("cpu", "memory", "hugepages"):
            if options.get(option) is not None:
                problems.add(f"{option}: the instancetype decides it; leave out {option} or instancetype")
    problems.refuse()
    return Declaration(name, namespace, machine or Machine(), fields, definition)


def renamed(declaration: Declaration, name: str, namespace: str) -> Declaration:
    """The same declaration of another VM. Raises Refused for names that Kubernetes refuses."""
    problems = Problems()
    _check_names(problems, name, namespace)
    problems.refuse()
    return replace(declaration, name=name, namespace=namespace)


def _check_names(problems: Problems, name: str, namespace: str) -> None:
    if name:
        problems.take(lambda: names.machine_name(name))
    if namespace:
        problems.take(lambda: names.device_name(namespace, "namespace"))


def _definition(definition: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not definition:
        return {}
    version, kind = definition.get("apiVersion"), definition.get("kind")
    if kind not in (None, "VirtualMachine"):
        raise Refused(f"definition: is a {kind}, not a VirtualMachine")
    if version is not None and version not in _API_VERSIONS:
        raise Refused(f"definition: apiVersion {version} is not {' or '.join(_API_VERSIONS)}")
    # Of v1alpha3 the fields are those of v1; what is sent is v1.
    return {key: value for key, value in definition.items() if key not in ("apiVersion", "kind", "status")}


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    problems = Problems()
    fields: dict[str, Any] = {}
    for option, path in PLAIN_FIELDS.items():
        value = options.get(option)
        if value is None:
            continue
        fields[path] = _texts(value) if option in _TEXT_MAPS else value
    period = options.get("termination_grace_period")
    if period is not None and period < 0:
        problems.add(f"termination_grace_period: {period} is less than 0 seconds")
    for option in _MATCHERS:
        if options.get(option) is not None:
            matcher = problems.take(lambda option=option: _matcher(option, options[option]))  # type: ignore[misc]
            fields[f"spec.{option}"] = matcher
    problems.refuse()
    return fields


def _texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Labels and annotations are texts, also where YAML saw a number or a truth value; a null takes one away."""
    return {
        str(key): value if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in values.items()
    }


def _matcher(option: str, value: Any) -> dict[str, str]:
    """C(u1.medium), or a dictionary of name, kind, infer_from_volume."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise Refused(f"{option}: must be a name or a dictionary of {', '.join(_MATCHER_FIELDS)}")
    unknown = sorted(set(value) - set(_MATCHER_FIELDS))
    if unknown:
        raise Refused(f"{option}: has no key {', '.join(unknown)}; it takes {', '.join(_MATCHER_FIELDS)}")
    given = {key: str(text) for key, text in value.items() if text not in (None, "")}
    if ("name" in given) == ("infer_from_volume" in given):
        raise Refused(f"{option}: give either name or infer_from_volume")
    kinds = {kind.lower(): kind for kind in _MATCHERS[option]}
    if "kind" in given:
        if given["kind"].lower() not in kinds:
            raise Refused(f"{option}.kind: {given['kind']} is neither {' nor '.join(_MATCHERS[option])}")
        given["kind"] = kinds[given["kind"].lower()]
    return {_MATCHER_FIELDS[key]: text for key, text in given.items()}


def seeds(params: Mapping[str, Any]) -> set[str]:
    """The user data of machines in C(vms), which are free dictionaries that no_log does not reach."""
    found = [item.get("cloud_init") for item in params.get("vms") or () if isinstance(item, Mapping)]
    return {str(seed["user_data"]) for seed in found if isinstance(seed, Mapping) and seed.get("user_data")}


def is_platform_namespace(namespace: str) -> bool:
    """Whether a namespace belongs to the platform, where users' VMs disturb it and are disturbed by its upgrades."""
    return namespace == "openshift" or namespace.startswith(("openshift-", "kube-"))
