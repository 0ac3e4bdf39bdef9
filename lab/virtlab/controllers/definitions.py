"""CustomResourceDefinitions: names accepted, then established, as the API server reports it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from virtlab.catalog import definition_of
from virtlab.controllers.conditions import condition, merged
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object, Resource
from virtlab.schema import kinds
from virtlab.store import Event

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"


class DefinitionController(Controller):
    """Gives a new CRD its conditions, names and stored versions, and empties one that is being deleted."""

    manager_name = "kube-apiserver"
    watches = ("*",)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("apiextensions.k8s.io", "customresourcedefinitions"):
            return super().keys(event)
        if event.type != "DELETED" or not event.key[0]:
            return ()
        name = f"{event.key[1]}.{event.key[0]}"
        crd = self.find(CRDS, None, name)
        return (("", name),) if crd is not None and being_deleted(crd) else ()

    def reconcile(self, key: Key) -> float | None:
        crd = self.find(CRDS, None, key[1])
        if crd is None:
            return None
        finalizers = crd["metadata"].get("finalizers") or []
        if being_deleted(crd):
            if CLEANUP in finalizers and self._emptied(key[1]):
                self.drop_finalizer(CRDS, crd, CLEANUP)
            return None
        if CLEANUP not in finalizers:
            crd = self.update(CRDS, {**crd, "metadata": {**crd["metadata"], "finalizers": [*finalizers, CLEANUP]}})
        spec, status = crd["spec"], crd.get("status") or {}
        stored = [version["name"] for version in spec["versions"] if version.get("storage")]
        wanted = {
            "conditions": merged(
                list(status.get("conditions") or ()),
                [
                    condition("NamesAccepted", True, "NoConflicts", "no conflicts found"),
                    condition("Established", True, "InitialNamesAccepted", "the initial names have been accepted"),
                ],
                self.cluster.clock.stamp(),
            ),
            "acceptedNames": spec["names"],
            "storedVersions": list(dict.fromkeys([*(status.get("storedVersions") or ()), *stored])),
        }
        self.write_status(CRDS, crd, wanted)
        return None

    def _emptied(self, qualified: str) -> bool:
        """Delete the resource's objects; true when none is left."""
        for obj in self.list(qualified):
            if not being_deleted(obj):
                self.delete(qualified, obj["metadata"].get("namespace"), obj["metadata"]["name"])
        return not self.list(qualified)


def definitions_of(cluster: Cluster, owner: str) -> list[Object]:
    """The CRDs that C(owner) installs, as virtlab.schema.kinds names it."""
    if cluster.schemas is None:
        return []
    found: dict[str, list[Resource]] = {}
    for resource in cluster.schemas.resources:
        if resource.custom and kinds.owner(resource) == owner:
            found.setdefault(resource.qualified, []).append(resource)
    return [definition_of(versions) for _, versions in sorted(found.items())]
