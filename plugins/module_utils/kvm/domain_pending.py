# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running guest does not have yet of what its machine is by now: it takes a restart. Pure.

The two documents are libvirt's of the running guest and of the next start. They differ by much that was only filled in
at the start; compared is what says how the guest is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from xml.etree.ElementTree import Element

from .view import DiskView, DomainView, InterfaceView, view
from .xml import differences

_DISK_PARTS: dict[str, Callable[[DiskView], object]] = {
    "device": lambda disk: disk.device,
    "bus": lambda disk: disk.bus,
    "readonly": lambda disk: disk.readonly,
    "shareable": lambda disk: disk.shareable,
    "serial": lambda disk: disk.serial,
    "boot_order": lambda disk: disk.boot_order,
    "cache": lambda disk: _driver(disk, "cache"),
    "io": lambda disk: _driver(disk, "io"),
    "error_policy": lambda disk: _driver(disk, "error_policy"),
    "dedicated_io_thread": lambda disk: _driver(disk, "iothread"),
}
_INTERFACE_PARTS: dict[str, Callable[[InterfaceView], object]] = {
    "mac": lambda interface: (interface.mac or "").lower() or None,
    "model": lambda interface: interface.model,
    "network": lambda interface: (interface.type, interface.source, interface.portgroup),
    "boot_order": lambda interface: interface.boot_order,
}
# Devices of which it is compared how many there are and of which model.
_COUNTED = ("tpm", "video", "graphics", "rng", "watchdog", "hostdev", "filesystem", "panic", "sound", "vsock", "memory")
# Parts whose children mean the same in both documents.
_COMPARED = ("features", "clock", "sysinfo", "iothreads", "cputune", "numatune", "memtune", "blkiotune")
_ACTIONS = ("on_poweroff", "on_reboot", "on_crash")


def pending(live: Element, config: Element) -> list[str]:
    """Why the guest has to be restarted, as changed parts: C(memory), C(disk data: bus)."""
    return list(dict.fromkeys(_pending(live, config)))


def _pending(live: Element, config: Element) -> Iterator[str]:
    now, then = view(live), view(config)
    yield from _size(now, then)
    if now.machine_type != then.machine_type:
        yield f"machine_type: {now.machine_type} runs, {then.machine_type} is declared"
    if now.efi != then.efi or _securely(live) != _securely(config):
        yield "firmware"
    yield from _cpu(live, config)
    yield from _pages(live, config)
    for disk in then.disks:
        yield from _differing("disk", disk.name, now.disk(disk.name), disk, _DISK_PARTS)
    yield from (f"disk {disk.name}: taken away" for disk in now.disks if then.disk(disk.name) is None)
    for interface in then.interfaces:
        yield from _differing("interface", interface.name, now.interface(interface.name), interface, _INTERFACE_PARTS)
    yield from (
        f"interface {interface.name}: taken away"
        for interface in now.interfaces
        if then.interface(interface.name) is None
    )
    for tag in _COUNTED:
        if _models(live, tag) != _models(config, tag):
            yield tag
    for tag in _COMPARED:
        yield from _part(live, config, tag)
    for tag in _ACTIONS:
        if (live.findtext(tag) or "").strip() != (config.findtext(tag) or "").strip():
            yield tag


def _size(now: DomainView, then: DomainView) -> Iterator[str]:
    # The balloon gives the guest less than it was started with, never more.
    if then.memory > now.memory or then.memory_current > now.memory:
        yield f"memory: the guest was started with at most {now.memory // 1024**2} MiB"
    elif now.memory_current > then.memory:
        yield "memory: the guest gives none back"
    if now.vcpus != then.vcpus:
        more = then.vcpus > now.vcpus
        limit = f": the guest was started with at most {now.vcpus_maximum}"
        yield f"cpu{limit if more and then.vcpus > now.vcpus_maximum else ': the number of vCPUs'}"
    elif now.vcpus_maximum != then.vcpus_maximum and then.vcpus == then.vcpus_maximum and now.vcpus != then.vcpus:
        yield "cpu: the number of vCPUs"
    elif dict(now.topology) != dict(then.topology) and then.topology:
        yield "cpu: how vCPUs are arranged"


def _cpu(live: Element, config: Element) -> Iterator[str]:
    now, then = live.find("cpu"), config.find("cpu")
    if then is None or now is None:
        return
    mode, running = then.get("mode") or "custom", now.get("mode") or "custom"
    # The model of the host is spelled out when a guest starts.
    if mode == "host-model":
        if running == "host-passthrough" or running == "maximum":
            yield "cpu.model"
        return
    model, runs = (then.findtext("model") or "").strip(), (now.findtext("model") or "").strip()
    if mode != running or (mode == "custom" and model and model != runs):
        yield "cpu.model"
        return
    have = {item.get("name"): item.get("policy") for item in now.findall("feature")}
    for feature in then.findall("feature"):
        policy = feature.get("policy")
        got = have.get(feature.get("name"))
        if policy in ("require", "force", "disable") and got is not None and got != policy:
            yield f"cpu.features: {feature.get('name')}"


def _pages(live: Element, config: Element) -> Iterator[str]:
    if (live.find("memoryBacking/hugepages") is None) != (config.find("memoryBacking/hugepages") is None):
        yield "hugepages"


def _differing(
    kind: str, name: str, now: object, then: object, parts: Mapping[str, Callable[..., object]]
) -> Iterator[str]:
    if now is None:
        yield f"{kind} {name}: added"
        return
    for part, read in parts.items():
        # A network of libvirt that forwards to devices of the host gives a running guest one of them.
        if part == "network" and getattr(then, "type", "") == "network" != getattr(now, "type", ""):
            continue
        if part == "mac" and read(then) is None:
            continue
        if read(now) != read(then):
            yield f"{kind} {name}: {part}"


def _driver(disk: DiskView, name: str) -> str | None:
    driver = disk.element.find("driver")
    return driver.get(name) if driver is not None else None


def _models(domain: Element, tag: str) -> list[str]:
    found = []
    for device in domain.findall(f"devices/{tag}"):
        model = device.find("model")
        found.append(device.get("model") or (model.get("type") if model is not None else None) or "")
    return sorted(found)


def _securely(domain: Element) -> str:
    loader = domain.find("os/loader")
    feature = domain.find("os/firmware/feature[@name='secure-boot']")
    if feature is not None:
        return feature.get("enabled") or "no"
    return (loader.get("secure") if loader is not None else None) or "no"


def _part(live: Element, config: Element, tag: str) -> Iterator[str]:
    now, then = live.find(tag), config.find(tag)
    if now is None or then is None:
        if (now is None) != (then is None):
            yield tag
        return
    yield from differences(now, then, tag)
