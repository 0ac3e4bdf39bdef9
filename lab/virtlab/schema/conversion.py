"""HyperConverged in its two versions: v1, as it is stored, and v1beta1.

After the conversion webhook of hyperconverged-cluster-operator. What v1beta1 has no field for travels in an annotation.
"""

from __future__ import annotations

from typing import Any

import orjson

from virtlab.conversion import converter
from virtlab.patches import copied
from virtlab.resource import Object

HYPERCONVERGED = "hyperconvergeds.hco.kubevirt.io"
V1_ONLY = "hco.kubevirt.io/v1-only-fields"

Path = tuple[str, ...]

# v1beta1 -> v1, below spec.
_MOVED: dict[Path, Path] = {
    ("CommonInstancetypesDeployment",): ("workloadSources", "commonInstancetypesDeployment"),
    ("applicationAwareConfig",): ("deployment", "applicationAwareConfig"),
    ("enableApplicationAwareQuota",): ("deployment", "applicationAwareConfig", "enable"),
    ("certConfig",): ("security", "certConfig"),
    ("changedBlockTrackingLabelSelectors",): ("virtualization", "changedBlockTrackingLabelSelectors"),
    ("commonBootImageNamespace",): ("workloadSources", "commonBootImageNamespace"),
    ("commonTemplatesNamespace",): ("workloadSources", "commonTemplatesNamespace"),
    ("dataImportCronTemplates",): ("workloadSources", "dataImportCronTemplates"),
    ("virtualMachineOptions",): ("virtualization", "virtualMachineOptions"),
    ("defaultCPUModel",): ("virtualization", "virtualMachineOptions", "defaultCPUModel"),
    ("defaultRuntimeClass",): ("virtualization", "virtualMachineOptions", "defaultRuntimeClass"),
    ("deployVmConsoleProxy",): ("deployment", "deployVmConsoleProxy"),
    ("enableCommonBootImageImport",): ("workloadSources", "enableCommonBootImageImport"),
    ("evictionStrategy",): ("virtualization", "evictionStrategy"),
    ("filesystemOverhead",): ("storage", "filesystemOverhead"),
    ("higherWorkloadDensity",): ("virtualization", "higherWorkloadDensity"),
    ("hypervisors",): ("virtualization", "hypervisors"),
    ("infra", "nodePlacement"): ("deployment", "nodePlacements", "infra"),
    ("instancetypeConfig",): ("workloadSources", "instancetypeConfig"),
    ("ksmConfiguration",): ("virtualization", "ksmConfiguration"),
    ("kubeMacPoolConfiguration",): ("networking", "kubeMacPoolConfiguration"),
    ("kubeSecondaryDNSNameServerIP",): ("networking", "kubeSecondaryDNSNameServerIP"),
    ("liveMigrationConfig",): ("virtualization", "liveMigrationConfig"),
    ("liveUpdateConfiguration",): ("virtualization", "liveUpdateConfiguration"),
    ("logVerbosityConfig",): ("deployment", "logVerbosityConfig"),
    ("mediatedDevicesConfiguration",): ("virtualization", "mediatedDevicesConfiguration"),
    ("networkBinding",): ("networking", "networkBinding"),
    ("obsoleteCPUs", "cpuModels"): ("virtualization", "obsoleteCPUModels"),
    ("permittedHostDevices",): ("virtualization", "permittedHostDevices"),
    ("resourceRequirements", "autoCPULimitNamespaceLabelSelector"): (
        "virtualization",
        "autoCPULimitNamespaceLabelSelector",
    ),
    ("resourceRequirements", "storageWorkloads"): ("storage", "workloadResourceRequirements"),
    ("resourceRequirements", "vmiCPUAllocationRatio"): ("virtualization", "vmiCPUAllocationRatio"),
    ("roleAggregationStrategy",): ("virtualization", "roleAggregationStrategy"),
    ("scratchSpaceStorageClass",): ("storage", "scratchSpaceStorageClass"),
    ("storageImport",): ("storage", "storageImport"),
    ("tlsSecurityProfile",): ("security", "tlsSecurityProfile"),
    ("tuningPolicy",): ("virtualization", "tuningPolicy"),
    ("uninstallStrategy",): ("deployment", "uninstallStrategy"),
    ("vmStateStorageClass",): ("storage", "vmStateStorageClass"),
    ("workloadUpdateStrategy",): ("virtualization", "workloadUpdateStrategy"),
    ("workloads", "nodePlacement"): ("deployment", "nodePlacements", "workload"),
}
# A v1beta1 gate and whether it is on when nobody says; v1 lists only what differs.
_GATES: dict[str, bool] = {
    "alignCPUs": False,
    "containerPathVolumes": False,
    "decentralizedLiveMigration": True,
    "declarativeHotplugVolumes": False,
    "deployKubeSecondaryDNS": False,
    "downwardMetrics": False,
    "enableMultiArchBootImageImport": False,
    "incrementalBackup": False,
    "objectGraph": False,
    "videoConfig": True,
}
# Gates of v1beta1 that became fields of v1: gate, path, and whether the field says the opposite.
_GATE_FIELDS: tuple[tuple[str, Path, bool], ...] = (
    ("disableMDevConfiguration", ("virtualization", "mediatedDevicesConfiguration", "enabled"), True),
    ("persistentReservation", ("storage", "persistentReservationConfiguration", "enabled"), False),
)
# Fields of v1 alone, by the name they have in the annotation.
_KEPT: dict[str, Path] = {
    "deployNetworkResourcesInjector": ("deployment", "deployNetworkResourcesInjector"),
    "mdevConfigEnable": ("virtualization", "mediatedDevicesConfiguration", "enabled"),
    "persistentReservationEnabled": ("storage", "persistentReservationConfiguration", "enabled"),
    "featureGates": ("featureGates",),
    "observability": ("observability",),
}
# Below what moves as a whole, v1beta1 has no such field.
_ABSENT_IN_V1BETA1: tuple[Path, ...] = (
    ("applicationAwareConfig", "enable"),
    ("liveMigrationConfig", "allowWorkloadDisruption"),
    ("mediatedDevicesConfiguration", "enabled"),
    ("virtualMachineOptions", "defaultCPUModel"),
    ("virtualMachineOptions", "defaultRuntimeClass"),
)
# What v1beta1 writes even if it is empty, and v1.
_ALWAYS_V1BETA1: tuple[str, ...] = ("infra", "workloads")


@converter(HYPERCONVERGED)
def convert_hyperconverged(obj: Object, version: str) -> Object:
    """C(obj) in C(version); the original stays as it is."""
    if str(obj.get("apiVersion", "")).endswith(f"/{version}"):
        return obj
    return _to_v1(obj) if version == "v1" else _to_v1beta1(obj)


def _get(root: Any, path: Path) -> Any:
    for step in path:
        root = root.get(step) if isinstance(root, dict) else None
    return root


def _put(root: Object, path: Path, value: Any) -> None:
    for step in path[:-1]:
        root = root.setdefault(step, {})
    below = root.get(path[-1])
    # A field within an object that moved as a whole: both stay.
    root[path[-1]] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value


def _drop(root: Any, path: Path) -> None:
    parent = _get(root, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)


def _to_v1(obj: Object) -> Object:
    new = copied(obj)
    old: Object = new.pop("spec", None) or {}
    spec: Object = {"deployment": {}, "security": {}, "virtualization": {}, "workloadSources": {}}
    annotations = new.get("metadata", {}).get("annotations") or {}
    kept = orjson.loads(annotations.pop(V1_ONLY, None) or "{}")
    for source, target in _MOVED.items():
        value = _get(old, source)
        if value is not None and not (source == ("tuningPolicy",) and value == "highBurst"):
            _put(spec, target, value)
    for name, path in _KEPT.items():
        if name in kept:
            _put(spec, path, kept[name])
    _gates_to_v1(old.get("featureGates") or {}, spec)
    if "metadata" in new and not annotations:
        new["metadata"].pop("annotations", None)
    new["apiVersion"] = "hco.kubevirt.io/v1"
    new["spec"] = spec
    return new  # type: ignore[no-any-return]


def _gates_to_v1(old: Object, spec: Object) -> None:
    gates: list[Object] = spec.get("featureGates") or []
    for name, usual in _GATES.items():
        listed = next((gate for gate in gates if gate.get("name") == name), None)
        enabled = listed is not None and listed.get("state", "Enabled") == "Enabled"
        wanted = old.get(name)
        if wanted is None:
            gates = [gate for gate in gates if gate is not listed]
        elif listed is None and wanted != usual:
            gates = [*gates, _gate(name, wanted)]
        elif listed is not None and enabled != wanted:
            gates = [_gate(name, wanted) if gate is listed else gate for gate in gates]
    for name, path, opposite in _GATE_FIELDS:
        wanted = old.get(name)
        now = _get(spec, path)
        if wanted is not None and (wanted or now is not None):
            _put(spec, path, wanted is not opposite)
    spec.pop("featureGates", None)
    if gates:
        spec["featureGates"] = gates


def _gate(name: str, enabled: bool) -> Object:
    return {"name": name, "state": "Enabled"} if enabled else {"name": name, "state": "Disabled"}


def _to_v1beta1(obj: Object) -> Object:
    new = copied(obj)
    old: Object = new.pop("spec", None) or {}
    spec: Object = {name: {} for name in _ALWAYS_V1BETA1}
    for target, source in _MOVED.items():
        value = _get(old, source)
        if value is not None:
            _put(spec, target, copied(value))
    for path in _ABSENT_IN_V1BETA1:
        _drop(spec, path)
    listed = {gate.get("name"): gate.get("state", "Enabled") == "Enabled" for gate in old.get("featureGates") or ()}
    gates: Object = {name: listed.get(name, usual) for name, usual in _GATES.items()}
    for name, path, opposite in _GATE_FIELDS:
        value = _get(old, path)
        if value is not None:
            gates[name] = value is not opposite
    spec["featureGates"] = gates
    kept = {name: _get(old, path) for name, path in _KEPT.items()}
    kept = {name: value for name, value in kept.items() if value not in (None, [])}
    if kept:
        text = orjson.dumps(kept).decode()
        new.setdefault("metadata", {}).setdefault("annotations", {})[V1_ONLY] = text
    new["apiVersion"] = "hco.kubevirt.io/v1beta1"
    new["spec"] = spec
    return new  # type: ignore[no-any-return]
