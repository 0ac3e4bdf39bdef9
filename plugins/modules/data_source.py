#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: data_source
short_description: Declare a data source, a boot source of virtual machines of a cluster
description:
  - Makes sure that a DataSource exists, under whose name machines find a claim or a snapshot to be made from, or that
    it is gone. What it stands for is never deleted.
  - A data source that a DataImportCron keeps up to date is left to it.
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
    description: Shows the data source before and after.
seealso:
  - module: virtstack.core.data_volume
  - module: virtstack.core.vm
options:
  name:
    description: Name of the data source.
    type: str
    required: true
  namespace:
    description: Its namespace. The console offers those of V(openshift-virtualization-os-images) as boot sources.
    type: str
    required: true
  state:
    description: Whether the data source is to exist.
    type: str
    choices: [present, absent]
    default: present
  pvc:
    description: The claim that it stands for. One of O(pvc), O(snapshot) and O(data_source) is required with
      O(state=present).
    type: dict
    suboptions:
      name:
        description: Name of the claim.
        type: str
        required: true
      namespace:
        description: Namespace of the claim, O(namespace) by default.
        type: str
  snapshot:
    description: The VolumeSnapshot that it stands for.
    type: dict
    suboptions:
      name:
        description: Name of the snapshot.
        type: str
        required: true
      namespace:
        description: Namespace of the snapshot, O(namespace) by default.
        type: str
  data_source:
    description: Another data source that it points to.
    type: dict
    suboptions:
      name:
        description: Name of the other data source.
        type: str
        required: true
      namespace:
        description: Its namespace, O(namespace) by default.
        type: str
  default_instancetype:
    description: Instance type of machines that leave it to their boot volume, for example V(u1.medium).
    type: str
  default_preference:
    description: Preference of machines that leave it to their boot volume. The console only offers data sources that
      have one.
    type: str
  labels:
    description: Labels that the data source is to have.
    type: dict
  annotations:
    description: Annotations that the data source is to have.
    type: dict
  wait:
    description:
      - Whether to wait until machines can be made from it, or it is gone. The wait ends at once when what it stands for
        does not exist.
"""

EXAMPLES = r"""
- name: A golden image
  virtstack.core.data_volume:
    name: golden-1
    namespace: prod
    blank: true
    size: 1Gi
    wait: true

- name: The name under which machines find it
  virtstack.core.data_source:
    name: golden
    namespace: prod
    pvc: {name: golden-1}
    default_instancetype: u1.medium
    default_preference: rhel.9
    wait: true

- name: A disk of it
  virtstack.core.data_volume:
    name: from-golden
    namespace: prod
    boot_source: {name: golden, namespace: prod}
    wait: true

- name: The name is gone, the image stays
  virtstack.core.data_source:
    name: golden
    namespace: prod
    state: absent
"""

RETURN = r"""
name:
  description: Name of the data source.
  returned: success
  type: str
namespace:
  description: Its namespace.
  returned: success
  type: str
source_kind:
  description: The option by which it stands for something - V(pvc), V(snapshot) or V(data_source); null for nothing.
  returned: success
  type: str
source_name:
  description: Name of what it stands for.
  returned: success
  type: str
source_namespace:
  description: Namespace of what it stands for.
  returned: success
  type: str
ready:
  description: Whether machines can be made from it.
  returned: success
  type: bool
message:
  description: What CDI says of it.
  returned: success
  type: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.data_sources import SOURCES, declare_source
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

_ORIGIN = {"type": "dict", "options": {"name": {"type": "str", "required": True}, "namespace": {"type": "str"}}}
SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        **{name: dict(_ORIGIN) for name in SOURCES},
        "default_instancetype": {"type": "str"},
        "default_preference": {"type": "str"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    },
    mutually_exclusive=[tuple(SOURCES)],
    required_if=[("state", "present", tuple(SOURCES), True)],
)


def run(task: Task) -> Result:
    return declare_source(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
