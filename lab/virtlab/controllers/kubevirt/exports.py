"""VirtualMachineExports: token, phases, conditions, links, and their end. The bytes are the export server's."""

from __future__ import annotations

import string
from collections.abc import Iterable
from datetime import datetime, timedelta

from virtlab.admission.hyperconverged import seconds
from virtlab.clock import parse_stamp
from virtlab.controllers.claim_users import pod_claims
from virtlab.controllers.conditions import condition, merged
from virtlab.controllers.kubevirt.export_sources import DATA_VOLUMES, Source, source_of
from virtlab.controllers.kubevirt.names import PVCS, VMIS, VMS
from virtlab.controllers.kubevirt.snapshots import SNAPSHOTS
from virtlab.controllers.ownership import being_deleted, owner_reference
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.datapath.export_manifests import base
from virtlab.datapath.export_sources import is_disk, title_of
from virtlab.resource import Object
from virtlab.store import Event

EXPORTS = "virtualmachineexports.export.kubevirt.io"
LIFE = 7200.0  # seconds, unless the export says otherwise
SERVE = 3.0  # seconds until the export server runs
SERVICE_LABEL = "kubevirt.io.virt-export-service"
SERVER_PORT = 8443
ALPHABET = string.ascii_letters + string.digits


class ExportController(Controller):
    manager_name = "virt-controller"
    watches = (EXPORTS, VMS, VMIS, SNAPSHOTS, PVCS, DATA_VOLUMES, "pods")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._users = manager.index("pods", pod_claims)
        self._by_namespace = manager.index(EXPORTS, lambda export: [export["metadata"]["namespace"]])

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key[1] == "virtualmachineexports":
            return super().keys(event) if event.type != "DELETED" else ()
        return self._by_namespace.keys(event.object["metadata"].get("namespace") or "")

    def reconcile(self, key: Key) -> float | None:
        export = self.find(EXPORTS, *key)
        if export is None or being_deleted(export):
            return None
        old = export.get("status") or {}
        source = source_of(self, self._users, export)
        uid, ends = export["metadata"]["uid"], expiry(export)
        status = {"links": {}, **old, "serviceName": service_name(key[1]), "phase": "Pending"}
        status["ttlExpirationTime"] = self.cluster.clock.stamp(ends)
        self._serve(export, available=source.available)
        secret = self._token(export, source)
        if secret:
            status["tokenSecretRef"] = secret
        wait: float | None = None
        ready = source.ready
        if source.available:
            left = (ends - self.cluster.clock.now()).total_seconds()
            if left <= 0:
                self.delete(EXPORTS, *key)
                return None
            wait = 0.0 if old.get("phase") == "Ready" else self.remaining(uid, "serve", SERVE)
            status["phase"] = "Pending" if wait else "Ready"
            ready = condition("Ready", False, "PodPending") if wait else condition("Ready", True, "PodReady")
            wait = wait or left
        elif old.get("phase") == "Ready":
            self.forget(uid, "serve")
            text = (source.told or source.ready).get("message") or source.ready.get("message", "")
            self.event(export, "ExportPaused", text, warning=True)
        if source.skipped:
            status["phase"] = "Skipped"
        if source.machine:
            status["virtualMachineName"] = source.machine
        told = [{**item, "lastProbeTime": None} for item in (ready, source.told) if item is not None]
        status["conditions"] = merged(list(old.get("conditions") or ()), told, self.cluster.clock.stamp())
        status["links"] = self._links({**export, "status": status}, source) if status["phase"] == "Ready" else {}
        self.write_status(EXPORTS, export, status)
        return wait

    def _token(self, export: Object, source: Source) -> str:
        """The name of the secret that holds the token; one is made where the export names none."""
        namespace, name = export["metadata"]["namespace"], export["metadata"]["name"]
        if export["spec"].get("tokenSecretRef"):
            chosen: str = export["spec"]["tokenSecretRef"]
            return chosen
        secret = f"export-token-{name}"
        if self.find("secrets", namespace, secret) is not None:
            return secret
        if not source.available:
            return ""
        token = "".join(self.cluster.random.choices(ALPHABET, k=20))
        metadata = {"name": secret, "namespace": namespace, "ownerReferences": [owner_reference(export)]}
        body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata}
        self.create("secrets", {**body, "stringData": {"token": token}})
        self.event(export, "SecretCreated", f"Created default secret {namespace}/{secret}")
        return secret

    def _serve(self, export: Object, *, available: bool) -> None:
        """The service of the export, and the pod behind it. Its disks are not mounted, which the lab reads itself."""
        namespace, name = export["metadata"]["namespace"], export["metadata"]["name"]
        service, pod = service_name(name), f"virt-export-{name}"[:63].rstrip("-.")
        selector = {SERVICE_LABEL: name[:63].rstrip("-.")}
        metadata = {"namespace": namespace, "ownerReferences": [owner_reference(export)]}
        if self.find("services", namespace, service) is None:
            labels = {"kubevirt.io": "virt-exporter", **(export["metadata"].get("labels") or {})}
            port = {"name": "export", "protocol": "TCP", "port": 443, "targetPort": SERVER_PORT}
            spec = {"ports": [port], "selector": selector}
            body = {"apiVersion": "v1", "kind": "Service", "spec": spec}
            self.create("services", {**body, "metadata": {**metadata, "name": service, "labels": labels}})
            self.event(export, "ServiceCreated", f"Created service {namespace}/{service}")
        found = self.find("pods", namespace, pod)
        if available and found is None:
            container = {"name": "exporter", "image": "virt-exportserver", "resources": {}}
            body = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container], "restartPolicy": "Never"}}
            labels = {**selector, **(export["metadata"].get("labels") or {})}
            self.create("pods", {**body, "metadata": {**metadata, "name": pod, "labels": labels}})
            self.event(export, "ExporterPodCreated", f"Created exporter pod {namespace}/{pod}")
        elif not available and found is not None and not being_deleted(found):
            self.delete("pods", namespace, pod)

    def _links(self, export: Object, source: Source) -> Object:
        volumes = self.cluster.volumes
        links: Object = {}
        for side in ("internal", "external"):
            external = side == "external"
            if external and (volumes is None or not volumes.export_host):
                continue
            host = base(volumes, export, external=external)
            authority = volumes.export_ca if volumes is not None and volumes.export_ca else self.cluster.ca_certificate
            manifests = [{"type": "auth-header-secret", "url": f"https://{host}/{side}/manifests/secret"}]
            if export["spec"]["source"]["kind"] != "PersistentVolumeClaim":
                manifests.insert(0, {"type": "all", "url": f"https://{host}/{side}/manifests/all"})
            links[side] = {
                "cert": authority.strip(),
                "manifests": manifests,
                "volumes": [self._volume(export, claim, host) for claim in source.claims],
            }
        return links

    def _volume(self, export: Object, claim: Object, host: str) -> Object:
        name = claim["metadata"]["name"]
        files = {"raw": "disk.img", "gzip": "disk.img.gz"}
        if not is_disk(self.cluster, claim):
            files = {"dir": "dir/", "tar.gz": "disk.tar.gz"}
        formats = [{"format": kind, "url": f"https://{host}/volumes/{name}/{file}"} for kind, file in files.items()]
        return {"name": title_of(export, name), "formats": formats}


def service_name(export: str) -> str:
    return f"virt-export-{export.replace('.', '-')}"[:63].rstrip("-")


def expiry(export: Object) -> datetime:
    """When the export goes by itself."""
    life = export["spec"].get("ttlDuration")
    begun = parse_stamp(export["metadata"]["creationTimestamp"])
    return begun + timedelta(seconds=seconds(life) if life else LIFE)
