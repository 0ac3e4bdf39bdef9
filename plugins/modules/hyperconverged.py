#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hyperconverged
short_description: Configure OpenShift Virtualization
description:
  - Declares the spec of HyperConverged, the one object by which OpenShift Virtualization is configured. The operator
    passes it on to KubeVirt, CDI, SSP and NetworkAddonsConfig, whose own edits it reverts.
  - Fields that nobody declared here stay as they are. Fields that an earlier run declared and this one leaves out go
    back to their defaults, so that one task declares the whole of what a playbook cares for.
  - What the cluster's webhook refuses is reported in its own words.
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
    description: The cluster itself says whether it would accept the change, its webhook and the components included.
  diff_mode:
    support: full
    description: Shows HyperConverged before and after.
options:
  definition:
    description:
      - The spec of HyperConverged, as the API has it. A null takes a field away, whoever set it, which brings back
        its default.
      - The two versions of the API have different specs. In V(v1) it has the sections C(deployment), C(networking),
        C(security), C(storage), C(virtualization) and C(workloadSources), and C(featureGates) is a list with C(name)
        and C(state), which is merged by name. In V(v1beta1) it is flat, and C(featureGates) is a mapping of booleans.
      - A field that the version does not have is refused with its path. Life times of certificates that contradict
        each other are reported together.
    type: dict
    required: true
  api_version:
    description:
      - The version in which O(definition) is written.
      - Without it, the keys of O(definition) tell; keys of both versions in one definition are refused. Where they do
        not tell, it is the newest version that the cluster serves.
    type: str
    choices: [v1, v1beta1]
  namespace:
    description: The namespace of the operator, which is that of HyperConverged.
    type: str
    default: openshift-cnv
  wait:
    description: Whether to wait until every component is reconciled and available again.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait, in seconds.
    type: int
    default: 900
seealso:
  - module: virtstack.core.operator
"""

EXAMPLES = r"""
- name: Machines migrate over their own network, four at a time
  virtstack.core.hyperconverged:
    definition:
      liveMigrationConfig:
        network: migration
        parallelMigrationsPerCluster: 4
    wait: true

- name: The same in the newer version of the API, with a feature gate
  virtstack.core.hyperconverged:
    api_version: v1
    definition:
      virtualization:
        liveMigrationConfig:
          parallelMigrationsPerCluster: 4
      featureGates:
        - name: downwardMetrics
          state: Enabled
    wait: true

- name: The life times of certificates are the default ones again
  virtstack.core.hyperconverged:
    api_version: v1beta1
    definition:
      certConfig:
"""

RETURN = r"""
api_version:
  description: The version in which the definition was declared.
  returned: success
  type: str
  sample: v1beta1
spec:
  description: The spec as the cluster has it, defaults included.
  returned: success
  type: dict
conditions:
  description: The conditions of HyperConverged.
  returned: success
  type: list
  elements: dict
  sample:
    - type: Available
      status: "True"
      reason: ReconcileCompleted
      message: Reconcile completed successfully
versions:
  description: The versions that are deployed.
  returned: success
  type: list
  elements: dict
  sample:
    - name: operator
      version: 4.17.3
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.declare import declare
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.cluster.resource import Object, Resource
from ansible_collections.virtstack.core.plugins.module_utils.cluster.wait import wait
from ansible_collections.virtstack.core.plugins.module_utils.objects import hyperconverged
from ansible_collections.virtstack.core.plugins.module_utils.task import (
    WAIT_OPTIONS,
    Failure,
    ModuleSpec,
    Result,
    Task,
    main,
)

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "wait_timeout": {"type": "int", "default": 900},
        "definition": {"type": "dict", "required": True},
        "api_version": {"type": "str", "choices": ["v1", "v1beta1"]},
        "namespace": {"type": "str", "default": "openshift-cnv"},
    }
)


def run(task: Task) -> Result:
    namespace, definition = task.params["namespace"], task.params["definition"]
    version = task.params["api_version"] or hyperconverged.version_of(definition)
    client = connect(task.params)
    resource = client.preferred([hyperconverged.VERSIONS[version]] if version else hyperconverged.VERSIONS.values())
    live = client.get(resource, hyperconverged.NAME, namespace)
    if live is None:
        raise Failure(
            f"There is no HyperConverged in the namespace {namespace}. Install it first, with virtstack.core.operator."
        )
    problems = hyperconverged.certificate_conflicts(resource.version, definition, live)
    if problems:
        raise Failure(f"The life times of certificates are not acceptable: {'; '.join(problems)}.")
    spec = hyperconverged.without_idle_removals(client, resource, definition, live)
    outcome = declare(
        client,
        resource,
        hyperconverged.manifest(resource, spec, namespace=namespace),
        live=live,
        check_mode=task.check_mode,
        force_conflicts=task.params["force_conflicts"],
    )
    found = outcome.after or live
    if task.params["wait"] and not task.check_mode:
        found = _ready(client, task, resource) or found
    status = found.get("status") or {}
    return {
        "changed": outcome.changed,
        "api_version": resource.version,
        "spec": found.get("spec") or {},
        "conditions": status.get("conditions") or [],
        "versions": status.get("versions") or [],
        **({"diff": outcome.diff()} if task.diff else {}),
    }


def _ready(client: Client, task: Task, resource: Resource) -> Object | None:
    return wait(
        client,
        resource,
        hyperconverged.NAME,
        task.params["namespace"],
        hyperconverged.RECONCILED,
        timeout=task.params["wait_timeout"],
        progress=task.progress,
    )


if __name__ == "__main__":
    main(SPEC, run)
