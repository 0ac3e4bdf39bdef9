# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task returns of a machine: its parts by the names of the options. Pure."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from .kept import kept
from .view import view


def described(domain: Element, status: str, autostart: bool) -> dict[str, Any]:
    """The machine as its domain has it. Memory is in bytes."""
    found, values = view(domain), kept(domain)
    return {
        "name": found.name,
        "uuid": found.uuid,
        "title": found.title,
        "status": status,
        "autostart": autostart,
        "run_strategy": values.run_strategy,
        "labels": dict(values.labels),
        "annotations": dict(values.annotations),
        "type": domain.get("type"),
        "architecture": found.architecture,
        "machine_type": found.machine_type,
        "firmware": {"mode": "efi" if found.efi else "bios", "tpm": found.tpm},
        "cpu": {
            "count": found.vcpus,
            "maximum": found.vcpus_maximum,
            "mode": found.cpu_mode,
            "model": found.cpu_model,
            **{part: found.topology.get(part) for part in ("sockets", "cores", "threads")},
        },
        "memory": found.memory_current,
        "memory_maximum": found.memory,
        "disks": [
            {
                "name": disk.name,
                "device": disk.device,
                "bus": disk.bus,
                "target": disk.target,
                "type": disk.type,
                "source": disk.source,
                "pool": disk.pool,
                "format": disk.format,
                "readonly": disk.readonly,
                "shareable": disk.shareable,
                "boot_order": disk.boot_order,
                "serial": disk.serial,
            }
            for disk in found.disks
        ],
        "interfaces": [
            {
                "name": interface.name,
                "type": interface.type,
                "network": interface.source,
                "portgroup": interface.portgroup,
                "mac": interface.mac,
                "model": interface.model,
                "target": interface.target,
                "link": interface.link,
                "boot_order": interface.boot_order,
            }
            for interface in found.interfaces
        ],
    }
