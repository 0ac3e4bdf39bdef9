# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new machine has before anything is declared of it: a domain that boots any guest and can be extended. Pure.

It is written once. A machine that exists is never brought back to it.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from ..machine.quantity import amount
from .platform import Platform
from .vm_options import Declaration
from .xml import make

# Ports of a PCIe machine that are free for devices that are plugged in while it runs.
SPARE_PORTS = 8
# Seconds between the balloon driver's reports of the guest's memory.
_BALLOON_PERIOD = 10
# With what a domain begins.
_FRONT = ("name", "uuid", "genid", "title", "description", "metadata", "maxMemory", "memory", "currentMemory", "vcpu")


def skeleton(declaration: Declaration, platform: Platform) -> Element:
    """The domain of a new machine, still without what is declared."""
    domain = make("domain", type=platform.type)
    domain.append(make("name", declaration.name))
    os = SubElement(domain, "os")
    os.append(make("type", "hvm", arch=platform.architecture, machine=platform.machine))
    features = SubElement(domain, "features")
    if platform.architecture != "s390x":
        features.append(make("acpi"))
    if platform.is_x86:
        features.append(make("apic"))
        if platform.type in ("kvm", "qemu"):
            features.append(make("vmport", state="off"))
    domain.append(make("vcpu", "1"))
    if platform.cpu_mode:
        domain.append(make("cpu", mode=platform.cpu_mode))
    domain.append(_clock(platform))
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        domain.append(make(event, action))
    if platform.is_x86:
        power = SubElement(domain, "pm")
        power.extend([make("suspend-to-mem", enabled="no"), make("suspend-to-disk", enabled="no")])
    _devices(SubElement(domain, "devices"), declaration, platform)
    return domain


def _clock(platform: Platform) -> Element:
    clock = make("clock", offset="utc")
    if platform.is_x86:
        # What keeps guests in time when the host is busy (as virt-install and KubeVirt set it).
        clock.append(make("timer", name="rtc", tickpolicy="catchup"))
        clock.append(make("timer", name="pit", tickpolicy="delay"))
        clock.append(make("timer", name="hpet", present="no"))
    return clock


def _devices(devices: Element, declaration: Declaration, platform: Platform) -> None:
    if platform.has_pcie and platform.capabilities is not None:
        devices.append(make("controller", type="pci", index="0", model="pcie-root"))
        for index in range(1, 1 + _ports(declaration)):
            devices.append(make("controller", type="pci", index=str(index), model="pcie-root-port"))
    if platform.capabilities is None:
        return
    SubElement(devices, "serial", type="pty").append(make("target", port="0"))
    agent = SubElement(devices, "channel", type="unix")
    agent.append(make("target", type="virtio", name="org.qemu.guest_agent.0"))
    if platform.architecture != "s390x":
        devices.append(make("input", type="tablet", bus="usb"))
        devices.append(make("graphics", type="vnc", autoport="yes"))
        video = SubElement(devices, "video")
        video.append(make("model", type="vga" if platform.is_x86 else "virtio"))
    rng = SubElement(devices, "rng", model="virtio")
    rng.append(make("backend", "/dev/urandom", model="random"))
    balloon = SubElement(devices, "memballoon", model="virtio")
    balloon.append(make("stats", period=str(_BALLOON_PERIOD)))


def _ports(declaration: Declaration) -> int:
    """USB, virtio-serial, balloon and rng take a port each, as do the disks and interfaces; the rest is spare."""
    disks = sum(not disk.absent for disk in declaration.machine.disks or ())
    interfaces = sum(not interface.absent for interface in declaration.machine.interfaces or ())
    return min(4 + disks + interfaces + SPARE_PORTS, 30)


def memory_bytes(quantity: str) -> int:
    """The bytes of a quantity, rounded up to the KiB that libvirt counts in."""
    return -(-int(amount(quantity)) // 1024) * 1024


def in_order(domain: Element) -> Element:
    """libvirt takes elements in any order, but the schema's checker mistakes a name and a UUID that are apart."""
    ordered = Element(domain.tag, domain.attrib)
    ordered.extend(sorted(domain, key=lambda child: _FRONT.index(child.tag) if child.tag in _FRONT else len(_FRONT)))
    return ordered
