"""What runs in a simulated guest: its system, by preference or image, and whether it has a guest agent."""

from __future__ import annotations

from dataclasses import dataclass

from virtlab.resource import Object


@dataclass(frozen=True)
class Guest:
    """C(info) is what the agent tells; without one there is no agent."""

    info: dict[str, str] | None


def _linux(id: str, name: str, version: str, kernel: str) -> dict[str, str]:
    return {
        "id": id,
        "name": name,
        "prettyName": f"{name} {version}",
        "version": version,
        "versionId": version,
        "kernelRelease": kernel,
        "kernelVersion": "#1 SMP PREEMPT_DYNAMIC",
        "machine": "x86_64",
    }


def _windows(version: str, title: str) -> dict[str, str]:
    return {
        "id": "mswindows",
        "name": "Microsoft Windows",
        "prettyName": title,
        "version": title,
        "versionId": version,
        "kernelRelease": "20348",
        "kernelVersion": "10.0",
        "machine": "x86_64",
    }


# text found in the preference or in an image: the guest
GUESTS: tuple[tuple[str, Guest], ...] = (
    ("cirros", Guest(None)),
    ("alpine", Guest(None)),
    ("legacy", Guest(None)),
    ("windows.11", Guest(_windows("11", "Windows 11"))),
    ("windows.10", Guest(_windows("10", "Windows 10"))),
    ("windows.2k25", Guest(_windows("2025", "Windows Server 2025 Standard"))),
    ("windows.2k22", Guest(_windows("2022", "Windows Server 2022 Standard"))),
    ("windows.2k19", Guest(_windows("2019", "Windows Server 2019 Standard"))),
    ("windows", Guest(_windows("2022", "Windows Server 2022 Standard"))),
    ("win", Guest(_windows("2022", "Windows Server 2022 Standard"))),
    ("rhel.10", Guest(_linux("rhel", "Red Hat Enterprise Linux", "10.0", "6.12.0-55.el10.x86_64"))),
    ("rhel10", Guest(_linux("rhel", "Red Hat Enterprise Linux", "10.0", "6.12.0-55.el10.x86_64"))),
    ("rhel.8", Guest(_linux("rhel", "Red Hat Enterprise Linux", "8.10", "4.18.0-553.el8_10.x86_64"))),
    ("rhel8", Guest(_linux("rhel", "Red Hat Enterprise Linux", "8.10", "4.18.0-553.el8_10.x86_64"))),
    ("rhel", Guest(_linux("rhel", "Red Hat Enterprise Linux", "9.6", "5.14.0-570.el9.x86_64"))),
    ("centos", Guest(_linux("centos", "CentOS Stream", "9", "5.14.0-592.el9.x86_64"))),
    ("ubuntu", Guest(_linux("ubuntu", "Ubuntu", "24.04", "6.8.0-60-generic"))),
    ("debian", Guest(_linux("debian", "Debian GNU/Linux", "12", "6.1.0-37-amd64"))),
    ("opensuse", Guest(_linux("opensuse-leap", "openSUSE Leap", "15.6", "6.4.0-default"))),
    ("sles", Guest(_linux("sles", "SLES", "15.6", "6.4.0-default"))),
    ("fedora", Guest(_linux("fedora", "Fedora Linux", "42", "6.14.0-63.fc42.x86_64"))),
)
DEFAULT = Guest(_linux("fedora", "Fedora Linux", "42", "6.14.0-63.fc42.x86_64"))


def guest_of(vmi: Object) -> Guest:
    """The guest by preference first, then by the names of images and claims; Fedora when nothing tells."""
    annotations = vmi["metadata"].get("annotations") or {}
    hints = [annotations.get("kubevirt.io/cluster-preference-name"), annotations.get("kubevirt.io/preference-name")]
    for volume in vmi["spec"].get("volumes") or ():
        hints.append((volume.get("containerDisk") or {}).get("image"))
    for hint in hints:
        for text, guest in GUESTS:
            if hint and text in hint:
                return guest
    return DEFAULT
