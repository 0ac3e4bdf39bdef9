# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of C(vm_disk) and C(vm_interface) have in common: one part of one machine, which may be running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.resource import Object
from ..task import Failure, Task
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, label
from .kubevirt_power import is_live
from .kubevirt_present import Policy

# plugins/doc_fragments/plug.py
PLUG_OPTIONS: dict[str, dict[str, Any]] = {
    "vm": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "apply": {"type": "str", "choices": ["next_boot", "live", "restart"], "default": "next_boot"},
}


def machine_of(client: Client, params: Mapping[str, Any]) -> tuple[Object, Object | None]:
    """The machine that the options name, and its instance if that is not over. Raises Failure."""
    name, namespace = params["vm"], params["namespace"]
    vm = client.get(VIRTUAL_MACHINE, name, namespace)
    if vm is None:
        raise Failure(f"There is no VirtualMachine {namespace}/{name}. Check vm and namespace.")
    if at(vm, "metadata.deletionTimestamp"):
        raise Failure(f"VirtualMachine {label(vm)} is being deleted.")
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
    return vm, instance if is_live(instance) else None


def policy_of(task: Task) -> Policy:
    """How the machine is written where the change waits for its next start, or is one of its definition."""
    params = task.params
    return Policy(
        check_mode=task.check_mode,
        diff=task.diff,
        force_conflicts=params["force_conflicts"],
        apply=params["apply"],
        timeout=params["wait_timeout"] if params["wait"] else None,
        progress=task.progress,
    )
