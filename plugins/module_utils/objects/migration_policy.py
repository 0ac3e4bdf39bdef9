# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MigrationPolicy: how the guests that its labels select are migrated, and which of several policies holds for one.

Source: migrationpolicy.go of KubeVirt's migration controller, https://kubevirt.io/user-guide/cluster_admin/migration_policies/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..cluster import declare as declaring
from ..cluster.client import Client
from ..cluster.resource import Object, Resource
from ..machine import quantity
from ..machine.refusal import Problems, Refused
from ..task import Failure, Result, Task
from .core import NAMESPACE
from .kubevirt import HINT, VIRTUAL_MACHINE_INSTANCE, at, label

MIGRATION_POLICY = Resource(
    "migrations.kubevirt.io", "v1alpha1", "migrationpolicies", "MigrationPolicy", namespaced=False, hint=HINT
)

FIELDS = {
    "allow_auto_converge": "allowAutoConverge",
    "allow_post_copy": "allowPostCopy",
    "allow_workload_disruption": "allowWorkloadDisruption",
    "bandwidth_per_migration": "bandwidthPerMigration",
    "completion_timeout_per_gib": "completionTimeoutPerGiB",
}
SELECTORS = {
    "vm_selector": "virtualMachineInstanceSelector",
    "namespace_selector": "namespaceSelector",
}


def manifest(params: Mapping[str, Any]) -> Object:
    """The policy that the options declare. Raises Refused for values that KubeVirt does not take."""
    problems = Problems()
    selectors = {
        field: {str(key): "" if value is None else str(value) for key, value in params[option].items()}
        for option, field in SELECTORS.items()
        if params[option] is not None
    }
    spec: Object = {"selectors": selectors}
    for option, field in FIELDS.items():
        if params[option] is not None:
            spec[field] = params[option]
    if params["bandwidth_per_migration"] is not None:
        found = problems.take(lambda: _bandwidth(params["bandwidth_per_migration"]))
        spec["bandwidthPerMigration"] = found
    seconds = params["completion_timeout_per_gib"]
    if seconds is not None and seconds < 0:
        problems.add(f"completion_timeout_per_gib: {seconds} is less than 0 seconds")
    for field, value in (params["definition"] or {}).items():
        if field in spec and field != "selectors" and spec[field] != value:
            problems.add(f"definition.{field}: a typed option declares another value; give it once")
        elif field == "selectors":
            problems.add("definition.selectors: give the labels in vm_selector and namespace_selector")
        spec[field] = value
    problems.refuse()
    metadata: Object = {"name": params["name"]}
    for part in ("labels", "annotations"):
        if params[part]:
            metadata[part] = dict(params[part])
    return {
        "apiVersion": MIGRATION_POLICY.api_version,
        "kind": MIGRATION_POLICY.kind,
        "metadata": metadata,
        "spec": spec,
    }


def _bandwidth(text: str) -> str:
    """Bytes a second; 0 is without limit."""
    option = "bandwidth_per_migration"
    if quantity.parse(text, option) == 0:
        return "0"
    return quantity.size(text, option)


def matching(policy: Object, instance: Mapping[str, str], namespace: Mapping[str, str]) -> tuple[int, int] | None:
    """How many labels of the instance and of its namespace the policy names; None where one of them differs."""
    selectors = at(policy, "spec.selectors")
    if selectors is None:
        return None
    counts = []
    for field, labels in zip(SELECTORS.values(), (instance, namespace), strict=True):
        wanted = selectors.get(field) or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            return None
        counts.append(len(wanted))
    return counts[0], counts[1]


def policy_for(policies: Iterable[Object], instance: Mapping[str, str], namespace: Mapping[str, str]) -> Object | None:
    """The policy by which a guest is migrated: most labels in sum, then most of its own, then first by name."""
    ranked = []
    for policy in policies:
        counts = matching(policy, instance, namespace)
        if counts is not None:
            ranked.append(((-sum(counts), -counts[0], str(policy["metadata"]["name"])), policy))
    return min(ranked, key=lambda item: item[0])[1] if ranked else None


def declare(client: Client, task: Task) -> Result:
    """Make sure that the policy is there as declared. Raises Failure."""
    try:
        body = manifest(task.params)
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused
    outcome = declaring.declare(
        client,
        MIGRATION_POLICY,
        body,
        check_mode=task.check_mode,
        force_conflicts=task.params["force_conflicts"],
    )
    result: Result = {"changed": outcome.changed, "migration_policy": outcome.shown()}
    if task.params["resolve"]:
        result["vms"] = _followers(client, outcome.after or body)
    return {**result, **({"diff": outcome.diff()} if task.diff else {})}


def remove(client: Client, task: Task) -> Result:
    """Take the policy away: its guests are migrated by the policy that matches next, or as the cluster does."""
    outcome = declaring.remove(client, MIGRATION_POLICY, task.params["name"], check_mode=task.check_mode)
    return {"changed": outcome.changed, **({"diff": outcome.diff()} if task.diff else {})}


def _followers(client: Client, policy: Object) -> list[str]:
    """The running guests for which this policy is the one that holds, as namespace/name."""
    name = policy["metadata"]["name"]
    listed = client.list(MIGRATION_POLICY).items
    policies = [policy, *(item for item in listed if item["metadata"]["name"] != name)]
    namespaces = {item["metadata"]["name"]: _labels(item) for item in client.list(NAMESPACE).items}
    found = []
    for instance in client.list(VIRTUAL_MACHINE_INSTANCE).items:
        place = namespaces.get(instance["metadata"]["namespace"], {})
        if policy_for(policies, _labels(instance), place) is policy:
            found.append(label(instance))
    return sorted(found)


def _labels(found: Object) -> Mapping[str, str]:
    return at(found, "metadata.labels") or {}
