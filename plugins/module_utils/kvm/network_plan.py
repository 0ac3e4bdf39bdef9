# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which changes of an active network can be made while guests use it, and what waits for its next start.

Pure. The sections are those that virNetworkUpdate implements; it names others that it then refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from xml.etree.ElementTree import Element, tostring

from .network_xml import KEYS, address_of
from .xml import differences, same

# Section of virNetworkUpdate -> parent and tag of its items, and whether an item can be modified where it is.
_SECTIONS: tuple[tuple[str, str, str, bool], ...] = (
    ("DNS_HOST", "dns", "host", False),
    ("DNS_TXT", "dns", "txt", False),
    ("DNS_SRV", "dns", "srv", False),
    ("FORWARD_INTERFACE", "forward", "interface", False),
    ("PORTGROUP", ".", "portgroup", True),
)
_OF_AN_IP: tuple[tuple[str, str, bool], ...] = (("IP_DHCP_RANGE", "range", False), ("IP_DHCP_HOST", "host", True))

# The ports that an active network translates to, where its configuration says none.
_USUAL_PORTS = ("1024", "65535")


@dataclass(frozen=True)
class Step:
    """One call of virNetworkUpdate: C(command) is C(ADD_LAST), C(MODIFY) or C(DELETE)."""

    command: str
    section: str
    parent: int
    item: Element

    @property
    def xml(self) -> str:
        return tostring(self.item, encoding="unicode").strip()

    def __str__(self) -> str:
        verb = {"ADD_LAST": "added", "MODIFY": "changed", "DELETE": "removed"}[self.command]
        told = " ".join(self.item.attrib.values())
        return f"{verb} {self.section.lower().replace('_', '-')} {told}"


@dataclass(frozen=True)
class Plan:
    """The steps that bring an active network closer to what is wanted; C(left) names parts that still differ then."""

    steps: list[Step]
    left: list[str]


def plan(live: Element, wanted: Element) -> Plan:
    """The way from the network as it runs to the one that is wanted."""
    steps: list[Step] = []
    now = deepcopy(live)
    for section, path, tag, modifies in _SECTIONS:
        before, after = now.find(path), wanted.find(path)
        # dnsmasq runs with or without a DNS; only what is in it can change.
        if after is None or (before is None and path != "dns"):
            continue
        if before is None:
            before = Element("dns")
            now.append(before)
        steps += _of_list(section, -1, before, after, tag, modifies)
    for index, ip in enumerate(now.findall("ip")):
        after = next((item for item in wanted.findall("ip") if address_of(item) == address_of(ip)), None)
        if after is not None:
            steps += _of_ip(index, ip, after)
    for empty in now.findall("dns"):
        if not len(empty) and not empty.attrib and wanted.find("dns") is None:
            now.remove(empty)
    places = differences(_comparable(now), _comparable(wanted))
    return Plan(steps, list(dict.fromkeys(re.split(r"[\[/@]", place.lstrip("@"))[0] for place in places)))


def _of_ip(index: int, ip: Element, after: Element) -> list[Step]:
    served, wanted = ip.find("dhcp"), after.find("dhcp")
    before = served if served is not None else Element("dhcp")
    steps = [
        step
        for section, tag, modifies in _OF_AN_IP
        for step in _of_list(section, index, before, wanted if wanted is not None else Element("dhcp"), tag, modifies)
    ]
    if served is None and len(before):
        ip.append(before)
    elif served is not None and not len(served) and wanted is None:
        ip.remove(served)
    return steps


def _of_list(section: str, parent: int, before: Element, after: Element, tag: str, modifies: bool) -> list[Step]:
    """The steps for the items of one list; C(before) becomes what it is after them."""
    key = KEYS[f"{'network' if section == 'PORTGROUP' else before.tag}/{tag}"]
    ours, theirs = {key(item): item for item in before.findall(tag)}, {key(item): item for item in after.findall(tag)}
    removed = [item for name, item in ours.items() if name not in theirs]
    changed = [(item, theirs[name]) for name, item in ours.items() if name in theirs and not same(item, theirs[name])]
    added = [item for name, item in theirs.items() if name not in ours]
    steps = []
    for item in removed:
        before.remove(item)
        steps.append(Step("DELETE", section, parent, item))
    for old, new in changed:
        before[list(before).index(old)] = deepcopy(new)
        if modifies:
            steps.append(Step("MODIFY", section, parent, new))
        else:
            steps += [Step("DELETE", section, parent, old), Step("ADD_LAST", section, parent, new)]
    for item in added:
        before.append(deepcopy(item))
        steps.append(Step("ADD_LAST", section, parent, item))
    return steps


def _comparable(network: Element) -> Element:
    """Without what running changes by itself: the order of items, the first device said twice, the usual ports."""
    copy = deepcopy(network)
    for nat in copy.findall("forward/nat"):
        for port in nat.findall("port"):
            if (port.get("start"), port.get("end")) == _USUAL_PORTS:
                nat.remove(port)
    for forward in copy.findall("forward"):
        for nat in forward.findall("nat"):
            if not len(nat) and not nat.attrib:
                forward.remove(nat)
    for forward in copy.findall("forward"):
        if forward.find("interface") is not None:
            forward.attrib.pop("dev", None)
    for place in _places(copy):
        place[:] = sorted(place, key=_order)
    return copy


def _order(item: Element) -> tuple[str, list[tuple[str, str]], str]:
    return str(item.tag), sorted(item.attrib.items()), (item.text or "").strip()


def _places(network: Element) -> Iterator[Element]:
    yield network
    for path in ("dns", "forward", "ip/dhcp"):
        yield from network.findall(path)
