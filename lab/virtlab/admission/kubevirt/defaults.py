"""What virt-api fills in: pkg/defaults and the mutators of KubeVirt. Objects are changed in place."""

from __future__ import annotations

import math
import uuid

from virtlab.admission.kubevirt.settings import MAX_HOTPLUG_RATIO, Settings
from virtlab.admission.webhook import at, items
from virtlab.resource import Object
from virtlab.schema.quantity import QuantityError, parse

PCI_TOPOLOGY = "kubevirt.io/pci-topology-version"
CPU_MODEL = "host-model"
PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}  # seconds, counts
MAX_VCPUS = 512
MIB, GIB = 1 << 20, 1 << 30
BLOCK = 2 * MIB
MIN_HOTPLUG_MEMORY = GIB


# Virtual machines


def fill_machine(spec: Object, settings: Settings) -> None:
    """Architecture and machine type of a VM's template spec."""
    if not spec.get("architecture"):
        spec["architecture"] = settings.architecture
    machine = spec.setdefault("domain", {}).get("machine") or {}
    if not machine.get("type"):
        spec["domain"]["machine"] = {**machine, "type": settings.machine_type(spec["architecture"])}


def fill_firmware(spec: Object) -> None:
    """New firmware ids, unless they are given."""
    firmware = spec.setdefault("domain", {}).setdefault("firmware", {})
    for name in ("uuid", "serial"):
        if not firmware.get(name):
            firmware[name] = str(uuid.uuid4())


def has_pcie(spec: Object) -> bool:
    """Whether the machine has PCIe root ports to plug devices into."""
    if spec.get("architecture") not in ("amd64", "arm64", "", None):
        return False
    machine = at(spec, "domain", "machine", "type")
    return machine is None or "q35" in machine or machine.startswith("virt")


def fill_pci_topology(metadata: Object) -> None:
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {PCI_TOPOLOGY: "v3", **annotations}


# Instances


class DefaultError(Exception):
    """A default is not allowed by the configuration."""


def fill_spec(spec: Object, settings: Settings) -> None:
    """What an instance's spec gets whether it comes from a VM or alone. Raises DefaultError."""
    fill_machine(spec, settings)
    domain = spec["domain"]
    _requests(domain, settings)
    _guest_memory(domain)
    _cpu_topology(domain)
    for volume in items(spec, "volumes"):
        if volume.get("containerDisk") and not volume["containerDisk"].get("imagePullPolicy"):
            volume["containerDisk"]["imagePullPolicy"] = _pull_policy(volume["containerDisk"].get("image") or "")
    if spec.get("evictionStrategy") is None and settings.eviction_strategy is not None:
        spec["evictionStrategy"] = settings.eviction_strategy
    fill_network(spec, settings)
    fill_disks(spec)


def fill_network(spec: Object, settings: Settings) -> None:
    """The pod network, for a machine that names none. Raises DefaultError."""
    devices = spec.setdefault("domain", {}).setdefault("devices", {})
    if devices.get("autoattachPodInterface") is False or spec.get("networks") or devices.get("interfaces"):
        return
    binding = settings.network_interface
    if binding == "bridge" and not settings.bridge_on_pod_network:
        raise DefaultError("bridge interface is not enabled in kubevirt-config")
    if binding == "slirp":
        raise DefaultError("slirp interface is deprecated as of v1.3")
    devices["interfaces"] = [{"name": "default", binding: {}}]
    spec["networks"] = [{"name": "default", "pod": {}}]


def fill_disks(spec: Object) -> None:
    """A disk for each volume that neither a disk nor a file system shows."""
    devices = spec.setdefault("domain", {}).setdefault("devices", {})
    shown = {item["name"] for kind in ("disks", "filesystems") for item in devices.get(kind) or ()}
    missing = [{"name": volume["name"]} for volume in items(spec, "volumes") if volume["name"] not in shown]
    if missing:
        devices["disks"] = [*(devices.get("disks") or ()), *missing]


def _requests(domain: Object, settings: Settings) -> None:
    resources = domain.setdefault("resources", {})
    limit = at(resources, "limits", "cpu")
    if limit is not None and at(resources, "requests", "cpu") is None:
        resources.setdefault("requests", {})["cpu"] = limit
    request = settings.configuration.get("cpuRequest")
    dedicated = at(domain, "cpu", "dedicatedCpuPlacement")
    if request and at(resources, "requests", "cpu") is None and not dedicated:
        resources.setdefault("requests", {})["cpu"] = request


def _guest_memory(domain: Object) -> None:
    memory = domain.setdefault("memory", {})
    if memory.get("guest") is not None:
        return
    resources = domain.get("resources") or {}
    choices = (
        at(resources, "requests", "memory"),
        at(resources, "limits", "memory"),
        at(memory, "hugepages", "pageSize"),
    )
    for choice in choices:
        if choice is not None:
            memory["guest"] = choice
            return


def _cpu_topology(domain: Object) -> None:
    cpu = domain.setdefault("cpu", {})
    if any(cpu.get(name) for name in ("cores", "sockets", "threads")):
        return
    resources = domain.get("resources") or {}
    wanted = at(resources, "limits", "cpu") or at(resources, "requests", "cpu")
    try:
        sockets = math.ceil(parse(wanted)) if wanted else 1
    except QuantityError:
        sockets = 1
    cpu.update(cores=1, sockets=sockets, threads=1)


def _pull_policy(image: str) -> str:
    unpinned = image.endswith(":latest") or not any(mark in image for mark in ":@")
    return "Always" if unpinned else "IfNotPresent"


def fill_instance(vmi: Object, settings: Settings) -> None:
    """A new instance, as the mutating webhook leaves it. Raises DefaultError."""
    spec = vmi["spec"]
    fill_spec(spec, settings)
    domain = spec["domain"]
    _object_defaults(domain)
    for name in ("readinessProbe", "livenessProbe"):
        if spec.get(name) is not None:
            for key, value in PROBE.items():
                spec[name][key] = max(spec[name].get(key) or 0, 0) or value
    _buses(domain)
    cpu = domain["cpu"]
    cpu.setdefault("model", settings.configuration.get("cpuModel") or CPU_MODEL)
    status = vmi.setdefault("status", {})
    guest = at(domain, "memory", "guest")
    if guest is not None:
        status["memory"] = {"guestAtBoot": guest, "guestCurrent": guest, "guestRequested": guest}
    topology = {name: cpu.get(name) for name in ("cores", "sockets", "threads") if cpu.get(name)}
    status.setdefault("currentCPUTopology", topology)
    if settings.live_update and spec["architecture"] != "arm64":
        _hotplug(spec, settings)
    if has_pcie(spec):
        fill_pci_topology(vmi["metadata"])


def _object_defaults(domain: Object) -> None:
    """v1.SetObjectDefaults_VirtualMachineInstance of kubevirt.io/api."""
    features = domain.setdefault("features", {})
    acpi = features.setdefault("acpi", {})
    acpi.setdefault("enabled", True)
    for name in ("apic", "smm", "kvm", "pvspinlock"):
        if isinstance(features.get(name), dict) and name != "kvm":
            features[name].setdefault("enabled", True)
    for disk in at(domain, "devices", "disks") or ():
        if not any(disk.get(kind) is not None for kind in ("disk", "lun", "cdrom")):
            disk["disk"] = {}
        if disk.get("cdrom") is not None:
            disk["cdrom"].setdefault("readonly", True)
            disk["cdrom"].setdefault("tray", "closed")
    for tablet in at(domain, "devices", "inputs") or ():
        tablet["bus"] = tablet.get("bus") or "usb"
        tablet["type"] = tablet.get("type") or "tablet"
    firmware = domain.setdefault("firmware", {})
    firmware.setdefault("uuid", str(uuid.uuid4()))


def _buses(domain: Object) -> None:
    for disk in at(domain, "devices", "disks") or ():
        for kind in ("disk", "cdrom", "lun"):
            if disk.get(kind) is not None and not disk[kind].get("bus"):
                disk[kind]["bus"] = "sata"
    watchdog = at(domain, "devices", "watchdog")
    if watchdog is not None and watchdog.get("diag288") is None:
        i6300esb = watchdog.setdefault("i6300esb", {})
        if not i6300esb.get("action"):
            i6300esb["action"] = "reset"


def _hotplug(spec: Object, settings: Settings) -> None:
    cpu, memory = spec["domain"]["cpu"], spec["domain"]["memory"]
    sockets, cores, threads = (cpu.get(name) or 1 for name in ("sockets", "cores", "threads"))
    if not cpu.get("maxSockets"):
        cpu["maxSockets"] = max(settings.live_update_limits.get("maxCpuSockets") or 0, 0)
        if cpu["maxSockets"]:
            cpu["maxSockets"] = max(cpu["maxSockets"], sockets)
        else:
            ratio = settings.live_update_limits.get("maxHotplugRatio") or MAX_HOTPLUG_RATIO
            cpu["maxSockets"] = sockets * ratio
            if cpu["maxSockets"] * cores * threads > MAX_VCPUS:
                cpu["maxSockets"] = max(MAX_VCPUS // (cores * threads), sockets)
    if memory.get("maxGuest") is not None or memory.get("guest") is None:
        return
    ratio = settings.live_update_limits.get("maxHotplugRatio") or MAX_HOTPLUG_RATIO
    limit = settings.live_update_limits.get("maxGuest") or binary(int(parse(memory["guest"])) * ratio)
    if memory_hotplug_problem(spec, limit) is None:
        memory["maxGuest"] = limit


def binary(size: int) -> str:
    """C(size) bytes as a quantity with a binary suffix."""
    for suffix, scale in (("Gi", GIB), ("Mi", MIB), ("Ki", 1 << 10)):
        if size and size % scale == 0:
            return f"{size // scale}{suffix}"
    return str(size)


def memory_hotplug_problem(spec: Object, limit: str | None) -> str | None:
    """Why memory cannot be plugged up to C(limit): pkg/liveupdate/memory."""
    domain = spec.get("domain") or {}
    if at(domain, "cpu", "realtime") is not None:
        return "Memory hotplug is not compatible with realtime VMs"
    if at(domain, "cpu", "numa", "guestMappingPassthrough") is not None:
        return "Memory hotplug is not compatible with guest mapping passthrough"
    if domain.get("launchSecurity") is not None:
        return "Memory hotplug is not compatible with encrypted VMs"
    guest = at(domain, "memory", "guest")
    if guest is None:
        return "Guest memory must be configured when memory hotplug is enabled"
    if limit is None:
        return "Max guest memory must be configured when memory hotplug is enabled"
    huge = at(domain, "memory", "hugepages", "pageSize") == "1Gi"
    alignment, alignment_text = (GIB, "1Gi") if huge else (BLOCK, "2Mi")
    size, most = parse(guest), parse(limit)
    if size > most:
        return "Guest memory is greater than the configured maxGuest memory"
    if size % alignment:
        return f"Guest memory must be {alignment_text} aligned"
    if most % alignment:
        return f"MaxGuest must be {alignment_text} aligned"
    if spec.get("architecture") != "amd64":
        return "Memory hotplug is only available for x86_64 VMs"
    if size < MIN_HOTPLUG_MEMORY:
        return "Memory hotplug is only available for VMs with at least 1Gi of guest memory"
    return None
