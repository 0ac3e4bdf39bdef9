#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_upload
short_description: Upload a disk image into a data volume or a claim of a cluster
description:
  - Makes sure that a data volume, or a claim, holds the disk image of a local file, and sends it through CDI's upload
    proxy where it does not.
  - The file is read first - its checksum, its format (raw, ISO, qcow2, VMDK, VDI, VHD, VHDX, also packed with gz or
    xz), the size of the disk in it, and whether it is whole. An image that is truncated or does not fit is refused
    before anything is made.
  - The checksum is kept in the annotation C(virtstack.core/image-sha256). A second run compares it and sends nothing.
  - An upload that was cut off begins anew, with a new token; one that a task left unfinished is finished by the next
    run. The image is never in memory as a whole.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
attributes:
  check_mode:
    support: full
    description: The file is read, and the cluster itself says whether it would accept what is made for it.
  diff_mode:
    support: full
    description: Shows the data volume or claim before and after.
seealso:
  - module: virtstack.core.data_volume
  - module: virtstack.core.data_source
options:
  path:
    description: Path of the image, on the machine where the module runs.
    type: path
    required: true
  name:
    description: Name of the data volume or of the claim.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  target:
    description:
      - Whether to upload into a DataVolume, or into a PersistentVolumeClaim without one. Each is made where there is
        none of that name.
    type: str
    choices: [data_volume, pvc]
    default: data_volume
  checksum:
    description: Checksum that the file must have, an algorithm (V(sha256), V(sha512), V(sha1) or V(md5)), a colon and
      the digits. Another file is refused.
    type: str
  size:
    description:
      - Size of the disk that is made. The default is that of the disk in the image. A smaller one is refused.
      - What is there already keeps its size, and the image has to fit.
    type: str
  storage_class:
    description: Storage class of what is made. The default is that of the cluster.
    type: str
  access_modes:
    description: Access modes of what is made. The default is what the StorageProfile of the class has; for a claim,
      V(ReadWriteOnce).
    type: list
    elements: str
    choices: [ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod]
  volume_mode:
    description: Whether what is made is a file system or a block device. The default is what the StorageProfile has.
    type: str
    choices: [Filesystem, Block]
  bind_immediately:
    description:
      - Whether to bind the volume at once where its storage class waits for the first pod that uses it. Without it,
        such an upload is refused, since it could never begin.
    type: bool
    default: false
  replace:
    description:
      - Whether a data volume or claim that holds something else is deleted, B(with its content), and made anew. What a
        running machine uses goes when the machine lets go of it.
    type: bool
    default: false
  upload_proxy_url:
    description: Address of CDI's upload proxy. The default is what the CDIConfig says, then the Route
      C(cdi-uploadproxy).
    type: str
  upload_proxy_ca_cert:
    description: Path of the CA certificate that signed the upload proxy's, beside those of the system, the CDIConfig
      and the connection.
    type: path
  upload_proxy_validate_certs:
    description: Whether to verify the upload proxy's certificate. Without it, anybody in between can read and change
      the image.
    type: bool
    default: true
  labels:
    description: Labels that the data volume or claim is to have.
    type: dict
  annotations:
    description: Annotations that the data volume or claim is to have.
    type: dict
  wait_timeout:
    description: Seconds for all but the sending itself - until an upload can begin, and until the image that was sent
      is in its place. Must be 0 or more.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: The golden image is in the cluster
  virtstack.core.image_upload:
    path: "{{ playbook_dir }}/golden.qcow2"
    name: golden
    namespace: prod
    size: 64Mi

- name: The installation medium is too, and is the one that was released
  virtstack.core.image_upload:
    path: "{{ playbook_dir }}/installer.iso"
    name: installer
    namespace: prod
    checksum: "sha256:{{ lookup('ansible.builtin.file', 'installer.iso.sha256') }}"
    storage_class: lab-file
    bind_immediately: true
"""

RETURN = r"""
name:
  description: Name of the data volume or claim.
  returned: success
  type: str
namespace:
  description: Its namespace.
  returned: success
  type: str
target:
  description: V(data_volume) or V(pvc).
  returned: success
  type: str
uploaded:
  description: Whether the image was sent.
  returned: success
  type: bool
phase:
  description: Phase of the data volume, or of the upload into the claim, C(Succeeded) at the end. In check mode that of
    before.
  returned: success
  type: str
size:
  description: Size that its claim asks for.
  returned: success
  type: str
storage_class:
  description: Storage class of its claim.
  returned: success
  type: str
format:
  description: Format of the image - V(raw), V(iso), V(qcow2), V(vmdk), V(vdi), V(vhd) or V(vhdx).
  returned: success
  type: str
packed:
  description: How the file is packed, V(gz) or V(xz), null where it is not.
  returned: success
  type: str
file_size:
  description: Size of the file in bytes.
  returned: success
  type: int
virtual_size:
  description: Size of the disk in the image, in bytes.
  returned: success
  type: int
sha256:
  description: Checksum of the file.
  returned: success
  type: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS, DECLARE_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.machine.disks import ACCESS_MODES, VOLUME_MODES
from ansible_collections.virtstack.core.plugins.module_utils.objects.upload_task import upload
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        "path": {"type": "path", "required": True},
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "target": {"type": "str", "choices": ["data_volume", "pvc"], "default": "data_volume"},
        "checksum": {"type": "str"},
        "size": {"type": "str"},
        "storage_class": {"type": "str"},
        "access_modes": {"type": "list", "elements": "str", "choices": list(ACCESS_MODES)},
        "volume_mode": {"type": "str", "choices": list(VOLUME_MODES)},
        "bind_immediately": {"type": "bool", "default": False},
        "replace": {"type": "bool", "default": False},
        "upload_proxy_url": {"type": "str"},
        "upload_proxy_ca_cert": {"type": "path"},
        "upload_proxy_validate_certs": {"type": "bool", "default": True},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
        "wait_timeout": {"type": "int", "default": 300},
    }
)


def run(task: Task) -> Result:
    return upload(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
