# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specification of a machine's description; documented once in the fragment C(virtstack.core.machine).

No option has a default here: what is not declared is left alone on a machine that exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cloud_init import DATASOURCES
from .disks import ACCESS_MODES, BUSES, CACHES, DEVICES, ERROR_POLICIES, IO_MODES, VOLUME_MODES
from .firmware import MODES
from .interfaces import MODELS, PROTOCOLS
from .processor import FEATURE_POLICIES

Option = dict[str, Any]


def _choice(choices: Sequence[str]) -> Option:
    return {"type": "str", "choices": list(choices)}


def _list_of(options: Mapping[str, Option]) -> Option:
    return {"type": "list", "elements": "dict", "options": dict(options)}


_STATE: Option = {"type": "str", "choices": ["present", "absent"], "default": "present"}

DISK_OPTIONS: dict[str, Option] = {
    "name": {"type": "str", "required": True},
    "state": _STATE,
    "boot_source": {"type": "raw"},
    "blank": {"type": "bool"},
    "http": {"type": "raw"},
    "registry": {"type": "raw"},
    "clone_pvc": {"type": "raw"},
    "clone_snapshot": {"type": "raw"},
    "pvc": {"type": "str"},
    "data_volume": {"type": "str"},
    "container_disk": {"type": "raw"},
    "ephemeral": {"type": "str"},
    "empty": {"type": "bool"},
    "sysprep": {"type": "dict", "options": {"config_map": {"type": "str"}, "secret": {"type": "str", "no_log": False}}},
    "config_map": {"type": "str"},
    "secret": {"type": "str", "no_log": False},
    "service_account": {"type": "str"},
    "volume": {
        "type": "dict",
        "options": {"pool": {"type": "str", "required": True}, "name": {"type": "str", "required": True}},
    },
    "path": {"type": "path"},
    "size": {"type": "str"},
    "storage_class": {"type": "str"},
    "access_modes": {"type": "list", "elements": "str", "choices": list(ACCESS_MODES)},
    "volume_mode": _choice(VOLUME_MODES),
    "preallocation": {"type": "bool"},
    "pool": {"type": "str"},
    "format": _choice(("raw", "qcow2")),
    "device": _choice(DEVICES),
    "bus": _choice(BUSES),
    "boot_order": {"type": "int"},
    "readonly": {"type": "bool"},
    "serial": {"type": "str"},
    "shareable": {"type": "bool"},
    "cache": _choice(CACHES),
    "io": _choice(IO_MODES),
    "error_policy": _choice(ERROR_POLICIES),
    "dedicated_io_thread": {"type": "bool"},
}

INTERFACE_OPTIONS: dict[str, Option] = {
    "name": {"type": "str", "required": True},
    "state": _STATE,
    "network": {"type": "str"},
    "binding": {"type": "str"},
    "model": _choice(MODELS),
    "mac": {"type": "str"},
    "boot_order": {"type": "int"},
    "ports": _list_of(
        {
            "port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "TCP"},
            "name": {"type": "str"},
        }
    ),
    "link": _choice(("up", "down")),
    "portgroup": {"type": "str"},
}

MACHINE_OPTIONS: dict[str, Option] = {
    "cpu": {
        "type": "dict",
        "options": {
            "cores": {"type": "int"},
            "sockets": {"type": "int"},
            "threads": {"type": "int"},
            "model": {"type": "str"},
            "features": _list_of(
                {
                    "name": {"type": "str", "required": True},
                    "policy": {"type": "str", "choices": list(FEATURE_POLICIES), "default": "require"},
                }
            ),
            "dedicated": {"type": "bool"},
        },
    },
    "memory": {"type": "str"},
    "hugepages": {"type": "str"},
    "firmware": {
        "type": "dict",
        "options": {
            "mode": _choice(MODES),
            "secure_boot": {"type": "bool"},
            "persistent": {"type": "bool"},
            "tpm": {"type": "bool"},
            "uuid": {"type": "str"},
            "serial": {"type": "str"},
        },
    },
    "machine_type": {"type": "str"},
    "hostname": {"type": "str"},
    "disks": _list_of(DISK_OPTIONS),
    "interfaces": _list_of(INTERFACE_OPTIONS),
    "ssh_keys": {"type": "list", "elements": "str", "no_log": False},
    "cloud_init": {
        "type": "dict",
        "options": {
            # Secret as a text: it may hold passwords. A dictionary cannot be: Ansible would hide each of its words.
            "user_data": {"type": "str", "no_log": True},
            "user_config": {"type": "dict"},
            "network_data": {"type": "str"},
            "network_config": {"type": "dict"},
            "secret": {"type": "str", "no_log": False},
            "network_secret": {"type": "str", "no_log": False},
            "datasource": _choice(DATASOURCES),
        },
        "mutually_exclusive": [
            ["user_data", "user_config", "secret"],
            ["network_data", "network_config", "network_secret"],
        ],
    },
}
