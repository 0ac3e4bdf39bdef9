#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_pool
short_description: Declare a storage pool of a KVM host
description:
  - Makes sure that a libvirt storage pool exists as declared, that it is active or not, or that it is gone.
  - What the task does not mention stays as it is. The lists of hosts and devices of the source are declared as a whole.
  - A pool that goes keeps what is in it, unless O(delete_contents=true). A file system, a volume group or a partition
    table is made only with O(build=true), only where the pool does not start without, and over something else only
    with O(overwrite=true).
  - Which types of pools there are depends on how libvirt was built and on which of its packages the host has.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: The options are checked and compared. libvirt has no dry run, so what only libvirt knows (a server that
      is not there, say) shows when the change is made, and so does whether the pool has to be built.
  diff_mode:
    support: full
    description: Shows the persistent configuration, whether the pool is active and whether it starts with the host.
options:
  name:
    description: The name of the pool.
    type: str
    required: true
  state:
    description:
      - V(present) - it is defined, and as active as it is. V(active) - it is defined and active. V(inactive) - it is
        defined and not active. V(absent) - it is stopped and removed; what is in it is kept.
    type: str
    choices: [present, absent, active, inactive]
    default: present
  autostart:
    description: Whether the pool starts with the host. Of a new pool, libvirt's default is V(false).
    type: bool
  type:
    description:
      - What the pool is made of; needed for a new one, unless O(xml) says it. It cannot change.
      - V(dir) is a directory, V(fs) a device with a file system, V(netfs) a file system of a server, V(logical) a
        volume group, V(disk) a disk with partitions, V(iscsi) and V(iscsi-direct) a target's units, V(scsi) an
        adapter's units, V(mpath) the multipath devices, V(rbd) a pool of Ceph, V(gluster) a volume of Gluster, V(zfs) a
        pool of ZFS, V(vstorage) a cluster of Virtuozzo.
    type: str
    choices: [dir, fs, netfs, logical, disk, iscsi, iscsi-direct, scsi, mpath, rbd, gluster, zfs, vstorage]
  target:
    description:
      - The directory on the host where the volumes are. V(dir), V(fs), V(netfs) and V(vstorage) need it; libvirt's own
        default for V(logical) is C(/dev) and the group's name, and the others have V(/dev), V(/dev/disk/by-path) and
        V(/dev/mapper).
    type: path
  mode:
    description: Mode of the directory, in octal and quoted. Written to the directory when O(build) makes it.
    type: str
  owner:
    description: Number of the user who owns the directory; as O(mode).
    type: int
  group:
    description: Number of the group that owns the directory; as O(mode).
    type: int
  source:
    description: Where the storage comes from.
    type: dict
    suboptions:
      hosts:
        description: The servers; all of them.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name or address of the server.
            type: str
            required: true
          port:
            description: Port of the server. Default is that of the protocol.
            type: int
      devices:
        description: The devices, as paths - for V(fs) one, for V(logical) those of a group that is to be made, for
          V(disk) one. For V(iscsi) the name of the target (C(iqn...)).
        type: list
        elements: str
      directory:
        description: For V(netfs) the directory that the server exports; for V(gluster) one within the volume.
        type: str
      name:
        description: Name of the volume group, of the pool of Ceph or ZFS, of the volume of Gluster. Default for
          V(logical) is the pool's.
        type: str
      format:
        description: Format of the file system (V(ext4), V(xfs), V(nfs), V(glusterfs), V(cifs)), of the partition table
          (V(gpt), V(dos)) or of the group (V(lvm2)). libvirt's defaults are V(auto), V(dos) and V(lvm2).
        type: str
      adapter:
        description: For V(scsi), the host adapter, e.g. V(host0).
        type: str
      initiator:
        description: For V(iscsi) and V(iscsi-direct), the name that this host has towards the target (C(iqn...)).
        type: str
      protocol_version:
        description: For V(netfs), the version of NFS.
        type: str
      auth:
        description: How libvirt logs in. The password itself is in a secret of libvirt, which is named here.
        type: dict
        suboptions:
          username:
            description: Name of the user.
            type: str
            required: true
          secret_uuid:
            description: The secret's UUID. Exactly one of the two is needed.
            type: str
          secret_usage:
            description: The secret's usage.
            type: str
  mount_options:
    description: For V(fs) and V(netfs), options for mount; all of them. libvirt does not check them, and marks the pool
      as tainted.
    type: list
    elements: str
  xml:
    description:
      - Any other part of the pool, as libvirt's XML has it, C(<pool>...</pool>). It is merged as the options are. What
        an option says as well has to be the same.
    type: str
  build:
    description:
      - Whether what the pool needs is made. The directory of a new pool, and of one that is to start, is made where it
        is missing, and gets O(mode), O(owner) and O(group).
      - With O(state=active), a pool of type V(fs), V(logical) or V(disk) that does not start gets its file system,
        volume group or partition table. Where libvirt finds something else on the device, it refuses.
    type: bool
    default: false
  overwrite:
    description: With O(build=true), whether a pool that this task defines, and that does not start, is built over what
      is on its devices. B(That is lost.)
    type: bool
    default: false
  refresh:
    description: Whether an active pool looks for volumes that came or went without libvirt. This is no change.
    type: bool
    default: false
  apply:
    description: When a new source or directory of an active pool takes effect - V(next_start), with
      RV(restart_required) until then, or by a V(restart).
    type: str
    choices: [next_start, restart]
    default: next_start
  delete_contents:
    description:
      - With O(state=absent), whether the volumes are deleted first, and then the directory, if it is empty, the volume
        group and the like. B(All that is in the pool is lost.) The pool has to be active.
      - It is refused where a guest has a disk in the pool, running or not, unless O(force=true).
    type: bool
    default: false
  force:
    description: Whether the pool is stopped, restarted or removed although disks of running guests are in it.
    type: bool
    default: false
seealso:
  - module: virtstack.core.kvm_volume
  - name: Storage pool XML format
    description: What O(xml) takes.
    link: https://libvirt.org/formatstorage.html
"""

EXAMPLES = r"""
- name: A directory for disks, which is made, and is active with the host
  virtstack.core.kvm_pool:
    name: disks
    type: dir
    target: /var/lib/libvirt/disks
    mode: "0711"
    build: true
    state: active
    autostart: true

- name: The disks of a file server, for live migration
  virtstack.core.kvm_pool:
    name: shared
    type: netfs
    target: /var/lib/libvirt/shared
    source:
      hosts: [{name: nfs.example.com}]
      directory: /export/disks
      format: nfs
    mount_options: [nfsvers=4.2, hard]

- name: A volume group
  virtstack.core.kvm_pool:
    name: vg0
    type: logical
    source:
      devices: [/dev/vdb]

- name: It will be found where a new server is
  virtstack.core.kvm_pool:
    name: shared
    source:
      hosts: [{name: nfs2.example.com}]

- name: The disks are looked for once more
  virtstack.core.kvm_pool:
    name: disks
    refresh: true

- name: The pool is gone, the disks are not
  virtstack.core.kvm_pool:
    name: disks
    state: absent
"""

RETURN = r"""
pool:
  description: The pool as it is then; in check mode, as it would be. Null where it is gone.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    uuid:
      description: Its UUID; null where check mode does not know it yet.
      type: str
    type:
      description: Its type.
      type: str
    target:
      description: Its directory, null where it has none.
      type: str
    active:
      description: Whether it is active.
      type: bool
    autostart:
      description: Whether it starts with the host.
      type: bool
    persistent:
      description: Whether it has a configuration that outlives the time it is active.
      type: bool
    capacity:
      description: Its size in bytes; null where it is not active.
      type: int
    allocation:
      description: Bytes in use; null where it is not active.
      type: int
    available:
      description: Bytes left; null where it is not active.
      type: int
    xml:
      description: Its configuration, as libvirt has it, without its sizes.
      type: str
restart_required:
  description: Whether the active pool still has another source or directory than its configuration says.
  returned: always
  type: bool
actions:
  description: What was done to the pool beside its configuration, in this order. Check mode does not know of C(built).
  returned: always
  type: list
  elements: str
  sample: [built, started]
guests:
  description: The guests whose disks stand in the way.
  returned: when it was refused because of them
  type: list
  elements: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.pool import declare_pool
from ansible_collections.virtstack.core.plugins.module_utils.kvm.pool_xml import NEEDS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SOURCE = {
    "hosts": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, "port": {"type": "int"}},
    },
    "devices": {"type": "list", "elements": "str"},
    "directory": {"type": "str"},
    "name": {"type": "str"},
    "format": {"type": "str"},
    "adapter": {"type": "str"},
    "initiator": {"type": "str"},
    "protocol_version": {"type": "str"},
    "auth": {
        "type": "dict",
        "options": {
            "username": {"type": "str", "required": True},
            # They name a secret of libvirt, and are none themselves.
            "secret_uuid": {"type": "str", "no_log": False},
            "secret_usage": {"type": "str", "no_log": False},
        },
        "mutually_exclusive": [("secret_uuid", "secret_usage")],
        "required_one_of": [("secret_uuid", "secret_usage")],
    },
}
SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent", "active", "inactive"], "default": "present"},
        "autostart": {"type": "bool"},
        "type": {"type": "str", "choices": list(NEEDS)},
        "target": {"type": "path"},
        "mode": {"type": "str"},
        "owner": {"type": "int"},
        "group": {"type": "int"},
        "source": {"type": "dict", "options": SOURCE},
        "mount_options": {"type": "list", "elements": "str"},
        "xml": {"type": "str"},
        "build": {"type": "bool", "default": False},
        "overwrite": {"type": "bool", "default": False},
        "refresh": {"type": "bool", "default": False},
        "apply": {"type": "str", "choices": ["next_start", "restart"], "default": "next_start"},
        "delete_contents": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
    },
)


def run(task: Task) -> Result:
    with connect(task.params) as host:
        return declare_pool(host, task)


if __name__ == "__main__":
    main(SPEC, run)
