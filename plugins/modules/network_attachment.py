#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: network_attachment
short_description: Declare a network that virtual machines attach to
description:
  - Makes sure that a NetworkAttachmentDefinition exists with the configuration declared, or that it is gone.
  - The configuration is written by the options of one O(type) of network, or given as it is with O(config). It is
    compared by its meaning, so that an existing one is not rewritten for its spacing or the order of its keys.
  - Virtual machines use the definitions of their own namespace, and those of the namespace V(default).
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
attributes:
  check_mode:
    support: full
    description: The cluster itself says whether it would accept the change.
  diff_mode:
    support: full
    description: Shows the definition before and after.
options:
  name:
    description: The name of the definition, by which interfaces of virtual machines refer to it.
    type: str
    required: true
  namespace:
    description: The namespace of the definition, which is that of the virtual machines that use it.
    type: str
    required: true
  state:
    description: Whether the definition is to exist.
    type: str
    choices: [present, absent]
    default: present
  type:
    description:
      - What kind of network it is. Exactly one of O(type) and O(config) is needed with O(state=present); an option
        that the type does not have is refused.
      - V(bridge) is a Linux bridge that exists on the nodes, see M(virtstack.core.node_network_policy).
      - V(layer2) is an overlay network of OVN-Kubernetes between the nodes. Definitions of one O(network) in several
        namespaces share it.
      - V(localnet) is a physical network to which a bridge mapping of OVN-Kubernetes leads, see
        M(virtstack.core.node_network_policy).
      - V(sriov) gives a virtual machine a virtual function of a network card. Such machines cannot always be
        live-migrated.
    type: str
    choices: [bridge, layer2, localnet, sriov]
  bridge:
    description:
      - With O(type=bridge), the name of the bridge on the nodes, of at most 15 characters. Machines are only
        scheduled to nodes that have it.
    type: str
  plugin:
    description:
      - With O(type=bridge), the CNI plugin. V(cnv-bridge) comes with OpenShift Virtualization; V(bridge) is the one
        that every cluster has. The default is V(cnv-bridge).
    type: str
    choices: [cnv-bridge, bridge]
  vlan:
    description: >-
      With O(type=bridge), O(type=localnet) and O(type=sriov), the VLAN ID of the network, from 1 to 4094. Untagged
      without it.
    type: int
  macspoofchk:
    description: >-
      With O(type=bridge) and O(type=sriov), whether a machine may only send from the MAC address that its interface
      was given. Off without it.
    type: bool
  preserve_default_vlan:
    description: >-
      With O(type=bridge), whether ports of the bridge keep its default VLAN. The plugin's default is V(true).
    type: bool
  mtu:
    description: >-
      With O(type=bridge), O(type=layer2) and O(type=localnet), the largest packet, in bytes. The default is that of
      the network.
    type: int
  ipam:
    description:
      - With O(type=bridge) and O(type=sriov), how pods get addresses in this network, as CNI has it.
      - Virtual machines do not get addresses this way, and do not work with it; a warning says so.
    type: dict
  tuning:
    description:
      - With O(type=bridge), options of the plugin C(cnv-tuning), which is chained behind the bridge, such as
        V({"mtu":1450}), V({"promisc":true}) or V({"mac":"02:00:00:00:00:01"}). An empty mapping chains it without
        any.
    type: dict
  network:
    description:
      - With O(type=layer2) and O(type=localnet), the name of the network in OVN-Kubernetes. The default is O(name).
      - With O(type=localnet), it is the localnet that a bridge mapping names, unless O(physical_network) says so.
    type: str
  physical_network:
    description: >-
      With O(type=localnet), the localnet that a bridge mapping names, where it is not O(network). Several networks
      with a O(vlan) each can then share it.
    type: str
  resource_name:
    description: >-
      With O(type=sriov), the resource by which nodes offer the virtual functions, such as V(openshift.io/intelnics).
    type: str
  trust:
    description: >-
      With O(type=sriov), whether the virtual function may change its own settings. The card's default without it.
    type: bool
  link_state:
    description: With O(type=sriov), the link state of the virtual function. The card's default without it.
    type: str
    choices: [auto, enable, disable]
  config:
    description:
      - The whole CNI configuration, as a mapping or as JSON text, for what the types do not cover.
      - Text that is no JSON, a configuration without a plugin, and one whose C(netAttachDefName) is not
        O(namespace)/O(name) are refused; a C(name) other than O(name) is warned of.
    type: raw
  labels:
    description: Labels that the definition is to have.
    type: dict
  annotations:
    description:
      - Annotations that the definition is to have, besides the one with the resource name that O(type=bridge) and
        O(type=sriov) bring.
    type: dict
seealso:
  - module: virtstack.core.node_network_policy
"""

EXAMPLES = r"""
- name: VLAN 93 of the bridge br1
  virtstack.core.network_attachment:
    name: vlan93
    namespace: prod
    type: bridge
    bridge: br1
    vlan: 93
    macspoofchk: true

- name: A network between the machines of this namespace
  virtstack.core.network_attachment:
    name: backend
    namespace: prod
    type: layer2
    mtu: 1300

- name: The physical network behind the localnet physnet1
  virtstack.core.network_attachment:
    name: office
    namespace: prod
    type: localnet
    physical_network: physnet1
    vlan: 7

- name: Virtual functions of a network card
  virtstack.core.network_attachment:
    name: fast
    namespace: prod
    type: sriov
    resource_name: openshift.io/intelnics
    vlan: 12

- name: A dedicated network for live migration, with the plugin's own words
  virtstack.core.network_attachment:
    name: migration
    namespace: openshift-cnv
    config:
      cniVersion: 0.3.1
      name: migration
      type: macvlan
      master: eth1
      mode: bridge
      ipam:
        type: whereabouts
        range: 10.200.5.0/24

- name: The backend network is gone
  virtstack.core.network_attachment:
    name: backend
    namespace: prod
    state: absent
"""

RETURN = r"""
network_attachment:
  description: The NetworkAttachmentDefinition as the cluster has it.
  returned: when O(state=present)
  type: dict
config:
  description: Its CNI configuration, as a mapping.
  returned: when O(state=present)
  type: dict
  sample:
    cniVersion: 0.3.1
    name: vlan93
    type: cnv-bridge
    bridge: br1
    vlan: 93
"""

import json

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import Client, connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.declare import declare, remove
from ansible_collections.virtstack.core.plugins.module_utils.cluster.errors import ClusterError
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS, DECLARE_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects import network
from ansible_collections.virtstack.core.plugins.module_utils.objects.network import (
    NETWORK_ATTACHMENT_DEFINITION,
    NODE_NETWORK_CONFIGURATION_POLICY,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "type": {"type": "str", "choices": ["bridge", "layer2", "localnet", "sriov"]},
        "bridge": {"type": "str"},
        "plugin": {"type": "str", "choices": ["cnv-bridge", "bridge"]},
        "vlan": {"type": "int"},
        "macspoofchk": {"type": "bool"},
        "preserve_default_vlan": {"type": "bool"},
        "mtu": {"type": "int"},
        "ipam": {"type": "dict"},
        "tuning": {"type": "dict"},
        "network": {"type": "str"},
        "physical_network": {"type": "str"},
        "resource_name": {"type": "str"},
        "trust": {"type": "bool"},
        "link_state": {"type": "str", "choices": ["auto", "enable", "disable"]},
        "config": {"type": "raw"},
        "labels": {"type": "dict"},
        "annotations": {"type": "dict"},
    },
    mutually_exclusive=[("type", "config")],
    required_if=[("state", "present", ("type", "config"), True)],
)


def run(task: Task) -> Result:
    name, namespace = task.params["name"], task.params["namespace"]
    client = connect(task.params)
    if task.params["state"] == "absent":
        outcome = remove(client, NETWORK_ATTACHMENT_DEFINITION, name, namespace, check_mode=task.check_mode)
        return {"changed": outcome.changed, **({"diff": outcome.diff()} if task.diff else {})}
    config = network.declared_config(name, namespace, task.params)
    live = client.get(NETWORK_ATTACHMENT_DEFINITION, name, namespace)
    _warn(task, client, config, new=live is None)
    outcome = declare(
        client,
        NETWORK_ATTACHMENT_DEFINITION,
        network.attachment(
            name,
            namespace,
            config,
            annotations=network.network_annotations(task.params["type"], task.params)
            | (task.params["annotations"] or {}),
            labels=task.params["labels"] or {},
            live=live,
        ),
        live=live,
        check_mode=task.check_mode,
        force_conflicts=task.params["force_conflicts"],
    )
    for warning in outcome.warnings:
        task.warn(warning)
    shown = outcome.shown() or {}
    result: Result = {
        "changed": outcome.changed,
        "network_attachment": shown,
        "config": json.loads(shown["spec"]["config"]),
    }
    return result | ({"diff": outcome.diff()} if task.diff else {})


def _warn(task: Task, client: Client, config: dict[str, object], *, new: bool) -> None:
    other = network.config_name_differs(config, task.params["name"])
    if other:
        task.warn(f"config.name is {other!r}; it should be the name of the definition, {task.params['name']!r}.")
    if network.has_ipam(config) and task.params["type"]:
        task.warn("ipam is set: virtual machines cannot use this network, only pods can.")
    localnet = network.localnet_of(config)
    if new and localnet and not _is_mapped(client, localnet):
        task.warn(
            f"No NodeNetworkConfigurationPolicy maps the localnet {localnet!r} to a bridge. Machines of this network "
            "do not start until one does, see virtstack.core.node_network_policy (desired_state.ovn.bridge-mappings)."
        )


def _is_mapped(client: Client, localnet: str) -> bool:
    try:
        return localnet in network.localnets(client.list(NODE_NETWORK_CONFIGURATION_POLICY).items)
    except ClusterError:
        # Without NMState, or without the right to see its policies, nothing can be said.
        return True


if __name__ == "__main__":
    main(SPEC, run)
