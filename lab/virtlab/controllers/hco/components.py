"""The components HyperConverged brings: what runs for each, and which CRDs it installs, as data."""

from __future__ import annotations

from dataclasses import dataclass

from virtlab.resource import Object
from virtlab.schema import kinds


@dataclass(frozen=True)
class Component:
    """C(deployments): replicas by name. C(version_fields): what the CR's status calls the version that runs."""

    resource: str
    title: str
    deployments: dict[str, int]
    daemon_sets: tuple[str, ...] = ()
    owner: str = ""
    finalizer: str = ""
    version: str = ""
    version_fields: tuple[str, ...] = ()
    label: str = "compute"


KUBEVIRT = Component(
    resource="kubevirts.kubevirt.io",
    title="KubeVirt",
    deployments={"virt-api": 2, "virt-controller": 2, "virt-exportproxy": 2},
    daemon_sets=("virt-handler",),
    owner=kinds.KUBEVIRT,
    finalizer="foregroundDeleteKubeVirt",
    version="v1.9.0",
    version_fields=("operatorVersion", "observedKubeVirtVersion", "targetKubeVirtVersion"),
    label="compute",
)
CDI = Component(
    resource="cdis.cdi.kubevirt.io",
    title="CDI",
    deployments={"cdi-apiserver": 1, "cdi-deployment": 1, "cdi-uploadproxy": 1},
    owner=kinds.CDI,
    finalizer="operator.cdi.kubevirt.io",
    version="v1.66.0",
    version_fields=("operatorVersion", "observedVersion", "targetVersion"),
    label="storage",
)
NETWORK_ADDONS = Component(
    resource="networkaddonsconfigs.networkaddonsoperator.network.kubevirt.io",
    title="NetworkAddonsConfig",
    deployments={
        "kubemacpool-cert-manager": 1,
        "kubemacpool-mac-controller-manager": 1,
        "kubevirt-ipam-controller-manager": 1,
    },
    daemon_sets=("bridge-marker", "kube-cni-linux-bridge-plugin"),
    owner=kinds.NETWORK_ADDONS,
    version="0.102.0",
    version_fields=("operatorVersion", "observedVersion", "targetVersion"),
    label="network",
)
SSP = Component(
    resource="ssps.ssp.kubevirt.io",
    title="SSP",
    deployments={"virt-template-validator": 2},
    owner=kinds.SSP,
    finalizer="ssp.kubevirt.io/finalizer",
    version="v0.25.0",
    version_fields=("operatorVersion", "observedVersion", "targetVersion"),
    label="schedule",
)
COMPONENTS: dict[str, Component] = {item.resource: item for item in (KUBEVIRT, CDI, NETWORK_ADDONS, SSP)}


def _template(name: str, component: Component) -> tuple[Object, Object]:
    """(selector, pod template) of one workload."""
    selector = {"kubevirt.io": name}
    labels = {
        **selector,
        "app.kubernetes.io/component": component.label,
        "app.kubernetes.io/managed-by": f"{component.label}-operator",
        "app.kubernetes.io/part-of": "hyperconverged-cluster",
    }
    container = {
        "name": name,
        "image": f"registry.lab/container-native-virtualization/{name}:{component.version}",
        "resources": {"requests": {"cpu": "10m", "memory": "150Mi"}},
    }
    return {"matchLabels": selector}, {"metadata": {"labels": labels}, "spec": {"containers": [container]}}


def workload(kind: str, name: str, namespace: str, component: Component, owner: Object, replicas: int = 1) -> Object:
    """The deployment or daemon set C(name) of a component, owned by the component's CR."""
    selector, template = _template(name, component)
    spec: Object = {"selector": selector, "template": template}
    if kind == "Deployment":
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [owner],
        },
        "spec": spec,
    }
