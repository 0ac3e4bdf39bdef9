# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing to a running guest what can be done, and waiting until the guest has let go of what it loses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from xml.etree.ElementTree import Element

from .connection import Host
from .domain_live import ATTACH, DESCRIPTION, DETACH, LABELS, MEMORY, TITLE, UPDATE, VCPUS, Change
from .errors import KvmError, Timeout, asking
from .library import libvirt
from .view import DomainView, view
from .xml import NAMESPACE, parse, remove, written

# Seconds that a guest has to let go of a device, or to bring up a vCPU.
GUEST_TIME = 30.0


def apply_live(
    host: Host, domain: libvirt.virDomain, changes: Sequence[Change], timeout: float = GUEST_TIME
) -> list[str]:
    """Do the changes; what could not be done, with the reason. What comes after one that failed is still done."""
    failed = []
    for change in changes:
        try:
            _ACTIONS[change.kind](host, domain, change, timeout)
        except KvmError as error:
            failed.append(f"{change.name}: {error.message}")
    return failed


def live_xml(domain: libvirt.virDomain) -> Element:
    """The document of the running guest."""
    with asking(f"read virtual machine {domain.name()}"):
        return parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE))


def _attach(_host: Host, domain: libvirt.virDomain, change: Change, _timeout: float) -> None:
    device = deepcopy(change.element)
    if device is None:
        return
    with asking(f"plug {change.name} into the running guest"):
        domain.attachDeviceFlags(written(device), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _update(_host: Host, domain: libvirt.virDomain, change: Change, _timeout: float) -> None:
    if change.element is None:
        return
    with asking(f"change {change.name} of the running guest"):
        domain.updateDeviceFlags(written(change.element), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _detach(host: Host, domain: libvirt.virDomain, change: Change, timeout: float) -> None:
    """The guest is asked to let go, and may refuse, or never answer."""
    if change.element is None:
        return
    device = deepcopy(change.element)
    # libvirt finds it by its address and MAC; what it is plugged into may have changed meanwhile.
    remove(device, "backingStore")
    alias = device.find("alias")
    name = alias.get("name") if alias is not None else None
    with host.watch(domain, "DEVICE_REMOVED", "DEVICE_REMOVAL_FAILED", "LIFECYCLE") as watch:
        with asking(f"unplug {change.name} from the running guest"):
            domain.detachDeviceFlags(written(device), libvirt.VIR_DOMAIN_AFFECT_LIVE)

        def look() -> bool | None:
            if any(kind == "DEVICE_REMOVAL_FAILED" and arguments[0] == name for kind, arguments in watch.seen):
                raise KvmError(f"Cannot unplug {change.name} from the running guest: the guest refused to let it go.")
            if any(kind == "DEVICE_REMOVED" and arguments[0] == name for kind, arguments in watch.seen):
                return True
            with asking(f"read virtual machine {domain.name()}"):
                if not domain.isActive():
                    return True
            return None if _has(view(live_xml(domain)), change.name) else True

        watch.until(
            look,
            timeout,
            lambda: (
                f"Cannot unplug {change.name} from the running guest: it did not let it go within {timeout:.0f} s."
                " Take it out of use in the guest, and run this again."
            ),
        )


def _has(found: DomainView, label: str) -> bool:
    kind, _space, name = label.partition(" ")
    return (found.disk(name) if kind == "disk" else found.interface(name)) is not None


def _memory(host: Host, domain: libvirt.virDomain, change: Change, timeout: float) -> None:
    wanted = int(change.value or 0)
    with host.watch(domain, "BALLOON_CHANGE") as watch:
        with asking("change the memory of the running guest"):
            domain.setMemoryFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)

        def look() -> bool | None:
            with asking("read the memory of the running guest"):
                return True if domain.info()[2] == wanted else None

        # Without the balloon's driver a guest keeps what it has; what is not there soon takes a restart.
        try:
            watch.until(look, min(timeout, 5.0), lambda: "")
        except Timeout:
            return


def _vcpus(_host: Host, domain: libvirt.virDomain, change: Change, _timeout: float) -> None:
    with asking("change the number of vCPUs of the running guest"):
        domain.setVcpusFlags(int(change.value or 1), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _text(kind: int) -> Callable[[Host, libvirt.virDomain, Change, float], None]:
    def write(_host: Host, domain: libvirt.virDomain, change: Change, _timeout: float) -> None:
        with asking(f"write the {change.name} of the running guest"):
            domain.setMetadata(kind, change.value or None, None, None, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    return write


def _labels(_host: Host, domain: libvirt.virDomain, change: Change, _timeout: float) -> None:
    set_kept(domain, change.element, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def set_kept(domain: libvirt.virDomain, element: Element | None, flags: int) -> None:
    """Write what this collection keeps in a domain's metadata."""
    # libvirt itself puts the outer element into the namespace, and refuses one that is in it already.
    parts = "".join(written(part) for part in element) if element is not None else ""
    text = f"<machine>{parts}</machine>" if element is not None else None
    with asking(f"write the labels of virtual machine {domain.name()}"):
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "virtstack", NAMESPACE, flags)


_ACTIONS: dict[str, Callable[[Host, libvirt.virDomain, Change, float], None]] = {
    ATTACH: _attach,
    DETACH: _detach,
    UPDATE: _update,
    MEMORY: _memory,
    VCPUS: _vcpus,
    TITLE: _text(1),
    DESCRIPTION: _text(0),
    LABELS: _labels,
}
