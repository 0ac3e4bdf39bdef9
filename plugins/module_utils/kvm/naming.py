# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of machines: those that libvirt takes, and what they are as parts of the names of files. Pure."""

from __future__ import annotations

import re

from ..machine.refusal import Refused

# Bytes of a new machine's name: with that of a disk and a suffix it names a file, which has 255.
LONGEST = 180
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_name(name: str) -> None:
    """Raises Refused for what no domain of libvirt is called (https://libvirt.org/formatdomain.html)."""
    if not name.strip() or name in (".", "..") or "/" in name or "\n" in name:
        raise Refused(f'name: "{name}" is no name for a machine; libvirt takes any text of one line without "/"')


def check_new_name(name: str) -> None:
    """Raises Refused for a name that would not do for the files of a new machine; one that is there has any name."""
    if len(name.encode()) > LONGEST:
        raise Refused(f'name: "{name}" is longer than {LONGEST} bytes, too long for the files of a machine; shorten it')
    if _CONTROL.search(name):
        raise Refused("name: has control characters, which storage pools do not show in names; leave them out")


def file_part(name: str) -> str:
    """The name as a part of that of a file. Pools do not show files with control characters in their names."""
    return _CONTROL.sub(lambda match: f"%{ord(match[0]):02x}", name)
