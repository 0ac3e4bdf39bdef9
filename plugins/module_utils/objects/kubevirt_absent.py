# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deleting VirtualMachines without losing what their user did not name: the running guest, and the disks.

KubeVirt deletes the DataVolumes that it made for a VM together with it, by their owner references. To keep them, the
VM first gives up its templates, so that its controller does not adopt the volumes again, and then the references go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..cluster.client import Client
from ..cluster.declare import remove
from ..cluster.errors import NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import deleted
from ..cluster.wait import wait
from ..known import known
from ..task import Failure, Result
from .cdi import DATA_VOLUME
from .core import PVC
from .kubevirt import (
    DEVICES,
    SPEC,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    at,
    by_name,
    claims,
    label,
    printable_status,
)
from .kubevirt_power import is_live

# Label of the claim that holds the state of TPM and EFI; KubeVirt finds it again for a VM of the same name.
STATE_LABEL = "persistent-state-for"


@dataclass(frozen=True)
class Removal:
    """How VMs are deleted. C(timeout) is None where nothing is waited for, else in seconds."""

    delete_disks: bool = False
    force: bool = False
    check_mode: bool = False
    diff: bool = False
    timeout: float | None = None
    progress: Callable[[str], None] | None = None


@dataclass
class _Disks:
    """What is behind a VM's disks: objects that it owns, and claims that it only uses."""

    owned: list[tuple[Resource, Object]] = field(default_factory=list)
    used: list[str] = field(default_factory=list)

    @property
    def owned_names(self) -> list[str]:
        return sorted({item["metadata"]["name"] for _resource, item in self.owned})


def absent(client: Client, namespace: str, name: str, live: Object | None, removal: Removal) -> Result:
    """Delete one VM; the task's result for it, with the disks that were kept and deleted. Raises Failure."""
    result: Result = {
        "name": name,
        "namespace": namespace,
        "changed": False,
        "action": "unchanged",
        "disks_kept": [],
        "disks_deleted": [],
    }
    if live is None:
        return result
    disks = _Disks()
    if not at(live, "metadata.deletionTimestamp"):
        if not removal.force:
            _refuse_running(client, live)
        disks = _behind(client, live)
        if removal.delete_disks:
            result.update(disks_deleted=disks.owned_names, disks_kept=disks.used)
        else:
            result["disks_kept"] = sorted({*disks.owned_names, *disks.used})
            if not removal.check_mode:
                # First ask whether the deletion is allowed at all: what follows changes the VM.
                client.delete(VIRTUAL_MACHINE, name, namespace, dry_run=True)
                _keep(client, live, disks)
        outcome = remove(
            client, VIRTUAL_MACHINE, name, namespace, live=live, check_mode=removal.check_mode, propagation="Background"
        )
        result.update(changed=outcome.changed, action=outcome.action)
        if removal.diff:
            result["diff"] = outcome.diff()
        if not removal.delete_disks and not removal.check_mode:
            # Until the guest has stopped the VM is still there, and its controller may have been slow to notice.
            _release(client, live, disks)
    if removal.timeout is not None and not removal.check_mode:
        _await_gone(client, namespace, name, disks.owned if removal.delete_disks else [], removal)
    return result


def _refuse_running(client: Client, vm: Object) -> None:
    metadata = vm["metadata"]
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, metadata["name"], metadata["namespace"])
    if is_live(instance):
        raise Failure(
            f"VirtualMachine {label(vm)} was not deleted: its guest is running (status {printable_status(vm)}). Stop it"
            " with virtstack.core.vm_power and state: stopped, or set force: true to shut it down and delete it."
        )


def _behind(client: Client, vm: Object) -> _Disks:
    """The DataVolumes and claims behind the VM's disks, and the one that keeps its TPM's and EFI's state."""
    namespace, uid = vm["metadata"]["namespace"], vm["metadata"]["uid"]
    found = _Disks()
    for name in dict.fromkeys([*by_name(at(vm, "spec.dataVolumeTemplates")), *claims(vm).values()]):
        mine = [(resource, item) for resource, item in _named(client, name, namespace) if _is_owned(item, uid)]
        found.owned += mine
        if not mine:
            found.used.append(name)
    if at(vm, f"{DEVICES}.tpm.persistent") or at(vm, f"{SPEC}.domain.firmware.bootloader.efi.persistent"):
        selector = f"{STATE_LABEL}={vm['metadata']['name']}"
        states = client.list(PVC, namespace, label_selector=selector).items
        found.owned += [(PVC, item) for item in states if _is_owned(item, uid)]
    return found


def _is_owned(item: Object, uid: str) -> bool:
    return any(reference.get("uid") == uid for reference in item["metadata"].get("ownerReferences") or ())


def _named(client: Client, name: str, namespace: str) -> Iterator[tuple[Resource, Object]]:
    for resource in (DATA_VOLUME, PVC):
        try:
            item = client.get(resource, name, namespace)
        except NotServed:
            continue
        if item is not None:
            yield resource, item


def _keep(client: Client, vm: Object, disks: _Disks) -> None:
    metadata = vm["metadata"]
    if at(vm, "spec.dataVolumeTemplates"):
        client.patch(VIRTUAL_MACHINE, metadata["name"], metadata["namespace"], {"spec": {"dataVolumeTemplates": None}})
    _release(client, vm, disks)


def _release(client: Client, vm: Object, disks: _Disks) -> None:
    """Take the VM out of the owners of its disks."""
    uid, namespace = vm["metadata"]["uid"], vm["metadata"]["namespace"]
    for resource, item in disks.owned:
        name = item["metadata"]["name"]
        now = client.get(resource, name, namespace)
        owners = at(now, "metadata.ownerReferences") or []
        rest = [reference for reference in owners if reference.get("uid") != uid]
        if now is None or len(rest) == len(owners):
            continue
        body = {"metadata": {"ownerReferences": rest or None, "resourceVersion": now["metadata"]["resourceVersion"]}}
        client.patch(resource, name, namespace, body)


def _await_gone(
    client: Client, namespace: str, name: str, disks: list[tuple[Resource, Object]], removal: Removal
) -> None:
    deadline = time.monotonic() + known(removal.timeout)
    targets = [(VIRTUAL_MACHINE, name), *((resource, item["metadata"]["name"]) for resource, item in disks)]
    for resource, target in targets:
        remaining = max(0.0, deadline - time.monotonic())
        wait(client, resource, target, namespace, deleted, timeout=remaining, progress=removal.progress)
