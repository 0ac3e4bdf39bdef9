#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: operator
short_description: Install, adopt and remove OpenShift Virtualization and the operators beside it
description:
  - Makes sure that OpenShift Virtualization is installed through the Operator Lifecycle Manager (OLM) and ready, or
    that it is gone.
  - V(present) creates what is missing of the namespace, the OperatorGroup, the Subscription and the HyperConverged
    object, and adopts what is there. The Subscription is found by the package it asks for, whatever its own name is.
    An existing HyperConverged keeps everything that is not named here; use M(virtstack.core.hyperconverged) to
    configure it.
  - The package, its channel and the version to start with are looked up in the catalog before anything is written.
  - V(absent) removes HyperConverged, what the operator made from it, the Subscription, the ClusterServiceVersion, the
    namespace and, only if told so, the custom resource definitions, in this order. It refuses while there is a
    virtual machine or a virtual machine instance in any namespace, and names them.
  - It needs the rights of a cluster administrator.
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
    description: >-
      The cluster itself says whether it would accept each object, as far as it serves its API already. With
      O(state=absent), says exactly what would be removed.
  diff_mode:
    support: full
    description: Shows each object that would be created, changed or deleted.
options:
  state:
    description: Whether OpenShift Virtualization is to be installed.
    type: str
    choices: [present, absent]
    default: present
  channel:
    description:
      - The channel of the package to follow. A channel that the package does not have is refused with a list of those
        it has, before anything is written.
      - Without it, an existing Subscription keeps its channel; a new one takes the default channel of the package.
    type: str
  starting_csv:
    description:
      - The name of the ClusterServiceVersion to install first, such as V(kubevirt-hyperconverged-operator.v4.17.3).
        It must be one of the channel's.
      - It only matters when the operator is not installed yet; with O(approval=Automatic), updates follow at once.
    type: str
  approval:
    description:
      - Whether OLM installs updates by itself. V(Manual) leaves an InstallPlan waiting at every step, the first
        installation included, until O(approve=true) or somebody in the console approves it.
      - V(Manual) is discouraged. Updates that nobody approves are missed, security fixes included, and a version that
        falls behind OpenShift is not supported. The module warns about it.
      - Without it, an existing Subscription keeps what it has; a new one gets V(Automatic).
    type: str
    choices: [Automatic, Manual]
  approve:
    description:
      - Approve the InstallPlan that the Subscription waits for, if there is one. All ClusterServiceVersions of the
        plan are approved by it; they are listed in RV(install_plan).
    type: bool
    default: false
  package:
    description:
      - The package in the catalog. V(kubevirt-hyperconverged) is OpenShift Virtualization.
      - V(community-kubevirt-hyperconverged) is the same from the community's catalog, for which O(source) has to be
        set.
      - V(kubernetes-nmstate-operator) configures the network of nodes and is needed by
        M(virtstack.core.node_network_policy). Where this documentation says HyperConverged, it is the NMState object.
        It has no O(certificates), O(infra) and O(workloads), and its removal changes nothing on the nodes.
    type: str
    choices: [kubevirt-hyperconverged, community-kubevirt-hyperconverged, kubernetes-nmstate-operator]
    default: kubevirt-hyperconverged
  source:
    description:
      - The CatalogSource that offers the package.
      - Without it, an existing Subscription keeps its own; a new one takes V(redhat-operators).
    type: str
  source_namespace:
    description:
      - The namespace of the CatalogSource.
      - Without it, an existing Subscription keeps its own; a new one takes V(openshift-marketplace).
    type: str
  namespace:
    description:
      - The namespace of the operator. Without it, the one that O(package) is documented for, V(openshift-cnv),
        V(kubevirt-hyperconverged) or V(openshift-nmstate).
      - OpenShift Virtualization works in V(openshift-cnv) only, and Kubernetes NMState in V(openshift-nmstate);
        another one is refused.
    type: str
  certificates:
    description:
      - How long the certificates of the components are valid and how early they are renewed. What is left out stays
        as it is.
      - Each is a duration such as V(48h0m0s) or V(90m) of at least ten minutes. All conflicts among them are reported
        together.
    type: dict
    suboptions:
      ca_duration:
        description: Life time of the certificate authority. The product's default is V(48h0m0s).
        type: str
      ca_renew_before:
        description: >-
          How long before its end the authority is renewed, at most its life time. The product's default is
          V(24h0m0s).
        type: str
      server_duration:
        description: >-
          Life time of a server's certificate, at most that of the authority. The product's default is V(24h0m0s).
        type: str
      server_renew_before:
        description: >-
          How long before its end it is renewed, at most its life time. The product's default is V(12h0m0s).
        type: str
  infra:
    description: >-
      Which nodes run the components that serve the whole cluster. What is given replaces the placement that is there;
      without it, that one stays.
    type: dict
    suboptions: &placement
      node_selector:
        description: Labels that a node must have.
        type: dict
      affinity:
        description: Affinity rules as the Kubernetes API has them.
        type: dict
      tolerations:
        description: Taints that are tolerated, as the Kubernetes API has them.
        type: list
        elements: dict
  workloads:
    description: >-
      Which nodes run virtual machines and the components beside them. What is given replaces the placement that is
      there; without it, that one stays. The cluster refuses to change it while machines exist.
    type: dict
    suboptions: *placement
  delete_namespace:
    description:
      - With O(state=absent), whether the namespace is deleted with everything in it. It is refused while there is
        anything in it that is not the operator's own, namely Subscriptions to other packages and persistent volume
        claims.
    type: bool
    default: true
  delete_crds:
    description:
      - With O(state=absent), whether the custom resource definitions that came with the operator are deleted as well.
      - B(Deleting a definition deletes every object of its kind) in the whole cluster, which cannot be undone. They
        are therefore kept by default, and a later installation finds them.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the operator is installed and every component is ready, or until everything is gone.
      - Without it, HyperConverged is created only if the operator runs already; run the task again later. Removal
        always waits between its steps, as each needs the one before.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait, in seconds, for all steps together. An installation takes ten to twenty minutes.
    type: int
    default: 1800
seealso:
  - module: virtstack.core.hyperconverged
"""

EXAMPLES = r"""
- name: OpenShift Virtualization is installed and ready
  virtstack.core.operator:
    state: present
    channel: stable
    wait: true

- name: Its components run on infrastructure nodes, and its certificates live for a week
  virtstack.core.operator:
    certificates:
      ca_duration: 336h
      ca_renew_before: 168h
      server_duration: 168h
      server_renew_before: 84h
    infra:
      tolerations:
        - key: node-role.kubernetes.io/infra
          operator: Exists
          effect: NoSchedule
    wait: true

- name: Updates wait for somebody, and the one that is due is approved now
  virtstack.core.operator:
    approval: Manual
    approve: true
    wait: true

- name: The network of nodes can be configured
  virtstack.core.operator:
    package: kubernetes-nmstate-operator
    wait: true

- name: What removing it would take away
  virtstack.core.operator:
    state: absent
  check_mode: true
  register: removal
  failed_when: false

- name: It is removed, and its custom resource definitions with it
  virtstack.core.operator:
    state: absent
    delete_crds: true
    wait: true
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode, in order.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: One of V(created), V(updated), V(approved) or V(deleted).
      type: str
      returned: always
    kind:
      description: The kind of the object.
      type: str
      returned: always
    name:
      description: Its name.
      type: str
      returned: always
    namespace:
      description: Its namespace.
      type: str
      returned: when the object has one
  sample:
    - action: created
      kind: Subscription
      name: kubevirt-hyperconverged
      namespace: openshift-cnv
subscription:
  description: The Subscription's name, channel and state.
  returned: when O(state=present) and there is one
  type: dict
  sample:
    name: kubevirt-hyperconverged
    channel: stable
    approval: Automatic
    state: AtLatestKnown
csv:
  description: The ClusterServiceVersion that is installed.
  returned: when O(state=present) and one is installed
  type: dict
  sample:
    name: kubevirt-hyperconverged-operator.v4.17.3
    phase: Succeeded
install_plan:
  description: The InstallPlan that waits for approval.
  returned: when O(state=present) and there is one
  type: dict
  sample:
    name: install-x7c2p
    csvs: [kubevirt-hyperconverged-operator.v4.17.4]
instance:
  description: The object that deploys the product, HyperConverged or NMState, with its conditions and versions.
  returned: when O(state=present) and there is one
  type: dict
  sample:
    kind: HyperConverged
    name: kubevirt-hyperconverged
    conditions:
      - type: Available
        status: "True"
        reason: ReconcileCompleted
        message: Reconcile completed successfully
    versions:
      - name: operator
        version: 4.17.3
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.operator.install import install
from ansible_collections.virtstack.core.plugins.module_utils.operator.product import PRODUCTS
from ansible_collections.virtstack.core.plugins.module_utils.operator.uninstall import uninstall
from ansible_collections.virtstack.core.plugins.module_utils.operator.wish import wish
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

PLACEMENT = {
    "type": "dict",
    "options": {
        "node_selector": {"type": "dict"},
        "affinity": {"type": "dict"},
        "tolerations": {"type": "list", "elements": "dict"},
    },
}

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "wait_timeout": {"type": "int", "default": 1800},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "channel": {"type": "str"},
        "starting_csv": {"type": "str"},
        "approval": {"type": "str", "choices": ["Automatic", "Manual"]},
        "approve": {"type": "bool", "default": False},
        "package": {"type": "str", "choices": list(PRODUCTS), "default": "kubevirt-hyperconverged"},
        "source": {"type": "str"},
        "source_namespace": {"type": "str"},
        "namespace": {"type": "str"},
        "certificates": {
            "type": "dict",
            "options": {
                "ca_duration": {"type": "str"},
                "ca_renew_before": {"type": "str"},
                "server_duration": {"type": "str"},
                "server_renew_before": {"type": "str"},
            },
        },
        "infra": PLACEMENT,
        "workloads": PLACEMENT,
        "delete_namespace": {"type": "bool", "default": True},
        "delete_crds": {"type": "bool", "default": False},
    }
)


def run(task: Task) -> Result:
    wanted = wish(task.params)
    client = connect(task.params)
    if task.params["state"] == "absent":
        return uninstall(client, wanted, task)
    return install(client, wanted, task)


if __name__ == "__main__":
    main(SPEC, run)
