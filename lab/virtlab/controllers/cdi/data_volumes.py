"""The data volume controller: claim, population, progress, failure."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.cdi.cloning import strategy_of, too_small
from virtlab.controllers.cdi.names import (
    CLASSES,
    CLONE_FALLBACK,
    CLONE_PHASE,
    CLONE_TYPE,
    DATA_SOURCES,
    DATA_VOLUMES,
    POD_PHASE,
    POD_READY,
    POD_RESTARTS,
    POPULATED_FOR,
    PROFILES,
    PVCS,
    RUNNING,
    RUNNING_MESSAGE,
    RUNNING_REASON,
    SNAPSHOTS,
)
from virtlab.controllers.cdi.phases import FLOWS, Flow, conditions, flow_of, progress, simplified
from virtlab.controllers.cdi.probe import http_problem, is_local
from virtlab.controllers.cdi.rendering import Unrenderable, bind_now, claim_for, claim_spec, inflated, source_kind
from virtlab.controllers.cdi.transfers import IMPORTS, Transfers
from virtlab.controllers.conditions import find_condition, merged
from virtlab.controllers.ownership import being_deleted, controlled_by, owner_reference
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.datapath.volumes import overhead
from virtlab.resource import Object
from virtlab.store import Event

LEAST_PAUSE = 1.0  # real seconds between attempts, however fast the lab is
LOOK = 0.25  # real seconds between looks at how far the bytes are
IN_USE = 2.0  # real seconds until a source in use is looked at again
STEPS = 4  # times that progress is shown during a transfer
RETRIES = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)  # seconds between attempts of a failing importer


def phase_of(obj: Object | None) -> str:
    found: str = ((obj or {}).get("status") or {}).get("phase") or ""
    return found


def source_keys(data_volume: Object) -> list[str]:
    """The claims, snapshots and data sources that a data volume is made from, as C(namespace/name)."""
    namespace = data_volume["metadata"].get("namespace")
    spec = data_volume["spec"]
    source = spec.get("source") or {}
    found = [source.get("pvc"), source.get("snapshot"), spec.get("sourceRef")]
    return [f"{item.get('namespace') or namespace}/{item['name']}" for item in found if item]


class DataVolumeController(Controller):
    manager_name = "cdi-controller"
    watches = (DATA_VOLUMES, PVCS, DATA_SOURCES, SNAPSHOTS, PROFILES)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._by_source = manager.index(DATA_VOLUMES, source_keys)
        self._transfers = Transfers(self, manager)
        self._retries: dict[str, float] = {}  # when the failing import of a data volume's uid is tried again
        self._problems: dict[str, str | None] = {}  # what asking the source of a data volume's uid said

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "datavolumes":
            if event.type == "DELETED":
                self._transfers.drop(event.object)
                self._problems.pop(metadata.get("uid", ""), None)
                self._retries.pop(metadata.get("uid", ""), None)
                return ()
            return super().keys(event)
        if event.key[1] == "storageprofiles":
            return [
                (item["metadata"]["namespace"], item["metadata"]["name"])
                for item in self.list(DATA_VOLUMES)
                if phase_of(item) in ("", "Pending")
            ]
        users = self._by_source.keys(f"{metadata.get('namespace')}/{metadata['name']}")
        return (
            [*users, (metadata.get("namespace", ""), metadata["name"])]
            if event.key[1] == "persistentvolumeclaims"
            else users
        )

    def reconcile(self, key: Key) -> float | None:
        data_volume = self.find(DATA_VOLUMES, *key)
        if data_volume is None or being_deleted(data_volume) or phase_of(data_volume) in ("Succeeded", "Failed"):
            return None
        source = self._source(data_volume)
        if source is None:
            return None
        claim = self.find(PVCS, *key)
        if claim is not None and being_deleted(claim):
            return None
        kind = source_kind(source)
        if kind in ("pvc", "snapshot") and not self._origin_ready(data_volume, source, kind):
            return None
        if claim is None:
            claim = self._make_claim(data_volume, source)
            if claim is None:
                return None
        elif not controlled_by(claim, data_volume):
            return self._adopt(data_volume, claim)
        return self._populate(data_volume, claim, source, kind)

    # What the data volume is made from

    def _source(self, data_volume: Object) -> Object | None:
        spec = data_volume["spec"]
        if spec.get("source"):
            return {name: value for name, value in spec["source"].items() if value is not None}
        reference = spec.get("sourceRef")
        if not reference:
            return None
        namespace = reference.get("namespace") or data_volume["metadata"]["namespace"]
        found = self.find(DATA_SOURCES, namespace, reference["name"])
        source = ((found or {}).get("spec") or {}).get("source") or {}
        if not source:
            text = f"DataSource {namespace}/{reference['name']} has no source"
            self._report(
                data_volume, "", None, why=("NotFound", "No PVC found"), said=("Warning", "CloneWithoutSource", text)
            )
            return None
        inner = source.get("dataSource")
        if inner:
            found = self.find(DATA_SOURCES, inner.get("namespace") or namespace, inner["name"])
            source = ((found or {}).get("spec") or {}).get("source") or {}
        return {name: value for name, value in source.items() if value is not None} or None

    def _origin_ready(self, data_volume: Object, source: Object, kind: str) -> bool:
        """Is what is to be cloned there and filled?"""
        origin = source[kind]
        namespace = origin.get("namespace") or data_volume["metadata"]["namespace"]
        if kind == "snapshot":
            snapshot = self.find(SNAPSHOTS, namespace, origin["name"])
            ready = bool((snapshot or {}).get("status", {}).get("readyToUse"))
            missing = snapshot is None
        else:
            claim = self.find(PVCS, namespace, origin["name"])
            missing = claim is None
            ready = phase_of(claim) == "Bound"
        if missing:
            text = f"The source {kind} {origin['name']} doesn't exist"
            said = ("Warning", "CloneWithoutSource", text)
            self._report(data_volume, "", None, why=("CloneWithoutSource", text), said=said)
        elif not ready:
            said = ("Normal", "CloneSourceInUse", "The source PVC is not fully imported")
            self._report(data_volume, "CloneScheduled", self.find(PVCS, *_key(data_volume)), said=said)
        return ready

    # The claim

    def _make_claim(self, data_volume: Object, source: Object) -> Object | None:
        profiles = {item["metadata"]["name"]: item for item in self.list(PROFILES)}
        sized = self._sized(data_volume, source)
        try:
            spec = claim_spec(sized, self.list(CLASSES), profiles)
        except Unrenderable as problem:
            said = ("Warning", problem.reason, problem.message)
            self._report(data_volume, "Pending", None, why=(problem.reason, problem.message), said=said)
            return None
        if self._needs_overhead(data_volume, spec, source):
            spec = inflated(spec, overhead(self.cluster, spec.get("storageClassName") or ""))
        return self.create(PVCS, claim_for(data_volume, spec, source))

    def _needs_overhead(self, data_volume: Object, spec: Object, source: Object) -> bool:
        """Is the size that of a disk, for which a file system must be a little larger?"""
        storage = data_volume["spec"].get("storage")
        if storage is None or spec.get("volumeMode", "Filesystem") == "Block":
            return False
        if ((storage.get("resources") or {}).get("requests") or {}).get("storage"):
            return True
        origin = source.get("pvc")
        claim = (
            self.find(PVCS, origin.get("namespace") or data_volume["metadata"]["namespace"], origin["name"])
            if origin
            else None
        )
        return claim is not None and claim["spec"].get("volumeMode") == "Block"

    def _sized(self, data_volume: Object, source: Object) -> Object:
        """A clone without a size is as big as what it is made from."""
        spec = data_volume["spec"]
        storage = spec.get("storage")
        if storage is None or ((storage.get("resources") or {}).get("requests") or {}).get("storage"):
            return data_volume
        kind = source_kind(source)
        origin = source.get(kind) or {}
        namespace = origin.get("namespace") or data_volume["metadata"]["namespace"]
        size = "1Gi"
        if kind == "pvc":
            claim = self.find(PVCS, namespace, origin["name"])
            size = ((claim or {}).get("status") or {}).get("capacity", {}).get("storage", size)
        elif kind == "snapshot":
            snapshot = self.find(SNAPSHOTS, namespace, origin["name"])
            size = ((snapshot or {}).get("status") or {}).get("restoreSize", size)
        resources = {**(storage.get("resources") or {}), "requests": {"storage": size}}
        return {**data_volume, "spec": {**spec, "storage": {**storage, "resources": resources}}}

    def _adopt(self, data_volume: Object, claim: Object) -> float | None:
        """A claim of that name was there before: it is the data volume's if nobody else's, and counts as filled."""
        if claim["metadata"].get("ownerReferences"):
            text = f'Resource "{claim["metadata"]["name"]}" already exists and is not managed by DataVolume'
            self._report(data_volume, "Pending", claim, said=("Warning", "ErrResourceExists", text))
            return None
        annotations = {**(claim["metadata"].get("annotations") or {}), POPULATED_FOR: data_volume["metadata"]["name"]}
        metadata = {**claim["metadata"], "annotations": annotations, "ownerReferences": [owner_reference(data_volume)]}
        claim = self.update(PVCS, {**claim, "metadata": metadata})
        self._report(data_volume, "Succeeded", claim)
        return None

    # Filling it

    def _populate(self, data_volume: Object, claim: Object, source: Object, kind: str) -> float | None:
        uid = data_volume["metadata"]["uid"]
        annotations = claim["metadata"].get("annotations") or {}
        if annotations.get(POD_PHASE) == "Succeeded":
            if phase_of(claim) == "Bound":
                self._report(data_volume, "Succeeded", claim, said=("Normal", *self._said(data_volume, source, "done")))
                self._problems.pop(uid, None)
            return None
        if annotations.get(POPULATED_FOR) == data_volume["metadata"]["name"]:
            self._report(data_volume, "Succeeded", claim)
            return None
        storage_class = self.find(CLASSES, None, claim["spec"].get("storageClassName", ""))
        if storage_class is None:
            self._report(data_volume, "Pending", claim)
            return None
        if not bind_now(data_volume, storage_class, claim):
            self._report(data_volume, "PendingPopulation", claim)
            return None
        clone_type = self._clone_type(source, kind, claim)
        claim = self.find(PVCS, *_key(data_volume)) or claim
        if clone_type and not self._can_clone(data_volume, claim, source, kind, clone_type):
            return IN_USE if clone_type == "copy" else None
        flow = FLOWS[flow_of(kind, clone_type)]
        return self._advance(data_volume, claim, source, kind, flow, clone_type)

    def _clone_type(self, source: Object, kind: str, claim: Object) -> str:
        """How the claim is cloned; empty for what is no clone."""
        if kind == "snapshot":
            return "snapshot"
        if kind != "pvc":
            return ""
        origin = self.find(
            PVCS, source["pvc"].get("namespace") or claim["metadata"]["namespace"], source["pvc"]["name"]
        )
        strategy = strategy_of(self, origin, claim)
        if strategy.fallback is not None and annotations_of(claim).get(CLONE_FALLBACK) != strategy.fallback[1]:
            annotations = {**annotations_of(claim), CLONE_FALLBACK: strategy.fallback[1]}
            claim = self.update(PVCS, {**claim, "metadata": {**claim["metadata"], "annotations": annotations}})
            self.event(claim, *strategy.fallback, warning=True, component="clone-populator")
        return strategy.kind

    def _advance(
        self, data_volume: Object, claim: Object, source: Object, kind: str, flow: Flow, clone_type: str
    ) -> float | None:
        """Bring the transfer one phase further."""
        uid, now = data_volume["metadata"]["uid"], phase_of(data_volume)
        names = [name for name, _ in flow.phases]
        if now == "UploadReady" or (now == "UploadScheduled" and annotations_of(claim).get(POD_READY)):
            self._uploading(data_volume, claim)
            return None
        if now not in names:
            self._report(data_volume, names[0], claim, said=("Normal", *self._said(data_volume, source, "scheduled")))
            return 0.0
        seconds = dict(flow.phases)[now]
        if now.endswith("InProgress") and kind in IMPORTS:
            trouble = self._trouble(data_volume, source, kind)
            if trouble is not None:
                return trouble
        job = self._transfers.job(data_volume, claim, source, kind) if now.endswith("InProgress") else None
        if job is not None and not job.over:
            self._report(data_volume, now, claim, fraction=job.fraction)
            return LOOK
        if job is not None and job.problem is not None:
            self._transfers.drop(data_volume)
            return self._failed(data_volume, str(job.problem))
        wait = 0.0 if job is not None and kind in IMPORTS else self.remaining(uid, now, seconds)
        if wait:
            total = self.cluster.clock.scaled(seconds)
            if now.endswith("InProgress"):
                done = int((1 - wait / total) * STEPS) / STEPS
                self._report(data_volume, now, claim, fraction=done)
                return min(wait, total / STEPS)
            return wait
        self.forget(uid, now)
        position = names.index(now) + 1
        if position < len(names):
            played = self._transfers.played(source, kind)
            if played:
                self.event(data_volume, "ImportPlayed", played, component="virtlab")
            self._report(
                data_volume, names[position], claim, said=("Normal", *self._said(data_volume, source, "running"))
            )
            return 0.0
        if kind == "upload":
            self._report(
                data_volume, "UploadReady", claim, said=("Normal", *self._said(data_volume, source, "running"))
            )
            return None
        self._finish(claim, data_volume, clone_type)
        self._transfers.drop(data_volume)
        return None

    def _can_clone(self, data_volume: Object, claim: Object, source: Object, kind: str, clone_type: str) -> bool:
        """Whether the source fits, and nobody writes to one that is copied; else the data volume says why."""
        why = too_small(self, source[kind], claim) if kind == "pvc" else None
        if why is not None:
            said = ("Warning", "ErrIncompatiblePVC", why)
            self._report(data_volume, "CloneScheduled", claim, said=said)
            return False
        if clone_type != "copy" or phase_of(data_volume) not in ("", "Pending", "CloneScheduled"):
            return True
        users = self._transfers.users(source[kind], data_volume["metadata"]["namespace"])
        for user in users:
            text = f"pod {user} using PersistentVolumeClaim {source[kind]['name']}"
            self._report(data_volume, "CloneScheduled", claim, said=("Warning", "CloneSourceInUse", text))
        return not users

    def _uploading(self, data_volume: Object, claim: Object) -> None:
        """Tell what the upload server of the claim does; it crashes when what it was sent cannot be a disk."""
        annotations = annotations_of(claim)
        restarts = int(annotations.get(POD_RESTARTS) or 0) or None
        if annotations.get(RUNNING) == "false" and annotations.get(RUNNING_REASON) == "Error":
            error = annotations.get(RUNNING_MESSAGE, "")
            said = ("Warning", "UploadFailed", f"Upload into {data_volume['metadata']['name']} failed")
            self._report(data_volume, "UploadScheduled", claim, error=error, said=said, restarts=restarts)
        else:
            self._report(data_volume, "UploadReady", claim, restarts=restarts)

    def _finish(self, claim: Object, data_volume: Object, clone_type: str) -> None:
        """Say on the claim that it is filled: the volume controller binds it then."""
        annotations = {**(claim["metadata"].get("annotations") or {}), POD_PHASE: "Succeeded"}
        if clone_type:
            annotations.update({CLONE_TYPE: clone_type, CLONE_PHASE: "Succeeded"})
            own = data_volume["metadata"].get("annotations") or {}
            if own.get(CLONE_TYPE) != clone_type:
                metadata = {**data_volume["metadata"], "annotations": {**own, CLONE_TYPE: clone_type}}
                self.update(DATA_VOLUMES, {**data_volume, "metadata": metadata})
        self.update(PVCS, {**claim, "metadata": {**claim["metadata"], "annotations": annotations}})

    # Failing

    def _trouble(self, data_volume: Object, source: Object, kind: str) -> float | None:
        """Seconds until the next attempt of an import that fails; None when it goes on."""
        metadata = data_volume["metadata"]
        uid, url = metadata["uid"], (source[kind] or {}).get("url", "")
        due = self._retries.get(uid, 0.0) - self.cluster.clock.monotonic()
        if due > 0:
            return due
        problem = self.cluster.faults.import_failure(f"{metadata['namespace']}/{metadata['name']}", url)
        if problem is None and kind == "http" and is_local(url) and self.cluster.volumes is None:
            if uid not in self._problems:
                self._problems[uid] = ""
                self.manager.spawn(self._ask(_key(data_volume), uid, url))
            problem = self._problems[uid]
            if problem == "":
                return 60.0  # the answer comes sooner, and queues this again
        if problem is None:
            return None
        return self._failed(data_volume, problem)

    async def _ask(self, key: Key, uid: str, url: str) -> None:
        self._problems[uid] = await http_problem(url)
        self.manager.enqueue(self, key)

    def _failed(self, data_volume: Object, problem: str) -> float:
        """Count an attempt that failed, at most one a second of real time; seconds until the next."""
        uid = data_volume["metadata"]["uid"]
        now = self.cluster.clock.monotonic()
        due = self._retries.get(uid)
        if due is not None and now < due:
            return due - now
        count = (data_volume.get("status") or {}).get("restartCount", 0)
        pause = max(LEAST_PAUSE, self.cluster.clock.scaled(RETRIES[min(count, len(RETRIES) - 1)]))
        self._retries[uid] = now + pause
        self._problems.pop(uid, None)
        claim = self.find(PVCS, *_key(data_volume))
        said = ("Warning", "Error", problem)
        restarts = count + 1
        told = simplified(problem)
        self._report(data_volume, phase_of(data_volume), claim, error=told, said=said, restarts=restarts)
        self._show_importer(data_volume, problem, restarts)
        return pause

    def _show_importer(self, data_volume: Object, problem: str, restarts: int) -> None:
        """The importer pod of a failing import, crashing as a reader of its status would find it."""
        metadata = data_volume["metadata"]
        name = f"importer-prime-{metadata['uid']}"
        pod = self.find("pods", metadata["namespace"], name)
        if pod is None:
            pod = self.create("pods", importer_pod(name, data_volume))
        if pod is None:
            return
        container = {
            "name": "importer",
            "image": "registry.lab/container-native-virtualization/virt-cdi-importer:v1.66.0",
            "imageID": "",
            "ready": False,
            "started": False,
            "restartCount": restarts,
            "state": {
                "waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container=importer"}
            },
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": problem}},
        }
        self.write_status(
            "pods", pod, {**(pod.get("status") or {}), "phase": "Running", "containerStatuses": [container]}
        )

    # Status

    def _said(self, data_volume: Object, source: Object, stage: str) -> tuple[str, str]:
        """(reason, message) of the event of a stage."""
        metadata = data_volume["metadata"]
        kind = source_kind(source)
        flow = FLOWS["csi-clone" if kind in ("pvc", "snapshot") else "upload" if kind == "upload" else "import"]
        text = {"scheduled": flow.scheduled, "running": flow.running, "done": flow.done}[stage]
        origin = source.get(kind) or {}
        target = f"{metadata['namespace']}/{metadata['name']}"
        place = origin.get("namespace") or metadata["namespace"]
        message = text.format(name=metadata["name"], source=f"{place}/{origin.get('name', '')}", target=target)
        noun = {"pvc": "Clone", "snapshot": "Clone", "upload": "Upload"}.get(kind, "Import")
        suffix = {
            "scheduled": "Scheduled",
            "running": "Ready" if kind == "upload" else "InProgress",
            "done": "Succeeded",
        }[stage]
        return f"{noun}{suffix}", message

    def _report(
        self,
        data_volume: Object,
        phase: str,
        claim: Object | None,
        *,
        error: str | None = None,
        why: tuple[str, str] | None = None,
        said: tuple[str, str, str] | None = None,
        fraction: float = 0.0,
        restarts: int | None = None,
    ) -> None:
        old = data_volume.get("status") or {}
        status = {**old}
        if phase:
            status["phase"] = phase
        if claim is not None:
            status["claimName"] = claim["metadata"]["name"]
        shown = progress(phase, fraction)
        if shown is not None:
            status["progress"] = shown
        if restarts is not None:
            status["restartCount"] = restarts
        kind = source_kind(data_volume["spec"].get("source") or {"pvc": None})
        wanted = conditions(phase, claim, error, why, kind)
        stamp = self.cluster.clock.stamp()
        before = [{k: v for k, v in item.items() if k != "lastHeartbeatTime"} for item in old.get("conditions") or ()]
        after = merged(before, wanted, stamp)
        status["conditions"] = (
            list(old.get("conditions") or ())
            if after == before
            else [{**item, "lastHeartbeatTime": stamp} for item in after]
        )
        if status == old:
            return
        self.write_status(DATA_VOLUMES, data_volume, status)
        bound = wanted[0]
        was_bound = find_condition(data_volume, "Bound") or {}
        component = "datavolume-controller"
        if (was_bound.get("status"), was_bound.get("message")) != (bound["status"], bound.get("message")) and bound.get(
            "reason"
        ):
            self.event(data_volume, bound["reason"], bound.get("message", ""), component=component)
        if said is not None and (old.get("phase", "") != phase or said[0] == "Warning"):
            self.event(data_volume, said[1], said[2], warning=said[0] == "Warning", component=component)


def annotations_of(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def _key(obj: Object) -> Key:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def importer_pod(name: str, data_volume: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": data_volume["metadata"]["namespace"],
            "labels": {"app": "containerized-data-importer", "cdi.kubevirt.io": "importer"},
            "ownerReferences": [owner_reference(data_volume)],
        },
        "spec": {
            "restartPolicy": "OnFailure",
            "nodeName": "worker-0",
            "containers": [
                {
                    "name": "importer",
                    "image": "registry.lab/container-native-virtualization/virt-cdi-importer:v1.66.0",
                }
            ],
        },
    }
