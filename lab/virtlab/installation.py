"""C(virtlab start --installed): the operator, installed the way an administrator does it, but at once."""

from __future__ import annotations

import asyncio
import logging

from virtlab.cluster import Cluster
from virtlab.resource import Object

log = logging.getLogger(__name__)

NAMESPACE = "openshift-cnv"
PATIENCE = 30.0  # seconds

STEPS: tuple[tuple[str, Object], ...] = (
    ("namespaces", {"metadata": {"name": NAMESPACE}}),
    (
        "operatorgroups.operators.coreos.com",
        {
            "metadata": {"name": "kubevirt-hyperconverged-group", "namespace": NAMESPACE},
            "spec": {"targetNamespaces": [NAMESPACE]},
        },
    ),
    (
        "subscriptions.operators.coreos.com",
        {
            "metadata": {"name": "hco-operatorhub", "namespace": NAMESPACE},
            "spec": {
                "source": "redhat-operators",
                "sourceNamespace": "openshift-marketplace",
                "name": "kubevirt-hyperconverged",
                "channel": "stable",
            },
        },
    ),
    (
        "hyperconvergeds.hco.kubevirt.io",
        {"metadata": {"name": "kubevirt-hyperconverged", "namespace": NAMESPACE}, "spec": {}},
    ),
)


async def install(cluster: Cluster) -> None:
    """Subscribe, create HyperConverged, wait until it is available; raises TimeoutError."""
    factor, cluster.clock.factor = cluster.clock.factor, 0.0
    changed = asyncio.Event()
    stop = cluster.store.subscribe(lambda event: changed.set())
    try:
        async with asyncio.timeout(PATIENCE):
            for qualified, obj in STEPS:
                while cluster.resource(qualified) is None:
                    await _next(changed)
                _ensure(cluster, qualified, obj)
            while not available(cluster):
                await _next(changed)
    finally:
        stop()
        cluster.clock.factor = factor


async def _next(changed: asyncio.Event) -> None:
    changed.clear()
    await changed.wait()


def _ensure(cluster: Cluster, qualified: str, obj: Object) -> None:
    resource = cluster.resource(qualified)
    assert resource is not None
    metadata = obj["metadata"]
    if cluster.find(resource, metadata["name"], metadata.get("namespace")) is None:
        cluster.create(resource, obj, namespace=metadata.get("namespace"), manager="virtlab")


def available(cluster: Cluster) -> bool:
    """Whether HyperConverged says so, and the APIs of its components are there."""
    entry = cluster.store.find(("hco.kubevirt.io", "hyperconvergeds"), NAMESPACE, "kubevirt-hyperconverged")
    conditions = (entry.object.get("status") or {}).get("conditions") or () if entry is not None else ()
    states = {condition["type"]: condition["status"] for condition in conditions}
    served = all(cluster.resource(name) for name in ("virtualmachines.kubevirt.io", "datavolumes.cdi.kubevirt.io"))
    return served and states.get("Available") == "True" and states.get("Progressing") != "True"
