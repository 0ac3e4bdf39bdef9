#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_snapshot
short_description: Take, delete, merge and go back to snapshots of a machine of a KVM host
description:
  - Takes internal snapshots (inside of the qcow2 files, with the memory of a running guest) and external ones (a new
    layer over each disk, with or without the memory).
  - Nothing is lost by deleting one. What was written since an external snapshot goes into the layer below.
    Where another image is built on that, or on the layer, such as a clone, this is refused, as the image would be lost.
  - While a job of libvirt or QEMU works on the machine (a migration, a backup, a block job), everything is refused.
  - So it is while its guest is saved, as its memory fits the disks of then.
  - A run after one that was cut off deletes the files which that one had made, and ends a merge that it had begun.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: What can be known beforehand is checked; libvirt has no dry run of a snapshot.
  diff_mode:
    support: full
    description: Shows the names of the snapshots.
seealso:
  - module: virtstack.core.kvm_vm_backup
  - module: virtstack.core.vm_snapshot
options:
  vm:
    description: Name of the machine.
    type: str
    required: true
  name:
    description:
      - Name of the snapshot, without slashes. Required, but for O(state=merged) and for a task that only deletes by
        O(keep) or O(keep_days).
    type: str
  state:
    description:
      - V(present) - a snapshot of the name is there. One that is there is left as it is, of whatever kind it is.
      - V(absent) - it is not there. An external one of a machine that is off can be deleted only as the newest one.
      - V(merged) - the external snapshot and all that came after it are gone, and the layers that they have made are
        one file again, with all that was written to them. Without O(name), all external snapshots.
      - V(reverted) - the machine goes back to it. It acts each time it is asked for. B(What was written since is lost.)
        libvirt before 9.9 cannot go back to external snapshots; that is refused, with where the disks of then are.
    type: str
    choices: [present, absent, merged, reverted]
    default: present
  external:
    description: Whether to put new layers over the disks. Internal snapshots need qcow2 for every disk, and no UEFI
      where the guest runs.
    type: bool
    default: false
  memory:
    description: Whether an external snapshot of a running guest has its memory, too. Internal ones always have it.
    type: bool
    default: false
  quiesce:
    description:
      - Whether the guest's agent freezes its file systems while an external snapshot without memory is taken. Where the
        guest runs without an agent, it is refused.
    type: bool
    default: false
  disks:
    description: Names or targets of the disks of an external snapshot. Default is all that are written to.
    type: list
    elements: str
  directory:
    description:
      - Where on the host the layers and the memory of an external snapshot are put. Default is beside each disk. They
        are called C(VM-DISK.NAME.qcow2) and C(VM.NAME.memory); a file that is there is never overwritten.
    type: str
  description:
    description: Text that is kept with the snapshot.
    type: str
  series:
    description:
      - A name for snapshots that are taken again and again, such as V(nightly). It is kept with the description;
        O(keep) and O(keep_days) delete none that do not have it.
    type: str
  keep:
    description:
      - How many snapshots of the O(series) are kept, this one included, 1 or more. Older ones are deleted after it was
        taken.
      - One that O(keep) or O(keep_days) keeps, stays.
    type: int
  keep_days:
    description: For how many days snapshots of the O(series) are kept, 1 or more. See O(keep).
    type: int
  discard_newer:
    description:
      - With O(state=reverted), whether newer snapshots may be lost. External ones are layers over what is then written
        to again, and fit no more. Newer internal ones stay in any case, see RV(kept_newer).
    type: bool
    default: false
  then:
    description: With O(state=reverted), whether the guest is to be running or paused then. Default is as it was when
      the snapshot was taken.
    type: str
    choices: [running, paused]
  force:
    description: With O(state=reverted), whether to go back even where libvirt finds it risky.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Before an update, disks and memory of the database server are kept
  virtstack.core.kvm_vm_snapshot:
    vm: db
    name: before-update
    description: Before the update to 17

- name: The update went wrong
  virtstack.core.kvm_vm_snapshot:
    vm: db
    name: before-update
    state: reverted

- name: The snapshot is needed no more
  virtstack.core.kvm_vm_snapshot:
    vm: db
    name: before-update
    state: absent

- name: Every night a layer is put over the disks, with the file systems frozen, and seven are kept
  virtstack.core.kvm_vm_snapshot:
    vm: db
    name: "nightly-{{ now(utc=true, fmt='%Y%m%d') }}"
    external: true
    quiesce: true
    series: nightly
    keep: 7

- name: All layers are one file again
  virtstack.core.kvm_vm_snapshot:
    vm: db
    state: merged
"""

RETURN = r"""
snapshots:
  description: All snapshots of the machine, the oldest first. In check mode, those of before.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    parent:
      description: The snapshot that it came after, null for a first one.
      type: str
    created:
      description: When it was taken (UTC).
      type: str
    state:
      description: What the guest did then - C(running), C(paused), C(shutoff), or C(disk-snapshot) without memory.
      type: str
    current:
      description: Whether it is the one that the next one would come after.
      type: bool
    description:
      description: Its description, null without one.
      type: str
    series:
      description: Its series, null without one.
      type: str
    external:
      description: Whether it has made layers or a file with memory.
      type: bool
    memory:
      description: Whether it has the guest's memory.
      type: bool
    files:
      description: The layers that it has made, and its file with memory.
      type: list
      elements: str
deleted:
  description: Snapshots that were deleted, merged or discarded.
  returned: success
  type: list
  elements: str
kept_newer:
  description: Newer snapshots that are still there after going back.
  returned: success
  type: list
  elements: str
repaired:
  description: What a run that was cut off had left behind, and what was done about it.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.snapshot import snapshot_machine
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "vm": {"type": "str", "required": True},
        "name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent", "merged", "reverted"], "default": "present"},
        "external": {"type": "bool", "default": False},
        "memory": {"type": "bool", "default": False},
        "quiesce": {"type": "bool", "default": False},
        "disks": {"type": "list", "elements": "str"},
        "directory": {"type": "str"},
        "description": {"type": "str"},
        "series": {"type": "str"},
        "keep": {"type": "int"},
        "keep_days": {"type": "int"},
        "discard_newer": {"type": "bool", "default": False},
        "then": {"type": "str", "choices": ["running", "paused"]},
        "force": {"type": "bool", "default": False},
    }
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return snapshot_machine(host, task)


if __name__ == "__main__":
    main(SPEC, run)
