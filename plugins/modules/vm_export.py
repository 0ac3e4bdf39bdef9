#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_export
short_description: Export machines, snapshots and claims of a cluster, and import them elsewhere
description:
  - Makes sure that a VirtualMachineExport exists, or that it is gone. While it exists, its links give the disks and the
    manifests to who has its token.
  - In the same task, manifests and disks can be written to files, and what is exported can be imported into another
    namespace or another cluster.
  - Connections to the export are verified against the certificate that the export itself names.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
  - virtstack.core.wait
attributes:
  check_mode:
    support: full
    description: The cluster itself says whether it would accept the export. Nothing is written or imported.
  diff_mode:
    support: full
    description: Shows the export before and after.
seealso:
  - module: virtstack.core.image_download
  - module: virtstack.core.vm_snapshot
options:
  name:
    description: Name of the export. The default is that of its source.
    type: str
  namespace:
    description: Namespace of the source and the export.
    type: str
    required: true
  vm:
    description: Name of a machine that does not run. One of O(vm), O(snapshot) and O(pvc) is required with
      O(state=present).
    type: str
  snapshot:
    description: Name of a snapshot of a machine, which may run.
    type: str
  pvc:
    description: Name of a claim. Nothing may use it meanwhile.
    type: str
  state:
    description: Whether the export is to exist. Its source is not touched either way.
    type: str
    choices: [present, absent]
    default: present
  ttl:
    description: How long the export lives from when it is made, for example V(30m) or V(8h); bare numbers are seconds.
      The default of the cluster is two hours.
    type: str
  token_secret:
    description: Name of a Secret of the same namespace whose key C(token) lets in. Without it, one is made that goes
      with the export.
    type: str
  manifest_dest:
    description:
      - Path of a file for the manifests by which the machine is made again elsewhere. Needs O(wait).
    type: path
  include_secret:
    description:
      - Whether the Secret with the token is among the manifests of O(manifest_dest). The file can then be read by its
        owner only.
    type: bool
    default: false
  download_dest:
    description: Path of a directory for the disks, in files by the names of the volumes that end with C(.img) or
      C(.img.gz). Needs O(wait).
    type: path
  format:
    description: Whether O(download_dest) gets disks as they are, V(raw), or packed, V(gzip).
    type: str
    choices: [raw, gzip]
    default: raw
  if_exists:
    description:
      - What becomes of files that are in O(download_dest) already. V(refuse) fails before anything is fetched, V(keep)
        leaves them as they are, and V(replace) fetches anew.
    type: str
    choices: [refuse, keep, replace]
    default: refuse
  checksums:
    description:
      - What the files of O(download_dest) must have, by the names of their volumes, for example V(sha256:1d2f...) under
        C(db-root). The algorithms are those of M(virtstack.core.image_download). A volume that the export does not have
        is refused.
      - A file that is there and has it is left as it is, whatever O(if_exists) says. One that was fetched and does not
        have it is removed, and the task fails.
    type: dict
  import_to:
    description:
      - Where to import what is exported, in the same task. Needs O(wait). The task waits until the disks are filled.
      - The cluster of the import has to reach the links of the export from its pods.
      - What is there already from this source is left as it is, and no export is made for it. An import that was cut
        off is finished by the next run. Something else of that name is refused.
      - Without options for another connection, it is the same cluster.
    type: dict
    suboptions:
      namespace:
        description: Namespace of the import. It must exist.
        type: str
        required: true
      name:
        description: Name of the machine, or of the data volume of a O(pvc). The disks of a machine are named after it.
          Its own name by default.
        type: str
      storage_class:
        description: Storage class of the disks. By default the one that is in the manifests.
        type: str
      keep_identity:
        description: Whether the machine keeps its MAC addresses, its firmware's UUID and its serial number.
        type: bool
        default: false
      kubeconfig:
        description: Kubeconfig of the other cluster, a path or its content.
        type: raw
      context:
        description: Context of that kubeconfig.
        type: str
      host:
        description: URL of the other API server.
        type: str
      api_key:
        description: Token for it.
        type: str
      ca_cert:
        description: Path of the CA certificate of the other API server.
        type: path
      validate_certs:
        description: Whether to verify its certificate.
        type: bool
  labels:
    description: Labels that the export is to have.
    type: dict
  annotations:
    description: Annotations that the export is to have.
    type: dict
"""

EXAMPLES = r"""
- name: The database server can be fetched for an hour
  virtstack.core.vm_export:
    namespace: prod
    vm: db
    ttl: 1h
    wait: true

- name: Its disks and manifests are saved
  virtstack.core.vm_export:
    namespace: prod
    vm: db
    ttl: 1h
    manifest_dest: "{{ playbook_dir }}/db.yml"
    download_dest: "{{ playbook_dir }}"
    format: gzip
    if_exists: replace
    wait: true

- name: A copy of it is in the namespace for tests
  virtstack.core.vm_export:
    namespace: prod
    vm: db
    ttl: 1h
    import_to:
      namespace: prod
      name: db-test
    wait: true

- name: The export is over
  virtstack.core.vm_export:
    name: db
    namespace: prod
    state: absent
"""

RETURN = r"""
exports:
  description: The export, a list of one.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the export.
      type: str
    namespace:
      description: Its namespace.
      type: str
    changed:
      description: Whether it was made or deleted, or files or an import were.
      type: bool
    source:
      description: Name of what is exported.
      type: str
    source_kind:
      description: Its kind.
      type: str
    phase:
      description: C(Pending), C(Ready), C(Terminated) or C(Skipped).
      type: str
    expires:
      description: When the export goes by itself.
      type: str
    token_secret:
      description: Name of the Secret with the token.
      type: str
    certificate:
      description: Certificate by which the links are to be verified, as PEM.
      type: str
    volumes:
      description: The disks, each with C(name) and C(formats), the links by V(raw), V(gzip), V(dir) and V(tar.gz).
      type: list
      elements: dict
    manifest_links:
      description: The links of the manifests by V(all) and V(auth-header-secret).
      type: dict
    manifest_file:
      description: Path of the file with the manifests, null without O(manifest_dest).
      type: str
    files:
      description: The files with the disks, each with C(volume), C(file), C(size), C(sha256) and C(changed).
      type: list
      elements: dict
    imported:
      description: What was imported, with C(kind), C(name), C(namespace) and, where this task did it, C(data_volumes).
        Null without O(import_to).
      type: dict
    failed:
      description: Whether it failed; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.fetch import IF_EXISTS
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.export_task import export_source
from ansible_collections.virtstack.core.plugins.module_utils.task import (
    WAIT_OPTIONS,
    ModuleSpec,
    Result,
    Task,
    main,
    secrets_of_kubeconfig,
)

_ELSEWHERE = {
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str"},
    "storage_class": {"type": "str"},
    "keep_identity": {"type": "bool", "default": False},
    "kubeconfig": {"type": "raw"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_cert": {"type": "path"},
    "validate_certs": {"type": "bool"},
}
SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str"},
        "namespace": {"type": "str", "required": True},
        "vm": {"type": "str"},
        "snapshot": {"type": "str"},
        "pvc": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "ttl": {"type": "str"},
        # The name of a Secret is no secret.
        "token_secret": {"type": "str", "no_log": False},
        "manifest_dest": {"type": "path"},
        "include_secret": {"type": "bool", "default": False},
        "download_dest": {"type": "path"},
        "format": {"type": "str", "choices": ["raw", "gzip"], "default": "raw"},
        "if_exists": {"type": "str", "choices": list(IF_EXISTS), "default": "refuse"},
        "checksums": {"type": "dict"},
        "import_to": {"type": "dict", "options": _ELSEWHERE},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    },
    mutually_exclusive=[("vm", "snapshot", "pvc")],
    secrets=lambda params: secrets_of_kubeconfig((params.get("import_to") or {}).get("kubeconfig")),
)


def run(task: Task) -> Result:
    return export_source(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
