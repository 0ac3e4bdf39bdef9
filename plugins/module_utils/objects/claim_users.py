# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a claim: machines that run, machines that do not, and pods; and who may clone one of another namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..cluster.client import Client
from ..cluster.errors import Forbidden, NotServed
from ..cluster.resource import Object, Resource
from .core import POD
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, by_name, claims
from .kubevirt_power import is_live

REVIEW = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)
# Pods of CDI and KubeVirt that come and go with the claim or the machine.
_HANDLERS = ("app=containerized-data-importer", "kubevirt.io=virt-launcher", "kubevirt.io=hotplug-disk")


@dataclass
class Users:
    """The users of the claims of a namespace, by claim."""

    running: dict[str, list[str]] = field(default_factory=dict)
    stopped: dict[str, list[str]] = field(default_factory=dict)
    pods: dict[str, list[str]] = field(default_factory=dict)


def users(client: Client, namespace: str) -> Users:
    """Read who uses claims; what may not be read tells nothing."""
    found = Users()
    instances = by_name(_listed(client, VIRTUAL_MACHINE_INSTANCE, namespace))
    for instance in instances.values():
        if is_live(instance):
            _note(found.running, instance["metadata"]["name"], _instance_claims(instance))
    for vm in _listed(client, VIRTUAL_MACHINE, namespace):
        name = vm["metadata"]["name"]
        where = found.running if is_live(instances.get(name)) else found.stopped
        _note(where, name, claims(vm).values())
    for pod in _listed(client, POD, namespace):
        labels = pod["metadata"].get("labels") or {}
        handled = any(labels.get(key) == value for key, value in (item.split("=") for item in _HANDLERS))
        if handled or at(pod, "status.phase") in ("Succeeded", "Failed"):
            continue
        volumes = at(pod, "spec.volumes") or ()
        mounted = [at(volume, "persistentVolumeClaim.claimName") for volume in volumes]
        _note(found.pods, pod["metadata"]["name"], [name for name in mounted if name])
    return found


def _instance_claims(instance: Object) -> list[str]:
    volumes = at(instance, "spec.volumes") or ()
    names = [at(item, "dataVolume.name") or at(item, "persistentVolumeClaim.claimName") for item in volumes]
    return [str(name) for name in names if name]


def _note(where: dict[str, list[str]], user: str, names: Iterable[str]) -> None:
    for name in names:
        listed = where.setdefault(name, [])
        if user not in listed:
            listed.append(user)


def _listed(client: Client, resource: Resource, namespace: str) -> list[Object]:
    try:
        return client.list(resource, namespace).items
    except (Forbidden, NotServed):
        return []


def may_clone(client: Client, namespace: str) -> bool:
    """Whether the user may clone from that namespace: CDI asks for either of these rights there.

    Source: https://github.com/kubevirt/containerized-data-importer/blob/main/doc/RBAC.md
    """
    wanted = (
        {"group": "cdi.kubevirt.io", "resource": "datavolumes", "subresource": "source"},
        {"group": "", "resource": "pods"},
    )
    return any(_may(client, {**attributes, "verb": "create", "namespace": namespace}) for attributes in wanted)


def _may(client: Client, attributes: Object) -> bool:
    body = {"apiVersion": REVIEW.api_version, "kind": REVIEW.kind, "spec": {"resourceAttributes": attributes}}
    try:
        # A review is answered, not stored: asking twice is asking once.
        answer = client.create(REVIEW, {**body, "metadata": {}})
    except (Forbidden, NotServed):
        return True
    return bool(at(answer, "status.allowed"))
