#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm
short_description: Declare virtual machines on a KVM host
description:
  - Makes sure that virtual machines (libvirt's domains) exist on a host as declared, or that they are gone.
  - The machine is described with the options of M(virtstack.core.vm); O(xml) takes any part of a domain as libvirt has
    it, and both are merged. What both declare must be the same, else the task fails and names the element.
  - What only a cluster has is refused, with what to use here. It is never left out silently.
  - What is not declared is left alone, also where an earlier task declared it. Disks and interfaces that a task does
    not list stay. No defaults are written into a machine that exists.
  - A change is written to the machine and, as far as libvirt and QEMU can, to its running guest - disks and interfaces
    that come and go, a cdrom's medium, what an interface is plugged into and its link, memory and vCPUs within what
    the guest was started with, the size of disks. What is left takes a restart; see O(apply).
  - The domain is compared with what libvirt made of it. A second run changes nothing, and only reads.
  - Mistakes in the description are all named at once. libvirt and QEMU's driver look at the whole domain before
    anything is changed, in check mode too.
  - A volume that is made for a disk is called C(<machine>-<disk>). One of that name that is there already is used with
    what is on it. A task that was interrupted while it made volumes is completed by the next one.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
  - virtstack.core.wait
  - virtstack.core.machine
attributes:
  check_mode:
    support: full
    description:
      - The whole domain is looked at by libvirt as if it were to start. Only a schema error in O(xml) can still be
        found when it is written, and then nothing is.
  diff_mode:
    support: full
    description: Shows the domain before and after, without passwords, and what is done besides.
seealso:
  - module: virtstack.core.kvm_vm_power
  - module: virtstack.core.kvm_vm_info
  - module: virtstack.core.vm
options:
  state:
    description:
      - Whether the machine is to exist.
      - V(absent) refuses while the guest runs or is saved, unless O(force=true), and keeps the disks, unless
        O(delete_disks) names them.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - Name of the machine, any that libvirt takes - one line without V(/). That of a new machine is at most 180 bytes
        long, as files are called by it.
      - Required, here or in O(xml), unless O(vms) is given.
    type: str
  vms:
    description:
      - Many machines at once, each a dictionary of O(name) and of the options that describe a machine. An option that
        an item leaves out is taken from the task; one that it has takes the task's place as a whole.
      - One that fails stops none of the others; the task fails at the end and names each of them.
    type: list
    elements: dict
  run_strategy:
    description:
      - When the machine runs. V(Always) - it runs, and starts with the host. V(RerunOnFailure) - it is started once it
        is declared, starts with the host, and a guest whose kernel panics is started anew. V(Once) - it is started once
        it is declared. V(Manual) - it is left to M(virtstack.core.kvm_vm_power). V(Halted) - it is shut down.
      - It is acted on only when declared. A new machine for which nothing is declared gets V(Always).
    type: str
    choices: [Always, RerunOnFailure, Manual, Halted, Once]
  autostart:
    description: Whether it starts with the host, where that is to differ from what O(run_strategy) says.
    type: bool
  title:
    description: One line about it. An empty text takes it away.
    type: str
  description:
    description: What there is to say about it. An empty text takes it away.
    type: str
  labels:
    description: Labels, by which tasks and the inventory select. They are kept in the domain's metadata, and are the
      whole of them.
    type: dict
  annotations:
    description: Annotations, kept in the domain's metadata. They are the whole of them.
    type: dict
  termination_grace_period:
    description:
      - Seconds the guest has to shut down before it is switched off, 0 or more. Without one, a guest that does not shut
        down keeps running and the task that waits for it fails.
    type: int
  architecture:
    description: CPU architecture. A new machine gets the host's. One that the host cannot run is refused.
    type: str
    choices: [amd64, arm64, s390x]
  xml:
    description:
      - Any part of the domain as libvirt has it, inside of C(<domain>).
      - An element stands for the one of its name or, where there may be many, of its key (a disk's target or alias, an
        interface's MAC address, a serial port's number, a timer's name). Attributes, texts and children that are given
        are set; what is not mentioned stays.
      - What is no XML, or against libvirt's schema, is refused.
    type: str
  replace_lists:
    description:
      - Whether O(disks) and O(interfaces) are the whole lists, so that what is not listed goes. The volumes behind
        disks that go are kept.
      - The disk of O(cloud_init) goes where neither O(cloud_init) nor O(ssh_keys) is given.
    type: bool
    default: false
  apply:
    description:
      - What to do about a running guest when a change reaches it only by a restart. V(next_boot) writes the change and
        says so in RV(restart_required). V(restart) shuts it down and starts it. V(live) fails before anything is
        written.
    type: str
    choices: [next_boot, live, restart]
    default: next_boot
  delete_disks:
    description:
      - With O(state=absent), whose data go with the machine - V(true) for the volumes that were made for it, or used as
        such because they had the name, or a list of names of its disks, whatever made them. By default all are kept.
      - The layers of a disk that snapshots have made go with it, down to what the disk was before them, as far as
        nothing else is built on them. An image below that, such as a template, stays.
      - With V(true), a file that somebody put in the place of a volume that was made stays, as every other disk does.
      - With V(true), and where no disk stays that the guest wrote to, its EFI variables, the state of its TPM and saved
        memory of snapshots go too. Otherwise they stay, as what is sealed with them could not be read again.
      - A disk that is also one of another machine is refused, and so is one that another volume is built on.
    type: raw
    default: false
  force:
    description: With O(state=absent), whether a machine whose guest runs or is saved is deleted. It is shut down first,
      and switched off after its grace period, or 30 seconds.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the machine is as far as its run strategy takes it - V(Always), and V(RerunOnFailure) and
        V(Once) when they are started, until its guest is what O(wait_for) says; V(Halted) until it is stopped.
      - The wait ends at once, with the reason, when the guest goes off.
    type: bool
    default: false
  wait_for:
    description: What O(wait) waits for - V(running), V(agent) until the guest agent answers, or V(address) until the
      guest has an address.
    type: str
    choices: [running, agent, address]
    default: running
  namespace:
    description: Not for a KVM host.
    type: raw
  instancetype:
    description: Not for a KVM host; give O(cpu) and O(memory).
    type: raw
  preference:
    description: Not for a KVM host; give O(machine_type), O(firmware), and bus and model of devices.
    type: raw
  pod_labels:
    description: Not for a KVM host; use O(labels).
    type: raw
  pod_annotations:
    description: Not for a KVM host; use O(annotations).
    type: raw
  node_selector:
    description: Not for a KVM host; choose the host with O(uri).
    type: raw
  affinity:
    description: Not for a KVM host; choose the host with O(uri).
    type: raw
  tolerations:
    description: Not for a KVM host; choose the host with O(uri).
    type: raw
  topology_spread_constraints:
    description: Not for a KVM host; choose the host with O(uri).
    type: raw
  priority_class:
    description: Not for a KVM host; set C(<cputune>) with O(xml).
    type: raw
  scheduler:
    description: Not for a KVM host; choose the host with O(uri).
    type: raw
  eviction_strategy:
    description: Not for a KVM host; move the machine with M(virtstack.core.kvm_vm_migration).
    type: raw
  readiness_probe:
    description: Not for a KVM host; wait with O(wait_for).
    type: raw
  liveness_probe:
    description: Not for a KVM host; add a C(<watchdog>) with O(xml).
    type: raw
  subdomain:
    description: Not for a KVM host; declare the host name in the network's DNS.
    type: raw
  definition:
    description: Not for a KVM host; use O(xml).
    type: raw
"""

EXAMPLES = r"""
- name: A database server with a system disk from an image of the pool and an empty data disk
  virtstack.core.kvm_vm:
    name: db
    cpu: {cores: 2}
    memory: 256Mi
    disks:
      - {name: root, boot_source: tiny, size: 1Gi}
      - {name: data, blank: true, size: 10Gi}
    interfaces:
      - {name: default, network: pod}
    ssh_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH3xq2x3kJ8Ue0xF0JcN0uVt2o9v9b4s3l2yV0o1nXyZ admin@example.com
    run_strategy: Always
    wait: true

- name: The same server with a larger data disk and one more, while it runs
  virtstack.core.kvm_vm:
    name: db
    disks:
      - {name: data, blank: true, size: 20Gi}
      - {name: logs, blank: true, size: 5Gi, serial: LOGS}
    apply: live

- name: Twice the CPUs, which its guest has after a restart
  virtstack.core.kvm_vm:
    name: db
    cpu: {cores: 4}
    termination_grace_period: 60
    apply: restart

- name: A part that no option covers
  virtstack.core.kvm_vm:
    name: db
    xml: |
      <domain>
        <devices>
          <watchdog model='i6300esb' action='poweroff'/>
        </devices>
      </domain>
  register: db

- name: Whether it takes a restart
  ansible.builtin.debug:
    msg: "{{ db.restart_reasons }}"

- name: A machine with EFI and a TPM, switched off
  virtstack.core.kvm_vm:
    name: edge
    memory: 2Gi
    firmware: {mode: efi, secure_boot: true, tpm: true}
    disks:
      - {name: root, blank: true, size: 20Gi}
    run_strategy: Halted

- name: Three web servers, the last one larger
  virtstack.core.kvm_vm:
    memory: 128Mi
    labels: {app: web}
    disks:
      - {name: root, boot_source: tiny}
    run_strategy: Manual
    vms:
      - name: web1
      - name: web2
      - name: web3
        memory: 256Mi

- name: The edge machine is gone, its disk is kept
  virtstack.core.kvm_vm:
    name: edge
    state: absent

- name: The database server is gone with its data disk, also while it runs; its system disk is kept
  virtstack.core.kvm_vm:
    name: db
    state: absent
    force: true
    delete_disks: [data]

- name: The web servers are gone with their disks
  virtstack.core.kvm_vm:
    state: absent
    delete_disks: true
    vms: [{name: web1}, {name: web2}, {name: web3}]
"""

RETURN = r"""
name:
  description: Name of the machine.
  returned: when O(vms) is not given
  type: str
action:
  description: What was done, or would be in check mode - V(created), V(updated), V(deleted) or V(unchanged).
  returned: when O(vms) is not given
  type: str
vm:
  description: >-
    The machine - C(name), C(uuid), C(title), C(status) (V(running), V(paused), V(stopped)), C(autostart),
    C(run_strategy), C(labels), C(annotations), C(type), C(architecture), C(machine_type), C(firmware), C(cpu),
    C(memory) and C(memory_maximum) in bytes, C(disks) and C(interfaces).
  returned: with O(state=present), when O(vms) is not given
  type: dict
restart_required:
  description: Whether the running guest has to be restarted to become what its machine is.
  returned: with O(state=present), when O(vms) is not given
  type: bool
restart_reasons:
  description: Why, as changed parts.
  returned: with O(state=present), when O(vms) is not given
  type: list
  elements: str
restarted:
  description: Whether the guest was restarted, which only O(apply=restart) does.
  returned: with O(state=present), when O(vms) is not given
  type: bool
expanded:
  description: Names of the disks that were expanded, and their new size in bytes.
  returned: with O(state=present), when O(vms) is not given
  type: dict
disks_kept:
  description: Files and devices that outlive the machine - its disks, all that these are built on, and what its
    snapshots have made.
  returned: with O(state=absent), when O(vms) is not given
  type: list
  elements: str
disks_deleted:
  description: Those that are deleted with it. With O(delete_disks=true), the memory that snapshots have kept, too.
  returned: with O(state=absent), when O(vms) is not given
  type: list
  elements: str
removed:
  description: What goes with it besides disks, in words - a saved memory, what libvirt knew of its snapshots and
    checkpoints, its EFI variables, the state of its TPM, its cloud-init seed.
  returned: with O(state=absent), when O(vms) is not given
  type: list
  elements: str
vms:
  description:
    - The results of all machines in the order of O(vms), each with C(name), C(changed) and the values above but
      RV(vm). One that failed has C(failed) and C(msg).
  returned: when O(vms) is given
  type: list
  elements: dict
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_options import KVM_VM_OPTIONS, WAITS, secrets
from ansible_collections.virtstack.core.plugins.module_utils.kvm.vm_task import declare_vms
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        **WAIT_OPTIONS,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "name": {"type": "str"},
        "namespace": {"type": "raw"},
        "vms": {"type": "list", "elements": "dict"},
        **KVM_VM_OPTIONS,
        "replace_lists": {"type": "bool", "default": False},
        "apply": {"type": "str", "choices": ["next_boot", "live", "restart"], "default": "next_boot"},
        "delete_disks": {"type": "raw", "default": False},
        "force": {"type": "bool", "default": False},
        "wait_for": {"type": "str", "choices": list(WAITS), "default": "running"},
    },
    mutually_exclusive=[("name", "vms")],
    required_one_of=[("name", "vms", "xml")],
    secrets=secrets,
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return declare_vms(host, task)


if __name__ == "__main__":
    main(SPEC, run)
