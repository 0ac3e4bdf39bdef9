"""virt-operator, cdi-operator, the network addons operator and ssp-operator: one controller reading the table."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import condition, is_true, merged
from virtlab.controllers.definitions import CRDS, definitions_of
from virtlab.controllers.hco.components import COMPONENTS, Component, workload
from virtlab.controllers.ownership import being_deleted, owner_reference, references
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

DEPLOYMENTS = "deployments.apps"
DAEMON_SETS = "daemonsets.apps"
START = 2.0  # seconds until the operator has looked at a new CR
OPERATOR_NAMESPACE = "openshift-cnv"


def ready(obj: Object | None) -> bool:
    """Is the deployment available, or the daemon set ready everywhere?"""
    if obj is None:
        return False
    if obj["kind"] == "Deployment":
        return is_true(obj, "Available")
    status = obj.get("status") or {}
    return bool(status) and status.get("numberReady", 0) >= status.get("desiredNumberScheduled", 0)


def component_conditions(component: Component, waiting: list[str]) -> list[Object]:
    """The conditions of a component's CR while C(waiting) workloads are not ready."""
    if waiting:
        text = f"Deploying version {component.version}: waiting for {', '.join(waiting)}"
        return [
            condition("Available", False, "DeploymentInProgress", text),
            condition("Progressing", True, "DeploymentInProgress", text),
            condition("Degraded", False, "DeploymentInProgress", text),
        ]
    return [
        condition("Available", True, "AllComponentsReady", "All components are ready."),
        condition("Progressing", False, "AllComponentsReady", "All components are ready."),
        condition("Degraded", False, "AllComponentsReady", "All components are ready."),
    ]


class ComponentOperator(Controller):
    """Deploys a component and its CRDs while its CR exists; takes both away with it.

    Keys are C((namespace, resource/name)): one controller serves the four kinds of CR.
    """

    manager_name = "virt-operator"
    watches = (*COMPONENTS, DEPLOYMENTS, DAEMON_SETS, CRDS)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        qualified = f"{event.key[1]}.{event.key[0]}"
        if qualified in COMPONENTS:
            return [(metadata.get("namespace", ""), f"{qualified}/{metadata['name']}")]
        if event.key[1] == "customresourcedefinitions":
            return self._all() if event.type == "DELETED" else ()
        owners = {owner["kind"] for owner in references(event.object)}
        return [key for key in self._all() if COMPONENTS[key[1].partition("/")[0]].title in owners]

    def _all(self) -> list[Key]:
        return [
            (obj["metadata"].get("namespace", ""), f"{qualified}/{obj['metadata']['name']}")
            for qualified in COMPONENTS
            for obj in self.list(qualified)
        ]

    def reconcile(self, key: Key) -> float | None:
        qualified, _, name = key[1].partition("/")
        component = COMPONENTS[qualified]
        owner = self.find(qualified, key[0], name)
        if owner is None:
            return None
        if being_deleted(owner):
            return self._remove(component, owner)
        finalizers = owner["metadata"].get("finalizers") or []
        if component.finalizer and component.finalizer not in finalizers:
            metadata = {**owner["metadata"], "finalizers": [*finalizers, component.finalizer]}
            owner = self.update(qualified, {**owner, "metadata": metadata})
        uid = owner["metadata"]["uid"]
        if not (owner.get("status") or {}).get("conditions"):
            self._report(component, owner, ["the operator"])
            return 0.0
        wait = self.remaining(uid, "start", START)
        if wait:
            return wait
        self._define(component)
        namespace = key[0] or OPERATOR_NAMESPACE
        reference = owner_reference(owner)
        waiting = []
        for deployment, replicas in component.deployments.items():
            live = self.find(DEPLOYMENTS, namespace, deployment)
            if live is None:
                made = workload("Deployment", deployment, namespace, component, reference, replicas)
                live = self.create(DEPLOYMENTS, made)
            if not ready(live):
                waiting.append(f"deployment/{deployment}")
        for daemon_set in component.daemon_sets:
            live = self.find(DAEMON_SETS, namespace, daemon_set)
            if live is None:
                live = self.create(DAEMON_SETS, workload("DaemonSet", daemon_set, namespace, component, reference))
            if not ready(live):
                waiting.append(f"daemonset/{daemon_set}")
        self._report(component, owner, waiting)
        return None

    def _define(self, component: Component) -> None:
        for crd in definitions_of(self.cluster, component.owner):
            if self.find(CRDS, None, crd["metadata"]["name"]) is None:
                labels = {"app.kubernetes.io/managed-by": f"{component.label}-operator", "lab/owner": component.owner}
                self.create(CRDS, {**crd, "metadata": {**crd["metadata"], "labels": labels}})

    def _report(self, component: Component, owner: Object, waiting: list[str]) -> None:
        status = dict(owner.get("status") or {})
        deployed = not waiting
        if status.get("phase") != "Deployed" or deployed:
            status["phase"] = "Deployed" if deployed else "Deploying"
        status["observedGeneration"] = owner["metadata"].get("generation", 1)
        for field in component.version_fields:
            if deployed or field.startswith(("operator", "target")):
                status[field] = component.version
        wanted = component_conditions(component, waiting)
        if component.title == "KubeVirt":
            wanted.insert(0, condition("Created", True, "AllResourcesCreated", "All resources were created."))
            status.setdefault("defaultArchitecture", "amd64")
        status["conditions"] = merged(list(status.get("conditions") or ()), wanted, self.cluster.clock.stamp())
        self.write_status(component.resource, owner, status)

    def _remove(self, component: Component, owner: Object) -> float | None:
        """Take the CRDs and what is in them, then the workloads (the garbage collector's), then let the CR go."""
        if component.finalizer not in (owner["metadata"].get("finalizers") or ()):
            return None
        status = owner.get("status") or {}
        if status.get("phase") != "Deleting":
            owner = self.write_status(component.resource, owner, {**status, "phase": "Deleting"})
        left = False
        for crd in definitions_of(self.cluster, component.owner):
            name = crd["metadata"]["name"]
            live = self.find(CRDS, None, name)
            if live is not None and not being_deleted(live):
                self.delete(CRDS, None, name)
                live = self.find(CRDS, None, name)
            left = left or live is not None
        if left:
            return None
        self.drop_finalizer(component.resource, owner, component.finalizer)
        return None
