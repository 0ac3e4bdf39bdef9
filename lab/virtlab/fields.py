"""Who owns which field: where the write pipeline meets managed fields and server-side apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtlab.apply import manager as managed
from virtlab.apply.fieldset import FieldSet
from virtlab.apply.manager import Endpoint
from virtlab.apply.types import Type, type_of
from virtlab.resource import Object, Resource

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

_STATUS, _SPEC, _NOTHING = FieldSet.of(("f:status",)), FieldSet.of(("f:spec",)), FieldSet()


class Fields:
    """Keeps metadata.managedFields for one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def track(
        self, resource: Resource, live: Object | None, new: Object, manager: str, subresource: str | None
    ) -> None:
        """Write into C(new) that C(manager) created or updated it."""
        managed.track(self._endpoint(resource, subresource), live, new, manager, self.cluster.clock.stamp())

    def applied(
        self,
        resource: Resource,
        live: Object | None,
        patch: Object,
        manager: str,
        force: bool,
        subresource: str | None,
    ) -> Object:
        """C(live) after C(manager) applied C(patch); raises what server-side apply refuses."""
        endpoint = self._endpoint(resource, subresource)
        return managed.apply(endpoint, live, patch, manager, self.cluster.clock.stamp(), force=force)

    def _endpoint(self, resource: Resource, subresource: str | None) -> Endpoint:
        ignored = _NOTHING
        if subresource == "status":
            ignored = _SPEC
        elif "status" in resource.subresources:
            ignored = _STATUS

        def at_version(obj: Object, api_version: str) -> tuple[Type, Object] | None:
            version = api_version.rpartition("/")[2]
            other = self.cluster.catalog.find(resource.group, version, resource.plural)
            if other is None:
                return None
            return type_of(self.cluster.structure(other)), self.cluster.converted(obj, other)

        return Endpoint(
            resource.api_version,
            resource.kind,
            type_of(self.cluster.structure(resource)),
            subresource or "",
            ignored,
            at_version,
        )
