#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_backup
short_description: Back up a machine of a KVM host, fully or incrementally, and restore it
description:
  - Writes the disks of a running machine into a directory of its host as they are at one moment, while the guest goes
    on. An incremental backup holds what has changed since the one before.
  - A backup is a qcow2 file for each disk and a manifest (JSON) with the chain, the checkpoint, the machine's
    definition, and of each file its size and SHA-256. The file of an incremental backup has that of its parent behind
    it, so that C(qemu-img convert) alone can read it, too. The files must stay in that directory.
  - The manifest is written last. What has none is no backup; the next run takes it away, or waits for it where libvirt
    is still at it. Only files and jobs that this module began are touched.
  - Of a machine that is off, the disks are copied, each with all of its layers into one file; such a backup is full.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: What can be known beforehand is checked. For a restore, all files of the chain are read and compared.
  diff_mode:
    support: full
    description: Shows the names of the backups, for a restore the files of the disks.
seealso:
  - module: virtstack.core.kvm_vm_snapshot
options:
  vm:
    description: Name of the machine.
    type: str
    required: true
  directory:
    description:
      - The directory on the host with the backups, from V(/) on. It is made where it is missing. Several machines can
        have the same one. What has changed is kept track of for each directory on its own.
    type: str
    required: true
  name:
    description:
      - Name of the backup, of letters, digits, dashes and underscores. One that is there is left as it is. Default is
        the time (UTC), as in V(20260131T020000Z), which makes one each time; for O(state=restored), the newest.
      - Required with O(state=absent).
    type: str
  state:
    description:
      - V(present) - the backup is there. V(absent) - it is not; one that others build on is not deleted.
      - V(restored) - the machine has the disks of the backup. It must be off. The disks are written into new files, and
        when all of them are there, the machine is defined with them; until then it has its old ones. A machine that the
        host does not have is defined as it was. It acts each time it is asked for.
      - Before anything is restored, all files of the chain are compared with the manifests.
    type: str
    choices: [present, absent, restored]
    default: present
  type:
    description:
      - V(full), V(incremental), or V(auto) - incremental where it is possible, else full, see RV(reason).
      - Incremental ones, and therefore V(auto), need qcow2 disks of compat 1.1; others are refused with what to do.
        V(full) takes any.
    type: str
    choices: [auto, full, incremental]
    default: auto
  full_every:
    description: With O(type=auto), after how many backups a new chain begins, the full one included, 1 or more. Default
      is never.
    type: int
  keep:
    description:
      - How many chains (a full backup and all that build on it) are kept, this one included, 1 or more. Older ones are
        deleted after this backup is there. Default is all.
    type: int
  only_prune:
    description: Whether to make no backup, and only to delete by O(keep).
    type: bool
    default: false
  disks:
    description: Names or targets of the disks. Default is all that are written to.
    type: list
    elements: str
  quiesce:
    description: Whether the guest's agent freezes its file systems for the moment when the backup begins. Refused where
      the guest runs without an agent.
    type: bool
    default: false
  checksums:
    description: Whether the manifest gets SHA-256 of the files. For that they are read once, by where the task runs.
    type: bool
    default: true
  timeout:
    description: Seconds, 1 or more, after which a backup is given up and taken away. Default is no limit.
    type: int
  restore_directory:
    description: Where the files of a restore are put. Default is where the machine's disks are. The files are called
      C(VM-DISK.NAME.qcow2), with a number where there is one already; nothing is overwritten.
    type: str
  files_only:
    description: With O(state=restored), whether only to write the files into O(restore_directory). The machine may run
      and is not touched.
    type: bool
    default: false
  delete_replaced:
    description: With O(state=restored), whether to delete the files that the machine had before. Otherwise they are
      named in RV(replaced).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Every night a backup, a full one on each seventh night, of which four weeks are kept
  virtstack.core.kvm_vm_backup:
    vm: db
    directory: /var/lib/libvirt/backup
    quiesce: true
    full_every: 7
    keep: 4

- name: Before an update, a full backup
  virtstack.core.kvm_vm_backup:
    vm: db
    directory: /var/lib/libvirt/backup
    name: before-update
    type: full

- name: The files of the newest backup, for a look into them
  virtstack.core.kvm_vm_backup:
    vm: db
    directory: /var/lib/libvirt/backup
    state: restored
    files_only: true
    restore_directory: /var/lib/libvirt/images

- name: The machine is stopped
  virtstack.core.kvm_vm_power:
    name: db
    state: stopped

- name: It is as it was before the update
  virtstack.core.kvm_vm_backup:
    vm: db
    directory: /var/lib/libvirt/backup
    name: before-update
    state: restored
"""

RETURN = r"""
backup:
  description: The backup that was made, was there, or was restored; null where there is none, as in check mode.
  returned: success
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    type:
      description: C(full) or C(incremental).
      type: str
    created:
      description: When it was begun (UTC).
      type: str
    parent:
      description: The backup that an incremental one builds on.
      type: str
    chain:
      description: The full backup that it builds on in the end, or itself.
      type: str
    checkpoint:
      description: The checkpoint of libvirt from which what changes is kept track of; null where nothing is.
      type: str
    size:
      description: Bytes of its files.
      type: int
    disks:
      description: Its disks.
      type: list
      elements: dict
      contains:
        name:
          description: Name of the disk.
          type: str
        target:
          description: Its target.
          type: str
        file:
          description: The file in the directory.
          type: str
        capacity:
          description: Bytes of the disk.
          type: int
        size:
          description: Bytes of the file.
          type: int
        sha256:
          description: SHA-256 of the file, null without O(checksums).
          type: str
backups:
  description: All backups of the machine in the directory, the oldest first, each as RV(backup).
  returned: success
  type: list
  elements: dict
deleted:
  description: Names of the backups that were deleted.
  returned: success
  type: list
  elements: str
repaired:
  description: What a run that was cut off had left behind, and what was done about it.
  returned: success
  type: list
  elements: str
reason:
  description: Why a backup was full with O(type=auto); null where it was not, or for no reason.
  returned: success
  type: str
restored:
  description: The new files of the disks, by the disks' names.
  returned: with O(state=restored)
  type: dict
replaced:
  description: The files that the machine had before, by the disks' names.
  returned: with O(state=restored)
  type: dict
defined:
  description: Whether the machine was not there and was defined.
  returned: with O(state=restored)
  type: bool
damaged:
  description: What differs from the manifests, where a restore was refused for that.
  returned: failure
  type: list
  elements: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.backup_task import back_up
from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "vm": {"type": "str", "required": True},
        "directory": {"type": "str", "required": True},
        "name": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent", "restored"], "default": "present"},
        "type": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
        "full_every": {"type": "int"},
        "keep": {"type": "int"},
        "only_prune": {"type": "bool", "default": False},
        "disks": {"type": "list", "elements": "str"},
        "quiesce": {"type": "bool", "default": False},
        "checksums": {"type": "bool", "default": True},
        "timeout": {"type": "int"},
        "restore_directory": {"type": "str"},
        "files_only": {"type": "bool", "default": False},
        "delete_replaced": {"type": "bool", "default": False},
    },
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return back_up(host, task)


if __name__ == "__main__":
    main(SPEC, run)
