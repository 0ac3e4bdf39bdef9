# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kvm_agent
short_description: Into a virtual machine of a KVM host through its guest agent
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
description:
  - Runs commands in a virtual machine, and moves files, through libvirt and the QEMU guest agent. The guest needs no
    network, no ssh server and no login.
  - The machine needs the channel C(org.qemu.guest_agent.0) and a running C(qemu-guest-agent) that may use C(guest-exec)
    and C(guest-file-*). The agents of the Red Hat family forbid them by default; the error says where to allow them.
  - Commands run as the agent's own user, mostly root, in its home directory, by C(/bin/sh). With C(become), they run as
    anybody else whom root can become without a password.
  - A machine that is off, that has no agent, or whose agent does not answer is unreachable, with what to do about it.
  - Guests without a POSIX shell, such as Windows, are refused; use C(winrm), C(psrp) or C(ssh) for them.
options:
  uri:
    description:
      - The libvirt of the KVM host, as a libvirt URI. It is opened on the controller.
      - The inventory P(virtstack.core.kvm#inventory) sets the variable.
    type: str
    default: qemu:///system
    env:
      - name: LIBVIRT_DEFAULT_URI
    vars:
      - name: virtstack_uri
  name:
    description:
      - Name of the virtual machine.
      - The inventory P(virtstack.core.kvm#inventory) sets the variable. Without it, it is the name of the host.
    type: str
    vars:
      - name: inventory_hostname
      - name: virtstack_name
  agent_timeout:
    description:
      - Seconds that the agent has for each of its answers, which is not the time that a command takes.
    type: int
    default: 30
    env:
      - name: VIRTSTACK_AGENT_TIMEOUT
    vars:
      - name: virtstack_agent_timeout
  command_timeout:
    description:
      - Seconds that a command may take. Then it is killed with all that it started, and the task fails.
      - With V(0) there is no limit. The keyword C(timeout) of a task kills its command, too.
    type: int
    default: 0
    env:
      - name: VIRTSTACK_COMMAND_TIMEOUT
    vars:
      - name: virtstack_command_timeout
  pipelining:
    description:
      - Whether a module goes to the interpreter's input, instead of into a file first, which takes more round trips.
    type: bool
    default: true
    vars:
      - name: ansible_pipelining
  remote_user:
    description:
      - The user as whom the agent runs. Another value does not change it, but tells Ansible when it is not root.
    type: str
    default: root
    vars:
      - name: virtstack_agent_user
notes:
  - Other connections' variables, such as C(ansible_host) and C(ansible_user), have no meaning here.
  - Libvirt marks a domain as tainted (C(custom-ga-command)) when commands are sent to its agent. That is a note in
    libvirt's log and changes nothing.
  - What a command prints is kept in the guest's memory (C(/dev/shm), C(/run), else C(/tmp)) while it runs, since
    libvirt gives an agent up that answers with more than 10 MiB at once.
  - Files go in pieces of 120 KiB, and come in pieces of 1 MiB.
requirements:
  - libvirt-python (C(python3-libvirt)), at least 9.0, on the controller
"""

EXAMPLES = r"""
# All machines of the inventory virtstack.core.kvm, in group_vars/all.yml
ansible_connection: virtstack.core.kvm_agent

---
# A machine that stands in no such inventory, in host_vars/web.yml
ansible_connection: virtstack.core.kvm_agent
virtstack_uri: qemu+ssh://root@kvm1.example.com/system
virtstack_name: web01
"""

import os
import shlex
from collections.abc import Iterator
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent import (
    WRITE_CHUNK,
    Agent,
    AgentRefused,
    Blocked,
    NoAgent,
)
from ansible_collections.virtstack.core.plugins.module_utils.kvm.agent_exec import Executed, execute
from ansible_collections.virtstack.core.plugins.module_utils.kvm.connection import Host, connect
from ansible_collections.virtstack.core.plugins.module_utils.kvm.errors import NotReached
from ansible_collections.virtstack.core.plugins.module_utils.task import Failure

_display = Display()
# A file is made before the agent opens it, which would let everybody write into it.
_MAKE = "umask 077; : >>{path}"


class Connection(ConnectionBase):  # type: ignore[misc]
    """A guest behind its agent."""

    transport = "virtstack.core.kvm_agent"
    has_pipelining = True
    has_tty = False
    default_user = "root"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host: Host | None = None
        self._agent: Agent | None = None

    def _connect(self) -> Connection:
        if self._agent is None:
            uri, name = self.get_option("uri"), self.get_option("name")
            self._display_of(f"ASK THE GUEST AGENT OF {name} AT {uri}")
            try:
                self._host = connect({"uri": uri})
                domain = self._host.domain(name)
            except Failure as failure:
                self.close()
                raise AnsibleConnectionFailure(failure.message) from None
            if domain is None:
                self.close()
                raise AnsibleConnectionFailure(
                    f"There is no virtual machine {name} at {uri}. Set virtstack_name and virtstack_uri for this host,"
                    " or take them from the inventory virtstack.core.kvm."
                )
            self._agent = Agent(domain, self.get_option("agent_timeout"))
            self._connected = True
        return self

    def close(self) -> None:
        self._agent = None
        if self._host is not None:
            self._host.close()
            self._host = None
        self._connected = False

    def reset(self) -> None:
        self.close()
        self._connect()

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a shell's command line; its exit code, and what it printed."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        self._display_of(f"EXEC {to_text(cmd)}")
        seconds = self.get_option("command_timeout")
        ended = self._executed(to_text(cmd, errors="surrogate_or_strict"), in_data, seconds or None)
        if sudoable and ended.returncode:
            self._refuse_a_prompt(ended)
        return ended.returncode, ended.stdout, ended.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file into the guest; one that is new there is for the agent's user only."""
        super().put_file(in_path, out_path)
        self._display_of(f"PUT {in_path} TO {out_path}")
        source = to_bytes(in_path, errors="surrogate_or_strict")
        if not os.path.isfile(source):
            raise AnsibleFileNotFound(f"There is no file {to_text(in_path)} to copy into the guest.")
        place = to_text(out_path, errors="surrogate_or_strict")
        made = self._executed(_MAKE.format(path=shlex.quote(place)), None, self.get_option("agent_timeout"))
        if made.returncode:
            raise AnsibleError(f"Cannot write {place} in the guest: {to_text(made.stderr).strip()}")
        try:
            self._known().write(place, _pieces(source))
        except Failure as failure:
            raise self._failed(failure) from None

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out of the guest."""
        super().fetch_file(in_path, out_path)
        self._display_of(f"FETCH {in_path} TO {out_path}")
        place = to_text(in_path, errors="surrogate_or_strict")
        try:
            with open(to_bytes(out_path, errors="surrogate_or_strict"), "wb") as target:
                for piece in self._known().read(place):
                    target.write(piece)
        except Failure as failure:
            raise self._failed(failure) from None

    def _known(self) -> Agent:
        self._connect()
        if self._agent is None:
            raise AnsibleConnectionFailure("The connection to the guest agent was closed.")
        return self._agent

    def _executed(self, command: str, stdin: bytes | None, timeout: float | None) -> Executed:
        agent = self._known()
        try:
            return execute(agent, command, stdin, timeout)
        except Blocked as failure:
            raise AnsibleConnectionFailure(failure.message) from None
        except AgentRefused as failure:
            raise AnsibleConnectionFailure(_without_a_shell(agent) or failure.message) from None
        except Failure as failure:
            raise self._failed(failure) from None

    def _failed(self, failure: Failure) -> AnsibleError:
        gone = isinstance(failure, (NoAgent, NotReached))
        return AnsibleConnectionFailure(failure.message) if gone else AnsibleError(failure.message)

    def _refuse_a_prompt(self, ended: Executed) -> None:
        """What a command's own words do not say: that become asked for a password, which nobody can type here."""
        if self.become is None or not self.become.expect_prompt():
            return
        if self.become.check_password_prompt(ended.stderr) or self.become.check_password_prompt(ended.stdout):
            raise AnsibleError(
                f"{self.become.name} asks for a password in the guest, which the guest agent cannot answer. Let the"
                " agent run as root, who needs none, or allow its user without one."
            )

    def _display_of(self, text: str) -> None:
        _display.vvv(text, host=self._play_context.remote_addr)


def _without_a_shell(agent: Agent) -> str | None:
    """Why a shell could not be run, where that is because the guest has none."""
    try:
        system = agent.command("guest-get-osinfo").get("id")
    except Failure:
        return None
    if system == "mswindows":
        return (
            f"The guest {agent.name} is a Windows, where this connection cannot run commands. Set ansible_connection to"
            " winrm, psrp or ssh for it."
        )
    return None


def _pieces(path: bytes) -> Iterator[bytes]:
    with open(path, "rb") as source:
        while piece := source.read(WRITE_CHUNK):
            yield piece
