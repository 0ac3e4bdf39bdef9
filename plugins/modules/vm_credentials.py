#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_credentials
short_description: Give ssh keys and passwords to the guest of a virtual machine of a cluster
description:
  - Declares the ssh keys and the passwords that KubeVirt brings into a guest. They are kept in Secrets, which the
    machine names (C(accessCredentials)).
  - With O(method=agent) a running guest takes what changes in the Secrets, so that keys are rotated and revoked without
    a restart. It takes a minute or two until the change of a Secret reaches it.
  - The first time, when the machine does not name the Secret yet, a running guest has to be restarted, and
    RV(restart_required) says so.
  - Machines may share a Secret; it is changed for all of them then. Neither keys nor passwords are shown.
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
    description: The changes are sent as dry runs, so that the cluster says what it would accept.
  diff_mode:
    support: full
    description: Shows which Secrets the machine names, and that a Secret changes, never what is in it.
seealso:
  - module: virtstack.core.vm
  - module: virtstack.core.vm_guest_info
options:
  vm:
    description: Name of the machine.
    type: str
    required: true
  namespace:
    description: Namespace of the machine and of the Secrets.
    type: str
    required: true
  state:
    description:
      - V(present) - the guest gets what is declared. V(absent) - the machine names the Secrets no more.
      - B(What is in the guest already stays there with) V(absent). To revoke keys, declare O(ssh_keys) without them.
    type: str
    choices: [present, absent]
    default: present
  ssh_keys:
    description:
      - Public keys that may log in, each a line as in C(authorized_keys). A private key is refused.
      - They are the whole list of what was declared by this module; an empty list revokes all of it. Keys that others
        put into the Secret stay, unless O(exclusive=true).
    type: list
    elements: str
  users:
    description: With O(method=agent), the users of the guest to whom the keys are given. They have to exist there.
    type: list
    elements: str
  method:
    description:
      - How the keys come into the guest. V(agent) - by the guest agent, while it runs. On systems with SELinux, the
        agent needs the boolean C(virt_qemu_ga_manage_ssh).
      - V(no_cloud) and V(config_drive) - by cloud-init at the first boot, for which the machine needs a disk of that
        kind. Passwords always come by the agent.
    type: str
    choices: [agent, no_cloud, config_drive]
    default: agent
  passwords:
    description:
      - Passwords by user. The users have to exist in the guest. What is left out later is no longer declared; the guest
        keeps the password it has.
      - The passwords are hidden in all output.
    type: dict
  ssh_secret:
    description: Name of the Secret of the keys. Default is the machine's name with C(-ssh-keys).
    type: str
  password_secret:
    description: Name of the Secret of the passwords. Default is the machine's name with C(-passwords).
    type: str
  exclusive:
    description: Whether what others put into the Secrets is taken away.
    type: bool
    default: false
  delete_secrets:
    description: With O(state=absent), whether the Secrets are deleted as well. One that another machine uses is kept.
    type: bool
    default: false
  apply:
    description:
      - What is done about a change that a running guest gets only by a restart. V(next_boot) - it waits for the next
        start, and RV(restart_required) says so. V(live) - it is refused. V(restart) - the guest is restarted.
    type: str
    choices: [next_boot, live, restart]
    default: next_boot
  wait:
    description:
      - Whether to wait until KubeVirt says that the guest has its credentials. It says no more than that; whether the
        latest change of a Secret has come as well, only a login tells.
      - The wait ends at once, with the reason, when the guest refuses them. There is nothing to wait for without
        O(method=agent), or while a restart is required.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Operators may log in to the database server, from its next start on
  virtstack.core.vm_credentials:
    vm: db
    namespace: prod
    ssh_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQn1Jzl1zFmxVJ4x8mYw3VZ3z5j6iGk3XQ0m4yT1y2Q operator@example
    users: [cloud-user]

- name: And at once
  virtstack.core.vm_credentials:
    vm: db
    namespace: prod
    passwords:
      cloud-user: "{{ lookup('ansible.builtin.password', '/dev/null', length=20) }}"
    apply: restart
    wait: true

- name: Nobody may log in with those keys any more
  virtstack.core.vm_credentials:
    vm: db
    namespace: prod
    ssh_keys: []
    users: [cloud-user]

- name: The machine has no credentials of its own
  virtstack.core.vm_credentials:
    vm: db
    namespace: prod
    state: absent
    delete_secrets: true
"""

RETURN = r"""
vm:
  description: Name of the machine.
  returned: always
  type: str
namespace:
  description: Its namespace.
  returned: always
  type: str
ssh_secret:
  description: The Secret that holds the keys, null where none were declared.
  returned: always
  type: str
password_secret:
  description: The Secret that holds the passwords, null where none were declared.
  returned: always
  type: str
synchronized:
  description: Whether KubeVirt says that the running guest has its credentials. Null where it says nothing.
  returned: always
  type: bool
restart_required:
  description: Whether the guest has to be restarted to get what is declared.
  returned: always
  type: bool
restart_reasons:
  description: Why.
  returned: always
  type: list
  elements: str
restarted:
  description: Whether it was restarted, with O(apply=restart).
  returned: always
  type: bool
secrets_deleted:
  description: The Secrets that were deleted.
  returned: always
  type: list
  elements: str
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import (
    CONNECTION_OPTIONS,
    DECLARE_OPTIONS,
)
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_credentials import (
    METHODS,
    manage_credentials,
    secret_texts,
)
from ansible_collections.virtstack.core.plugins.module_utils.task import WAIT_OPTIONS, ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        **DECLARE_OPTIONS,
        **WAIT_OPTIONS,
        "vm": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "ssh_keys": {"type": "list", "elements": "str", "no_log": False},
        "users": {"type": "list", "elements": "str"},
        "method": {"type": "str", "choices": list(METHODS), "default": "agent"},
        # Not no_log, which would hide every user's name as well; secret_texts hides what is secret.
        "passwords": {"type": "dict", "no_log": False},
        "ssh_secret": {"type": "str", "no_log": False},
        "password_secret": {"type": "str", "no_log": False},
        "exclusive": {"type": "bool", "default": False},
        "delete_secrets": {"type": "bool", "default": False},
        "apply": {"type": "str", "choices": ["next_boot", "live", "restart"], "default": "next_boot"},
    },
    secrets=secret_texts,
)


def run(task: Task) -> Result:
    return manage_credentials(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
