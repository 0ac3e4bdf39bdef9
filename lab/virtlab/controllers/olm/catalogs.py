"""Catalog sources become ready and show their packages; operator groups resolve their namespaces."""

from __future__ import annotations

from virtlab.controllers.olm.names import CATALOGS, GROUPS, MANIFESTS, target_namespaces
from virtlab.controllers.olm.packages import CATALOG_NAMESPACE, PACKAGES, manifest
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.status import StatusError

CONNECT = 2.0  # seconds


class CatalogController(Controller):
    manager_name = "catalog"
    watches = (CATALOGS,)

    def reconcile(self, key: Key) -> float | None:
        catalog = self.find(CATALOGS, *key)
        if catalog is None or being_deleted(catalog):
            return None
        namespace, name = key
        service = {
            "protocol": "grpc",
            "serviceName": name,
            "serviceNamespace": namespace,
            "port": "50051",
            "createdAt": catalog["metadata"]["creationTimestamp"],
        }
        old = (catalog.get("status") or {}).get("connectionState") or {}
        if old.get("lastObservedState") == "READY":
            return None
        wait = self.remaining(catalog["metadata"]["uid"], "connect", CONNECT)
        state = {
            "address": f"{name}.{namespace}.svc:50051",
            "lastConnect": self.cluster.clock.stamp(),
            "lastObservedState": "CONNECTING" if wait else "READY",
        }
        if wait and old:
            return wait
        self.write_status(CATALOGS, catalog, {"connectionState": state, "registryService": service})
        if wait:
            return wait
        for package in PACKAGES.values():
            for place in dict.fromkeys((CATALOG_NAMESPACE, "default", namespace)):
                if self.find(MANIFESTS, place, package.name) is None:
                    self._show(manifest(package, place))
        return None

    def _show(self, obj: dict[str, object]) -> None:
        try:
            self.create(MANIFESTS, obj)
        except StatusError as error:
            if error.code not in (403, 404):  # a namespace that is not there (any more) shows nothing
                raise


class OperatorGroupController(Controller):
    manager_name = "olm"
    watches = (GROUPS,)

    def reconcile(self, key: Key) -> float | None:
        group = self.find(GROUPS, *key)
        if group is None or being_deleted(group):
            return None
        status = dict(group.get("status") or {})
        targets = target_namespaces(group)
        if status.get("namespaces") != targets:
            status.update(namespaces=targets, lastUpdated=self.cluster.clock.stamp())
            self.write_status(GROUPS, group, status)
        return None
