#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_disk
short_description: Plug a disk into a virtual machine of a cluster, or out of it
description:
  - Gives one disk to a machine, or takes one away, without another word about the machine. A running guest gets it, or
    lets it go, at once.
  - Hot plug takes DataVolumes and PersistentVolumeClaims, as a V(disk) on V(scsi) or V(virtio) or a V(lun) on V(scsi).
    Everything else is written into the machine for its next start, and RV(restart_required) says so.
  - B(What is on a disk is never deleted when it is taken away), unless O(delete_volume) names its volume.
  - A disk that is there is left as it is, but for what is declared of it.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
  - virtstack.core.wait
  - virtstack.core.plug
attributes:
  check_mode:
    support: full
    description: The cluster says, by dry runs of the same requests, whether it would take them.
  diff_mode:
    support: full
    description: Shows the disk and its volume as the machine has them, before and after.
seealso:
  - module: virtstack.core.vm
  - module: virtstack.core.vm_interface
options:
  persist:
    description:
      - Whether the machine itself gets the disk. With V(false) only the guest that runs now gets it, until it stops or
        the disk is taken away.
      - V(false) needs a version or configuration of KubeVirt that plugs into instances alone (feature gate
        C(HotplugVolumes)); others refuse it.
    type: bool
    default: true
  delete_volume:
    description:
      - With O(state=absent), name of the DataVolume or PersistentVolumeClaim to delete when the disk is gone. It has to
        be that of the disk. B(What is on it is lost.)
      - It is deleted as well when the disk was taken away before, if nothing uses it. One that another machine or disk
        uses is refused.
    type: str
  boot_source:
    description: Copy a boot source (a DataSource), by name, or by a dictionary of C(name) and C(namespace), which is
      C(openshift-virtualization-os-images) unless given.
    type: raw
  blank:
    description: An empty volume. Needs O(size).
    type: bool
  http:
    description:
      - Import an image from a URL, as a text, or as a dictionary of C(url), C(secret) (name of a Secret with
        C(accessKeyId) and C(secretKey)) and C(cert_config_map) (name of a ConfigMap with the CA).
      - Needs O(size). What is no URL with C(http) or C(https) is refused.
    type: raw
  registry:
    description:
      - Import a container disk image from a registry (C(docker://registry/image:tag)), as a text, or as a dictionary of
        C(url), C(secret), C(cert_config_map) and C(pull_method) (V(pod) or V(node)).
      - Needs O(size). What is no URL with C(docker) or C(oci-archive) is refused.
    type: raw
  clone_pvc:
    description: Copy a PersistentVolumeClaim, by name, or by a dictionary of C(name) and C(namespace).
    type: raw
  clone_snapshot:
    description: Make the disk from a VolumeSnapshot, by name, or by a dictionary of C(name) and C(namespace).
    type: raw
  pvc:
    description:
      - Use this PersistentVolumeClaim itself. One that is not there is refused, and so is one that the guest of another
        machine runs on, without O(readonly) or O(shareable).
    type: str
  data_volume:
    description:
      - Use this DataVolume itself. One that is not there is refused, and so is one that the guest of another machine
        runs on, without O(readonly) or O(shareable).
    type: str
  container_disk:
    description:
      - A disk from a container image; what the guest writes is lost when it stops. It cannot be plugged into a running
        guest.
      - The image, or a dictionary of C(image), C(pull_policy), C(pull_secret) and C(path).
    type: raw
  size:
    description:
      - Size with its unit, for example V(30Gi). What is no quantity (V(30GB)) or has no unit is refused.
      - A larger size than before expands the volume. A smaller one is refused - disks do not shrink.
    type: str
  storage_class:
    description: Storage class of the volume that is made. Default is the cluster's. One that is not there is refused.
    type: str
  access_modes:
    description: Access modes of the volume that is made. Default is what suits the storage class. Without
      V(ReadWriteMany), the guest cannot be live-migrated as long as it has the disk.
    type: list
    elements: str
    choices: [ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod]
  volume_mode:
    description: Volume mode of the volume that is made. Default is what suits the storage class.
    type: str
    choices: [Filesystem, Block]
  preallocation:
    description: Whether the space of the volume that is made is allocated at once.
    type: bool
  device:
    description: What the guest sees. A new disk is a V(disk). A V(cdrom) waits for the next start.
    type: str
    choices: [disk, cdrom, lun]
  bus:
    description: How it is attached. A disk that is plugged in uses V(scsi), of which a guest has room for many; V(sata)
      and V(usb) wait for the next start.
    type: str
    choices: [virtio, scsi, sata, usb]
  boot_order:
    description: Place in the boot order, from 1, unique among disks and interfaces.
    type: int
  readonly:
    description: Whether the guest may only read it.
    type: bool
  serial:
    description: Serial number by which the guest finds the disk. That of a disk that is plugged in is its name unless
      given.
    type: str
  shareable:
    description: Whether several machines may write to it at once.
    type: bool
  cache:
    description: How the host caches it.
    type: str
    choices: [none, writethrough, writeback]
  io:
    description: How the host does its input and output.
    type: str
    choices: [native, threads, default]
  error_policy:
    description: What happens to the guest when the disk fails.
    type: str
    choices: [stop, ignore, report, enospace]
  dedicated_io_thread:
    description: Whether the disk gets a thread of its own on the host.
    type: bool
  force:
    description: With O(state=absent), whether the disk may go that the machine boots from, without which it would not
      start any more. That is the first by O(boot_order), or where nothing has a place in it, the first disk if it was
      not plugged in. A CD-ROM may always go.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the guest has the disk, or has let it go. For a machine that does not run, until a volume
        that is made has its content or waits for its first guest.
      - The wait ends at once, with the reason, when the volume cannot be filled or cannot come to the guest's node.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The database server has another disk, while it runs
  virtstack.core.vm_disk:
    vm: db
    namespace: prod
    name: data
    blank: true
    size: 1Gi
    wait: true
  register: data

- name: How its guest names it
  ansible.builtin.debug:
    msg: "{{ data.target }}, /dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_data"

- name: It is larger now
  virtstack.core.vm_disk:
    vm: db
    namespace: prod
    name: data
    size: 2Gi

- name: It is gone, with all that was on it
  virtstack.core.vm_disk:
    vm: db
    namespace: prod
    name: data
    state: absent
    delete_volume: db-data
    wait: true
"""

RETURN = r"""
action:
  description: V(plugged) or V(unplugged), while the guest runs or for its next start. V(attached) or V(detached), by
    the machine's definition. V(updated), V(deleted) (the volume alone) or V(none).
  returned: always
  type: str
vm:
  description: Name of the machine.
  returned: always
  type: str
namespace:
  description: Its namespace.
  returned: always
  type: str
name:
  description: Name of the disk.
  returned: always
  type: str
volume:
  description: The DataVolume or PersistentVolumeClaim behind the disk, or that was behind it. Null where there is none.
  returned: always
  type: str
running:
  description: Whether the machine's guest was running.
  returned: always
  type: bool
target:
  description: The device that the guest was given, for example V(sda). Null where it is not known.
  returned: always
  type: str
restart_required:
  description: Whether the guest has to be restarted for the disk to be what its machine says.
  returned: always
  type: bool
restart_reasons:
  description: Why.
  returned: always
  type: list
  elements: str
restarted:
  description: Whether it was restarted, with O(apply=restart).
  returned: always
  type: bool
volume_created:
  description: Whether a volume was made for the disk.
  returned: always
  type: bool
volume_deleted:
  description: Whether the volume was deleted.
  returned: always
  type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.machine.options import DISK_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_disk_task import (
    DISK_OPTION_NAMES,
    SOURCE_OPTIONS,
    manage_disk,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.plugging import PLUG_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        **PLUG_OPTIONS,
        "persist": {"type": "bool", "default": True},
        "delete_volume": {"type": "str"},
        **{name: DISK_OPTIONS[name] for name in DISK_OPTION_NAMES},
        "force": {"type": "bool", "default": False},
    },
    mutually_exclusive=[SOURCE_OPTIONS],
)


def run(task: Task) -> Result:
    return manage_disk(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
