#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_maintenance
short_description: Cordon a node, move its virtual machines away, and give it back
description:
  - Empties a node for maintenance, and lets machines come to it again afterwards.
  - Guests leave by their eviction strategy, as with C(oc adm drain). Those that can migrate do.
    B(A guest that would be shut down instead keeps the node from being drained), unless O(force=true) - one whose
    strategy is C(None), or one that cannot be migrated.
  - The guests leave first, pods when these have left.
  - Everything that stands against a drain is named before anything is changed, also that guests or pods have nowhere to
    go, since all other nodes are cordoned, not ready, not such as their node selectors want, or not there. What only
    shows on the way - a node that has no room, a disruption budget - is named when it shows; the node stays cordoned
    then, and the next run goes on.
  - Guests do not move back by themselves when the node is given back, see M(virtstack.core.vm_migration).
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: Lists what would move, be shut down or be evicted. The cluster says by dry runs which pods a disruption
      budget holds at the moment.
  diff_mode:
    support: full
    description: Shows whether the node is cordoned and which guests are on it, before and after.
seealso:
  - module: virtstack.core.vm_migration
  - module: virtstack.core.migration_policy
options:
  name:
    description: Name of the node.
    type: str
    required: true
  state:
    description:
      - V(drained) - no new machines and pods come to the node, and those that are there leave it. V(cordoned) - none
        come to it. V(uncordoned) - they may come to it.
    type: str
    choices: [drained, cordoned, uncordoned]
    default: drained
  force:
    description:
      - With O(state=drained), whether guests that would be shut down may be, and pods be evicted that no controller
        makes anew or no other node takes. The guests are shut down as their machines' grace periods say; KubeVirt
        starts those whose run strategy says so on another node, if their disks can be used there.
    type: bool
    default: false
  pods:
    description: With O(state=drained), whether pods that are no guests leave the node as well. Those of daemon sets and
      of the node itself always stay.
    type: bool
    default: true
  delete_emptydir_data:
    description: With O(state=drained), whether pods may be evicted that have emptyDir volumes. B(What is in these is
      lost.)
    type: bool
    default: false
  operator:
    description:
      - Whether the Node Maintenance Operator does the work, by a NodeMaintenance object, which O(state=uncordoned)
        deletes. It has to be installed.
      - It knows none of the reservations of this module, so that these are checked before the object is made.
    type: bool
    default: false
  reason:
    description: With O(operator=true), why the node is in maintenance, for others to read.
    type: str
  wait:
    description:
      - Whether to wait until the guests and pods have left. Without it they are asked to leave once, and a disruption
        budget that holds a pod is an error.
      - The wait for a guest ends, with the reason, when no other node has room for it for a while, see O(wait_timeout).
        The others go on.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What would have to leave worker-1
  virtstack.core.node_maintenance:
    name: worker-1
  check_mode: true
  register: planned

- name: The guests among it
  ansible.builtin.debug:
    msg: "{{ item.namespace }}/{{ item.name }}: {{ item.action }} {{ item.reason or '' }}"
  loop: "{{ planned.vms }}"
  loop_control:
    label: "{{ item.name }}"

- name: Nothing but its own daemons is left on worker-1
  virtstack.core.node_maintenance:
    name: worker-1
    state: drained
    delete_emptydir_data: true
    wait: true
    wait_timeout: 3600

- name: It takes machines again
  virtstack.core.node_maintenance:
    name: worker-1
    state: uncordoned
"""

RETURN = r"""
node:
  description: The node, as far as the task has brought it.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    unschedulable:
      description: Whether it is cordoned.
      type: bool
vms:
  description: The guests that were on the node, with O(state=drained).
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
    eviction_strategy:
      description: The eviction strategy that holds for it.
      type: str
    action:
      description:
        - What becomes of it, in check mode what would. V(migrated), V(shut_down), V(evicted) (another controller sees
          to it), V(leaving) (it was ending already), or V(blocked) (it keeps the node from being drained).
      type: str
    reason:
      description: Why it is blocked or shut down, else null.
      type: str
    node:
      description: The node on which it is now, as far as that was waited for. Null where that instance has ended.
      type: str
pods:
  description: The other pods that were to leave, with O(state=drained) and O(pods=true).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the pod.
      type: str
    namespace:
      description: Its namespace.
      type: str
    action:
      description: What becomes of it, in check mode what would - V(evicted), V(leaving) or V(blocked).
      type: str
    reason:
      description: Why it is blocked, or could not be evicted at this moment (check mode). Else null.
      type: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.node_maintenance import maintain
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["drained", "cordoned", "uncordoned"], "default": "drained"},
        "force": {"type": "bool", "default": False},
        "pods": {"type": "bool", "default": True},
        "delete_emptydir_data": {"type": "bool", "default": False},
        "operator": {"type": "bool", "default": False},
        "reason": {"type": "str"},
    }
)


def run(task: Task) -> Result:
    return maintain(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
