# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a VirtualMachine: disks, volumes and dataVolumeTemplates from the description of a machine.

What a VM has is kept: a disk that exists keeps its claim, its bus and its source, whatever the defaults for a new one
are. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cluster.resource import Object
from ..known import known
from ..machine import quantity
from ..machine.cloud_init import CloudInit
from ..machine.disks import Disk
from ..machine.refusal import Problems, Refused
from .cdi import BOOT_SOURCES
from .kubevirt import DEVICES, DISK_DEVICES, SPEC, at, by_name, claims

CLOUD_INIT_DISK = "cloudinit"
# virt-api refuses longer seeds; a Secret has no such limit.
LONGEST_SEED = 2048

_DEFAULT_BUS = {"disk": "virtio", "cdrom": "sata", "lun": "scsi"}
_SEEDS = {"no_cloud": "cloudInitNoCloud", "config_drive": "cloudInitConfigDrive"}

Origin = Mapping[str, str]

_CONTAINER_DISK = {
    "image": "image",
    "pull_policy": "imagePullPolicy",
    "pull_secret": "imagePullSecret",
    "path": "path",
}
_SYSPREP = {"config_map": "configMap", "secret": "secret"}
_IMPORT = {
    "url": "url",
    "secret": "secretRef",
    "cert_config_map": "certConfigMap",
    "pull_method": "pullMethod",
}

# Source of a volume that is not made for the disk: what stands in the VM's list of volumes.
_VOLUMES: Mapping[str, Callable[[Origin, str | None], Object]] = {
    "pvc": lambda origin, _size: {"persistentVolumeClaim": {"claimName": origin["name"]}},
    "data_volume": lambda origin, _size: {"dataVolume": {"name": origin["name"]}},
    "container_disk": lambda origin, _size: {"containerDisk": _renamed(origin, _CONTAINER_DISK)},
    "ephemeral": lambda origin, _size: {"ephemeral": {"persistentVolumeClaim": {"claimName": origin["pvc"]}}},
    "empty": lambda _origin, size: {"emptyDisk": {"capacity": size}},
    "sysprep": lambda origin, _size: {"sysprep": {_SYSPREP[key]: {"name": name} for key, name in origin.items()}},
    "config_map": lambda origin, _size: {"configMap": {"name": origin["name"]}},
    "secret": lambda origin, _size: {"secret": {"secretName": origin["name"]}},
    "service_account": lambda origin, _size: {"serviceAccount": {"serviceAccountName": origin["name"]}},
}

# Source of a volume that is made for the disk: what stands in the spec of its DataVolume, given the VM's namespace.
_SOURCES: Mapping[str, Callable[[Origin, str], Object]] = {
    "boot_source": lambda origin, _namespace: {
        "sourceRef": {
            "kind": "DataSource",
            "name": origin["name"],
            "namespace": origin.get("namespace", BOOT_SOURCES),
        }
    },
    "blank": lambda _origin, _namespace: {"source": {"blank": {}}},
    "http": lambda origin, _namespace: {"source": {"http": _renamed(origin, _IMPORT)}},
    "registry": lambda origin, _namespace: {"source": {"registry": _renamed(origin, _IMPORT)}},
    "clone_pvc": lambda origin, namespace: {"source": {"pvc": {"namespace": namespace, **origin}}},
    "clone_snapshot": lambda origin, namespace: {"source": {"snapshot": {"namespace": namespace, **origin}}},
}


def _renamed(origin: Origin, names: Mapping[str, str]) -> Object:
    return {names[key]: value for key, value in origin.items()}


@dataclass
class DiskPlan:
    """What the VM shall hold for its disks, and what follows from what it holds now.

    C(notes) tell where a declaration does not touch a disk that exists.
    """

    disks: list[Object] = field(default_factory=list)
    volumes: list[Object] = field(default_factory=list)
    templates: list[Object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_disks(disks: tuple[Disk, ...], vm: tuple[str, str], live: Object | None, suits_preference: bool) -> DiskPlan:
    """What C(disks) makes of the VM of this (namespace, name).

    With C(suits_preference) a new disk leaves its bus to the preference.
    """
    namespace, name = vm
    plan = DiskPlan()
    live_disks = by_name(at(live, f"{DEVICES}.disks"))
    live_volumes = by_name(at(live, f"{SPEC}.volumes"))
    live_templates = by_name(at(live, "spec.dataVolumeTemplates"))
    live_claims = claims(live) if live else {}
    plan.templates = list(live_templates.values())
    for disk in disks:
        if disk.absent:
            marker = {"name": disk.name, "state": "absent"}
            plan.disks.append(marker)
            plan.volumes.append(dict(marker))
            claim = live_claims.get(disk.name)
            plan.templates = [item for item in plan.templates if item["metadata"]["name"] != claim]
            if claim:
                plan.notes.append(f"disk {disk.name} is detached; its volume {claim} is kept")
            continue
        plan.disks.append(disk_entry(disk, live_disks.get(disk.name), suits_preference))
        if disk.source is None:
            continue
        if disk.source.creates != "volume":
            plan.volumes.append({"name": disk.name, **_VOLUMES[disk.source.option](disk.origin, disk.size)})
            continue
        claim = live_claims.get(disk.name)
        if claim is not None:
            _keep(plan, disk, claim, live_volumes[disk.name], live_templates.get(claim), namespace)
        else:
            claim = f"{name}-{disk.name}"
            template = {"metadata": {"name": claim}, "spec": data_volume_spec(disk, namespace)}
            plan.templates = [item for item in plan.templates if item["metadata"]["name"] != claim] + [template]
            plan.volumes.append({"name": disk.name, "dataVolume": {"name": claim}})
    return plan


def disk_entry(disk: Disk, live: Object | None, suits_preference: bool) -> Object:
    known = next((device for device in DISK_DEVICES if device in (live or {})), None)
    device = disk.device or known or ("cdrom" if disk.source and disk.source.option == "sysprep" else "disk")
    bus = disk.bus
    if bus is None and (live is None or known not in (None, device)) and not suits_preference:
        bus = _DEFAULT_BUS[device]
    target = {"bus": bus, "readonly": disk.readonly}
    attributes = {
        "bootOrder": disk.boot_order,
        "serial": disk.serial,
        "shareable": disk.shareable,
        "cache": disk.cache,
        "io": disk.io,
        "errorPolicy": disk.error_policy,
        "dedicatedIOThread": disk.dedicated_io_thread,
    }
    return {"name": disk.name, device: _given(target), **_given(attributes)}


def _given(values: Mapping[str, Any]) -> Object:
    return {key: value for key, value in values.items() if value is not None}


def data_volume_spec(disk: Disk, namespace: str) -> Object:
    """The spec of the DataVolume that is made for a disk."""
    source = known(disk.source)
    storage = _given(
        {
            "storageClassName": disk.storage_class,
            "accessModes": list(disk.access_modes) or None,
            "volumeMode": disk.volume_mode,
        }
    )
    if disk.size is not None:
        storage["resources"] = {"requests": {"storage": disk.size}}
    spec: Object = {"storage": storage, **_SOURCES[source.option](disk.origin, namespace)}
    if disk.preallocation is not None:
        spec["preallocation"] = disk.preallocation
    return spec


def template_size(template: Object | None) -> str | None:
    """The size that a dataVolumeTemplate asks for."""
    for form in ("storage", "pvc"):
        size = at(template, f"spec.{form}.resources.requests.storage")
        if size is not None:
            return str(size)
    return None


def _keep(plan: DiskPlan, disk: Disk, claim: str, volume: Object, template: Object | None, namespace: str) -> None:
    """Keep the volume that a disk has: only its size may change."""
    plan.volumes.append(dict(volume))
    if template is None:
        plan.notes.append(f"disk {disk.name} uses {claim}, which exists apart from the VM; it stays as it is")
        return
    wanted = data_volume_spec(disk, namespace)
    for part in ("source", "sourceRef"):
        if wanted.get(part) != at(template, f"spec.{part}"):
            plan.notes.append(
                f"disk {disk.name} ({claim}) was made from another source and stays as it is;"
                " detach it and give the new one another name"
            )
            break
    present = template_size(template)
    if disk.size is not None and present is not None and disk.size != present:
        plan.templates = [
            _resized(item, disk.size) if item["metadata"]["name"] == claim else item for item in plan.templates
        ]


def growth(templates: list[Object], live_templates: list[Object]) -> dict[str, str]:
    """Claim -> new size, where a dataVolumeTemplate asks for more than before; Refused where it asks for less."""
    before = by_name(live_templates)
    found: dict[str, str] = {}
    problems = Problems()
    for template in templates:
        claim = at(template, "metadata.name")
        size, present = template_size(template), template_size(before.get(claim))
        if size is None or present is None or size == present:
            continue
        wanted, has = quantity.parse(size, f"{claim}: size"), quantity.amount(present)
        if wanted < has:
            problems.add(
                f"disk {claim}: size: {size} is less than the {present} it has; disks do not shrink."
                " Make a smaller disk beside it and copy the data"
            )
        elif wanted > has:
            found[claim] = size
    problems.refuse()
    return found


def _resized(template: Object, size: str) -> Object:
    spec = template["spec"]
    form = "storage" if "storage" in spec else "pvc"
    resources = {**spec[form].get("resources", {}), "requests": {"storage": size}}
    return {**template, "spec": {**spec, form: {**spec[form], "resources": resources}}}


def plan_cloud_init(seed: CloudInit, live: Object | None, suits_preference: bool) -> tuple[Object, Object]:
    """The disk and the volume of a seed; those of the seed that the VM has, where it has one.

    Raises Refused for a seed that is longer than virt-api takes.
    """
    for option, text in (("user_data", seed.user_data), ("network_data", seed.network_data)):
        if text is not None and len(text.encode()) > LONGEST_SEED:
            raise Refused(
                f"cloud_init.{option}: has {len(text.encode())} bytes; KubeVirt takes {LONGEST_SEED} at most. Put it"
                f" into a Secret and name that in cloud_init.{'secret' if option == 'user_data' else 'network_secret'}"
            )
    content = {
        "userData": seed.user_data,
        "networkData": seed.network_data,
        "secretRef": {"name": seed.secret} if seed.secret else None,
        "networkDataSecretRef": {"name": seed.network_secret} if seed.network_secret else None,
    }
    present = next(
        (item["name"] for item in at(live, f"{SPEC}.volumes") or () if any(form in item for form in _SEEDS.values())),
        None,
    )
    name = present or CLOUD_INIT_DISK
    disk = disk_entry(Disk(name), by_name(at(live, f"{DEVICES}.disks")).get(name), suits_preference)
    return disk, {"name": name, _SEEDS[seed.datasource]: _given(content)}
