"""Migrations that nobody asked for: they bring a running instance what it can only have on another launcher.

pkg/virt-controller/watch/workload-updater; instances are evicted for nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.conditions import find_condition, is_true
from virtlab.controllers.kubevirt.live_resources import CPU, MEMORY, migrating
from virtlab.controllers.kubevirt.names import FINAL, KUBEVIRTS, MIGRATIONS, VMIS, WORKLOAD_UPDATE
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

THROTTLE = 5.0  # seconds until the updater looks at an instance that changed


def waits(vmi: Object) -> bool:
    """Does something that was changed wait for a migration?"""
    return find_condition(vmi, CPU) is not None or is_true(vmi, MEMORY) or is_true(vmi, "MigrationRequired")


class WorkloadUpdateController(Controller):
    manager_name = "virt-controller"
    watches = (VMIS, MIGRATIONS, KUBEVIRTS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.type == "DELETED":
            return ()
        obj = event.object
        if event.key[1] == "virtualmachineinstances":
            return super().keys(event) if waits(obj) else ()
        if event.key[1] == "virtualmachineinstancemigrations":
            return [(obj["metadata"]["namespace"], obj["spec"].get("vmiName", ""))] if phase(obj) in FINAL else ()
        return [(vmi["metadata"]["namespace"], vmi["metadata"]["name"]) for vmi in self.list(VMIS) if waits(vmi)]

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None or phase(vmi) != "Running" or being_deleted(vmi) or not waits(vmi) or migrating(vmi):
            return None
        methods: list[str] = []
        for kubevirt in self.list(KUBEVIRTS):
            methods = (kubevirt["spec"].get("workloadUpdateStrategy") or {}).get("workloadUpdateMethods") or []
        if "LiveMigrate" not in methods or not is_true(vmi, "LiveMigratable"):
            return None
        namespace, name = key
        own = [item for item in self.list(MIGRATIONS, namespace) if item["spec"].get("vmiName") == name]
        if any(phase(item) not in FINAL for item in own):
            return None
        uid = vmi["metadata"]["uid"]
        wait = self.remaining(uid, "update", THROTTLE)
        if wait:
            return wait
        self.forget(uid, "update")
        metadata = {
            "generateName": "kubevirt-workload-update-",
            "namespace": namespace,
            "annotations": {WORKLOAD_UPDATE: ""},
        }
        manifest = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration", "metadata": metadata}
        made = self.create(MIGRATIONS, {**manifest, "spec": {"vmiName": name, "priority": "user-triggered"}})
        if made is not None:
            text = f"Created Migration {made['metadata']['name']} for automated workload update"
            self.event(vmi, "SuccessfulCreate", text, component="workload-update-controller")
        return None
