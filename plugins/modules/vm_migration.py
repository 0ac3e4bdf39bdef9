#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_migration
short_description: Live-migrate virtual machines of a cluster to other nodes
description:
  - Moves running guests to other nodes while they run, one or many, a few at a time, and cancels migrations.
  - Before it asks for a migration it says why a machine cannot migrate - no running guest, disks that are not shared, a
    node that is cordoned or not there. A migration that is under way is adopted and waited for instead of being asked
    for again.
  - A guest that is already where O(node) or O(node_selector) wants it stays there, and nothing has changed.
    B(Without either, every run moves the guest), as there is no node it should be on.
  - KubeVirt keeps the last five migrations of a machine as objects and removes older ones itself.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: The cluster says, by a dry run of the migration, whether it would take it. Whether a node has room is
      known only when it is tried.
  diff_mode:
    support: full
    description: Shows the node of the guest before and after. Without O(wait) the node after is what was asked for.
seealso:
  - module: virtstack.core.migration_policy
  - module: virtstack.core.node_maintenance
  - module: virtstack.core.vm_power
options:
  name:
    description: Name of the machine. At least one of O(name), O(names), O(label_selector) and O(from_node) is required.
    type: str
  names:
    description: Names of several machines. One that cannot be moved stops none of the others.
    type: list
    elements: str
  label_selector:
    description:
      - Selects machines by their labels, for example V(app=web,tier!=test). Those without a running guest are
        skipped. None that match is no error.
    type: str
  from_node:
    description:
      - Moves the guests that are on this node now, in O(namespace), or in all namespaces where none is given. Together
        with the other ways of selecting, only those of the selected machines that are on this node.
      - The node is not cordoned, so that other guests may come to it. To empty it, see
        M(virtstack.core.node_maintenance).
    type: str
  namespace:
    description: Namespace of the machines. Only O(from_node) alone goes without.
    type: str
  state:
    description:
      - V(migrated) - the guests are moved. V(cancelled) - migrations that are under way are stopped, and the guests
        stay where they are.
    type: str
    choices: [migrated, cancelled]
    default: migrated
  node:
    description:
      - Name of the node to move to. It has to be ready for virtual machines and not cordoned.
      - Needs a version of KubeVirt whose migrations have the field C(addedNodeSelector), as needs O(node_selector).
    type: str
  node_selector:
    description:
      - Labels that the node to move to must have. The machine's own node selector holds as well, and wins where it
        wants another value.
    type: dict
  parallel:
    description:
      - How many guests this task moves at a time with O(wait=true), 1 to 16. KubeVirt's own limits hold as well, by
        default 5 in the cluster and 2 from a node. Those that wait for their turn count.
      - Without O(wait) all migrations are asked for at once, and KubeVirt queues them.
    type: int
    default: 5
  wait:
    description:
      - Whether to wait until the guests are on their new nodes, or the cancelled migrations have ended.
      - The wait for a guest ends at once, with the reason, when its migration failed, when no node has had room for it
        for a while (see O(wait_timeout)), or a quota leaves none. In the last two cases the migration is cancelled, so
        that it does not come about later.
      - When O(wait_timeout), which counts for each guest on its own, is over, the migration goes on, and the next run
        adopts it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The database server moves to another node
  virtstack.core.vm_migration:
    name: db
    namespace: prod
    wait: true

- name: It is on a node of its zone
  virtstack.core.vm_migration:
    name: db
    namespace: prod
    node_selector:
      topology.kubernetes.io/zone: zone-1
    wait: true
    wait_timeout: 900

- name: Those of the web servers that are on worker-0 leave it, two at a time
  virtstack.core.vm_migration:
    label_selector: app=web
    namespace: prod
    from_node: worker-0
    parallel: 2
    wait: true
  register: moved

- name: Where they went
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.source_node }} -> {{ item.node }} in {{ item.duration }} s"
  loop: "{{ moved.vms }}"
  loop_control:
    label: "{{ item.name }}"

- name: No migration of the database server is under way
  virtstack.core.vm_migration:
    name: db
    namespace: prod
    state: cancelled
    wait: true
"""

RETURN = r"""
vms:
  description: The machines that were selected, in the order of O(names) or by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the machine.
      type: str
    namespace:
      description: Its namespace.
      type: str
    changed:
      description: Whether a migration was asked for, or its cancellation.
      type: bool
    action:
      description:
        - V(migrated) - it was moved. V(started) - the migration was asked for and not waited for, or failed.
          V(adopted) - a migration that was under way was followed. V(cancelled) - one was stopped. V(skipped) - it has
          no running guest. V(none) - there was nothing to do.
      type: str
    reason:
      description: Why it was skipped, else null.
      type: str
    migration:
      description: Name of the VirtualMachineInstanceMigration, null without one.
      type: str
    phase:
      description: The phase in which the migration was seen last, null without one.
      type: str
    source_node:
      description: The node on which the guest was before.
      type: str
    node:
      description: The node on which the guest is now, as far as that was waited for.
      type: str
    duration:
      description: Seconds that the transfer took, by the time stamps of the guest's nodes. Null where it is not over.
      type: float
    mode:
      description: V(PreCopy), V(PostCopy) or V(Paused) - how the memory was moved in the end. Null where it is not
        over.
      type: str
    policy:
      description: The MigrationPolicy that applied, null without one or where the migration is not over.
      type: str
    annotations:
      description: >-
        Annotations of the migration that came to its end, in which a cluster may tell what it measured; the lab does
        that for real guests, with C(virtlab/downtime-milliseconds).
      type: dict
    failed:
      description: Whether it could not be moved; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_migration_task import migrate_vms
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "label_selector": {"type": "str"},
        "from_node": {"type": "str"},
        "namespace": {"type": "str"},
        "state": {"type": "str", "choices": ["migrated", "cancelled"], "default": "migrated"},
        "node": {"type": "str"},
        "node_selector": {"type": "dict"},
        "parallel": {"type": "int", "default": 5},
    },
    mutually_exclusive=[("name", "names", "label_selector"), ("node", "node_selector")],
    required_one_of=[("name", "names", "label_selector", "from_node")],
)


def run(task: Task) -> Result:
    return migrate_vms(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
