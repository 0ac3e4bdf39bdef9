# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a Linux host a KVM host: packages, units, settings, by its family and by what is asked for.

Pure. Daemons and sockets: https://libvirt.org/daemons.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..machine.refusal import Refused

# ID and ID_LIKE of /etc/os-release, by the family they tell.
_FAMILIES = {
    "debian": ("debian", "ubuntu"),
    "redhat": ("rhel", "fedora", "centos"),
}
# The emulator's package on Debian, by the machine's own architecture.
_DEBIAN_EMULATORS = {
    "x86_64": "qemu-system-x86",
    "i686": "qemu-system-x86",
    "aarch64": "qemu-system-arm",
    "armv7l": "qemu-system-arm",
    "ppc64le": "qemu-system-ppc",
    "s390x": "qemu-system-misc",
}
_DEBIAN_FIRMWARES = {"x86_64": "ovmf", "aarch64": "qemu-efi-aarch64"}
_REDHAT_FIRMWARES = {"x86_64": "edk2-ovmf", "aarch64": "edk2-aarch64"}
# What a host can have beside the base, and the packages that bring it.
PARTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "debian": {
        "uefi": (),
        "tpm": ("swtpm", "swtpm-tools"),
        "network": ("dnsmasq-base", "iproute2"),
        "openvswitch": ("openvswitch-switch",),
        "iscsi": ("open-iscsi", "libvirt-daemon-driver-storage-iscsi-direct"),
        "nfs": ("nfs-common",),
        "lvm": ("lvm2",),
        "rbd": ("libvirt-daemon-driver-storage-rbd", "qemu-block-extra"),
        "gluster": ("libvirt-daemon-driver-storage-gluster", "qemu-block-extra"),
        "zfs": ("libvirt-daemon-driver-storage-zfs",),
    },
    "redhat": {
        "uefi": (),
        "tpm": ("swtpm", "swtpm-tools"),
        "network": ("libvirt-daemon-config-network", "dnsmasq"),
        "openvswitch": ("openvswitch",),
        "iscsi": ("libvirt-daemon-driver-storage-iscsi", "iscsi-initiator-utils"),
        "nfs": ("nfs-utils",),
        "lvm": ("libvirt-daemon-driver-storage-logical",),
        "rbd": ("libvirt-daemon-driver-storage-rbd", "qemu-kvm-block-rbd"),
        "gluster": ("libvirt-daemon-driver-storage-gluster",),
        "zfs": ("libvirt-daemon-driver-storage-zfs",),
    },
}
_BASE = {
    "debian": ("libvirt-daemon-system", "libvirt-clients", "qemu-utils", "python3-libvirt"),
    "redhat": ("libvirt-daemon", "libvirt-daemon-kvm", "libvirt-client", "qemu-kvm", "qemu-img", "python3-libvirt"),
}

# The daemons of the drivers that a KVM host needs, where each has its own.
DRIVERS = (
    "virtqemud",
    "virtnetworkd",
    "virtstoraged",
    "virtnodedevd",
    "virtnwfilterd",
    "virtsecretd",
    "virtinterfaced",
)
# Daemons that others start by themselves; systems have packages of their own for them, which not every host has.
_HELPERS = ("virtlogd.socket", "virtlockd.socket")


@dataclass(frozen=True)
class Release:
    """A system: its family, its ID and the number of its release (0 where it has none)."""

    family: str
    id: str
    number: int


def release_of(text: str) -> Release:
    """The system of an os-release file. Raises Refused for one that is not known."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    values = {name: value.strip().strip("\"'") for name, value in pairs.items()}
    kinds = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    for family, known in _FAMILIES.items():
        if any(kind in known for kind in kinds):
            number = values.get("VERSION_ID", "").partition(".")[0]
            return Release(family, values.get("ID", ""), int(number) if number.isdigit() else 0)
    raise Refused(
        f"This host is {values.get('PRETTY_NAME') or values.get('ID') or 'of no known kind'}; the families of Debian"
        " and Red Hat are known"
    )


def packages(release: Release, architecture: str, parts: Iterable[str], more: Iterable[str]) -> list[str]:
    """The packages of a KVM host, in the order to install them."""
    names = list(_BASE[release.family])
    if release.family == "debian":
        emulator = _DEBIAN_EMULATORS.get(architecture)
        if emulator is None:
            raise Refused(f"Debian has no package of QEMU for {architecture}; set packages: false")
        names.insert(0, emulator)
    firmwares = _DEBIAN_FIRMWARES if release.family == "debian" else _REDHAT_FIRMWARES
    for part in parts:
        names += [firmwares[architecture]] if part == "uefi" and architecture in firmwares else []
        names += PARTS[release.family][part]
    return list(dict.fromkeys([*names, *more]))


def daemons(release: Release, asked: str, present: Iterable[str]) -> str:
    """V(monolithic) or V(modular): what is asked for, else what is in use, else what the system's vendor chose."""
    if asked != "auto":
        return asked
    found = set(present)
    if "libvirtd" in found and not found & set(DRIVERS):
        return "monolithic"
    if found & set(DRIVERS) and "libvirtd" not in found:
        return "modular"
    # Fedora 35 and Red Hat Enterprise Linux 9 came with the daemons of the drivers.
    new = release.family == "redhat" and release.number >= (35 if release.id == "fedora" else 9)
    return "modular" if new else "monolithic"


@dataclass(frozen=True)
class Units:
    """Units of systemd: those that are to be enabled and active, those that are not, those to restart on a change.

    C(at_boot) are to be enabled as well, whether they run or not: daemons start guests and networks with the host.
    C(helpers) are wanted where they are there.
    """

    wanted: list[str]
    unwanted: list[str]
    daemons: list[str] = field(default_factory=list)
    at_boot: list[str] = field(default_factory=list)
    helpers: tuple[str, ...] = ()


def _sockets(daemon: str) -> list[str]:
    return [f"{daemon}.socket", f"{daemon}-ro.socket", f"{daemon}-admin.socket"]


def units(kind: str, *, tls: bool | None, tcp: bool | None) -> Units:
    """The units of a kind of daemons. None leaves the socket of a listener as it is."""
    front = "libvirtd" if kind == "monolithic" else "virtproxyd"
    if kind == "monolithic":
        wanted = _sockets("libvirtd")
        others = [unit for driver in (*DRIVERS, "virtproxyd") for unit in (*_sockets(driver), f"{driver}.service")]
        running = at_boot = ["libvirtd.service"]
    else:
        wanted = [*(unit for driver in DRIVERS for unit in _sockets(driver)), "virtproxyd.socket"]
        others = [*_sockets("libvirtd"), "libvirtd-tls.socket", "libvirtd-tcp.socket", "libvirtd.service"]
        at_boot = [f"{driver}.service" for driver in DRIVERS]
        running = [*at_boot, "virtproxyd.service"]
    for on, socket in ((tls, f"{front}-tls.socket"), (tcp, f"{front}-tcp.socket")):
        if on is not None:
            (wanted if on else others).append(socket)
    return Units(wanted, others, running, at_boot, _HELPERS)


def files(kind: str) -> dict[str, str]:
    """The files of the settings: of the daemon that serves guests, of the one that listens, of QEMU's driver."""
    serving, listening = ("libvirtd", "libvirtd") if kind == "monolithic" else ("virtqemud", "virtproxyd")
    return {
        "daemon": f"/etc/libvirt/{serving}.conf",
        "listener": f"/etc/libvirt/{listening}.conf",
        "qemu": "/etc/libvirt/qemu.conf",
    }


def tcp_listener(asked: bool, live: Mapping[str, str]) -> bool | None:
    """Whether a TCP listener is to be there, given the live settings; None leaves it alone.

    One without authentication is closed, unless it is asked for by name.
    """
    if asked:
        return True
    return False if live.get("auth_tcp", "").strip("\"'") == "none" else None


def listener_settings(*, tls: bool | None, tcp: bool | None, sockets: bool) -> dict[str, Any]:
    """The settings of the daemon that listens. With C(sockets) systemd listens, and these say only who may come in."""
    settings: dict[str, Any] = {}
    if tcp is not None:
        settings["auth_tcp"] = "none" if tcp else None
    if not sockets:
        settings |= {name: on for name, on in (("listen_tls", tls), ("listen_tcp", tcp)) if on is not None}
    return settings


# Ports that other hosts and their administrators come in by.
TLS_PORT, TCP_PORT, MIGRATION_PORTS = "16514/tcp", "16509/tcp", "49152-49215/tcp"


def ports(*, tls: bool | None, tcp: bool | None, more: Iterable[str]) -> list[str]:
    """The ports to open: of the listeners, of live migration, and others."""
    found = [*([TLS_PORT] if tls else []), *([TCP_PORT] if tcp else []), MIGRATION_PORTS, *more]
    return list(dict.fromkeys(found))
