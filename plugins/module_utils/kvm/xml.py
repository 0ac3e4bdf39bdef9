# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XML as libvirt has it: read, written, compared by meaning.

Pure. Documents come from libvirt or from the user's own playbook; attributes have no order, children of different names
have none among each other, children of one name have (the first disk is the first disk).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..machine.refusal import Refused

# The namespace of what this collection keeps in an object's metadata: labels and annotations.
NAMESPACE = "https://virtstack.github.io/xmlns/core/1"
_PREFIXES = {
    "virtstack": NAMESPACE,
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
    "libosinfo": "http://libosinfo.org/xmlns/libvirt/domain/1.0",
    "dnsmasq": "http://libvirt.org/schemas/network/dnsmasq/1.0",
    "fs": "http://libvirt.org/schemas/storagepool/fs/1.0",
    "rbd": "http://libvirt.org/schemas/storagepool/rbd/1.0",
}
for _prefix, _uri in _PREFIXES.items():
    ElementTree.register_namespace(_prefix, _uri)
_DECLARED = re.compile(r"""xmlns:([A-Za-z_][\w.-]*)\s*=\s*(?:"([^"&]+)"|'([^'&]+)')""")
# ElementTree gives these out itself.
_NUMBERED = re.compile(r"ns\d+")

# Attributes and elements whose value is a secret; libvirt gives them out only when asked by name.
_SECRETS = (("graphics", "passwd"), ("channel", "passwd"))


def parse(text: str, option: str = "xml") -> Element:
    """The document of a text. Raises Refused with line and column for what is no XML, or has a DOCTYPE."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Refused(f"{option}: has a DOCTYPE or entities, which libvirt's documents never have; take them out")
    _keep_prefixes(text)
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise Refused(f"{option}: is no XML (line {line}, column {column + 1}: {error.msg})") from error


def _keep_prefixes(text: str) -> None:
    """Have what others keep in an object's metadata written with the prefixes that they gave it."""
    for prefix, one, other in _DECLARED.findall(text):
        uri = one or other
        if prefix not in _PREFIXES and uri not in _PREFIXES.values() and not _NUMBERED.fullmatch(prefix):
            _PREFIXES[prefix] = uri
            ElementTree.register_namespace(prefix, uri)


def written(element: Element) -> str:
    """The document as an indented text, for libvirt and for a diff."""
    copy = deepcopy(element)
    ElementTree.indent(copy)
    return ElementTree.tostring(copy, encoding="unicode") + "\n"


def shown(element: Element | None) -> str:
    """The document for a diff: its secrets are masked; empty where there is none."""
    if element is None:
        return ""
    copy = deepcopy(element)
    for tag, attribute in _SECRETS:
        for found in copy.iter(tag):
            if attribute in found.attrib:
                found.set(attribute, "********")
    return written(copy)


def same(one: Element, other: Element) -> bool:
    """Whether two documents mean the same."""
    return next(differences(one, other), None) is None


def differences(before: Element, after: Element, path: str = "") -> Iterator[str]:
    """Where two documents differ, as paths: C(devices/disk[2]/target@bus), C(memory)."""
    if (before.text or "").strip() != (after.text or "").strip():
        yield path or after.tag
    for name in sorted({*before.attrib, *after.attrib}):
        if before.get(name) != after.get(name):
            yield f"{path}@{name}"
    ours, theirs = _by_tag(before), _by_tag(after)
    for tag in dict.fromkeys([*ours, *theirs]):
        left, right = ours.get(tag, []), theirs.get(tag, [])
        for index in range(max(len(left), len(right))):
            place = f"{path}/{tag}" if path else tag
            place = f"{place}[{index + 1}]" if max(len(left), len(right)) > 1 else place
            if index >= len(left) or index >= len(right):
                yield place
            else:
                yield from differences(left[index], right[index], place)


def _by_tag(element: Element) -> dict[str, list[Element]]:
    found: dict[str, list[Element]] = {}
    for child in element:
        found.setdefault(str(child.tag), []).append(child)
    return found


def holds(live: Element, declared: Element) -> bool:
    """Whether a document has every attribute, text and child that another one declares, whatever else it has."""
    text = (declared.text or "").strip()
    if text and (live.text or "").strip() != text:
        return False
    if any(not same_value(live.get(name), value) for name, value in declared.attrib.items()):
        return False
    candidates = list(live)
    for child in declared:
        found = next((item for item in candidates if item.tag == child.tag and holds(item, child)), None)
        if found is None:
            return False
        candidates.remove(found)
    return True


def same_value(live: str | None, declared: str) -> bool:
    """Whether an attribute is the declared one; libvirt writes 31 as 0x1f where it counts buses and slots."""
    if live == declared or live is None:
        return live == declared
    try:
        return live.startswith("0x") and int(live, 16) == int(declared, 0)
    except ValueError:
        return False


def ensure(parent: Element, path: str) -> Element:
    """The element at a path of names (C(devices/memballoon)), made where it is missing."""
    element = parent
    for tag in path.split("/"):
        child = element.find(tag)
        if child is None:
            child = ElementTree.SubElement(element, tag)
        element = child
    return element


def remove(parent: Element, path: str) -> None:
    """Take the elements at a path away, if there are any."""
    *above, tag = path.split("/")
    place = parent.find("/".join(above)) if above else parent
    for child in place.findall(tag) if place is not None else ():
        place.remove(child)  # type: ignore[union-attr]


def make(tag: str, text: str | None = None, /, **attributes: str | None) -> Element:
    """An element; attributes that are None are left out, a trailing underscore escapes Python's keywords."""
    element = Element(tag, {name.rstrip("_"): value for name, value in attributes.items() if value is not None})
    element.text = text
    return element
