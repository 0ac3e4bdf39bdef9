"""Install plans: wait for approval where that is asked, then create the CRDs and the CSV."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import condition, merged
from virtlab.controllers.definitions import CRDS, definitions_of
from virtlab.controllers.olm.csv_manifest import csv_for
from virtlab.controllers.olm.names import CSVS, GROUPS, INSTALL_PLANS, component_label, group_problem
from virtlab.controllers.olm.packages import PACKAGES, Package, Version
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

UNPACK = 2.0  # seconds
INSTALL = 2.0


def version_of(csv: str) -> tuple[Package, str, Version] | None:
    """The package, channel and version of a CSV name."""
    for package in PACKAGES.values():
        for channel in package.channels:
            version = package.find(channel, csv)
            if version is not None:
                return package, channel, version
    return None


class InstallPlanController(Controller):
    manager_name = "catalog"
    watches = (INSTALL_PLANS, GROUPS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "installplans":
            return super().keys(event) if event.type != "DELETED" else ()
        namespace = event.object["metadata"]["namespace"]
        return [(namespace, item["metadata"]["name"]) for item in self.list(INSTALL_PLANS, namespace)]

    def reconcile(self, key: Key) -> float | None:
        plan = self.find(INSTALL_PLANS, *key)
        if plan is None or being_deleted(plan):
            return None
        status, uid = dict(plan.get("status") or {}), plan["metadata"]["uid"]
        phase = status.get("phase")
        found = version_of(plan["spec"]["clusterServiceVersionNames"][0])
        if phase in ("Complete", "Failed") or found is None:
            return None
        if phase in (None, "", "Planning"):
            wait = self.remaining(uid, "unpack", UNPACK)
            next_phase = "Installing" if plan["spec"].get("approved") else "RequiresApproval"
            status["phase"] = "Planning" if wait else next_phase
            status["catalogSources"] = []
            status["plan"] = self._steps(plan, found, "Unknown")
            self.write_status(INSTALL_PLANS, plan, status)
            return wait or None
        if phase == "RequiresApproval":
            if plan["spec"].get("approved"):
                self.write_status(INSTALL_PLANS, plan, {**status, "phase": "Installing"})
            return None
        return self._install(key, plan, status, found)

    def _install(self, key: Key, plan: Object, status: Object, found: tuple[Package, str, Version]) -> float | None:
        namespace, stamp = key[0], self.cluster.clock.stamp()
        problem = group_problem(self.list(GROUPS, namespace))
        if problem is not None:
            failed = condition("Installed", False, "InstallCheckFailed", problem, lastUpdateTime=stamp)
            status.update(message=problem)
            if not any(item.get("message") == problem for item in status.get("conditions") or ()):
                status["conditions"] = merged(list(status.get("conditions") or ()), [failed], stamp)
            self.write_status(INSTALL_PLANS, plan, status)
            return None
        wait = self.remaining(plan["metadata"]["uid"], "install", INSTALL)
        if wait:
            return wait
        package, _, version = found
        label = component_label(package.name, namespace)
        for crd in definitions_of(self.cluster, package.owner):
            live = self.find(CRDS, None, crd["metadata"]["name"])
            labels = {**((live or {}).get("metadata", {}).get("labels") or {}), label: "", "olm.managed": "true"}
            if live is None:
                self.create(CRDS, {**crd, "metadata": {**crd["metadata"], "labels": labels}})
            elif label not in (live["metadata"].get("labels") or {}):
                self.update(CRDS, {**live, "metadata": {**live["metadata"], "labels": labels}})
        if self.find(CSVS, namespace, version.csv) is None:
            group = self.list(GROUPS, namespace)[0]
            owned = definitions_of(self.cluster, package.owner)
            self.create(CSVS, csv_for(package, version, namespace, group, owned))
        installed = condition("Installed", True, lastUpdateTime=stamp)
        status.pop("message", None)
        status.update(
            phase="Complete",
            conditions=merged(list(status.get("conditions") or ()), [installed], stamp),
            plan=self._steps(plan, found, "Created"),
            startTime=stamp,
        )
        self.write_status(INSTALL_PLANS, plan, status)
        return None

    def _steps(self, plan: Object, found: tuple[Package, str, Version], state: str) -> list[Object]:
        package, _, version = found
        csv = {"group": "operators.coreos.com", "version": "v1alpha1", "kind": "ClusterServiceVersion"}
        crd = {"group": "apiextensions.k8s.io", "version": "v1", "kind": "CustomResourceDefinition"}
        resources = [{**csv, "name": version.csv}]
        resources += [{**crd, "name": item["metadata"]["name"]} for item in definitions_of(self.cluster, package.owner)]
        return [
            {
                "resolving": version.csv,
                "status": state,
                "resource": {**resource, "manifest": "", "sourceName": "", "sourceNamespace": ""},
            }
            for resource in resources
        ]
