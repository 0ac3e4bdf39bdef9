# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory has to know of any guest, wherever it runs: its family of systems, and how one gets in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from sys import intern
from typing import Any

_OS_NAME = re.compile(r"[a-z]+")
_OS_IDS = {"mswindows": "windows", "win": "windows"}


def os_family(text: str) -> str | None:
    """The family at the head of an id, a preference or a template's name: C(rhel.9) and C(rhel9.4) are C(rhel)."""
    head = _OS_NAME.match(text.lower())
    return intern(_OS_IDS.get(head[0], head[0])) if head else None


def is_windows(variables: Mapping[str, Any]) -> bool:
    """Whether the guest is a Windows, by its C(virtstack_os)."""
    return bool(variables["virtstack_os"] == "windows")


def way_in(variables: Mapping[str, Any], windows_connection: str) -> tuple[str, dict[str, Any]]:
    """The connection by which a guest is entered, and the C(ansible_*) variables that say so where it is not ssh."""
    if not is_windows(variables) or windows_connection == "none":
        return "ssh", {}
    told = {"ansible_connection": windows_connection}
    if windows_connection == "ssh":
        # What Windows' own OpenSSH server starts; a guest with PowerShell as its default shell overrides it.
        told["ansible_shell_type"] = "cmd"
    return windows_connection, told


def leads_to_guest(text: str, family: str) -> bool:
    """Whether an address is of the wanted family (any, ipv4, ipv6) and leads further than its own link."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if address.is_link_local or address.is_loopback:
        return False
    return family == "any" or family == f"ipv{address.version}"
