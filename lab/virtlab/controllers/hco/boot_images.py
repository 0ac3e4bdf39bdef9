"""SSP's part in boot sources: the namespace, the import crons it is told to keep, and the empty Windows sources."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import is_true
from virtlab.controllers.hco.boot_sources import EMPTY_SOURCES, OS_IMAGES, source_labels
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

SSPS = "ssps.ssp.kubevirt.io"
CDIS = "cdis.cdi.kubevirt.io"
IMPORT_CRONS = "dataimportcrons.cdi.kubevirt.io"
DATA_SOURCES = "datasources.cdi.kubevirt.io"
OWNED = "ssp.kubevirt.io/managed"


class BootImageController(Controller):
    manager_name = "ssp-operator"
    watches = (SSPS, CDIS, IMPORT_CRONS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "dataimportcrons" and event.type != "DELETED":
            return ()
        return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.list(SSPS)]

    def reconcile(self, key: Key) -> float | None:
        ssp = self.find(SSPS, *key)
        cdi_up = any(is_true(item, "Available") and not being_deleted(item) for item in self.list(CDIS))
        if ssp is None or being_deleted(ssp) or not cdi_up or self.served(IMPORT_CRONS) is None:
            return None
        templates = (ssp["spec"].get("commonTemplates") or {}).get("dataImportCronTemplates") or []
        wanted = {(item["metadata"].get("namespace", OS_IMAGES), item["metadata"]["name"]): item for item in templates}
        for namespace in {OS_IMAGES, *(place for place, _ in wanted)}:
            if self.find("namespaces", None, namespace) is None:
                self.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        for (namespace, name), template in wanted.items():
            live = self.find(IMPORT_CRONS, namespace, name)
            if live is None:
                self.create(IMPORT_CRONS, self._cron(template, namespace))
            elif live["spec"] != {**live["spec"], **template["spec"]}:
                # What an import cron imports cannot be edited: it is made anew.
                self.delete(IMPORT_CRONS, namespace, name)
        for cron in self.list(IMPORT_CRONS):
            place = (cron["metadata"]["namespace"], cron["metadata"]["name"])
            if place not in wanted and (cron["metadata"].get("labels") or {}).get(OWNED):
                self.delete(IMPORT_CRONS, *place)
        for name, preference in EMPTY_SOURCES.items():
            if self.find(DATA_SOURCES, OS_IMAGES, name) is None:
                labels = source_labels("u1.large", preference)
                manifest = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "spec": {"source": {}}}
                self.create(
                    DATA_SOURCES, {**manifest, "metadata": {"name": name, "namespace": OS_IMAGES, "labels": labels}}
                )
        return None

    def _cron(self, template: Object, namespace: str) -> Object:
        metadata = {**template["metadata"], "namespace": namespace}
        metadata["labels"] = {**(metadata.get("labels") or {}), OWNED: "true"}
        return {
            "apiVersion": "cdi.kubevirt.io/v1beta1",
            "kind": "DataImportCron",
            "metadata": metadata,
            "spec": template["spec"],
        }
