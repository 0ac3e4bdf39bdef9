"""Deploys the common instance types and preferences once KubeVirt runs, and puts back what is missing or edited."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.hco.instancetypes import instancetypes
from virtlab.controllers.hco.preferences import preferences
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

KUBEVIRTS = "kubevirts.kubevirt.io"
TYPES = "virtualmachineclusterinstancetypes.instancetype.kubevirt.io"
PREFERENCES = "virtualmachineclusterpreferences.instancetype.kubevirt.io"
WANTED: dict[str, dict[str, Object]] = {
    TYPES: {item["metadata"]["name"]: item for item in instancetypes()},
    PREFERENCES: {item["metadata"]["name"]: item for item in preferences()},
}


class CommonTypesController(Controller):
    manager_name = "virt-operator"
    watches = (KUBEVIRTS, TYPES, PREFERENCES)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] != "kubevirts":
            wanted = WANTED[f"{event.key[1]}.{event.key[0]}"]
            if event.type == "ADDED" or event.object["metadata"]["name"] not in wanted:
                return ()
        return [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in self.list(KUBEVIRTS)]

    def reconcile(self, key: Key) -> float | None:
        kubevirt = self.find(KUBEVIRTS, *key)
        if kubevirt is None or being_deleted(kubevirt) or (kubevirt.get("status") or {}).get("phase") != "Deployed":
            return None
        deployment = (kubevirt["spec"].get("configuration") or {}).get("commonInstancetypesDeployment") or {}
        if deployment.get("enabled") is False:
            return None
        for qualified, wanted in WANTED.items():
            for name, manifest in wanted.items():
                live = self.find(qualified, None, name)
                if live is None:
                    self.create(qualified, manifest)
                elif live["spec"] != manifest["spec"] and not being_deleted(live):
                    self.update(qualified, {**live, "spec": manifest["spec"]})
        return None
