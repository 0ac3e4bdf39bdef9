#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_host_info
short_description: Read what a KVM host can do and what it has left
description:
  - Reads a host's versions, processors, memory, NUMA cells, the CPU models, machine types and firmwares that its guests
    can have, its pools and networks with what is left in them, and what acceleration there is.
  - Nothing is changed on the host.
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
    description: There is nothing to show; it only reads.
options:
  architecture:
    description: The architecture of the guests that are asked for, e.g. V(x86_64). Default is the host's. One whose
      guests cannot run here is an error.
    type: str
  machine:
    description: The machine type of the guests that are asked for, e.g. V(q35). Default is libvirt's for the
      architecture.
    type: str
  devices:
    description: Whether the host's own devices are read as well. There may be many.
    type: bool
    default: false
seealso:
  - module: virtstack.core.kvm_host
"""

EXAMPLES = r"""
- name: What the host is
  virtstack.core.kvm_host_info:
  register: found

- name: There is room for one more guest of 128 MiB
  ansible.builtin.assert:
    that: found.host.memory.free > 128 * 1024 * 1024

- name: What guests of machine type q35 can have, and which devices could be passed to them
  virtstack.core.kvm_host_info:
    machine: q35
    devices: true
"""

RETURN = r"""
host:
  description: The host. Sizes are in bytes; what the driver behind the URI does not know is null.
  returned: always
  type: dict
  contains:
    name:
      description: Its own name.
      type: str
    uri:
      description: How it was reached.
      type: str
    uuid:
      description: Its UUID.
      type: str
    architecture:
      description: Architecture of its processors.
      type: str
    versions:
      description: Versions of libvirt and of the hypervisor, by their names.
      type: dict
      sample: {libvirt: 9.0.0, qemu: 7.2.22}
    cpu:
      description: Its processors - C(model), C(vendor), C(count), C(topology) and C(features), as libvirt names them.
      type: dict
    memory:
      description: Its memory - C(total), C(unused), and C(free), which is what is unused, cached or buffered.
      type: dict
    numa:
      description: Its NUMA cells - C(id), C(memory), C(unused), C(cpus), and C(hugepages), which counts pages by size.
      type: list
      elements: dict
    acceleration:
      description: What makes guests fast.
      type: dict
      contains:
        types:
          description: The types of guests that libvirt says it can run, such as V(kvm) and V(qemu) (emulation).
          type: list
          elements: str
        kvm:
          description: Whether libvirt offers KVM for the architecture.
          type: bool
        device:
          description:
            - What was asked of /dev/kvm B(where the task runs), which is the host unless the URI leads elsewhere -
              whether it C(exists), C(opens) for the user of the task, and C(answers) as KVM does (KVM_GET_API_VERSION);
              C(error) says what went wrong.
            - That it answers is no proof that guests run well; only a guest proves that.
          type: dict
    guests:
      description: Its guests - how many are C(defined) and C(running), and the C(memory) and C(vcpus) of those that
        run.
      type: dict
    machines:
      description: Machine types for the architecture - C(name), C(alias) (the name that always means the newest), and
        the most C(vcpus).
      type: list
      elements: dict
    offered:
      description:
        - What guests of the best type (KVM, where libvirt offers it) can have - C(type), C(machine), C(vcpus),
          C(cpu_modes), C(cpu_models), C(cpu_models_unusable), C(host_model), C(firmwares), C(secure_boot), C(loaders),
          C(disk_buses), C(video_models), C(tpm_models) and C(tpm_backends).
      type: dict
    pools:
      description: Its pools - C(name), C(type), C(active), C(autostart), C(target), C(capacity), C(allocation) and
        C(available).
      type: list
      elements: dict
    networks:
      description: Its networks - C(name), C(mode), C(bridge), C(active) and C(autostart).
      type: list
      elements: dict
    devices:
      description: With O(devices), its devices - C(name), C(parent), C(path), C(driver), C(type), C(vendor),
        C(product), the PCI C(address) and the C(iommu_group).
      type: list
      elements: dict
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.host_facts import tell_host
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "architecture": {"type": "str"},
        "machine": {"type": "str"},
        "devices": {"type": "bool", "default": False},
    },
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return tell_host(host, task)


if __name__ == "__main__":
    main(SPEC, run)
