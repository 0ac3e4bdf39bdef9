#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_snapshot_info
short_description: Tell which snapshots of virtual machines there are and what they hold
description:
  - Reads snapshots of virtual machines and their contents, one list of each.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
seealso:
  - module: virtstack.core.vm_snapshot
options:
  name:
    description: Name of a snapshot.
    type: str
  namespaces:
    description: Namespaces to read. Without it, the whole cluster is read.
    type: list
    elements: str
    aliases: [namespace]
  vm:
    description: Name of the machine whose snapshots are wanted.
    type: str
  label_selector:
    description: Selects the snapshots by their labels, for example V(virtstack.core/series=nightly).
    type: str
"""

EXAMPLES = r"""
- name: The snapshots of the database server
  virtstack.core.vm_snapshot_info:
    namespaces: [prod]
    vm: db
  register: found

- name: Those that can be restored
  ansible.builtin.debug:
    msg: "{{ found.snapshots | selectattr('ready') | map(attribute='name') | list }}"
"""

RETURN = r"""
snapshots:
  description: The snapshots, oldest first.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the snapshot.
      type: str
    namespace:
      description: Its namespace.
      type: str
    vm:
      description: Name of the machine.
      type: str
    phase:
      description: C(InProgress), C(Succeeded) or C(Failed); null before the cluster has seen it.
      type: str
    ready:
      description: Whether it can be restored.
      type: bool
    creation_time:
      description: When it was taken.
      type: str
    indications:
      description: >-
        C(Online) where the guest ran, then C(GuestAgent) where its file systems were frozen, C(NoGuestAgent) where they
        were not, C(QuiesceTimeout) or C(QuiesceFailed) where that failed, C(Paused) where it stood still,
        C(PartialSnapshot) where disks are not in it.
      type: list
      elements: str
    included_volumes:
      description: Disks that it holds.
      type: list
      elements: str
    excluded_volumes:
      description: Disks on claims that it does not hold.
      type: list
      elements: str
    content_name:
      description: Name of its VirtualMachineSnapshotContent.
      type: str
    error:
      description: Why it failed, null where it did not.
      type: str
    series:
      description: The series that it was taken for, see O(virtstack.core.vm_snapshot#module:series).
      type: str
    labels:
      description: Its labels.
      type: dict
    deletion_policy:
      description: Whether its content goes with it, V(delete), or stays, V(retain).
      type: str
    volumes:
      description: >-
        The disks in it, each with C(name), C(claim) that it was taken of, C(size), C(storage_class) and
        C(volume_snapshot).
      type: list
      elements: dict
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.snapshot_tasks import read_snapshots
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        "name": {"type": "str"},
        "namespaces": {"type": "list", "elements": "str", "aliases": ["namespace"]},
        "vm": {"type": "str"},
        "label_selector": {"type": "str"},
    }
)


def run(task: Task) -> Result:
    return read_snapshots(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
