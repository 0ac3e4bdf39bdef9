# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declaring the network of nodes, and seeing each node through it."""

from __future__ import annotations

import time

from ..cluster import declare as declaring
from ..cluster.client import Client
from ..cluster.declare import Outcome
from ..cluster.errors import ClusterError, Forbidden, NotServed
from ..cluster.resource import Object
from ..cluster.verdict import Progress, Ready, Verdict, deleted
from ..cluster.wait import Related, wait
from ..task import Result, Task
from .core import NODE
from .network import (
    NODE_NETWORK_CONFIGURATION_ENACTMENT,
    NODE_NETWORK_CONFIGURATION_POLICY,
    POLICY_LABEL,
    configured,
    enacted,
    in_progress,
    max_unavailable,
    no_node_matches,
    node_of,
    policy,
)

# How nmstate's admission policy refuses a change that comes too early.
STILL_IN_PROGRESS = "is still in progress"


def declare(client: Client, task: Task) -> Result:
    """Declare a policy and, if asked to, wait for its nodes. Raises Failure, naming a node that could not take it."""
    params = task.params
    body = policy(
        params["name"],
        params["desired_state"],
        params["node_selector"],
        max_unavailable(params["max_unavailable"]),
        params["labels"],
    )
    outcome = _declared_in_time(client, body, task)
    result: Result = {"changed": outcome.changed, "policy": outcome.shown()}
    if task.diff:
        result["diff"] = outcome.diff()
    if params["wait"] and not task.check_mode and outcome.after is not None:
        found = _every_node(client, outcome.after, task)
        result["policy"]["status"] = (found or {}).get("status") or {}
        result["nodes"] = sorted(node_of(item) for item in _enactments(client, found or outcome.after))
        if found and no_node_matches(found):
            task.warn(f"No node has the labels of the policy {params['name']}, so that it does nothing.")
    return result


def remove(client: Client, task: Task) -> Result:
    """Delete a policy, which undoes nothing on the nodes."""
    name = task.params["name"]
    outcome = declaring.remove(client, NODE_NETWORK_CONFIGURATION_POLICY, name, check_mode=task.check_mode)
    if outcome.before is not None and task.params["wait"] and not task.check_mode:
        timeout = task.params["wait_timeout"]
        wait(client, outcome.resource, name, None, deleted, timeout=timeout, progress=task.progress)
    return {"changed": outcome.changed, **({"diff": outcome.diff()} if task.diff else {})}


def _declared_in_time(client: Client, body: Object, task: Task) -> Outcome:
    """Declare, as soon as the nodes are done with the policy as it is."""
    end = time.monotonic() + task.params["wait_timeout"]
    while True:
        try:
            return declaring.declare(
                client,
                NODE_NETWORK_CONFIGURATION_POLICY,
                body,
                check_mode=task.check_mode,
                force_conflicts=task.params["force_conflicts"],
            )
        except ClusterError as error:
            remaining = end - time.monotonic()
            if STILL_IN_PROGRESS not in error.message or remaining <= 0:
                raise
        wait(
            client,
            NODE_NETWORK_CONFIGURATION_POLICY,
            body["metadata"]["name"],
            None,
            _settled,
            timeout=remaining,
            progress=task.progress,
        )
        # The conditions may say so a moment before the admission policy sees it.
        time.sleep(min(1.0, remaining))


def _settled(found: Object | None) -> Verdict:
    return Progress("nodes are still working on the change before this one") if in_progress(found) else Ready()


def _every_node(client: Client, declared: Object, task: Task) -> Object | None:
    name = declared["metadata"]["name"]
    return wait(
        client,
        NODE_NETWORK_CONFIGURATION_POLICY,
        name,
        None,
        lambda found: configured(found, _enactments(client, found) if found else ()),
        timeout=task.params["wait_timeout"],
        progress=task.progress,
        related=[
            Related(
                NODE_NETWORK_CONFIGURATION_ENACTMENT,
                enacted(declared["metadata"].get("generation", 0)),
                label_selector=f"{POLICY_LABEL}={name}",
            )
        ],
    )


def _enactments(client: Client, found: Object) -> list[Object]:
    """What nodes say of a policy, without those that it does not select any more."""
    selector = f"{POLICY_LABEL}={found['metadata']['name']}"
    enactments = client.list(NODE_NETWORK_CONFIGURATION_ENACTMENT, label_selector=selector).items
    labels = (found.get("spec") or {}).get("nodeSelector")
    if not labels:
        return enactments
    try:
        nodes = client.list(NODE, label_selector=",".join(f"{key}={value}" for key, value in labels.items())).items
    except (Forbidden, NotServed):
        return enactments
    names = {node["metadata"]["name"] for node in nodes}
    return [item for item in enactments if node_of(item) in names]
