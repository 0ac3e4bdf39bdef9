# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Libvirt's own XML, as the option C(xml) has it, laid over a domain. Pure.

An element stands for the one of its name, or of its key where there may be many: disks by their target, interfaces by
their address, serial ports by their number, timers and CPU features by their name. What is not mentioned stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from xml.etree.ElementTree import Element

from .view import bytes_of
from .xml import holds, same, same_value

# What tells elements of one name apart: attributes of their own, or (path, attribute) of a child. One that has none of
# the keys is one more element, unless there is one that holds all that it says.
_KEYS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "disk": (("alias@name",), ("target@dev",)),
    "interface": (("alias@name",), ("mac@address",)),
    "controller": (("type", "index"),),
    "channel": (("target@name",),),
    "filesystem": (("target@dir",),),
    "serial": (("target@port",),),
    "graphics": (("type",),),
    "timer": (("name",),),
    "feature": (("name",),),
    "entry": (("name",),),
    "vcpupin": (("vcpu",),),
    "vcpusched": (("vcpus",),),
    "vcpu": (("id",),),
    "iothread": (("id",),),
    "iothreadpin": (("iothread",),),
    "cell": (("id",),),
    "sysinfo": (("type",),),
    "parameter": (("name",),),
    "memnode": (("cellid",),),
    "page": (("size",),),
    "device": (("path",),),
}
_MANY = frozenset({"hostdev", "redirdev", "input", "console", "parallel", "sound", "shmem", "memory", "audio"})
# Whole where they are given: their children are an order of words.
_WHOLE = frozenset({"{http://libvirt.org/schemas/domain/qemu/1.0}commandline"})
# Elements that libvirt writes in KiB, in whatever unit they were given.
_SIZES = frozenset(
    {"memory", "currentMemory", "maxMemory", "hard_limit", "soft_limit", "swap_hard_limit", "min_guarantee", "size"}
)


def overlay(domain: Element, given: Element) -> None:
    """Lay the attributes, texts and children that are given over the domain."""
    for name, value in given.attrib.items():
        domain.set(name, value)
    _lay(domain, given)


def _lay(place: Element, given: Element) -> None:
    for child in given:
        found = _counterpart(place, child)
        if found is None:
            place.append(deepcopy(child))
        elif child.tag in _WHOLE:
            if not same(found, child):
                place[list(place).index(found)] = deepcopy(child)
        elif child.tag in _SIZES and not len(child):
            if bytes_of(found) != bytes_of(child):
                found.text, found.attrib["unit"] = child.text, child.get("unit") or "KiB"
        else:
            text = (child.text or "").strip()
            if text and (found.text or "").strip() != text:
                found.text = text
            for name, value in child.attrib.items():
                is_same_mac = name == "address" and (found.get(name) or "").lower() == value.lower()
                if not same_value(found.get(name), value) and not is_same_mac:
                    found.set(name, value)
            _lay(found, child)


def _counterpart(place: Element, child: Element) -> Element | None:
    candidates = [item for item in place if item.tag == child.tag]
    held = next((item for item in candidates if holds(item, child)), None)
    if held is not None:
        return held
    is_device = place.tag == "devices"
    if child.tag in _MANY and is_device:
        return None
    keys = _KEYS.get(child.tag)
    if keys is None or (child.tag == "vcpu" and place.tag != "vcpus"):
        return candidates[0] if candidates else None
    for key in keys:
        values = [_value(child, part) for part in key]
        if all(value is None for value in values):
            continue
        return next((item for item in candidates if [_value(item, part) for part in key] == values), None)
    return None


def _value(element: Element, part: str) -> str | None:
    path, _at, name = part.rpartition("@")
    found = element.find(path) if path else element
    value = found.get(name) if found is not None else None
    return value.lower() if value and name == "address" else value
