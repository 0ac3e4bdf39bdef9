#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_memory_dump
short_description: Dump the memory of a running virtual machine of a cluster to a claim
description:
  - Has KubeVirt write the memory of a running guest into a file on a PersistentVolumeClaim, for analysis.
  - The claim is attached to the guest's pod for that and taken off again; the guest itself does not see it. It stays
    associated with the machine, which dumps to no other until O(state=absent).
  - B(A dump holds everything that the guest had in its memory), passwords and keys among it. Nothing of it is shown.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: KubeVirt has no dry run for dumps. The state of the machine and the claim are checked, and a claim that
      is to be made is tried by a dry run.
  diff_mode:
    support: full
    description: Shows the claim and the file of the dump, before and after.
options:
  name:
    description: Name of the machine.
    type: str
    required: true
  namespace:
    description: Namespace of the machine and of the claim.
    type: str
    required: true
  state:
    description:
      - V(dumped) - there is a dump of the machine on the claim. One that is being taken is waited for, not taken again.
      - V(absent) - no claim is associated with the machine. B(The claim is kept, with the dump on it.)
    type: str
    choices: [dumped, absent]
    default: dumped
  claim:
    description:
      - Name of the PersistentVolumeClaim, of mode Filesystem, that takes the dump. Default is that of the dump before.
        One that is too small is refused.
      - With O(state=absent), only if this claim is the one that is associated.
    type: str
  renew:
    description: Whether to take another dump where there is one. It takes a file of its own on the claim, which needs
      room for it.
    type: bool
    default: false
  create:
    description: Whether to make the claim if it is not there. It belongs to nobody, so that it outlives the machine.
    type: bool
    default: false
  size:
    description: Size of a claim that is made, for example V(10Gi). Default is room for one dump - the guest's memory
      and 100 MiB, and a tenth for the file system.
    type: str
  storage_class:
    description: Storage class of a claim that is made. Default is the cluster's.
    type: str
  access_mode:
    description: Access mode of a claim that is made.
    type: str
    choices: [ReadWriteOnce, ReadWriteMany]
    default: ReadWriteOnce
  wait:
    description:
      - Whether to wait until the dump is written and its claim taken off, or, with O(state=absent), until the claim is
        no longer associated.
      - The wait ends at once, with the reason, when the dump fails.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The memory of the database server is dumped
  virtstack.core.vm_memory_dump:
    name: db
    namespace: prod
    claim: db-memory
    create: true
    wait: true
  register: dump

- name: The file it is in
  ansible.builtin.debug:
    msg: "{{ dump.claim }}: {{ dump.file }}"

- name: The machine needs the claim no more
  virtstack.core.vm_memory_dump:
    name: db
    namespace: prod
    state: absent
    wait: true
"""

RETURN = r"""
claim:
  description: The claim that is associated with the machine, null without one.
  returned: always
  type: str
phase:
  description: How far the dump is, in KubeVirt's words, for example V(Completed). Null without one.
  returned: always
  type: str
file:
  description: Name of the dump's file on the claim, null where there is none yet.
  returned: always
  type: str
started:
  description: When the dump began.
  returned: always
  type: str
ended:
  description: When it was written.
  returned: always
  type: str
claim_created:
  description: Whether the claim was made.
  returned: always
  type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_memory_dump import manage_dump
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["dumped", "absent"], "default": "dumped"},
        "claim": {"type": "str"},
        "renew": {"type": "bool", "default": False},
        "create": {"type": "bool", "default": False},
        "size": {"type": "str"},
        "storage_class": {"type": "str"},
        "access_mode": {"type": "str", "choices": ["ReadWriteOnce", "ReadWriteMany"], "default": "ReadWriteOnce"},
    }
)


def run(task: Task) -> Result:
    return manage_dump(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
