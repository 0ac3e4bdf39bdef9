"""Memory dumps: the claim that is plugged into the instance for one, what is written to it, and its way out again.

pkg/storage/memorydump and virt-handler's updateMemoryDumpInfo. Of a simulated guest nothing is written; the memory of a
real one is a file in the claim.
"""

from __future__ import annotations

from pathlib import Path

from virtlab.controllers.kubevirt.hotplug_spec import by_name
from virtlab.controllers.kubevirt.names import FINAL, PVCS, VMIS, VMS
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object

ANNOTATION = "kubevirt.io/memory-dump"
MOUNTED, RUNNING = "MountedToPod", "MemoryDumpInProgress"
COMPLETED, FAILED = "MemoryDumpCompleted", "MemoryDumpFailed"


def with_dump(spec: Object, claim: str) -> Object:
    """C(spec) with the volume of a memory dump."""
    if claim in by_name(spec.get("volumes")):
        return spec
    volume = {"name": claim, "memoryDump": {"claimName": claim, "hotpluggable": True}}
    return {**spec, "volumes": [*(spec.get("volumes") or ()), volume]}


def without_dump(spec: Object, claim: str) -> Object:
    volumes = [volume for volume in spec.get("volumes") or () if volume["name"] != claim]
    return {**spec, "volumes": volumes} if len(volumes) < len(spec.get("volumes") or ()) else spec


def next_request(request: Object, template: Object, instance: Object | None) -> Object | None:
    """What a request becomes; None when it is over and forgotten."""
    claim, now = request["claimName"], request.get("phase")
    in_template = claim in by_name(template.get("volumes"))
    shown = by_name(((instance or {}).get("status") or {}).get("volumeStatus")).get(claim)
    dump = (shown or {}).get("memoryDumpVolume") or {}
    result = dict(request)
    if now == "Associating" and in_template:
        result["phase"] = "InProgress"
    elif now == "InProgress" and shown is not None:
        if dump.get("startTimestamp"):
            result["startTimestamp"] = dump["startTimestamp"]
        if shown.get("phase") == COMPLETED:
            result.update(phase="Unmounting", endTimestamp=dump.get("endTimestamp"), fileName=dump["targetFileName"])
        elif shown.get("phase") == FAILED:
            result.update(phase="Failed", endTimestamp=dump.get("endTimestamp"), message=shown.get("message", ""))
    elif now == "Unmounting" and shown is None:
        result["phase"] = "Completed"
    elif now == "Dissociating" and shown is None and not in_template:
        return None
    return result


class MemoryDumpController(Controller):
    """Follows the request in a machine's status."""

    manager_name = "virt-controller"
    watches = (VMS, VMIS)

    def reconcile(self, key: Key) -> float | None:
        vm, vmi = self.find(VMS, *key), self.find(VMIS, *key)
        request = ((vm or {}).get("status") or {}).get("memoryDumpRequest")
        if vm is None or request is None or being_deleted(vm):
            return None
        running = vmi if vmi is not None and phase(vmi) not in FINAL and not being_deleted(vmi) else None
        claim, now = request["claimName"], request.get("phase")
        template = vm["spec"]["template"]["spec"]
        if now == "Associating" and running is not None and phase(running) == "Running":
            template = with_dump(template, claim)
            running = self._write(running, with_dump(running["spec"], claim))
        elif now in ("Unmounting", "Failed") and running is not None:
            running = self._write(running, without_dump(running["spec"], claim))
        elif now == "Dissociating":
            template = without_dump(template, claim)
            if running is not None:
                running = self._write(running, without_dump(running["spec"], claim))
        if now in ("Unmounting", "Failed"):
            self._annotate(key[0], claim, request.get("fileName") if now == "Unmounting" else "Memory dump failed")
        if template is not vm["spec"]["template"]["spec"]:
            spec = {**vm["spec"], "template": {**vm["spec"]["template"], "spec": template}}
            vm = self.update(VMS, {**vm, "spec": spec})
        status = {name: value for name, value in vm["status"].items() if name != "memoryDumpRequest"}
        left = next_request(request, template, running)
        if left is not None:
            status["memoryDumpRequest"] = left
        self.write_status(VMS, vm, status)
        return None

    def _write(self, vmi: Object, spec: Object) -> Object:
        return vmi if spec is vmi["spec"] else self.update(VMIS, {**vmi, "spec": spec})

    def _annotate(self, namespace: str, name: str, text: str | None) -> None:
        claim = self.find(PVCS, namespace, name)
        if claim is None or not text or (claim["metadata"].get("annotations") or {}).get(ANNOTATION) == text:
            return
        annotations = {**(claim["metadata"].get("annotations") or {}), ANNOTATION: text}
        self.update(PVCS, {**claim, "metadata": {**claim["metadata"], "annotations": annotations}})


class DumpController(Controller):
    """Writes the dump to a volume that was mounted for it, as far as the instance's status tells."""

    manager_name = "virt-handler"
    watches = (VMIS,)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self.cluster.guests.follow(lambda namespace, name: manager.enqueue(self, (namespace, name)))

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None or phase(vmi) != "Running" or being_deleted(vmi):
            return None
        names = {volume["name"] for volume in vmi["spec"].get("volumes") or () if "memoryDump" in volume}
        again: float | None = None
        result = []
        for status in vmi["status"].get("volumeStatus") or ():
            if status["name"] in names and status.get("phase") in (MOUNTED, RUNNING):
                status, wait = self._dump(vmi, status)
                again = wait if again is None else again
            result.append(status)
        if names:
            self.write_status(VMIS, vmi, {**vmi["status"], "volumeStatus": result})
        return again

    def _dump(self, vmi: Object, status: Object) -> tuple[Object, float | None]:
        name, stamp = status["name"], self.cluster.clock.stamp()
        dump = dict(status.get("memoryDumpVolume") or {"claimName": name})
        if status["phase"] == MOUNTED:
            when = self.cluster.clock.now().strftime("%Y%m%d-%H%M%S")
            dump["targetFileName"] = f"{vmi['metadata']['name']}-{name}-{when}.memory.dump"
            dump["startTimestamp"] = stamp
            text = f"Memory dump Volume {name} is attached, getting memory dump"
            told = {"phase": RUNNING, "reason": "VolumeMountedToPod", "message": text}
            return {**status, **told, "memoryDumpVolume": dump}, None
        step = self.cluster.guests.dump(vmi, dump["targetFileName"], self._target(vmi, name, dump["targetFileName"]))
        if not step.over:
            return status, step.wait
        dump["endTimestamp"] = stamp
        broken = self.cluster.faults.dump_failure(f"{vmi['metadata']['namespace']}/{vmi['metadata']['name']}")
        broken = broken or step.problem or None
        if broken is not None:
            text = f"Memory dump to pvc {name} failed: {broken}"
            return {**status, "phase": FAILED, "message": text, "memoryDumpVolume": dump}, None
        told = {"phase": COMPLETED, "reason": "VolumeReady"}
        told["message"] = f"Memory dump to Volume {name} has completed successfully"
        return {**status, **told, "memoryDumpVolume": dump}, None

    def _target(self, vmi: Object, claim: str, file: str) -> Path | None:
        """Where the dump goes; None where volumes hold no bytes."""
        found, volumes = self.find(PVCS, vmi["metadata"]["namespace"], claim), self.cluster.volumes
        return volumes.disk(found).parent / file if found is not None and volumes is not None else None
