#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_network_policy
short_description: Declare the network of the nodes
description:
  - Makes sure that a NodeNetworkConfigurationPolicy exists with the desired state declared, such as a bridge, a bond,
    a VLAN or a bridge mapping of OVN-Kubernetes, or that the policy is gone.
  - It needs the Kubernetes NMState operator and its NMState object.
  - nmstate takes no change to a policy that nodes are still working on. The module waits for them first, for at most
    O(wait_timeout) seconds, with or without O(wait).
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
      The cluster itself says whether it would accept the change; whether nodes could apply it shows only then.
  diff_mode:
    support: full
    description: Shows the policy before and after.
options:
  name:
    description: The name of the policy, of at most 63 characters.
    type: str
    required: true
  state:
    description:
      - Whether the policy is to exist.
      - B(Deleting a policy undoes nothing on the nodes.) To take an interface away, first declare it with
        C(state=absent) in O(desired_state) and O(wait=true), then delete the policy.
    type: str
    choices: [present, absent]
    default: present
  desired_state:
    description:
      - The state that nodes are to have, as nmstate has it, C(interfaces), C(routes), C(dns-resolver) and C(ovn)
        among others. It is declared whole.
      - nmstate leaves interfaces that are not named as they are. Take care with the interface by which a node is
        reached.
      - Required with O(state=present).
    type: dict
  node_selector:
    description:
      - Labels that a node must have for the policy to be applied to it. New nodes with these labels get it as well.
      - Every node where nmstate runs without it.
    type: dict
  max_unavailable:
    description: >-
      How many nodes are configured at a time, as a number from 1 or as a percentage such as V(50%). The cluster's
      default is V(50%).
    type: str
  labels:
    description: Labels that the policy is to have.
    type: dict
  wait:
    description:
      - Whether to wait until every selected node has taken the policy, or, with O(state=absent), until it is gone.
      - The wait ends as soon as one node could not take it, with the node's name and nmstate's reason; nmstate then
        rolls that node back and leaves the others as they are.
    type: bool
    default: false
seealso:
  - module: virtstack.core.network_attachment
"""

EXAMPLES = r"""
- name: Every worker has the bridge br1 on its second network card
  virtstack.core.node_network_policy:
    name: br1
    node_selector:
      node-role.kubernetes.io/worker: ""
    desired_state:
      interfaces:
        - name: br1
          type: linux-bridge
          state: up
          ipv4:
            enabled: false
          bridge:
            options:
              stp:
                enabled: false
            port:
              - name: enp2s0
    wait: true

- name: The localnet physnet1 leads to the OVS bridge of the nodes
  virtstack.core.node_network_policy:
    name: physnet1
    desired_state:
      ovn:
        bridge-mappings:
          - localnet: physnet1
            bridge: br-ex
            state: present
    max_unavailable: 50%
    wait: true

- name: The bridge is taken away from the nodes
  virtstack.core.node_network_policy:
    name: br1
    node_selector:
      node-role.kubernetes.io/worker: ""
    desired_state:
      interfaces:
        - name: br1
          type: linux-bridge
          state: absent
    wait: true

- name: And its policy is gone
  virtstack.core.node_network_policy:
    name: br1
    state: absent
    wait: true
"""

RETURN = r"""
policy:
  description: The NodeNetworkConfigurationPolicy as the cluster has it, with its conditions.
  returned: when O(state=present)
  type: dict
nodes:
  description: The nodes that were configured. Empty when no node has the labels of O(node_selector).
  returned: when O(state=present), with O(wait=true), not in check mode
  type: list
  elements: str
  sample: [worker-0, worker-1, worker-2]
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects import node_network
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "desired_state": {"type": "dict"},
        "node_selector": {"type": "dict"},
        "max_unavailable": {"type": "str"},
        "labels": {"type": "dict"},
    },
    required_if=[("state", "present", ("desired_state",))],
)


def run(task: Task) -> Result:
    client = connect(task.params)
    if task.params["state"] == "absent":
        return node_network.remove(client, task)
    return node_network.declare(client, task)


if __name__ == "__main__":
    main(SPEC, run)
