"""Upload targets: what the upload server of a claim is doing, as annotations of the claim tell it."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.cdi.names import (
    DATA_VOLUMES,
    POD_PHASE,
    POD_READY,
    POD_RESTARTS,
    PVCS,
    RUNNING,
    RUNNING_MESSAGE,
    RUNNING_REASON,
    UPLOAD_POD,
    UPLOAD_TARGET,
)
from virtlab.controllers.cdi.phases import simplified
from virtlab.controllers.cdi.rendering import fills_by_upload
from virtlab.controllers.claim_users import pod_claims
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event

START = 2.0  # seconds until the upload server runs
RESTART = 1.0  # real seconds until it runs again


def annotation(claim: Object, name: str) -> str:
    found: str = (claim["metadata"].get("annotations") or {}).get(name) or ""
    return found


class UploadController(Controller):
    """Lets the upload proxy in once a claim can take an image, and says so when it has one."""

    manager_name = "cdi-controller"
    watches = (PVCS, DATA_VOLUMES)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._users = manager.index("pods", pod_claims)
        self._seen: dict[str, int] = {}  # restarts of the upload server that the claim's uid was told of
        if self.cluster.volumes is not None:
            self.cluster.volumes.uploads.listen = lambda key: manager.enqueue(self, key)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "datavolumes":
            is_upload = "upload" in (event.object["spec"].get("source") or {})
            return super().keys(event) if is_upload and event.type != "DELETED" else ()
        if UPLOAD_TARGET not in (metadata.get("annotations") or {}):
            return ()
        if event.type == "DELETED":
            if self.cluster.volumes is not None:
                self.cluster.volumes.uploads.forget(metadata["uid"])
            self._seen.pop(metadata["uid"], None)
            return ()
        return super().keys(event)

    def reconcile(self, key: Key) -> float | None:
        claim = self.find(PVCS, *key)
        if claim is None or being_deleted(claim) or UPLOAD_TARGET not in (claim["metadata"].get("annotations") or {}):
            return None
        if annotation(claim, POD_PHASE) == "Succeeded":
            return None
        wait = self._server_runs(claim)
        if wait is not None:
            return wait or None
        uid = claim["metadata"]["uid"]
        upload = self.cluster.volumes.uploads.find(uid) if self.cluster.volumes is not None else None
        if upload is not None and upload.done:
            done = {POD_PHASE: "Succeeded", POD_READY: "false", **_running("false", "Completed", "Upload Complete")}
            self._annotate(claim, done)
            self.event(claim, "UploadSucceeded", "Upload Successful", component="upload-controller")
            return None
        restarts = upload.restarts if upload is not None else 0
        if upload is not None and restarts > self._seen.get(uid, 0):
            self._seen[uid] = restarts
            failed = {
                POD_READY: "false",
                **_running("false", "Error", simplified(upload.problem)),
                POD_RESTARTS: str(restarts),
            }
            self._annotate(claim, {POD_PHASE: "Running", **failed})
            return RESTART
        ready = {POD_READY: "true", POD_RESTARTS: str(restarts), **_running("true", "Pod is running")}
        self._annotate(claim, {POD_PHASE: "Running", **ready})
        return None

    def _server_runs(self, claim: Object) -> float | None:
        """None once it does; else the seconds to wait, 0 for something to happen."""
        metadata = claim["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        if fills_by_upload(claim):
            data_volume = self.find(DATA_VOLUMES, metadata["namespace"], metadata["name"])
            # The data volume's own controller plays the time that the server takes to start.
            phase = ((data_volume or {}).get("status") or {}).get("phase")
            server = annotation(claim, POD_PHASE) == "Running"
            return None if phase == "UploadReady" or (phase == "UploadScheduled" and server) else 0.0
        if (claim.get("status") or {}).get("phase") != "Bound":
            return 0.0
        if self._users.count(key) and annotation(claim, POD_PHASE) != "Running":
            for _, _, namespace, name in self._users.paths(key):
                text = f"pod {namespace}/{name} using PersistentVolumeClaim {metadata['name']}"
                self.event(claim, "UploadTargetInUse", text, warning=True, component="upload-controller")
            return 10.0
        wait = self.remaining(metadata["uid"], "start", START)
        if wait:
            pending = {POD_PHASE: "Pending", POD_READY: "false", **_running("false", "ContainerCreating")}
            self._annotate(claim, {UPLOAD_POD: f"cdi-upload-{metadata['name']}", **pending})
            return wait
        return None

    def _annotate(self, claim: Object, wanted: dict[str, str]) -> None:
        annotations = {**(claim["metadata"].get("annotations") or {}), **wanted}
        if annotations != claim["metadata"].get("annotations"):
            self.update(PVCS, {**claim, "metadata": {**claim["metadata"], "annotations": annotations}})


def _running(status: str, reason: str, message: str = "") -> dict[str, str]:
    return {RUNNING: status, RUNNING_REASON: reason, RUNNING_MESSAGE: message}
