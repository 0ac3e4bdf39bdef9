# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access credentials: ssh keys and passwords that come to a guest through Secrets, by its agent or by cloud-init.

Source: https://kubevirt.io/user-guide/user_workloads/accessing_virtual_machines/
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import declare
from ..cluster.errors import ClusterError
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from ..cluster.wait import wait
from ..machine.cloud_init import read_ssh_keys
from ..machine.description import Machine
from ..machine.names import machine_name
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .kubevirt import SPEC, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, conditions, holds, label
from .kubevirt_options import Declaration
from .kubevirt_power import is_live
from .kubevirt_present import Policy, present

SECRET = Resource("", "v1", "secrets", "Secret", secrets=("data.*", "stringData.*"))
# The entry of a Secret that holds the keys that a task declares; others in it are left alone.
ENTRY = "virtstack"
CREDENTIALS = f"{SPEC}.accessCredentials"
CONDITION = "AccessCredentialsSynchronized"
METHODS: Mapping[str, str] = {"agent": "qemuGuestAgent", "no_cloud": "noCloud", "config_drive": "configDrive"}
_KINDS = {"ssh": "sshPublicKey", "password": "userPassword"}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ssh_data(keys: list[str], live: Object | None, exclusive: bool) -> Object:
    """The data of a Secret with these public keys; with C(exclusive) what others put there is taken away."""
    others = {name: None for name in at(live, "data") or {} if name != ENTRY} if exclusive else {}
    return {**others, ENTRY: encoded("".join(f"{key}\n" for key in keys))}


def password_data(passwords: Mapping[str, Any], live: Object | None, exclusive: bool) -> Object:
    """The data of a Secret with the passwords of these users."""
    others = {name: None for name in at(live, "data") or {} if name not in passwords} if exclusive else {}
    return {**others, **{str(user): encoded(str(password)) for user, password in passwords.items()}}


def credential(kind: str, secret: str, method: str, users: list[str]) -> Object:
    """An item of C(accessCredentials). C(kind) is ssh or password."""
    found: Object = {"qemuGuestAgent": {"users": list(users)}} if kind == "ssh" and method == "agent" else {}
    return {
        _KINDS[kind]: {
            "source": {"secret": {"secretName": secret}},
            "propagationMethod": found or {METHODS[method]: {}},
        }
    }


def secret_of(item: Mapping[str, Any], kind: str) -> str | None:
    """The Secret of an item of C(accessCredentials), if it is of this kind."""
    name = at(item, f"{_KINDS[kind]}.source.secret.secretName")
    return str(name) if name else None


def merged(live: list[Object], wanted: Mapping[tuple[str, str], Object | None]) -> list[Object]:
    """The live list with these items, told apart by kind and Secret; None takes one out."""
    left = dict(wanted)
    result = []
    for item in live:
        key = next(((kind, name) for kind in _KINDS if (name := secret_of(item, kind))), None)
        if key is None or key not in left:
            result.append(item)
            continue
        replacement = left.pop(key)
        if replacement is not None:
            result.append(replacement)
    return result + [item for item in left.values() if item is not None]


def synchronized(uid: str) -> Check:
    """Whether the guest of the instance with this UID has its credentials."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or instance["metadata"]["uid"] != uid:
            return Failed("its guest was stopped meanwhile")
        told = conditions(instance).get(CONDITION, {})
        if told.get("status") == "True":
            return Ready()
        if told.get("status") == "False":
            return Failed(f"the guest has not taken its credentials: {told.get('message') or 'no reason given'}")
        if not holds(instance, "AgentConnected"):
            return Progress("its guest agent is not connected yet")
        return Progress("its guest agent has not taken the credentials yet")

    return check


def secret_texts(params: Mapping[str, Any]) -> set[str]:
    """The passwords, which a dictionary without no_log does not hide."""
    return {str(password) for password in (params.get("passwords") or {}).values() if password}


def manage_credentials(client: Client, task: Task) -> Result:
    """Run a task of C(vm_credentials). Raises Failure."""
    params = task.params
    name, namespace = params["vm"], params["namespace"]
    try:
        job = _Job(client, task)
        keys = read_ssh_keys(params["ssh_keys"]) if params["ssh_keys"] is not None else None
        job.check(keys)
        vm = client.get(VIRTUAL_MACHINE, name, namespace)
        if vm is None:
            raise Failure(f"There is no VirtualMachine {namespace}/{name}. Check vm and namespace.")
        return job.absent(vm) if params["state"] == "absent" else job.present(vm, keys)
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


class _Job:
    """The credentials of one machine."""

    def __init__(self, client: Client, task: Task) -> None:
        self.client, self.task, self.params = client, task, task.params
        name = task.params["vm"]
        self.secrets = {
            "ssh": task.params["ssh_secret"] or f"{name}-ssh-keys",
            "password": task.params["password_secret"] or f"{name}-passwords",
        }
        self.result: Result = {
            "changed": False,
            "vm": name,
            "namespace": task.params["namespace"],
            "ssh_secret": None,
            "password_secret": None,
            "synchronized": None,
            "restart_required": False,
            "restart_reasons": [],
            "restarted": False,
            "secrets_deleted": [],
        }

    def check(self, keys: list[str] | None) -> None:
        """Refuse what cannot be, before anything is read or changed. Raises Failure and Refused."""
        params = self.params
        for secret in self.secrets.values():
            machine_name(secret, "secret")
        if self.secrets["ssh"] == self.secrets["password"]:
            raise Failure("ssh_secret and password_secret: keys and passwords need a Secret each.")
        if params["state"] == "absent":
            return
        if keys is None and params["passwords"] is None:
            raise Failure("ssh_keys or passwords: one of them is needed.")
        if keys is not None and params["method"] == "agent" and not params["users"]:
            raise Failure("users: is missing; name the users of the guest to whom the agent gives the keys.")
        if params["users"] and params["method"] != "agent":
            raise Failure(f"users: means nothing with method: {params['method']}; cloud-init knows its own user.")
        empty = [str(user) for user, password in (params["passwords"] or {}).items() if not password]
        if empty:
            raise Failure(f"passwords: {', '.join(empty)} would have an empty password.")

    def present(self, vm: Object, keys: list[str] | None) -> Result:
        """The guest gets these keys and passwords."""
        params = self.params
        wanted: dict[tuple[str, str], Object | None] = {}
        diffs = []
        written = False
        for kind, data in (("ssh", keys), ("password", params["passwords"])):
            if data is None:
                continue
            secret = self.secrets[kind]
            live = self.client.get(SECRET, secret, params["namespace"])
            make = ssh_data if kind == "ssh" else password_data
            body = {"metadata": {"name": secret, "namespace": params["namespace"]}}
            body["data"] = make(data, live, params["exclusive"])  # type: ignore[arg-type]
            outcome = declare(
                self.client,
                SECRET,
                {"apiVersion": SECRET.api_version, "kind": SECRET.kind, **body},
                live=live,
                check_mode=self.task.check_mode,
                force_conflicts=params["force_conflicts"],
            )
            written = written or outcome.changed
            diffs.append(outcome.diff())
            self.result[f"{kind}_secret"] = secret
            method = params["method"] if kind == "ssh" else "agent"
            wanted[kind, secret] = credential(kind, secret, method, params["users"] or [])
        self.result["changed"] = written
        diffs.append(self._write(vm, wanted))
        self._see_taken(vm, written, keys is not None)
        return self._done(diffs)

    def _write(self, vm: Object, wanted: Mapping[tuple[str, str], Object | None]) -> Object:
        """Bring the machine's list to what is wanted; its diff."""
        live = at(vm, CREDENTIALS) or []
        items = merged(live, wanted)
        if items == live:
            return {"before": {"accessCredentials": live}, "after": {"accessCredentials": live}}
        params = self.params
        policy = Policy(
            check_mode=self.task.check_mode,
            force_conflicts=params["force_conflicts"],
            apply=params["apply"],
            timeout=params["wait_timeout"] if params["wait"] else None,
            progress=self.task.progress,
        )
        definition = {"spec": {"template": {"spec": {"accessCredentials": items}}}}
        told, _after = present(
            self.client, Declaration(params["vm"], params["namespace"], Machine(), definition=definition), vm, policy
        )
        self.result.update({key: told[key] for key in ("restart_required", "restart_reasons", "restarted")})
        self.result["changed"] = self.result["changed"] or told["changed"]
        return {"before": {"accessCredentials": live}, "after": {"accessCredentials": items}}

    def _see_taken(self, vm: Object, written: bool, keys: bool) -> None:
        """Tell whether the running guest has what is declared, and wait for its agent if the task waits."""
        params = self.params
        instance = self.client.get(VIRTUAL_MACHINE_INSTANCE, params["vm"], params["namespace"])
        if instance is None or not is_live(instance):
            return
        if keys and params["method"] != "agent":
            if written and not self.result["restarted"]:
                why = "cloud-init reads the keys when the guest boots for the first time"
                reasons = list(dict.fromkeys([*self.result["restart_reasons"], why]))
                self.result.update(restart_required=True, restart_reasons=reasons)
            if params["passwords"] is None:
                return
        if params["wait"] and not self.task.check_mode and not self.result["restart_required"]:
            deadline = time.monotonic() + params["wait_timeout"]
            try:
                instance = wait(
                    self.client,
                    VIRTUAL_MACHINE_INSTANCE,
                    params["vm"],
                    params["namespace"],
                    synchronized(instance["metadata"]["uid"]),
                    timeout=max(0.0, deadline - time.monotonic()),
                    progress=self.task.progress,
                )
            except ClusterError as error:
                raise Failure(error.message, **self.result) from error
        told = conditions(instance).get(CONDITION, {}).get("status")
        self.result["synchronized"] = None if told is None else told == "True"

    def absent(self, vm: Object) -> Result:
        """The machine names these Secrets no more. What is in the guest stays there."""
        wanted: dict[tuple[str, str], Object | None] = dict.fromkeys(self.secrets.items())
        there = {(kind, secret_of(item, kind)) for item in at(vm, CREDENTIALS) or () for kind in _KINDS}
        wanted = {key: None for key in wanted if key in there}
        diffs = [self._write(vm, wanted)]
        if self.params["delete_secrets"]:
            self._delete_secrets(vm)
        return self._done(diffs)

    def _delete_secrets(self, vm: Object) -> None:
        """Delete the Secrets that no other machine uses."""
        namespace = self.params["namespace"]
        for secret in self.secrets.values():
            live = self.client.get(SECRET, secret, namespace)
            if live is None:
                continue
            users = [
                label(other)
                for other in self.client.list(VIRTUAL_MACHINE, namespace).items
                if other["metadata"]["name"] != vm["metadata"]["name"]
                and any(secret_of(item, kind) == secret for item in at(other, CREDENTIALS) or () for kind in _KINDS)
            ]
            if users:
                self.task.warn(f"The Secret {secret} is kept: {', '.join(sorted(users))} uses it as well.")
                continue
            uid = live["metadata"]["uid"]
            self.client.delete(SECRET, secret, namespace, dry_run=self.task.check_mode, uid=uid)
            self.result["secrets_deleted"].append(secret)
            self.result["changed"] = True

    def _done(self, diffs: list[Object]) -> Result:
        if self.task.diff:
            self.result["diff"] = [item for item in diffs if item["before"] != item["after"]]
        return self.result
