"""Addresses in cloud-init's network configuration."""

from __future__ import annotations

import pytest
from ansible_collections.virtstack.core.plugins.module_utils.machine.network_data import static_addresses

VERSION_2 = """
version: 2
ethernets:
  lan: {match: {name: "en*"}, addresses: [192.168.5.7/24, "fd00::0:7/64", {10.0.0.3/8: {label: x}}],
        routes: [{to: 10.9.0.0/16, via: 192.168.5.1}], nameservers: {addresses: [9.9.9.9]}}
vlans: {v5: {id: 5, link: lan, addresses: [192.168.9.7/24]}}
"""
VERSION_1 = """
version: 1
config:
  - {type: physical, name: eth0, subnets: [{type: static, address: 192.168.5.7/24}, {type: dhcp}]}
  - {type: nameserver, address: 9.9.9.9}
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (VERSION_2, ["192.168.5.7", "fd00::7", "10.0.0.3", "192.168.9.7"]),
        (
            f"network:{VERSION_2.replace(chr(10), chr(10) + '  ')}",
            ["192.168.5.7", "fd00::7", "10.0.0.3", "192.168.9.7"],
        ),
        (VERSION_1, ["192.168.5.7"]),
        ("version: 2\nethernets: {lan: {dhcp4: true}}", []),
        ("ethernets: [", []),
        ("just a text", []),
        ("ethernets: {lan: {addresses: [nonsense, 7]}}\nconfig: [x]", []),
        (None, []),
    ],
)
def test_only_what_a_guest_gives_itself_is_found(text: str | None, found: list[str]) -> None:
    assert static_addresses(text) == found
