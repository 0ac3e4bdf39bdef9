#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_download
short_description: Download a disk of a cluster into a file
description:
  - Fetches a disk of a claim, a machine or a snapshot into a file of the machine where the module runs, through a
    VirtualMachineExport that is made for it and deleted afterwards, or one that exists.
  - The connection is verified against the certificate that the export itself names.
  - A raw image is gone on with where it was cut off, also by the next run. It stays sparse, and it is never in memory
    as a whole. The file gets its name when it is whole and its checksum is right.
  - What is under that name already is not touched unless told, see O(if_exists).
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
attributes:
  check_mode:
    support: full
    description: Target and source are looked at; nothing is made and nothing is fetched.
  diff_mode:
    support: full
    description: Shows the checksum of the file before and after.
seealso:
  - module: virtstack.core.vm_export
  - module: virtstack.core.image_upload
options:
  path:
    description: Path of the file to write. Its directory must exist.
    type: path
    required: true
  namespace:
    description: Namespace of the source.
    type: str
    required: true
  pvc:
    description: Name of a claim, or of the data volume that it belongs to. Nothing may use it meanwhile. Exactly one of
      O(pvc), O(vm), O(snapshot) and O(export) is required.
    type: str
  vm:
    description: Name of a machine that does not run.
    type: str
  snapshot:
    description: Name of a snapshot of a machine.
    type: str
  export:
    description: Name of a VirtualMachineExport that exists. It is left as it is.
    type: str
  volume:
    description: Name of the volume, where the source has more than one.
    type: str
  format:
    description: Whether to fetch the disk as it is, V(raw), or packed with gzip, V(gzip), which cannot be gone on with.
    type: str
    choices: [raw, gzip]
    default: raw
  checksum:
    description:
      - Checksum that the file must have, an algorithm (V(sha256), V(sha512), V(sha1) or V(md5)), a colon and the
        digits.
      - A file that is there and has it is not fetched again. What is fetched and does not have it is removed.
    type: str
  if_exists:
    description:
      - What becomes of a file that is there and does not have the O(checksum). V(refuse) fails, and V(replace) fetches
        anew, after which the new one takes its place in one step.
      - V(keep) leaves it as it is and is content, unless a O(checksum) says that it is another.
    type: str
    choices: [refuse, keep, replace]
    default: refuse
  ttl:
    description: How long the export that is made may live, for example V(4h), should it not be deleted. The default of
      the cluster is two hours.
    type: str
  keep_export:
    description: Whether the export that is made stays until its time is over.
    type: bool
    default: false
  wait_timeout:
    description: Seconds for all but the fetching itself - until the export is ready, and for a server that is away.
      Must be 0 or more.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: The disk of the database server is saved
  virtstack.core.image_download:
    path: "{{ playbook_dir }}/db.img"
    namespace: prod
    pvc: db-root
    if_exists: keep

- name: And packed
  virtstack.core.image_download:
    path: "{{ playbook_dir }}/db.img.gz"
    namespace: prod
    pvc: db-root
    format: gzip
    if_exists: replace
"""

RETURN = r"""
file:
  description: Path of the file.
  returned: success
  type: str
size:
  description: Its size in bytes, null in check mode.
  returned: success
  type: int
sha256:
  description: Its checksum, null in check mode.
  returned: success
  type: str
format:
  description: V(raw) or V(gzip).
  returned: success
  type: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.fetch import IF_EXISTS
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.download_task import download
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        "path": {"type": "path", "required": True},
        "namespace": {"type": "str", "required": True},
        "pvc": {"type": "str"},
        "vm": {"type": "str"},
        "snapshot": {"type": "str"},
        "export": {"type": "str"},
        "volume": {"type": "str"},
        "format": {"type": "str", "choices": ["raw", "gzip"], "default": "raw"},
        "checksum": {"type": "str"},
        "if_exists": {"type": "str", "choices": list(IF_EXISTS), "default": "refuse"},
        "ttl": {"type": "str"},
        "keep_export": {"type": "bool", "default": False},
        "wait_timeout": {"type": "int", "default": 300},
    },
    mutually_exclusive=[("pvc", "vm", "snapshot", "export")],
    required_one_of=[("pvc", "vm", "snapshot", "export")],
)


def run(task: Task) -> Result:
    return download(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
