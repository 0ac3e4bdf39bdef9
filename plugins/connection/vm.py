# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm
short_description: SSH into a virtual machine through the API server of its cluster
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
description:
  - Runs commands and copies files in a guest over SSH. The connection goes through the API server's port forwarding, as
    C(virtctl ssh) does, so that no route to the guest, no Service and no C(virtctl) is needed.
  - Everything else is ansible-core's own P(ansible.builtin.ssh#connection), with all its options - keys, users,
    pipelining, kept connections.
  - With the hosts of P(virtstack.core.cluster#inventory), C(ansible_connection=virtstack.core.vm) is all it takes.
  - The user needs the right to C(get) C(virtualmachineinstances/portforward) of C(subresources.kubevirt.io).
extends_documentation_fragment:
  - virtstack.core.ssh
  - ansible.builtin.connection_pipelining
options:
  vm_name:
    description: Name of the machine.
    type: str
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: virtstack_name
  vm_namespace:
    description: Its namespace. Without it, or where it is wrong, the connection fails and says so.
    type: str
    vars:
      - name: virtstack_namespace
  vm_uid:
    description:
      - UID of the machine. A machine that is made anew under the same name has another one, so that its new host key is
        no surprise.
    type: str
    vars:
      - name: virtstack_uid
  vm_host_keys:
    description:
      - How the guest's host key is treated. V(accept_new) stores the key of a guest that is new, and refuses one that
        has changed. V(strict) refuses both. V(ignore) looks at none.
      - Keys are stored under the machine's name in the user's C(known_hosts), never under an address. With it goes its
        O(vm_uid), or else what tells its cluster from others, so that machines of two clusters never meet.
    type: str
    choices: [accept_new, strict, ignore]
    default: accept_new
    env: [{name: VIRTSTACK_VM_HOST_KEYS}]
    vars:
      - name: virtstack_vm_host_keys
  vm_kubeconfig:
    description: As O(virtstack.core.cluster#inventory:kubeconfig).
    type: raw
    env: [{name: K8S_AUTH_KUBECONFIG}]
    vars:
      - name: virtstack_kubeconfig
  vm_context:
    description: As O(virtstack.core.cluster#inventory:context).
    type: str
    env: [{name: K8S_AUTH_CONTEXT}]
    vars:
      - name: virtstack_context
  vm_api_host:
    description: URL of the API server, as O(virtstack.core.cluster#inventory:host).
    type: str
    env: [{name: K8S_AUTH_HOST}]
    vars:
      - name: virtstack_api_host
  vm_api_key:
    description: As O(virtstack.core.cluster#inventory:api_key).
    type: str
    env: [{name: K8S_AUTH_API_KEY}]
    vars:
      - name: virtstack_api_key
  vm_validate_certs:
    description: As O(virtstack.core.cluster#inventory:validate_certs).
    type: bool
    env: [{name: K8S_AUTH_VERIFY_SSL}]
    vars:
      - name: virtstack_validate_certs
  vm_ca_cert:
    description: As O(virtstack.core.cluster#inventory:ca_cert).
    type: path
    env: [{name: K8S_AUTH_SSL_CA_CERT}]
    vars:
      - name: virtstack_ca_cert
notes:
  - The other environment variables that the modules read, such as E(K8S_AUTH_PROXY), count as well.
  - O(host) names the machine in messages and in C(known_hosts); it is not resolved.
"""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.ssh import Connection as SshConnection
from ansible_collections.virtstack.core.plugins.plugin_utils import which_cluster

# The command that forwards. Imported here, its client would be loaded anew for every task.
_FORWARD = "ansible_collections.virtstack.core.plugins.plugin_utils.port_forward"

# The options of this plugin and of the modules that say which cluster is meant.
_CLUSTER = {
    "vm_kubeconfig": "kubeconfig",
    "vm_context": "context",
    "vm_api_host": "host",
    "vm_api_key": "api_key",
    "vm_validate_certs": "validate_certs",
    "vm_ca_cert": "ca_cert",
}
# What ssh says of it, in any case.
_OTHER_KEY = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_STRICTNESS = {"accept_new": "accept-new", "strict": "yes", "ignore": "no"}


class Connection(SshConnection):  # type: ignore[misc]  # ansible-core has no type hints
    """ssh, whose transport is a command that forwards to the guest's port through the API server."""

    transport = "virtstack.core.vm"

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        """Take the options, and make of them what ssh needs to get to the guest."""
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)
        name, namespace = self.get_option("vm_name"), self.get_option("vm_namespace")
        if not namespace:
            raise AnsibleConnectionFailure(
                f"Which machine is {name}? Set virtstack_namespace (and virtstack_name), as the inventory"
                " virtstack.core.cluster does."
            )
        cluster = {option: self.get_option(ours) for ours, option in _CLUSTER.items()}
        # With kept connections ssh throws away what its transport says, so that it says it in a file.
        self._complaint = Path(constants.DEFAULT_LOCAL_TMP) / f"{name}.{namespace}.{os.getpid()}.complaint"
        wish = {
            "complaint": str(self._complaint),
            "name": name,
            "namespace": namespace,
            "port": int(self.get_option("port") or 22),
            "cluster": cluster,
        }
        # The environment, and not the command line, which everybody on this machine may read.
        text = json.dumps(wish, sort_keys=True)
        variable = f"VIRTSTACK_FORWARD_{_digest(text, 16)}"
        os.environ[variable] = text
        server = which_cluster.server(cluster)
        # What the user is asked to remove when the machine has another key.
        self._alias = f"{name}.{namespace}.{self.get_option('vm_uid') or _digest(server)}.vm"
        options = [f"ProxyCommand={_command(variable)}", f"HostKeyAlias={self._alias}"]
        options.append(f"StrictHostKeyChecking={_STRICTNESS[self.get_option('vm_host_keys')]}")
        # A guest that is switched off says no goodbye; a kept connection to it would hang.
        options += ["ServerAliveInterval=10", "ServerAliveCountMax=3"]
        if self.get_option("vm_host_keys") == "ignore":
            options.append("UserKnownHostsFile=/dev/null")
        given = self.get_option("ssh_common_args") or ""
        self.set_option("ssh_common_args", " ".join([given, *(f"-o {shlex.quote(item)}" for item in options)]).strip())
        # Kept connections are told apart by host, port and user: the name has to say which cluster's machine it is.
        which = _digest(f"{server}{cluster}{self.get_option('vm_uid')}")
        self.set_option("host", f"{name}.{namespace}.{which}.vm")

    def exec_command(self, *arguments: Any, **options: Any) -> Any:
        """Run a command, as ssh does."""
        with self._explained():
            return super().exec_command(*arguments, **options)

    def put_file(self, in_path: str, out_path: str) -> Any:
        """Copy a file to the guest, as ssh does."""
        with self._explained():
            return super().put_file(in_path, out_path)

    def fetch_file(self, in_path: str, out_path: str) -> Any:
        """Copy a file from the guest, as ssh does."""
        with self._explained():
            return super().fetch_file(in_path, out_path)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say why there is no connection, where the transport knows more than ssh does."""
        try:
            yield
        except AnsibleConnectionFailure as failure:
            if self._complaint.is_file():
                why = self._complaint.read_text().strip()
                self._complaint.unlink()
            elif _OTHER_KEY in failure.message:
                why = self._other_key(failure.message)
            else:
                raise
            raise AnsibleConnectionFailure(why) from None

    def _other_key(self, said: str) -> str:
        name, namespace = self.get_option("vm_name"), self.get_option("vm_namespace")
        file = next(iter(re.findall(r"Add correct host key in (\S+)", said)), None)
        at = f" -f {file}" if file else ""
        return (
            f"The machine {namespace}/{name} has another host key than before. If its system was installed anew, forget"
            f" the old one: ssh-keygen -R {self._alias}{at}. If it makes itself a new one at every boot, set"
            " virtstack_vm_host_keys: ignore. Otherwise find out who answers in its place."
        )


def _digest(text: str, length: int = 8) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _command(variable: str) -> str:
    """The command that ssh runs in place of a network connection; a percent sign means something to ssh."""
    # The first holds ansible_collections.
    path = os.pathsep.join(dict.fromkeys([str(Path(__file__).absolute().parents[5]), *sys.path]))
    words = ["env", f"PYTHONPATH={path}", sys.executable, "-m", _FORWARD, variable]
    return " ".join(shlex.quote(word) for word in words).replace("%", "%%")
