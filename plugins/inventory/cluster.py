# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cluster
short_description: The virtual machines of a KubeVirt or OpenShift Virtualization cluster as inventory
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
description:
  - Lists the virtual machines of a cluster, running and stopped, and the instances that belong to no virtual machine.
  - Reads the whole cluster with one paginated list for each kind, side by side. Where the user may not list the whole
    cluster, reads namespace by namespace. A namespace that the user may not read is named in a warning and skipped.
  - Takes files whose names end in V(virtstack.yml), V(virtstack.yaml), V(cluster.yml) or V(cluster.yaml).
  - Every option takes Jinja templates and vaulted values. In O(compose), O(groups), O(keyed_groups), O(hostnames) and
    O(filters) the expressions see the host variables, which all begin with C(virtstack_).
  - Host variables hold no secrets. Cloud-init data, passwords and access credentials are never copied, nor is the
    manifest that C(kubectl apply) keeps in an annotation.
  - Host variables are data. An expression in a label of a virtual machine stays the text that it is.
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.cluster.plugin
  - virtstack.core.inventory
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description:
      - The name of this plugin, which makes the file its own.
    type: str
    required: true
    choices:
      - virtstack.core.cluster
  namespaces:
    description:
      - The namespaces to look into. By default all that the user may read.
      - Up to ten are listed one by one, more with one list over the whole cluster where the user may do that.
    type: list
    elements: str
    default: []
  label_selector:
    description:
      - Only virtual machines whose labels match, for example V(app=db,tier!=test). The server selects.
      - An instance without a virtual machine is selected by its own labels.
      - A text that is no label selector is an error.
    type: str
  field_selector:
    description:
      - Only virtual machines whose fields match. KubeVirt's kinds know V(metadata.name) and V(metadata.namespace); the
        server refuses others.
    type: str
  hostnames:
    description:
      - Jinja expressions over the host variables. The first that gives a text names the host.
      - By default, and when none of them gives a text, a host is named C(<name>.<namespace>).
      - When several machines come to the same name, all of them are named C(<name>.<namespace>) instead.
    type: list
    elements: str
    default: []
  address:
    description:
      - The ways to find C(ansible_host), tried in this order. A machine that none of them finds gets no
        C(ansible_host).
      - V(interface) takes the first address that an interface reports, of the networks in O(networks) if given.
        Link-local addresses do not count.
      - V(service) takes a Service that selects the machine and leads to the port of its connection, and sets
        C(ansible_port) too. The port is 22 for ssh, 5986 or else 5985 for winrm and psrp.
      - V(secondary_dns) takes the name that KubeSecondaryDNS serves for an interface on a secondary network,
        C(<interface>.<name>.<namespace>.vm.<domain>).
    type: list
    elements: str
    choices:
      - interface
      - service
      - secondary_dns
    default:
      - interface
  networks:
    description:
      - The networks of a machine whose addresses to take, by their names in the machine, the preferred first.
      - By default all of them, in the machine's own order.
    type: list
    elements: str
    default: []
  service_types:
    description:
      - The types of Service to take with V(service) in O(address), the preferred first.
      - V(ClusterIP) is for a controller that runs inside the cluster, as AWX often does.
    type: list
    elements: str
    choices:
      - LoadBalancer
      - NodePort
      - ClusterIP
    default:
      - LoadBalancer
      - NodePort
  service_port:
    description:
      - The port of a Service to take, by its name or number in the Service.
      - By default the one that leads to the port of the connection, whatever its own number and name are.
    type: str
  node_address:
    description:
      - By what a node is reached for Services of type V(NodePort). Other values than V(name) list the nodes of the
        cluster, which the user must be allowed to do.
    type: str
    choices:
      - name
      - hostname
      - internal_ip
      - external_ip
    default: name
  node_domain:
    description:
      - The domain to append to a node's name with O(node_address=name).
    type: str
  node_port_host:
    description:
      - One host behind which the ports of all nodes are found, such as a load balancer. Takes the place of the nodes.
    type: str
  secondary_dns_domain:
    description:
      - The domain under which KubeSecondaryDNS serves names. By default the base domain of an OpenShift cluster; other
        clusters have none.
    type: str
  windows_connection:
    description:
      - The connection for Windows guests, told by the guest agent, or else by the preference, the annotation
        C(vm.kubevirt.io/os) or the label C(os.template.kubevirt.io/*).
      - With V(ssh), C(ansible_shell_type) is V(cmd), the shell that Windows' own server starts.
      - With V(none), Windows guests are treated like all others.
    type: str
    choices:
      - winrm
      - psrp
      - ssh
      - none
    default: winrm
  group_by:
    description:
      - Of what to make groups. Each is named after its kind and value, for example C(namespace_prod),
        C(status_running), C(node_worker_1), C(os_rhel) and C(instancetype_u1_medium).
      - What Ansible does not take in the name of a group becomes an underscore.
    type: list
    elements: str
    choices:
      - instancetype
      - kind
      - namespace
      - node
      - os
      - preference
      - run_strategy
      - status
    default:
      - namespace
      - node
      - status
      - os
      - instancetype
  group_prefix:
    description:
      - What to put before the name of every group of O(group_by), O(group_by_labels) and O(cluster_name).
    type: str
    default: ''
  cluster_name:
    description:
      - A name for the cluster. Its hosts get it as C(virtstack_cluster) and join the group C(cluster_<name>).
      - Without it there is neither.
    type: str
notes:
  - With O(cache=true) the host variables are cached, under a name that depends on the options and on the credentials.
    Another user's inventory is never read, nor one of other options. A directory in which others may write is not used.
  - A template in the value of an option sees extra variables and lookups only.
"""

EXAMPLES = r"""
# prod.virtstack.yml: all machines of two namespaces of the cluster that kubectl would talk to
plugin: virtstack.core.cluster
namespaces: [prod, stage]

---
# AWX: the credential's K8S_AUTH_HOST and K8S_AUTH_API_KEY say where, nothing else is needed
plugin: virtstack.core.cluster

---
# Running Linux machines of an application, by short names, on the network called lan, grouped by their role
plugin: virtstack.core.cluster
kubeconfig: "{{ lookup('env', 'HOME') }}/.kube/config"
label_selector: app=shop
filters:
  - virtstack_status == 'Running'
  - virtstack_os != 'windows'
hostnames:
  - virtstack_labels.hostname
  - virtstack_name
networks: [lan]
address_family: ipv4
compose:
  ansible_user: "'fedora' if virtstack_os == 'fedora' else 'cloud-user'"
groups:
  big: virtstack_vcpus | int >= 8
keyed_groups:
  - key: virtstack_labels.role
    prefix: role

---
# Machines behind Services: node ports of the node each one runs on, or its load balancer. Windows over PSRP
plugin: virtstack.core.cluster
address: [service, interface]
node_address: internal_ip
windows_connection: psrp
group_by: [namespace, os]
group_by_labels: [app, 'topology.kubernetes.io/*']

---
# By the names that KubeSecondaryDNS serves
plugin: virtstack.core.cluster
address: [secondary_dns]
networks: [lan]
secondary_dns_domain: vms.example.com
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.inventory.naming import Grouping
from ansible_collections.virtstack.core.plugins.module_utils.objects.addresses import Reach
from ansible_collections.virtstack.core.plugins.plugin_utils.machine_inventory import MachineInventory, Variables

_SELECTION = ("namespaces", "label_selector", "field_selector")
_REACH = (
    "address",
    "networks",
    "address_family",
    "service_types",
    "service_port",
    "node_address",
    "node_domain",
    "node_port_host",
    "secondary_dns_domain",
    "windows_connection",
)
_GROUPING = ("group_by", "group_by_labels", "group_prefix", "cluster_name")


class InventoryModule(MachineInventory):  # type: ignore[misc]
    """Hosts from the virtual machines of one cluster."""

    NAME = "virtstack.core.cluster"
    FILE_ENDINGS = ("virtstack.yml", "virtstack.yaml", "cluster.yml", "cluster.yaml")

    def gathered(self) -> tuple[list[Variables], bool]:
        # The client takes a while to import, which a cached inventory need not wait for.
        from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
        from ansible_collections.virtstack.core.plugins.module_utils.objects.gather import Selection, gather

        client = connect(self.options_named(CONNECTION_OPTIONS))
        selection = Selection(**self.options_named(_SELECTION))
        # What the user may not read is named in a warning; it will not be readable the next time either.
        return gather(client, selection, Reach(**self.options_named(_REACH)), self.display.warning), True

    def asked(self) -> Mapping[str, Any]:
        return self.options_named((*CONNECTION_OPTIONS, *_SELECTION, *_REACH))

    def credential_files(self) -> Iterable[str]:
        named = self.get_option("kubeconfig") or os.environ.get("KUBECONFIG") or "~/.kube/config"
        return [os.path.expanduser(part) for part in str(named).split(os.pathsep)]

    def grouping(self) -> Grouping:
        return Grouping(**self.options_named(_GROUPING))

    def populate(self, guests: list[Variables]) -> None:
        cluster = self.get_option("cluster_name")
        super().populate([guest | {"virtstack_cluster": cluster} for guest in guests] if cluster else guests)
