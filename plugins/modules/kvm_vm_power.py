#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_power
short_description: Start, stop, restart, pause, reset and save virtual machines of a KVM host
description:
  - Brings virtual machines into a power state. Their state is read first, and an action is taken only where one is
    needed. Nothing of the machine is written.
  - A guest is asked to shut down by its agent where it has one, else by ACPI, and again while it does not listen. It is
    switched off only when told - by O(force), by O(grace_period), or by the machine's own C(termination_grace_period).
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: Whether the state can be reached is judged by the state that is there.
  diff_mode:
    support: full
    description: Shows the status before and after.
seealso:
  - module: virtstack.core.kvm_vm
options:
  name:
    description: Name of the machine. Exactly one of O(name) and O(label_selector) is required.
    type: str
  label_selector:
    description:
      - Selects the machines by the labels that M(virtstack.core.kvm_vm) gave them, for example V(app=web,tier!=test).
        All that match are acted on, several at a time; one that fails stops none of the others. None that match is no
        error.
    type: str
  state:
    description:
      - V(started) - a guest runs (one that is paused counts); a saved one is restored. V(stopped) - none does.
        V(paused), V(unpaused) - the guest is or is not paused.
      - V(saved) - its memory is on the disk of the host and it does not run. V(restored) - it runs again from there.
      - V(restarted) (the guest shuts down and a new one starts), V(rebooted) (the guest reboots itself, by its agent or
        ACPI) and V(reset) (as by the reset button; unsaved data are lost) act each time they are asked for.
      - V(paused), V(unpaused), V(restarted), V(rebooted) and V(reset) fail where no guest runs, as does V(saved) where
        nothing was saved before, and V(restored) where nothing was saved.
    type: str
    choices: [started, stopped, restarted, paused, unpaused, rebooted, reset, saved, restored]
    required: true
  grace_period:
    description:
      - With O(state=stopped) and O(state=restarted), seconds the guest has to shut down before it is switched off, 0 or
        more. Default is that of the machine. Where it has none either, a guest that does not shut down keeps running.
    type: int
  force:
    description:
      - With O(state=stopped) and O(state=restarted), whether to switch the guest off at once. B(Unsaved data are lost).
        Together with O(grace_period) it is refused.
      - With O(state=started), whether a machine that was saved boots anew. B(The saved memory is lost).
      - With O(state=saved), whether to write over a O(file) that holds a saved memory.
    type: bool
    default: false
  start_paused:
    description: With O(state=started), O(state=restarted) and O(state=restored), whether the guest stays paused before
      its next instruction.
    type: bool
    default: false
  file:
    description:
      - With O(state=saved) and O(state=restored), the file on the host that holds the memory. By default libvirt keeps
        it itself, and restores it at the next start.
      - A guest that runs on after it was restored from a file must not be restored from it again; its disks have
        changed.
    type: str
  wait:
    description:
      - Whether to wait - for V(stopped) until the guest is off, for V(rebooted) until it has rebooted, for V(started),
        V(restarted) and V(restored) until O(wait_for).
      - Without it, V(stopped) only asks the guest to shut down. V(restarted) always waits until the guest is off.
    type: bool
    default: true
  wait_for:
    description: What a guest that starts is waited for - V(running), V(agent) until the guest agent answers, or
      V(address) until the guest has an address.
    type: str
    choices: [running, agent, address]
    default: running
"""

EXAMPLES = r"""
- name: The database server runs, and its agent answers
  virtstack.core.kvm_vm_power:
    name: db
    state: started
    wait_for: agent

- name: It is restarted
  virtstack.core.kvm_vm_power:
    name: db
    state: restarted
    wait_for: agent

- name: Its memory is saved while the host is maintained
  virtstack.core.kvm_vm_power:
    name: db
    state: saved

- name: It goes on where it was
  virtstack.core.kvm_vm_power:
    name: db
    state: restored

- name: All web servers are stopped, each within a minute
  virtstack.core.kvm_vm_power:
    label_selector: app=web
    state: stopped
    grace_period: 60

- name: The database server is switched off at once
  virtstack.core.kvm_vm_power:
    name: db
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
    changed:
      description: Whether an action was taken.
      type: bool
    status:
      description: Its status afterwards - V(running), V(paused), V(stopping), V(stopped), V(crashed) or V(suspended).
        In check mode and where it failed, that of before.
      type: str
    failed:
      description: Whether it could not be brought into the state; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import WAITS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_power_task import STATES, power_vms
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "label_selector": {"type": "str"},
        "state": {"type": "str", "choices": list(STATES), "required": True},
        "grace_period": {"type": "int"},
        "force": {"type": "bool", "default": False},
        "start_paused": {"type": "bool", "default": False},
        "file": {"type": "str"},
        "wait": {"type": "bool", "default": True},
        "wait_for": {"type": "str", "choices": list(WAITS), "default": "running"},
    },
    mutually_exclusive=[("name", "label_selector")],
    required_one_of=[("name", "label_selector")],
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return power_vms(host, task)


if __name__ == "__main__":
    main(SPEC, run)
