# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing an operator in the documented order of OpenShift Virtualization, and never a machine with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..cluster.client import Client
from ..cluster.errors import ClusterError, NotServed
from ..cluster.resource import Object, Resource
from ..cluster.verdict import deleted
from ..cluster.wait import wait
from ..objects import namespaces, olm
from ..objects.core import CUSTOM_RESOURCE_DEFINITION, NAMESPACE, PVC
from ..task import Failure, Result, Task
from .steps import Deadline, Steps
from .wish import Wish

# So many objects are named in a refusal; the rest is counted.
NAMED = 20


@dataclass(frozen=True)
class Remains:
    """What there is to remove, each with its kind, in the order of removal."""

    instance: tuple[tuple[Resource, Object], ...]
    operands: tuple[tuple[Resource, Object], ...]
    subscriptions: tuple[tuple[Resource, Object], ...]
    versions: tuple[tuple[Resource, Object], ...]
    namespace: tuple[tuple[Resource, Object], ...]
    definitions: tuple[tuple[Resource, Object], ...]


def uninstall(client: Client, wish: Wish, task: Task) -> Result:
    """Remove what an installation consists of. Raises Failure before anything is removed if a machine would be lost."""
    _refuse_while_in_use(client, wish)
    remains = _survey(client, wish, task)
    if remains.namespace:
        _refuse_while_others_use(client, wish)
    removal = _Removal(client, task)
    removal.remove(remains.instance, then_gone=remains.operands)
    removal.remove(remains.subscriptions)
    removal.remove(remains.versions)
    removal.remove(remains.namespace, last=True)
    removal.remove(remains.definitions, last=True)
    return removal.steps.result(diff=task.diff)


def _refuse_while_in_use(client: Client, wish: Wish) -> None:
    told = []
    for resource in wish.product.in_use:
        found = _listed(client, resource)
        if found:
            told.append(f"{len(found)} {resource.kind}{'s' if len(found) > 1 else ''}: {_names(found)}")
    if told:
        raise Failure(
            f"{wish.product.title} is still in use. There are {'; '.join(told)}. "
            "Removing it would end them; delete them first, with virtstack.core.vm and state absent."
        )


def _refuse_while_others_use(client: Client, wish: Wish) -> None:
    subscriptions = [
        item
        for item in _listed(client, olm.SUBSCRIPTION, wish.namespace)
        if (item.get("spec") or {}).get("name") != wish.package
    ]
    claims = _listed(client, PVC, wish.namespace)
    told = [
        f"{resource.kind} {_names(found)}"
        for resource, found in ((olm.SUBSCRIPTION, subscriptions), (PVC, claims))
        if found
    ]
    if told:
        raise Failure(
            f"The namespace {wish.namespace} holds more than the operator, and would be deleted with it: "
            f"{'; '.join(told)}. Move or delete that first, or keep the namespace with delete_namespace: false."
        )


def _survey(client: Client, wish: Wish, task: Task) -> Remains:
    resource, live = wish.product.instance(client, wish.namespace)
    subscription = olm.the_subscription(_listed(client, olm.SUBSCRIPTION, wish.namespace), wish.package)
    label = olm.component_label(wish.package, wish.namespace)
    versions = _listed(client, olm.CLUSTER_SERVICE_VERSION, wish.namespace, label)
    namespace = client.get(NAMESPACE, wish.namespace) if task.params["delete_namespace"] else None
    definitions = _listed(client, CUSTOM_RESOURCE_DEFINITION, None, label) if task.params["delete_crds"] else []
    return Remains(
        instance=((resource, live),) if resource and live else (),
        operands=tuple(_operands(client, wish)),
        subscriptions=((olm.SUBSCRIPTION, subscription),) if subscription else (),
        versions=tuple((olm.CLUSTER_SERVICE_VERSION, version) for version in versions),
        namespace=((NAMESPACE, namespace),) if namespace else (),
        definitions=tuple((CUSTOM_RESOURCE_DEFINITION, definition) for definition in definitions),
    )


def _operands(client: Client, wish: Wish) -> list[tuple[Resource, Object]]:
    """What the operator made from the instance and is still there."""
    found = []
    for versions, name in wish.product.operands:
        for resource in versions:
            try:
                live = client.get(resource, name, wish.namespace if resource.namespaced else None)
            except NotServed:
                continue
            if live is not None:
                found.append((resource, live))
            break
    return found


class _Removal:
    """Deletions one after the other, each waited for where the next one needs it."""

    def __init__(self, client: Client, task: Task) -> None:
        self.client = client
        self.task = task
        self.steps = Steps()
        self.deadline = Deadline(task.params["wait_timeout"])

    def remove(
        self,
        objects: Sequence[tuple[Resource, Object]],
        *,
        then_gone: Sequence[tuple[Resource, Object]] = (),
        last: bool = False,
    ) -> None:
        """Delete objects and wait until they, and what goes with them, are gone. C(last): nothing depends on that."""
        for resource, live in objects:
            self._delete(resource, live)
        if self.task.check_mode or (last and not self.task.params["wait"]):
            return
        for resource, live in [*objects, *then_gone]:
            self._gone(resource, live)

    def _delete(self, resource: Resource, live: Object) -> None:
        metadata = live["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        # The namespace's own webhook refuses while HyperConverged exists, which in check mode it still does.
        if not (self.task.check_mode and resource is NAMESPACE):
            try:
                self.client.delete(
                    resource,
                    metadata["name"],
                    metadata.get("namespace"),
                    uid=metadata["uid"],
                    propagation="Background",
                    dry_run=self.task.check_mode,
                )
            except ClusterError as error:
                error.result.update(self.steps.result(diff=self.task.diff))
                raise
        self.steps.add("deleted", resource, live, None)

    def _gone(self, resource: Resource, live: Object) -> None:
        metadata = live["metadata"]
        wait(
            self.client,
            resource,
            metadata["name"],
            metadata.get("namespace"),
            namespaces.gone if resource is NAMESPACE else deleted,
            timeout=self.deadline.remaining,
            progress=self.task.progress,
        )


def _listed(client: Client, resource: Resource, namespace: str | None = None, label: str | None = None) -> list[Object]:
    try:
        return client.list(resource, namespace, label_selector=label).items
    except NotServed:
        return []


def _names(found: Sequence[Object]) -> str:
    names = sorted(
        "/".join(part for part in (item["metadata"].get("namespace"), item["metadata"]["name"]) if part)
        for item in found
    )
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
