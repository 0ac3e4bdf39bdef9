#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_vm_migration
short_description: Move virtual machines from one KVM host to another
description:
  - Moves machines to another host, running ones live and those that are off as they are. Afterwards a machine is
    defined on the other host, with its autostart flag and its metadata, and the first host has it no more.
  - A machine that only the other host has is there already; nothing is done. One that is in neither place is an error.
  - Everything that can be known beforehand is checked before anything moves - the CPU and the machine type, memory,
    space, networks, bridges and portgroups, directories and files of the disks, names and uuids that are taken, jobs
    that are under way, snapshots and checkpoints (which libvirt does not move), devices of the host. All that stands
    against the move is told at once.
  - When a move fails, the machine stays where it was, and the files that were made for it on the other host are
    deleted.
  - A move that was cut off (the task killed, libvirt or a host gone) is settled by the next run. It waits for one that
    still goes on, ends the copy that never ran, lets a stopped guest run again, removes what is left on the first host
    where the guest has arrived, and takes away the files that the earlier run had made. A machine of which two copies
    run is left alone, with an error.
  - A paused machine stays paused. Before QEMU 9.0 a guest that runs and is emulated in software (without KVM) can lose
    what it writes to its memory while it moves, and then breaks down or stands still on the other host, now and then; a
    warning says so. One that is paused before does not.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: All checks are done, on both hosts. Whether libvirt takes storage for shared, only a real run shows.
  diff_mode:
    support: full
    description: Shows the libvirt of which host has the machine.
seealso:
  - module: virtstack.core.vm_migration
options:
  name:
    description: Name of the machine. Exactly one of O(name) and O(names) is required.
    type: str
  names:
    description: Names of several machines. One that cannot be moved stops none of the others.
    type: list
    elements: str
  state:
    description:
      - V(migrated) - the machines are on the other host.
      - V(cancelled) - migrations of them that are under way on the host of O(uri), whoever began them, are stopped, and
        the machines stay there. One that is not moving is left alone. A post-copy that has switched cannot be
        cancelled.
    type: str
    choices: [migrated, cancelled]
    default: migrated
  target_uri:
    description:
      - The libvirt of the other host, as reached from where the task runs. Required with O(state=migrated).
      - It must be another host than that of O(uri), by the host's uuid and not by its name.
    type: str
  migrate_uri:
    description:
      - Where the guest's memory goes, as the first host reaches it, for example V(tcp://10.0.0.2), V(tcp://10.0.0.2:49152)
        or V(unix:///path/socket) on a file system that both have. Default is the name that the other host gives itself.
    type: str
  disks_uri:
    description: The same for the content of the disks with O(copy_storage). Default is the host of O(migrate_uri), and
      where that is a socket this is required.
    type: str
  peer_to_peer:
    description:
      - Whether the first host's libvirt steers the migration by a connection of its own to the other one. Such a
        migration goes on when the task ends before it does. Implied by O(peer_uri) and O(tunnelled).
    type: bool
    default: false
  peer_uri:
    description: The libvirt of the other host as the first host reaches it, with O(peer_to_peer). Default is that of
      O(target_uri).
    type: str
  tunnelled:
    description: Whether the memory goes through libvirt's own connection, and no further port is needed. Slower; copies
      no storage, and cannot go with O(post_copy).
    type: bool
    default: false
  copy_storage:
    description:
      - V(none) - both hosts reach the disks at the same paths.
      - V(all) - the disks' files are copied, to the same paths on the other host. V(incremental) - the same, for the
        topmost file of each disk alone; its backing files must be there already. Only running guests.
      - The directories must exist on the other host, and the files must not; nothing is overwritten. The files on the
        first host stay, and are named in RV(vms[].left_files).
      - Those of a machine that is off are copied bit for bit, through where the task runs. libvirt writes those of a
        running guest out in full; they take their whole size on the other host.
    type: str
    choices: [none, all, incremental]
    default: none
  copy_disks:
    description: Names or targets of the disks to copy with O(copy_storage). Default is all that are written to and not
      shared.
    type: list
    elements: str
  bandwidth:
    description: Most of the network that a migration takes, in MiB/s, 1 or more. Default is no limit.
    type: int
  max_downtime:
    description: Milliseconds, 1 or more, that the guest may stand still when it changes over. Default is QEMU's (300).
    type: int
  auto_converge:
    description: Whether to slow a guest down that changes its memory faster than it can be sent.
    type: bool
    default: false
  post_copy:
    description:
      - Whether the guest changes over before all of its memory is there, and fetches the rest as it goes. It always
        comes to an end, but when the network or a host fails meanwhile, the guest stands still until the next run takes
        it up again. When the first host ends meanwhile, or QEMU on the other one does, the guest is lost.
    type: bool
    default: false
  post_copy_after:
    description: Seconds, 0 or more, after which it changes over with O(post_copy). Default is after the first pass over
      the memory.
    type: int
  compression:
    description:
      - Methods by which the memory is compressed - V(xbzrle), V(mt), V(zlib), V(zstd). The last two need O(connections)
        and libvirt 9.4 on both hosts.
    type: list
    elements: str
    choices: [xbzrle, mt, zlib, zstd]
    default: []
  connections:
    description: How many connections send the memory at a time, 1 or more. Default is one, of the old kind.
    type: int
  timeout:
    description: Seconds, 1 or more, after which O(timeout_action) is taken. Default is no limit.
    type: int
  timeout_action:
    description:
      - V(abort) - the migration is cancelled, and the machine stays where it is.
      - V(pause) - the guest is stopped until it is there, so that its memory changes no more.
      - V(postcopy) - it changes over at once, with O(post_copy).
    type: str
    choices: [abort, pause, postcopy]
    default: abort
  skip_checks:
    description:
      - Checks that are not to be done, where you know better - V(cpu) (with machine type and emulator), V(memory),
        V(space), V(network), V(storage) (that libvirt takes storage that is not shared for unsafe),
        V(firmware_state) (that UEFI variables and the TPM's state of a machine that is off stay behind).
    type: list
    elements: str
    choices: [cpu, memory, space, network, storage, firmware_state]
    default: []
  parallel:
    description: How many of O(names) are moved at a time, 1 to 16.
    type: int
    default: 2
"""

EXAMPLES = r"""
- name: The database server moves to host beta while it runs, on storage that both hosts share
  virtstack.core.kvm_vm_migration:
    name: db
    target_uri: qemu+ssh://root@beta/system
    max_downtime: 200
    timeout: 600

- name: The web server takes its disks along
  virtstack.core.kvm_vm_migration:
    name: web
    target_uri: qemu+ssh://root@beta/system
    copy_storage: all
    bandwidth: 1000
    auto_converge: true
  register: moved

- name: How long it stood still
  ansible.builtin.debug:
    msg: "{{ moved.vms[0].downtime }} ms; on the first host are left {{ moved.vms[0].left_files | join(', ') }}"

- name: A migration that takes too long is cancelled
  virtstack.core.kvm_vm_migration:
    name: web
    state: cancelled
"""

RETURN = r"""
vms:
  description: The machines, in the order of O(names).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the machine.
      type: str
    changed:
      description: Whether it was moved or repaired, or its migration was cancelled.
      type: bool
    uri:
      description: The libvirt of the host that it is on. With O(state=migrated).
      type: str
    live:
      description: Whether a running guest was moved; null where nothing was.
      type: bool
    duration:
      description: Seconds that the move took, null where there was none.
      type: float
    downtime:
      description: Milliseconds that the guest stood still, as libvirt measured them, null where it did not run.
      type: int
    memory_bytes:
      description: Bytes of memory that were sent.
      type: int
    storage_bytes:
      description: Bytes of disks that were copied.
      type: int
    rounds:
      description: Passes over the memory.
      type: int
    left_files:
      description: The copied disks' files that are left on the first host.
      type: list
      elements: str
    repaired:
      description: What an earlier migration had left behind, and what was done about it.
      type: list
      elements: str
    reasons:
      description: All that stands against the move, where it was refused before anything moved.
      type: list
      elements: str
    failed:
      description: Whether it could not be moved; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.migration import migrate_machines
from ansible_collections.virtstack.core.plugins.module_utils.kvm.migration_plan import CHECKS, COMPRESSION
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "name": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "state": {"type": "str", "choices": ["migrated", "cancelled"], "default": "migrated"},
        "target_uri": {"type": "str"},
        "migrate_uri": {"type": "str"},
        "disks_uri": {"type": "str"},
        "peer_to_peer": {"type": "bool", "default": False},
        "peer_uri": {"type": "str"},
        "tunnelled": {"type": "bool", "default": False},
        "copy_storage": {"type": "str", "choices": ["none", "all", "incremental"], "default": "none"},
        "copy_disks": {"type": "list", "elements": "str"},
        "bandwidth": {"type": "int"},
        "max_downtime": {"type": "int"},
        "auto_converge": {"type": "bool", "default": False},
        "post_copy": {"type": "bool", "default": False},
        "post_copy_after": {"type": "int"},
        "compression": {"type": "list", "elements": "str", "choices": list(COMPRESSION), "default": []},
        "connections": {"type": "int"},
        "timeout": {"type": "int"},
        "timeout_action": {"type": "str", "choices": ["abort", "pause", "postcopy"], "default": "abort"},
        "skip_checks": {"type": "list", "elements": "str", "choices": list(CHECKS), "default": []},
        "parallel": {"type": "int", "default": 2},
    },
    mutually_exclusive=[("name", "names")],
    required_one_of=[("name", "names")],
    required_if=[("state", "migrated", ["target_uri"])],
)


def run(task: Task) -> Result:
    return migrate_machines(task)


if __name__ == "__main__":
    main(SPEC, run)
