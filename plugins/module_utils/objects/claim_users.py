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
from ..task import Failure
from .core import POD
from .kubevirt import ALWAYS, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, by_name, claims, label, run_strategy
from .kubevirt_power import is_live

REVIEW = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False)
# Pods of CDI and KubeVirt that come and go with the claim or the machine.
_HANDLERS = ("app=containerized-data-importer", "kubevirt.io=virt-launcher", "kubevirt.io=hotplug-disk")


@dataclass
class Users:
    """The users of the claims of a namespace, by claim. Those of C(due) are stopped as yet, and about to start."""

    running: dict[str, list[str]] = field(default_factory=dict)
    due: dict[str, list[str]] = field(default_factory=dict)
    stopped: dict[str, list[str]] = field(default_factory=dict)
    pods: dict[str, list[str]] = field(default_factory=dict)


def users(client: Client, namespace: str, *, pods: bool = True) -> Users:
    """Read who uses claims, C(pods) among them; what may not be read tells nothing."""
    found = Users()
    instances = by_name(_listed(client, VIRTUAL_MACHINE_INSTANCE, namespace))
    for instance in instances.values():
        if is_live(instance):
            _note(found.running, instance["metadata"]["name"], _instance_claims(instance))
    for vm in _listed(client, VIRTUAL_MACHINE, namespace):
        name = vm["metadata"]["name"]
        where = found.running if is_live(instances.get(name)) else found.stopped
        _note(where, name, claims(vm).values())
        # One that is being deleted is not started any more.
        if where is found.stopped and run_strategy(vm) == ALWAYS and not at(vm, "metadata.deletionTimestamp"):
            _note(found.due, name, claims(vm).values())
    for pod in _listed(client, POD, namespace) if pods else ():
        labels = pod["metadata"].get("labels") or {}
        handled = any(labels.get(key) == value for key, value in (item.split("=") for item in _HANDLERS))
        if handled or at(pod, "status.phase") in ("Succeeded", "Failed"):
            continue
        volumes = at(pod, "spec.volumes") or ()
        mounted = [at(volume, "persistentVolumeClaim.claimName") for volume in volumes]
        _note(found.pods, pod["metadata"]["name"], [name for name in mounted if name])
    return found


def is_for_several(disk: Object) -> bool:
    """Whether a disk of a machine may be one of another that runs: one that is made for it, or only read.

    Guests share a LUN by SCSI's persistent reservations, as clusters of Windows do, without its being shareable.
    """
    is_read = "cdrom" in disk or any(at(disk, f"{way}.readonly") for way in ("disk", "lun"))
    return bool(disk.get("shareable") or at(disk, "lun.reservation") or is_read)


def refuse_taken(using: Users, machine: Object, disk: str, claim: str, *, runs: bool) -> str | None:
    """What to warn of where a claim is the disk of another machine as well.

    Raises Failure where both would run: two guests that write to one disk and do not know of each other destroy what is
    on it. That a claim can be mounted on several nodes (ReadWriteMany), as live migration wants it, is no leave for it.
    """
    metadata = machine["metadata"]
    active, stopped = (
        [
            f"VirtualMachine {metadata['namespace']}/{user}"
            for user in dict.fromkeys(name for part in parts for name in part.get(claim, ()))
            if user != metadata["name"]
        ]
        for parts in ((using.running, using.due), (using.stopped,))
    )
    if active and runs:
        raise Failure(
            f"The disk {disk} of {label(machine)} was refused, and nothing was changed: {claim} is the disk of"
            f" {', '.join(active)}, which runs, and two guests that write to one disk destroy what is on it. Stop that"
            " machine, set readonly: true, or set shareable: true if the guests are made for it (a cluster file system,"
            " say)."
        )
    others = [user for user in [*active, *stopped] if user]
    if not others:
        return None
    return (
        f"disk {disk}: {claim} is a disk of {', '.join(dict.fromkeys(others))} as well. Do not run both at once, unless"
        " their guests are made for a shared disk."
    )


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
