"""Preferences: what they fill in where the VM says nothing, and what they require. pkg/instancetype/preference."""

from __future__ import annotations

from typing import Any

from virtlab.admission.webhook import at, items
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.schema.quantity import canonical, parse

THREADS_PER_CORE = 2
DEFAULT_RATIO = 2
TOPOLOGIES = ("sockets", "cores", "threads", "spread", "any")
DEPRECATED_TOPOLOGIES = {f"prefer{name.capitalize()}": name for name in TOPOLOGIES}

# preferred...: the device's field.
DEVICE_FIELDS = {
    "preferredUseVirtioTransitional": "useVirtioTransitional",
    "preferredBlockMultiQueue": "blockMultiQueue",
    "preferredNetworkInterfaceMultiQueue": "networkInterfaceMultiqueue",
    "preferredRng": "rng",
    "preferredTPM": "tpm",
    "preferredAutoattachGraphicsDevice": "autoattachGraphicsDevice",
    "preferredAutoattachMemBalloon": "autoattachMemBalloon",
    "preferredAutoattachPodInterface": "autoattachPodInterface",
    "preferredAutoattachSerialConsole": "autoattachSerialConsole",
    "preferredAutoattachInputDevice": "autoattachInputDevice",
}
FEATURE_FIELDS = {
    "preferredApic": "apic",
    "preferredKvm": "kvm",
    "preferredPvspinlock": "pvspinlock",
    "preferredSmm": "smm",
}
BUS_FIELDS = {"disk": "preferredDiskBus", "cdrom": "preferredCdromBus", "lun": "preferredLunBus"}
BINDINGS = ("bridge", "masquerade", "sriov", "slirp", "macvtap", "passt", "passtBinding", "binding")


def preferred_topology(preference: Object | None) -> str:
    name = at(preference, "cpu", "preferredCPUTopology") or "sockets"
    return DEPRECATED_TOPOLOGIES.get(name, name)


def spread_options(preference: Object | None) -> tuple[int, str]:
    """Ratio, and across which of sockets, cores and threads."""
    options = at(preference, "cpu", "spreadOptions") or {}
    ratio = options.get("ratio") or (preference or {}).get("preferSpreadSocketToCoreRatio") or DEFAULT_RATIO
    return int(ratio), str(options.get("across") or "SocketsCores")


def _fill(target: Object, key: str, value: Any) -> None:
    if value is not None and value != "" and target.get(key) in (None, ""):
        target[key] = copied(value)


def apply(preference: Object, spec: Object, metadata: Object) -> None:
    """Fills C(spec) and C(metadata) in place."""
    domain = spec.setdefault("domain", {})
    _cpu(preference, domain)
    _devices(preference.get("devices") or {}, spec, domain.setdefault("devices", {}))
    _features(preference.get("features") or {}, domain)
    _firmware(preference.get("firmware"), domain)
    machine = at(preference, "machine", "preferredMachineType")
    if machine:
        _fill(domain.setdefault("machine", {}), "type", machine)
    _clock(preference.get("clock"), domain)
    _fill(spec, "subdomain", preference.get("preferredSubdomain"))
    _fill(spec, "terminationGracePeriodSeconds", preference.get("preferredTerminationGracePeriodSeconds"))
    _fill(spec, "architecture", preference.get("preferredArchitecture"))
    _fill(domain, "launchSecurity", preference.get("preferredLaunchSecurity"))
    annotations = preference.get("annotations")
    if annotations:
        metadata["annotations"] = {**annotations, **(metadata.get("annotations") or {})}


def _cpu(preference: Object, domain: Object) -> None:
    features = at(preference, "cpu", "preferredCPUFeatures")
    if features:
        cpu = domain.setdefault("cpu", {})
        known = {feature["name"] for feature in cpu.get("features") or ()}
        cpu["features"] = [
            *(cpu.get("features") or ()),
            *(copied(item) for item in features if item["name"] not in known),
        ]


def _devices(preferred: Object, spec: Object, devices: Object) -> None:
    if not preferred:
        return
    for wish, name in DEVICE_FIELDS.items():
        _fill(devices, name, preferred.get(wish))
    if preferred.get("preferredDisableHotplug") is not None:
        devices["disableHotplug"] = preferred["preferredDisableHotplug"]
    if devices.get("sound") is not None:
        _fill(devices["sound"], "model", preferred.get("preferredSoundModel"))
    if preferred.get("preferredVideoType") is not None:
        _fill(devices.setdefault("video", {}), "type", preferred["preferredVideoType"])
    for disk in devices.get("disks") or ():
        _disk(preferred, disk)
    for interface in devices.get("interfaces") or ():
        _interface(preferred, interface, spec)
    for tablet in devices.get("inputs") or ():
        _fill(tablet, "bus", preferred.get("preferredInputBus"))
        _fill(tablet, "type", preferred.get("preferredInputType"))
    model = preferred.get("preferredPanicDeviceModel")
    if model is not None:
        devices["panicDevices"] = devices.get("panicDevices") or [{}]
        for device in devices["panicDevices"]:
            _fill(device, "model", model)


def _disk(preferred: Object, disk: Object) -> None:
    target = next((kind for kind in BUS_FIELDS if disk.get(kind) is not None), None)
    if target is None:
        target = "disk"
        disk["disk"] = {}
    _fill(disk[target], "bus", preferred.get(BUS_FIELDS[target]))
    if target != "disk":
        return
    _fill(disk, "blockSize", preferred.get("preferredDiskBlockSize"))
    _fill(disk, "cache", preferred.get("preferredDiskCache"))
    _fill(disk, "io", preferred.get("preferredDiskIO"))
    if disk["disk"].get("bus") == "virtio":
        _fill(disk, "dedicatedIOThread", preferred.get("preferredDiskDedicatedIoThread"))


def _interface(preferred: Object, interface: Object, spec: Object) -> None:
    _fill(interface, "model", preferred.get("preferredInterfaceModel"))
    on_pod = any(
        network.get("pod") is not None for network in items(spec, "networks") if network["name"] == interface["name"]
    )
    if on_pod and not any(interface.get(binding) is not None for binding in BINDINGS):
        _fill(interface, "masquerade", preferred.get("preferredInterfaceMasquerade"))


def _features(preferred: Object, domain: Object) -> None:
    if not preferred:
        return
    features = domain.setdefault("features", {})
    if preferred.get("preferredAcpi") is not None:
        features["acpi"] = copied(preferred["preferredAcpi"])
    for wish, name in FEATURE_FIELDS.items():
        _fill(features, name, preferred.get(wish))
    hyperv = preferred.get("preferredHyperv")
    if hyperv is not None:
        features["hyperv"] = {**copied(hyperv), **(features.get("hyperv") or {})}


def _firmware(preferred: Object | None, domain: Object) -> None:
    if preferred is None:
        return
    loader = domain.setdefault("firmware", {}).setdefault("bootloader", {})
    unset = loader.get("bios") is None and loader.get("efi") is None
    if preferred.get("preferredUseBios") and unset:
        loader["bios"] = {}
    if loader.get("bios") is not None:
        _fill(loader["bios"], "useSerial", preferred.get("preferredUseBiosSerial"))
    unset = loader.get("bios") is None and loader.get("efi") is None
    if unset and preferred.get("preferredEfi") is not None:
        loader["efi"] = copied(preferred["preferredEfi"])
        return
    if unset and preferred.get("preferredUseEfi"):
        loader["efi"] = {}
    if loader.get("efi") is not None:
        _fill(loader["efi"], "secureBoot", preferred.get("preferredUseSecureBoot"))


def _clock(preferred: Object | None, domain: Object) -> None:
    if preferred is None:
        return
    clock = domain.setdefault("clock", {})
    offset = preferred.get("preferredClockOffset")
    if offset is not None and clock.get("utc") is None and clock.get("timezone") is None:
        clock.update(copied(offset))
    _fill(clock, "timer", preferred.get("preferredTimer"))


# Requirements

TEMPLATE = "spec.template.spec"


def unmet_requirement(preference: Object | None, instancetype: Object | None, spec: Object) -> tuple[str, str] | None:
    """(field, message) of the first requirement that neither instance type nor C(spec) meets."""
    required = (preference or {}).get("requirements") or {}
    cpu, memory = at(required, "cpu", "guest"), at(required, "memory", "guest")
    if required.get("cpu") is not None and (found := _cpu_shortage(preference, cpu or 0, instancetype, spec)):
        return found
    if required.get("memory") is not None and (found := _memory_shortage(memory or "0", instancetype, spec)):
        return found
    architecture = required.get("architecture")
    if architecture is not None and spec.get("architecture") != architecture:
        wanted = f"preference requires architecture {architecture} but {spec.get('architecture')} is being requested"
        return f"{TEMPLATE}.architecture", wanted
    return None


def _cpu_shortage(
    preference: Object | None, wanted: int, instancetype: Object | None, spec: Object
) -> tuple[str, str] | None:
    if instancetype is not None:
        count = at(instancetype, "cpu", "guest") or 0
        if count >= wanted:
            return None
        message = f"insufficient CPU resources of {count} vCPU provided by instance type"
        return "spec.instancetype", f"{message}, preference requires {wanted} vCPU"
    cpu = at(spec, "domain", "cpu")
    field = f"{TEMPLATE}.domain.cpu"
    if cpu is None:
        return field, f"no CPU resources provided by VirtualMachine, preference requires {wanted} vCPU"
    preferred = preferred_topology(preference)
    across = spread_options(preference)[1]
    parts, named = [preferred], preferred
    if preferred == "any":
        parts, named = ["cores", "sockets", "threads"], "cores, sockets and threads"
    elif preferred == "spread":
        parts, named = [name for name in ("sockets", "cores", "threads") if name.capitalize() in across], across
    count = 1
    for part in parts:
        count *= cpu.get(part) or 0
    if count >= wanted:
        return None
    message = (
        f"insufficient CPU resources of {count} vCPU provided by VirtualMachine, preference requires {wanted} vCPU"
    )
    return ", ".join(f"{field}.{part}" for part in parts), f"{message} provided as {named}"


def _memory_shortage(wanted: str, instancetype: Object | None, spec: Object) -> tuple[str, str] | None:
    provided, by, field = "0", "VirtualMachine", f"{TEMPLATE}.domain.memory"
    if instancetype is not None:
        provided, by, field = at(instancetype, "memory", "guest") or "0", "instance type", "spec.instancetype"
    provided = at(spec, "domain", "memory", "guest") or provided
    if parse(provided) >= parse(wanted):
        return None
    message = f"insufficient Memory resources of {canonical(provided)} provided by {by}"
    return field, f"{message}, preference requires {canonical(wanted)}"
