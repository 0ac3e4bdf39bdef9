# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing an operator: from the catalog's package to the object that deploys the product, and its readiness."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..cluster.client import Client
from ..cluster.declare import declare
from ..cluster.errors import ClusterError, NotServed, Unavailable
from ..cluster.resource import Object, Resource
from ..cluster.verdict import Ready
from ..cluster.wait import LATE, WaitTimeout, wait
from ..known import known
from ..objects import hyperconverged, olm
from ..objects.core import NAMESPACE, POD
from ..task import Failure, Result, Task
from . import wish as wishes
from .catalog import CatalogNotReady, package_manifest
from .steps import Deadline, Steps
from .wish import Wish

# How long the webhook of an operator that has just come up may still refuse connections.
WEBHOOK_SECONDS = 120.0

# How long a release that reports no conditions is given to do so.
SILENT_SECONDS = 120.0

# How long after its connection a catalog's packages may still be missing.
CATALOG_SECONDS = 60.0


@dataclass
class Standing:
    """What there is of an installation."""

    namespace: Object | None
    group: Object | None
    subscription: Object | None
    instance_resource: Resource | None
    instance: Object | None


def install(client: Client, wish: Wish, task: Task) -> Result:
    """Make or adopt the installation and, if asked to, wait until it is ready. Raises Failure."""
    installation = _Installation(client, wish, task)
    installation.declare()
    return installation.result()


class _Installation:
    """One run of a task: the objects in their order, and what was found and done on the way."""

    def __init__(self, client: Client, wish: Wish, task: Task) -> None:
        self.client = client
        self.wish = wish
        self.product = wish.product
        self.task = task
        self.waits = bool(task.params["wait"]) and not task.check_mode
        self.deadline = Deadline(task.params["wait_timeout"])
        self.steps = Steps()
        self.there = _survey(client, wish)
        self.csv: Object | None = None
        self.pending_plan: Object | None = None

    def declare(self) -> None:
        self._check_certificates()
        spec = wishes.subscription_spec(self.wish, self.there.subscription)
        changes = self.there.subscription is None or any(
            self.there.subscription["spec"].get(key) != value for key, value in spec.items()
        )
        channel = self._offered(spec) if changes else None
        if spec.get("installPlanApproval") == "Manual":
            self.task.warn(wishes.MANUAL_RISKS)
        self._namespace()
        self._operator_group(channel)
        if changes:
            self.there.subscription = self._written(
                olm.SUBSCRIPTION, wishes.subscription(self.wish, spec, self.there.subscription), self.there.subscription
            )
        self._operator(channel)
        self._instance()

    def result(self) -> Result:
        """What the module returns."""
        told: dict[str, Any] = {}
        if self.there.subscription is not None:
            spec, status = self.there.subscription["spec"], self.there.subscription.get("status") or {}
            told["subscription"] = {
                "name": self.there.subscription["metadata"]["name"],
                "channel": spec.get("channel"),
                "approval": spec.get("installPlanApproval"),
                "state": status.get("state"),
            }
        if self.csv is not None:
            told["csv"] = {"name": self.csv["metadata"]["name"], "phase": (self.csv.get("status") or {}).get("phase")}
        if self.pending_plan is not None:
            told["install_plan"] = _plan_facts(self.pending_plan)
        if self.there.instance is not None:
            status = self.there.instance.get("status") or {}
            told["instance"] = {
                "kind": self.product.kind,
                "name": self.product.name,
                "conditions": status.get("conditions") or [],
                "versions": status.get("versions") or [],
            }
        return self.steps.result(diff=self.task.diff) | told

    def _check_certificates(self) -> None:
        if not self.wish.certificates:
            return
        resource, live = self.there.instance_resource, self.there.instance or {}
        path = hyperconverged.CERTIFICATES[resource.version] if resource else ()
        there = hyperconverged.at_path(live.get("spec") or {}, path) if path else None
        problems = hyperconverged.certificate_problems(self.wish.certificates, there)
        if problems:
            raise Failure(f"The life times of certificates are not acceptable: {'; '.join(problems)}.")

    def _offered(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The channel that the Subscription is to follow, which is written into C(spec) where none was named."""
        manifest = self._manifest(spec["source"], spec["sourceNamespace"])
        channel = olm.channel_of(manifest, spec.get("channel"))
        spec["channel"] = channel["name"]
        if self.there.subscription is None:
            olm.check_starting_csv(channel, spec.get("startingCSV"))
        return channel

    def _manifest(self, source: str, source_namespace: str) -> Object:
        """The package as the catalog offers it. One that is just starting is waited for, if to be waited at all."""
        try:
            return package_manifest(self.client, self.wish.package, source, source_namespace)
        except CatalogNotReady:
            if not self.waits:
                raise
        wait(
            self.client,
            olm.CATALOG_SOURCE,
            source,
            source_namespace,
            olm.catalog_connected,
            timeout=self.deadline.remaining,
            progress=self.task.progress,
        )
        limit = Deadline(min(CATALOG_SECONDS, self.deadline.remaining))
        while True:
            try:
                return package_manifest(self.client, self.wish.package, source, source_namespace)
            except Failure:
                if limit.over:
                    raise
            time.sleep(1.0)

    def _namespace(self) -> None:
        if self.there.namespace is None:
            self.there.namespace = self._written(NAMESPACE, wishes.namespace(self.wish), None)
        elif self.there.namespace["metadata"].get("deletionTimestamp"):
            raise Failure(
                f"The namespace {self.wish.namespace} is being deleted. Run this again when it is gone; "
                "virtstack.core.operator with state absent and wait says what holds it."
            )

    def _operator_group(self, channel: dict[str, Any] | None) -> None:
        if self.there.group is None:
            own = channel is None or olm.supports_own_namespace(channel)
            body = olm.operator_group(self.wish.package, self.wish.namespace, own_namespace=own)
            self.there.group = self._written(olm.OPERATOR_GROUP, body, None)

    def _written(self, resource: Resource, body: Object, live: Object | None) -> Object:
        outcome = declare(
            self.client,
            resource,
            body,
            live=live,
            check_mode=self.task.check_mode,
            force_conflicts=self.task.params["force_conflicts"],
        )
        return self.steps.take(outcome).after or body

    def _operator(self, channel: dict[str, Any] | None) -> None:
        """From the Subscription to a ClusterServiceVersion that succeeded, as far as it is to be waited for."""
        if self.waits:
            changed = self.there.subscription if channel is not None else None
            head = channel["currentCSV"] if channel and olm.installed_csv(changed) else None
            self._settled(head=head)
        self._approval()
        name = olm.installed_csv(self.there.subscription)
        if name is None:
            return
        if not self.waits:
            self.csv = self.client.get(olm.CLUSTER_SERVICE_VERSION, name, self.wish.namespace)
            return
        self.csv = wait(
            self.client,
            olm.CLUSTER_SERVICE_VERSION,
            name,
            self.wish.namespace,
            olm.csv_succeeded,
            timeout=self.deadline.remaining,
            progress=self.task.progress,
        )

    def _settled(self, *, head: str | None = None, approved: str | None = None) -> None:
        subscription = known(self.there.subscription)
        self.there.subscription = wait(
            self.client,
            olm.SUBSCRIPTION,
            subscription["metadata"]["name"],
            self.wish.namespace,
            lambda subscription: olm.subscription_settled(subscription, head=head, approved=approved),
            timeout=self.deadline.remaining,
            progress=self.task.progress,
        )

    def _approval(self) -> None:
        """Approve the InstallPlan that everything waits for, if told to, and tell of the one that waits then."""
        plan = self._waiting_plan()
        if plan is not None and self.wish.approve:
            self._approve(plan)
            plan = self._waiting_plan() if self.waits else None
        if plan is None:
            return
        self.pending_plan = plan
        told = (
            f"The InstallPlan {self.wish.namespace}/{plan['metadata']['name']} waits for approval; it would install "
            f"{', '.join(plan['spec']['clusterServiceVersionNames'])}. Approve it with approve: true or in the console."
        )
        if self.waits and olm.installed_csv(self.there.subscription) is None:
            raise Failure(told, install_plan=_plan_facts(plan), **self.steps.result(diff=self.task.diff))
        self.task.warn(told)

    def _waiting_plan(self) -> Object | None:
        name = olm.install_plan_of(self.there.subscription)
        status = (self.there.subscription or {}).get("status") or {}
        if name is None or status.get("installedCSV") == status.get("currentCSV"):
            return None
        plan = self.client.get(olm.INSTALL_PLAN, name, self.wish.namespace)
        return plan if olm.awaits_approval(plan) else None

    def _approve(self, plan: Object) -> None:
        name, namespace = plan["metadata"]["name"], self.wish.namespace
        change = {"spec": {"approved": True}}
        after = self.client.patch(olm.INSTALL_PLAN, name, namespace, change, dry_run=self.task.check_mode)
        self.steps.add("approved", olm.INSTALL_PLAN, plan, after)
        if self.waits:
            self._settled(approved=name)

    def _instance(self) -> None:
        """Make the instance, or lay what is declared over the one that is there; nothing else of it is touched."""
        if self.there.instance is None:
            self._create_instance()
        else:
            self._adapt_instance(self.there.instance)
        if self.waits and self.there.instance_resource and self.there.instance:
            self._wait_for_instance(self.there.instance_resource)

    def _create_instance(self) -> None:
        if self.there.instance_resource is None and not self.task.check_mode:
            self.there.instance_resource, self.there.instance = self.product.instance(self.client, self.wish.namespace)
        resource = self.there.instance_resource or self.product.versions[0]
        spec = wishes.instance_spec(self.wish, resource.version)
        body = self.product.manifest(resource, spec, self.wish.namespace)
        if self.task.check_mode:
            self.steps.add("created", resource, None, body)
        elif self.there.instance_resource is None or not isinstance(olm.csv_succeeded(self.csv), Ready):
            self.task.warn(
                f"{self.product.kind} is not created yet, as the operator that serves it is not up: run this task "
                "again, or set wait: true."
            )
        else:
            self.there.instance = self._create_when_served(resource, body)
            self.steps.add("created", resource, None, self.there.instance)

    def _create_when_served(self, resource: Resource, body: Object) -> Object:
        # Created, not applied: the module hyperconverged applies its own fields there, and must not drop these.
        limit = Deadline(min(WEBHOOK_SECONDS, self.deadline.remaining) if self.waits else 0)
        while True:
            try:
                return self.client.create(resource, body)
            except (Unavailable, NotServed) as error:
                if limit.over:
                    raise
                self.task.progress(f"{self.product.kind} {self.product.name}: {error.message}")
            time.sleep(2.0)

    def _adapt_instance(self, live: Object) -> None:
        resource = known(self.there.instance_resource)
        spec = wishes.instance_patch(self.wish, resource.version, live.get("spec") or {})
        if spec:
            namespace = live["metadata"].get("namespace")
            self.there.instance = self.client.patch(
                resource, self.product.name, namespace, {"spec": spec}, dry_run=self.task.check_mode
            )
            self.steps.add("updated", resource, live, self.there.instance)

    def _wait_for_instance(self, resource: Resource) -> None:
        namespace = self.wish.namespace if resource.namespaced else None
        remaining = self.deadline.remaining
        silence = min(SILENT_SECONDS, remaining) if self.product.may_be_silent else remaining
        try:
            self.there.instance = wait(
                self.client,
                resource,
                self.product.name,
                namespace,
                self.product.ready,
                timeout=silence,
                progress=self.task.progress,
            )
        except WaitTimeout as error:
            reader = self.client.until(time.monotonic() + LATE)
            found = reader.get(resource, self.product.name, namespace) if self.product.may_be_silent else None
            if found is not None and not (found.get("status") or {}).get("conditions"):
                return
            error.message += _pods_not_running(reader, self.wish.namespace)
            raise


def _pods_not_running(client: Client, namespace: str) -> str:
    try:
        pods = client.list(POD, namespace).items
    except ClusterError:
        return ""
    waiting = [
        f"{pod['metadata']['name']} ({phase})"
        for pod in pods
        if (phase := (pod.get("status") or {}).get("phase")) not in ("Running", "Succeeded")
    ]
    return f" Pods that do not run: {', '.join(waiting)}." if waiting else ""


def _survey(client: Client, wish: Wish) -> Standing:
    """Read what there is. Raises Failure for what makes an installation impossible."""
    namespace = client.get(NAMESPACE, wish.namespace)
    groups = client.list(olm.OPERATOR_GROUP, wish.namespace).items
    subscriptions = client.list(olm.SUBSCRIPTION, wish.namespace).items
    resource, live = wish.product.instance(client, wish.namespace)
    return Standing(
        namespace,
        olm.the_operator_group(groups, wish.namespace),
        olm.the_subscription(subscriptions, wish.package),
        resource,
        live,
    )


def _plan_facts(plan: Object) -> dict[str, Any]:
    return {"name": plan["metadata"]["name"], "csvs": plan["spec"]["clusterServiceVersionNames"]}
