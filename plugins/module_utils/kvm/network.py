# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_network): a network of a KVM host, declared, changed under its guests, started and stopped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from ..known import known
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .connection import Host
from .errors import KvmError, asking
from .library import libvirt
from .network_faults import refuse_network, refuse_options, refuse_overlap
from .network_plan import Plan, Step, plan
from .network_xml import declared, mode_of, restored
from .xml import parse, same, shown, written


def declare_network(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_network)."""
    try:
        refuse_options(task.params["name"], task.params)
        return _Task(host, task).run()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


@dataclass(frozen=True)
class _Todo:
    """What is to be done, in this order; C(left) is what an active network cannot change in place."""

    defines: bool
    stops: bool
    steps: list[Step]
    starts: bool
    active: bool
    autostart: bool
    left: list[str]
    restart_required: bool

    @property
    def actions(self) -> list[str]:
        return [*(["stopped"] if self.stops else []), *map(str, self.steps), *(["started"] if self.starts else [])]


class _Task:
    """One run. The network is read first; what is to be done is known before anything is done."""

    def __init__(self, host: Host, task: Task) -> None:
        self._host, self._task = host, task
        self._params: Mapping[str, Any] = task.params
        self._name: str = task.params["name"]
        self._network = host.network(self._name)
        self._before = self._told()
        self._config = self._read(libvirt.VIR_NETWORK_XML_INACTIVE if self._before["persistent"] else 0)
        self._live = self._read(0) if self._before["active"] else None

    def _told(self) -> dict[str, Any]:
        """What the network is beside its document."""
        if self._network is None:
            return {"active": False, "autostart": False, "persistent": False}
        with asking(f"read network {self._name}"):
            persistent = bool(self._network.isPersistent())
            return {
                "active": bool(self._network.isActive()),
                "autostart": bool(self._network.autostart()) if persistent else False,
                "persistent": persistent,
            }

    def _read(self, flags: int) -> Element | None:
        if self._network is None:
            return None
        with asking(f"read network {self._name}"):
            return restored(self._network.XMLDesc(flags))

    def run(self) -> Result:
        if self._params["state"] == "absent":
            return self._absent()
        wanted = declared(self._name, self._params, self._config)
        refuse_network(wanted)
        todo = self._todo(wanted)
        if todo.stops:
            self._refuse_guests("restart" if todo.starts else "stop", todo.left)
        if todo.starts:
            refuse_overlap(wanted, self._others())
        if not self._task.check_mode:
            self._write(wanted, todo)
        return self._result(wanted, todo)

    def _todo(self, wanted: Element) -> _Todo:
        params, before = self._params, self._before
        active = {"active": True, "inactive": False}.get(params["state"], before["active"])
        stays = before["active"] and active
        way = plan(self._live, wanted) if stays and self._live is not None else Plan([], [])
        restarts = bool(way.left) and params["apply"] == "restart"
        waits = way.left or (way.steps and params["apply"] == "next_start")
        return _Todo(
            defines=self._config is None or not before["persistent"] or not same(self._config, wanted),
            steps=[] if restarts or params["apply"] == "next_start" else way.steps,
            stops=before["active"] and (restarts or not active),
            starts=active and (restarts or not before["active"]),
            active=active,
            autostart=before["autostart"] if params["autostart"] is None else params["autostart"],
            left=way.left,
            restart_required=bool(waits) and not restarts,
        )

    def _others(self) -> list[Element]:
        with asking("list the active networks"):
            networks = self._host.connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
            documents = [parse(network.XMLDesc(0)) for network in networks if network.name() != self._name]
        # A network that libvirt does not serve itself has no addresses here that could clash.
        return [document for document in documents if mode_of(document) != "open"]

    def _guests(self) -> list[str]:
        """The names of the running guests that are attached."""
        if self._network is None or not self._before["active"]:
            return []
        with asking(f"list the guests on network {self._name}"):
            ports = self._network.listAllPorts(0)
            documents = self._host.in_parallel(lambda port: str(port.XMLDesc(0)), ports)
        return sorted({parse(document).findtext("owner/name") or "a guest" for document in documents})

    def _refuse_guests(self, verb: str, why: list[str]) -> None:
        guests = self._guests()
        if not guests or self._params["force"]:
            return
        needed = f" {', '.join(why)} cannot be changed while it runs." if verb == "restart" and why else ""
        raise Failure(
            f"Cannot {verb} network {self._name}: {', '.join(guests)} would lose it.{needed} Stop or detach them first;"
            " force: true does it all the same, and they stay cut off until their interfaces are attached again"
            + (" (apply: next_start waits instead)." if verb == "restart" else "."),
            attached=guests,
        )

    def _write(self, wanted: Element, todo: _Todo) -> None:
        if todo.defines:
            with asking(f"define network {self._name}"):
                self._network = self._host.connection.networkDefineXML(written(wanted))
        network = known(self._network)
        try:
            self._bring(network, todo)
        except KvmError:
            if self._config is None:
                # A network that cannot be had is not left behind; the next task finds what this one found.
                with suppress(libvirt.libvirtError):
                    network.undefine()
            raise

    def _bring(self, network: libvirt.virNetwork, todo: _Todo) -> None:
        """From what is defined to what is to be."""
        if todo.stops:
            with asking(f"stop network {self._name}"):
                network.destroy()
        for step in todo.steps:
            with asking(f"change network {self._name} while it runs ({step})"):
                network.update(
                    getattr(libvirt, f"VIR_NETWORK_UPDATE_COMMAND_{step.command}"),
                    getattr(libvirt, f"VIR_NETWORK_SECTION_{step.section}"),
                    step.parent,
                    step.xml,
                    libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE,
                )
        if todo.starts:
            with asking(f"start network {self._name}"):
                network.create()
        if todo.autostart != self._before["autostart"]:
            with asking(f"set autostart of network {self._name}"):
                network.setAutostart(int(todo.autostart))

    def _result(self, wanted: Element, todo: _Todo) -> Result:
        told: dict[str, Any] = {"active": todo.active, "autostart": todo.autostart, "persistent": True}
        document: Element | None = wanted
        if not self._task.check_mode:
            told, document = self._told(), self._read(libvirt.VIR_NETWORK_XML_INACTIVE)
        is_same = self._config is not None and document is not None and same(self._config, document)
        result: Result = {
            "changed": not is_same or told != self._before or bool(todo.actions),
            "network": self._network_result(told, document),
            "restart_required": todo.restart_required,
            "actions": todo.actions,
        }
        return self._with_diff(result, told, document)

    def _network_result(self, told: Mapping[str, Any], document: Element | None) -> dict[str, Any] | None:
        if document is None:
            return None
        bridge = document.find("bridge")
        return {
            "name": self._name,
            "uuid": document.findtext("uuid"),
            "mode": mode_of(document),
            "bridge": bridge.get("name") if bridge is not None else None,
            **told,
            "xml": written(document),
        }

    def _with_diff(self, result: Result, told: Mapping[str, Any], document: Element | None) -> Result:
        if self._task.diff:
            result["diff"] = {
                "before": _shown(self._before, self._config),
                "after": _shown(told, document),
            }
        return result

    def _absent(self) -> Result:
        network, actions = self._network, []
        if self._before["active"]:
            self._refuse_guests("remove", [])
            actions.append("stopped")
        if network is not None and not self._task.check_mode:
            with asking(f"remove network {self._name}"):
                if self._before["active"]:
                    network.destroy()
                if self._before["persistent"]:
                    network.undefine()
        result: Result = {
            "changed": network is not None,
            "network": None,
            "restart_required": False,
            "actions": actions,
        }
        return self._with_diff(result, {}, None)


def _shown(told: Mapping[str, Any], document: Element | None) -> str:
    if document is None:
        return ""
    return "".join(f"{name}: {'yes' if value else 'no'}\n" for name, value in told.items()) + shown(document)
