"""The ClusterServiceVersion of a package: what it owns and deploys."""

from __future__ import annotations

import orjson

from virtlab.controllers.olm.names import component_label, target_namespaces
from virtlab.controllers.olm.packages import Package, Version
from virtlab.resource import Object

INSTALL_MODES = ("OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces")


def deployment_spec(name: str, namespace: str, image: str) -> Object:
    """The deployment of one operator."""
    labels = {"name": name, "app.kubernetes.io/managed-by": "olm"}
    return {
        "replicas": 1,
        "selector": {"matchLabels": {"name": name}},
        "strategy": {"type": "RollingUpdate"},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": name,
                "containers": [
                    {
                        "name": name,
                        "image": image,
                        "env": [{"name": "OPERATOR_NAMESPACE", "value": namespace}],
                        "resources": {"requests": {"cpu": "10m", "memory": "150Mi"}},
                    }
                ],
            },
        },
    }


def csv_for(package: Package, version: Version, namespace: str, group: Object, crds: list[Object]) -> Object:
    """The CSV that OLM creates in C(namespace) for the operator group."""
    owned = [
        {
            "name": crd["metadata"]["name"],
            "kind": crd["spec"]["names"]["kind"],
            "version": next(item["name"] for item in crd["spec"]["versions"] if item.get("storage")),
            "displayName": crd["spec"]["names"]["kind"],
        }
        for crd in crds
    ]
    spec: Object = {
        "displayName": package.display_name,
        "version": version.version,
        "provider": {"name": package.provider},
        "installModes": [{"type": mode, "supported": mode in package.install_modes} for mode in INSTALL_MODES],
        "customresourcedefinitions": {"owned": owned},
        "install": {
            "strategy": "deployment",
            "spec": {
                "deployments": [
                    {
                        "name": name,
                        "spec": deployment_spec(
                            name, namespace, f"registry.lab/{package.name}/{name}:{version.version}"
                        ),
                    }
                    for name in package.deployments
                ]
            },
        },
    }
    if version.replaces:
        spec["replaces"] = version.replaces
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": version.csv,
            "namespace": namespace,
            "labels": {component_label(package.name, namespace): "", "olm.managed": "true"},
            "annotations": {
                "alm-examples": orjson.dumps(package.examples).decode(),
                "olm.operatorGroup": group["metadata"]["name"],
                "olm.operatorNamespace": namespace,
                "olm.targetNamespaces": ",".join(target_namespaces(group)),
                "operatorframework.io/suggested-namespace": package.suggested_namespace,
            },
        },
        "spec": spec,
    }
