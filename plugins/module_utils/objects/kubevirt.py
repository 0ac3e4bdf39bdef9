# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""KubeVirt's virtual machines: where they are served, their named lists, and the states they pass through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..cluster.resource import Object, Resource

GROUP = "kubevirt.io"
HINT = "KubeVirt is not installed on this cluster; install it with virtstack.core.operator"

SPEC = "spec.template.spec"
DEVICES = f"{SPEC}.domain.devices"

# The API declares these lists atomic; each of their items has a name all the same.
LIST_KEYS: Mapping[str, str] = {
    f"{SPEC}.volumes": "name",
    f"{SPEC}.networks": "name",
    f"{DEVICES}.disks": "name",
    f"{DEVICES}.interfaces": "name",
    f"{DEVICES}.filesystems": "name",
    f"{DEVICES}.gpus": "name",
    f"{DEVICES}.hostDevices": "name",
    f"{DEVICES}.inputs": "name",
    f"{SPEC}.domain.cpu.features": "name",
}

# Of these, an item has one.
DISK_DEVICES = ("disk", "cdrom", "lun")
BINDINGS = ("masquerade", "bridge", "sriov")
ONE_OF: Mapping[str, frozenset[str]] = {
    f"{SPEC}.volumes": frozenset(
        {
            "cloudInitConfigDrive",
            "cloudInitNoCloud",
            "configMap",
            "containerDisk",
            "containerPath",
            "dataVolume",
            "downwardAPI",
            "downwardMetrics",
            "emptyDisk",
            "ephemeral",
            "hostDisk",
            "memoryDump",
            "persistentVolumeClaim",
            "secret",
            "serviceAccount",
            "sysprep",
        }
    ),
    f"{SPEC}.networks": frozenset({"pod", "multus"}),
    f"{DEVICES}.disks": frozenset(DISK_DEVICES),
    f"{DEVICES}.interfaces": frozenset({*BINDINGS, "binding", "macvtap", "passt", "passtBinding", "slirp"}),
}

VIRTUAL_MACHINE = Resource(
    GROUP, "v1", "virtualmachines", "VirtualMachine", list_keys=LIST_KEYS, one_of=ONE_OF, hint=HINT
)
VIRTUAL_MACHINE_INSTANCE = Resource(GROUP, "v1", "virtualmachineinstances", "VirtualMachineInstance", hint=HINT)

_TYPES = f"instancetype.{GROUP}"
VIRTUAL_MACHINE_INSTANCETYPE = Resource(
    _TYPES, "v1beta1", "virtualmachineinstancetypes", "VirtualMachineInstancetype", hint=HINT
)
VIRTUAL_MACHINE_CLUSTER_INSTANCETYPE = Resource(
    _TYPES,
    "v1beta1",
    "virtualmachineclusterinstancetypes",
    "VirtualMachineClusterInstancetype",
    namespaced=False,
    hint=HINT,
)

# The actions: PUT on a subresource of a group of their own.
_ACTIONS = f"subresources.{GROUP}"
MACHINE_ACTIONS = Resource(_ACTIONS, "v1", "virtualmachines", "VirtualMachine", hint=HINT)
INSTANCE_ACTIONS = Resource(_ACTIONS, "v1", "virtualmachineinstances", "VirtualMachineInstance", hint=HINT)

ALWAYS, RERUN_ON_FAILURE, MANUAL, HALTED, ONCE = "Always", "RerunOnFailure", "Manual", "Halted", "Once"
RUN_STRATEGIES = (ALWAYS, RERUN_ON_FAILURE, MANUAL, HALTED, ONCE)

# PrintableStatus of VMs that have an instance, or are about to have one.
ACTIVE_STATUSES = frozenset(
    {"Starting", "Running", "Paused", "Stopping", "Terminating", "Migrating", "WaitingForReceiver", "CrashLoopBackOff"}
)
# Phases of an instance that is over; its object stays for a moment.
FINAL_PHASES = frozenset({"Succeeded", "Failed"})


def conditions(found: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The conditions of an object, by type."""
    status = (found or {}).get("status") or {}
    return {item["type"]: item for item in status.get("conditions") or ()}


def holds(found: Mapping[str, Any] | None, condition: str) -> bool:
    """Whether a condition is true."""
    return conditions(found).get(condition, {}).get("status") == "True"


def run_strategy(vm: Object) -> str:
    """How the VM runs, also where the deprecated C(spec.running) says so."""
    spec = vm.get("spec") or {}
    if spec.get("runStrategy"):
        return str(spec["runStrategy"])
    return ALWAYS if spec.get("running") else HALTED


def printable_status(vm: Object) -> str:
    """What C(kubectl get vm) shows; empty before the controller has seen the VM."""
    return str((vm.get("status") or {}).get("printableStatus") or "")


def is_active(vm: Object) -> bool:
    """Whether the VM has an instance: a guest that runs, is paused, starts or stops."""
    status = vm.get("status") or {}
    return bool(status.get("created")) or printable_status(vm) in ACTIVE_STATUSES


def at(found: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path of mappings, C(default) where it ends early."""
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def by_name(items: Iterable[Object] | None) -> dict[str, Object]:
    """Items of a list by their name, or by the name in their metadata."""
    return {item.get("name") or item["metadata"]["name"]: item for item in items or ()}


def label(found: Object) -> str:
    """namespace/name, as messages name an object."""
    metadata = found["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}".lstrip("/")


def claims(vm: Object) -> dict[str, str]:
    """Volume name -> name of the claim behind it. A DataVolume and its claim have the same name."""
    found = {}
    for volume in at(vm, f"{SPEC}.volumes") or ():
        name = at(volume, "dataVolume.name") or at(volume, "persistentVolumeClaim.claimName")
        if name:
            found[volume["name"]] = str(name)
    return found
