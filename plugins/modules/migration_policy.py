#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_policy
short_description: Declare how groups of virtual machines are live-migrated
description:
  - Declares a MigrationPolicy - bandwidth, time limits and methods of live migration for the guests that labels select,
    where they are to differ from those of the whole cluster (C(liveMigrationConfig) of
    M(virtstack.core.hyperconverged)).
  - Of several policies that select a guest, that with the most labels holds for it, then that with more labels of the
    guest itself, then the first by name. A migration takes the policy that holds when it begins.
  - What an earlier task declared and this one leaves out goes back to the cluster's setting.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
attributes:
  check_mode:
    support: full
    description: The change is sent as a dry run, so that the cluster says what it would accept.
  diff_mode:
    support: full
    description: Shows the policy before and after.
seealso:
  - module: virtstack.core.hyperconverged
  - module: virtstack.core.vm_migration
options:
  name:
    description: Name of the policy. It belongs to the whole cluster.
    type: str
    required: true
  state:
    description: V(present) - the policy is there as declared. V(absent) - it is not there.
    type: str
    choices: [present, absent]
    default: present
  vm_selector:
    description:
      - Labels that a guest must all have, with these values. An empty value is a value.
      - The labels are those of the running instance, which come from the template of its machine
        (C(spec.template.metadata.labels)) when it starts.
      - Without O(vm_selector) and O(namespace_selector), the policy selects every guest, and any other that selects it
        comes first.
    type: dict
  namespace_selector:
    description: Labels that the namespace of the guest must all have, with these values.
    type: dict
  bandwidth_per_migration:
    description: The most that a migration may send, in bytes a second, for example V(64Mi). V(0) is without limit.
    type: str
  completion_timeout_per_gib:
    description:
      - Seconds that a migration may take for each GiB of the guest's memory (and of its disks, where these are copied),
        0 or more. When they are over, it is cancelled, or goes on as post-copy where that is allowed.
    type: int
  allow_auto_converge:
    description: Whether KubeVirt may slow the guest down so that the migration comes to an end.
    type: bool
  allow_post_copy:
    description:
      - Whether the guest may go on at the target before all of its memory is there, when the time is over. B(A guest is
        lost where the network or a node fails during that.)
    type: bool
  allow_workload_disruption:
    description: Whether the guest may be paused, when the time is over and post-copy is not allowed. KubeVirt takes
      O(allow_post_copy) where this is not given.
    type: bool
  labels:
    description: Labels of the policy itself.
    type: dict
  annotations:
    description: Annotations of the policy itself.
    type: dict
  definition:
    description: Further fields of the policy's C(spec), as the API has them, for example C(maxDowntimeMs) in versions
      of KubeVirt that have it.
    type: dict
  resolve:
    description: Whether to return the running guests for which this policy is the one that holds. It takes a list of
      all guests of the cluster.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Databases migrate with all the bandwidth there is, and at the worst in post-copy
  virtstack.core.migration_policy:
    name: databases
    vm_selector:
      workload: database
    namespace_selector:
      environment: production
    bandwidth_per_migration: "0"
    completion_timeout_per_gib: 300
    allow_post_copy: true

- name: Guests of the laboratory use little of the network, and which guests these are
  virtstack.core.migration_policy:
    name: laboratory
    namespace_selector:
      environment: laboratory
    bandwidth_per_migration: 32Mi
    resolve: true

- name: Databases migrate as all others do
  virtstack.core.migration_policy:
    name: databases
    state: absent
"""

RETURN = r"""
migration_policy:
  description: The MigrationPolicy as the cluster has it.
  returned: when O(state=present)
  type: dict
vms:
  description: The running guests for which this policy is the one that holds, as namespace/name.
  returned: when O(state=present) and O(resolve=true)
  type: list
  elements: str
  sample: [prod/db]
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS, DECLARE_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects import migration_policy
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "vm_selector": {"type": "dict"},
        "namespace_selector": {"type": "dict"},
        "bandwidth_per_migration": {"type": "str"},
        "completion_timeout_per_gib": {"type": "int"},
        "allow_auto_converge": {"type": "bool"},
        "allow_post_copy": {"type": "bool"},
        "allow_workload_disruption": {"type": "bool"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
        "definition": {"type": "dict"},
        "resolve": {"type": "bool", "default": False},
    }
)


def run(task: Task) -> Result:
    client = connect(task.params)
    if task.params["state"] == "absent":
        return migration_policy.remove(client, task)
    return migration_policy.declare(client, task)


if __name__ == "__main__":
    main(SPEC, run)
