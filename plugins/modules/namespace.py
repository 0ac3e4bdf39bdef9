#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: namespace
short_description: Declare a namespace for virtual machines
description:
  - Makes sure that a namespace exists with the labels and annotations declared, or that it is gone.
  - Labels and annotations that nobody declared here stay as they are; those that an earlier run declared and this one
    leaves out go away.
  - V(absent) refuses while there are virtual machines, data volumes or persistent volume claims in the namespace, and
    names them, unless O(delete_contents=true).
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
    description: The cluster itself says whether it would accept the change.
  diff_mode:
    support: full
    description: Shows the namespace before and after.
options:
  name:
    description: The name of the namespace.
    type: str
    required: true
  state:
    description: Whether the namespace is to exist.
    type: str
    choices: [present, absent]
    default: present
  labels:
    description: Labels that it is to have. A null takes a label away, whoever set it.
    type: dict
  annotations:
    description: Annotations that it is to have. A null takes an annotation away, whoever set it.
    type: dict
  mac_pool:
    description:
      - Whether the MAC pool of OpenShift Virtualization gives the machines of this namespace addresses that are
        unique in the cluster. V(disabled) sets the label C(mutatevirtualmachines.kubemacpool.io=ignore), V(enabled)
        takes it away.
      - Without it, the namespace stays as it is; a new one is managed by the pool.
    type: str
    choices: [enabled, disabled]
  delete_contents:
    description:
      - With O(state=absent), whether virtual machines, data volumes and persistent volume claims are deleted with the
        namespace. B(Their data is lost).
    type: bool
    default: false
  wait:
    description: With O(state=absent), whether to wait until the namespace and everything in it is gone.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The namespace prod exists
  virtstack.core.namespace:
    name: prod
    labels:
      environment: production

- name: Machines of the laboratory bring their own MAC addresses
  virtstack.core.namespace:
    name: laboratory
    mac_pool: disabled

- name: The laboratory is gone
  virtstack.core.namespace:
    name: laboratory
    state: absent
    wait: true
"""

RETURN = r"""
namespace:
  description: The namespace as the cluster has it, without what it keeps about field managers.
  returned: when O(state=present)
  type: dict
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects import namespaces
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
        "mac_pool": {"type": "str", "choices": ["enabled", "disabled"]},
        "delete_contents": {"type": "bool", "default": False},
    }
)


def run(task: Task) -> Result:
    client = connect(task.params)
    if task.params["state"] == "absent":
        return namespaces.remove(client, task)
    return namespaces.declare(client, task)


if __name__ == "__main__":
    main(SPEC, run)
