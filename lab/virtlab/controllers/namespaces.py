"""Namespaces: what each is born with, and how one is emptied before it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from virtlab.controllers.conditions import Condition, condition, merged
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object, Resource
from virtlab.status import StatusError
from virtlab.store import Event

SERVICE_ACCOUNTS = ("default", "builder", "deployer")


def deletion_conditions(resources: Counter[str], finalizers: Counter[str]) -> list[Condition]:
    """The conditions of a terminating namespace from what is left in it: instances a resource, and a finalizer."""
    left = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(resources.items()))
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    return [
        condition(
            "NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        condition(
            "NamespaceDeletionContentFailure",
            False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        condition("NamespaceContentRemaining", True, "SomeResourcesRemain", f"Some resources are remaining: {left}")
        if left
        else condition("NamespaceContentRemaining", False, "ContentRemoved", "All content successfully removed"),
        condition(
            "NamespaceFinalizersRemaining",
            True,
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {held}",
        )
        if held
        else condition(
            "NamespaceFinalizersRemaining",
            False,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]


class NamespaceController(Controller):
    """Fills a new namespace and empties one that is being deleted."""

    manager_name = "kube-controller-manager"
    watches = ("*",)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "namespaces"):
            return (("", event.object["metadata"]["name"]),)
        if event.type == "ADDED":
            return ()
        namespace = event.object["metadata"].get("namespace")
        if not namespace:
            return ()
        if event.type == "DELETED" and event.key in (("", "serviceaccounts"), ("", "configmaps")):
            return (("", namespace),)
        entry = self.cluster.store.find(("", "namespaces"), None, namespace)
        return (("", namespace),) if entry is not None and being_deleted(entry.object) else ()

    def reconcile(self, key: Key) -> float | None:
        name = key[1]
        namespace = self.find("namespaces", None, name)
        if namespace is None:
            return None
        if not being_deleted(namespace):
            self._fill(name)
            return None
        resources, finalizers = self._empty(name)
        conditions = merged(
            list(namespace.get("status", {}).get("conditions") or ()),
            deletion_conditions(resources, finalizers),
            self.cluster.clock.stamp(),
        )
        if resources:
            self.write_status("namespaces", namespace, {"phase": "Terminating", "conditions": conditions})
        else:
            self.cluster.finalize_namespace(name)
        return None

    def _fill(self, name: str) -> None:
        for account in SERVICE_ACCOUNTS:
            if self.find("serviceaccounts", name, account) is None:
                self.create("serviceaccounts", _named("ServiceAccount", name, account))
        if self.find("configmaps", name, "kube-root-ca.crt") is None:
            roots = _named("ConfigMap", name, "kube-root-ca.crt")
            roots["data"] = {"ca.crt": getattr(self.cluster, "ca_certificate", "")}
            self.create("configmaps", roots)
        if self.find("configmaps", name, "openshift-service-ca.crt") is None:
            service = _named("ConfigMap", name, "openshift-service-ca.crt")
            service["metadata"]["annotations"] = {"service.beta.openshift.io/inject-cabundle": "true"}
            service["data"] = {"service-ca.crt": getattr(self.cluster, "ca_certificate", "")}
            self.create("configmaps", service)

    def _empty(self, name: str) -> tuple[Counter[str], Counter[str]]:
        """Ask everything in the namespace to go; what is still there, counted by resource and by finalizer."""
        resources: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        for resource in self._content(name):
            for obj in self.list(resource.qualified, name):
                if not being_deleted(obj):
                    try:
                        self.delete(resource.qualified, name, obj["metadata"]["name"])
                    except StatusError as error:
                        if error.code < 500:
                            self.event(obj, "FailedDelete", error.message, warning=True)
            for obj in self.list(resource.qualified, name):
                resources[f"{resource.plural}.{resource.group}"] += 1
                finalizers.update(obj["metadata"].get("finalizers") or ())
        return resources, finalizers

    def _content(self, name: str) -> list[Resource]:
        found = []
        kinds: list[tuple[str, str]] = list(self.cluster.store.keys())
        for group, plural in kinds:
            resource = self.cluster.resource(f"{plural}.{group}" if group else plural)
            if resource is not None and resource.namespaced and self.cluster.store.entries((group, plural), name):
                found.append(resource)
        return found


def _named(kind: str, namespace: str, name: str) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
