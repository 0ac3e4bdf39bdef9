"""What HyperConverged makes of its settings: the KubeVirt, CDI, SSP and NetworkAddonsConfig objects. Pure functions."""

from __future__ import annotations

from typing import Any

import orjson

from virtlab.controllers.hco.boot_sources import cron_templates
from virtlab.controllers.hco.settings import enabled_gates, kubevirt_gates, setting
from virtlab.patches import apply_json_patch
from virtlab.resource import Object

NAME = "kubevirt-hyperconverged"
LABELS = {
    "app": NAME,
    "app.kubernetes.io/managed-by": "hco-operator",
    "app.kubernetes.io/part-of": "hyperconverged-cluster",
}
PATCH_ANNOTATIONS = {
    "KubeVirt": "kubevirt.kubevirt.io/jsonpatch",
    "CDI": "containerizeddataimporter.kubevirt.io/jsonpatch",
    "NetworkAddonsConfig": "networkaddonsconfigs.kubevirt.io/jsonpatch",
    "SSP": "ssp.kubevirt.io/jsonpatch",
}
LIVE_MIGRATION = {
    "allowAutoConverge": False,
    "allowPostCopy": False,
    "completionTimeoutPerGiB": 150,
    "parallelMigrationsPerCluster": 5,
    "parallelOutboundMigrationsPerNode": 2,
    "progressTimeout": 150,
}


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def _certificates(hyperconverged: Object) -> dict[str, Any]:
    config = setting(hyperconverged, "cert_config", {})
    ca, server = config.get("ca") or {}, config.get("server") or {}
    return {
        "ca": {"duration": ca.get("duration", "48h0m0s"), "renewBefore": ca.get("renewBefore", "24h0m0s")},
        "server": {"duration": server.get("duration", "24h0m0s"), "renewBefore": server.get("renewBefore", "12h0m0s")},
    }


def _placement(hyperconverged: Object, name: str) -> dict[str, Any]:
    placement = setting(hyperconverged, name)
    return {"nodePlacement": placement} if placement else {}


def kubevirt_spec(hyperconverged: Object) -> Object:
    density = (setting(hyperconverged, "density") or {}).get("memoryOvercommitPercentage", 100)
    options = setting(hyperconverged, "vm_options") or {}
    developer = {
        "cpuAllocationRatio": setting(hyperconverged, "cpu_ratio", 10),
        "diskVerification": {"memoryLimit": "2G"},
        "featureGates": kubevirt_gates(hyperconverged),
        "memoryOvercommit": density,
    }
    verbosity = (setting(hyperconverged, "log_verbosity") or {}).get("kubevirt")
    if verbosity:
        developer["logVerbosity"] = verbosity
    configuration = _without_none(
        {
            "architectureConfiguration": {"amd64": {}},
            "developerConfiguration": developer,
            "evictionStrategy": setting(hyperconverged, "eviction_strategy", "LiveMigrate"),
            "migrations": {**LIVE_MIGRATION, **setting(hyperconverged, "live_migration", {})},
            "network": _without_none(
                {"defaultNetworkInterface": "masquerade", "binding": setting(hyperconverged, "network_binding")}
            ),
            "obsoleteCPUModels": dict.fromkeys(setting(hyperconverged, "obsolete_cpus", []), True) or None,
            "cpuModel": setting(hyperconverged, "cpu_model"),
            "permittedHostDevices": setting(hyperconverged, "permitted_host_devices"),
            "mediatedDevicesConfiguration": setting(hyperconverged, "mediated_devices"),
            "ksmConfiguration": setting(hyperconverged, "ksm"),
            "liveUpdateConfiguration": setting(hyperconverged, "live_update"),
            "tlsConfiguration": setting(hyperconverged, "tls"),
            "vmStateStorageClass": setting(hyperconverged, "state_class"),
            "selinuxLauncherType": "virt_launcher.process",
            "smbios": {"family": "Red Hat", "manufacturer": "Red Hat", "product": "OpenShift Virtualization"},
            "virtualMachineOptions": {"disableSerialConsoleLog": {}}
            if options.get("disableSerialConsoleLog")
            else None,
            "vmRolloutStrategy": "LiveUpdate",
            "commonInstancetypesDeployment": setting(hyperconverged, "instancetypes"),
        }
    )
    update = setting(hyperconverged, "workload_update") or {}
    return {
        "certificateRotateStrategy": {"selfSigned": _certificates(hyperconverged)},
        "configuration": configuration,
        "customizeComponents": {},
        "infra": _placement(hyperconverged, "infra"),
        "workloads": _placement(hyperconverged, "workloads"),
        "productComponent": "compute",
        "productName": "hyperconverged-cluster",
        "serviceMonitorNamespace": hyperconverged["metadata"]["namespace"],
        "uninstallStrategy": setting(hyperconverged, "uninstall_strategy", "BlockUninstallIfWorkloadsExist"),
        "workloadUpdateStrategy": {
            "batchEvictionInterval": update.get("batchEvictionInterval", "1m0s"),
            "batchEvictionSize": update.get("batchEvictionSize", 10),
            "workloadUpdateMethods": update.get("workloadUpdateMethods", ["LiveMigrate"]),
        },
    }


def cdi_spec(hyperconverged: Object) -> Object:
    registries = (setting(hyperconverged, "storage_import") or {}).get("insecureRegistries")
    config = _without_none(
        {
            "featureGates": ["HonorWaitForFirstConsumer", "WebhookPvcRendering"],
            "filesystemOverhead": setting(hyperconverged, "overhead"),
            "insecureRegistries": registries,
            "podResourceRequirements": setting(hyperconverged, "storage_resources"),
            "scratchSpaceStorageClass": setting(hyperconverged, "scratch_class"),
            "tlsSecurityProfile": setting(hyperconverged, "tls"),
            "logVerbosity": (setting(hyperconverged, "log_verbosity") or {}).get("cdi"),
        }
    )
    return _without_none(
        {
            "certConfig": _certificates(hyperconverged),
            "config": config,
            "infra": setting(hyperconverged, "infra") or {},
            "workload": setting(hyperconverged, "workloads") or {},
            "uninstallStrategy": setting(hyperconverged, "uninstall_strategy", "BlockUninstallIfWorkloadsExist"),
        }
    )


def ssp_spec(hyperconverged: Object) -> Object:
    crons = cron_templates(hyperconverged)
    return _without_none(
        {
            "commonTemplates": {
                "namespace": setting(hyperconverged, "templates_namespace", "openshift"),
                "dataImportCronTemplates": crons,
            },
            "templateValidator": {
                "replicas": 2,
                **({"placement": setting(hyperconverged, "infra")} if setting(hyperconverged, "infra") else {}),
            },
            "tokenGenerationService": {"enabled": True} if setting(hyperconverged, "console_proxy") else None,
            "tlsSecurityProfile": setting(hyperconverged, "tls"),
        }
    )


def network_addons_spec(hyperconverged: Object) -> Object:
    pool = setting(hyperconverged, "mac_pool") or {}
    dns = "deployKubeSecondaryDNS" in enabled_gates(hyperconverged)
    name_server = setting(hyperconverged, "dns_server")
    return _without_none(
        {
            "imagePullPolicy": "IfNotPresent",
            "kubeMacPool": _without_none({"rangeStart": pool.get("rangeStart"), "rangeEnd": pool.get("rangeEnd")}),
            "kubevirtIpamController": {},
            "linuxBridge": {},
            "multus": {},
            "ovs": {} if (hyperconverged["metadata"].get("annotations") or {}).get("deployOVS") == "true" else None,
            "kubeSecondaryDNS": ({"nameServerIP": name_server} if name_server else {}) if dns else None,
            "placementConfiguration": _without_none(
                {"infra": setting(hyperconverged, "infra"), "workloads": setting(hyperconverged, "workloads")}
            ),
            "selfSignConfiguration": {
                "caRotateInterval": _certificates(hyperconverged)["ca"]["duration"],
                "caOverlapInterval": _certificates(hyperconverged)["ca"]["renewBefore"],
                "certRotateInterval": _certificates(hyperconverged)["server"]["duration"],
                "certOverlapInterval": _certificates(hyperconverged)["server"]["renewBefore"],
            },
        }
    )


# qualified resource: (apiVersion, kind, name, namespaced, spec, component label)
OPERANDS: dict[str, tuple[str, str, str, bool, Any, str]] = {
    "kubevirts.kubevirt.io": ("kubevirt.io/v1", "KubeVirt", f"kubevirt-{NAME}", True, kubevirt_spec, "compute"),
    "cdis.cdi.kubevirt.io": ("cdi.kubevirt.io/v1beta1", "CDI", f"cdi-{NAME}", False, cdi_spec, "storage"),
    "networkaddonsconfigs.networkaddonsoperator.network.kubevirt.io": (
        "networkaddonsoperator.network.kubevirt.io/v1",
        "NetworkAddonsConfig",
        "cluster",
        False,
        network_addons_spec,
        "network",
    ),
    "ssps.ssp.kubevirt.io": ("ssp.kubevirt.io/v1beta3", "SSP", f"ssp-{NAME}", True, ssp_spec, "schedule"),
}


def operand(qualified: str, hyperconverged: Object) -> Object:
    """The whole object that HyperConverged wants, its unsupported JSON patch applied."""
    api_version, kind, name, namespaced, spec, component = OPERANDS[qualified]
    metadata: Object = {"name": name, "labels": {**LABELS, "app.kubernetes.io/component": component}}
    if namespaced:
        metadata["namespace"] = hyperconverged["metadata"]["namespace"]
    wanted = {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec(hyperconverged)}
    patch = (hyperconverged["metadata"].get("annotations") or {}).get(PATCH_ANNOTATIONS[kind])
    if patch:
        wanted = apply_json_patch(wanted, orjson.loads(patch))
    return wanted


def tainted(hyperconverged: Object) -> bool:
    """Is an unsupported feature on by annotation, or a gate outside of what is supported?"""
    annotations = hyperconverged["metadata"].get("annotations") or {}
    return any(annotations.get(name) for name in PATCH_ANNOTATIONS.values())
