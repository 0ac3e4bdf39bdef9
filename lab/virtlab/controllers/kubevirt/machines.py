"""The VirtualMachine controller: data volumes, the instance that the run strategy wants, and the machine's status."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta

from virtlab.admission.kubevirt.settings import settings
from virtlab.clock import parse_stamp
from virtlab.controllers.kubevirt import instancetypes, live_resources
from virtlab.controllers.kubevirt.instance_from import instance_of
from virtlab.controllers.kubevirt.launchers import cpu_ratio
from virtlab.controllers.kubevirt.live_update import restart_reason
from virtlab.controllers.kubevirt.machine_status import (
    SyncError,
    conditions,
    first_request_done,
    first_run,
    has_start_request,
    has_stop_request,
    printable_status,
    requests,
    run_strategy,
    start_failure,
)
from virtlab.controllers.kubevirt.memory_dumps import without_dump
from virtlab.controllers.kubevirt.names import (
    DATA_VOLUMES,
    FINAL,
    IMMEDIATE_VOLUMES,
    KUBEVIRTS,
    LATEST_VERSION,
    PVCS,
    REVISIONS,
    STORAGE_VERSION,
    VM_FINALIZER,
    VMIS,
    VMS,
)
from virtlab.controllers.kubevirt.volume_snapshots import snapshot_statuses
from virtlab.controllers.kubevirt.volumes import claims, phase, template_volumes
from virtlab.controllers.ownership import being_deleted, owner_reference, references
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.status import StatusError
from virtlab.store import Event

CREATE_FAILED = "FailedCreate"


def volume_keys(vm: Object) -> list[str]:
    """The claims and data volumes that the machine's status depends on, as C(namespace/name)."""
    namespace = vm["metadata"].get("namespace")
    names = claims(template_volumes(vm))
    names += [item["metadata"]["name"] for item in vm["spec"].get("dataVolumeTemplates") or () if item.get("metadata")]
    return [f"{namespace}/{name}" for name in dict.fromkeys(names)]


def _as_started(vm: Object, vmi: Object) -> bool:
    """Is the machine's spec still the one that the instance was made of?"""
    observed = (vmi["metadata"].get("annotations") or {}).get("kubevirt.io/vm-generation")
    return bool(observed == str(vm["metadata"].get("generation", 1)))


class MachineController(Controller):
    manager_name = "virt-controller"
    watches = (VMS, VMIS, DATA_VOLUMES, PVCS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._by_volume = manager.index(VMS, volume_keys)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] in ("virtualmachines", "virtualmachineinstances"):
            return super().keys(event)
        return self._by_volume.keys(f"{metadata.get('namespace')}/{metadata['name']}")

    def reconcile(self, key: Key) -> float | None:
        vm = self.find(VMS, *key)
        if vm is None:
            return None
        vmi = self.find(VMIS, *key)
        if vmi is not None and not self._owns(vm, vmi):
            vmi = None
        error: SyncError | None = None
        again: float | None = None
        if being_deleted(vm):
            if VM_FINALIZER in (vm["metadata"].get("finalizers") or ()):
                if vmi is None or "orphan" in vm["metadata"]["finalizers"]:
                    self.drop_finalizer(VMS, vm, VM_FINALIZER)
                    return None
                self._stop(vm, vmi)
        else:
            vm = self._adopt(vm)
            try:
                vm = self._match(vm)
                again = self._run(vm, vmi)
            except instancetypes.MatchError as mismatch:
                error = mismatch.error
            except StatusError as refused:
                if refused.code == 409:
                    raise
                error = SyncError(CREATE_FAILED, f"failure while starting VMI: {refused.message}")
                text = f"Error creating virtual machine instance: {refused.message}"
                self._say_once(vm, CREATE_FAILED, text)
        self._report(key, error)
        return again

    def _owns(self, vm: Object, vmi: Object) -> bool:
        uid = vm["metadata"]["uid"]
        return any(owner["uid"] == uid for owner in vmi["metadata"].get("ownerReferences") or ())

    def _adopt(self, vm: Object) -> Object:
        metadata = vm["metadata"]
        finalizers = metadata.get("finalizers") or []
        annotations = metadata.get("annotations") or {}
        if VM_FINALIZER in finalizers and LATEST_VERSION in annotations:
            return vm
        versions = {LATEST_VERSION: "v1", STORAGE_VERSION: "v1"}
        metadata = {
            **metadata,
            "annotations": {**annotations, **versions},
            "finalizers": list(dict.fromkeys([*finalizers, VM_FINALIZER])),
        }
        return self.update(VMS, {**vm, "metadata": metadata})

    # Instance type and preference

    def _match(self, vm: Object) -> Object:
        """Infer names, keep revisions; the machine with its references up to date. Raises MatchError."""
        status = dict(vm.get("status") or {})
        for name, table in instancetypes.MATCHERS.items():
            matcher = vm["spec"].get(name)
            reference = table["reference"]
            if not matcher:
                status.pop(reference, None)
                continue
            inferred = instancetypes.inferred_name(self, vm, name)
            if inferred is not None:
                vm = self.update(VMS, {**vm, "spec": {**vm["spec"], name: {**matcher, "name": inferred}}})
                matcher = vm["spec"][name]
            wanted = {key: matcher[key] for key in ("name", "kind", "inferFromVolume") if matcher.get(key)}
            old = status.get(reference) or {}
            if matcher.get("revisionName"):
                wanted["controllerRevisionRef"] = {"name": matcher["revisionName"]}
            elif old.get("controllerRevisionRef") and all(old.get(key) == value for key, value in wanted.items()):
                wanted["controllerRevisionRef"] = old["controllerRevisionRef"]
            else:
                found = instancetypes.find(self, vm, name)
                if found is not None:
                    revision = instancetypes.store_revision(self, vm, name, found)
                    wanted["controllerRevisionRef"] = {"name": revision}
            status[reference] = wanted
        return {**vm, "status": status} if status != (vm.get("status") or {}) else vm

    def expanded(self, vm: Object, spec: Object) -> Object:
        """A template's spec with the machine's instance type and preference applied."""
        found = {name: instancetypes.stored(self, vm, name) for name in instancetypes.MATCHERS}
        return instancetypes.apply(spec, found["instancetype"], found["preference"])

    # Running

    def _run(self, vm: Object, vmi: Object | None) -> float | None:
        strategy = run_strategy(vm)
        annotations = vm["metadata"].get("annotations") or {}
        if annotations.get(IMMEDIATE_VOLUMES) != "false":
            ready = self._data_volumes(vm)
            if not ready and strategy != "Halted":
                return None
        actions: dict[str, Callable[[Object, Object | None], float | None]] = {
            "Always": self._always,
            "RerunOnFailure": self._rerun,
            "Manual": self._manual,
            "Halted": self._halted,
            "Once": self._once,
            "WaitAsReceiver": self._once,
        }
        return actions[strategy](vm, vmi)

    def _always(self, vm: Object, vmi: Object | None) -> float | None:
        if vmi is None:
            return self._backoff(vm) or self._start(vm)
        if has_stop_request(vm, vmi) or phase(vmi) in FINAL:
            self._stop(vm, vmi)
        return None

    def _rerun(self, vm: Object, vmi: Object | None) -> float | None:
        if vmi is None:
            return (self._backoff(vm) or self._start(vm)) if first_run(vm) else None
        if not being_deleted(vmi) and (has_stop_request(vm, vmi) or phase(vmi) in FINAL):
            failed = phase(vmi) == "Failed"
            self._stop(vm, vmi)
            if failed and not requests(vm):
                self.write_status(VMS, vm, {**(vm.get("status") or {}), "stateChangeRequests": [{"action": "Start"}]})
        return None

    def _manual(self, vm: Object, vmi: Object | None) -> float | None:
        if vmi is None:
            return self._start(vm) if has_start_request(vm) else None
        if has_stop_request(vm, vmi):
            self._stop(vm, vmi)
        return None

    def _halted(self, vm: Object, vmi: Object | None) -> float | None:
        if vmi is not None:
            self._stop(vm, vmi)
        elif has_start_request(vm):
            field = "runStrategy" if vm["spec"].get("runStrategy") is not None else "running"
            wanted = "Always" if field == "runStrategy" else True
            self.update(VMS, {**vm, "spec": {**vm["spec"], field: wanted}})
        return None

    def _once(self, vm: Object, vmi: Object | None) -> float | None:
        return self._start(vm) if vmi is None else None

    def _backoff(self, vm: Object) -> float | None:
        """Real seconds until a machine whose starts failed may be started again."""
        failure = (vm.get("status") or {}).get("startFailure") or {}
        if not failure.get("retryAfterTimestamp"):
            return None
        left = (parse_stamp(failure["retryAfterTimestamp"]) - self.cluster.clock.now()).total_seconds()
        return left if left > 0 else None

    def _data_volumes(self, vm: Object) -> bool:
        """Create the data volumes of the templates; true when all are filled, or wait for a first consumer."""
        ready = True
        metadata = vm["metadata"]
        for template in vm["spec"].get("dataVolumeTemplates") or ():
            name = template["metadata"]["name"]
            live = self.find(DATA_VOLUMES, metadata["namespace"], name)
            if live is not None:
                self._claim(vm, live)
                if phase(live) == "Failed":
                    self._say_once(vm, "FailedDataVolumeImport", f"DataVolume {name} failed to import disk image")
                ready = ready and phase(live) in ("Succeeded", "WaitForFirstConsumer", "PendingPopulation")
                continue
            claim = self.find(PVCS, metadata["namespace"], name)
            if claim is not None and phase(claim) == "Bound":
                continue
            ready = False
            labels = {**(template["metadata"].get("labels") or {}), "kubevirt.io/created-by": metadata["uid"]}
            manifest = {
                "apiVersion": "cdi.kubevirt.io/v1beta1",
                "kind": "DataVolume",
                "metadata": {
                    **template["metadata"],
                    "namespace": metadata["namespace"],
                    "labels": labels,
                    "ownerReferences": [owner_reference(vm)],
                },
                "spec": template["spec"],
            }
            if self.create(DATA_VOLUMES, manifest) is not None:
                self.event(
                    vm,
                    "SuccessfulDataVolumeCreate",
                    f"Created DataVolume {name}",
                    component="virtualmachine-controller",
                )
        return ready

    def _claim(self, vm: Object, volume: Object) -> None:
        """Take over a data volume of a template's name that no controller has."""
        if not being_deleted(volume) and not any(reference.get("controller") for reference in references(volume)):
            owners = [*references(volume), owner_reference(vm)]
            self.update(DATA_VOLUMES, {**volume, "metadata": {**volume["metadata"], "ownerReferences": owners}})

    def _start(self, vm: Object) -> float | None:
        if not self._data_volumes(vm):
            return None
        metadata = vm["metadata"]
        revision = f"revision-start-vm-{metadata['uid']}-{metadata.get('generation', 1)}"
        if self.find(REVISIONS, metadata["namespace"], revision) is None:
            self.create(
                REVISIONS,
                {
                    "apiVersion": "apps/v1",
                    "kind": "ControllerRevision",
                    "metadata": {
                        "name": revision,
                        "namespace": metadata["namespace"],
                        "ownerReferences": [owner_reference(vm)],
                    },
                    "data": {"spec": vm["spec"]},
                    "revision": metadata.get("generation", 1),
                },
            )
        spec = self.expanded(vm, vm["spec"]["template"]["spec"])
        dumped = (vm.get("status") or {}).get("memoryDumpRequest")
        if dumped:
            spec = without_dump(spec, dumped["claimName"])
        pending = requests(vm)
        paused = bool(pending) and (pending[0].get("data") or {}).get("paused") == "true"
        made = self.create(VMIS, instance_of(vm, spec, revision, self.cluster.clock.stamp(), paused=paused))
        if made is not None:
            text = f"Started the virtual machine by creating the new virtual machine instance {metadata['name']}"
            self.event(vm, "SuccessfulCreate", text, component="virtualmachine-controller")
        return None

    def _stop(self, vm: Object, vmi: Object) -> None:
        if being_deleted(vmi):
            return
        self.delete(VMIS, vmi["metadata"]["namespace"], vmi["metadata"]["name"])
        uid = vmi["metadata"]["uid"]
        text = f"Stopped the virtual machine by deleting the virtual machine instance {uid}"
        self.event(vm, "SuccessfulDelete", text, component="virtualmachine-controller")

    # Status

    def _report(self, key: Key, error: SyncError | None) -> None:
        vm, vmi = self.find(VMS, *key), self.find(VMIS, *key)
        if vm is None:
            return
        if vmi is not None and not self._owns(vm, vmi):
            vmi = None
        matched = vm
        if not being_deleted(vm):
            try:
                matched = self._match(vm)
            except instancetypes.MatchError:
                matched = vm
        self.write_status(VMS, vm, self._status(matched, vmi, error))
        if vmi is not None and phase(vmi) in FINAL and VM_FINALIZER in (vmi["metadata"].get("finalizers") or ()):
            self.drop_finalizer(VMIS, vmi, VM_FINALIZER)
        elif vmi is not None:
            self._resize(matched, vmi)

    def _status(self, vm: Object, vmi: Object | None, error: SyncError | None) -> Object:
        namespace = vm["metadata"]["namespace"]
        clock = self.cluster.clock
        status = {key: value for key, value in (vm.get("status") or {}).items() if value not in (None, False)}
        ready = any(
            item["type"] == "Ready" and item["status"] == "True"
            for item in ((vmi or {}).get("status") or {}).get("conditions") or ()
        )
        status.pop("created", None)
        status.pop("ready", None)
        if vmi is not None:
            status["created"] = True
        if ready:
            status["ready"] = True
        if status.get("runStrategy") or vmi is not None:
            status["runStrategy"] = run_strategy(vm)
        if first_request_done(vm, vmi):
            status["stateChangeRequests"] = requests(vm)[1:]
        if not status.get("stateChangeRequests"):
            status.pop("stateChangeRequests", None)
        failure = start_failure(
            vm, vmi, lambda seconds: clock.stamp(clock.now() + timedelta(seconds=clock.scaled(seconds)))
        )
        if failure is None:
            status.pop("startFailure", None)
        else:
            status["startFailure"] = failure
        vm = {**vm, "status": status}
        status["conditions"] = conditions(vm, vmi, error, self._restart(vm, vmi), clock.stamp())
        status["printableStatus"] = printable_status(
            vm,
            vmi,
            lambda name: self.find(DATA_VOLUMES, namespace, name),
            lambda name: self.find(PVCS, namespace, name),
        )
        status["volumeSnapshotStatuses"] = snapshot_statuses(self, namespace, template_volumes(vm))
        if not status["volumeSnapshotStatuses"]:
            del status["volumeSnapshotStatuses"]
        if vmi is not None and vm["metadata"].get("generation"):
            status["desiredGeneration"] = vm["metadata"]["generation"]
            observed = (vmi["metadata"].get("annotations") or {}).get("kubevirt.io/vm-generation")
            if observed:
                status["observedGeneration"] = int(observed)
        return status

    def _restart(self, vm: Object, vmi: Object | None) -> str | None:
        """Why the running instance differs from the template in what only a restart brings."""
        if vmi is None or phase(vmi) in FINAL or being_deleted(vmi) or _as_started(vm, vmi):
            return None
        live = settings(self.cluster.store).live_update
        return self._fixed(vm, vmi, live=live) or (live_resources.refusal(self._now(vm), vmi) if live else None)

    def _now(self, vm: Object) -> Object:
        return self.expanded(vm, vm["spec"]["template"]["spec"])

    def _resize(self, vm: Object, vmi: Object) -> None:
        """Let the instance have the template's processors and memory where it can without a restart."""
        if being_deleted(vm) or being_deleted(vmi) or phase(vmi) != "Running" or live_resources.migrating(vmi):
            return
        if _as_started(vm, vmi) or not settings(self.cluster.store).live_update or self._fixed(vm, vmi, live=True):
            return
        spec = live_resources.resized(self._now(vm), vmi, cpu_ratio(self.list(KUBEVIRTS)))
        if spec is not vmi["spec"]:
            self.update(VMIS, {**vmi, "spec": spec})

    def _fixed(self, vm: Object, vmi: Object, *, live: bool) -> str | None:
        """The reason where a field was changed that never changes under a running guest; C(live): as configured."""
        name = (vmi.get("status") or {}).get("virtualMachineRevisionName", "")
        revision = self.find(REVISIONS, vm["metadata"]["namespace"], name)
        if revision is None:
            return None
        started = {**vm, "spec": revision["data"]["spec"]}
        before = self.expanded(started, started["spec"]["template"]["spec"])
        return restart_reason(before, self._now(vm), vm["spec"].get("updateVolumesStrategy", ""), live=live)

    def _say_once(self, vm: Object, reason: str, message: str) -> None:
        step = (vm["metadata"]["uid"], f"said/{reason}/{message}")
        if step not in self._since:
            self._since[step] = 0.0
            self.event(vm, reason, message, warning=True, component="virtualmachine-controller")
