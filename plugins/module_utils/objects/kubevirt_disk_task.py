# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_disk): one disk of a machine, plugged into its running guest or out of it, its data kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError, NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Progress, Verdict, deleted
from ..cluster.wait import Related, wait
from ..known import known
from ..machine import quantity
from ..machine.description import Machine
from ..machine.disks import Disk, read_disk
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from . import kubevirt_plug as plug
from . import kubevirt_status as status
from .cdi import DATA_VOLUME
from .claim_users import refuse_taken, users
from .core import POD, PVC, STORAGE_CLASS
from .kubevirt import (
    INSTANCE_ACTIONS,
    MACHINE_ACTIONS,
    VIRTUAL_MACHINE,
    VIRTUAL_MACHINE_INSTANCE,
    at,
    by_name,
    claims,
    label,
)
from .kubevirt_disks import data_volume_spec, disk_entry
from .kubevirt_options import Declaration
from .kubevirt_power import machine_trouble
from .kubevirt_present import present
from .plugging import machine_of, policy_of

SOURCE_OPTIONS = (
    "boot_source",
    "blank",
    "http",
    "registry",
    "clone_pvc",
    "clone_snapshot",
    "pvc",
    "data_volume",
    "container_disk",
)
DISK_OPTION_NAMES = (
    *SOURCE_OPTIONS,
    "size",
    "storage_class",
    "access_modes",
    "volume_mode",
    "preallocation",
    "device",
    "bus",
    "boot_order",
    "readonly",
    "serial",
    "shareable",
    "cache",
    "io",
    "error_policy",
    "dedicated_io_thread",
)

# Parts of virt-api's refusals, and what they mean.
MEANINGS: Mapping[str, str] = {
    "is owned by a VM": (
        "this version of KubeVirt plugs volumes into the machine only, not into its instance alone. Leave out persist,"
        " or enable the feature gate HotplugVolumes"
    ),
    "feature gate to use this API": "hot plug of volumes is not enabled in KubeVirt",
    "because it already exists": "another disk of the machine uses this volume",
    "migration is in progress": "its guest is migrating; try again when that is over",
    "VMI is not running": "its guest is not running",
}


def manage_disk(client: Client, task: Task) -> Result:
    """Run a task of C(vm_disk). Raises Failure."""
    try:
        disk = _read(task.params)
        job = _Job(client, task, *machine_of(client, task.params), disk)
        return job.absent() if disk.absent else job.present()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


def _read(params: Mapping[str, Any]) -> Disk:
    """The disk that the options describe. One that exists may be given a size without a source."""
    options = {option: params[option] for option in ("name", "state", *DISK_OPTION_NAMES)}
    if any(options[option] not in (None, False) for option in SOURCE_OPTIONS) or options["size"] is None:
        return read_disk(options)
    size = quantity.size(options["size"], f"disk {options['name']}: size")
    return replace(read_disk({**options, "size": None}), size=size)


class _Job:
    """One disk of one machine."""

    def __init__(self, client: Client, task: Task, vm: Object, instance: Object | None, disk: Disk) -> None:
        self.client, self.task, self.vm, self.instance, self.disk = client, task, vm, instance, disk
        self.name: str = vm["metadata"]["name"]
        self.namespace: str = vm["metadata"]["namespace"]
        params = task.params
        waits = params["wait"] and not task.check_mode
        self.deadline = time.monotonic() + params["wait_timeout"] if waits else None
        self.in_machine = plug.volumes_of(vm)
        self.in_guest = plug.volumes_of(instance)
        self.result: Result = {
            "changed": False,
            "action": "none",
            "vm": self.name,
            "namespace": self.namespace,
            "name": disk.name,
            "volume": plug.claim_of(self.in_machine.get(disk.name) or self.in_guest.get(disk.name)),
            "running": instance is not None,
            "target": None,
            "restart_required": False,
            "restart_reasons": [],
            "restarted": False,
            "volume_created": False,
            "volume_deleted": False,
        }
        self._before = self._shown(disk.name)

    def _shown(self, name: str) -> Object:
        volume = self.in_machine.get(name) or self.in_guest.get(name)
        disk = plug.disks_of(self.vm).get(name) or plug.disks_of(self.instance).get(name)
        return {"disk": disk, "volume": volume}

    def _done(self, after: Object | None = None) -> Result:
        if self.task.diff:
            self.result["diff"] = {"before": self._before, "after": self._before if after is None else after}
        return self.result

    # Present

    def present(self) -> Result:
        """The disk is there."""
        name, persist = self.disk.name, self.task.params["persist"]
        asked = plug.requested(self.vm, "add").get(name)
        there = self.in_machine.get(name) or ({"name": name, **asked["volumeSource"]} if asked else None)
        if there is None and not persist:
            there = self.in_guest.get(name)
        if there is not None:
            return self._kept(there)
        if self.disk.source is None:
            raise Failure(f"disk {name}: has no source; add one of {', '.join(SOURCE_OPTIONS)}.")
        cold = plug.cold_reason(self.disk)
        if cold is None:
            return self._plugged()
        if not persist:
            raise Failure(f"Cannot plug disk {name} into the running guest of {label(self.vm)}: {cold}.")
        return self._declared(self.disk)

    def _kept(self, volume: Object) -> Result:
        """The disk that is there, with what is declared of it."""
        name, claim = self.disk.name, plug.claim_of(volume)
        self._check_source(volume, claim)
        live = plug.disks_of(self.vm).get(name) or plug.disks_of(self.instance).get(name) or {"name": name, "disk": {}}
        wanted = disk_entry(self.disk, live, True)
        expanded = self._expand(claim)
        if plug.differs(wanted, live) and name in self.in_machine:
            self._declared(replace(self.disk, source=None, origin={}, size=None))
        elif self._waits_for_restart():
            why = [f"the disk {name} becomes what it is declared at the next start of the guest"]
            self.result.update(restart_required=True, restart_reasons=why)
        if expanded:
            self.result.update(changed=True, action="updated")
        self._await_plugged(claim, volume)
        return self._done(self._shown(name) if self.result["changed"] else None)

    def _refuse_taken(self, claim: str) -> None:
        """Raises Failure where a running machine has the claim as its disk."""
        disk = self.disk
        if disk.shareable or disk.readonly or disk.device == "cdrom":
            return
        using = users(self.client, self.namespace, pods=False)
        warning = refuse_taken(using, self.vm, disk.name, claim, runs=True)
        if warning:
            self.task.warn(warning)

    def _waits_for_restart(self) -> bool:
        """Whether the running guest has another disk of this name than its machine, or none that could be plugged."""
        name = self.disk.name
        if self.instance is None or name not in self.in_machine:
            return False
        running = plug.disks_of(self.instance).get(name)
        if running is None:
            return not plug.hotpluggable(self.in_machine[name])
        return plug.differs(plug.disks_of(self.vm).get(name), running)

    def _check_source(self, volume: Object, claim: str | None) -> None:
        option = self.disk.source.option if self.disk.source else None
        if option not in plug.HOT_SOURCES:
            return
        wanted = self.disk.origin["name"]
        if claim != wanted:
            uses = claim or next((key for key in volume if key != "name"), "nothing")
            raise Failure(
                f"The disk {self.disk.name} of {label(self.vm)} uses {uses}, not {wanted}. Detach it first with"
                " state: absent, or give the new disk another name."
            )

    def _expand(self, claim: str | None) -> bool:
        """Raise a claim to the size declared. Raises Refused where it would shrink."""
        if claim is None or self.disk.size is None:
            return False
        found = self.client.get(PVC, claim, self.namespace)
        present_size = at(found, "spec.resources.requests.storage")
        if found is None or present_size is None:
            return False
        if quantity.amount(present_size) > quantity.amount(self.disk.size):
            raise Refused(
                f"disk {self.disk.name}: size: {self.disk.size} is less than the {present_size} it has; disks do not"
                " shrink. Make a smaller disk beside it and copy the data"
            )
        if quantity.amount(present_size) == quantity.amount(self.disk.size):
            return False
        body = {"spec": {"resources": {"requests": {"storage": self.disk.size}}}}
        self.client.patch(PVC, claim, self.namespace, body, dry_run=self.task.check_mode)
        return True

    def _plugged(self) -> Result:
        """Plug a new disk in: its volume is made, or looked for, and the machine or its instance told of it."""
        disk, params = self.disk, self.task.params
        if not params["persist"] and self.instance is None:
            raise Failure(
                f"Cannot plug disk {disk.name} into the guest of {label(self.vm)}: it is not running. Start it, or"
                " leave out persist."
            )
        source = known(disk.source)
        claim = f"{self.name}-{disk.name}" if source.creates == "volume" else disk.origin["name"]
        made = source.creates == "volume" and not self._volume_is_there(claim)
        if source.creates != "volume" and not self._volume_is_there(claim):
            kind = DATA_VOLUME.kind if source.option == "data_volume" else PVC.kind
            raise Failure(
                f"Cannot plug disk {disk.name} into {label(self.vm)}: there is no {kind} {self.namespace}/{claim}."
            )
        if not made:
            self._refuse_taken(claim)
        body = self._request(claim)
        self._call("addvolume", body, dry_run=True)
        if made:
            self._make(claim)
        elif source.creates == "volume":
            self.task.warn(
                f"disk {disk.name}: the volume {claim} was there already and is used as it is; its content stays."
            )
        if not self.task.check_mode:
            self._call("addvolume", body, dry_run=False)
        self.result.update(changed=True, action="plugged", volume=claim, volume_created=made)
        volume = {"name": disk.name, **body["volumeSource"]}
        self._await_plugged(claim, volume)
        return self._done({"disk": body["disk"], "volume": volume})

    def _volume_is_there(self, claim: str) -> bool:
        for resource in (PVC, DATA_VOLUME):
            try:
                if self.client.get(resource, claim, self.namespace) is not None:
                    return True
            except NotServed:
                continue
        return False

    def _request(self, claim: str) -> Object:
        """What addvolume takes. The guest finds the disk by its serial number, which is its name unless another is
        given."""
        disk = self.disk
        device = disk.device or "disk"
        entry = disk_entry(
            replace(disk, bus=disk.bus or "scsi", device=device, serial=disk.serial or disk.name), None, True
        )
        is_claim = known(disk.source).option == "pvc"
        source = {"persistentVolumeClaim": {"claimName": claim}} if is_claim else {"dataVolume": {"name": claim}}
        for value in source.values():
            value["hotpluggable"] = True  # type: ignore[assignment]
        return {"name": disk.name, "disk": entry, "volumeSource": source}

    def _make(self, claim: str) -> None:
        """Make the DataVolume of a new disk. It belongs to nobody, so that it outlives the machine."""
        storage_class = self.disk.storage_class
        if storage_class is not None and self._lacks_class(storage_class):
            there = sorted(item["metadata"]["name"] for item in self.client.list(STORAGE_CLASS).items)
            raise Failure(f"There is no storage class {storage_class}. The cluster has: {', '.join(there) or 'none'}.")
        body = {
            "apiVersion": DATA_VOLUME.api_version,
            "kind": DATA_VOLUME.kind,
            "metadata": {"name": claim, "namespace": self.namespace},
            "spec": data_volume_spec(self.disk, self.namespace),
        }
        self.client.create(DATA_VOLUME, body, dry_run=self.task.check_mode)

    def _lacks_class(self, name: str) -> bool:
        try:
            return self.client.get(STORAGE_CLASS, name) is None
        except ClusterError:
            # Who may not look them up may still use them.
            return False

    def _call(self, subresource: str, body: Object, *, dry_run: bool, of_instance: bool | None = None) -> None:
        alone = not self.task.params["persist"] if of_instance is None else of_instance
        resource = INSTANCE_ACTIONS if alone else MACHINE_ACTIONS
        given = {**body, **({"dryRun": ["All"]} if dry_run else {})}
        try:
            self.client.call(resource, self.name, self.namespace, subresource, given, dry_run=dry_run)
        except ClusterError as error:
            text = error.server_message or error.message
            meaning = next((why for words, why in MEANINGS.items() if words in text), None)
            if meaning is None or isinstance(error, NotServed):
                raise
            verb = "plug" if subresource == "addvolume" else "unplug"
            raise Failure(
                f"Cannot {verb} disk {self.disk.name} of {label(self.vm)}: {meaning}. The server said: {text}"
            ) from error

    def _declared(self, disk: Disk) -> Result:
        """Write what hot plug cannot do into the machine, for its next start."""
        declaration = Declaration(self.name, self.namespace, Machine(disks=(disk,)))
        told, after = present(self.client, declaration, self.vm, policy_of(self.task))
        for note in told["notes"]:
            self.task.warn(note)
        self.vm = after or self.vm
        self.in_machine = plug.volumes_of(self.vm)
        taken = ("restart_required", "restart_reasons", "restarted")
        self.result.update({key: told[key] for key in taken})
        action = "detached" if disk.absent else "attached" if self._before["disk"] is None else "updated"
        if told["changed"]:
            self.result.update(changed=True, action=action)
        self.result["volume"] = self.result["volume"] or plug.claim_of(self.in_machine.get(disk.name))
        return self._done(self._shown(disk.name))

    # Waiting

    def _remaining(self) -> float:
        return max(0.0, (self.deadline or 0.0) - time.monotonic())

    def _wait(self, resource: Resource, name: str, check: Check, related: tuple[Related, ...] = ()) -> Object | None:
        try:
            return wait(
                self.client,
                resource,
                name,
                self.namespace,
                check,
                timeout=self._remaining(),
                progress=self.task.progress,
                related=related,
            )
        except ClusterError as error:
            raise Failure(error.message, **self.result) from error

    def _await_plugged(self, claim: str | None, volume: Object) -> None:
        """Wait until the guest has the disk; without a guest, until the volume has its content or waits for one."""
        name = self.disk.name
        if self.instance is not None:
            shown = by_name(at(self.instance, "status.volumeStatus")).get(name) or {}
            self.result["target"] = shown.get("target") or None
        if self.deadline is None or claim is None or not plug.hotpluggable(volume):
            return
        filling = Related(DATA_VOLUME, _filling(name), self.namespace, claim)
        if self.instance is None:
            if self.result["volume_created"]:
                self._wait(DATA_VOLUME, claim, status.volume_check(name))
            return
        # A guest that has not started yet may never do.
        is_up = plug.is_up(self.instance)
        machine = () if is_up else (Related(VIRTUAL_MACHINE, machine_trouble, self.namespace, self.name),)
        pods = Related(POD, plug.attachment(claim), self.namespace, label_selector="kubevirt.io=hotplug-disk")
        uid = self.instance["metadata"]["uid"]
        try:
            now = self._wait(VIRTUAL_MACHINE_INSTANCE, self.name, plug.plugged(name, uid), (filling, pods, *machine))
        except Failure as failure:
            if not self.result["volume_created"] or not self.task.params["persist"]:
                raise
            raise Failure(
                f"{failure.message} The machine has the disk, and may not start again before its volume is filled: mend"
                f" the source, or take the disk out with state: absent and delete_volume: {claim}.",
                **failure.result,
            ) from failure
        shown = by_name(at(now, "status.volumeStatus")).get(name) or {}
        self.result["target"] = shown.get("target") or None

    # Absent

    def absent(self) -> Result:
        """The disk is gone from the machine and its guest; its volume is deleted only if that is named."""
        name = self.disk.name
        in_machine, in_guest = self.in_machine.get(name), self.in_guest.get(name)
        if not self.task.params["persist"] and in_machine is not None:
            raise Failure(
                f"The disk {name} is a disk of the machine {label(self.vm)}, not only of its guest. Leave out persist"
                " to take it away from both."
            )
        if plug.boots_from(self.vm) == name and not self.task.params["force"]:
            raise Failure(
                f"The disk {name} of {label(self.vm)} was not taken away: the machine boots from it, and would not"
                " start any more. Give another disk the first boot_order, or set force: true."
            )
        claim = plug.claim_of(in_machine or in_guest)
        self._check_deletion(claim)
        leaving = name in plug.requested(self.vm, "remove")
        is_starting = self.instance is not None and not plug.is_up(self.instance)
        if in_machine is not None and not leaving:
            # KubeVirt unplugs from a guest that runs; one that may never start is not asked.
            if plug.hotpluggable(in_machine) and not is_starting:
                self._unplug(of_instance=False)
            else:
                self._declared(self.disk)
        elif name in plug.disks_of(self.vm) and not leaving:
            # An empty drive has no volume.
            self._declared(self.disk)
        elif in_guest is not None and plug.hotpluggable(in_guest) and not leaving and plug.is_up(self.instance):
            self._unplug(of_instance=True)
        if is_starting and in_guest is not None:
            phase = at(self.instance, "status.phase") or "Pending"
            told = (
                f"the guest, which has not started yet ({phase}), has the disk {name} until it runs or is started anew"
            )
            self.result.update(restart_required=True, restart_reasons=[told])
        elif self.deadline is not None and self.instance is not None and not self.result["restart_required"]:
            self._wait(VIRTUAL_MACHINE_INSTANCE, self.name, plug.unplugged(name))
        self._delete_volume(claim)
        return self._done({"disk": None, "volume": None} if self.result["changed"] else None)

    def _unplug(self, *, of_instance: bool) -> None:
        self._call("removevolume", {"name": self.disk.name}, dry_run=self.task.check_mode, of_instance=of_instance)
        self.result.update(changed=True, action="unplugged")

    def _check_deletion(self, claim: str | None) -> None:
        """Refuse to delete a volume that is another than the disk's, or in use, before anything is changed."""
        wanted = self.task.params["delete_volume"]
        if wanted is None:
            return
        if claim is not None and claim != wanted:
            raise Failure(
                f"delete_volume: the disk {self.disk.name} of {label(self.vm)} uses the volume {claim}, not {wanted}."
                " Nothing was changed."
            )
        volume = self.in_machine.get(self.disk.name) or self.in_guest.get(self.disk.name)
        if self.instance is not None and volume is not None:
            if not plug.is_up(self.instance):
                raise Failure(
                    f"delete_volume: the guest of {label(self.vm)}, which has not started yet, uses {wanted}. Stop it"
                    " first."
                )
            if not plug.hotpluggable(volume):
                raise Failure(
                    f"delete_volume: the guest of {label(self.vm)} uses {wanted} until it is stopped, as the disk is"
                    " not hot-plugged. Stop it first."
                )
            if not self.task.params["wait"]:
                raise Failure("delete_volume: set wait: true, as the guest has to let the disk go before.")
        for user in self._users(wanted):
            if user["metadata"]["name"] != self.name:
                raise Failure(f"delete_volume: {wanted} is used by {user['kind']} {label(user)} as well.")
        if claim is None and any(user["metadata"]["name"] == self.name for user in self._users(wanted)):
            raise Failure(f"delete_volume: {wanted} is the volume of another disk of {label(self.vm)}.")

    def _users(self, claim: str) -> list[Object]:
        machines = self.client.list(VIRTUAL_MACHINE, self.namespace).items
        instances = self.client.list(VIRTUAL_MACHINE_INSTANCE, self.namespace).items
        used = [vm for vm in machines if claim in claims(vm).values()]
        used += [item for item in instances if claim in map(plug.claim_of, at(item, "spec.volumes") or ())]
        return used

    def _delete_volume(self, claim: str | None) -> None:
        wanted = self.task.params["delete_volume"]
        if wanted is None:
            return
        for resource in (DATA_VOLUME, PVC):
            try:
                found = self.client.get(resource, wanted, self.namespace)
            except NotServed:
                continue
            if found is None or at(found, "metadata.deletionTimestamp"):
                continue
            uid = found["metadata"]["uid"]
            self.client.delete(resource, wanted, self.namespace, dry_run=self.task.check_mode, uid=uid)
            self.result.update(changed=True, volume_deleted=True)
            if self.result["action"] == "none":
                self.result["action"] = "deleted"
            if self.deadline is not None:
                self._wait(resource, wanted, deleted)


def _filling(disk: str) -> Check:
    check = status.volume_check(disk)

    def checked(volume: Object | None) -> Verdict:
        # A DataVolume may have been collected after it was filled, and a claim has none.
        return Progress() if volume is None else check(volume)

    return checked
