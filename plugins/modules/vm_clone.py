#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_clone
short_description: Clone virtual machines of a cluster
description:
  - Makes copies of a machine or of its snapshot, with their disks. KubeVirt clones through a snapshot, so that all
    disks on claims have to be on storage that takes snapshots.
  - The copies get new MAC addresses and a new firmware UUID, and are halted; start them with
    M(virtstack.core.vm_power).
  - A clone that is done is left as it is. One that failed is made again.
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
    description: The cluster itself says whether it would accept the clone.
  diff_mode:
    support: full
    description: Shows the clone objects before and after.
seealso:
  - module: virtstack.core.vm_snapshot
options:
  name:
    description: Name of the clone object. The default is V(clone-) and the name of the target.
    type: str
  namespace:
    description: Namespace of the source, the clone object and the targets.
    type: str
    required: true
  vm:
    description: Name of the machine that is cloned. One of O(vm) and O(snapshot) is required with O(state=present).
    type: str
  snapshot:
    description: Name of the snapshot that is cloned.
    type: str
  target:
    description: Name of the machine that is made. One that exists and that this clone did not make is left alone, and
      the task fails. One of O(target) and O(targets) is required.
    type: str
  targets:
    description: Names of several machines that are made from the same source, side by side.
    type: list
    elements: str
  state:
    description:
      - With V(present), the clones are made. V(absent) deletes the clone objects, and no machine.
    type: str
    choices: [present, absent]
    default: present
  label_filters:
    description:
      - Which labels of the machine its clone gets. Each is a name, which may end with V(*), or an exclusion that begins
        with V(!). All of them by default.
    type: list
    elements: str
  annotation_filters:
    description: Which annotations of the machine its clone gets, see O(label_filters).
    type: list
    elements: str
  template_label_filters:
    description: Which labels of the machine's template the clone's gets, see O(label_filters).
    type: list
    elements: str
  template_annotation_filters:
    description: Which annotations of the machine's template the clone's gets, see O(label_filters).
    type: list
    elements: str
  new_mac_addresses:
    description: MAC addresses for the target's interfaces, by the interfaces' names. The others get generated ones.
    type: dict
  new_smbios_serial:
    description: Serial number of the target's firmware. Generated without it.
    type: str
  volume_name_policy:
    description: How the volumes of the clone are called - V(RandomizeNames), or V(PrefixTargetName) for names that
      begin with that of the target.
    type: str
    choices: [RandomizeNames, PrefixTargetName]
  patches:
    description: JSON patches of the target, each an object of C(op), C(path) and C(value) as JSON text.
    type: list
    elements: str
  labels:
    description: Labels that the clone object is to have.
    type: dict
  annotations:
    description: Annotations that the clone object is to have.
    type: dict
"""

EXAMPLES = r"""
- name: A copy of the database server
  virtstack.core.vm_clone:
    namespace: prod
    vm: db
    target: db-copy
    wait: true

- name: Two more, without the labels that route traffic to the original
  virtstack.core.vm_clone:
    namespace: prod
    vm: db
    targets: [db-test-1, db-test-2]
    label_filters: ["*", "!app"]
    template_label_filters: ["*", "!app"]
    wait: true
"""

RETURN = r"""
clones:
  description: The clones, in the order of the targets.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the clone object.
      type: str
    namespace:
      description: Its namespace.
      type: str
    changed:
      description: Whether it was made, deleted or changed.
      type: bool
    source:
      description: Name of what is cloned.
      type: str
    source_kind:
      description: C(VirtualMachine) or C(VirtualMachineSnapshot).
      type: str
    target:
      description: Name of the machine that is made.
      type: str
    phase:
      description: C(SnapshotInProgress), C(RestoreInProgress), C(Succeeded) or C(Failed), null at the beginning.
      type: str
    creation_time:
      description: When the machine was made.
      type: str
    failed:
      description: Whether it failed; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.clone_tasks import clone_vm
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

_FILTERS = ("label_filters", "annotation_filters", "template_label_filters", "template_annotation_filters")
SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "namespace": {"type": "str", "required": True},
        "vm": {"type": "str"},
        "snapshot": {"type": "str"},
        "target": {"type": "str"},
        "targets": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **{name: {"type": "list", "elements": "str"} for name in (*_FILTERS, "patches")},
        "new_mac_addresses": {"type": "dict"},
        "new_smbios_serial": {"type": "str"},
        "volume_name_policy": {"type": "str", "choices": ["RandomizeNames", "PrefixTargetName"]},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    },
    mutually_exclusive=[("vm", "snapshot"), ("target", "targets")],
    required_one_of=[("target", "targets")],
    required_if=[("state", "present", ("vm", "snapshot"), True)],
)


def run(task: Task) -> Result:
    return clone_vm(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
