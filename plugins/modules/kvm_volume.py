#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_volume
short_description: Make, fill, resize, copy out, wipe and delete volumes of a KVM host's pools
description:
  - Makes sure that a volume exists as declared, or that it is gone. A new one begins blank, with an image (O(src) or
    O(url)), as a copy of another volume (O(clone)), or on top of one (O(backing)).
  - B(What is in a volume belongs to those who use it.) An image is written into a volume that is new, that was never
    written to, or that was never finished; any other is left alone, without being read - guests change their disks, so
    its bytes cannot tell which image it once was. O(overwrite=true) compares the bytes, and replaces them where they
    differ.
  - While a volume is filled, another one with the name and C(.incomplete) is beside it. When the task, libvirtd or the
    host dies in between, it stays there, and the next run fills the volume anew. A failure that the task itself sees
    leaves nothing behind. Pools of types V(disk), V(iscsi), V(iscsi-direct), V(scsi) and V(mpath) cannot have it; their
    volumes are only written to with O(overwrite=true).
  - A volume that a running or saved guest uses is not resized, overwritten, wiped or deleted, and one that a running
    guest writes to is not cloned or downloaded. Disks of guests are resized with M(virtstack.core.kvm_vm).
  - Images pass through the machine where the task runs, in pieces, holes as holes. Nothing is converted.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.kvm
attributes:
  check_mode:
    support: full
    description: Everything is read and checked, images too; of an image from O(url), its beginning and its length. What
      only libvirt knows shows when the change is made.
  diff_mode:
    support: full
    description: Shows the XML of the volume before and after, without what always changes. Of bytes, RV(volumes) says
      what happens to them.
options:
  name:
    description: The name of the volume. Exactly one of O(name) and O(volumes) is required.
    type: str
  volumes:
    description:
      - Several volumes, each with C(name) and any of the options from O(pool) to O(xml); those of the task stand in for
        what an item leaves out. Several are worked on at a time, and one that fails stops none of the others.
    type: list
    elements: dict
  state:
    description:
      - V(present) - it exists as declared. V(absent) - it is gone, with what is in it. V(wiped) - what is in it is
        overwritten, each time this is asked for; one that is not raw is made anew then, blank.
      - One that other volumes of the host's active pools build on is not deleted, wiped, shrunk or
        overwritten, unless O(force=true). One that a guest that is off uses is deleted with a warning.
    type: str
    choices: [present, absent, wiped]
    default: present
  pool:
    description: The pool of the volume, which has to be active. It is needed.
    type: str
  capacity:
    description:
      - Size of the disk, e.g. V(30Gi). Needed for a blank volume; else the default is that of what it begins with. An
        existing volume grows to it. One that is larger is an error, unless O(shrink=true).
    type: str
  allocation:
    description: Space that a new volume takes at once, e.g. V(30Gi). Default is V(0) in pools of files, elsewhere the
      capacity.
    type: str
  format:
    description:
      - Format of the volume. It cannot change; a clone can have another one than its source. Default is that of the
        image or the source, V(qcow2) on a backing file, else libvirt's, which is raw.
      - A new V(qcow2) has version 1.1, with which guests can be backed up incrementally.
    type: str
    choices: [raw, qcow2]
  preallocate_metadata:
    description: Whether the tables of a new blank V(qcow2) are made at once.
    type: bool
    default: false
  mode:
    description: Mode of a new file, in octal and quoted. libvirt's default is V(0600). It cannot change.
    type: str
  owner:
    description: Number of the user who owns a new file. Default is that of libvirtd; libvirt gives it to a guest's user
      when the guest starts. It cannot change.
    type: int
  group:
    description: Number of the group that owns a new file; as O(owner).
    type: int
  clone:
    description: The volume that a new one is a copy of. The copy is made by libvirt on the host, and converted.
    type: dict
    suboptions:
      volume:
        description: Name of the volume.
        type: str
        required: true
      pool:
        description: Its pool. Default is O(pool).
        type: str
  backing:
    description: The volume or file on top of which a new volume begins. What is below must not change any more.
    type: dict
    suboptions:
      volume:
        description: Name of the volume. Exactly one of this and O(backing.path) is needed.
        type: str
      pool:
        description: Its pool. Default is O(pool).
        type: str
      path:
        description: Path of the file on the host.
        type: str
      format:
        description: Its format. Default is what libvirt knows of the volume, and V(raw) of a O(backing.path).
        type: str
  src:
    description:
      - An image to begin with, raw, ISO or qcow2, as a file or a block device where the task runs. One that is empty,
        packed, cut off, corrupt, of another format or that needs another file is refused, and so is one that is larger
        than the volume or than what is left in the pool, all before anything is changed.
    type: path
  url:
    description: An image to begin with, by HTTP or HTTPS; as O(src). The server has to say how long it is.
    type: str
  checksum:
    description:
      - Checksum of the image, as C(sha256:digits) or with any other algorithm of Python's hashlib. That of O(src) is
        checked before anything is changed. That of O(url) is checked when all has come; a volume with another one is
        deleted again.
      - With O(dest) and neither O(src) nor O(url), that of the file.
    type: str
  validate_certs:
    description: Whether the certificate of O(url) is verified.
    type: bool
    default: true
  ca_path:
    description: File of certificates that vouch for that of O(url). Default are those of the system.
    type: path
  headers:
    description: Headers of the request to O(url). They are not shown.
    type: dict
  url_username:
    description: Name for basic authentication at O(url).
    type: str
  url_password:
    description: Password for it.
    type: str
  timeout:
    description: Seconds without an answer after which O(url) is given up.
    type: int
    default: 30
  overwrite:
    description:
      - With O(src), whether an existing volume whose bytes differ is filled anew. B(What was in it is lost), also when
        the transfer is interrupted. Each run reads the volume until it differs from the file. With O(url) it is an
        error, and so it is with a O(capacity) beyond that of a qcow2 image, for they cannot be compared.
      - With O(dest), whether an existing file whose bytes differ is replaced. Each run reads the volume.
    type: bool
    default: false
  shrink:
    description: Whether a volume that is larger than O(capacity) is cut. B(What lies behind the cut is lost.)
    type: bool
    default: false
  dest:
    description:
      - A file, where the task runs, that the volume is downloaded into, sparse. It appears when it is whole; until then
        its name has C(.part) at the end. A new one has mode 0600.
      - One that is there already is left alone, unless O(overwrite=true); one that does not have the O(checksum) is an
        error then.
    type: path
  xml:
    description: Any other part of a new volume, as libvirt's XML has it, C(<volume>...</volume>). What an option says
      as well has to be the same.
    type: str
  wipe_algorithm:
    description: With O(state=wiped), how it is overwritten. All but V(zero) and V(trim) need C(scrub) on the host, and
      V(trim) depends on the pool.
    type: str
    choices: [zero, nnsa, dod, bsi, gutmann, schneier, pfitzner7, pfitzner33, random, trim]
    default: zero
  force:
    description:
      - Whether a volume that others build on is deleted, wiped, shrunk or overwritten. B(They are lost with it.)
    type: bool
    default: false
seealso:
  - module: virtstack.core.kvm_pool
  - name: Storage volume XML format
    description: What O(xml) takes.
    link: https://libvirt.org/formatstorage.html#storage-volume-xml
"""

EXAMPLES = r"""
- name: A blank disk
  virtstack.core.kvm_volume:
    pool: disks
    name: data.qcow2
    format: qcow2
    capacity: 20Gi

- name: It is larger
  virtstack.core.kvm_volume:
    pool: disks
    name: data.qcow2
    capacity: 30Gi

- name: An image, checked, with room to grow
  virtstack.core.kvm_volume:
    pool: disks
    name: base.qcow2
    src: /var/tmp/image.qcow2
    capacity: 2Gi

- name: Two disks on top of it, which take no space yet
  virtstack.core.kvm_volume:
    pool: disks
    backing: {volume: base.qcow2}
    volumes:
      - {name: web1.qcow2}
      - {name: web2.qcow2, capacity: 3Gi}

- name: A copy of it
  virtstack.core.kvm_volume:
    pool: disks
    name: copy.img
    format: raw
    clone: {volume: base.qcow2}

- name: It is in a file here
  virtstack.core.kvm_volume:
    pool: disks
    name: base.qcow2
    dest: /var/tmp/base-as-it-is.qcow2

- name: What was on the disk cannot be read any more
  virtstack.core.kvm_volume:
    pool: disks
    name: copy.img
    state: wiped

- name: All of them are gone
  virtstack.core.kvm_volume:
    pool: disks
    state: absent
    volumes:
      - name: data.qcow2
      - name: copy.img
      - name: web1.qcow2
      - name: web2.qcow2
"""

RETURN = r"""
volumes:
  description: The volumes, in the order of the task. What check mode does not know yet, or is gone, is null.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the volume.
      type: str
    pool:
      description: Its pool.
      type: str
    path:
      description: Its path on the host.
      type: str
    format:
      description: Its format.
      type: str
    capacity:
      description: Size of the disk, in bytes.
      type: int
    allocation:
      description: Space that it takes, in bytes.
      type: int
    backing:
      description: Path of its backing file, null where it has none.
      type: str
    actions:
      description: What was done, or would be done - C(created), C(uploaded), C(cloned), C(grown), C(shrunk),
        C(downloaded), C(wiped), C(deleted).
      type: list
      elements: str
    changed:
      description: Whether anything was.
      type: bool
    failed:
      description: Whether it could not be, which C(msg) explains. Only with O(volumes).
      type: bool
    msg:
      description: Why it failed.
      type: str
guests:
  description: The running guests that use the volume.
  returned: when it was refused because of them
  type: list
  elements: str
built_on:
  description: The volumes that build on it, and files that do so where no pool runs, by their paths.
  returned: when it was refused because of them
  type: list
  elements: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import connect, is_local
from ansible_collections.virtstack.core.plugins.module_utils.kvm.options import URI_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.kvm.volume import declare_volumes, secrets_of
from ansible_collections.virtstack.core.plugins.module_utils.kvm.volume_options import VOLUME_OPTIONS, WIPE_ALGORITHMS
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **URI_OPTIONS,
        "name": {"type": "str"},
        "volumes": {"type": "list", "elements": "dict"},
        "state": {"type": "str", "choices": ["present", "absent", "wiped"], "default": "present"},
        **VOLUME_OPTIONS,
        "wipe_algorithm": {"type": "str", "choices": list(WIPE_ALGORITHMS), "default": "zero"},
        "force": {"type": "bool", "default": False},
    },
    mutually_exclusive=[("name", "volumes")],
    required_one_of=[("name", "volumes")],
    secrets=secrets_of,
)


def run(task: Task) -> Result:
    # A remote host's signs of life come with the events.
    with connect(task.params, events=not is_local(task.params["uri"])) as host:
        return declare_volumes(host, task)


if __name__ == "__main__":
    main(SPEC, run)
