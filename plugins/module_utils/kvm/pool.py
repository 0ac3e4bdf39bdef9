# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_pool): a storage pool of a KVM host, declared, built when told, started, stopped, removed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from ..known import known
from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .connection import Host
from .errors import KvmError, asking
from .library import libvirt
from .pool_xml import declared, place, restored
from .usage import Use, named, uses
from .xml import same, shown, written

# Types whose build makes a directory, and nothing that could overwrite anything.
_DIRECTORIES = ("dir", "fs", "netfs", "vstorage")
# Types whose build writes to devices.
_DEVICES = ("fs", "logical", "disk")


def declare_pool(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_pool)."""
    try:
        return _Task(host, task).run()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


@dataclass
class _Todo:
    """What is to be done; C(actions) is what was done, or would be."""

    defines: bool
    stops: bool
    starts: bool
    active: bool
    autostart: bool
    restart_required: bool
    actions: list[str] = field(default_factory=list)


class _Task:
    """One run. The pool is read first; what is to be done is known before anything is done."""

    def __init__(self, host: Host, task: Task) -> None:
        self._host, self._task = host, task
        self._params: Mapping[str, Any] = task.params
        self._name: str = task.params["name"]
        self._pool = host.pool(self._name)
        self._before = self._told()
        self._config = self._read(libvirt.VIR_STORAGE_XML_INACTIVE)

    def _told(self) -> dict[str, Any]:
        if self._pool is None:
            return {"active": False, "autostart": False, "persistent": False}
        with asking(f"read pool {self._name}"):
            persistent = bool(self._pool.isPersistent())
            return {
                "active": bool(self._pool.isActive()),
                "autostart": bool(self._pool.autostart()) if persistent else False,
                "persistent": persistent,
            }

    def _read(self, flags: int) -> Element | None:
        if self._pool is None:
            return None
        with asking(f"read pool {self._name}"):
            return restored(self._pool.XMLDesc(flags))

    def run(self) -> Result:
        if self._params["state"] == "absent":
            return self._absent()
        wanted = declared(self._name, self._params, self._config)
        todo = self._todo(wanted)
        if todo.stops:
            self._refuse_guests("restart" if todo.starts else "stop")
        if not self._task.check_mode:
            self._write(wanted, todo)
        elif todo.stops or todo.starts:
            todo.actions += [*(["stopped"] if todo.stops else []), *(["started"] if todo.starts else [])]
        return self._result(wanted, todo)

    def _todo(self, wanted: Element) -> _Todo:
        params, before = self._params, self._before
        active = {"active": True, "inactive": False}.get(params["state"], before["active"])
        live = self._read(0) if before["active"] and active else None
        differs = live is not None and not same(place(live), place(wanted))
        restarts = differs and params["apply"] == "restart"
        return _Todo(
            defines=self._config is None or not before["persistent"] or not same(self._config, wanted),
            stops=before["active"] and (restarts or not active),
            starts=active and (restarts or not before["active"]),
            active=active,
            autostart=before["autostart"] if params["autostart"] is None else params["autostart"],
            restart_required=differs and not restarts,
        )

    def _write(self, wanted: Element, todo: _Todo) -> None:
        is_new = self._pool is None
        if todo.defines:
            with asking(f"define pool {self._name}"):
                self._pool = self._host.connection.storagePoolDefineXML(written(wanted), 0)
        pool = known(self._pool)
        try:
            self._bring(pool, wanted, todo, is_new)
        except KvmError:
            if is_new:
                # A pool that cannot be had is not left behind; the next task finds what this one found.
                with suppress(libvirt.libvirtError):
                    pool.undefine()
            raise

    def _bring(self, pool: libvirt.virStoragePool, wanted: Element, todo: _Todo, is_new: bool) -> None:
        """From what is defined to what is to be."""
        if todo.stops:
            with asking(f"stop pool {self._name}"):
                pool.destroy()
            todo.actions.append("stopped")
        type_ = str(wanted.get("type"))
        if self._params["build"] and type_ in _DIRECTORIES and (is_new or todo.starts):
            with asking(f"make the directory of pool {self._name}"):
                pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NEW)
        if todo.starts:
            self._start(pool, type_, is_new, todo)
        if todo.autostart != self._before["autostart"]:
            with asking(f"set autostart of pool {self._name}"):
                pool.setAutostart(int(todo.autostart))
        if self._params["refresh"] and todo.active and not todo.starts:
            with asking(f"refresh pool {self._name}"):
                pool.refresh(0)

    def _start(self, pool: libvirt.virStoragePool, type_: str, is_new: bool, todo: _Todo) -> None:
        """Start a pool; what cannot be started is built first where the task says so, and starts then."""
        asked = f"start pool {self._name}"
        try:
            with asking(asked):
                pool.create(0)
        except KvmError as error:
            if not self._params["build"] or type_ not in _DEVICES:
                if not self._params["build"]:
                    error.add("build: true makes what it needs.")
                raise
            overwrites = self._params["overwrite"] and is_new
            flag = "OVERWRITE" if overwrites else "NO_OVERWRITE"
            with asking(f"build pool {self._name}, which does not start ({error.message})"):
                pool.build(getattr(libvirt, f"VIR_STORAGE_POOL_BUILD_{flag}"))
            todo.actions.append("built")
            with asking(asked):
                pool.create(0)
        todo.actions.append("started")

    def _refuse_guests(self, verb: str, deletes: bool = False) -> None:
        """Guests that are off mind only when their disks are deleted."""
        found = self._uses(running_only=not deletes)
        if found and not self._params["force"]:
            whose = "guests" if deletes else "running guests"
            way = "Remove them or their disks first" if deletes else "Stop them first"
            raise Failure(
                f"Cannot {verb} pool {self._name}: disks of {whose} are in it ({named(found)})."
                f" {way}; force: true does it all the same.",
                guests=sorted({use.guest for use in found}),
            )

    def _uses(self, running_only: bool) -> list[Use]:
        """The guests' uses of what is in the pool."""
        pool = known(self._pool)
        found = uses(self._host, running_only=running_only)
        if not found:
            return []
        with asking(f"list the volumes of pool {self._name}"):
            paths = {volume.path() for volume in pool.listAllVolumes(0)}
        return [use for use in found if use.pool == self._name or use.path in paths]

    def _result(self, wanted: Element, todo: _Todo) -> Result:
        told: dict[str, Any] = {"active": todo.active, "autostart": todo.autostart, "persistent": True}
        document: Element | None = wanted
        if not self._task.check_mode:
            told, document = self._told(), self._read(libvirt.VIR_STORAGE_XML_INACTIVE)
        is_same = self._config is not None and document is not None and same(self._config, document)
        changed = todo.defines if self._task.check_mode else not is_same
        result: Result = {
            "changed": changed or told != self._before or bool(todo.actions),
            "pool": self._pool_result(told, known(document)),
            "restart_required": todo.restart_required,
            "actions": todo.actions,
        }
        return self._with_diff(result, told, document)

    def _pool_result(self, told: Mapping[str, Any], document: Element) -> dict[str, Any]:
        sizes: dict[str, int | None] = dict.fromkeys(("capacity", "allocation", "available"))
        if self._pool is not None and told["active"] and self._before["active"] <= told["active"]:
            try:
                _state, *numbers = self._pool.info()
                sizes = dict(zip(sizes, numbers, strict=True))
            except libvirt.libvirtError:
                # In check mode it may be gone by now; its sizes are not what the task is about.
                pass
        return {
            "name": self._name,
            "uuid": document.findtext("uuid"),
            "type": document.get("type"),
            "target": document.findtext("target/path"),
            **told,
            **sizes,
            "xml": shown(document),
        }

    def _with_diff(self, result: Result, told: Mapping[str, Any], document: Element | None) -> Result:
        if self._task.diff:
            result["diff"] = {"before": _shown(self._before, self._config), "after": _shown(told, document)}
        return result

    def _absent(self) -> Result:
        pool, actions = self._pool, []
        if pool is not None:
            deletes = self._params["delete_contents"]
            if self._before["active"]:
                self._refuse_guests("remove", deletes)
            elif deletes:
                raise Failure(
                    f"Cannot delete the contents of pool {self._name}: it is not active. Start it first"
                    " (state: active), or leave delete_contents out."
                )
            actions += [*(["deleted contents"] if deletes else []), *(["stopped"] if self._before["active"] else [])]
            if not self._task.check_mode:
                self._remove(pool, deletes)
        result: Result = {"changed": pool is not None, "pool": None, "restart_required": False, "actions": actions}
        return self._with_diff(result, {}, None)

    def _remove(self, pool: libvirt.virStoragePool, deletes: bool) -> None:
        if deletes:
            with asking(f"delete the volumes of pool {self._name}"):
                for volume in pool.listAllVolumes(0):
                    volume.delete(0)
        if self._before["active"]:
            with asking(f"stop pool {self._name}"):
                pool.destroy()
        if deletes:
            with asking(f"delete what is left of pool {self._name}, whose volumes are gone"):
                pool.delete(0)
        if self._before["persistent"]:
            with asking(f"remove pool {self._name}"):
                pool.undefine()


def _shown(told: Mapping[str, Any], document: Element | None) -> str:
    if document is None:
        return ""
    return "".join(f"{name}: {'yes' if value else 'no'}\n" for name, value in told.items()) + shown(document)
