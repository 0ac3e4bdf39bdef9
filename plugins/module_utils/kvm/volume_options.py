# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that describe a volume of a pool: of a task, and of each item of C(volumes)."""

from __future__ import annotations

from typing import Any

# Algorithms of libvirt, by the name of their constant in lower case.
WIPE_ALGORITHMS = (
    "zero", "nnsa", "dod", "bsi", "gutmann", "schneier", "pfitzner7", "pfitzner33", "random", "trim",
)  # fmt: skip

_CLONE = {"volume": {"type": "str", "required": True}, "pool": {"type": "str"}}
_BACKING = {"volume": {"type": "str"}, "pool": {"type": "str"}, "path": {"type": "str"}, "format": {"type": "str"}}

VOLUME_OPTIONS: dict[str, dict[str, Any]] = {
    "pool": {"type": "str"},
    "capacity": {"type": "str"},
    "allocation": {"type": "str"},
    "format": {"type": "str", "choices": ["raw", "qcow2"]},
    "preallocate_metadata": {"type": "bool", "default": False},
    "mode": {"type": "str"},
    "owner": {"type": "int"},
    "group": {"type": "int"},
    "clone": {"type": "dict", "options": _CLONE},
    "backing": {"type": "dict", "options": _BACKING},
    "src": {"type": "path"},
    "url": {"type": "str"},
    "checksum": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "headers": {"type": "dict", "no_log": True},
    "url_username": {"type": "str"},
    "url_password": {"type": "str", "no_log": True},
    "timeout": {"type": "int", "default": 30},
    "overwrite": {"type": "bool", "default": False},
    "shrink": {"type": "bool", "default": False},
    "dest": {"type": "path"},
    "xml": {"type": "str"},
}
