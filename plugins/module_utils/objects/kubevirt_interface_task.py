# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_interface): one interface of a machine, plugged into its running guest or out of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.errors import ClusterError, Forbidden, NotServed
from ..cluster.resource import Object
from ..cluster.verdict import Check, Failed, Progress, Ready, Verdict
from ..cluster.wait import Related, wait
from ..machine.description import Machine
from ..machine.interfaces import Interface, read_interface
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from . import kubevirt_plug as plug
from .kubevirt import DEVICES, SPEC, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, by_name, label
from .kubevirt_migration_task import move
from .kubevirt_options import Declaration
from .kubevirt_power import machine_trouble
from .kubevirt_present import present
from .network import NETWORK_ATTACHMENT_DEFINITION
from .plugging import machine_of, policy_of

INTERFACE_OPTION_NAMES = ("network", "binding", "model", "mac", "boot_order", "ports", "link")


def manage_interface(client: Client, task: Task) -> Result:
    """Run a task of C(vm_interface). Raises Failure."""
    options = {option: task.params[option] for option in ("name", "state", *INTERFACE_OPTION_NAMES)}
    try:
        interface = read_interface(options)
        job = _Job(client, task, *machine_of(client, task.params), interface)
        return job.absent() if interface.absent else job.present()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


class _Job:
    """One interface of one machine."""

    def __init__(self, client: Client, task: Task, vm: Object, instance: Object | None, interface: Interface) -> None:
        self.client, self.task, self.vm, self.instance, self.interface = client, task, vm, instance, interface
        waits = task.params["wait"] and not task.check_mode
        self.deadline = time.monotonic() + task.params["wait_timeout"] if waits else None
        self.known = by_name(at(vm, f"{DEVICES}.interfaces")).get(interface.name)
        self.result: Result = {
            "changed": False,
            "action": "none",
            "vm": vm["metadata"]["name"],
            "namespace": vm["metadata"]["namespace"],
            "name": interface.name,
            "running": instance is not None,
            "mac": None,
            "addresses": [],
            "link": None,
            "migrated": False,
            "restart_required": False,
            "restart_reasons": [],
            "restarted": False,
        }
        self._before = self._shown()
        self._look(instance)

    def _shown(self) -> Object:
        networks = by_name(at(self.vm, f"{SPEC}.networks"))
        interfaces = by_name(at(self.vm, f"{DEVICES}.interfaces"))
        name = self.interface.name
        return {"interface": interfaces.get(name), "network": networks.get(name)}

    def _look(self, instance: Object | None) -> None:
        """Take from the instance what it tells of the interface."""
        shown = plug.shown_interface(instance, self.interface.name) or {}
        spec = by_name(at(instance, f"{plug.INSTANCE_DEVICES}.interfaces")).get(self.interface.name) or {}
        self.result.update(
            mac=shown.get("mac") or spec.get("macAddress") or (self.known or {}).get("macAddress"),
            addresses=list(shown.get("ipAddresses") or ()),
            link=shown.get("linkState"),
        )

    def _done(self) -> Result:
        declared = by_name(at(self.vm, f"{DEVICES}.interfaces")).get(self.interface.name) or {}
        self.result["mac"] = self.result["mac"] or declared.get("macAddress")
        if self.task.diff:
            self.result["diff"] = {"before": self._before, "after": self._shown()}
        return self.result

    # Present

    def present(self) -> Result:
        """The machine has the interface, and its guest as well if it runs."""
        name = self.interface.name
        if self.known is None and self.interface.network is None:
            raise Failure(f"interface {name}: has no network; set it to pod or to a network's name.")
        if (self.known or {}).get("state") == "absent":
            self._await_leaving()
        self._check_network()
        self._write(Machine(interfaces=(self.interface,)), {}, "attached" if self.known is None else "updated")
        if self.instance is None or self.result["restart_required"]:
            return self._done()
        if not self.task.check_mode and not self.result["restarted"]:
            self._see_in(name)
        if self.result["action"] == "attached":
            self.result["action"] = "plugged"
        return self._done()

    def _check_network(self) -> None:
        """Refuse a network that is not there: the guest would wait for it for ever."""
        network = self.interface.network
        if network is None or self.interface.on_pod_network:
            return
        place, _slash, name = network.rpartition("/")
        namespace = place or self.result["namespace"]
        try:
            found = self.client.get(NETWORK_ATTACHMENT_DEFINITION, name, namespace)
        except (Forbidden, NotServed):
            # Who may not look them up may still use them.
            return
        if found is None:
            raise Failure(
                f"There is no NetworkAttachmentDefinition {namespace}/{name}. Declare it with"
                " virtstack.core.network_attachment, or check network."
            )

    def _write(self, machine: Machine, definition: Mapping[str, Any], action: str) -> None:
        declaration = Declaration(self.result["vm"], self.result["namespace"], machine, definition=definition)
        told, after = present(self.client, declaration, self.vm, policy_of(self.task))
        for note in told["notes"]:
            self.task.warn(note)
        self.vm = after or self.vm
        self.result.update({key: told[key] for key in ("restart_required", "restart_reasons", "restarted")})
        if told["changed"]:
            self.result.update(changed=True, action=action)

    def _see_in(self, name: str) -> None:
        """Wait until the guest has the interface, by a migration if that is wanted."""
        if self.deadline is None or self.instance is None:
            return
        uid = self.instance["metadata"]["uid"]
        check = plug.connected(name, uid, self.interface.link)
        if not isinstance(check(self.client.get(VIRTUAL_MACHINE_INSTANCE, *self._place())), Ready):
            self._migrate(_taken_over(name, uid), check)
        self._look(self._wait(check))

    def _migrate(self, taken_over: Check, check: Check) -> None:
        """With C(migrate), move the guest: its new pod has the interfaces that its machine says."""
        if not self.task.params["migrate"]:
            return
        instance = self._wait(taken_over)
        if instance is None or isinstance(check(instance), Ready):
            return
        try:
            move(self.client, instance, timeout=self._remaining(), progress=self.task.progress)
        except Failure as failure:
            raise Failure(failure.message, **self.result) from failure
        self.result["migrated"] = True

    # Absent

    def absent(self) -> Result:
        """The machine has the interface no more, and neither has its guest."""
        name = self.interface.name
        shown = plug.shown_interface(self.instance, name)
        if self.known is None and shown is None:
            return self._done()
        if self.known is not None and self.known.get("state") != "absent":
            if shown is not None and self._unplugs():
                gone = {**self.known, "state": "absent"}
                spec = {"domain": {"devices": {"interfaces": [gone]}}}
                self._write(Machine(), {"spec": {"template": {"spec": spec}}}, "unplugged")
            else:
                self._write(Machine(interfaces=(self.interface,)), {}, "detached")
        if self.deadline is not None and not self.result["restart_required"] and shown is not None:
            self._await_leaving()
        return self._done()

    def _unplugs(self) -> bool:
        """Whether a running guest can let it go: KubeVirt takes the state for bridges beyond the pod network."""
        network = by_name(at(self.vm, f"{SPEC}.networks")).get(self.interface.name) or {}
        return "bridge" in (self.known or {}) and "multus" in network and not at(network, "multus.default")

    def _await_leaving(self) -> None:
        """Wait until an interface that goes has gone from guest, pod and machine."""
        name = self.interface.name
        if self.task.check_mode or self.deadline is None:
            if not self.interface.absent:
                raise Failure(
                    f"The interface {name} of {label(self.vm)} is being unplugged. Run this again when it is gone, or"
                    " with wait: true."
                )
            return
        check = plug.disconnected(name)
        if self.instance is not None:
            # The state has to have come to the instance before a migration helps.
            self._migrate(_leaving(name), check)
            self._wait(check)
        wait(
            self.client,
            VIRTUAL_MACHINE,
            *self._place(),
            _cleared(name),
            timeout=self._remaining(),
            progress=self.task.progress,
        )
        self.vm = self.client.get(VIRTUAL_MACHINE, *self._place()) or self.vm
        self.known = by_name(at(self.vm, f"{DEVICES}.interfaces")).get(name)
        self.result.update(addresses=[], link=None)

    def _place(self) -> tuple[str, str]:
        return self.result["vm"], self.result["namespace"]

    def _remaining(self) -> float:
        return max(0.0, (self.deadline or 0.0) - time.monotonic())

    def _wait(self, check: Check) -> Object | None:
        place = self._place()
        # A guest that has not started yet may never do.
        machine = Related(VIRTUAL_MACHINE, machine_trouble, place[1], place[0])
        try:
            return wait(
                self.client,
                VIRTUAL_MACHINE_INSTANCE,
                *place,
                check,
                timeout=self._remaining(),
                progress=self.task.progress,
                related=() if plug.is_up(self.instance) else (machine,),
            )
        except ClusterError as error:
            hint = (
                ""
                if self.task.params["migrate"] or "migrat" not in error.message
                else (" migrate: true migrates the guest at once.")
            )
            raise Failure(f"{error.message}{hint}", **self.result) from error


def _taken_over(name: str, uid: str) -> Check:
    """Whether the instance has the interface in its spec."""

    def check(instance: Object | None) -> Verdict:
        if instance is None or instance["metadata"]["uid"] != uid:
            return Failed("its guest was stopped meanwhile")
        if name in by_name(at(instance, f"{plug.INSTANCE_DEVICES}.interfaces")):
            return Ready()
        return Progress(f"{name} is not yet taken over by the instance")

    return check


def _leaving(name: str) -> Check:
    """Whether the guest has let the interface go, so that only its pod still has it."""

    def check(instance: Object | None) -> Verdict:
        shown = plug.shown_interface(instance, name)
        if shown is None or "domain" not in str(shown.get("infoSource") or ""):
            return Ready()
        return Progress(f"{name} is still in the guest")

    return check


def _cleared(name: str) -> Check:
    """Whether the machine's controller has taken an absent interface out of it."""

    def check(vm: Object | None) -> Verdict:
        found = by_name(at(vm, f"{DEVICES}.interfaces")).get(name)
        if found is None or found.get("state") != "absent":
            return Ready()
        return Progress(f"{name} is still in the machine")

    return check
