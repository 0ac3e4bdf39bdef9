# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_clone): copies of a VM or of its snapshot, as VirtualMachineClones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import read_many
from ..cluster.resource import Object
from ..machine.names import mac_address
from ..task import Failure, Result, Task
from .kubevirt import VIRTUAL_MACHINE, at
from .lifecycle import Group, Made, carry_out, discard, make
from .snapshots import CLONE, CLONES, GROUP, SNAPSHOT, SNAPSHOTS, excluded_disks, machine, manifest


def clone_vm(client: Client, task: Task) -> Result:
    """Run a task of C(vm_clone). Raises Failure before anything is made where a clone could not be."""
    params = task.params
    targets = [params["target"]] if params["target"] else list(params["targets"] or ())
    _refuse_targets(params, targets)
    by_name = {_name(params, target): target for target in targets}
    namespace = params["namespace"]
    if params["state"] == "absent":
        return discard(client, task, Group(CLONES, namespace, list(by_name), _never, tell, "clones"))
    live = read_many(client, CLONE, [(namespace, name) for name in by_name])
    missing = [
        target for name, target in by_name.items() if (namespace, name) not in live or _failed(live[namespace, name])
    ]
    taken = read_many(client, VIRTUAL_MACHINE, [(namespace, target) for target in missing]) if missing else {}
    if missing:
        _refuse_source(client, task)

    def one(name: str, found: Object | None) -> Made:
        target = by_name[name]
        if (namespace, target) in taken:
            raise Failure(
                f"VirtualMachine {namespace}/{target} exists already, and no clone {name} made it. Choose another"
                " target, or delete the machine first."
            )
        return make(client, CLONES, manifest(CLONE, name, params, spec(params, target)), found, task), {}

    group = Group(CLONES, namespace, list(by_name), one, tell, "clones", live=live)
    return carry_out(client, task, group)


def _never(name: str, found: Object | None) -> Made:
    raise AssertionError(f"{name} is only to be deleted, not made: {found is not None}")


def _failed(found: Object) -> bool:
    return CLONES.has_failed(found)


def _name(params: Any, target: str) -> str:
    return str(params["name"] or f"clone-{target}")


def _refuse_targets(params: Any, targets: list[str]) -> None:
    if len(set(targets)) < len(targets):
        raise Failure("targets: names a machine twice.")
    if params["vm"] in targets:
        raise Failure(f"target: {params['vm']} is the machine that is cloned; choose another name.")
    if len(targets) > 1:
        for option in ("name", "new_mac_addresses", "new_smbios_serial"):
            if params[option]:
                raise Failure(f"{option}: is for one target; several machines cannot share it.")


def _refuse_source(client: Client, task: Task) -> None:
    """Raises Failure where the source is not there, or would be cloned in part."""
    params = task.params
    namespace = params["namespace"]
    if params["snapshot"]:
        found = client.get(SNAPSHOT, params["snapshot"], namespace)
        if found is not None and SNAPSHOTS.has_failed(found):
            raise Failure(f"The snapshot {namespace}/{params['snapshot']} failed: {SNAPSHOTS.words(found)}.")
        what, name = "VirtualMachineSnapshot", params["snapshot"]
    else:
        found = client.get(VIRTUAL_MACHINE, params["vm"], namespace)
        excluded = excluded_disks(found) if found else {}
        if excluded:
            told = "; ".join(f"{disk}: {reason}" for disk, reason in sorted(excluded.items()))
            raise Failure(
                f"VirtualMachine {namespace}/{params['vm']} cannot be cloned: KubeVirt clones through a snapshot, and"
                f" its storage does not take one of {told}. Clone the disks with virtstack.core.data_volume instead."
            )
        what, name = "VirtualMachine", params["vm"]
    if found is None:
        text = f"There is no {what} {namespace}/{name}"
        if not task.check_mode:
            raise Failure(f"{text}. Check {'snapshot' if params['snapshot'] else 'vm'} and namespace.")
        task.warn(f"{text} yet: whether it can be cloned could not be checked.")


def spec(params: Mapping[str, Any], target: str) -> Object:
    """The clone that is declared. Raises Refused for a MAC address that is none."""
    source = (
        {"apiGroup": GROUP, "kind": SNAPSHOT.kind, "name": params["snapshot"]}
        if params["snapshot"]
        else machine(params["vm"])
    )
    found: Object = {"source": source, "target": machine(target)}
    for option, field in (
        ("label_filters", "labelFilters"),
        ("annotation_filters", "annotationFilters"),
        ("new_smbios_serial", "newSMBiosSerial"),
        ("volume_name_policy", "volumeNamePolicy"),
        ("patches", "patches"),
    ):
        if params[option] is not None:
            found[field] = params[option]
    template = {
        field: params[option]
        for option, field in (
            ("template_label_filters", "labelFilters"),
            ("template_annotation_filters", "annotationFilters"),
        )
        if params[option] is not None
    }
    if template:
        found["template"] = template
    if params["new_mac_addresses"]:
        found["newMacAddresses"] = {
            name: mac_address(address, f"new_mac_addresses.{name}")
            for name, address in params["new_mac_addresses"].items()
        }
    return found


def tell(found: Object | None) -> Result:
    """What a task says of a clone."""
    return {
        "source": at(found, "spec.source.name"),
        "source_kind": at(found, "spec.source.kind"),
        "target": at(found, "status.targetName") or at(found, "spec.target.name"),
        "phase": at(found, "status.phase"),
        "creation_time": at(found, "status.creationTime"),
    }
