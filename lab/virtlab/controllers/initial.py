"""What the controllers need a new cluster to hold: nodes, storage, the operator catalog."""

from __future__ import annotations

from virtlab.controllers.nodes import node_manifest
from virtlab.controllers.olm.names import CATALOGS
from virtlab.controllers.olm.packages import catalog_source
from virtlab.controllers.storage import storage_objects
from virtlab.resource import Object

WORKERS = 3


def initial_objects() -> list[tuple[str, Object]]:
    """(qualified resource, object), in the order in which they are to be created."""
    nodes = [("nodes", node_manifest(number)) for number in range(WORKERS)]
    return [*nodes, *storage_objects(), (CATALOGS, catalog_source())]
