# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image that cloud-init reads at the first boot, for hosts where nobody else makes it. Pure.

Formats: https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html and configdrive.html
"""

from __future__ import annotations

import json

from .cloud_init import CloudInit
from .iso9660 import image


def seed_image(seed: CloudInit, instance_id: str, hostname: str) -> bytes:
    """The image. Its instance id stays the same for a machine: a change is for the next boot, not a new first one."""
    if seed.datasource == "config_drive":
        metadata = {"uuid": instance_id, "hostname": hostname, "name": hostname}
        files = {"openstack/latest/meta_data.json": json.dumps(metadata, sort_keys=True)}
        if seed.user_data is not None:
            files["openstack/latest/user_data"] = seed.user_data
        if seed.network_data is not None:
            files["openstack/latest/network_data.json"] = seed.network_data
        return image("config-2", _encoded(files))
    files = {
        "meta-data": f"instance-id: {instance_id}\nlocal-hostname: {hostname}\n",
        "user-data": seed.user_data if seed.user_data is not None else "#cloud-config\n{}\n",
    }
    if seed.network_data is not None:
        files["network-config"] = seed.network_data
    return image("cidata", _encoded(files))


def _encoded(files: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}
