#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_snapshot
short_description: Take, delete and retain snapshots of virtual machines of a cluster
description:
  - Makes sure that snapshots exist, or that they are gone. One that exists is left as it is, since a snapshot cannot be
    changed; one that failed holds nothing, and is taken again.
  - The file systems of a running guest are frozen while its disks are taken, if its agent is connected. What came of it
    is told by the indications, see RV(snapshots[].indications).
  - A snapshot holds the disks on claims whose storage takes snapshots. Container disks and cloud-init seeds are part
    of no snapshot; hot-plugged disks only where they are part of the machine.
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
    description: The cluster itself says whether it would accept the snapshot.
  diff_mode:
    support: full
    description: Shows the snapshots before and after.
seealso:
  - module: virtstack.core.vm_snapshot_info
  - module: virtstack.core.vm_restore
options:
  name:
    description:
      - Name of the snapshot. With O(label_selector), the snapshot of each machine is called by the name of the machine,
        a dash, and this.
    type: str
    required: true
  namespace:
    description: Namespace of the machines and of their snapshots.
    type: str
    required: true
  vm:
    description:
      - Name of the machine. One of O(vm) and O(label_selector) is required with O(state=present).
      - With O(state=absent) it is a precaution - a snapshot of another machine is not deleted.
    type: str
  label_selector:
    description:
      - Selects the machines by their labels, for example V(app=web,tier!=test). One that fails stops none of the
        others. None that match is no error.
    type: str
  state:
    description:
      - Whether the snapshot is to exist. With V(absent), its content goes as well, unless O(deletion_policy=retain) was
        given when it was taken.
      - A snapshot that a restore or a clone underway reads is not deleted.
    type: str
    choices: [present, absent]
    default: present
  deletion_policy:
    description: What becomes of the content when the snapshot is deleted. The default of the cluster is V(delete).
    type: str
    choices: [delete, retain]
  failure_deadline:
    description: >-
      How long the snapshot may take, for example V(90s) or V(10m); bare numbers are seconds. When the time is over, it
      has failed for ever and the guest goes on. The default of the cluster is 5 minutes; V(0) is no deadline.
    type: str
  allow_excluded_disks:
    description: >-
      Whether to take a snapshot that leaves out disks because their storage takes none. Otherwise it is refused, with
      the disks and the reasons.
    type: bool
    default: false
  require_guest_agent:
    description:
      - Whether to fail where a running guest would not be frozen because its agent is not connected. No snapshot is
        taken then.
      - With O(wait), it fails as well where the file systems were not frozen after all.
    type: bool
    default: false
  series:
    description:
      - A name for snapshots that are taken again and again, such as V(nightly). It is written into their label
        C(virtstack.core/series); O(keep) and O(keep_days) delete none that do not have it.
    type: str
  keep:
    description:
      - How many snapshots of the O(series) are kept for each machine, this one included, 1 or more. Those that are
        ready count; older ones are deleted after this one is there. Those that failed are deleted too.
      - One that O(keep) or O(keep_days) keeps, stays.
    type: int
  keep_days:
    description: For how many days snapshots of the O(series) are kept, 1 or more. See O(keep).
    type: int
  labels:
    description: Labels that the snapshot is to have.
    type: dict
  annotations:
    description: Annotations that the snapshot is to have.
    type: dict
  wait:
    description:
      - Whether to wait until the snapshots are ready, or gone. The wait ends at once, with the reason, when one fails.
      - Without it, O(keep) and O(keep_days) act while the new snapshot is still underway.
"""

EXAMPLES = r"""
- name: A snapshot before the upgrade
  virtstack.core.vm_snapshot:
    name: before-upgrade
    namespace: prod
    vm: db
    wait: true

- name: One of every web server, of which the last seven nights are kept
  virtstack.core.vm_snapshot:
    name: nightly-2026-01-31
    namespace: prod
    label_selector: app=web
    series: nightly
    keep: 7
    wait: true

- name: The snapshot is not needed any more
  virtstack.core.vm_snapshot:
    name: before-upgrade
    namespace: prod
    state: absent
    wait: true
"""

RETURN = r"""
snapshots:
  description: The snapshots, in the order of the machines' names.
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
    changed:
      description: Whether it was taken, deleted or changed, or others were deleted for it.
      type: bool
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
    pruned:
      description: Older snapshots of its series that were deleted.
      type: list
      elements: str
    failed:
      description: Whether it failed; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.snapshot_tasks import snapshot_vms
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "vm": {"type": "str"},
        "label_selector": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "deletion_policy": {"type": "str", "choices": ["delete", "retain"]},
        "failure_deadline": {"type": "str"},
        "allow_excluded_disks": {"type": "bool", "default": False},
        "require_guest_agent": {"type": "bool", "default": False},
        "series": {"type": "str"},
        "keep": {"type": "int"},
        "keep_days": {"type": "int"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    },
    mutually_exclusive=[("vm", "label_selector")],
    required_if=[("state", "present", ("vm", "label_selector"), True)],
)


def run(task: Task) -> Result:
    return snapshot_vms(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
