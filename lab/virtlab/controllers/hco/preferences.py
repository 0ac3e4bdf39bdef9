"""The common preferences that virt-operator deploys (kubevirt/common-instancetypes), from parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from virtlab.patches import merge
from virtlab.resource import Object

PREFIX = "instancetype.kubevirt.io"

PARTS: dict[str, Object] = {
    "virtio": {
        "devices": {
            "preferredDiskBus": "virtio",
            "preferredInterfaceModel": "virtio",
            "preferredRng": {},
        }
    },
    "efi": {"firmware": {"preferredEfi": {"persistent": True, "secureBoot": False}}},
    "secureboot": {
        "features": {"preferredSmm": {}},
        "firmware": {"preferredEfi": {"persistent": True, "secureBoot": True}},
    },
    "linux-efi": {"firmware": {"preferredEfi": {"secureBoot": False}}},
    "tpm": {"devices": {"preferredTPM": {"persistent": True}}},
    "sockets": {"cpu": {"preferredCPUTopology": "sockets"}},
    "cores": {"cpu": {"preferredCPUTopology": "cores"}},
    "windows": {
        "clock": {
            "preferredClockOffset": {"utc": {}},
            "preferredTimer": {
                "hpet": {"present": False},
                "pit": {"tickPolicy": "delay"},
                "rtc": {"tickPolicy": "catchup"},
                "hyperv": {},
            },
        },
        "devices": {
            "preferredDiskBus": "sata",
            "preferredInterfaceModel": "e1000e",
            "preferredInputBus": "usb",
            "preferredInputType": "tablet",
        },
        "features": {
            "preferredAcpi": {},
            "preferredApic": {},
            "preferredHyperv": {
                "relaxed": {},
                "vapic": {},
                "vpindex": {},
                "spinlocks": {"spinlocks": 8191},
                "synic": {},
                "synictimer": {"direct": {}},
                "tlbflush": {},
                "frequencies": {},
                "reenlightenment": {},
                "ipi": {},
                "runtime": {},
                "reset": {},
            },
        },
        "preferredTerminationGracePeriodSeconds": 3600,
    },
    "windows-virtio": {"devices": {"preferredDiskBus": "virtio", "preferredInterfaceModel": "virtio"}},
    "legacy": {
        "devices": {"preferredDiskBus": "sata", "preferredInterfaceModel": "rtl8139"},
        "machine": {"preferredMachineType": "pc-i440fx"},
    },
}


@dataclass(frozen=True)
class Preference:
    name: str
    title: str
    parts: tuple[str, ...]
    cpus: int = 1
    memory: str = ""


def _windows() -> Iterator[Preference]:
    # name: (title, parts, vCPUs, memory)
    versions: dict[str, tuple[str, tuple[str, ...], int, str]] = {
        "10": ("Microsoft Windows 10", ("cores",), 1, "2Gi"),
        "11": ("Microsoft Windows 11", ("cores", "tpm", "secureboot"), 2, "4Gi"),
        "2k16": ("Microsoft Windows Server 2016", ("efi",), 1, "512Mi"),
        "2k19": ("Microsoft Windows Server 2019", ("efi",), 1, "512Mi"),
        "2k22": ("Microsoft Windows Server 2022", ("tpm", "secureboot"), 1, "2Gi"),
        "2k25": ("Microsoft Windows Server 2025", ("tpm", "secureboot"), 1, "2Gi"),
    }
    for version, (title, parts, cpus, memory) in versions.items():
        base = ("sockets", "windows", *parts)
        yield Preference(f"windows.{version}", title, base, cpus, memory)
        yield Preference(f"windows.{version}.virtio", f"{title} (virtio)", (*base, "windows-virtio"), cpus, memory)


PREFERENCES = (
    Preference("alpine", "Alpine Linux", ("virtio",), 1, "512Mi"),
    Preference("centos.stream10", "CentOS Stream 10", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("centos.stream10.desktop", "CentOS Stream 10 Desktop", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("centos.stream9", "CentOS Stream 9", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("centos.stream9.desktop", "CentOS Stream 9 Desktop", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("cirros", "CirrOS", ("virtio",), 1, "256Mi"),
    Preference("debian", "Debian", ("virtio",), 1, "1Gi"),
    Preference("fedora", "Fedora", ("virtio", "linux-efi"), 1, "2Gi"),
    Preference("legacy", "Legacy", ("legacy",)),
    Preference("linux", "Linux", ("virtio",)),
    Preference("linux.efi", "Linux (EFI)", ("virtio", "linux-efi")),
    Preference("opensuse.leap", "openSUSE Leap", ("virtio",), 1, "1Gi"),
    Preference("opensuse.tumbleweed", "openSUSE Tumbleweed", ("virtio",), 1, "1Gi"),
    Preference("oraclelinux", "Oracle Linux", ("virtio",), 1, "1536Mi"),
    Preference("rhel.10", "Red Hat Enterprise Linux 10", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("rhel.7", "Red Hat Enterprise Linux 7", ("virtio",), 1, "1Gi"),
    Preference("rhel.8", "Red Hat Enterprise Linux 8", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("rhel.8.desktop", "Red Hat Enterprise Linux 8 Desktop", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("rhel.9", "Red Hat Enterprise Linux 9", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("rhel.9.desktop", "Red Hat Enterprise Linux 9 Desktop", ("virtio", "linux-efi"), 1, "1536Mi"),
    Preference("sles", "SUSE Linux Enterprise Server", ("virtio",), 1, "1Gi"),
    Preference("ubuntu", "Ubuntu", ("virtio", "linux-efi"), 1, "1Gi"),
    *_windows(),
)


def preferences() -> Iterator[Object]:
    """Every common VirtualMachineClusterPreference."""
    for preference in PREFERENCES:
        spec: Any = {}
        for part in preference.parts:
            spec = merge(spec, PARTS[part])
        labels = {
            f"{PREFIX}/vendor": "kubevirt.io",
            f"{PREFIX}/os-type": "windows" if preference.name.startswith("windows") else "linux",
            "app.kubernetes.io/component": "kubevirt",
            "app.kubernetes.io/managed-by": "virt-operator",
        }
        if preference.memory:
            labels[f"{PREFIX}/required-cpu"] = str(preference.cpus)
            labels[f"{PREFIX}/required-memory"] = preference.memory
            spec["requirements"] = {
                "cpu": {"guest": preference.cpus},
                "memory": {"guest": preference.memory},
            }
        yield {
            "apiVersion": "instancetype.kubevirt.io/v1beta1",
            "kind": "VirtualMachineClusterPreference",
            "metadata": {
                "name": preference.name,
                "labels": labels,
                "annotations": {"openshift.io/display-name": preference.title},
            },
            "spec": spec,
        }
