#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_console_log
short_description: Read what the serial console of a virtual machine said
description:
  - Reads what a running guest said on its serial console, or waits until it says something.
  - Where KubeVirt keeps the console's output (the log of the container C(guest-console-log), unless it is turned off
    for the cluster or the machine), all of it since the guest's start, or since its last migration, is there.
    Elsewhere the module listens to the console, and hears what comes from then on.
  - Nothing is typed on the console. Colours and cursor movements are taken out of what it said.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
attributes:
  check_mode:
    support: full
    description: Reads only, in check mode as well.
  diff_mode:
    support: none
    description: Nothing is changed.
seealso:
  - module: virtstack.core.vm_screenshot
  - module: virtstack.core.vm_info
options:
  name:
    description: Name of the machine.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  pattern:
    description:
      - Regular expression (Python's, over several lines) to wait for. The task ends as soon as the console said it,
        also when that was before.
      - What is no regular expression is refused.
    type: str
  tail:
    description: Return the last so many lines, 0 or more. By default all of them.
    type: int
  wait_timeout:
    description:
      - Seconds to wait for O(pattern). When they are over, or the guest stops before, the task fails with what the
        console said last. Must be more than 0.
      - Where the console keeps no log and no O(pattern) is given, the module listens for at most 2 seconds.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Wait until the guest has booted
  virtstack.core.vm_console_log:
    name: db
    namespace: prod
    pattern: "login:|TICK [0-9]+"
    wait_timeout: 300

- name: What it said last
  virtstack.core.vm_console_log:
    name: db
    namespace: prod
    tail: 20
  register: console

- name: Show it
  ansible.builtin.debug:
    msg: "{{ console.lines }}"
"""

RETURN = r"""
log:
  description: What the console said, or the last O(tail) lines of it.
  returned: always
  type: str
lines:
  description: The same, by lines.
  returned: success
  type: list
  elements: str
match:
  description: What O(pattern) matched, null without one.
  returned: always
  type: str
source:
  description: V(log) where the output was kept, V(stream) where the module listened to the console.
  returned: always
  type: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_console import read_console
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "pattern": {"type": "str"},
        "tail": {"type": "int"},
        "wait_timeout": {"type": "int", "default": 60},
    }
)


def run(task: Task) -> Result:
    return read_console(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
