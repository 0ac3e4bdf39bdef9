#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: data_volume
short_description: Declare data volumes, the disks of virtual machines of a cluster
description:
  - Makes sure that DataVolumes exist, and CDI fills their claims from a source, or that they are gone.
  - What a data volume is made from cannot be changed afterwards. A declaration that differs from what is there is
    refused, and nothing is lost. The size can grow.
  - Where CDI deletes data volumes that are done (older releases), the claim that is left counts as the data volume.
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
    description: The cluster itself says whether it would accept the change.
  diff_mode:
    support: full
    description: Shows the data volumes before and after, or their claims where these grow.
seealso:
  - module: virtstack.core.vm
options:
  name:
    description: Name of the data volume and of its claim. Exactly one of O(name) and O(names) is required.
    type: str
  names:
    description: Names of several data volumes that are declared alike. One that fails stops none of the others.
    type: list
    elements: str
  namespace:
    description: Namespace of the data volumes.
    type: str
    required: true
  state:
    description:
      - Whether the data volume is to exist.
      - With V(absent), B(its claim and all data in it go with it), unless O(keep_claim) is set. One that a machine has
        as a disk, or a pod mounts, is not deleted without O(force).
    type: str
    choices: [present, absent]
    default: present
  blank:
    description: An empty disk. With O(state=present), one source is required - this, another of these options, or
      O(definition).
    type: bool
  upload:
    description: A disk that waits for an image to be sent to it.
    type: bool
  http:
    description: A disk image, raw, qcow2 or another format of QEMU, also packed with gz or xz, from a web server.
    type: dict
    suboptions:
      url:
        description: URL of the image.
        type: str
        required: true
      secret:
        description: Secret of the same namespace with the user, C(accessKeyId), and the password, C(secretKey).
        type: str
      cert_config_map:
        description: ConfigMap of the same namespace with the CA certificate of the server.
        type: str
      extra_headers:
        description: Headers to send with the requests. They are part of the data volume; see also
          O(http.secret_extra_headers).
        type: list
        elements: str
      secret_extra_headers:
        description: Secrets of the same namespace whose values are headers to send.
        type: list
        elements: str
      checksum:
        description: Checksum of the file, for example V(sha256:) and 64 digits. Newer CDI verifies it.
        type: str
  registry:
    description: A container disk from a registry.
    type: dict
    suboptions:
      url:
        description: URL of the image, for example V(docker://quay.io/containerdisks/fedora:latest). One of
          O(registry.url) and O(registry.image_stream) is needed.
        type: str
      image_stream:
        description: Name of an ImageStream of the same namespace, with O(registry.pull_method=node).
        type: str
      pull_method:
        description: Who pulls the image - the importer, V(pod), or the node with its own credentials, V(node).
        type: str
        choices: [pod, node]
      architecture:
        description: Architecture of the image that is wanted, where it has several.
        type: str
      secret:
        description: Secret of the same namespace with the user, C(accessKeyId), and the password, C(secretKey).
        type: str
      cert_config_map:
        description: ConfigMap of the same namespace with the CA certificate of the registry.
        type: str
  s3:
    description: A disk image from an S3 bucket.
    type: dict
    suboptions:
      url:
        description: URL of the image.
        type: str
        required: true
      secret:
        description: Secret of the same namespace with C(accessKeyId) and C(secretKey).
        type: str
      cert_config_map:
        description: ConfigMap of the same namespace with the CA certificate of the server.
        type: str
  gcs:
    description: A disk image from a bucket of Google Cloud Storage.
    type: dict
    suboptions:
      url:
        description: URL of the image.
        type: str
        required: true
      secret:
        description: Secret of the same namespace with the service account's key.
        type: str
  imageio:
    description: A disk of oVirt, or of Red Hat Virtualization.
    type: dict
    suboptions:
      url:
        description: URL of the engine's API.
        type: str
        required: true
      secret:
        description: Secret of the same namespace with C(accessKeyId) and C(secretKey).
        type: str
      cert_config_map:
        description: ConfigMap of the same namespace with the CA certificate of the engine.
        type: str
      disk_id:
        description: ID of the disk.
        type: str
        required: true
      insecure_skip_verify:
        description: Whether to trust any certificate.
        type: bool
  vddk:
    description: A disk of VMware vSphere.
    type: dict
    suboptions:
      url:
        description: URL of vCenter or of the host.
        type: str
        required: true
      secret:
        description: Secret of the same namespace with C(accessKeyId) and C(secretKey).
        type: str
        required: true
      uuid:
        description: UUID of the machine.
        type: str
        required: true
      backing_file:
        description: Path of the disk.
        type: str
        required: true
      thumbprint:
        description: Thumbprint of the server's certificate.
        type: str
        required: true
      init_image_url:
        description: Image with VMware's library, where the cluster does not name one.
        type: str
      extra_args:
        description: Name of a ConfigMap with further arguments for the library.
        type: str
  clone_pvc:
    description: A copy of a claim.
    type: dict
    suboptions:
      name:
        description: Name of the claim.
        type: str
        required: true
      namespace:
        description: Its namespace, O(namespace) by default. In another one, the user needs the right to create
          C(datavolumes/source) there, which is asked about first.
        type: str
  clone_snapshot:
    description: A disk from a VolumeSnapshot.
    type: dict
    suboptions:
      name:
        description: Name of the snapshot.
        type: str
        required: true
      namespace:
        description: Its namespace, see O(clone_pvc.namespace).
        type: str
  boot_source:
    description: A copy of what a DataSource stands for.
    type: dict
    suboptions:
      name:
        description: Name of the DataSource.
        type: str
        required: true
      namespace:
        description: Its namespace, by default that of the boot sources of OpenShift Virtualization,
          V(openshift-virtualization-os-images).
        type: str
  size:
    description:
      - Size of the disk, for example V(30Gi). A copy without it is as large as its source.
      - A larger one than there is lets the claim grow, if its storage class allows it. A smaller one is refused.
      - On a file system, the claim is larger by what CDI keeps for the file system itself.
    type: str
  storage_class:
    description: Storage class. The default is that of the cluster.
    type: str
  access_modes:
    description: Access modes. The default is what the StorageProfile of the class has.
    type: list
    elements: str
    choices: [ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod]
  volume_mode:
    description: Whether the claim is a file system or a block device. The default is what the StorageProfile has.
    type: str
    choices: [Filesystem, Block]
  content_type:
    description: Whether the content is a disk, V(kubevirt), or a tar archive, V(archive).
    type: str
    choices: [kubevirt, archive]
  preallocation:
    description: Whether all space is taken at once. The default is that of the cluster.
    type: bool
  priority_class:
    description: Priority class of the pods that fill the volume.
    type: str
  bind_immediately:
    description: Whether to bind the volume at once where its storage class would wait for the first pod that uses it.
    type: bool
    default: false
  adopt:
    description:
      - Whether a claim of that name that exists, and belongs to nothing, is put under the data volume as it is. Its
        content stays. O(size) is not needed then, nor is a source.
    type: bool
    default: false
  recreate_unfilled:
    description:
      - Whether a data volume that differs from what is declared is deleted and made anew, where it never got its
        content. One that is filled is never replaced.
    type: bool
    default: false
  keep_claim:
    description: With O(state=absent), whether the claim and its data stay, and only the data volume goes.
    type: bool
    default: false
  force:
    description: With O(state=absent), whether to delete what machines or pods use. B(Their data are lost).
    type: bool
    default: false
  definition:
    description:
      - Any part of the DataVolume as the API has it, for what these options do not cover, such as C(spec.checkpoints)
        or a C(spec.pvc) instead of C(spec.storage). The other options are laid over it.
    type: dict
  labels:
    description: Labels that the data volume is to have.
    type: dict
  annotations:
    description: Annotations that the data volume is to have. Those for the pods that fill it count when it is made.
    type: dict
  wait:
    description:
      - Whether to wait until the volume has its content, or is gone. The wait ends at once, with the reason, when the
        import cannot succeed, and after a while, see O(wait_timeout), when what is to be cloned is not there. CDI
        begins such a clone when its source comes.
      - It also ends when the volume waits for an upload, or for the first pod that uses it; see
        RV(data_volumes[].waits_for_consumer).
"""

EXAMPLES = r"""
- name: An empty disk
  virtstack.core.data_volume:
    name: data
    namespace: prod
    blank: true
    size: 10Gi
    wait: true

- name: Ten of them
  virtstack.core.data_volume:
    names: "{{ ['scratch-'] | product(range(10)) | map('join') | list }}"
    namespace: prod
    blank: true
    size: 1Gi

- name: The disk has become larger
  virtstack.core.data_volume:
    name: data
    namespace: prod
    blank: true
    size: 20Gi
    wait: true

- name: A copy of it
  virtstack.core.data_volume:
    name: data-copy
    namespace: prod
    clone_pvc: {name: data}
    wait: true
  register: copy

- name: How it was copied
  ansible.builtin.debug:
    msg: "{{ copy.data_volumes[0].clone_type }} {{ copy.data_volumes[0].clone_fallback_reason or '' }}"

- name: A disk image of a web server, into whose storage nothing has to wait
  virtstack.core.data_volume:
    name: fedora
    namespace: prod
    http:
      url: https://images.example.com/fedora.qcow2
    size: 10Gi
    bind_immediately: true

- name: The copy is gone, with its data
  virtstack.core.data_volume:
    name: data-copy
    namespace: prod
    state: absent
    wait: true
"""

RETURN = r"""
data_volumes:
  description: The data volumes, in the order of their names in the task.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the data volume.
      type: str
    namespace:
      description: Its namespace.
      type: str
    changed:
      description: Whether it was made, changed or deleted, or its claim made larger.
      type: bool
    phase:
      description: Its phase, such as C(Succeeded) or C(ImportInProgress); null before CDI has seen it.
      type: str
    progress:
      description: How far CDI is, such as C(43.2%).
      type: str
    waits_for_consumer:
      description: Whether it is bound, and filled, only when a pod uses it.
      type: bool
    claim:
      description: Name of its claim, null where there is none yet.
      type: str
    claim_phase:
      description: Phase of the claim, C(Pending) or C(Bound).
      type: str
    size:
      description: Size that the claim asks for.
      type: str
    capacity:
      description: Size that the claim has, null before it is bound.
      type: str
    storage_class:
      description: Storage class of the claim.
      type: str
    volume_mode:
      description: Volume mode of the claim.
      type: str
    access_modes:
      description: Access modes of the claim.
      type: list
      elements: str
    clone_type:
      description: How it was cloned - C(csi-clone), C(snapshot), or C(copy), the slow one; null where it was not.
      type: str
    clone_fallback_reason:
      description: Why it was cloned the slow way, null where it was not.
      type: str
    expanded:
      description: Whether its claim was made larger.
      type: bool
    failed:
      description: Whether it failed; C(msg) then says why.
      type: bool
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volume_options import SOURCE_SPEC, VOLUME_SPEC
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_volume_tasks import declare_volumes
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        **SOURCE_SPEC,
        **VOLUME_SPEC,
        "name": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "namespace": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "keep_claim": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
    },
    mutually_exclusive=[("name", "names"), tuple(SOURCE_SPEC)],
    required_one_of=[("name", "names")],
)


def run(task: Task) -> Result:
    return declare_volumes(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
