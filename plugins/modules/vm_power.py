#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_power
short_description: Start, stop, restart, pause and reset virtual machines of a cluster
description:
  - Brings virtual machines into a power state. They are read first, and an action is taken only where one is needed.
  - Nothing else of the machine is written. KubeVirt itself turns a V(Halted) machine that is started into V(Always),
    and an V(Always) or V(Once) one that is stopped into V(Halted); V(Manual) and V(RerunOnFailure) stay what they are.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description:
      - The cluster says, by a dry run of the action, whether it would take it. V(soft_rebooted) and V(reset) have no
        dry run; for these only the state of the machine is checked.
  diff_mode:
    support: full
    description: Shows status and run strategy before and after. Without O(wait) the status after is the state that was
      wanted.
seealso:
  - module: virtstack.core.vm
options:
  name:
    description: Name of the machine. Exactly one of O(name) and O(label_selector) is required.
    type: str
  namespace:
    description: Namespace of the machines.
    type: str
    required: true
  label_selector:
    description:
      - Selects the machines by their labels, for example V(app=web,tier!=test). All that match are acted on, several at
        a time; one that fails stops none of the others. None that match is no error.
    type: str
  state:
    description:
      - V(started) - a guest runs (one that is paused counts). V(stopped) - none does. V(paused), V(unpaused) - the
        guest is or is not paused.
      - V(restarted) (a new instance), V(soft_rebooted) (the guest reboots itself, through its agent or ACPI) and
        V(reset) (as by the reset button; unsaved data are lost) act each time they are asked for.
      - All but V(started) and V(stopped) fail where no guest runs.
    type: str
    choices: [started, stopped, restarted, paused, unpaused, soft_rebooted, reset]
    required: true
  grace_period:
    description:
      - With O(state=stopped), seconds the guest has to shut down before it is switched off, 0 or more. Default is that
        of the machine. With O(state=restarted) only V(0) is possible.
    type: int
  force:
    description:
      - With O(state=stopped) and O(state=restarted), whether to switch the guest off at once. B(Unsaved data are lost).
        Together with O(grace_period) it is refused.
    type: bool
    default: false
  start_paused:
    description: With O(state=started), whether a guest that has to be started stays paused before its first
      instruction.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the state is reached - for V(started) and V(restarted) until the new instance runs and is
        ready, for V(stopped) until the instance is gone. There is nothing to wait for with V(soft_rebooted) and
        V(reset).
      - The wait ends at once, with the reason, when the machine cannot start.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The database server runs
  virtstack.core.vm_power:
    name: db
    namespace: prod
    state: started
    wait: true

- name: It is restarted, and its new instance is ready
  virtstack.core.vm_power:
    name: db
    namespace: prod
    state: restarted
    wait: true
    wait_timeout: 600

- name: All web servers are stopped, each within a minute
  virtstack.core.vm_power:
    namespace: prod
    label_selector: app=web
    state: stopped
    grace_period: 60
    wait: true

- name: The database server is switched off at once
  virtstack.core.vm_power:
    name: db
    namespace: prod
    state: stopped
    force: true
"""

RETURN = r"""
vms:
  description: The machines that were selected, by name.
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
      description: Whether an action was taken.
      type: bool
    status:
      description: Its status as KubeVirt prints it - with O(wait) when the state was reached, else right after the
        action, when it may still be that of before. In check mode and where it failed, that of before.
      type: str
    run_strategy:
      description: Its run strategy then.
      type: str
    instance_uid:
      description: UID of the instance it has then, null where it has none.
      type: str
    failed:
      description: Whether it could not be brought into the state; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_power import STATES
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_power_task import power_vms
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "namespace": {"type": "str", "required": True},
        "label_selector": {"type": "str"},
        "state": {"type": "str", "choices": list(STATES), "required": True},
        "grace_period": {"type": "int"},
        "force": {"type": "bool", "default": False},
        "start_paused": {"type": "bool", "default": False},
    },
    mutually_exclusive=[("name", "label_selector")],
    required_one_of=[("name", "label_selector")],
)


def run(task: Task) -> Result:
    return power_vms(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
