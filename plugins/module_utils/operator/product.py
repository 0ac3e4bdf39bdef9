# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the packages that this collection installs bring: where, by which object, and when it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, by_conditions
from ..objects import hyperconverged
from ..objects.kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE
from ..objects.network import NMSTATE


@dataclass(frozen=True)
class Product:
    """An operator and the object by which it deploys what it is there for, its instance.

    C(versions) are those of the instance's API, the newest first; C(operands) what the operator makes from it;
    C(in_use) the kinds that must not be lost by a removal. C(may_be_silent): older releases report no conditions.
    """

    title: str
    namespace: str
    versions: tuple[Resource, ...]
    name: str
    ready: Check
    operands: tuple[tuple[tuple[Resource, ...], str], ...] = ()
    in_use: tuple[Resource, ...] = ()
    only_in_its_namespace: bool = True
    may_be_silent: bool = False

    @property
    def kind(self) -> str:
        return self.versions[0].kind

    def instance(self, client: Client, namespace: str) -> tuple[Resource | None, Object | None]:
        """The instance and its kind in the newest version that the cluster serves; None for what there is not."""
        for resource in self.versions:
            try:
                return resource, client.get(resource, self.name, namespace if resource.namespaced else None)
            except NotServed:
                continue
        return None, None

    def manifest(self, resource: Resource, spec: Mapping[str, Any], namespace: str) -> Object:
        """The instance to create."""
        metadata = {"name": self.name, **({"namespace": namespace} if resource.namespaced else {})}
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": dict(spec)}


VIRTUALIZATION = Product(
    title="OpenShift Virtualization",
    namespace=hyperconverged.NAMESPACE,
    versions=(hyperconverged.V1, hyperconverged.V1BETA1),
    name=hyperconverged.NAME,
    ready=hyperconverged.RECONCILED,
    operands=hyperconverged.OPERANDS,
    in_use=(VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE),
)
NODE_NETWORKING = Product(
    title="Kubernetes NMState",
    namespace="openshift-nmstate",
    versions=(NMSTATE,),
    name="nmstate",
    ready=by_conditions({"Available": "True"}),
    may_be_silent=True,
)
PRODUCTS: dict[str, Product] = {
    "kubevirt-hyperconverged": VIRTUALIZATION,
    "community-kubevirt-hyperconverged": Product(
        title="KubeVirt HyperConverged Cluster Operator",
        namespace="kubevirt-hyperconverged",
        versions=VIRTUALIZATION.versions,
        name=VIRTUALIZATION.name,
        ready=VIRTUALIZATION.ready,
        operands=VIRTUALIZATION.operands,
        in_use=VIRTUALIZATION.in_use,
        only_in_its_namespace=False,
    ),
    "kubernetes-nmstate-operator": NODE_NETWORKING,
}
