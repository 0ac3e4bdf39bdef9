# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init's network configuration, of version 1 or 2, says of addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment,unused-ignore]

_DEVICES = ("ethernets", "bonds", "bridges", "vlans")


def static_addresses(network_data: str | None) -> list[str]:
    """The addresses that a guest gives itself; none where the text is not understood, which is up to cloud-init."""
    if not network_data or yaml is None:
        return []
    try:
        data = yaml.safe_load(network_data)
    except yaml.YAMLError:
        return []
    found = []
    for text in _texts(data):
        try:
            found.append(str(ipaddress.ip_interface(text.strip()).ip))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def _texts(data: Any) -> Iterator[str]:
    if not isinstance(data, Mapping):
        return
    if isinstance(data.get("network"), Mapping):
        yield from _texts(data["network"])
    for kind in _DEVICES:
        for device in _values(data.get(kind)):
            # An address may be a key, with what there is to say of it.
            yield from (text for item in _items(device.get("addresses")) for text in _keys(item))
    for device in _items(data.get("config")):
        for subnet in _items(device.get("subnets")) if isinstance(device, Mapping) else ():
            if isinstance(subnet, Mapping) and isinstance(subnet.get("address"), str):
                yield subnet["address"]


def _values(data: Any) -> list[Mapping[str, Any]]:
    return [item for item in data.values() if isinstance(item, Mapping)] if isinstance(data, Mapping) else []


def _items(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def _keys(item: Any) -> list[str]:
    return [str(key) for key in item] if isinstance(item, Mapping) else [str(item)]
