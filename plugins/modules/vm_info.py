#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_info
short_description: Tell what virtual machines of a cluster are and do
description:
  - Reads virtual machines with their instances and the volumes behind their disks, and merges them.
  - However many machines there are, one list of each kind is read (machines, instances, data volumes, claims), in
    pages.
  - What the user may not read besides the machines themselves is left empty, with a warning.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
seealso:
  - module: virtstack.core.vm
options:
  name:
    description: Name of one machine. Needs O(namespaces) to be exactly one.
    type: str
  namespaces:
    description: Namespaces to read. Without it, the whole cluster is read.
    type: list
    elements: str
    aliases: [namespace]
  label_selector:
    description: Selects the machines by their labels, for example V(app=web,tier!=test).
    type: str
  field_selector:
    description: Selects the machines by fields; the API knows V(metadata.name) and V(metadata.namespace).
    type: str
"""

EXAMPLES = r"""
- name: What the database server is
  virtstack.core.vm_info:
    name: db
    namespaces: [prod]
  register: found

- name: Its addresses
  ansible.builtin.debug:
    msg: "{{ found.vms | map(attribute='addresses') | flatten }}"

- name: All machines of the cluster
  virtstack.core.vm_info:
  register: all_machines

- name: The names of those that wait for a restart
  ansible.builtin.debug:
    msg: "{{ all_machines.vms | selectattr('restart_required') | map(attribute='name') | list }}"
"""

RETURN = r"""
vms:
  description: The machines, by namespace and name. None that match are an empty list.
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
    uid:
      description: Its UID.
      type: str
    labels:
      description: Its labels.
      type: dict
    annotations:
      description: Its annotations.
      type: dict
    created:
      description: When it was created, in UTC.
      type: str
    status:
      description: Its status as KubeVirt prints it, for example V(Running).
      type: str
    ready:
      description: Whether its guest is ready.
      type: bool
    run_strategy:
      description: When it runs.
      type: str
    instancetype:
      description: Name of its instance type, null where it has none.
      type: str
    preference:
      description: Name of its preference, null where it has none.
      type: str
    cpu:
      description: C(cores), C(sockets), C(threads) and C(count) of the running guest, else as declared.
      type: dict
    memory:
      description: Memory of the running guest, else as declared; null where an instance type decides it.
      type: str
    node:
      description: Node its guest runs on.
      type: str
    phase:
      description: Phase of its instance, null where it has none.
      type: str
    instance_uid:
      description: UID of its instance.
      type: str
    paused:
      description: Whether its guest is paused.
      type: bool
    restart_required:
      description: Whether its guest has to be restarted to become what the machine says.
      type: bool
    conditions:
      description: Conditions of the machine, each with C(type), C(status), C(reason) and C(message).
      type: list
      elements: dict
    instance_conditions:
      description: Conditions of its instance.
      type: list
      elements: dict
    addresses:
      description: Addresses of its guest, that of the first interface first, without link-local ones.
      type: list
      elements: str
    interfaces:
      description: >-
        Interfaces, each with C(name), C(network), C(model), C(mac), C(guest_name), C(link), C(addresses) and C(source),
        which says who reported it.
      type: list
      elements: dict
    disks:
      description: >-
        Disks, each with C(name), C(type) of its volume, C(device), C(bus), C(boot_order), C(claim), C(size),
        C(storage_class), C(volume_mode), C(access_modes), C(claim_phase), C(phase), C(progress) and C(target), its name
        in the guest.
      type: list
      elements: dict
    guest:
      description: >-
        What the guest agent told, where there is one - C(agent_connected), C(os_id), C(os_name), C(os_version),
        C(kernel), C(machine) and C(frozen).
      type: dict
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_info_task import inform
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        "name": {"type": "str"},
        "namespaces": {"type": "list", "elements": "str", "aliases": ["namespace"]},
        "label_selector": {"type": "str"},
        "field_selector": {"type": "str"},
    }
)


def run(task: Task) -> Result:
    return inform(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
