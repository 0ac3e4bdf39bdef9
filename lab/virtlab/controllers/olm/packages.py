"""What the lab's catalog offers: packages, channels and versions, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from virtlab.resource import Object
from virtlab.schema import kinds


@dataclass(frozen=True)
class Version:
    """One bundle. C(replaces) is the CSV it upgrades."""

    csv: str
    version: str
    replaces: str = ""


@dataclass(frozen=True)
class Package:
    """C(owner) names the CRDs the operator brings (virtlab.schema.kinds); C(deployments) run in its namespace."""

    name: str
    display_name: str
    provider: str
    default_channel: str
    channels: dict[str, tuple[Version, ...]]  # oldest first
    owner: str
    deployments: tuple[str, ...]
    install_modes: tuple[str, ...] = ("OwnNamespace",)
    suggested_namespace: str = ""
    examples: tuple[Object, ...] = field(default=())

    def head(self, channel: str) -> Version:
        return self.channels[channel][-1]

    def find(self, channel: str, csv: str) -> Version | None:
        return next((version for version in self.channels[channel] if version.csv == csv), None)

    def successor(self, channel: str, csv: str) -> Version | None:
        """The newest version that C(csv) can be upgraded to: each replaces the one before, so one step."""
        return next((version for version in self.channels[channel] if version.replaces == csv), None)


def _line(prefix: str, *versions: str) -> tuple[Version, ...]:
    names = [f"{prefix}.v{version}" for version in versions]
    return tuple(
        Version(csv, version, before) for csv, version, before in zip(names, versions, ["", *names], strict=False)
    )


_HCO_SAMPLE: dict[str, Any] = {
    "apiVersion": "hco.kubevirt.io/v1beta1",
    "kind": "HyperConverged",
    "metadata": {"name": "kubevirt-hyperconverged", "namespace": "openshift-cnv"},
    "spec": {},
}

PACKAGES: dict[str, Package] = {
    package.name: package
    for package in (
        Package(
            name="kubevirt-hyperconverged",
            display_name="OpenShift Virtualization",
            provider="Red Hat",
            default_channel="stable",
            channels={
                "stable": _line("kubevirt-hyperconverged-operator", "4.21.0", "4.21.1", "4.22.0", "4.22.1"),
                "candidate": _line("kubevirt-hyperconverged-operator", "4.22.0", "4.22.1", "4.22.2"),
                "dev-preview": _line("kubevirt-hyperconverged-operator", "4.99.0"),
            },
            owner=kinds.HYPERCONVERGED,
            deployments=(
                "hco-operator",
                "hco-webhook",
                "hyperconverged-cluster-cli-download",
                "virt-operator",
                "cdi-operator",
                "cluster-network-addons-operator",
                "ssp-operator",
                "hostpath-provisioner-operator",
                "aaq-operator",
            ),
            suggested_namespace="openshift-cnv",
            examples=(_HCO_SAMPLE,),
        ),
        Package(
            name="kubernetes-nmstate-operator",
            display_name="Kubernetes NMState Operator",
            provider="Red Hat",
            default_channel="stable",
            channels={"stable": _line("kubernetes-nmstate-operator", "4.21.0", "4.22.0")},
            owner=kinds.NMSTATE,
            deployments=("nmstate-operator",),
            suggested_namespace="openshift-nmstate",
            examples=({"apiVersion": "nmstate.io/v1", "kind": "NMState", "metadata": {"name": "nmstate"}},),
        ),
        Package(
            name="node-maintenance-operator",
            display_name="Node Maintenance Operator",
            provider="Red Hat",
            default_channel="stable",
            channels={"stable": _line("node-maintenance-operator", "5.4.0", "5.5.0")},
            owner="node-maintenance-operator",
            deployments=("node-maintenance-operator-controller-manager",),
            install_modes=("AllNamespaces",),
            suggested_namespace="openshift-workload-availability",
        ),
        Package(
            name="redhat-oadp-operator",
            display_name="OADP Operator",
            provider="Red Hat",
            default_channel="stable",
            channels={"stable": _line("oadp-operator", "1.5.0", "1.5.1")},
            owner="redhat-oadp-operator",
            deployments=("openshift-adp-controller-manager",),
            suggested_namespace="openshift-adp",
        ),
    )
}

CATALOG = "redhat-operators"
CATALOG_NAMESPACE = "openshift-marketplace"


def catalog_source() -> Object:
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "CatalogSource",
        "metadata": {"name": CATALOG, "namespace": CATALOG_NAMESPACE},
        "spec": {
            "displayName": "Red Hat Operators",
            "publisher": "Red Hat",
            "sourceType": "grpc",
            "image": "registry.redhat.io/redhat/redhat-operator-index:v4.22",
        },
    }


def manifest(package: Package, namespace: str) -> Object:
    """The PackageManifest by which packages.operators.coreos.com shows C(package) in C(namespace)."""
    return {
        "apiVersion": "packages.operators.coreos.com/v1",
        "kind": "PackageManifest",
        "metadata": {
            "name": package.name,
            "namespace": namespace,
            "labels": {"catalog": CATALOG, "catalog-namespace": CATALOG_NAMESPACE, "provider": package.provider},
        },
        "spec": {},
        "status": {
            "catalogSource": CATALOG,
            "catalogSourceDisplayName": "Red Hat Operators",
            "catalogSourceNamespace": CATALOG_NAMESPACE,
            "catalogSourcePublisher": "Red Hat",
            "packageName": package.name,
            "provider": {"name": package.provider},
            "defaultChannel": package.default_channel,
            "channels": [
                {
                    "name": channel,
                    "currentCSV": versions[-1].csv,
                    "currentCSVDesc": _description(package, versions[-1]),
                    "entries": [{"name": item.csv, "version": item.version} for item in reversed(versions)],
                }
                for channel, versions in package.channels.items()
            ],
        },
    }


def _description(package: Package, version: Version) -> Object:
    return {
        "displayName": package.display_name,
        "version": version.version,
        "provider": {"name": package.provider},
        "annotations": {"operatorframework.io/suggested-namespace": package.suggested_namespace},
        "installModes": [
            {"type": mode, "supported": mode in package.install_modes}
            for mode in ("OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces")
        ],
    }
