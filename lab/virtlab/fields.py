"""Who owns which field: where the write pipeline meets managed fields and server-side apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtlab.resource import Object, Resource

if TYPE_CHECKING:
    from virtlab.cluster import Cluster


class Fields:
    """Keeps metadata.managedFields."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def updated(
        self, resource: Resource, live: Object | None, new: Object, manager: str, subresource: str | None
    ) -> Object:
        """C(new) with its managed fields after C(manager) created or updated it."""
        return new

    def applied(
        self,
        resource: Resource,
        live: Object | None,
        patch: Object,
        manager: str,
        force: bool,
        subresource: str | None,
    ) -> Object:
        """C(live) after C(manager) applied C(patch); raises a 409 for what others own."""
        from virtlab.patches import copied, merge

        return merge(copied(live or {}), patch)
