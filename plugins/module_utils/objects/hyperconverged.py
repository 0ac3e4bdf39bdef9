# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HyperConverged, the one object by which OpenShift Virtualization is configured, in the two versions it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, by_conditions
from ..task import Failure

NAME = "kubevirt-hyperconverged"
NAMESPACE = "openshift-cnv"
GROUP = "hco.kubevirt.io"

_HINT = "install OpenShift Virtualization with virtstack.core.operator"
V1 = Resource(GROUP, "v1", "hyperconvergeds", "HyperConverged", list_keys={"spec.featureGates": "name"}, hint=_HINT)
V1BETA1 = Resource(GROUP, "v1beta1", "hyperconvergeds", "HyperConverged", hint=_HINT)
VERSIONS: dict[str, Resource] = {resource.version: resource for resource in (V1, V1BETA1)}

# What the operator creates from HyperConverged and takes away with it; edits of these are reverted by the operator.
KUBEVIRT = Resource("kubevirt.io", "v1", "kubevirts", "KubeVirt")
CDI = Resource("cdi.kubevirt.io", "v1beta1", "cdis", "CDI", namespaced=False)
SSP = Resource("ssp.kubevirt.io", "v1beta3", "ssps", "SSP")
SSP_V1BETA2 = Resource("ssp.kubevirt.io", "v1beta2", "ssps", "SSP")
NETWORK_ADDONS_CONFIG = Resource(
    "networkaddonsoperator.network.kubevirt.io", "v1", "networkaddonsconfigs", "NetworkAddonsConfig", namespaced=False
)
OPERANDS: tuple[tuple[tuple[Resource, ...], str], ...] = (
    ((KUBEVIRT,), "kubevirt-kubevirt-hyperconverged"),
    ((CDI,), "cdi-kubevirt-hyperconverged"),
    ((SSP, SSP_V1BETA2), "ssp-kubevirt-hyperconverged"),
    ((NETWORK_ADDONS_CONFIG,), "cluster"),
)

# The sections of a v1 spec; v1beta1 is flat, and featureGates is in both (a list in v1, a mapping in v1beta1).
V1_SECTIONS = frozenset({"deployment", "networking", "security", "storage", "virtualization", "workloadSources"})
V1BETA1_FIELDS = frozenset(
    {
        "CommonInstancetypesDeployment", "applicationAwareConfig", "certConfig", "commonBootImageNamespace",
        "commonTemplatesNamespace", "dataImportCronTemplates", "defaultCPUModel", "defaultRuntimeClass",
        "deployVmConsoleProxy", "enableApplicationAwareQuota", "enableCommonBootImageImport", "evictionStrategy",
        "filesystemOverhead", "higherWorkloadDensity", "hypervisors", "infra", "instancetypeConfig",
        "ksmConfiguration", "kubeMacPoolConfiguration", "kubeSecondaryDNSNameServerIP", "liveMigrationConfig",
        "liveUpdateConfiguration", "localStorageClassName", "logVerbosityConfig", "mediatedDevicesConfiguration",
        "networkBinding", "obsoleteCPUs", "permittedHostDevices", "resourceRequirements", "roleAggregationStrategy",
        "scratchSpaceStorageClass", "storageImport", "tektonPipelinesNamespace", "tektonTasksNamespace",
        "tlsSecurityProfile", "tuningPolicy", "uninstallStrategy", "vddkInitImage", "virtualMachineOptions",
        "vmStateStorageClass", "workloadUpdateStrategy", "workloads",
    }
)  # fmt: skip

# Where the versions keep what the operator module passes on.
CERTIFICATES: dict[str, tuple[str, ...]] = {"v1": ("security", "certConfig"), "v1beta1": ("certConfig",)}
PLACEMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "v1": {
        "infra": ("deployment", "nodePlacements", "infra"),
        "workloads": ("deployment", "nodePlacements", "workload"),
    },
    "v1beta1": {"infra": ("infra", "nodePlacement"), "workloads": ("workloads", "nodePlacement")},
}

CERTIFICATE_DEFAULTS = {
    "ca": {"duration": "48h0m0s", "renewBefore": "24h0m0s"},
    "server": {"duration": "24h0m0s", "renewBefore": "12h0m0s"},
}
MINIMUM_CERTIFICATE_SECONDS = 600.0

# The operator has taken in the spec, and every component is up; a message names the one that is not.
RECONCILED: Check = by_conditions(
    {"ReconcileComplete": "True", "Available": "True", "Progressing": "False", "Degraded": "False"}
)

# Go takes both micro signs.
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_seconds(text: str) -> float:
    """Seconds of a duration as Go's ParseDuration reads it, e.g. C(48h0m0s). Raises ValueError for anything else."""
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"{text!r} is no duration: write hours, minutes and seconds like 48h0m0s, 90m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


def certificate_problems(declared: Mapping[str, Any], live: Mapping[str, Any] | None = None) -> list[str]:
    """What the HyperConverged webhook would refuse in a certConfig, all of it: the webhook names the first one only.

    Keys left out are as they are in C(live), or have their default.
    """
    seconds: dict[str, float] = {}
    problems = []
    for part, defaults in CERTIFICATE_DEFAULTS.items():
        values = {**defaults, **((live or {}).get(part) or {}), **(declared.get(part) or {})}
        for key, default in defaults.items():
            path = f"{part}.{key}"
            try:
                seconds[path] = duration_seconds(str(values[key] or default))
            except ValueError as error:
                problems.append(f"{path}: {error}")
                continue
            if seconds[path] < MINIMUM_CERTIFICATE_SECONDS:
                problems.append(f"{path} is {values[key]}, less than the ten minutes that are needed")
    limits = (
        ("ca.renewBefore", "ca.duration"), ("server.duration", "ca.duration"), ("server.renewBefore", "server.duration")
    )  # fmt: skip
    problems += [
        f"{small} is longer than {large}"
        for small, large in limits
        if small in seconds and large in seconds and seconds[small] > seconds[large]
    ]
    return problems


def certificate_conflicts(version: str, spec: Mapping[str, Any], live: Object) -> list[str]:
    """The problems of the certificates that a spec declares over the live ones; none when it declares none."""
    declared = at_path(spec, CERTIFICATES[version])
    if not isinstance(declared, Mapping):
        return []
    there = at_path(live.get("spec") or {}, CERTIFICATES[version])
    return certificate_problems(declared, there if isinstance(there, Mapping) else None)


def version_of(definition: Mapping[str, Any]) -> str | None:
    """The version that a spec is written in, by its keys; None when they do not tell.

    Raises Failure when keys of both are mixed, or when it is the whole object rather than its spec.
    """
    if "spec" in definition:
        raise Failure(
            "definition: is the content of spec, without the level above it; leave out spec and what is beside it."
        )
    gates = definition.get("featureGates")
    first = sorted(set(definition) & V1_SECTIONS) + (["featureGates (a list)"] if isinstance(gates, list) else [])
    second = sorted(set(definition) & V1BETA1_FIELDS) + (
        ["featureGates (a mapping)"] if isinstance(gates, dict) else []
    )
    if first and second:
        raise Failure(
            "The definition mixes two versions of HyperConverged: "
            f"{', '.join(first)} belong to v1, {', '.join(second)} to v1beta1. Write it in one of them."
        )
    if first:
        return "v1"
    return "v1beta1" if second else None


def at_path(spec: Mapping[str, Any], path: Iterable[str]) -> Any:
    """The value at a path of keys; None where there is none."""
    value: Any = spec
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def nested(values: Iterable[tuple[Iterable[str], Any]]) -> dict[str, Any]:
    """A spec with each value at its path of keys."""
    spec: dict[str, Any] = {}
    for path, value in values:
        *parents, last = path
        place = spec
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value
    return spec


def manifest(resource: Resource, spec: Mapping[str, Any], *, namespace: str = NAMESPACE) -> Object:
    """The HyperConverged of a cluster; there is only one name it may have. An empty spec declares nothing of it."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": NAME, "namespace": namespace},
        **({"spec": dict(spec)} if spec else {}),
    }


def without_idle_removals(client: Client, resource: Resource, spec: Mapping[str, Any], live: Object) -> dict[str, Any]:
    """The spec without those nulls that would change nothing, because the field has its default already.

    Only the server knows its defaults: it is asked by a dry run, and only where a field to take away is there.
    """
    idle, kept = _nulls(spec, live.get("spec") or {})
    if not idle:
        return kept
    metadata = live["metadata"]
    answer = client.patch(resource, metadata["name"], metadata["namespace"], {"spec": idle}, dry_run=True)
    return kept if answer.get("spec") == live.get("spec") else dict(spec)


def _nulls(spec: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The nulls of a spec for fields that are there, and the spec without any null."""
    nulls: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for key, value in spec.items():
        if value is None:
            if key in live:
                nulls[key] = None
        elif isinstance(value, Mapping):
            there = live.get(key)
            below, kept[key] = _nulls(value, there if isinstance(there, Mapping) else {})
            if below:
                nulls[key] = below
        else:
            kept[key] = value
    return nulls, kept
