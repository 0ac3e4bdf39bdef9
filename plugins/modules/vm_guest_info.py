#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_guest_info
short_description: Read what the guest agents of virtual machines tell
description:
  - Asks the agents in running guests for their operating system, for who is logged in, and for their file systems.
  - A guest without an agent is no error. RV(vms[].connected) is false then, and RV(vms[].reason) says why.
  - What a cluster knows of machines without asking their guests, M(virtstack.core.vm_info) tells with fewer requests.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any case.
  diff_mode:
    support: none
    description: Nothing is changed.
seealso:
  - module: virtstack.core.vm_info
options:
  name:
    description: Name of the machine. Exactly one of O(name) and O(label_selector) is required.
    type: str
  namespace:
    description: Namespace of the machines.
    type: str
    required: true
  label_selector:
    description: Selects the machines by their labels, for example V(app=web,tier!=test). None that match is no error.
    type: str
  gather:
    description: What to ask for. V(os) - operating system, host name, time zone, version of the agent. V(users) - login
      sessions. V(filesystems) - mounted file systems. Each takes a request for each guest.
    type: list
    elements: str
    choices: [os, users, filesystems]
    default: [os, users, filesystems]
  wait:
    description:
      - Whether to wait until the agents are connected. A guest that does not run yet is waited for as well.
      - The wait for a guest ends at once when it is being stopped.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What the guest of the database server tells
  virtstack.core.vm_guest_info:
    name: db
    namespace: prod
    wait: true
  register: guest

- name: How full its file systems are
  ansible.builtin.debug:
    msg: "{{ item.mount_point }}: {{ (100 * item.used_bytes / item.total_bytes) | round }} %"
  loop: "{{ guest.vms[0].filesystems }}"
  loop_control:
    label: "{{ item.mount_point }}"

- name: The systems of all guests that have an agent
  virtstack.core.vm_guest_info:
    namespace: prod
    label_selector: "!legacy"
    gather: [os]
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
    connected:
      description: Whether the agent of its guest answers.
      type: bool
    reason:
      description: Why it does not, else null.
      type: str
    agent_version:
      description: Version of the agent, with V(os) in O(gather).
      type: str
    hostname:
      description: Host name that the guest has, with V(os) in O(gather).
      type: str
    timezone:
      description: Time zone of the guest and its offset in seconds, as the agent writes them, with V(os) in O(gather).
      type: str
      sample: UTC, 0
    frozen:
      description: Whether the guest's file systems are frozen, with V(os) in O(gather).
      type: bool
    os:
      description: The guest's operating system, with V(os) in O(gather). What the agent does not tell is left out.
      type: dict
      sample:
        id: fedora
        name: Fedora Linux
        pretty_name: Fedora Linux 42
        version: "42"
        version_id: "42"
        kernel: 6.14.0-63.fc42.x86_64
        kernel_version: "#1 SMP PREEMPT_DYNAMIC"
        machine: x86_64
    users:
      description: The login sessions in the guest, with V(users) in O(gather).
      type: list
      elements: dict
      contains:
        name:
          description: Name of the user.
          type: str
        domain:
          description: Domain of the user, on Windows.
          type: str
        login_time:
          description: When the session began, in seconds since 1970.
          type: float
    filesystems:
      description: The mounted file systems, with V(filesystems) in O(gather), by mount point.
      type: list
      elements: dict
      contains:
        disk:
          description: The device, as the guest names it.
          type: str
        mount_point:
          description: Where it is mounted.
          type: str
        type:
          description: Its kind, for example V(xfs).
          type: str
        used_bytes:
          description: Bytes in use.
          type: int
        total_bytes:
          description: Bytes in all.
          type: int
        serials:
          description: Serial numbers of the disks it is on, where they have any.
          type: list
          elements: str
    failed:
      description: Whether the agent could not be asked; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_guest import PARTS, guest_infos
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "namespace": {"type": "str", "required": True},
        "label_selector": {"type": "str"},
        "gather": {"type": "list", "elements": "str", "choices": list(PARTS), "default": list(PARTS)},
    },
    mutually_exclusive=[("name", "label_selector")],
    required_one_of=[("name", "label_selector")],
)


def run(task: Task) -> Result:
    return guest_infos(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
