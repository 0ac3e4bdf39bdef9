#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_info
short_description: Tell what virtual machines of a KVM host are and do
description:
  - Reads virtual machines with their disks and addresses, and what guests tell through their agents.
  - However many machines there are, their states and disks' sizes are read with one request. Agents are asked several
    at a time, only where they are connected; one that does not answer is waited for five seconds.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It changes nothing.
seealso:
  - module: virtstack.core.kvm_vm
options:
  name:
    description: Name of one machine. One that is not there is an empty list.
    type: str
  label_selector:
    description: Selects the machines by the labels that M(virtstack.core.kvm_vm) gave them, for example
      V(app=web,tier!=test).
    type: str
  agent:
    description: Whether to ask guest agents. Without them, addresses are those of leases and of the host's ARP table,
      and nothing is known of what is inside.
    type: bool
    default: true
  xml:
    description: Whether to return the domain as libvirt has it for the next start, without passwords. The filter
      C(virtstack.core.from_domain_xml) makes a description of it.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: What the database server is
  virtstack.core.kvm_vm_info:
    name: db
  register: found

- name: Its addresses
  ansible.builtin.debug:
    msg: "{{ found.vms | map(attribute='addresses') | flatten }}"

- name: All machines of the host, without asking their agents
  virtstack.core.kvm_vm_info:
    agent: false
  register: all_machines

- name: The names of those that wait for a restart
  ansible.builtin.debug:
    msg: "{{ all_machines.vms | selectattr('restart_required') | map(attribute='name') | list }}"
"""

RETURN = r"""
vms:
  description: The machines, by name. None that match are an empty list.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the machine.
      type: str
    uuid:
      description: Its UUID.
      type: str
    title:
      description: Its title, null where it has none.
      type: str
    status:
      description: V(running), V(paused), V(stopping), V(stopped), V(crashed) or V(suspended).
      type: str
    persistent:
      description: Whether it outlives its guest.
      type: bool
    saved:
      description: Whether libvirt keeps the memory of its guest, to be restored at the next start.
      type: bool
    autostart:
      description: Whether it starts with the host.
      type: bool
    run_strategy:
      description: When it runs, as it was declared last; null where nothing was.
      type: str
    labels:
      description: Its labels.
      type: dict
    annotations:
      description: Its annotations.
      type: dict
    type:
      description: V(kvm), or V(qemu) where its guest is emulated.
      type: str
    architecture:
      description: Its architecture, as libvirt calls it.
      type: str
    machine_type:
      description: Its machine type with the version.
      type: str
    firmware:
      description: C(mode) (V(bios) or V(efi)) and C(tpm).
      type: dict
    cpu:
      description: C(count) and C(maximum) of its vCPUs, C(mode) and C(model), C(sockets), C(cores) and C(threads).
      type: dict
    cpu_time:
      description: Seconds of CPU that its guest has used since its start, null where it does not run.
      type: float
    memory:
      description: Memory of its guest, in bytes.
      type: int
    memory_maximum:
      description: What it can have without a restart, in bytes.
      type: int
    restart_required:
      description: Whether its guest has to be restarted to become what the machine is.
      type: bool
    restart_reasons:
      description: Why, as changed parts.
      type: list
      elements: str
    addresses:
      description: Addresses of its guest, that of the first interface first, without link-local ones.
      type: list
      elements: str
    interfaces:
      description: >-
        Interfaces, each with C(name), C(type), C(network), C(portgroup), C(mac), C(model), C(target) on the host,
        C(link), C(boot_order), C(addresses), C(address_source) (V(agent), V(lease), V(arp)) and C(guest_name).
      type: list
      elements: dict
    disks:
      description: >-
        Disks, each with C(name), C(device), C(bus), C(target), C(type), C(source), C(pool), C(format), C(readonly),
        C(shareable), C(boot_order), C(serial), C(size) and C(allocation) on the host in bytes.
      type: list
      elements: dict
    guest:
      description: >-
        What the agent told - C(agent_connected), C(agent_answers), C(hostname), C(timezone) (C(name), C(offset) in
        seconds) and C(os) (C(id), C(name), C(version), C(variant), C(kernel), C(kernel_version), C(machine)).
      type: dict
    filesystems:
      description: File systems of its guest, each with C(name), C(mountpoint), C(type), C(size) and C(used) in bytes,
        and C(disks).
      type: list
      elements: dict
    users:
      description: Who is logged in, each with C(name), C(domain) and C(login_time) in seconds since 1970.
      type: list
      elements: dict
    xml:
      description: The domain as libvirt has it for the next start. With O(xml=true).
      type: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_info import inform
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "name": {"type": "str"},
        "label_selector": {"type": "str"},
        "agent": {"type": "bool", "default": True},
        "xml": {"type": "bool", "default": False},
    }
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return inform(host, task)


if __name__ == "__main__":
    main(SPEC, run)
