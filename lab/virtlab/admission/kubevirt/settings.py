"""How KubeVirt is configured: its feature gates and defaults, read from the KubeVirt object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtlab.admission.webhook import at
from virtlab.operation import SYSTEM, User
from virtlab.store import Store

# pkg/virt-config/featuregate of KubeVirt 1.9: always on, and on unless disabled.
ALWAYS_ON = frozenset(
    {
        "AutoResourceLimitsGate", "BochsDisplayForEFIGuests", "CPUNodeDiscovery", "ClusterProfiler",
        "CommonInstancetypesDeploymentGate", "DisableCustomSELinuxPolicy", "DynamicPodInterfaceNaming",
        "EnableVirtioFsConfigVolumes", "ExpandDisks", "GPU", "HotplugNICs", "InstancetypeReferencePolicy",
        "LibvirtHooksServerAndClient", "LiveMigration", "LiveUpdateNADRef", "MigrationPriorityQueue", "NUMA",
        "NetworkBindingPlugins", "NonRoot", "PSA", "PanicDevices", "PersistentReservation", "SRIOVLiveMigration",
        "SecureExecution", "VMExport", "VMLiveUpdateFeatures", "VMPersistentState", "VideoConfig",
        "VmiMemoryOverheadReport", "VolumeMigration", "VolumesUpdateStrategy",
    }
)  # fmt: skip
ON_BY_DEFAULT = frozenset(
    {
        "DeclarativeHotplugVolumes", "DecentralizedLiveMigration", "ExternalNetResourceInjection", "GPUsWithDRA",
        "HostDevicesWithDRA", "ImageVolume", "KubevirtSeccompProfile", "NodeRestriction", "OptOutRoleAggregation",
        "PasstBinding", "PodSecondaryInterfaceNamingUpgrade", "RebootPolicy", "Snapshot", "Template",
        "WorkloadEncryptionSEV",
    }
)  # fmt: skip

MACHINE_TYPES = {"amd64": "q35", "arm64": "virt", "s390x": "s390-ccw-virtio"}
EMULATED_MACHINES = {"amd64": ("q35*", "pc-q35*"), "arm64": ("virt*",), "s390x": ("s390-ccw-virtio*",)}
MAX_HOTPLUG_RATIO = 4
NAMESPACE = "openshift-cnv"

COMPONENTS = ("kubevirt-apiserver", "kubevirt-controller", "kubevirt-handler")
VIRT_API = User(
    f"system:serviceaccount:{NAMESPACE}:kubevirt-apiserver",
    ("system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"),
)


@dataclass(frozen=True)
class Settings:
    """One KubeVirt object's C(spec.configuration)."""

    configuration: Mapping[str, Any] = field(default_factory=dict)

    def gate(self, name: str) -> bool:
        if name in ALWAYS_ON:
            return True
        developer = self.configuration.get("developerConfiguration") or {}
        if name in (developer.get("featureGates") or ()):
            return True
        return name in ON_BY_DEFAULT and name not in (developer.get("disabledFeatureGates") or ())

    @property
    def architecture(self) -> str:
        return at(self.configuration, "architectureConfiguration", "defaultArchitecture") or "amd64"

    def machine_type(self, architecture: str) -> str:
        configured = at(self.configuration, "architectureConfiguration", architecture, "machineType")
        return configured or MACHINE_TYPES.get(architecture, "q35")

    def emulated_machines(self, architecture: str) -> tuple[str, ...]:
        configured = at(self.configuration, "architectureConfiguration", architecture, "emulatedMachines")
        return tuple(configured or EMULATED_MACHINES.get(architecture, EMULATED_MACHINES["amd64"]))

    @property
    def eviction_strategy(self) -> str | None:
        strategy = self.configuration.get("evictionStrategy")
        return None if strategy is None else str(strategy)

    @property
    def network_interface(self) -> str:
        return at(self.configuration, "network", "defaultNetworkInterface") or "bridge"

    @property
    def bridge_on_pod_network(self) -> bool:
        return at(self.configuration, "network", "permitBridgeInterfaceOnPodNetwork") is not False

    @property
    def live_update(self) -> bool:
        return bool(self.configuration.get("vmRolloutStrategy", "LiveUpdate") == "LiveUpdate")

    @property
    def live_update_limits(self) -> Mapping[str, Any]:
        return self.configuration.get("liveUpdateConfiguration") or {}


def settings(store: Store) -> Settings:
    """The configuration in force; KubeVirt's defaults while there is no KubeVirt object."""
    for entry in store.entries(("kubevirt.io", "kubevirts")):
        return Settings(at(entry.object, "spec", "configuration") or {})
    return Settings()


def is_kubevirt(user: User) -> bool:
    """Whether C(user) is one of KubeVirt's own components."""
    if user.name == SYSTEM.name:
        return True
    prefix, _, name = user.name.rpartition(":")
    return prefix == f"system:serviceaccount:{NAMESPACE}" and name in COMPONENTS
