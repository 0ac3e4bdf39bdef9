# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Laying a declaration over a document of libvirt: what it says holds afterwards, the rest stays.

Pure. An overlay is a document of its own. Its elements are merged into those of the same tag; of elements that are
items of a list, the ones with the same key are merged. Three marks say what plain XML cannot: C(gone), C(whole) and
C(instead).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from xml.etree.ElementTree import Element

from .xml import NAMESPACE, same

_GONE, _WHOLE, _INSTEAD = (f"{{{NAMESPACE}}}{mark}" for mark in ("gone", "whole", "instead"))
_MARKS = frozenset({_GONE, _WHOLE, _INSTEAD})

# The key of an item, None where the element is none: for a tag, by the tag of its parent (C(dhcp/host)).
Key = Callable[[Element], object]
Keys = Mapping[str, Key]


def gone(element: Element) -> Element:
    """Mark an element of an overlay: the one like it is to be taken away."""
    element.set(_GONE, "yes")
    return element


def instead(element: Element) -> Element:
    """Mark an element of an overlay: it takes the place of the one like it, instead of being merged into it."""
    element.set(_INSTEAD, "yes")
    return element


def whole(parent: Element, *tags: str) -> None:
    """Mark lists below an element of an overlay: items that it does not name are to be taken away."""
    parent.set(_WHOLE, " ".join(dict.fromkeys([*(parent.get(_WHOLE) or "").split(), *tags])))


def laid_over(live: Element, overlay: Element, keys: Keys) -> Element:
    """A copy of C(live) with what C(overlay) says."""
    result = deepcopy(live)
    _merge(result, overlay, keys)
    return result


def fresh(overlay: Element, keys: Keys) -> Element:
    """The document of an overlay where there was none."""
    return laid_over(Element(overlay.tag), overlay, keys)


def attributes(*names: str) -> Key:
    """The key of items that are told apart by these attributes."""
    return lambda element: tuple(meaning(name, element.get(name) or "") for name in names)


def _merge(live: Element, overlay: Element, keys: Keys) -> None:
    for name, value in overlay.attrib.items():
        if name not in _MARKS and not _is_same(name, live.get(name), value):
            live.set(name, value)
    text = (overlay.text or "").strip()
    if text and (live.text or "").strip() != text:
        live.text = text
    for tag in (overlay.get(_WHOLE) or "").split():
        wanted = [child for child in overlay.findall(tag) if child.get(_GONE) is None]
        for child in live.findall(tag):
            if _match(child, wanted, live.tag, keys) is None:
                live.remove(child)
    for child in overlay:
        found = _match(child, live.findall(child.tag), live.tag, keys)
        if child.get(_GONE) is not None:
            if found is not None:
                live.remove(found)
        elif found is None:
            live.append(fresh(child, keys))
        elif child.get(_INSTEAD) is not None:
            taken = fresh(child, keys)
            if not same(found, taken):
                live[list(live).index(found)] = taken
        else:
            _merge(found, child, keys)


def _match(item: Element, candidates: Sequence[Element], parent: str, keys: Keys) -> Element | None:
    key = keys.get(f"{parent}/{item.tag}")
    if key is None:
        return candidates[0] if candidates else None
    wanted = key(item)
    return next((candidate for candidate in candidates if key(candidate) == wanted), None)


def _is_same(name: str, before: str | None, after: str) -> bool:
    return before is not None and meaning(name, before) == meaning(name, after)


# Attributes whose values have several spellings.
_ADDRESSES = frozenset({"address", "ip", "start", "end", "gateway", "addr", "server"})


def meaning(name: str, value: str) -> str:
    """The value of an attribute in one spelling: MAC and IP addresses have several."""
    if name in _ADDRESSES:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            return value.lower() if value.count(":") == 5 else value
    return value.lower() if name == "mac" else value
