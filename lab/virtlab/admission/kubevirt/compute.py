"""CPU, memory, firmware and devices of an instance: what virt-api refuses.

vmi-create-admitter.go of KubeVirt. A rule takes (path of the spec, spec, settings) and yields causes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from virtlab.admission.kubevirt.amounts import amount, resource, shown, vcpus, whole
from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.webhook import INVALID, NOT_SUPPORTED, REQUIRED, at, items
from virtlab.resource import Object
from virtlab.schema.quantity import PATTERN_TEXT, QuantityError, parse
from virtlab.status import Cause

SMALLEST_MEMORY = 1_000_000
CPU_FEATURE_POLICIES = ("", "force", "require", "optional", "disable", "forbid")
PANIC_MODELS = ("hyperv", "isa", "pvpanic")
IO_THREADS_POLICIES = ("shared", "auto", "supplementalPool")
SOUND_MODELS = ("", "ich9", "ac97")

Found = Iterator[Cause]


def memory_requests(path: str, spec: Object, _: Settings) -> Found:
    request, field = resource(spec, "requests", "memory"), f"{path}.domain.resources.requests.memory"
    if amount(request) < 0:
        yield Cause(f"{field} '{shown(request)}': must be greater than or equal to 0.", field, INVALID)
    elif 0 < amount(request) < SMALLEST_MEMORY:
        yield Cause(f"{field} '{shown(request)}': must be greater than or equal to 1M.", field, INVALID)


def memory_limits(path: str, spec: Object, _: Settings) -> Found:
    request, limit = resource(spec, "requests", "memory"), resource(spec, "limits", "memory")
    field, other = f"{path}.domain.resources.limits.memory", f"{path}.domain.resources.requests.memory"
    if amount(limit) < 0:
        yield Cause(f"{field} '{shown(limit)}': must be greater than or equal to 0.", field, INVALID)
    if 0 < amount(limit) < amount(request):
        yield Cause(f"{other} '{shown(request)}' is greater than {field} '{shown(limit)}'", other, INVALID)


def huge_pages(path: str, spec: Object, _: Settings) -> Found:
    pages = at(spec, "domain", "memory", "hugepages")
    if pages is None:
        return
    size, field = pages.get("pageSize") or "", f"{path}.domain.memory.hugepages.pageSize"
    try:
        page = int(parse(size))
    except QuantityError:
        yield Cause(f"{field} '{size}': {PATTERN_TEXT}", field, INVALID)
        return
    request = resource(spec, "requests", "memory")
    memory = whole(request) or whole(at(spec, "domain", "memory", "guest")) or whole(resource(spec, "limits", "memory"))
    wanted = f"{path}.domain.resources.requests.memory"
    if memory and memory < page:
        message = f"{wanted} '{shown(request)}' must be equal to or larger than page size {field} '{size}'"
        yield Cause(message, wanted, INVALID)
    elif page and memory % page:
        message = f"{wanted} '{shown(request)}' is not a multiple of the page size {field} '{size}'"
        yield Cause(message, wanted, INVALID)


def guest_memory(path: str, spec: Object, settings: Settings) -> Found:
    guest, limit = at(spec, "domain", "memory", "guest"), resource(spec, "limits", "memory")
    if settings.live_update or guest is None:
        return
    if 0 < whole(limit) < whole(guest):
        field = f"{path}.domain.memory.guest"
        bound = f"{path}.domain.resources.limits.memory"
        message = f"{field} '{shown(guest)}' must be equal to or less than the memory limit {bound} '{shown(limit)}'"
        yield Cause(message, field, INVALID)


def machine_type(path: str, spec: Object, settings: Settings) -> Found:
    wanted = at(spec, "domain", "machine", "type")
    allowed = settings.emulated_machines(spec.get("architecture") or settings.architecture)
    if wanted and not any(fnmatchcase(wanted, pattern) for pattern in allowed):
        field = f"{path}.domain.machine.type"
        message = f"{field} is not supported: {wanted} (allowed values: [{' '.join(allowed)}])"
        yield Cause(message, field, INVALID)


def acpi_tables(path: str, spec: Object, _: Settings) -> Found:
    acpi, field = at(spec, "domain", "firmware", "acpi"), f"{path}.acpi"
    if acpi is None:
        return
    if not acpi.get("slicNameRef") and not acpi.get("msdmNameRef"):
        yield Cause("ACPI was set but no SLIC nor MSDM volume reference was set", field, INVALID)
        return
    volumes = {volume.get("name"): volume for volume in items(spec, "volumes")}
    for name in ("slicNameRef", "msdmNameRef"):
        reference = acpi.get(name)
        if not reference:
            continue
        if reference not in volumes:
            yield Cause(f"{field} does not have a matching Volume.", f"{field}.{name}", INVALID)
        elif volumes[reference].get("secret") is None:
            yield Cause(f"{field} refers to Volume of unsupported type.", f"{field}.{name}", INVALID)


def cpu_amounts(path: str, spec: Object, _: Settings) -> Found:
    fields = {kind: f"{path}.domain.resources.{kind}.cpu" for kind in ("requests", "limits")}
    for kind, field in fields.items():
        value = resource(spec, kind, "cpu")
        if amount(value) < 0:
            yield Cause(f"{field} '{shown(value)}': must be greater than or equal to 0.", field, INVALID)
    request, limit = resource(spec, "requests", "cpu"), resource(spec, "limits", "cpu")
    if 0 < amount(limit) < amount(request):
        message = f"{fields['requests']} '{shown(request)}' is greater than {fields['limits']} '{shown(limit)}'"
        yield Cause(message, fields["requests"], INVALID)


def dedicated_cpus(path: str, spec: Object, settings: Settings) -> Found:
    cpu = at(spec, "domain", "cpu")
    if not (cpu or {}).get("dedicatedCpuPlacement"):
        return
    yield from _memory_is_given(path, spec)
    requests, limits = (f"{path}.domain.resources.{kind}" for kind in ("requests", "limits"))
    field = f"{path}.domain.cpu.dedicatedCpuPlacement"
    cpu_request, cpu_limit = resource(spec, "requests", "cpu"), resource(spec, "limits", "cpu")
    for name, value, where in (("requests", cpu_request, requests), ("limits", cpu_limit, limits)):
        if amount(value) > 0 and amount(value) != whole(value):
            yield Cause(f"provided resources CPU {name} must be an interger", f"{where}.cpu", INVALID)
    request, limit = resource(spec, "requests", "memory"), resource(spec, "limits", "memory")
    if whole(request) > 0 and whole(limit) > 0 and whole(request) != whole(limit):
        yield Cause(f"{requests}.memory must be equal to {limits}.memory", f"{requests}.memory", INVALID)
    asked, bound, count = whole(cpu_request), whole(cpu_limit), vcpus(spec)
    either = f"{requests}.cpu or {limits}.cpu"
    if not asked and not bound and not count:
        message = f"either {either} or {path}.domain.cpu.cores must be provided when DedicatedCPUPlacement is true "
        yield Cause(message, field, INVALID)
    if asked > 0 and bound > 0 and asked != bound:
        yield Cause(f"{either} must be equal when DedicatedCPUPlacement is true ", field, INVALID)
    if (asked > 0 or bound > 0) and count > 0 and count not in (asked, bound):
        message = (
            f"{either} must not be provided at the same time with {path}.domain.cpu.cores when DedicatedCPUPlacement "
            "is true "
        )
        yield Cause(message, field, INVALID)
    threads = (cpu or {}).get("threads") or 0
    architecture = spec.get("architecture") or settings.architecture
    if threads > 1 and architecture == "arm64":
        message = (
            f"threads must not be greater than 1 at {path}.domain.cpu.threads (got {threads}) when "
            f"{path}.architecture is arm64"
        )
        yield Cause(message, f"{path}.architecture", INVALID)
    if threads > 2:
        message = (
            f"Not more than two threads must be provided at {path}.domain.cpu.threads (got {threads}) when "
            "DedicatedCPUPlacement is true"
        )
        yield Cause(message, field, INVALID)


def _memory_is_given(path: str, spec: Object) -> Found:
    memory = at(spec, "domain", "memory") or {}
    given = (
        amount(resource(spec, "limits", "memory"))
        or amount(resource(spec, "requests", "memory"))
        or memory.get("hugepages") is not None
        or amount(memory.get("guest"))
    )
    if given:
        return
    domain = f"{path}.domain"
    message = (
        f"{domain}.resources.requests.memory, {domain}.resources.limits.memory, {domain}.memory.hugepages or "
        f"{domain}.memory.guest should be provided"
    )
    yield Cause(message, f"{domain}.resources.limits.memory", INVALID)


def numa(path: str, spec: Object, _: Settings) -> Found:
    cpu = at(spec, "domain", "cpu") or {}
    if at(cpu, "numa", "guestMappingPassthrough") is None:
        return
    field = f"{path}.domain.cpu.numa.guestMappingPassthrough"
    if not cpu.get("dedicatedCpuPlacement"):
        name = f"{path}.domain.cpu.dedicatedCpuPlacement"
        yield Cause(f"{name} must be set to true when NUMA topology strategy is set in {field}", field, INVALID)
    if at(spec, "domain", "memory", "hugepages") is None:
        name = f"{path}.domain.memory.hugepages"
        yield Cause(f"{name} must be requested when NUMA topology strategy is set in {field}", field, INVALID)


def cpu_options(path: str, spec: Object, _: Settings) -> Found:
    cpu, field = at(spec, "domain", "cpu") or {}, f"{path}.domain.cpu"
    if cpu.get("isolateEmulatorThread") and not cpu.get("dedicatedCpuPlacement"):
        message = "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement"
        yield Cause(message, f"{field}.isolateEmulatorThread", INVALID)
    for index, feature in enumerate(cpu.get("features") or ()):
        policy = feature.get("policy") or ""
        if policy not in CPU_FEATURE_POLICIES:
            message = f"CPU feature {feature['name']} uses policy {policy} that is not supported."
            yield Cause(message, f"{field}.features[{index}].policy", NOT_SUPPORTED)
    if cpu.get("maxSockets") and (cpu.get("sockets") or 0) > cpu["maxSockets"]:
        message = "Number of sockets in CPU topology is greater than the maximum sockets allowed"
        yield Cause(message, f"{field}.sockets", INVALID)


def start_strategy(path: str, spec: Object, _: Settings) -> Found:
    strategy, field = spec.get("startStrategy"), f"{path}.startStrategy"
    if strategy is None:
        return
    if strategy != "Paused":
        yield Cause(f"{field} is set with an unrecognized option: {strategy}", field, INVALID)
    elif spec.get("livenessProbe") is not None:
        message = (
            f"either {field} or {path}.livenessProbe should be provided.Pausing VMI with LivenessProbe is not supported"
        )
        yield Cause(message, field, INVALID)


def realtime(path: str, spec: Object, _: Settings) -> Found:
    cpu, field = at(spec, "domain", "cpu") or {}, f"{path}.domain.cpu"
    if cpu.get("realtime") is None:
        return
    if not cpu.get("dedicatedCpuPlacement"):
        name = f"{field}.dedicatedCpuPlacement"
        yield Cause(f"{name} must be set to true when {field}.realtime is used", name, REQUIRED)
    if at(cpu, "numa", "guestMappingPassthrough") is None:
        name = f"{field}.numa.guestMappingPassthrough"
        yield Cause(f"{name} must be defined when {field}.realtime is used", name, REQUIRED)


def inputs(path: str, spec: Object, _: Settings) -> Found:
    for index, device in enumerate(items(spec, "domain", "devices", "inputs")):
        field = f"{path}.domain.devices.inputs[{index}]"
        if device.get("bus") not in ("virtio", "usb", "", None):
            yield Cause("Input device can have only virtio or usb bus.", f"{field}.bus", INVALID)
        if device.get("type") != "tablet":
            yield Cause("Input device can have only tablet type.", f"{field}.type", INVALID)


def io_threads(path: str, spec: Object, _: Settings) -> Found:
    domain = spec.get("domain") or {}
    policy = domain.get("ioThreadsPolicy")
    if policy is None:
        return
    if policy not in IO_THREADS_POLICIES:
        yield Cause(f"Invalid IOThreadsPolicy ({policy})", f"{path}.domain.ioThreadsPolicy", INVALID)
    count = at(domain, "ioThreads", "supplementalPoolThreadCount") or 0
    if policy == "supplementalPool" and count < 1:
        message = "the number of iothreads needs to be set and positive for the dedicated policy"
        yield Cause(message, f"{path}.domain.ioThreads.count", INVALID)


def firmware(path: str, spec: Object, _: Settings) -> Found:
    domain, field = spec.get("domain") or {}, f"{path}.domain"
    loader = at(domain, "firmware", "bootloader") or {}
    if loader.get("efi") is not None and loader.get("bios") is not None:
        name = f"{field}.firmware.bootloader"
        message = f"{name} has both EFI and BIOS configured, but they are mutually exclusive."
        yield Cause(message, name, INVALID)
    yield from _kernel_boot(f"{field}.firmware.kernelBoot", at(domain, "firmware", "kernelBoot"))
    efi, smm = loader.get("efi"), at(domain, "features", "smm")
    secure = efi is not None and efi.get("secureBoot") is not False
    if secure and (smm is None or smm.get("enabled") is False) and at(domain, "launchSecurity", "tdx") is None:
        message = f"{field} has EFI SecureBoot enabled. SecureBoot requires SMM, which is currently disabled."
        yield Cause(message, field, INVALID)


def _kernel_boot(field: str, boot: Object | None) -> Found:
    if boot is None:
        return
    container = boot.get("container")
    if container is None:
        if boot.get("kernelArgs"):
            yield Cause(
                "kernel arguments cannot be provided without an external kernel", f"{field}.kernelArgs", INVALID
            )
        return
    field = f"{field}.container"
    if not container.get("image"):
        yield Cause(f"{field} must be defined with an image", f"{field}.image", REQUIRED)
    if not container.get("initrdPath") and not container.get("kernelPath"):
        message = f"{field} must be defined with at least one of the following: kernelPath, initrdPath"
        yield Cause(message, field, REQUIRED)


def displays(path: str, spec: Object, _: Settings) -> Found:
    devices = at(spec, "domain", "devices") or {}
    framed = 0
    for gpu in devices.get("gpus") or ():
        display = at(gpu, "virtualGPUOptions", "display")
        if display is not None and display.get("enabled") is not False:
            framed += at(display, "ramFB", "enabled") is not False
    if framed > 1:
        yield Cause("configuring multiple displays with ramfb is not valid ", f"{path}.GPUs", INVALID)


def host_devices(path: str, spec: Object, settings: Settings) -> Found:
    if at(spec, "domain", "devices", "hostDevices") and not settings.gate("HostDevices"):
        message = "Host Devices feature gate is not enabled in kubevirt-config"
        yield Cause(message, f"{path}.HostDevices", INVALID)


def sound(path: str, spec: Object, _: Settings) -> Found:
    device = at(spec, "domain", "devices", "sound")
    if device is None:
        return
    if (device.get("model") or "") not in SOUND_MODELS:
        yield Cause("Sound device type is not supported. Options: 'ich9' or 'ac97'", f"{path}.Sound", INVALID)
    if not device.get("name"):
        yield Cause("Sound device requires a name field.", f"{path}.Sound", INVALID)


def gated_devices(path: str, spec: Object, settings: Settings) -> Found:
    domain = spec.get("domain") or {}
    devices = domain.get("devices") or {}
    if devices.get("autoattachVSOCK") and not settings.gate("VSOCK"):
        message = "VSOCK feature gate is not enabled in kubevirt-config"
        yield Cause(message, f"{path}.domain.devices.autoattachVSOCK", INVALID)
    if devices.get("downwardMetrics") is not None and not settings.gate("DownwardMetrics"):
        message = "downwardMetrics virtio serial is not allowed: DownwardMetrics feature gate is not enabled"
        yield Cause(message, f"{path}.domain.devices.downwardMetrics", INVALID)


def video(path: str, spec: Object, _: Settings) -> Found:
    devices = at(spec, "domain", "devices") or {}
    if devices.get("video") is not None and devices.get("autoattachGraphicsDevice") is False:
        message = "Video configuration is not allowed when autoattachGraphicsDevice is set to false"
        yield Cause(message, f"{path}.video", INVALID)


def panic_devices(path: str, spec: Object, settings: Settings) -> Found:
    devices, field = items(spec, "domain", "devices", "panicDevices"), f"{path}.domain.devices.panicDevices"
    architecture = spec.get("architecture") or settings.architecture
    if devices and architecture == "s390x":
        yield Cause(f"custom panic devices are not supported on {architecture} architecture", field, INVALID)
    for index, device in enumerate(devices):
        model = device.get("model")
        if model is not None and model not in PANIC_MODELS:
            yield Cause(f"invalid PanicDeviceModel({model})", f"{field}[{index}].model", INVALID)


def gated_policies(path: str, spec: Object, settings: Settings) -> Found:
    domain = spec.get("domain") or {}
    if domain.get("rebootPolicy") is not None and not settings.gate("RebootPolicy"):
        message = "RebootPolicy is specified but the RebootPolicy feature gate is not enabled"
        yield Cause(message, f"{path}.domain.rebootPolicy", INVALID)
    if at(domain, "memory", "reservedOverhead") is not None and not settings.gate("ReservedOverheadMemlock"):
        message = "Reserved overhead memlock feature gate is not enabled in kubevirt-config"
        yield Cause(message, f"{path}.domain.memory.reservedOverhead", INVALID)
