"""Hyper-V enlightenments, memory encryption and devices that depend on the architecture.

hyperv.go and amd64.go of pkg/virt-api/webhooks.
"""

from __future__ import annotations

from collections.abc import Iterator

from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.webhook import FORBIDDEN, INVALID, NOT_SUPPORTED, at, items
from virtlab.resource import Object
from virtlab.status import Cause

# Enlightenment: the one that it needs; leaves first.
HYPERV_NEEDS = (
    ("evmcs", "vapic"),
    ("ipi", "vpindex"),
    ("tlbflush", "vpindex"),
    ("synictimer", "synic"),
    ("synic", "vpindex"),
)
VIDEO_TYPES = ("vga", "cirrus", "virtio", "ramfb", "bochs")
ENCRYPTION = {"sev": "SEV", "snp": "SNP", "tdx": "TDX"}
GATES = {"sev": "WorkloadEncryptionSEV", "snp": "WorkloadEncryptionSEV", "tdx": "WorkloadEncryptionTDX"}

Found = Iterator[Cause]


def fill_hyperv(spec: Object) -> None:
    """Turns on what the wanted enlightenments need, where it is not set."""
    hyperv = at(spec, "domain", "features", "hyperv")
    for name, needed in HYPERV_NEEDS if hyperv else ():
        if at(hyperv, name, "enabled") and at(hyperv, needed, "enabled") is None:
            hyperv[needed] = {**(hyperv.get(needed) or {}), "enabled": True}


def hyperv(path: str, spec: Object) -> Found:
    """For instances only. virt-api's paths name the features twice."""
    features, base = at(spec, "domain", "features") or {}, f"{path}.domain.features.hyperv"
    field = f"{base}.domain.features.hyperv"
    wanted = features.get("hyperv")
    for name, needed in HYPERV_NEEDS if wanted else ():
        if at(wanted, name, "enabled") and not at(wanted, needed, "enabled"):
            message = f"'{field}.{name}' requires '{field}.{needed}', which was disabled."
            yield Cause(message, f"{field}.{name}", INVALID)
    if wanted is not None and features.get("hypervPassthrough") is not None:
        message = (
            "Cannot explicitly set hyperV features if HypervPassthrough is being used. Please use either HyperV or "
            "HypervPassthrough."
        )
        yield Cause(message, base, INVALID)


def devices(path: str, spec: Object) -> Found:
    """For instances only."""
    architecture, wanted = spec.get("architecture"), at(spec, "domain", "devices") or {}
    if architecture not in ("amd64", "arm64", "s390x"):
        yield Cause(f"unsupported architecture: {architecture}", f"{path}.architecture", INVALID)
    if architecture != "amd64":
        return
    watchdog, video = wanted.get("watchdog"), wanted.get("video")
    if watchdog is not None and (watchdog.get("i6300esb") is None or watchdog.get("diag288") is not None):
        message = "amd64 only supports I6300ESB watchdog device"
        yield Cause(message, f"{path}.domain.devices.watchdog", NOT_SUPPORTED)
    if video is not None and video.get("type") not in VIDEO_TYPES:
        message = f"video model '{video.get('type') or ''}' is not supported on amd64 architecture"
        yield Cause(message, f"{path}.domain.devices.video.type", NOT_SUPPORTED)


def launch_security(path: str, spec: Object, settings: Settings) -> Found:
    security, field = at(spec, "domain", "launchSecurity"), f"{path}.launchSecurity"
    if security is None:
        return
    architecture = spec.get("architecture")
    if architecture != "amd64":
        if architecture != "s390x":
            message = f"No launchSecurity support for architecture: {architecture}"
            yield Cause(message, f"{path}.architecture", INVALID)
        return
    kinds = [kind for kind in ENCRYPTION if security.get(kind) is not None]
    if len(kinds) != 1:
        yield Cause("One and only one launchSecurity type can be set", field, FORBIDDEN)
    elif not settings.gate(GATES[kinds[0]]):
        yield Cause(f"{GATES[kinds[0]]} feature gate is not enabled in kubevirt-config", field, INVALID)
    else:
        for message in _encryption_problems(kinds[0], security, spec):
            yield Cause(message, field, INVALID)


def _encryption_problems(kind: str, security: Object, spec: Object) -> Iterator[str]:
    domain, title = spec.get("domain") or {}, ENCRYPTION[kind]
    smm, efi = at(domain, "features", "smm"), at(domain, "firmware", "bootloader", "efi")
    if kind == "tdx" and smm is not None and smm.get("enabled") is not False:
        yield "TDX does not work along with SMM"
    if efi is None:
        yield f"{title} requires OVMF (UEFI)"
    else:
        if kind != "tdx" and efi.get("secureBoot") is not False:
            yield f"{title} does not work along with SecureBoot"
        if kind != "sev" and efi.get("persistent"):
            yield f"{title} does not work along with Persistent EFI variables"
    if kind == "sev" and at(security, "sev", "attestation") is not None and spec.get("startStrategy") != "Paused":
        yield "SEV attestation requires VMI StartStrategy 'Paused'"
    for interface in items(domain, "devices", "interfaces"):
        if interface.get("bootOrder") is not None:
            yield f"{title} does not work with bootable NICs: {interface['name']}"
