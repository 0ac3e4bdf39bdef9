# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Namespaces of virtual machines: made, labelled, and removed only when nothing is lost by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cluster import declare as declaring
from ..cluster.client import Client
from ..cluster.errors import NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Progress, Ready, Verdict
from ..cluster.wait import wait
from ..task import Failure, Result, Task
from .cdi import DATA_VOLUME
from .core import NAMESPACE, PVC
from .kubevirt import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE

MAC_POOL_LABEL = "mutatevirtualmachines.kubemacpool.io"
# What holds data or runs, and would be lost with its namespace.
PRECIOUS: tuple[Resource, ...] = (VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, DATA_VOLUME, PVC)
# So many objects are named in a refusal; the rest is counted.
NAMED = 20


def manifest(name: str, params: Mapping[str, Any], live: Object | None) -> Object:
    """The namespace with its labels and annotations. The MAC pool's label is only touched when it has to change."""
    metadata: dict[str, Any] = {"name": name}
    labels = dict(params["labels"] or {})
    present = ((live or {}).get("metadata", {}).get("labels") or {}).get(MAC_POOL_LABEL)
    if params["mac_pool"] == "disabled":
        labels[MAC_POOL_LABEL] = "ignore"
    elif params["mac_pool"] == "enabled" and present == "ignore":
        labels[MAC_POOL_LABEL] = None
    elif params["mac_pool"] is None and present is not None:
        labels.setdefault(MAC_POOL_LABEL, present)
    if labels:
        metadata["labels"] = labels
    if params["annotations"]:
        metadata["annotations"] = dict(params["annotations"])
    return {"apiVersion": NAMESPACE.api_version, "kind": NAMESPACE.kind, "metadata": metadata}


def declare(client: Client, task: Task) -> Result:
    """Make sure that the namespace is there as declared. Raises Failure."""
    name = task.params["name"]
    live = client.get(NAMESPACE, name)
    if live is not None and live["metadata"].get("deletionTimestamp"):
        raise Failure(f"The namespace {name} is being deleted{held_by(live)}. Run this again when it is gone.")
    outcome = declaring.declare(
        client,
        NAMESPACE,
        manifest(name, task.params, live),
        live=live,
        check_mode=task.check_mode,
        force_conflicts=task.params["force_conflicts"],
    )
    return {"changed": outcome.changed, "namespace": outcome.shown(), **({"diff": outcome.diff()} if task.diff else {})}


def remove(client: Client, task: Task) -> Result:
    """Delete the namespace, if nothing of worth goes with it or the user wants that. Raises Failure."""
    name = task.params["name"]
    live = client.get(NAMESPACE, name)
    if live is not None and not task.params["delete_contents"] and not live["metadata"].get("deletionTimestamp"):
        _refuse_to_lose(client, name)
    outcome = declaring.remove(client, NAMESPACE, name, live=live, check_mode=task.check_mode)
    if live is not None and task.params["wait"] and not task.check_mode:
        wait(client, NAMESPACE, name, None, gone, timeout=task.params["wait_timeout"], progress=task.progress)
    return {"changed": outcome.changed, **({"diff": outcome.diff()} if task.diff else {})}


def gone(namespace: Object | None) -> Verdict:
    """Ready when a namespace is gone; until then, what keeps it."""
    return Ready() if namespace is None else Progress(f"being deleted{held_by(namespace)}")


def held_by(namespace: Object) -> str:
    """What a namespace that is being deleted says of the content and the finalizers that keep it."""
    told = [
        str(condition.get("message"))
        for condition in (namespace.get("status") or {}).get("conditions") or ()
        if condition.get("type") in ("NamespaceContentRemaining", "NamespaceFinalizersRemaining")
        and condition.get("status") == "True"
    ]
    return f", kept by: {'; '.join(told)}" if told else ""


def _refuse_to_lose(client: Client, name: str) -> None:
    told = []
    for resource in PRECIOUS:
        try:
            names = sorted(item["metadata"]["name"] for item in client.list(resource, name).items)
        except NotServed:
            continue
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            told.append(f"{resource.kind} {', '.join(names[:NAMED])}{more}")
    if told:
        raise Failure(
            f"The namespace {name} is not empty, and would be deleted with its content: {'; '.join(told)}. Delete or "
            "move that first, or set delete_contents: true to lose it."
        )
