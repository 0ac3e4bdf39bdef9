"""What a HyperConverged object asks for, whichever of its two layouts (v1beta1, v1) it is stored in."""

from __future__ import annotations

from typing import Any

from virtlab.resource import Object

# setting: (path in v1beta1, path in v1)
PATHS: dict[str, tuple[str, str]] = {
    "uninstall_strategy": ("uninstallStrategy", "deployment.uninstallStrategy"),
    "infra": ("infra.nodePlacement", "deployment.nodePlacements.infra"),
    "workloads": ("workloads.nodePlacement", "deployment.nodePlacements.workload"),
    "cert_config": ("certConfig", "security.certConfig"),
    "tls": ("tlsSecurityProfile", "security.tlsSecurityProfile"),
    "live_migration": ("liveMigrationConfig", "virtualization.liveMigrationConfig"),
    "eviction_strategy": ("evictionStrategy", "virtualization.evictionStrategy"),
    "workload_update": ("workloadUpdateStrategy", "virtualization.workloadUpdateStrategy"),
    "permitted_host_devices": ("permittedHostDevices", "virtualization.permittedHostDevices"),
    "mediated_devices": ("mediatedDevicesConfiguration", "virtualization.mediatedDevicesConfiguration"),
    "ksm": ("ksmConfiguration", "virtualization.ksmConfiguration"),
    "live_update": ("liveUpdateConfiguration", "virtualization.liveUpdateConfiguration"),
    "density": ("higherWorkloadDensity", "virtualization.higherWorkloadDensity"),
    "vm_options": ("virtualMachineOptions", "virtualization.virtualMachineOptions"),
    "tuning_policy": ("tuningPolicy", "virtualization.tuningPolicy"),
    "cpu_model": ("defaultCPUModel", "virtualization.virtualMachineOptions.defaultCPUModel"),
    "obsolete_cpus": ("obsoleteCPUs.cpuModels", "virtualization.obsoleteCPUModels"),
    "cpu_ratio": ("resourceRequirements.vmiCPUAllocationRatio", "virtualization.vmiCPUAllocationRatio"),
    "state_class": ("vmStateStorageClass", "storage.vmStateStorageClass"),
    "scratch_class": ("scratchSpaceStorageClass", "storage.scratchSpaceStorageClass"),
    "overhead": ("filesystemOverhead", "storage.filesystemOverhead"),
    "storage_import": ("storageImport", "storage.storageImport"),
    "storage_resources": ("resourceRequirements.storageWorkloads", "storage.workloadResourceRequirements"),
    "log_verbosity": ("logVerbosityConfig", "deployment.logVerbosityConfig"),
    "console_proxy": ("deployVmConsoleProxy", "deployment.deployVmConsoleProxy"),
    "templates_namespace": ("commonTemplatesNamespace", "workloadSources.commonTemplatesNamespace"),
    "boot_namespace": ("commonBootImageNamespace", "workloadSources.commonBootImageNamespace"),
    "boot_import": ("enableCommonBootImageImport", "workloadSources.enableCommonBootImageImport"),
    "boot_templates": ("dataImportCronTemplates", "workloadSources.dataImportCronTemplates"),
    "instancetypes": ("commonInstancetypesDeployment", "workloadSources.commonInstancetypesDeployment"),
    "network_binding": ("networkBinding", "networking.networkBinding"),
    "dns_server": ("kubeSecondaryDNSNameServerIP", "networking.kubeSecondaryDNSNameServerIP"),
    "mac_pool": ("kubeMacPoolConfiguration", "networking.kubeMacPoolConfiguration"),
}

# HyperConverged's gate: KubeVirt's; those of the default are on unless switched off.
KUBEVIRT_GATES = {
    "downwardMetrics": "DownwardMetrics",
    "alignCPUs": "AlignCPUs",
    "decentralizedLiveMigration": "DecentralizedLiveMigration",
    "declarativeHotplugVolumes": "DeclarativeHotplugVolumes",
    "objectGraph": "ObjectGraph",
    "incrementalBackup": "IncrementalBackup",
    "containerPathVolumes": "ContainerPathVolumes",
}
DEFAULT_GATES = ("decentralizedLiveMigration", "declarativeHotplugVolumes")
MANDATORY_GATES = ("CPUManager", "HostDevices", "HypervStrictCheck", "KubevirtSeccompProfile", "Snapshot", "Template")


def dig(obj: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj


def setting(hyperconverged: Object, name: str, default: Any = None) -> Any:
    """The value of a setting, or C(default) where neither layout has it."""
    spec = hyperconverged.get("spec") or {}
    for path in PATHS[name]:
        value = dig(spec, path)
        if value is not None:
            return value
    return default


def enabled_gates(hyperconverged: Object) -> set[str]:
    """HyperConverged's own gates that are on: a mapping of booleans in v1beta1, a list in v1."""
    gates = (hyperconverged.get("spec") or {}).get("featureGates") or {}
    on = set(DEFAULT_GATES)
    if isinstance(gates, dict):
        states = [(name, bool(value)) for name, value in gates.items()]
    else:
        states = [(gate["name"], gate.get("state", "Enabled") == "Enabled") for gate in gates]
    for name, state in states:
        if state:
            on.add(name)
        else:
            on.discard(name)
    return on


def kubevirt_gates(hyperconverged: Object) -> list[str]:
    """KubeVirt's feature gates, sorted as HyperConverged writes them."""
    on = enabled_gates(hyperconverged)
    chosen = {gate for name, gate in KUBEVIRT_GATES.items() if name in on}
    return sorted({*MANDATORY_GATES, *chosen})
