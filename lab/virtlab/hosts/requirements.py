"""What KVM hosts in namespaces need of the machine, and what of it is not there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

TOOLS = {  # what is run, and the package that brings it (Debian, Fedora)
    "libvirtd": ("libvirt-daemon-system", "libvirt-daemon"),
    "qemu-system-x86_64": ("qemu-system-x86", "qemu-kvm"),
    "qemu-img": ("qemu-utils", "qemu-img"),
    "ip": ("iproute2", "iproute"),
    "nsenter": ("util-linux", "util-linux"),
    "unshare": ("util-linux", "util-linux"),
    "dnsmasq": ("dnsmasq-base", "dnsmasq"),
}
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class HostError(Exception):
    """What cannot be done with a host, why, and what to do; its text is all that is shown."""


def tool(name: str) -> str:
    """The path of a command, from system directories as well; raises HostError with the package that brings it."""
    found = shutil.which(name, path=SEARCHED)
    if found is None:
        raise HostError(_lacking(name))
    return found


def has(name: str) -> bool:
    return shutil.which(name, path=SEARCHED) is not None


def _lacking(name: str) -> str:
    debian, fedora = TOOLS.get(name, (name, name))
    return f"{name} is missing: install {debian} (Debian, Ubuntu) or {fedora} (Fedora, RHEL)"


def missing() -> Iterator[str]:
    """What is missing, a sentence each; nothing when hosts can be started here."""
    if not sys.platform.startswith("linux"):
        yield "KVM hosts need Linux"
        return
    if os.geteuid() != 0:
        yield "only root can make a host's namespaces: run it as root"
    elif not _privileged():
        yield "this root may not make namespaces (CAP_SYS_ADMIN is missing): run the container privileged"
    yield from (_lacking(name) for name in TOOLS if not has(name))
    if not Path("/dev/net/tun").exists():
        yield "/dev/net/tun is missing: modprobe tun"


def _privileged() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    sys_admin, net_admin = 1 << 21, 1 << 12
    return bool(effective & sys_admin and effective & net_admin)


def require() -> None:
    """Raises HostError with all that is missing."""
    if lacking := list(missing()):
        raise HostError("no KVM host can run here: " + "; ".join(lacking))
