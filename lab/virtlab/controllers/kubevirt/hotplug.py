"""Hot plug: what a machine's template gains or loses reaches its running instance, with pods that attach its volumes.

virt-controller's part, and of virt-handler's what shows in the instance's status.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from virtlab.admission.kubevirt.settings import settings
from virtlab.admission.kubevirt.volume_requests import applied
from virtlab.controllers.conditions import find_condition, is_true, with_condition, without_condition
from virtlab.controllers.kubevirt.attachments import (
    MOUNTED,
    READY,
    attachment_pod,
    detached,
    hot_volumes,
    is_attachment,
    next_status,
)
from virtlab.controllers.kubevirt.hotplug_spec import (
    by_name,
    cleared_template,
    devices,
    done_requests,
    plugged_interfaces,
    plugged_volumes,
)
from virtlab.controllers.kubevirt.instance_status import running_conditions
from virtlab.controllers.kubevirt.names import (
    DATA_VOLUMES,
    FINAL,
    MIGRATION_JOB,
    PVCS,
    VMIS,
    VMS,
)
from virtlab.controllers.kubevirt.volumes import claim_name, claims, phase
from virtlab.controllers.ownership import being_deleted, controller_of, owner_uids
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event

STEP = 1.0  # seconds to mount a volume into the launcher, and to take it out again
GRACE = 150.0  # seconds in which another controller may bring an interface into the launcher's pod
NETWORKS = "k8s.v1.cni.cncf.io/networks"
REQUIRED = "MigrationRequired"


class TemplateController(Controller):
    """Brings what may change in a running instance from the machine's template into its spec."""

    manager_name = "virt-controller"
    watches = (VMS, VMIS)

    def reconcile(self, key: Key) -> float | None:
        vm, vmi = self.find(VMS, *key), self.find(VMIS, *key)
        if vm is None or being_deleted(vm):
            return None
        running = vmi if vmi is not None and phase(vmi) not in FINAL and not being_deleted(vmi) else None
        config = settings(self.cluster.store)
        pending = (vm.get("status") or {}).get("volumeRequests") or []
        if pending:
            vm, running = self._request(vm, running, pending)
        template = vm["spec"]["template"]["spec"]
        statuses = by_name(((running or {}).get("status") or {}).get("interfaces"))
        if running is not None and phase(running) == "Running":
            spec = running["spec"]
            moving = vm["spec"].get("updateVolumesStrategy") == "Migration"
            if config.gate("DeclarativeHotplugVolumes") and not config.gate("HotplugVolumes") and not moving:
                spec = plugged_volumes(template, spec, running["status"].get("volumeStatus") or ())
            spec = plugged_interfaces(template, spec, statuses)
            if spec != running["spec"]:
                running = self.update(VMIS, {**running, "spec": spec})
        cleared = cleared_template(template, (running or {}).get("spec"), statuses)
        if cleared is not template:
            self._write_template(vm, cleared)
        return None

    def _write_template(self, vm: Object, template: Object) -> Object:
        spec = {**vm["spec"], "template": {**vm["spec"]["template"], "spec": template}}
        return self.update(VMS, {**vm, "spec": spec})

    def _request(self, vm: Object, vmi: Object | None, pending: list[Object]) -> tuple[Object, Object | None]:
        """Carry out what addvolume and removevolume left in the machine's status."""
        template = vm["spec"]["template"]["spec"]
        spec = vmi["spec"] if vmi is not None else None
        for request in pending:
            template = applied(template, request)
            spec = applied(spec, request) if spec is not None else None
        if vmi is not None and spec is not None and spec != vmi["spec"]:
            vmi = self.update(VMIS, {**vmi, "spec": spec})
        if template != vm["spec"]["template"]["spec"]:
            vm = self._write_template(vm, template)
        left = done_requests(pending, vm["spec"]["template"]["spec"])
        status = {key: value for key, value in (vm.get("status") or {}).items() if key != "volumeRequests"}
        if left:
            status["volumeRequests"] = left
        return self.write_status(VMS, vm, status), vmi


class AttachmentController(Controller):
    """Attaches the hot-pluggable volumes of running instances through pods on their nodes, and takes them off again."""

    manager_name = "virt-controller"
    watches = (VMIS, "pods", PVCS, DATA_VOLUMES)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._pods = manager.index("pods", owner_uids)
        self._by_claim = manager.index(
            VMIS,
            lambda vmi: [f"{vmi['metadata']['namespace']}/{name}" for name in claims(hot_volumes(vmi["spec"]))],
        )

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "virtualmachineinstances":
            return super().keys(event) if event.type != "DELETED" else ()
        if event.key[1] != "pods":
            return self._by_claim.keys(f"{metadata.get('namespace')}/{metadata['name']}")
        name = (metadata.get("labels") or {}).get("vm.kubevirt.io/name")
        if is_attachment(event.object):
            name = (metadata.get("annotations") or {}).get("kubevirt.io/domain")
        return [(metadata["namespace"], name)] if name else ()

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None or phase(vmi) != "Running" or being_deleted(vmi):
            return None
        hot = by_name(hot_volumes(vmi["spec"]))
        statuses = by_name(vmi["status"].get("volumeStatus"))
        known = {name for name, status in statuses.items() if status.get("hotplugVolume") is not None}
        if not hot and not known:
            return None
        launcher = self._launcher(vmi)
        if launcher is None:
            return None
        pod = self._pod(vmi, launcher, hot)
        again: list[float] = []
        result = []
        for name, status in statuses.items():
            if name in hot:
                result.append(self._attach(vmi, status, hot[name], pod, again))
            elif name in known:
                left = self._detach(vmi, status, again)
                if left is not None:
                    result.append(left)
            else:
                result.append(status)
        before = vmi["status"].get("volumeStatus") or []
        if result != before:
            self._tell(vmi, statuses, by_name(result))
            status = {**vmi["status"], "volumeStatus": result}
            vmi = self.write_status(VMIS, {**vmi, "status": vmi["status"]}, status)
            self._judge(vmi)
        return min(again) if again else None

    def _launcher(self, vmi: Object) -> Object | None:
        node = vmi["status"].get("nodeName")
        for key in self._pods.keys(vmi["metadata"]["uid"]):
            pod = self.find("pods", *key)
            if pod is not None and pod["spec"].get("nodeName") == node and not being_deleted(pod):
                return pod
        return None

    def _filled(self, namespace: str, volume: Object) -> bool:
        """Is the claim behind a volume there with its content, or only waiting for the pod that uses it?"""
        name = claim_name(volume)
        claim, data_volume = self.find(PVCS, namespace, name), self.find(DATA_VOLUMES, namespace, name)
        if claim is None:
            return False
        if data_volume is not None:
            return phase(data_volume) in ("Succeeded", "PendingPopulation", "WaitForFirstConsumer")
        return True

    def _pod(self, vmi: Object, launcher: Object, hot: dict[str, Object]) -> Object | None:
        """The pod that attaches all volumes that are filled; one of before that attaches others goes."""
        namespace = vmi["metadata"]["namespace"]
        wanted = [volume for volume in hot.values() if self._filled(namespace, volume)]
        found = [self.find("pods", *key) for key in self._pods.keys(launcher["metadata"]["uid"])]
        pods = [pod for pod in found if pod is not None and is_attachment(pod) and not being_deleted(pod)]
        names = {volume["name"] for volume in wanted}
        current = next((pod for pod in pods if set(by_name(pod["spec"].get("volumes"))) == names), None)
        for pod in pods:
            if pod is not current:
                self.delete("pods", namespace, pod["metadata"]["name"])
                text = f"Deleted attachment pod {pod['metadata']['name']}"
                self.event(vmi, "SuccessfulDelete", text, component="virtualmachine-controller")
        if current is None and wanted:
            current = self.create("pods", attachment_pod(vmi, launcher, wanted))
            if current is not None:
                text = f"Created attachment pod {current['metadata']['name']}"
                self.event(vmi, "SuccessfulCreate", text, component="virtualmachine-controller")
        return current

    def _attach(self, vmi: Object, status: Object, volume: Object, pod: Object | None, again: list[float]) -> Object:
        namespace = vmi["metadata"]["namespace"]
        carries = pod is not None and volume["name"] in by_name(pod["spec"].get("volumes"))
        claim = self.find(PVCS, namespace, claim_name(volume))
        ready = carries and is_true(pod or {}, "Ready")
        step = (vmi["metadata"]["uid"], f"mount {volume['name']}")
        mounted = False
        is_on = status.get("phase") in (MOUNTED, READY) or str(status.get("phase")).startswith("MemoryDump")
        if ready and not is_on:
            wait = self.remaining(*step, STEP)
            again += [wait] if wait else []
            mounted = not wait
        if mounted:
            self.forget(*step)
        return next_status(status, volume, claim, pod if carries else None, ready=ready, mounted=mounted)

    def _detach(self, vmi: Object, status: Object, again: list[float]) -> Object | None:
        """The status of a volume that has left the spec; None when it is off."""
        step = (vmi["metadata"]["uid"], f"unmount {status['name']}")
        wait = self.remaining(*step, STEP)
        if wait or status.get("target"):
            again += [wait] if wait else []
            return detached(status, unmounted=False)
        self.forget(*step)
        return None

    def _tell(self, vmi: Object, before: dict[str, Object], after: dict[str, Object]) -> None:
        for name, status in before.items():
            if name not in after:
                text = f"Volume {name} has been unplugged"
                self.event(vmi, "VolumeUnplugged", text, component="virt-handler")
            elif after[name].get("phase") != status.get("phase") and after[name].get("reason"):
                self.event(vmi, after[name]["reason"], after[name].get("message", ""), component="virt-handler")

    def _judge(self, vmi: Object) -> None:
        """Say again whether the instance can migrate: that depends on its disks."""
        namespace = vmi["metadata"]["namespace"]
        stamp = self.cluster.clock.stamp()
        conditions = running_conditions(vmi, lambda name: self.find(PVCS, namespace, name), stamp)
        kept = {item["type"]: item for item in vmi["status"].get("conditions") or ()}
        kept.update({item["type"]: item for item in conditions if item["type"].endswith("LiveMigratable")})
        self.write_status(VMIS, vmi, {**vmi["status"], "conditions": list(kept.values())})


class InterfaceController(Controller):
    """Shows the interfaces of the launcher's pod, and asks for a migration where it lacks one or has one too many.

    pkg/network/migration/evaluator.go; the migration is the workload updater's.
    """

    manager_name = "virt-controller"
    watches = (VMIS, "pods")

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._pods = manager.index("pods", owner_uids)

    def keys(self, event: Event) -> Iterable[Key]:
        if event.type == "DELETED":
            return ()
        if event.key[1] == "virtualmachineinstances":
            return super().keys(event)
        owner = controller_of(event.object, "VirtualMachineInstance")
        return [(event.object["metadata"]["namespace"], owner["name"])] if owner else ()

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None or phase(vmi) != "Running" or being_deleted(vmi):
            return None
        node = vmi["status"].get("nodeName")
        found = (self.find("pods", *pod) for pod in self._pods.keys(vmi["metadata"]["uid"]))
        launcher = next((pod for pod in found if pod is not None and pod["spec"].get("nodeName") == node), None)
        if launcher is None:
            return None
        secondary = {item["name"] for item in vmi["spec"].get("networks") or () if "multus" in item}
        present = pod_networks(launcher)
        shown = vmi["status"].get("interfaces") or []
        result = [item for item in shown if item["name"] not in secondary or item["name"] in present]
        names = by_name(result)
        for item in devices(vmi["spec"]).get("interfaces") or ():
            name = item["name"]
            if name in secondary and name in present and name not in names:
                result.append({"name": name, "infoSource": "multus-status", "podInterfaceName": present[name]})
        status = {**vmi["status"], "interfaces": result}
        wait, status = self._required(vmi, status, secondary, present)
        self.write_status(VMIS, vmi, status)
        return wait

    def _required(
        self, vmi: Object, status: Object, secondary: set[str], present: dict[str, str]
    ) -> tuple[float | None, Object]:
        """C(status) with the condition that a migration is required: false at first, true after a while."""
        uid, stamp = vmi["metadata"]["uid"], self.cluster.clock.stamp()
        conditions = list(status.get("conditions") or ())
        wanting = [
            item
            for item in devices(vmi["spec"]).get("interfaces") or ()
            if item["name"] in secondary and (item.get("state") == "absent") == (item["name"] in present)
        ]
        if not wanting:
            self.forget(uid, "interfaces")
            return None, {**status, "conditions": without_condition(conditions, REQUIRED)}
        wait = 0.0 if any("sriov" in item for item in wanting) else self.remaining(uid, "interfaces", GRACE)
        wanted: Object = {"type": REQUIRED, "status": "False" if wait else "True", "lastProbeTime": None}
        wanted["reason"] = "AutoMigrationPending" if wait else "AutoMigrationDueToLiveUpdate"
        if (find_condition(vmi, REQUIRED) or {}).get("status") != wanted["status"]:
            conditions = with_condition(conditions, wanted, stamp)
        return wait or None, {**status, "conditions": conditions}


def pod_networks(pod: Object) -> dict[str, str]:
    """The pod's interface on each secondary network, by the name that the network has in the instance."""
    text = (pod["metadata"].get("annotations") or {}).get(NETWORKS)
    if not text or (MIGRATION_JOB in (pod["metadata"].get("labels") or {}) and not is_true(pod, "Ready")):
        return {}
    return {item["interface"].removeprefix("pod"): item["interface"] for item in orjson.loads(text)}
