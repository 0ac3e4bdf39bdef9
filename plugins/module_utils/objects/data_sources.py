# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DataSources, the names under which machines find what they are made from; those that a cron keeps are left to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import declare, remove
from ..cluster.resource import Object
from ..cluster.verdict import Failed, Progress, Ready, Verdict, deleted
from ..cluster.wait import wait
from ..task import Failure, Result, Task
from .cdi import DATA_SOURCE
from .kubevirt import at, conditions, label

# Option -> field of spec.source.
SOURCES: Mapping[str, str] = {"pvc": "pvc", "snapshot": "snapshot", "data_source": "dataSource"}
CRON_LABEL = "cdi.kubevirt.io/dataImportCron"
# Option -> label by which a machine that infers its size and its devices from the volume finds them.
DEFAULTS: Mapping[str, str] = {
    "default_instancetype": "instancetype.kubevirt.io/default-instancetype",
    "default_preference": "instancetype.kubevirt.io/default-preference",
}


def manifest(params: Mapping[str, Any], live: Object | None) -> Object:
    """The DataSource that is declared: one source takes the place of another. Raises Failure without a source."""
    option = next((name for name in SOURCES if params[name]), None)
    if option is None:
        raise Failure(f"A data source needs what it stands for: one of {', '.join(SOURCES)}.")
    given = params[option]
    source: Object = {
        SOURCES[option]: {"name": given["name"], "namespace": given.get("namespace") or params["namespace"]}
    }
    for field in at(live, "spec.source") or {}:
        source.setdefault(field, None)
    labels = dict(params["labels"] or {})
    labels.update({key: params[name] for name, key in DEFAULTS.items() if params[name]})
    metadata: Object = {"name": params["name"], "namespace": params["namespace"]}
    if labels:
        metadata["labels"] = labels
    if params["annotations"]:
        metadata["annotations"] = dict(params["annotations"])
    body = {"apiVersion": DATA_SOURCE.api_version, "kind": DATA_SOURCE.kind, "metadata": metadata}
    return {**body, "spec": {"source": source}}


def check(found: Object | None) -> Verdict:
    """Whether machines can be made from it. What is said of an earlier source does not count."""
    if found is None:
        return Failed("it was deleted while it was waited for")
    told = {name: value for name, value in (at(found, "status.source") or {}).items() if value}
    wanted = {name: value for name, value in (at(found, "spec.source") or {}).items() if value}
    if told != wanted:
        return Progress("not yet seen by CDI")
    ready = conditions(found).get("Ready", {})
    if ready.get("status") == "True":
        return Ready()
    words = str(ready.get("message") or ready.get("reason") or "not ready")
    return Failed(words) if ready.get("reason") == "NotFound" else Progress(words)


def tell(found: Object | None) -> Result:
    """What a task says of a DataSource."""
    source = {name: value for name, value in (at(found, "spec.source") or {}).items() if value}
    kind = next(iter(source), None)
    ready = conditions(found).get("Ready", {})
    named = {field: option for option, field in SOURCES.items()}
    return {
        "source_kind": named.get(kind or ""),
        "source_name": source[kind].get("name") if kind else None,
        "source_namespace": source[kind].get("namespace") if kind else None,
        "ready": ready.get("status") == "True",
        "message": ready.get("message"),
    }


def declare_source(client: Client, task: Task) -> Result:
    """Run a task of C(data_source). Raises Failure; what a DataImportCron keeps is not touched."""
    params = task.params
    name, namespace = params["name"], params["namespace"]
    live = client.get(DATA_SOURCE, name, namespace)
    cron = (at(live, "metadata.labels") or {}).get(CRON_LABEL)
    if params["state"] == "absent":
        _refuse_kept(live, cron, "deleted")
        outcome = remove(client, DATA_SOURCE, name, namespace, live=live, check_mode=task.check_mode)
        found = live
        if live is not None and params["wait"] and not task.check_mode:
            wait(client, DATA_SOURCE, name, namespace, deleted, timeout=params["wait_timeout"])
    else:
        desired = manifest(params, live)
        if cron is not None and not _is_declared(live, desired):
            _refuse_kept(live, cron, "changed")
        outcome = declare(
            client,
            DATA_SOURCE,
            desired,
            live=live,
            check_mode=task.check_mode,
            force_conflicts=params["force_conflicts"],
        )
        for warning in outcome.warnings:
            task.warn(warning)
        found = outcome.after
        if params["wait"] and not task.check_mode:
            timeout, progress = params["wait_timeout"], task.progress
            found = wait(client, DATA_SOURCE, name, namespace, check, timeout=timeout, progress=progress) or found
    result: Result = {"changed": outcome.changed, "name": name, "namespace": namespace, **tell(found)}
    return result | ({"diff": outcome.diff()} if task.diff else {})


def _is_declared(live: Object | None, desired: Object) -> bool:
    source = {name: value for name, value in desired["spec"]["source"].items() if value}
    return {name: value for name, value in (at(live, "spec.source") or {}).items() if value} == source


def _refuse_kept(live: Object | None, cron: str | None, what: str) -> None:
    if live is not None and cron is not None:
        raise Failure(
            f"The data source {label(live)} was not {what}: the DataImportCron {cron} keeps it, and would set it back."
            " Delete that cron, or choose another name."
        )
