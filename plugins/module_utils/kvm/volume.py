# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_volume): volumes of pools, one or many, each with its own result, none stopping the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from .connection import Host
from .image_source import password_in
from .volume_change import Change
from .volume_options import VOLUME_OPTIONS
from .volume_store import Store
from .volume_xml import read_declaration

_ITEM = ArgumentSpecValidator({"name": {"type": "str", "required": True}, **VOLUME_OPTIONS})
# Failed items that a message spells out; the result holds all of them.
_SPELLED_OUT = 10


def secrets_of(params: Mapping[str, Any]) -> set[str]:
    """What is secret in the items of C(volumes), which are free dictionaries, and in URLs."""
    found: set[str] = set()
    for item in (params, *(params.get("volumes") or ())):
        headers = item.get("headers")
        values = [item.get("url_password"), *(headers.values() if isinstance(headers, Mapping) else ())]
        found.update(str(value) for value in (*values, password_in(str(item.get("url") or ""))) if value)
    return found


def declare_volumes(host: Host, task: Task) -> Result:
    """Run a task of C(kvm_volume)."""
    store = Store(host)
    items = task.params["volumes"]
    if items is None:
        result = _one(store, task, task.params)
        volume, diff = result.pop("volume"), result.pop("diff")
        return {**result, "volumes": [volume], **({"diff": diff} if task.diff else {})}
    inherited = {name: task.params[name] for name in VOLUME_OPTIONS if task.params[name] is not None}
    results = host.in_parallel(lambda item: _attempt(store, task, {**inherited, **item}), items)
    return _together(task, results)


def _one(store: Store, task: Task, options: Mapping[str, Any]) -> Result:
    try:
        return Change(store, task, read_declaration(options)).run()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


def _attempt(store: Store, task: Task, item: Mapping[str, Any]) -> Result:
    """The result of an item; a failure of it is one."""
    name = str(item.get("name"))
    try:
        checked = _ITEM.validate(dict(item))
        if checked.error_messages:
            raise Failure(" ".join(checked.error_messages))
        return _one(store, task, checked.validated_parameters)
    except Failure as failure:
        volume = {"name": name, "pool": item.get("pool"), "changed": False, "failed": True, "msg": failure.message}
        return {"changed": False, "volume": volume, "diff": {"before": "", "after": ""}}


def _together(task: Task, results: list[Result]) -> Result:
    volumes = [result["volume"] for result in results]
    together: Result = {"changed": any(result["changed"] for result in results), "volumes": volumes}
    if task.diff:
        together["diff"] = [
            {"before_header": volume["name"], "after_header": volume["name"], **result["diff"]}
            for volume, result in zip(volumes, results, strict=True)
            if result["diff"]["before"] != result["diff"]["after"]
        ]
    failed = [volume for volume in volumes if volume.get("failed")]
    if failed:
        told = " ".join(f"{volume['name']}: {volume['msg']}" for volume in failed[:_SPELLED_OUT])
        raise Failure(f"{len(failed)} of {len(volumes)} volumes failed. {told}", **together)
    return together
