#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_restore
short_description: Bring a virtual machine of a cluster back to a snapshot
description:
  - Restores a machine from one of its snapshots, or makes a new machine from it. B(What the machine and its disks were
    since then is replaced).
  - A restore is done once under its O(name). To restore the same snapshot another time, give another name, or delete
    the first with O(state=absent).
  - One that failed is deleted and done again.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: The cluster itself says whether it would accept the restore.
  diff_mode:
    support: full
    description: Shows the restore before and after.
seealso:
  - module: virtstack.core.vm_snapshot
  - module: virtstack.core.vm_power
options:
  name:
    description: Name of the restore. The default is O(vm), a dash, and O(snapshot).
    type: str
  namespace:
    description: Namespace of the machine, its snapshot and the restore.
    type: str
    required: true
  vm:
    description:
      - Name of the machine that is restored. One that does not exist is made, with new MAC addresses, and is halted.
    type: str
    required: true
  snapshot:
    description: Name of the snapshot. With O(wait), one that is still underway is waited for.
    type: str
    required: true
  state:
    description:
      - With V(present), the restore is done. V(absent) deletes the record of it, and nothing of the machine.
    type: str
    choices: [present, absent]
    default: present
  stop_vm:
    description:
      - Whether to stop a running guest first, as M(virtstack.core.vm_power) does. Without it, the restore of a running
        machine is refused, unless O(target_readiness_policy) says who stops it.
    type: bool
    default: false
  start_vm:
    description: Whether to start the machine after the restore, and to wait for its guest. Needs O(wait).
    type: bool
    default: false
  target_readiness_policy:
    description:
      - What the cluster does while the guest runs. V(StopTarget) stops it, V(WaitEventually) waits for ever,
        V(WaitGracePeriod) for five minutes, V(FailImmediate) not at all.
    type: str
    choices: [WaitGracePeriod, FailImmediate, StopTarget, WaitEventually]
  volume_restore_policy:
    description:
      - How the restored volumes are called. V(RandomizeNames) gives them new names, V(InPlace) those of the volumes
        that they replace, V(PrefixTargetName) names that begin with that of the machine.
    type: str
    choices: [RandomizeNames, InPlace, PrefixTargetName]
  volume_ownership_policy:
    description: Whether the restored volumes belong to the machine, V(Vm), and go with it, or to nothing, V(None).
    type: str
    choices: [Vm, None]
  patches:
    description: JSON patches of the restored machine, each an object of C(op), C(path) and C(value) as JSON text.
    type: list
    elements: str
  labels:
    description: Labels that the restore is to have.
    type: dict
  annotations:
    description: Annotations that the restore is to have.
    type: dict
"""

EXAMPLES = r"""
- name: The database server is what it was before the upgrade, and runs
  virtstack.core.vm_restore:
    namespace: prod
    vm: db
    snapshot: before-upgrade
    stop_vm: true
    start_vm: true
    wait: true

- name: A second machine from the same snapshot, to look into it
  virtstack.core.vm_restore:
    namespace: prod
    vm: db-as-it-was
    snapshot: before-upgrade
    wait: true

- name: The record of the first restore is gone
  virtstack.core.vm_restore:
    namespace: prod
    vm: db
    snapshot: before-upgrade
    state: absent
"""

RETURN = r"""
restores:
  description: The restore, a list of one.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the restore.
      type: str
    namespace:
      description: Its namespace.
      type: str
    changed:
      description: Whether it was made or deleted, or the machine started.
      type: bool
    vm:
      description: Name of the machine.
      type: str
    snapshot:
      description: Name of the snapshot.
      type: str
    complete:
      description: Whether the restore is done.
      type: bool
    restore_time:
      description: When it was done.
      type: str
    volumes:
      description: The restored disks, each with C(name), C(claim), C(data_volume) and C(volume_snapshot).
      type: list
      elements: dict
    deleted_data_volumes:
      description: DataVolumes that the restored disks took the place of.
      type: list
      elements: str
    stopped:
      description: Whether a guest was stopped for it.
      type: bool
    started:
      description: Whether the machine was started after it.
      type: bool
    failed:
      description: Whether it failed; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.restore_tasks import READINESS, restore_vm
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "namespace": {"type": "str", "required": True},
        "vm": {"type": "str", "required": True},
        "snapshot": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "stop_vm": {"type": "bool", "default": False},
        "start_vm": {"type": "bool", "default": False},
        "target_readiness_policy": {"type": "str", "choices": list(READINESS)},
        "volume_restore_policy": {"type": "str", "choices": ["RandomizeNames", "InPlace", "PrefixTargetName"]},
        "volume_ownership_policy": {"type": "str", "choices": ["Vm", "None"]},
        "patches": {"type": "list", "elements": "str"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    },
)


def run(task: Task) -> Result:
    return restore_vm(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
