"""Disruption budgets: how many of the pods that one selects are healthy, and how many may be evicted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from virtlab.controllers.conditions import condition, is_true, merged
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.selectors import Requirement
from virtlab.store import Event

BUDGETS = "poddisruptionbudgets.policy"


def share(value: int | str, whole: int) -> int:
    """A number, or a percentage of C(whole), rounded up as the disruption controller does."""
    text = str(value)
    return math.ceil(int(text[:-1]) * whole / 100) if text.endswith("%") else int(text)


def selected(selector: Object, labels: Mapping[str, str]) -> bool:
    """Does a label selector, as objects hold it, take these labels? An empty one takes all."""
    wanted = [Requirement(key, "=", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()]
    for item in selector.get("matchExpressions") or ():
        operator = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}[item["operator"]]
        wanted.append(Requirement(item["key"], operator, frozenset(item.get("values") or ())))
    return all(requirement.matches(labels) for requirement in wanted)


def budget_status(spec: Object, pods: int, healthy: int) -> Object:
    """The numbers of a budget that selects C(pods) pods, of which C(healthy) are ready."""
    if spec.get("maxUnavailable") is not None:
        desired = max(0, pods - share(spec["maxUnavailable"], pods))
    else:
        desired = share(spec.get("minAvailable", 1), pods)
    allowed = max(0, healthy - desired) if pods else 0
    return {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": pods,
    }


class DisruptionController(Controller):
    manager_name = "kube-controller-manager"
    watches = (BUDGETS, "pods")

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("policy", "poddisruptionbudgets"):
            return super().keys(event)
        namespace = event.object["metadata"]["namespace"]
        return [(namespace, item["metadata"]["name"]) for item in self.list(BUDGETS, namespace)]

    def reconcile(self, key: Key) -> float | None:
        budget = self.find(BUDGETS, *key)
        if budget is None or being_deleted(budget):
            return None
        selector = budget["spec"].get("selector") or {}
        pods = [
            pod
            for pod in self.list("pods", key[0])
            if selected(selector, pod["metadata"].get("labels") or {})
            and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]
        healthy = sum(is_true(pod, "Ready") and not being_deleted(pod) for pod in pods)
        status = budget_status(budget["spec"], len(pods), healthy)
        allowed = status["disruptionsAllowed"] > 0
        told = condition("DisruptionAllowed", allowed, "SufficientPods" if allowed else "InsufficientPods", "")
        before = list((budget.get("status") or {}).get("conditions") or ())
        status["conditions"] = merged(before, [told], self.cluster.clock.stamp())
        status["observedGeneration"] = budget["metadata"].get("generation", 1)
        self.write_status(BUDGETS, budget, status)
        return None
