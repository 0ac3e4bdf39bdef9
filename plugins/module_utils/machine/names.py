# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which names and addresses the systems behind a machine accept."""

from __future__ import annotations

import re

from .refusal import Refused

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}")

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253

LABEL_RULE = "use at most 63 lower-case letters, digits and '-', with a letter or digit at both ends"
SUBDOMAIN_RULE = "use at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends"


def machine_name(name: str, option: str = "name") -> str:
    """A machine's name is a DNS subdomain (RFC 1123): it names an object, and its parts name files and services."""
    if len(name) > SUBDOMAIN_LENGTH or not SUBDOMAIN.fullmatch(name):
        raise Refused(f'{option}: "{name}" is no name that Kubernetes accepts; {SUBDOMAIN_RULE}')
    return name


def device_name(name: str, option: str) -> str:
    """A disk's or interface's name is a DNS label (RFC 1123)."""
    if len(name) > LABEL_LENGTH or not LABEL.fullmatch(name):
        raise Refused(f'{option}: "{name}" is no device name; {LABEL_RULE}')
    return name


def mac_address(address: str, option: str) -> str:
    """Six octets, as C(02:00:00:00:00:01); returned in lower case with colons. A group address belongs to no device."""
    if not _MAC.fullmatch(address):
        raise Refused(f'{option}: "{address}" is no MAC address; write six octets, e.g. 02:00:00:12:34:56')
    mac = address.replace("-", ":").lower()
    if int(mac[:2], 16) & 1:
        raise Refused(f'{option}: "{address}" is a multicast address; the first octet must be even, e.g. 02')
    return mac


def repeated(names: list[str]) -> list[str]:
    """The names that occur more than once, each named once."""
    return sorted({name for name in names if names.count(name) > 1})
