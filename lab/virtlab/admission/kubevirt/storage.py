"""Disks, volumes, cloud-init and access credentials of an instance: what virt-api refuses.

pkg/storage/admitters and vmi-create-admitter.go of KubeVirt. Where a path in a cause looks doubled, virt-api's is.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Iterator

from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.webhook import INVALID, NOT_FOUND, NOT_SUPPORTED, REQUIRED, at, items
from virtlab.names import label_problems
from virtlab.resource import Object
from virtlab.status import Cause

BUSES = ("virtio", "scsi", "sata", "usb")
TARGETS = ("disk", "lun", "cdrom")
CACHES = ("none", "writethrough", "writeback")
IO_MODES = ("native", "threads")
ERROR_POLICIES = ("stop", "ignore", "report", "enospace")
PCI_ADDRESS = re.compile(r"[\da-fA-F]{4}:[\da-fA-F]{2}:[\da-fA-F]{2}\.[0-7]")
SERIAL = re.compile(r"[A-Za-z0-9_.+-]+")
MAX_SERIAL = 256
SMALLEST_BLOCK, LARGEST_BLOCK = 512, 2 << 20  # bytes
CLOUD_INIT_LIMIT = 2048  # bytes, of user data and of network data

SOURCES = (
    "persistentVolumeClaim", "sysprep", "cloudInitNoCloud", "cloudInitConfigDrive", "containerDisk", "ephemeral",
    "emptyDisk", "hostDisk", "dataVolume", "configMap", "secret", "downwardAPI", "serviceAccount", "downwardMetrics",
    "memoryDump", "containerPath",
)  # fmt: skip
CLOUD_INIT = ("cloudInitNoCloud", "cloudInitConfigDrive")
SINGLE = (
    ("serviceAccount", "serviceAccount volume"),
    ("downwardMetrics", "downwardMetric volume"),
    ("memoryDump", "memory dump volume"),
)
NAMED_SOURCES = (("configMap", "name"), ("secret", "secretName"), ("serviceAccount", "serviceAccountName"))

Found = Iterator[Cause]


def target(disk: Object) -> str:
    return next((kind for kind in TARGETS if disk.get(kind) is not None), "")


def bus(disk: Object) -> str:
    kind = target(disk)
    return str(disk[kind].get("bus") or "") if kind else ""


def absolute_path(field: str, path: str) -> Found:
    if path == "/":
        yield Cause(f"{field} must not point to root", field, INVALID)
    elif posixpath.normpath("/" + path.lstrip("/")) != path.removesuffix("/"):
        message = f"{field} must be an absolute path to a file without relative components"
        yield Cause(message, field, INVALID)


# Disks


def boot_order(path: str, spec: Object, settings: Settings) -> Found:
    """Disks find their volumes; no two devices share a place in the boot order."""
    volumes = {volume.get("name"): volume for volume in items(spec, "volumes")}
    devices = f"{path}.domain.devices"
    taken: set[int] = set()
    for index, disk in enumerate(items(spec, "domain", "devices", "disks")):
        field = f"{devices}.disks[{index}]"
        volume = volumes.get(disk.get("name"))
        if volume is None:
            if disk.get("cdrom") is None:
                yield Cause(f"{field}.Name '{disk.get('name')}' not found.", f"{field}.name", INVALID)
            elif not settings.gate("DeclarativeHotplugVolumes"):
                message = "DeclarativeHotplugVolumes feature gate not enabled, cannot define an empty CD-ROM disk"
                yield Cause(message, f"{field}.name", INVALID)
        else:
            yield from _fits(field, disk, volume)
        order = disk.get("bootOrder")
        if order is not None:
            if order in taken:
                name = f"{field}.bootOrder"
                yield Cause(f"Boot order for {name} already set for a different device.", name, INVALID)
            taken.add(order)
    for index, interface in enumerate(items(spec, "domain", "devices", "interfaces")):
        order, field = interface.get("bootOrder"), f"{devices}.interfaces[{index}].bootOrder"
        if order is None:
            continue
        if order < 1:
            name = f"{path}[{index}]"
            yield Cause(f"{name} must have a boot order > 0, if supplied", f"{name}.bootOrder", INVALID)
            continue
        if order in taken:
            yield Cause(f"Boot order for {field} already set for a different device.", field, INVALID)
        taken.add(order)


def _fits(field: str, disk: Object, volume: Object) -> Found:
    if disk.get("lun") is not None and not volume.get("persistentVolumeClaim") and not volume.get("dataVolume"):
        message = f"{field}.lun can only be mapped to a DataVolume or PersistentVolumeClaim volume."
        yield Cause(message, f"{field}.lun", INVALID)
    if volume.get("downwardMetrics") is None:
        return
    if disk.get("disk") is None:
        message = f"DownwardMetrics volume must be mapped to a disk, but disk is not set on {field}.disk."
        yield Cause(message, f"{field}.disk", REQUIRED)
    elif bus(disk) not in ("virtio", ""):
        name = f"{field}.disk.bus"
        message = f"DownwardMetrics volume must be mapped to virtio bus, but {name} is set to {bus(disk)}"
        yield Cause(message, name, INVALID)


def disks(path: str, spec: Object, _: Settings) -> Found:
    field = f"{path}.domain.devices.disks"
    listed = items(spec, "domain", "devices", "disks")
    for index, disk in enumerate(listed):
        this = f"{field}[{index}]"
        for other in range(index):
            if listed[other].get("name") == disk.get("name"):
                message = f"{this} and {field}[{other}] must not have the same Name."
                yield Cause(message, f"{this}.name", INVALID)
        if sum(disk.get(kind) is not None for kind in TARGETS) > 1:
            yield Cause(f"{this} can only have a single target type defined", this, INVALID)
        yield from _pci_address(field, index, disk)
        if disk.get("bootOrder") is not None and disk["bootOrder"] < 1:
            yield Cause(f"{this} must have a boot order > 0, if supplied", f"{this}.bootOrder", INVALID)
        yield from _bus(field, index, disk)
        yield from _tuning(field, index, disk)
        for problem in label_problems(disk.get("name") or ""):
            yield Cause(problem, f"{field}.domain.devices.disks[{index}].name", INVALID)
        yield from _block_size(this, disk)


def _pci_address(field: str, index: int, disk: Object) -> Found:
    address = at(disk, "disk", "pciAddress")
    if not address:
        return
    where = f"{field}.domain.devices.disks.disk[{index}]"
    if bus(disk) != "virtio":
        message = f"disk {where}.name - setting a PCI address is only possible with bus type virtio."
        yield Cause(message, f"{where}.pciAddress", INVALID)
    if not PCI_ADDRESS.fullmatch(address):
        yield Cause(f"disk {where}.name has malformed PCI address ({address}).", f"{where}.pciAddress", INVALID)


def _bus(field: str, index: int, disk: Object) -> Found:
    kind, name, this = target(disk), bus(disk), f"{field}[{index}]"
    if not name:
        return
    if name == "ide":
        yield Cause("IDE bus is not supported", f"{this}.{kind}.bus", INVALID)
    elif name == "virtio" and kind == "cdrom":
        yield Cause("Bus type virtio is invalid for CD-ROM device", f"{this}.cdrom.bus", INVALID)
    elif name == "sata" and at(disk, "disk", "readonly"):
        yield Cause("sata hard-disks do not support read-only.", f"{this}.disk.bus", INVALID)
    elif name not in BUSES:
        message = f"{this} is set with an unrecognized bus {name}, must be one of: [{' '.join(BUSES)}]"
        yield Cause(message, f"{this}.{kind}.bus", INVALID)
    if disk.get("dedicatedIOThread") and name != "virtio":
        message = f"IOThreads are not supported for disks on a {name} bus"
        yield Cause(message, f"{field}.domain.devices.disks[{index}]", NOT_SUPPORTED)


def _tuning(field: str, index: int, disk: Object) -> Found:
    this, serial = f"{field}[{index}]", disk.get("serial") or ""
    if serial and not SERIAL.fullmatch(serial):
        message = f"{this} must be made up of the following characters [A-Za-z0-9_.+-], if specified"
        yield Cause(message, f"{this}.serial", INVALID)
    if len(serial) > MAX_SERIAL:
        message = f"{this} must be less than or equal to {MAX_SERIAL} in length, if specified"
        yield Cause(message, f"{this}.serial", INVALID)
    if disk.get("cache") and disk["cache"] not in CACHES:
        yield Cause(f"{this}.cache has invalid value {disk['cache']}", f"{this}.cache", INVALID)
    if disk.get("io") and disk["io"] not in IO_MODES:
        message = f"Disk IO mode for {field} is not supported. Supported modes are: native, threads."
        yield Cause(message, f"{field}.domain.devices.disks[{index}].io", NOT_SUPPORTED)
    if disk.get("errorPolicy") is not None and disk["errorPolicy"] not in ERROR_POLICIES:
        message = f'{this}.errorPolicy has invalid value "{disk["errorPolicy"]}"'
        yield Cause(message, f"{this}.errorPolicy", INVALID)


def _block_size(this: str, disk: Object) -> Found:
    custom, match = at(disk, "blockSize", "custom"), at(disk, "blockSize", "matchVolume")
    field = f"{this}.blockSize"
    if custom is None:
        return
    if match is not None and match.get("enabled") is not False:
        yield Cause("Block size matching can't be enabled together with a custom value", field, INVALID)
        return
    logical, physical = custom.get("logical") or 0, custom.get("physical") or 0
    granularity = custom.get("discardGranularity")
    if logical > physical:
        message = f"Logical size {logical} must be the same or less than the physical size of {physical}"
        yield Cause(message, f"{field}.custom.logical", INVALID)
    elif bus(disk) == "sata" and logical != SMALLEST_BLOCK:
        message = f"Logical size {logical} must be {SMALLEST_BLOCK} for SATA devices"
        yield Cause(message, f"{field}.custom.logical", INVALID)
    elif granularity is not None and logical and granularity % logical:
        message = f"Discard granularity {granularity} must be multiples of logical size {logical}"
        yield Cause(message, f"{field}.custom.discardGranularity", INVALID)
    else:
        for name, size in (("logical", logical), ("physical", physical)):
            problem = _block_size_problem(size)
            if problem:
                yield Cause(f"Provided size of {size} is {problem}", f"{field}.custom.{name}", INVALID)


def _block_size_problem(size: int) -> str | None:
    if size < SMALLEST_BLOCK:
        return f"less than the supported minimum size of {SMALLEST_BLOCK}"
    if size > LARGEST_BLOCK:
        return f"greater than the supported maximum size of {LARGEST_BLOCK}"
    return "not a power of 2" if size & (size - 1) else None


def hotplug_disk_problem(disk: Object | None, name: str, prefix: str) -> str | None:
    """Why a disk cannot be plugged into a running machine."""
    if disk is None:
        return f"{prefix} for [{name}] requires the disk field to be set."
    kind, on = target(disk), bus(disk)
    if kind == "disk" and on not in ("scsi", "virtio"):
        return f"{prefix} for disk [{name}] requires bus to be 'scsi' or 'virtio'. [{on}] is not permitted."
    if kind == "lun" and on != "scsi":
        return f"{prefix} for LUN [{name}] requires bus to be 'scsi'. [{on}] is not permitted."
    if kind not in ("disk", "lun"):
        return f"{prefix} for [{name}] requires diskDevice of type 'disk' or 'lun' to be used."
    if disk.get("dedicatedIOThread") and on != "virtio":
        return f"{prefix} for [{name}] requires virtio bus for IOThreads."
    if disk.get("bootOrder") is not None and disk["bootOrder"] < 1:
        return "spec.domain.devices.disks[1] must have a boot order > 0, if supplied"
    return None


# Volumes


def volumes(path: str, spec: Object, settings: Settings) -> Found:
    field = f"{path}.volumes"
    first: dict[str, int] = {}
    listed = items(spec, "volumes")
    for index, volume in enumerate(listed):
        this, name = f"{field}[{index}]", volume.get("name") or ""
        if name in first:
            yield Cause(f"{this} and {field}[{first[name]}] must not have the same Name.", f"{this}.name", INVALID)
        first.setdefault(name, index)
        if volume.get("dataVolume") is not None and not volume["dataVolume"].get("name"):
            yield Cause("DataVolume 'name' must be set", f"{this}.name", REQUIRED)
        if sum(volume.get(source) is not None for source in SOURCES) != 1:
            yield Cause(f"{this} must have exactly one source type set", this, INVALID)
        yield from _cloud_init(this, volume)
        if volume.get("downwardMetrics") is not None and not settings.gate("DownwardMetrics"):
            message = "downwardMetrics disks are not allowed: DownwardMetrics feature gate is not enabled."
            yield Cause(message, this, INVALID)
        yield from _host_disk(this, volume, settings)
        for source, key in NAMED_SOURCES:
            if volume.get(source) is not None and not volume[source].get(key):
                where = f"{this}.{source}.{key}"
                yield Cause(f"{where} is a required field", where, INVALID)
    for source, what in SINGLE:
        if sum(volume.get(source) is not None for volume in listed) > 1:
            yield Cause(f"{field} must have max one {what} set", field, INVALID)


def _cloud_init(this: str, volume: Object) -> Found:
    kind = next((name for name in CLOUD_INIT if volume.get(name) is not None), None)
    if kind is None:
        return
    source, field = volume[kind], f"{this}.{kind}"
    counts = {}
    for part, said in (("userData", "userdatasource"), ("networkData", "networkdata source")):
        text, encoded = source.get(part), source.get(f"{part}Base64")
        reference = source.get("secretRef" if part == "userData" else "networkDataSecretRef")
        counts[part] = sum(map(bool, (text, encoded, (reference or {}).get("name"))))
        size = 0
        if encoded:
            try:
                size = len(base64.b64decode(encoded, validate=True))
            except binascii.Error:
                where = f"{field}.{part}Base64"
                yield Cause(f"{where}.{kind}.{part}Base64 is not a valid base64 value.", where, INVALID)
        if text:
            size = len(text.encode())
        if counts[part] > 1:
            yield Cause(f"{field} must have only one {said} set.", field, INVALID)
        if size > CLOUD_INIT_LIMIT:
            secret = f"{part[0].upper()}{part[1:]}SecretRef"
            message = (
                f"{field} {part.lower()} exceeds {CLOUD_INIT_LIMIT} byte limit. Should use {secret} for larger data."
            )
            yield Cause(message, field, INVALID)
    if not any(counts.values()):
        message = f"{field} must have at least one userdatasource or one networkdatasource set."
        yield Cause(message, field, INVALID)


def _host_disk(this: str, volume: Object, settings: Settings) -> Found:
    disk, field = volume.get("hostDisk"), f"{this}.hostDisk"
    if disk is None:
        return
    if not settings.gate("HostDisk"):
        yield Cause("HostDisk feature gate is not enabled", this, INVALID)
    if not disk.get("path"):
        yield Cause(f"{field}.path is required for hostDisk volume", f"{field}.path", NOT_FOUND)
    kind = disk.get("type") or ""
    if kind not in ("Disk", "DiskOrCreate"):
        message = f"{field}.type has invalid value '{kind}', allowed are 'Disk' or 'DiskOrCreate'"
        yield Cause(message, f"{field}.type", INVALID)
    if kind == "Disk" and disk.get("capacity") not in (None, "0", 0):
        message = f"{field}.capacity is allowed to pass only with {field}.type equal to 'DiskOrCreate'"
        yield Cause(message, f"{field}.capacity", INVALID)


def container_disks(path: str, spec: Object, _: Settings) -> Found:
    for index, volume in enumerate(items(spec, "volumes")):
        inside = at(volume, "containerDisk", "path")
        if inside:
            yield from absolute_path(f"{path}.volumes[{index}].containerDisk", inside)
    kernel = at(spec, "domain", "firmware", "kernelBoot", "container") or {}
    for name in ("kernelPath", "initrdPath"):
        if kernel.get(name):
            yield from absolute_path(f"{path}.domain.firmware.kernelBoot.container.{name}", kernel[name])


def utility_volumes(path: str, spec: Object, _: Settings) -> Found:
    if spec.get("utilityVolumes"):
        message = "cannot create VMI with utility volumes in spec"
        yield Cause(message, f"{path}.utilityVolumes", INVALID)


def file_systems(path: str, spec: Object, settings: Settings) -> Found:
    named = {volume.get("name"): volume for volume in items(spec, "volumes")}
    for shared in items(spec, "domain", "devices", "filesystems"):
        volume = named.get(shared.get("name")) or {}
        stored = volume.get("persistentVolumeClaim") or volume.get("dataVolume")
        if stored and not settings.gate("EnableVirtioFsStorageVolumes"):
            message = "virtiofs is not allowed: virtiofs feature gate is not enabled for PVC"
            yield Cause(message, f"{path}.domain.devices.filesystems", INVALID)


def volumes_are_shown(path: str, spec: Object) -> Found:
    """For instances only: each volume has a disk or a file system."""
    shown_disks = {disk.get("name") for disk in items(spec, "domain", "devices", "disks")}
    shown_systems = {shared.get("name") for shared in items(spec, "domain", "devices", "filesystems")}
    for index, volume in enumerate(items(spec, "volumes")):
        if volume.get("memoryDump") is not None:
            continue
        name = volume.get("name")
        if name not in shown_disks | shown_systems:
            field = f"{path}.domain.volumes[{index}].name"
            yield Cause(f"{field} '{name}' not found.", field, INVALID)


# Access credentials


def access_credentials(path: str, spec: Object, _: Settings) -> Found:
    drives = {kind: any(volume.get(kind) is not None for volume in items(spec, "volumes")) for kind in CLOUD_INIT}
    for index, credential in enumerate(items(spec, "accessCredentials")):
        this = f"{path}.accessCredentials[{index}]"
        key, password = credential.get("sshPublicKey"), credential.get("userPassword")
        if key is not None:
            yield from _ssh_key(this, key, drives)
        if password is not None:
            methods = at(password, "propagationMethod", "qemuGuestAgent") is not None
            yield from _one_of_each(this, "userPassword", password, int(methods))
        if (key is not None) + (password is not None) != 1:
            yield Cause(f"{this} must have exactly one access credential type set", this, INVALID)


def _ssh_key(this: str, key: Object, drives: dict[str, bool]) -> Found:
    method, field = key.get("propagationMethod") or {}, f"{this}.sshPublicKey.propagationMethod"
    count = 0
    for name, drive in (("noCloud", "cloudInitNoCloud"), ("configDrive", "cloudInitConfigDrive")):
        if method.get(name) is None:
            continue
        count += 1
        if not drives[drive]:
            message = f"{this} requires a {name} volume to exist when the {name} propagationMethod is in use."
            yield Cause(message, field, INVALID)
    agent = method.get("qemuGuestAgent")
    if agent is not None:
        count += 1
        if not agent.get("users"):
            message = f"{this} requires at least one user to be present in the users list"
            yield Cause(message, f"{field}.qemuGuestAgent.users", INVALID)
    yield from _one_of_each(this, "sshPublicKey", key, count)


def _one_of_each(this: str, kind: str, credential: Object, methods: int) -> Found:
    if at(credential, "source", "secret") is None:
        yield Cause(f"{this} must have exactly one source set", f"{this}.{kind}.source", INVALID)
    if methods != 1:
        message = f"{this} must have exactly one propagationMethod set"
        yield Cause(message, f"{this}.{kind}.propagationMethod", INVALID)


# Data volume templates of a VM


def data_volume_templates(path: str, spec: Object) -> Found:
    used = {
        name
        for volume in items(spec, "template", "spec", "volumes")
        for name in (at(volume, "persistentVolumeClaim", "claimName"), at(volume, "dataVolume", "name"))
        if name
    }
    for index, template in enumerate(items(spec, "dataVolumeTemplates")):
        field = f"{path}.dataVolumeTemplate[{index}]"
        cause = _template(field, template)
        if cause is not None:
            yield cause
        elif template["metadata"]["name"] not in used:
            message = f"DataVolumeTemplate entry {field} must be referenced in the VMI template's 'volumes' list"
            yield Cause(message, field, REQUIRED)


def _template(field: str, template: Object) -> Cause | None:
    if not at(template, "metadata", "name"):
        name = f"{field}.name"
        return Cause(f"'name' field must not be empty for DataVolumeTemplate entry {name}.", name, REQUIRED)
    spec = template.get("spec") or {}
    claim, storage = spec.get("pvc"), spec.get("storage")
    if claim is None and storage is None:
        return Cause("Missing Data volume PVC or Storage", f"{field}.PVC.Storage", INVALID)
    if claim is not None and storage is not None:
        message = "Duplicate storage definition, both target storage and target pvc defined"
        return Cause(message, f"{field}.PVC.Storage", INVALID)
    wanted = claim if claim is not None else storage or {}
    external = wanted.get("dataSourceRef") is not None or wanted.get("dataSource") is not None
    source = spec.get("source")
    sourced = source is not None or spec.get("sourceRef") is not None
    if external and sourced:
        return Cause("External population is incompatible with Source and SourceRef", f"{field}.source", INVALID)
    if not external and not sourced:
        message = "Data volume should have either Source, SourceRef, or be externally populated"
        return Cause(message, f"{field}.source.sourceRef", INVALID)
    if source is not None and len(source) != 1:
        message = "Multiple dataVolume sources" if source else "Missing dataVolume valid source"
        return Cause(message, f"{field}.source", INVALID)
    return None


def template_namespaces(vm: Object, namespace: str | None) -> Found:
    for index, template in enumerate(items(vm, "spec", "dataVolumeTemplates")):
        named = at(template, "metadata", "namespace")
        if named and named != namespace:
            message = f"Embedded DataVolume namespace {named} differs from VM namespace {namespace}"
            yield Cause(message, f"spec.dataVolumeTemplates[{index}]", INVALID)
