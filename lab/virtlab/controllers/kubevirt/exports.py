"""VirtualMachineExports: the status a client waits for. The links lead nowhere yet: bytes are not played."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from virtlab.clock import parse_stamp
from virtlab.controllers.conditions import condition, merged
from virtlab.controllers.kubevirt.names import PVCS, VMIS, VMS
from virtlab.controllers.kubevirt.snapshots import CONTENTS, SNAPSHOTS
from virtlab.controllers.kubevirt.volumes import claim_name, template_volumes
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object
from virtlab.store import Event

EXPORTS = "virtualmachineexports.export.kubevirt.io"
LIFE = 7200.0  # seconds, unless the export says otherwise
SERVE = 3.0  # seconds until the export server runs


class ExportController(Controller):
    manager_name = "virt-controller"
    watches = (EXPORTS, VMIS, SNAPSHOTS, PVCS)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "virtualmachineexports":
            return super().keys(event) if event.type != "DELETED" else ()
        return [
            (item["metadata"]["namespace"], item["metadata"]["name"])
            for item in self.list(EXPORTS, event.object["metadata"].get("namespace"))
            if (item.get("status") or {}).get("phase") != "Ready"
        ]

    def reconcile(self, key: Key) -> float | None:
        export = self.find(EXPORTS, *key)
        if export is None or being_deleted(export):
            return None
        namespace, name = key
        old = export.get("status") or {}
        secret = export["spec"].get("tokenSecretRef") or f"export-token-{name}"
        status = {**old, "tokenSecretRef": secret, "serviceName": f"virt-export-{name}"}
        if not export["spec"].get("tokenSecretRef") and self.find("secrets", namespace, secret) is None:
            token = "".join(self.cluster.random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20))
            manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": namespace}}
            manifest["metadata"]["ownerReferences"] = [owner_reference(export)]  # type: ignore[index]
            self.create("secrets", {**manifest, "stringData": {"token": token}})
        begun = parse_stamp(export["metadata"]["creationTimestamp"])
        status["ttlExpirationTime"] = self.cluster.clock.stamp(begun + timedelta(seconds=LIFE))
        claims, waiting = self._claims(export)
        wait = self.remaining(export["metadata"]["uid"], "serve", SERVE)
        ready = waiting is None and not wait
        status["phase"] = "Ready" if ready else "Pending"
        reason, message = waiting or ("Initializing", "")
        wanted = [
            condition("Ready", True, "PodReady") if ready else condition("Ready", False, "Unknown"),
            condition("PVCReady", waiting is None, reason if waiting else "PVCReady", message),
        ]
        stamp = self.cluster.clock.stamp()
        status["conditions"] = merged(
            list(old.get("conditions") or ()), [{**w, "lastProbeTime": None} for w in wanted], stamp
        )
        if ready:
            status["links"] = {
                "internal": {"cert": self.cluster.ca_certificate, "volumes": _links(name, namespace, claims)}
            }
        self.write_status(EXPORTS, export, status)
        return wait or None

    def _claims(self, export: Object) -> tuple[list[str], tuple[str, str] | None]:
        """The claims to export, and why they cannot be yet."""
        namespace, source = export["metadata"]["namespace"], export["spec"]["source"]
        name = source["name"]
        if source["kind"] == "PersistentVolumeClaim":
            found = self.find(PVCS, namespace, name) is not None
            return [name], None if found else ("NotFound", f"pvc {namespace}/{name} not found")
        if source["kind"] == "VirtualMachineSnapshot":
            snapshot = self.find(SNAPSHOTS, namespace, name)
            content = self.find(
                CONTENTS, namespace, ((snapshot or {}).get("status") or {}).get("virtualMachineSnapshotContentName", "")
            )
            if content is None:
                return [], ("NotReady", f"VirtualMachineSnapshot {namespace}/{name} is not ready")
            return [item["volumeName"] for item in content["spec"].get("volumeBackups") or ()], None
        vm = self.find(VMS, namespace, name)
        if vm is None:
            return [], ("NotFound", f"VirtualMachine {namespace}/{name} not found")
        if self.find(VMIS, namespace, name) is not None:
            return [], ("PVCInUse", f"Virtual Machine {namespace}/{name} is running")
        return [claim_name(volume) for volume in template_volumes(vm) if claim_name(volume)], None


def _links(name: str, namespace: str, claims: list[str]) -> list[Object]:
    base = f"https://virt-export-{name}.{namespace}.svc/volumes"
    return [
        {
            "name": claim,
            "formats": [
                {"format": "raw", "url": f"{base}/{claim}/disk.img"},
                {"format": "gzip", "url": f"{base}/{claim}/disk.img.gz"},
            ],
        }
        for claim in claims
    ]
