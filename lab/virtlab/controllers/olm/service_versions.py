"""ClusterServiceVersions: Pending, InstallReady, Installing, Succeeded, and the replacement of an older one."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import is_true
from virtlab.controllers.olm.install_plans import version_of
from virtlab.controllers.olm.names import CSVS, GROUPS, group_problem, mode_problem, target_namespaces
from virtlab.controllers.ownership import being_deleted, owner_reference, references
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

DEPLOYMENTS = "deployments.apps"
CHECK = 1.0  # seconds in each phase that only looks
RETRY = 5.0  # real seconds until a failed installation is tried again

Step = tuple[str, str, str]  # phase, reason, message

PENDING: Step = ("Pending", "RequirementsUnknown", "requirements not yet checked")
READY: Step = ("InstallReady", "AllRequirementsMet", "all requirements found, attempting install")
INSTALLING: Step = ("Installing", "InstallSucceeded", "waiting for install components to report healthy")
SUCCEEDED: Step = ("Succeeded", "InstallSucceeded", "install strategy completed with no errors")
REPLACED: Step = (
    "Deleting",
    "Replaced",
    "has been replaced by a newer ClusterServiceVersion that has successfully installed.",
)


def waiting_for(deployment: str) -> Step:
    text = (
        f"installing: waiting for deployment {deployment} to become ready: "
        f'deployment "{deployment}" not available: Deployment does not have minimum availability.'
    )
    return ("Installing", "InstallWaiting", text)


class CsvController(Controller):
    manager_name = "olm"
    watches = (CSVS, DEPLOYMENTS, GROUPS)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "clusterserviceversions":
            replaces = event.object["spec"].get("replaces")
            found = [] if event.type == "DELETED" else [(metadata["namespace"], metadata["name"])]
            return [*found, (metadata["namespace"], replaces)] if replaces else found
        if event.key[1] == "operatorgroups":
            return [
                (metadata["namespace"], item["metadata"]["name"]) for item in self.list(CSVS, metadata["namespace"])
            ]
        return [
            (metadata["namespace"], owner["name"])
            for owner in references(event.object)
            if owner["kind"] == "ClusterServiceVersion"
        ]

    def reconcile(self, key: Key) -> float | None:
        csv = self.find(CSVS, *key)
        if csv is None or being_deleted(csv):
            return None
        phase = (csv.get("status") or {}).get("phase", "")
        problem = self._group_step(csv)
        if problem is not None:
            self._set(csv, problem)
            return None
        newer = self._newer(csv)
        if newer is not None:
            return self._replace(key, csv, newer, phase)
        if phase == "Failed" and self.cluster.faults.import_failure(f"{key[0]}/{key[1]}"):
            return RETRY
        if phase in ("", "Failed"):
            self._set(csv, PENDING)
            return None
        if phase in ("Pending", "InstallReady"):
            wait = self.remaining(csv["metadata"]["uid"], phase, CHECK)
            if wait:
                return wait
            if phase == "Pending":
                self._set(csv, READY)
            else:
                self._deploy(csv)
                self._set(csv, INSTALLING)
            return None
        fault = self.cluster.faults.import_failure(f"{key[0]}/{key[1]}")
        missing = self._unready(csv)
        if fault is not None:
            self._set(csv, ("Failed", "InstallCheckFailed", f"install failed: {fault}"))
            return RETRY
        if missing is None:
            self._set(csv, SUCCEEDED)
        elif self.find(DEPLOYMENTS, key[0], missing) is None:
            self._deploy(csv)
        else:
            self._set(csv, waiting_for(missing))
        return None

    def _group_step(self, csv: Object) -> Step | None:
        namespace = csv["metadata"]["namespace"]
        groups = self.list(GROUPS, namespace)
        problem = group_problem(groups)
        if problem is not None:
            reason = "TooManyOperatorGroups" if groups else "NoOperatorGroup"
            text = "csv created in namespace with multiple operatorgroups, can't pick one automatically"
            return ("Failed", reason, text if groups else "csv in namespace with no operatorgroups")
        found = version_of(csv["metadata"]["name"])
        if found is None:
            return None
        problem = mode_problem(found[0].install_modes, namespace, target_namespaces(groups[0]))
        return ("Failed", "UnsupportedOperatorGroup", problem) if problem else None

    def _newer(self, csv: Object) -> Object | None:
        namespace, name = csv["metadata"]["namespace"], csv["metadata"]["name"]
        return next((item for item in self.list(CSVS, namespace) if item["spec"].get("replaces") == name), None)

    def _replace(self, key: Key, csv: Object, newer: Object, phase: str) -> float | None:
        if (newer.get("status") or {}).get("phase") == "Succeeded":
            if phase != "Deleting":
                self._set(csv, REPLACED)
                return None
            wait = self.remaining(csv["metadata"]["uid"], phase, CHECK)
            if wait:
                return wait
            self.delete(CSVS, *key)
            return None
        if phase != "Replacing":
            text = f"being replaced by csv: {newer['metadata']['name']}"
            self._set(csv, ("Replacing", "BeingReplaced", text))
        return None

    def _deploy(self, csv: Object) -> None:
        """Create the CSV's deployments, or take them over from the CSV it replaces."""
        namespace = csv["metadata"]["namespace"]
        for wanted in csv["spec"]["install"]["spec"]["deployments"]:
            live = self.find(DEPLOYMENTS, namespace, wanted["name"])
            metadata = {
                "name": wanted["name"],
                "namespace": namespace,
                "labels": {"olm.owner": csv["metadata"]["name"], "olm.owner.namespace": namespace},
                "ownerReferences": [{**owner_reference(csv, controller=False), "blockOwnerDeletion": False}],
            }
            manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": wanted["spec"]}
            if live is None:
                self.create(DEPLOYMENTS, manifest)
            else:
                self.update(DEPLOYMENTS, {**live, "metadata": {**live["metadata"], **metadata}, "spec": wanted["spec"]})

    def _unready(self, csv: Object) -> str | None:
        """The first deployment that is not available."""
        for wanted in csv["spec"]["install"]["spec"]["deployments"]:
            live = self.find(DEPLOYMENTS, csv["metadata"]["namespace"], wanted["name"])
            if live is None or not is_true(live, "Available"):
                name: str = wanted["name"]
                return name
        return None

    def _set(self, csv: Object, step: Step) -> None:
        phase, reason, message = step
        old = csv.get("status") or {}
        if (old.get("phase"), old.get("reason"), old.get("message")) == step:
            return
        stamp = self.cluster.clock.stamp()
        entry = {
            "phase": phase,
            "reason": reason,
            "message": message,
            "lastUpdateTime": stamp,
            "lastTransitionTime": stamp if old.get("phase") != phase else old.get("lastTransitionTime", stamp),
        }
        status = {**old, **entry, "conditions": [*(old.get("conditions") or ()), entry][-20:], "cleanup": {}}
        self.write_status(CSVS, csv, status)
        self.event(csv, reason, message, warning=phase == "Failed", component="operator-lifecycle-manager")
