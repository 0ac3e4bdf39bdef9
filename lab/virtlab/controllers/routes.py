"""The routes to the upload proxy and the export proxy, with the address where the lab serves them, and what verifies
them."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import is_true
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

ROUTES = "routes.route.openshift.io"
CDIS = "cdis.cdi.kubevirt.io"
KUBEVIRTS = "kubevirts.kubevirt.io"
CONFIG_MAPS = "configmaps"
NAMESPACE = "openshift-cnv"


class RouteController(Controller):
    """A host is an address and a port here: nothing resolves the names that a cluster's router would have."""

    manager_name = "openshift-router"
    watches = (CDIS, KUBEVIRTS)

    def keys(self, event: Event) -> Iterable[Key]:
        name = "cdi-uploadproxy" if event.key[1] == "cdis" else "virt-exportproxy"
        return ((NAMESPACE, name),) if event.type != "DELETED" else ()

    def reconcile(self, key: Key) -> float | None:
        volumes = self.cluster.volumes
        if volumes is None or self.served(ROUTES) is None:
            return None
        upload = key[1] == "cdi-uploadproxy"
        owner = next(
            (
                item
                for item in self.list(CDIS if upload else KUBEVIRTS)
                if not being_deleted(item) and is_true(item, "Available")
            ),
            None,
        )
        host = volumes.upload_host if upload else volumes.export_host
        if owner is None or not host or self.find("namespaces", None, NAMESPACE) is None:
            return None
        self._trust(owner, *self._authority(upload))
        live = self.find(ROUTES, *key)
        if live is None:
            live = self.create(ROUTES, route(key[1], host, owner))
        elif live["spec"].get("host") != host:
            live = self.update(ROUTES, {**live, "spec": {**live["spec"], "host": host}})
        if live is not None and ((live.get("status") or {}).get("ingress") or [{}])[0].get("host") != host:
            self.write_status(ROUTES, live, {"ingress": [self._admitted(host)]})
        return None

    def _authority(self, upload: bool) -> tuple[str, str, str]:
        """Config map, key and certificate, as CDI and KubeVirt publish what signs for their servers."""
        assert self.cluster.volumes is not None
        if upload:
            return "cdi-uploadproxy-signer-bundle", "ca-bundle.crt", self.cluster.ca_certificate
        return "kubevirt-export-ca", "ca-bundle", self.cluster.volumes.export_ca

    def _trust(self, owner: Object, name: str, key: str, certificate: str) -> None:
        live, data = self.find(CONFIG_MAPS, NAMESPACE, name), {key: certificate}
        if live is None:
            metadata = {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner_reference(owner)]}
            self.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        elif live.get("data") != data:
            self.update(CONFIG_MAPS, {**live, "data": data})

    def _admitted(self, host: str) -> Object:
        stamp = self.cluster.clock.stamp()
        return {
            "host": host,
            "routerName": "default",
            "wildcardPolicy": "None",
            "conditions": [{"type": "Admitted", "status": "True", "lastTransitionTime": stamp}],
        }


def route(name: str, host: str, owner: Object) -> Object:
    return {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner_reference(owner)]},
        "spec": {
            "host": host,
            "to": {"kind": "Service", "name": name, "weight": 100},
            "tls": {"termination": "reencrypt", "insecureEdgeTerminationPolicy": "Redirect"},
            "wildcardPolicy": "None",
        },
    }
