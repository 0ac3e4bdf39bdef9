# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(vm_power): the machines of a name or a selector, each brought into the state on its own."""

from __future__ import annotations

from typing import Any

from ..cluster.client import Client
from ..cluster.resource import Object
from ..task import Failure, Result, Task
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, at, by_name, printable_status, run_strategy
from .kubevirt_power import Waiting, Wish, act
from .kubevirt_status import instance_is_over
from .kubevirt_task import Key, for_each


def power_vms(client: Client, task: Task) -> Result:
    """Run a task of C(vm_power). Raises Failure for a machine that is not there, or that cannot be brought there."""
    params = task.params
    wish = _wish(params)
    waiting = Waiting(params["wait_timeout"] if params["wait"] else None, task.progress)
    machines, instances = _read(client, params)
    if wish.state == "started" and wish.start_paused:
        _warn_of_automatic(task, machines)

    by_key = {(params["namespace"], vm["metadata"]["name"]): vm for vm in machines}

    def one(key: Key) -> Result | Failure:
        vm, instance = by_key[key], instances.get(key[1])
        before = _told(vm, instance)
        try:
            acted = act(client, wish, vm, instance, check_mode=task.check_mode, waiting=waiting)
        except Failure as failure:
            return Failure(failure.message, **before)
        after = _told(acted.vm, acted.instance)
        result = {**after, "changed": acted.changed}
        if task.diff:
            # What was not waited for is on its way.
            status = wish.state if acted.changed and (task.check_mode or not params["wait"]) else after["status"]
            result["diff"] = {"before": _differing(before), "after": {**_differing(after), "status": status}}
            if not acted.changed:
                result["diff"]["before"] = result["diff"]["after"]
        return result

    return for_each(client, task, list(by_key), one, single=params["name"] is not None)


def _told(vm: Object, instance: Object | None) -> Result:
    return {
        "name": vm["metadata"]["name"],
        "namespace": vm["metadata"]["namespace"],
        "status": printable_status(vm),
        "run_strategy": run_strategy(vm),
        "instance_uid": None if instance_is_over(instance) else at(instance, "metadata.uid"),
    }


def _differing(told: Result) -> Result:
    return {part: told[part] for part in ("name", "status", "run_strategy")}


def _wish(params: Any) -> Wish:
    state, period = params["state"], params["grace_period"]
    if period is not None and period < 0:
        raise Failure(f"grace_period: {period} is less than 0 seconds.")
    if params["force"] and period is not None:
        raise Failure("force: switches the guest off at once; leave out grace_period, or force.")
    for option, states in (("grace_period", ("stopped", "restarted")), ("force", ("stopped", "restarted"))):
        if params[option] not in (None, False) and state not in states:
            raise Failure(f"{option}: means nothing with state: {state}; it is for {' and '.join(states)}.")
    if params["start_paused"] and state != "started":
        raise Failure(f"start_paused: means nothing with state: {state}; it is for started.")
    return Wish(state, period, params["force"], params["start_paused"])


def _read(client: Client, params: Any) -> tuple[list[Object], dict[str, Object]]:
    """The machines and, by name, the instances."""
    name, namespace = params["name"], params["namespace"]
    if name is None:
        machines = client.list(VIRTUAL_MACHINE, namespace, label_selector=params["label_selector"]).items
        machines.sort(key=lambda vm: str(vm["metadata"]["name"]))
        instances = by_name(client.list(VIRTUAL_MACHINE_INSTANCE, namespace).items) if machines else {}
        return machines, instances
    vm = client.get(VIRTUAL_MACHINE, name, namespace)
    if vm is None:
        raise Failure(f"There is no VirtualMachine {namespace}/{name}. Check name and namespace.")
    instance = client.get(VIRTUAL_MACHINE_INSTANCE, name, namespace)
    return [vm], {name: instance} if instance else {}


def _warn_of_automatic(task: Task, machines: list[Object]) -> None:
    names = [vm["metadata"]["name"] for vm in machines if run_strategy(vm) == "Always"]
    if names:
        task.warn(
            f"start_paused has no effect on {', '.join(names)}: with the run strategy Always, KubeVirt starts it."
        )
