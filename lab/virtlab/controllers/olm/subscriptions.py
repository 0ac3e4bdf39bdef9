"""Subscriptions: resolve what is to be installed next, make its install plan, follow it to the CSV."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import condition, merged, without_condition
from virtlab.controllers.olm.names import CATALOGS, CSVS, GROUPS, INSTALL_PLANS, SUBSCRIPTIONS, component_label
from virtlab.controllers.olm.packages import PACKAGES, Package, Version
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

RESOLVE = 3.0  # seconds to ask the catalogs and unpack the bundle


def resolution_problem(subscription: Object, catalogs: list[Object]) -> str | None:
    """Why the subscription cannot be resolved, in OLM's words; None when it can."""
    name, spec = subscription["metadata"]["name"], subscription["spec"]
    source = (spec["sourceNamespace"], spec["source"])
    package = PACKAGES.get(spec["name"])
    if source not in [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in catalogs]:
        text = f"no operators found from catalog {source[1]} in namespace {source[0]} referenced by subscription {name}"
    elif package is None:
        text = f"no operators found in package {spec['name']} in the catalog referenced by subscription {name}"
    elif spec.get("channel") and spec["channel"] not in package.channels:
        text = (
            f"no operators found in channel {spec['channel']} of package {spec['name']} "
            f"in the catalog referenced by subscription {name}"
        )
    elif spec.get("startingCSV") and package.find(channel_of(subscription, package), spec["startingCSV"]) is None:
        text = (
            f"no operators found with name {spec['startingCSV']} in channel {channel_of(subscription, package)} "
            f"of package {spec['name']} in the catalog referenced by subscription {name}"
        )
    else:
        return None
    return f"constraints not satisfiable: {text}, subscription {name} exists"


def channel_of(subscription: Object, package: Package) -> str:
    return subscription["spec"].get("channel") or package.default_channel


def next_version(subscription: Object, package: Package, installed: str | None) -> Version | None:
    """What to install: the starting CSV or the channel's head at first, then each successor."""
    channel = channel_of(subscription, package)
    if installed:
        return package.successor(channel, installed)
    starting = subscription["spec"].get("startingCSV")
    return package.find(channel, starting) if starting else package.head(channel)


class SubscriptionController(Controller):
    manager_name = "catalog"
    watches = (SUBSCRIPTIONS, INSTALL_PLANS, CSVS, CATALOGS, GROUPS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "subscriptions":
            return super().keys(event) if event.type != "DELETED" else ()
        namespace = None if event.key[1] == "catalogsources" else event.object["metadata"].get("namespace")
        return [
            (item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.list(SUBSCRIPTIONS, namespace)
        ]

    def reconcile(self, key: Key) -> float | None:
        subscription = self.find(SUBSCRIPTIONS, *key)
        if subscription is None or being_deleted(subscription):
            return None
        subscription = self._label(subscription)
        status = dict(subscription.get("status") or {})
        stamp = self.cluster.clock.stamp()
        catalogs = self.list(CATALOGS)
        status["catalogHealth"] = [
            {
                "catalogSourceRef": {
                    "apiVersion": "operators.coreos.com/v1alpha1",
                    "kind": "CatalogSource",
                    "name": item["metadata"]["name"],
                    "namespace": item["metadata"]["namespace"],
                    "uid": item["metadata"]["uid"],
                },
                "healthy": True,
                "lastUpdated": item["metadata"]["creationTimestamp"],
            }
            for item in catalogs
        ]
        healthy = condition(
            "CatalogSourcesUnhealthy", False, "AllCatalogSourcesHealthy", "all available catalogsources are healthy"
        )
        conditions = merged(list(status.get("conditions") or ()), [healthy], stamp)
        problem = resolution_problem(subscription, catalogs)
        wait = 0.0
        if problem is not None:
            failed = condition("ResolutionFailed", True, "ConstraintsNotSatisfiable", problem)
            conditions = merged(conditions, [failed], stamp)
        else:
            conditions = without_condition(conditions, "ResolutionFailed")
            wait = self.remaining(subscription["metadata"]["uid"], "resolve", RESOLVE)
            if not wait:
                conditions = self._proceed(subscription, status, conditions)
        status["conditions"] = conditions
        if any(status.get(name) != value for name, value in (subscription.get("status") or {}).items()) or len(
            status
        ) != len(subscription.get("status") or {}):
            status["lastUpdated"] = stamp
        before = (subscription.get("status") or {}).get("conditions")
        self.write_status(SUBSCRIPTIONS, subscription, status)
        if problem is not None and before != conditions:
            self.event(subscription, "ResolutionFailed", problem, warning=True, component="operator-lifecycle-manager")
        return wait or None

    def _label(self, subscription: Object) -> Object:
        metadata = subscription["metadata"]
        label = component_label(subscription["spec"]["name"], metadata["namespace"])
        labels = metadata.get("labels") or {}
        if label in labels:
            return subscription
        return self.update(SUBSCRIPTIONS, {**subscription, "metadata": {**metadata, "labels": {**labels, label: ""}}})

    def _proceed(self, subscription: Object, status: Object, conditions: list[Object]) -> list[Object]:
        """Follow the current plan, or make the next; edits C(status), returns the conditions."""
        package = PACKAGES[subscription["spec"]["name"]]
        namespace = subscription["metadata"]["namespace"]
        current = status.get("currentCSV")
        live = self.find(CSVS, namespace, current) if current else None
        phase = ((live or {}).get("status") or {}).get("phase")
        if live is not None and phase == "Succeeded":
            status["installedCSV"] = current
            status["state"] = "AtLatestKnown"
        if current and status.get("installedCSV") != current:
            plan = self._plan(subscription, status)
            if plan is not None and plan["spec"]["clusterServiceVersionNames"] == [current]:
                return self._follow(status, conditions, plan)
        installed = status.get("installedCSV")
        version = next_version(subscription, package, installed)
        if version is None:
            return without_condition(conditions, "InstallPlanPending")
        plan = self._make_plan(subscription, package, version, status)
        status["currentCSV"] = version.csv
        status["state"] = "UpgradePending"
        reference = {
            "apiVersion": "operators.coreos.com/v1alpha1",
            "kind": "InstallPlan",
            "name": plan["metadata"]["name"],
            "namespace": namespace,
            "resourceVersion": plan["metadata"]["resourceVersion"],
            "uid": plan["metadata"]["uid"],
        }
        status["installPlanRef"] = reference
        status["installplan"] = {
            "apiVersion": reference["apiVersion"],
            "kind": "InstallPlan",
            "name": reference["name"],
            "uuid": reference["uid"],
        }
        status["installPlanGeneration"] = plan["spec"]["generation"]
        return self._follow(status, conditions, plan)

    def _follow(self, status: Object, conditions: list[Object], plan: Object) -> list[Object]:
        phase = (plan.get("status") or {}).get("phase")
        if phase in ("RequiresApproval", "Installing", "Planning", "", None):
            reason = phase or "InstallPlanNotYetReconciled"
            wanted = condition("InstallPlanPending", True, reason)
            return merged(conditions, [wanted], self.cluster.clock.stamp())
        if phase == "Failed":
            message = (plan["status"].get("message")) or "install plan failed"
            failed = condition("InstallPlanFailed", True, "InstallComponentFailed", message)
            conditions = without_condition(conditions, "InstallPlanPending")
            return merged(conditions, [failed], self.cluster.clock.stamp())
        return without_condition(without_condition(conditions, "InstallPlanPending"), "InstallPlanFailed")

    def _plan(self, subscription: Object, status: Object) -> Object | None:
        reference = status.get("installPlanRef") or {}
        return self.find(INSTALL_PLANS, subscription["metadata"]["namespace"], reference.get("name", ""))

    def _make_plan(self, subscription: Object, package: Package, version: Version, status: Object) -> Object:
        namespace = subscription["metadata"]["namespace"]
        for plan in self.list(INSTALL_PLANS, namespace):
            open_plan = (plan.get("status") or {}).get("phase") not in ("Complete", "Failed")
            if open_plan and plan["spec"]["clusterServiceVersionNames"] == [version.csv]:
                return plan
        automatic = subscription["spec"].get("installPlanApproval", "Automatic") == "Automatic"
        manifest = {
            "apiVersion": "operators.coreos.com/v1alpha1",
            "kind": "InstallPlan",
            "metadata": {
                "generateName": "install-",
                "namespace": namespace,
                "labels": {component_label(package.name, namespace): ""},
                "ownerReferences": [owner_reference(subscription, controller=False, block=False)],
            },
            "spec": {
                "approval": "Automatic" if automatic else "Manual",
                "approved": automatic,
                "clusterServiceVersionNames": [version.csv],
                "generation": int(status.get("installPlanGeneration") or 0) + 1,
            },
        }
        made = self.create(INSTALL_PLANS, manifest)
        if made is None:
            raise LookupError("the name of a new install plan was taken")
        return made
