"""Keeps the disks of a running guest still while they are copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt

from virtlab.guests.real.guests import RealGuests
from virtlab.storage.problems import DataProblem


class RealQuiescer:
    """Implements Quiescer: the agent freezes the file systems, else the guest stands still for the time."""

    def __init__(self, guests: RealGuests) -> None:
        self._guests = guests

    def freeze(self, namespace: str, name: str) -> bool:
        """Raises DataProblem when the guest can be stopped neither way."""
        guest = self._guests.named(namespace, name)
        if guest is None:
            return False
        try:
            domain = self._guests.domain(guest)
            if guest.info is not None and _frozen(domain):
                return True
            if not guest.paused:
                guest.held = True
                domain.suspend()
        except libvirt.libvirtError as error:
            guest.held = False
            raise DataProblem(f"the guest does not stand still: {error}") from error
        return False

    def thaw(self, namespace: str, name: str) -> None:
        guest = self._guests.named(namespace, name)
        if guest is None:
            return
        try:
            domain = self._guests.domain(guest)
            if guest.held:
                domain.resume()
                guest.held = False
            elif guest.info is not None:
                domain.fsThaw()
        except libvirt.libvirtError as error:
            raise DataProblem(f"the guest does not go on: {error}") from error

    def grown(self, namespace: str, name: str, disk: Path, size: int) -> None:
        """Raises DataProblem when the guest does not get to know of it."""
        guest = self._guests.named(namespace, name)
        if guest is None:
            return
        try:
            domain = self._guests.domain(guest)
            for target in targets_of(domain.XMLDesc(0), disk):
                domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        except libvirt.libvirtError as error:
            raise DataProblem(f"the guest does not see that its disk grew: {error}") from error


def targets_of(xml: str, disk: Path) -> list[str]:
    """The device names under which a domain has the file C(disk)."""
    found = []
    for element in ElementTree.fromstring(xml).iter("disk"):
        source, target = element.find("source"), element.find("target")
        if source is not None and target is not None and source.get("file") == str(disk):
            found.append(target.get("dev", ""))
    return found


def _frozen(domain: Any) -> bool:
    try:
        domain.fsFreeze()
    except libvirt.libvirtError:
        return False
    return True
