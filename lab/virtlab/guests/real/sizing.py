"""Processors and memory that a running guest gains, as virt-launcher plugs them into its domain."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from virtlab.guests.interface import Resized
from virtlab.guests.real.devices import add, element

BLOCK = 2 << 20  # bytes, that virtio-mem gives or takes at a time


def resize(domain: Any, vcpus: int, memory: int) -> Resized:
    """Give a domain C(vcpus) and C(memory) bytes in all; the guest takes memory in when it comes to it."""
    return Resized(True, _tried(_set_vcpus, domain, vcpus), _tried(_set_memory, domain, memory))


def _tried(change: Any, domain: Any, wanted: int) -> str:
    try:
        change(domain, wanted)
    except libvirt.libvirtError as error:
        return str(error)
    return ""


def _set_vcpus(domain: Any, wanted: int) -> None:
    if domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) != wanted:
        domain.setVcpusFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _set_memory(domain: Any, wanted: int) -> None:
    """By a virtio-mem device, which is plugged the first time (pkg/liveupdate/memory)."""
    live = ET.fromstring(domain.XMLDesc(0))
    most = int(live.findtext("./maxMemory") or 0) << 10
    device = live.find("./devices/memory[@model='virtio-mem']")
    booted = (int(live.findtext("./memory") or 0) << 10) - plugged(device)
    requested = wanted - booted
    if device is not None:
        told = device.find("./target/requested")
        if told is not None and int(told.text or 0) << 10 != requested:
            told.text = str(requested >> 10)
            domain.updateDeviceFlags(ET.tostring(device, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    elif requested:
        text = ET.tostring(memory_device(most - booted, requested), encoding="unicode")
        domain.attachDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def memory_device(size: int, requested: int) -> ET.Element:
    """A virtio-mem device that can hold C(size) bytes, of which the guest is to take C(requested)."""
    device = element("memory", model="virtio-mem")
    target = add(device, "target")
    add(target, "size", str(size >> 10), unit="KiB")
    add(target, "node", "0")
    add(target, "block", str(BLOCK >> 10), unit="KiB")
    add(target, "requested", str(requested >> 10), unit="KiB")
    return device


def plugged(device: ET.Element | None) -> int:
    """Bytes that a memory device may hold, which libvirt counts to the domain's memory."""
    return int(device.findtext("./target/size") or 0) << 10 if device is not None else 0
