"""The HyperConverged operator: its operands, their settings kept as it wants them, and what it reports of them."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import condition, find_condition, is_true, merged, without_condition
from virtlab.controllers.hco.boot_sources import template_statuses
from virtlab.controllers.hco.operands import OPERANDS, operand, tainted
from virtlab.controllers.olm.names import CSVS
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

HYPERCONVERGED = "hyperconvergeds.hco.kubevirt.io"
DEPLOYMENTS = "deployments.apps"
FINALIZER = "kubevirt.io/hyperconverged"
OPERATOR = "hco-operator"
INIT = ("Init", "Initializing HyperConverged cluster")
COMPLETED = ("ReconcileCompleted", "Reconcile completed successfully")
START = 1.0  # seconds
TAINTED = ("UnsupportedFeatureAnnotation", "Unsupported feature was activated via an HCO annotation")


def initial_conditions() -> list[Object]:
    states = {
        "ReconcileComplete": "Unknown",
        "Available": "False",
        "Progressing": "True",
        "Degraded": "False",
        "Upgradeable": "Unknown",
    }
    return [condition(kind, state, *INIT) for kind, state in states.items()]


def component_findings(operands: dict[str, Object | None]) -> dict[str, tuple[str, str]]:
    """Of each component that is not well: condition -> (reason, message). The last component wins."""
    found: dict[str, tuple[str, str]] = {}
    for qualified, live in operands.items():
        kind = OPERANDS[qualified][1]
        if live is None or not (live.get("status") or {}).get("conditions"):
            text = (f"{kind}Conditions", f"{kind} resource has no conditions")
            found.update(Available=text, Progressing=text, Upgradeable=text)
            continue
        available, progressing, degraded = (
            find_condition(live, name) or {} for name in ("Available", "Progressing", "Degraded")
        )
        if available.get("status") == "False":
            found["Available"] = (f"{kind}NotAvailable", f"{kind} is not available: {available.get('message', '')}")
        if progressing.get("status") == "True":
            why = (f"{kind}Progressing", f"{kind} is progressing: {progressing.get('message', '')}")
            found.update(Progressing=why, Upgradeable=why)
        if degraded.get("status") == "True":
            found["Degraded"] = (f"{kind}Degraded", f"{kind} is degraded: {degraded.get('message', '')}")
    return found


def aggregated(found: dict[str, tuple[str, str]], upgrading: str = "") -> list[Object]:
    """The HyperConverged conditions from what is not well with its components."""
    conditions = [condition("ReconcileComplete", True, *COMPLETED)]
    if "Degraded" in found:
        down = ("HCODegraded", "HCO is not available due to degraded components")
        held = ("HCODegraded", "HCO is not Upgradeable due to degraded components")
        conditions.append(condition("Available", False, *found.get("Available", down)))
        conditions.append(condition("Progressing", "Progressing" in found, *found.get("Progressing", COMPLETED)))
        conditions.append(condition("Degraded", True, *found["Degraded"]))
        conditions.append(condition("Upgradeable", False, *found.get("Upgradeable", held)))
        return conditions
    conditions.append(condition("Available", "Available" not in found, *found.get("Available", COMPLETED)))
    if upgrading:
        found = {**found, "Progressing": ("HCOUpgrading", f"HCO is now upgrading to version {upgrading}")}
    conditions.append(condition("Progressing", "Progressing" in found, *found.get("Progressing", COMPLETED)))
    conditions.append(condition("Degraded", False, *COMPLETED))
    held = ("HCOProgressing", "HCO is not Upgradeable due to progressing components")
    if "Progressing" in found:
        conditions.append(condition("Upgradeable", False, *found.get("Upgradeable", held)))
    else:
        conditions.append(condition("Upgradeable", True, *COMPLETED))
    return conditions


def health(conditions: list[Object]) -> str:
    state = {item["type"]: item["status"] for item in conditions}
    if state.get("Available") != "True" or state.get("Degraded") == "True":
        return "error"
    if state.get("ReconcileComplete") != "True" or state.get("Progressing") == "True":
        return "warning"
    return "healthy"


class HyperConvergedController(Controller):
    manager_name = "hyperconverged-cluster-operator"
    watches = (HYPERCONVERGED, *OPERANDS, DEPLOYMENTS, CSVS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("hco.kubevirt.io", "hyperconvergeds"):
            return super().keys(event)
        if event.key[1] == "deployments" and event.object["metadata"]["name"] != OPERATOR:
            return ()
        return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.list(HYPERCONVERGED)]

    def reconcile(self, key: Key) -> float | None:
        hyperconverged = self.find(HYPERCONVERGED, *key)
        if hyperconverged is None or not self._operator_runs(key[0]):
            return None
        if being_deleted(hyperconverged):
            self._remove(hyperconverged)
            return None
        finalizers = hyperconverged["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            metadata = {**hyperconverged["metadata"], "finalizers": [*finalizers, FINALIZER]}
            hyperconverged = self.update(HYPERCONVERGED, {**hyperconverged, "metadata": metadata})
        if not (hyperconverged.get("status") or {}).get("conditions"):
            status = self._status(hyperconverged, initial_conditions(), None)
            self.write_status(HYPERCONVERGED, hyperconverged, status)
            return 0.0
        wait = self.remaining(hyperconverged["metadata"]["uid"], "start", START)
        if wait:
            return wait
        operands = {qualified: self._ensure(qualified, hyperconverged) for qualified in OPERANDS}
        self._aggregate(key, hyperconverged, operands)
        return None

    def _operator_runs(self, namespace: str) -> bool:
        """The operator's own deployment is up; without OLM's it is not installed."""
        return is_true(self.find(DEPLOYMENTS, namespace, OPERATOR), "Available")

    def _ensure(self, qualified: str, hyperconverged: Object) -> Object | None:
        """Create the operand, or bring its spec back to what HyperConverged says."""
        wanted = operand(qualified, hyperconverged)
        metadata = wanted["metadata"]
        live = self.find(qualified, metadata.get("namespace"), metadata["name"])
        if live is None:
            made = self.create(qualified, wanted)
            if made is not None:
                self.event(hyperconverged, "Created", f"Created {wanted['kind']} {metadata['name']}")
            return made
        if being_deleted(live):
            return live
        if not _holds(live.get("spec"), wanted["spec"]):
            live = self.update(qualified, {**live, "spec": wanted["spec"]})
            message = f"Updated {wanted['kind']} {metadata['name']}"
            self.event(hyperconverged, "Updated", message)
        return live

    def _aggregate(self, key: Key, hyperconverged: Object, operands: dict[str, Object | None]) -> None:
        version = self._version(key[0])
        reported = {item["name"]: item["version"] for item in (hyperconverged["status"].get("versions") or ())}.get(
            "operator"
        )
        found = component_findings(operands)
        upgrading = version if reported not in (None, version) and found else ""
        conditions = aggregated(found, upgrading)
        was_ready = is_true(hyperconverged, "Available") and not is_true(hyperconverged, "Progressing")
        if tainted(hyperconverged):
            conditions.append(condition("TaintedConfiguration", True, *TAINTED))
        status = self._status(hyperconverged, conditions, operands, "" if upgrading else version)
        if not tainted(hyperconverged):
            status["conditions"] = without_condition(status["conditions"], "TaintedConfiguration")
        self.write_status(HYPERCONVERGED, hyperconverged, status)
        if not found and not was_ready:
            self.event(hyperconverged, "ReconcileHCO", "HCO Reconcile completed successfully")
        elif found and was_ready:
            self.event(hyperconverged, "ReconcileHCO", "Not all the operators are ready", warning=True)

    def _status(
        self,
        hyperconverged: Object,
        conditions: list[Object],
        operands: dict[str, Object | None] | None,
        version: str = "",
    ) -> Object:
        old = hyperconverged.get("status") or {}
        generation = hyperconverged["metadata"].get("generation", 1)
        stamped = [{**item, "observedGeneration": generation} for item in conditions]
        status = {
            **old,
            "conditions": merged(list(old.get("conditions") or ()), stamped, self.cluster.clock.stamp()),
            "observedGeneration": generation,
            "systemHealthStatus": health(conditions),
            "infrastructureHighlyAvailable": True,
            "nodeInfo": {"controlPlaneArchitectures": ["amd64"], "workloadsArchitectures": ["amd64"]},
        }
        if version:
            status["versions"] = [{"name": "operator", "version": version}]
        if operands is not None:
            status["dataImportSchedule"] = "0 */12 * * *"
            status["dataImportCronTemplates"] = template_statuses(hyperconverged)
            status["relatedObjects"] = [
                {
                    "apiVersion": live["apiVersion"],
                    "kind": live["kind"],
                    "name": live["metadata"]["name"],
                    **({"namespace": live["metadata"]["namespace"]} if "namespace" in live["metadata"] else {}),
                    "resourceVersion": live["metadata"]["resourceVersion"],
                    "uid": live["metadata"]["uid"],
                }
                for live in operands.values()
                if live is not None
            ]
        return status

    def _version(self, namespace: str) -> str:
        """The version of the CSV whose operator runs."""
        for csv in self.list(CSVS, namespace):
            phase = (csv.get("status") or {}).get("phase")
            if csv["metadata"]["name"].startswith("kubevirt-hyperconverged") and phase in ("Succeeded", "Installing"):
                version: str = csv["spec"]["version"]
                return version
        return ""

    def _remove(self, hyperconverged: Object) -> None:
        left = False
        for qualified in OPERANDS:
            name, namespaced = OPERANDS[qualified][2], OPERANDS[qualified][3]
            namespace = hyperconverged["metadata"]["namespace"] if namespaced else None
            live = self.find(qualified, namespace, name)
            if live is None:
                continue
            if not being_deleted(live):
                self.delete(qualified, namespace, name)
            left = left or self.find(qualified, namespace, name) is not None
        if not left and FINALIZER in (hyperconverged["metadata"].get("finalizers") or ()):
            self.drop_finalizer(HYPERCONVERGED, hyperconverged, FINALIZER)


def _holds(live: object, wanted: object) -> bool:
    """Does C(live) equal C(wanted) but for values the API server defaulted?"""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return all(_holds(live.get(key), value) for key, value in wanted.items())
    return live == wanted
