"""Which MigrationPolicy holds for an instance, and what a migration's configuration becomes by it. Pure functions.

migrationpolicy.go of virt-controller: the policy with the most matching labels wins, those of the instance first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from virtlab.resource import Object

POLICIES = "migrationpolicies.migrations.kubevirt.io"
# GetMigrationConfiguration's defaults.
DEFAULTS: Mapping[str, Any] = {
    "nodeDrainTaintKey": "kubevirt.io/drain",
    "parallelMigrationsPerCluster": 5,
    "parallelOutboundMigrationsPerNode": 2,
    "allowAutoConverge": False,
    "bandwidthPerMigration": "0",
    "completionTimeoutPerGiB": 150,
    "progressTimeout": 150,
    "unsafeMigrationOverride": False,
    "allowPostCopy": False,
    "allowWorkloadDisruption": False,
    "disableTLS": False,
    "matchSELinuxLevelOnMigration": True,
    "utilityVolumesTimeout": 150,
}
OF_A_POLICY = (
    "allowAutoConverge",
    "bandwidthPerMigration",
    "completionTimeoutPerGiB",
    "allowPostCopy",
    "allowWorkloadDisruption",
)
Labels = Mapping[str, str]


def score(policy: Object, instance: Labels, namespace: Labels) -> tuple[int, int] | None:
    """How many labels of the instance and of its namespace the policy names; None where one of them differs."""
    selectors = (policy.get("spec") or {}).get("selectors")
    if selectors is None:
        return None
    found = []
    for selector, labels in (("virtualMachineInstanceSelector", instance), ("namespaceSelector", namespace)):
        wanted = selectors.get(selector) or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            return None
        found.append(len(wanted))
    return found[0], found[1]


def policy_for(policies: Iterable[Object], instance: Labels, namespace: Labels) -> Object | None:
    """The policy that wins: more labels in sum, then more of the instance's, then by name."""
    best: tuple[tuple[int, int], str] | None = None
    chosen: Object | None = None
    for policy in policies:
        counted = score(policy, instance, namespace)
        if counted is None:
            continue
        rank = ((-sum(counted), -counted[0]), str(policy["metadata"]["name"]))
        if best is None or rank < best:
            best, chosen = rank, policy
    return chosen


def configuration(configured: Mapping[str, Any], policy: Object | None) -> Object:
    """The migration configuration of the cluster, with what the policy says instead."""
    result: Object = {**DEFAULTS, **configured}
    spec = (policy or {}).get("spec") or {}
    if spec.get("allowWorkloadDisruption") is None and spec.get("allowPostCopy") is not None:
        result["allowWorkloadDisruption"] = spec["allowPostCopy"]
    result.update({name: spec[name] for name in OF_A_POLICY if spec.get(name) is not None})
    return result
