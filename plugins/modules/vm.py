#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm
short_description: Declare virtual machines on a cluster
description:
  - Makes sure that virtual machines (KubeVirt's C(VirtualMachine)) exist as declared, or that they are gone.
  - Typed options cover what is written daily; O(definition) takes any part of the object as the API has it, and both
    are merged. What both declare must be the same, else the task fails and names the field.
  - What is not declared is left alone, also where an earlier task declared it. A label edit never starts, stops or
    rewrites a machine, and no defaults are written into a machine that exists. Disks and interfaces that a task does
    not list stay.
  - Of a dictionary that is given, such as O(labels), O(node_selector) or O(cpu), entries that this collection set
    before and that are now left out go. To take the whole of one away, give an empty dictionary, or a null in
    O(definition).
  - Each disk that is made (from O(disks[].boot_source), O(disks[].blank), O(disks[].http), O(disks[].registry),
    O(disks[].clone_pvc) or O(disks[].clone_snapshot)) is a C(DataVolume) named C(<machine>-<disk>). One of that name
    that exists already is adopted by KubeVirt, with what is on it.
  - A claim (O(disks[].pvc), O(disks[].data_volume), or one that would be adopted) that is the disk of another machine
    is refused where both would run, whatever its access modes are, since two guests that write to one disk destroy what
    is on it - unless the disk is O(disks[].shareable), O(disks[].readonly) or a CD-ROM, or in O(definition) a LUN with
    persistent reservation or a file system. Where one of the two does not run, the task warns. It is looked at when a
    machine gets the claim, and when it is declared to run.
  - Mistakes in the description are all named at once, before anything is changed.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
  - virtstack.core.declare
  - virtstack.core.wait
  - virtstack.core.machine
attributes:
  check_mode:
    support: full
    description:
      - The cluster itself, its admission webhooks included, says whether it would accept the change and what would
        become of it.
  diff_mode:
    support: full
    description: Shows the object before and after, without what the server alone writes and without user data.
seealso:
  - module: virtstack.core.vm_power
  - module: virtstack.core.vm_info
options:
  state:
    description:
      - Whether the machine is to exist.
      - V(absent) refuses while the guest runs, unless O(force=true), and keeps the disks, unless O(delete_disks=true).
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - Name of the machine, a DNS subdomain of lower-case letters, digits, V(-) and V(.), at most 253 long.
      - Required, here or in O(definition), unless O(vms) is given.
    type: str
  namespace:
    description:
      - Namespace of the machine. It must exist (see M(virtstack.core.namespace)).
      - Required, here or in O(definition).
    type: str
  vms:
    description:
      - Many machines at once, each a dictionary of the options that describe one - O(name), O(namespace), and those
        from O(cpu) to O(definition) that are not about the task. An option that an item leaves out is taken from the
        task; one that it has takes the task's place as a whole.
      - The machines are read with one request, compared in memory, and written several at a time. One that fails stops
        none of the others; the task fails at the end and names each of them.
    type: list
    elements: dict
  instancetype:
    description:
      - Instance type, which decides CPU and memory - its name, or a dictionary of C(name), C(kind)
        (V(VirtualMachineClusterInstancetype), the default, or V(VirtualMachineInstancetype)) and C(revision).
      - C(infer_from_volume) in place of C(name) takes what the boot source on that disk recommends;
        C(infer_failure_policy=Ignore) goes on without where it recommends nothing.
      - Together with O(cpu), O(memory) or O(hugepages) it is refused.
    type: raw
  preference:
    description:
      - Preference, which suits devices to a guest system - its name, or a dictionary as for O(instancetype), of kind
        V(VirtualMachineClusterPreference) or V(VirtualMachinePreference).
    type: raw
  run_strategy:
    description:
      - When the machine runs. V(Always) keeps it running, V(RerunOnFailure) restarts it only after a failure,
        V(Manual) and V(Halted) leave it to M(virtstack.core.vm_power), V(Once) runs it one time.
      - It is written only when declared. A new machine for which nothing is declared gets V(Always).
    type: str
    choices: [Always, RerunOnFailure, Manual, Halted, Once]
  labels:
    description: Labels of the machine. They never reach its guest. A null takes one away.
    type: dict
  annotations:
    description: Annotations of the machine. A null takes one away.
    type: dict
  pod_labels:
    description: Labels of the pods the machine runs in, which services and network policies select. From the next
      start.
    type: dict
  pod_annotations:
    description: Annotations of the pods the machine runs in. From the next start.
    type: dict
  node_selector:
    description: Labels a node must have.
    type: dict
  affinity:
    description: Affinity to nodes and to pods, as the API has it.
    type: dict
  tolerations:
    description: Taints the machine tolerates, as the API has them. The list declared is the whole list.
    type: list
    elements: dict
  topology_spread_constraints:
    description: How machines are spread over zones or nodes, as the API has it. The list declared is the whole list.
    type: list
    elements: dict
  priority_class:
    description: Name of the priority class.
    type: str
  scheduler:
    description: Name of the scheduler. Default is the cluster's own.
    type: str
  eviction_strategy:
    description: What happens when the node is drained. Default is the cluster's.
    type: str
    choices: [LiveMigrate, LiveMigrateIfPossible, "None", External]
  termination_grace_period:
    description: Seconds a guest has to shut down before it is switched off, 0 or more.
    type: int
  readiness_probe:
    description:
      - When the guest counts as ready, as the API has it, for example C(guestAgentPing), C(httpGet) or C(tcpSocket).
    type: dict
  liveness_probe:
    description: When the guest counts as dead and is started anew, as the API has it.
    type: dict
  subdomain:
    description: Subdomain under which the host name is found in the cluster's DNS.
    type: str
  architecture:
    description: CPU architecture. A new machine gets the cluster's.
    type: str
    choices: [amd64, arm64, s390x]
  definition:
    description:
      - Any part of the object as the API has it, merged with the typed options. Of lists whose items have a name, items
        of the same name are merged.
      - V(kubevirt.io/v1alpha3) is accepted and written as V(kubevirt.io/v1). A field that does not exist is refused by
        the cluster, with its path.
    type: dict
  replace_lists:
    description:
      - Whether O(disks), O(interfaces) and what belongs to them are the whole lists, so that what is not listed goes.
        The volumes behind disks that go are kept. What is listed keeps what the task does not say of it.
      - The disk of O(cloud_init) is one of the disks; it goes where neither O(cloud_init) nor O(ssh_keys) is given.
    type: bool
    default: false
  apply:
    description:
      - What to do about a running guest when a change reaches it only by a restart. V(next_boot) writes the change and
        says so in RV(restart_required). V(restart) restarts it. V(live) fails before anything is written.
    type: str
    choices: [next_boot, live, restart]
    default: next_boot
  delete_disks:
    description:
      - With O(state=absent), whether the DataVolumes that were made for the machine are deleted with it, B(and their
        data with them). Volumes that exist apart from the machine are never deleted.
      - By default they are kept, and so is the state of TPM and EFI. RV(disks_kept) and RV(disks_deleted) name them.
    type: bool
    default: false
  force:
    description: With O(state=absent), whether a machine whose guest runs is shut down and deleted.
    type: bool
    default: false
  allow_platform_namespace:
    description:
      - Whether a new machine may be put into a namespace of the platform, that is C(openshift), C(openshift-*) or
        C(kube-*).
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the machine is as far as its run strategy takes it - V(Always), and at creation
        V(RerunOnFailure) and V(Once), until its guest runs and is ready; V(Halted), and at creation V(Manual), until it
        is stopped and its volumes are filled. With O(state=absent), until it is gone.
      - The wait ends at once, with the reason, when that cannot come any more - a failed import, a pod that fits no
        node (for a while, see O(wait_timeout)), a claim or an instance type that is not there, an image that cannot be
        pulled, a clone whose source is missing (for a while, too). CDI makes such a clone when its source comes, and
        the next run finds it there.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A network for the database server
  virtstack.core.network_attachment:
    name: vlan93
    namespace: prod
    type: bridge
    bridge: br1
    vlan: 93

- name: A database server with a system disk from a boot source and an empty data disk
  virtstack.core.vm:
    name: db
    namespace: prod
    instancetype: u1.medium
    preference: rhel.9
    disks:
      - {name: root, boot_source: rhel9, size: 30Gi}
      - {name: data, blank: true, size: 100Gi}
    interfaces:
      - {name: default, network: pod}
      - {name: lan, network: vlan93}
    ssh_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH3xq2x3kJ8Ue0xF0JcN0uVt2o9v9b4s3l2yV0o1nXyZ admin@example.com
    run_strategy: Always
    wait: true

- name: The same server with a larger data disk; the volume is expanded
  virtstack.core.vm:
    name: db
    namespace: prod
    instancetype: u1.medium
    preference: rhel.9
    disks:
      - {name: data, blank: true, size: 200Gi}

- name: A field that no option covers
  virtstack.core.vm:
    name: db
    namespace: prod
    instancetype: u1.medium
    preference: rhel.9
    definition:
      spec:
        template:
          spec:
            domain:
              devices:
                watchdog: {name: watchdog, i6300esb: {action: poweroff}}
  register: db

- name: Whether it takes a restart
  ansible.builtin.debug:
    msg: "{{ db.restart_reasons }}"

- name: A machine without an instance type, imported from a URL, its network set up by cloud-init
  virtstack.core.vm:
    name: edge
    namespace: prod
    cpu: {cores: 2}
    memory: 4Gi
    firmware: {mode: efi, secure_boot: true, tpm: true}
    disks:
      - name: root
        http: https://images.example.com/fedora.qcow2
        size: 20Gi
    cloud_init:
      user_config:
        packages: [nginx]
      network_config:
        version: 2
        ethernets:
          enp1s0: {addresses: [192.0.2.10/24]}
    run_strategy: Halted

- name: Three web servers, the last one larger
  virtstack.core.vm:
    namespace: prod
    instancetype: u1.small
    preference: fedora
    labels: {app: web}
    disks:
      - {name: root, boot_source: fedora, size: 30Gi}
    vms:
      - name: web1
      - name: web2
      - name: web3
        instancetype: u1.large

- name: The edge machine is gone, its disk is kept
  virtstack.core.vm:
    name: edge
    namespace: prod
    state: absent
    wait: true

- name: The web servers are gone with their disks, also those that run
  virtstack.core.vm:
    namespace: prod
    state: absent
    force: true
    delete_disks: true
    vms: [{name: web1}, {name: web2}, {name: web3}]
"""

RETURN = r"""
name:
  description: Name of the machine.
  returned: when O(vms) is not given
  type: str
namespace:
  description: Its namespace.
  returned: when O(vms) is not given
  type: str
action:
  description: What was done, or would be in check mode - V(created), V(updated), V(deleted) or V(unchanged).
  returned: when O(vms) is not given
  type: str
vm:
  description: The machine as the cluster has it, without what it keeps about field managers and without user data.
  returned: with O(state=present), when O(vms) is not given
  type: dict
restart_required:
  description: Whether the running guest has to be restarted to become what its machine says.
  returned: with O(state=present), when O(vms) is not given
  type: bool
restart_reasons:
  description: Why, as changed fields and in KubeVirt's words.
  returned: with O(state=present), when O(vms) is not given
  type: list
  elements: str
restarted:
  description: Whether the guest was restarted, which only O(apply=restart) does.
  returned: with O(state=present), when O(vms) is not given
  type: bool
expanded:
  description: Names of the claims that were expanded, and their new size.
  returned: with O(state=present), when O(vms) is not given
  type: dict
disks_kept:
  description: Names of the volumes that outlive the machine.
  returned: with O(state=absent), when O(vms) is not given
  type: list
  elements: str
disks_deleted:
  description: Names of the volumes that are deleted with the machine.
  returned: with O(state=absent), when O(vms) is not given
  type: list
  elements: str
vms:
  description:
    - The results of all machines in the order of O(vms), each with C(name), C(namespace), C(changed) and the values
      above but RV(vm). One that failed has C(failed) and C(msg).
  returned: when O(vms) is given
  type: list
  elements: dict
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_options import VM_OPTIONS, seeds
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_task import declare_vms
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "name": {"type": "str"},
        "namespace": {"type": "str"},
        "vms": {"type": "list", "elements": "dict"},
        **VM_OPTIONS,
        "replace_lists": {"type": "bool", "default": False},
        "apply": {"type": "str", "choices": ["next_boot", "live", "restart"], "default": "next_boot"},
        "delete_disks": {"type": "bool", "default": False},
        "force": {"type": "bool", "default": False},
        "allow_platform_namespace": {"type": "bool", "default": False},
    },
    mutually_exclusive=[("name", "vms")],
    required_one_of=[("name", "vms", "definition")],
    secrets=seeds,
)


def run(task: Task) -> Result:
    return declare_vms(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
