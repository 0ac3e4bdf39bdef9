# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What C(vm_info) tells of a VM: the VM, its instance, and the volumes behind its disks, merged. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..cluster.resource import Object
from . import cdi
from .kubevirt import DEVICES, DISK_DEVICES, SPEC, at, by_name, claims, conditions, printable_status, run_strategy
from .kubevirt_restart import CONDITION

Key = tuple[str, str]


@dataclass(frozen=True)
class Surroundings:
    """Objects beside VMs, by (namespace, name)."""

    instances: Mapping[Key, Object] = field(default_factory=dict)
    data_volumes: Mapping[Key, Object] = field(default_factory=dict)
    claims: Mapping[Key, Object] = field(default_factory=dict)


def by_key(items: Sequence[Object]) -> dict[Key, Object]:
    """Objects by (namespace, name)."""
    return {(item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in items}


def facts(vm: Object, around: Surroundings) -> dict[str, Any]:
    """The facts of one VM. Values that nobody knows yet are None, lists empty."""
    metadata = vm["metadata"]
    key = (metadata.get("namespace", ""), metadata["name"])
    instance = around.instances.get(key)
    status = (instance or {}).get("status") or {}
    known = conditions(vm)
    return {
        "name": key[1],
        "namespace": key[0],
        "uid": metadata.get("uid"),
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
        "created": metadata.get("creationTimestamp"),
        "status": printable_status(vm) or None,
        "ready": bool(at(vm, "status.ready", False)),
        "run_strategy": run_strategy(vm),
        "instancetype": at(vm, "spec.instancetype.name"),
        "preference": at(vm, "spec.preference.name"),
        "cpu": _cpu(vm, instance),
        "memory": _memory(vm, instance),
        "node": status.get("nodeName"),
        "phase": status.get("phase"),
        "instance_uid": at(instance, "metadata.uid"),
        "paused": "Paused" in conditions(instance),
        "restart_required": known.get(CONDITION, {}).get("status") == "True",
        "conditions": [_condition(item) for item in known.values()],
        "instance_conditions": [_condition(item) for item in conditions(instance).values()],
        "addresses": _addresses(status),
        "interfaces": _interfaces(vm, status),
        "disks": _disks(vm, instance, around),
        "guest": _guest(instance),
    }


def _condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {part: condition.get(part) for part in ("type", "status", "reason", "message")}


def _cpu(vm: Object, instance: Object | None) -> dict[str, Any]:
    topology = (
        at(instance, "status.currentCPUTopology") or at(instance, "spec.domain.cpu") or at(vm, f"{SPEC}.domain.cpu")
    )
    counts = {part: (topology or {}).get(part) for part in ("cores", "sockets", "threads")}
    known = any(counts.values())
    total = (counts["cores"] or 1) * (counts["sockets"] or 1) * (counts["threads"] or 1)
    return {**counts, "count": total if known else None}


def _memory(vm: Object, instance: Object | None) -> str | None:
    for found, path in (
        (instance, "status.memory.guestCurrent"),
        (instance, "spec.domain.memory.guest"),
        (vm, f"{SPEC}.domain.memory.guest"),
    ):
        value = at(found, path)
        if value is not None:
            return str(value)
    return None


def _addresses(status: Mapping[str, Any]) -> list[str]:
    """Every address of the guest, that of the first interface first, without link-local ones."""
    found = []
    for interface in status.get("interfaces") or ():
        found += [interface["ipAddress"]] if interface.get("ipAddress") else []
        found += interface.get("ipAddresses") or []
    return [address for address in dict.fromkeys(found) if not address.lower().startswith(("fe80:", "169.254."))]


def _interfaces(vm: Object, status: Mapping[str, Any]) -> list[dict[str, Any]]:
    seen = {item.get("name"): item for item in status.get("interfaces") or () if item.get("name")}
    networks = by_name(at(vm, f"{SPEC}.networks"))
    declared = by_name(at(vm, f"{DEVICES}.interfaces"))
    found = []
    for name in dict.fromkeys([*declared, *seen]):
        spec, now, network = declared.get(name, {}), seen.get(name, {}), networks.get(name, {})
        found.append(
            {
                "name": name,
                "network": "pod" if "pod" in network else at(network, "multus.networkName"),
                "model": spec.get("model"),
                "mac": now.get("mac") or spec.get("macAddress"),
                "guest_name": now.get("interfaceName"),
                "link": now.get("linkState"),
                "addresses": now.get("ipAddresses") or ([now["ipAddress"]] if now.get("ipAddress") else []),
                "source": now.get("infoSource"),
            }
        )
    return found


def _disks(vm: Object, instance: Object | None, around: Surroundings) -> list[dict[str, Any]]:
    namespace = vm["metadata"].get("namespace", "")
    # Of a running guest, what the preference and the defaults made of its disks.
    devices = by_name(at(vm, f"{DEVICES}.disks")) | by_name(at(instance, "spec.domain.devices.disks"))
    seen = by_name(at(instance, "status.volumeStatus"))
    behind = claims(vm)
    found = []
    for volume in at(vm, f"{SPEC}.volumes") or ():
        name = volume["name"]
        device = devices.get(name, {})
        kind = next((part for part in DISK_DEVICES if part in device), None)
        claim = around.claims.get((namespace, behind.get(name, "")))
        data_volume = around.data_volumes.get((namespace, behind.get(name, "")))
        found.append(
            {
                "name": name,
                "type": next((part for part in volume if part != "name"), None),
                "device": kind,
                "bus": at(device, f"{kind}.bus"),
                "boot_order": device.get("bootOrder"),
                "claim": behind.get(name),
                "size": at(claim, "status.capacity.storage") or at(claim, "spec.resources.requests.storage"),
                "storage_class": at(claim, "spec.storageClassName"),
                "volume_mode": at(claim, "spec.volumeMode"),
                "access_modes": at(claim, "spec.accessModes") or [],
                "claim_phase": at(claim, "status.phase"),
                "phase": cdi.phase(data_volume) or at(seen.get(name), "phase"),
                "progress": at(data_volume, "status.progress"),
                "target": at(seen.get(name), "target"),
            }
        )
    return found


def _guest(instance: Object | None) -> dict[str, Any]:
    """What the guest agent has told KubeVirt; the users and file systems it knows are not in the instance."""
    system = at(instance, "status.guestOSInfo") or {}
    return {
        "agent_connected": conditions(instance).get("AgentConnected", {}).get("status") == "True",
        "os_id": system.get("id"),
        "os_name": system.get("prettyName") or system.get("name"),
        "os_version": system.get("versionId") or system.get("version"),
        "kernel": system.get("kernelRelease"),
        "machine": system.get("machine"),
        "frozen": at(instance, "status.fsFreezeStatus") == "frozen",
    }
