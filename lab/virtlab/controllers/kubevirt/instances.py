"""Instances: virt-controller and virt-handler in one, from the launcher pod to the guest that runs and ends."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.claims import SELECTED_NODE
from virtlab.controllers.conditions import find_condition, is_true, with_condition, without_condition
from virtlab.controllers.kubevirt.instance_from import initial_status
from virtlab.controllers.kubevirt.instance_status import (
    binary,
    enter,
    running_conditions,
    volume_status,
    with_agent,
)
from virtlab.controllers.kubevirt.launchers import cpu_ratio, launcher_pod
from virtlab.controllers.kubevirt.live_resources import with_pending
from virtlab.controllers.kubevirt.names import (
    DATA_VOLUMES,
    FINAL,
    KUBEVIRTS,
    LAUNCHER_IMAGE,
    MIGRATION_JOB,
    NODE_NAME,
    PVCS,
    VM_FINALIZER,
    VMI_FINALIZERS,
    VMIS,
)
from virtlab.controllers.kubevirt.silent_nodes import on_node
from virtlab.controllers.kubevirt.volumes import claims, phase
from virtlab.controllers.ownership import being_deleted, controller_of, owner_uids
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.guests.interface import Ending
from virtlab.resource import Object
from virtlab.store import Event

NOT_RUNNING = ("GuestNotRunning", "Guest VM is not reported as running")
NO_POD = ("PodNotExists", "virt-launcher pod has not yet been scheduled")
CRASHED = Ending("Failed", "The VirtualMachineInstance crashed.")
TERMINATING = ("PodTerminating", "virt-launcher pod is terminating")


def not_ready(conditions: list[Object], why: tuple[str, str], stamp: str) -> list[Object]:
    old = next((item for item in conditions if item["type"] == "Ready"), {})
    if (old.get("reason"), old.get("message")) == why:
        return conditions
    wanted = {"type": "Ready", "status": "False", "reason": why[0], "message": why[1], "lastProbeTime": stamp}
    return with_condition(conditions, wanted, stamp)


def ended(status: Object, has_pod: bool, stamp: str) -> Object:
    """C(status) of a guest that is down: not ready, and no agent."""
    conditions = not_ready(list(status.get("conditions") or ()), TERMINATING if has_pod else NO_POD, stamp)
    for kind in ("AgentConnected", "Paused"):
        conditions = without_condition(conditions, kind)
    return {**status, "conditions": conditions}


class InstanceController(Controller):
    manager_name = "virt-controller"
    watches = (VMIS, "pods", PVCS, DATA_VOLUMES)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._guests = self.cluster.guests
        self._guests.follow(lambda namespace, name: manager.enqueue(self, (namespace, name)))
        self._pods = manager.index("pods", owner_uids)
        self._by_node = manager.index(VMIS, on_node)
        self.cluster.power.follow(self._switched)
        self._by_claim = manager.index(
            VMIS,
            lambda vmi: [f"{vmi['metadata']['namespace']}/{name}" for name in claims(vmi["spec"].get("volumes") or ())],
        )

    def _switched(self, node: str) -> None:
        for key in self._by_node.keys(node):
            self.manager.enqueue(self, key)

    def keys(self, event: Event) -> Iterable[Key]:
        metadata = event.object["metadata"]
        if event.key[1] == "virtualmachineinstances":
            return super().keys(event) if event.type != "DELETED" else ()
        if event.key[1] == "pods":
            owner = controller_of(event.object, "VirtualMachineInstance")
            return [(metadata["namespace"], owner["name"])] if owner else ()
        return self._by_claim.keys(f"{metadata.get('namespace')}/{metadata['name']}")

    def reconcile(self, key: Key) -> float | None:
        vmi = self.find(VMIS, *key)
        if vmi is None:
            return None
        pods = self.launchers(vmi)
        now = phase(vmi)
        if now in FINAL:
            return self._clean_up(vmi, pods)
        if now in ("Scheduled", "Running") and self._silent(vmi):
            self._unheard(vmi, self.active_pod(vmi, pods))
            return None
        if being_deleted(vmi):
            return self._shut_down(vmi, pods)
        if now == "":
            vmi = self._write(vmi, {**(vmi.get("status") or {}), **initial_status(self.cluster.clock.stamp())})
            now = "Pending"
        pod = self.active_pod(vmi, pods)
        if now == "Pending":
            return self._pending(vmi, pod)
        if pod is None:
            return self._lost(vmi)
        if now == "Scheduling":
            return self._scheduling(vmi, pod)
        if now == "Scheduled":
            return self._boot(vmi, pod)
        if now == "Running":
            return self._running(vmi, pod)
        return None

    def launchers(self, vmi: Object) -> list[Object]:
        found = (self.find("pods", *key) for key in self._pods.keys(vmi["metadata"]["uid"]))
        return [pod for pod in found if pod is not None]

    def claim(self, vmi: Object, name: str) -> Object | None:
        return self.find(PVCS, vmi["metadata"]["namespace"], name)

    def active_pod(self, vmi: Object, pods: list[Object]) -> Object | None:
        """The launcher in which the guest is, or will be: on the instance's node, and no migration's target before."""
        node = (vmi.get("status") or {}).get("nodeName")
        if node:
            return next((pod for pod in pods if pod["spec"].get("nodeName") == node), None)
        return next((pod for pod in pods if MIGRATION_JOB not in (pod["metadata"].get("labels") or {})), None)

    def _write(self, vmi: Object, status: Object) -> Object:
        return self.write_status(VMIS, vmi, status)

    def _silent(self, vmi: Object) -> bool:
        node = (vmi.get("status") or {}).get("nodeName", "")
        return self.cluster.power.down(node) or self.find("nodes", None, node) is None

    def _unheard(self, vmi: Object, pod: Object | None) -> None:
        """Nobody speaks for the guest; whether the instance is ready is what is said of its pod."""
        status, stamp = dict(vmi["status"]), self.cluster.clock.stamp()
        conditions = list(status.get("conditions") or ())
        ready = find_condition(pod, "Ready")
        if pod is None or ready is None:
            conditions = not_ready(conditions, NO_POD, stamp)
        elif being_deleted(pod):
            conditions = not_ready(conditions, TERMINATING, stamp)
        elif ready["status"] != (find_condition(vmi, "Ready") or {}).get("status"):
            conditions = with_condition(conditions, ready, stamp)
        self._write(vmi, {**status, "conditions": conditions})

    # Starting

    def _pending(self, vmi: Object, pod: Object | None) -> float | None:
        namespace, stamp = vmi["metadata"]["namespace"], self.cluster.clock.stamp()
        status = dict(vmi.get("status") or {})
        conditions = list(status.get("conditions") or ())
        volumes = vmi["spec"].get("volumes") or ()
        missing = next((name for name in claims(volumes) if self.claim(vmi, name) is None), None)
        if missing is not None:
            text = f"PVC {namespace}/{missing} does not exist, waiting for it to appear"
            conditions = not_ready(conditions, NO_POD, stamp)
            for kind, reason in (("PodScheduled", "Unschedulable"), ("Synchronized", "FailedPvcNotFound")):
                wanted = {"type": kind, "status": "False", "reason": reason, "message": text, "lastProbeTime": None}
                conditions = with_condition(conditions, wanted, stamp)
            if conditions != status.get("conditions"):
                self.event(vmi, "FailedPvcNotFound", text, component="virtualmachine-controller")
            self._write(vmi, {**status, "conditions": conditions})
            return None
        for kind in ("PodScheduled", "Synchronized"):
            conditions = without_condition(conditions, kind)
        if not self._volumes_ready(vmi):
            self._write(vmi, {**status, "conditions": conditions})
            return None
        if pod is None:
            pod = self.create("pods", launcher_pod(vmi, cpu_ratio(self.list(KUBEVIRTS))))
            if pod is None:
                return None
            text = f"Created virtual machine pod {pod['metadata']['name']}"
            self.event(vmi, "SuccessfulCreate", text, component="virtualmachine-controller")
        conditions = without_condition(not_ready(conditions, NOT_RUNNING, stamp), "Provisioning")
        status = enter({**status, "conditions": conditions}, "Scheduling", stamp)
        status["activePods"] = {pod["metadata"]["uid"]: pod["spec"].get("nodeName", "")}
        self._write(vmi, status)
        return None

    def _volumes_ready(self, vmi: Object) -> bool:
        """Are all claims filled? Those that wait for a first consumer are told of it."""
        namespace, ready = vmi["metadata"]["namespace"], True
        for name in claims(vmi["spec"].get("volumes") or ()):
            claim = self.claim(vmi, name)
            data_volume = self.find(DATA_VOLUMES, namespace, name)
            if claim is None:
                return False
            if data_volume is None or phase(data_volume) == "Succeeded":
                continue
            ready = False
            if phase(data_volume) in ("WaitForFirstConsumer", "PendingPopulation"):
                annotations = claim["metadata"].get("annotations") or {}
                if SELECTED_NODE not in annotations:
                    node = self.list("nodes")[0]["metadata"]["name"]
                    metadata = {**claim["metadata"], "annotations": {**annotations, SELECTED_NODE: node}}
                    self.update(PVCS, {**claim, "metadata": metadata})
        return ready

    def _scheduling(self, vmi: Object, pod: Object) -> float | None:
        status, stamp = dict(vmi["status"]), self.cluster.clock.stamp()
        conditions = not_ready(list(status.get("conditions") or ()), NOT_RUNNING, stamp)
        scheduled = find_condition(pod, "PodScheduled")
        if scheduled is not None and scheduled["status"] == "False":
            conditions = with_condition(conditions, scheduled, stamp)
        else:
            conditions = without_condition(conditions, "PodScheduled")
        trouble = image_trouble(pod)
        if trouble is not None:
            wanted = {"type": "Synchronized", "status": "False", "lastProbeTime": None, **trouble}
            conditions = with_condition(conditions, wanted, stamp)
        else:
            conditions = without_condition(conditions, "Synchronized")
        status["conditions"] = conditions
        if not is_true(pod, "Ready"):
            self._write(vmi, status)
            return None
        status = enter(status, "Scheduled", stamp)
        node = pod["spec"]["nodeName"]
        address = pod["status"]["podIP"]
        status.update(
            nodeName=node,
            activePods={pod["metadata"]["uid"]: node},
            qosClass=pod["status"].get("qosClass", "Burstable"),
            interfaces=self._guests.interfaces(vmi, address, agent=False),
            volumeStatus=volume_status(vmi, lambda name: self.claim(vmi, name)),
            launcherContainerImageVersion=LAUNCHER_IMAGE,
            runtimeUser=107,
            migrationTransport="Unix",
        )
        labels = {**(vmi["metadata"].get("labels") or {}), NODE_NAME: node}
        self.update(VMIS, {**vmi, "metadata": {**vmi["metadata"], "labels": labels}, "status": status})
        return None

    def _boot(self, vmi: Object, pod: Object) -> float | None:
        step = self._guests.boot(vmi, pod)
        if step.problem:
            return self._not_started(vmi, step.problem)
        if not step.done:
            return step.wait
        stamp = self.cluster.clock.stamp()
        status = enter(dict(vmi["status"]), "Running", stamp)
        status.update(self._guests.hardware(vmi), migrationMethod="LiveMigration")
        status["conditions"] = running_conditions(vmi, lambda name: self.claim(vmi, name), stamp)
        if vmi["spec"].get("startStrategy") == "Paused":
            paused = {"type": "Paused", "status": "True", "reason": "PausedByUser", "message": "VMI was paused by user"}
            status["conditions"] = with_condition(status["conditions"], {**paused, "lastProbeTime": None}, stamp)
        elif (info := self._guests.agent(vmi).info) is not None:
            plugged = self._guests.interfaces(vmi, pod["status"]["podIP"], agent=True)
            status = with_agent(status, info, plugged, stamp)
        self._write(vmi, status)
        self.event(vmi, "Created", "VirtualMachineInstance defined.", component="virt-handler")
        self.event(vmi, "Started", "VirtualMachineInstance started.", component="virt-handler")
        return None

    def _not_started(self, vmi: Object, why: str) -> float | None:
        """The hypervisor refuses the guest: it failed before it ran."""
        stamp = self.cluster.clock.stamp()
        status = enter(dict(vmi["status"]), "Failed", stamp)
        text = f"server error. command SyncVMI failed: {why}"
        conditions = not_ready(list(status.get("conditions") or ()), NOT_RUNNING, stamp)
        wanted = {"type": "Synchronized", "status": "False", "reason": "Synchronizing with the Domain failed."}
        status["conditions"] = with_condition(conditions, {**wanted, "message": text, "lastProbeTime": None}, stamp)
        self._write(vmi, status)
        self.event(vmi, "SyncFailed", text, warning=True, component="virt-handler")
        return None

    def _running(self, vmi: Object, pod: Object) -> float | None:
        """Follow the guest: its end, its agent, whether it stands still, what was plugged or unplugged."""
        ending = CRASHED if phase(pod) in FINAL else self._guests.ended(vmi)
        if ending is not None:
            return self._ended_itself(vmi, ending)
        self._guests.adjust(vmi)
        stamp, status = self.cluster.clock.stamp(), dict(vmi["status"])
        connected, paused = is_true(vmi, "AgentConnected"), is_true(vmi, "Paused")
        agent = self._guests.agent(vmi)
        tells = connected if paused else agent.info is not None
        address = pod["status"].get("podIP", "")
        status["interfaces"] = self._guests.interfaces(vmi, address, agent=tells)
        size = self._guests.memory(vmi)
        if size:
            status["memory"] = {**(status.get("memory") or {}), "guestCurrent": binary(size)}
        status["conditions"] = with_pending(list(status.get("conditions") or ()), {**vmi, "status": status}, stamp)
        found = volume_status(vmi, lambda name: self.claim(vmi, name))
        status["volumeStatus"] = self._guests.volumes(vmi, found)
        if not tells:
            status["conditions"] = without_condition(list(status.get("conditions") or ()), "AgentConnected")
            status.pop("guestOSInfo", None)
        elif not connected and agent.info is not None:
            status = with_agent(status, agent.info, status["interfaces"], stamp)
        self._write(vmi, self._standing(vmi, status, stamp))
        return None if connected or paused else agent.wait

    def _standing(self, vmi: Object, status: Object, stamp: str) -> Object:
        """C(status) with the condition Paused as the guest itself has it, where it can be asked."""
        paused = self._guests.paused(vmi)
        if paused is None or paused == is_true(vmi, "Paused"):
            return status
        conditions = list(status.get("conditions") or ())
        if not paused:
            return {**status, "conditions": without_condition(conditions, "Paused")}
        wanted = {"type": "Paused", "status": "True", "reason": "PausedByUser", "message": "VMI was paused by user"}
        return {**status, "conditions": with_condition(conditions, {**wanted, "lastProbeTime": None}, stamp)}

    # Ending

    def _lost(self, vmi: Object) -> float | None:
        """The launcher pod is gone though nobody stopped the guest: it failed."""
        stamp = self.cluster.clock.stamp()
        status = enter(dict(vmi["status"]), "Failed", stamp)
        status["conditions"] = not_ready(list(status.get("conditions") or ()), NO_POD, stamp)
        self._write(vmi, status)
        text = "The VirtualMachineInstance crashed."
        self.event(vmi, "Stopped", text, warning=True, component="virt-handler")
        return None

    def _ended_itself(self, vmi: Object, ending: Ending) -> float | None:
        """The guest powered off or died, though nobody stopped the instance."""
        stamp = self.cluster.clock.stamp()
        status = enter(dict(vmi["status"]), ending.phase, stamp)
        self._write(vmi, ended(status, True, stamp))
        failed = ending.phase == "Failed"
        self.event(vmi, "Stopped", ending.message, warning=failed, component="virt-handler")
        return None

    def _shut_down(self, vmi: Object, pods: list[Object]) -> float | None:
        uid, now = vmi["metadata"]["uid"], phase(vmi)
        stamp = self.cluster.clock.stamp()
        succeeded = now == "Running"
        if now in ("Running", "Scheduled"):
            step = self._guests.shut_down(vmi)
            if not step.over:
                if ("shutting down", uid) not in self._since:
                    self._since["shutting down", uid] = 0.0
                    text = "Signaled Graceful Shutdown"
                    self.event(vmi, "ShuttingDown", text, component="virt-handler")
                return step.wait
            self._since.pop(("shutting down", uid), None)
            succeeded = succeeded and not step.problem
            text = step.problem or "The VirtualMachineInstance was shut down."
            self.event(vmi, "Stopped", text, component="virt-handler")
        status = enter(dict(vmi.get("status") or {}), "Succeeded" if succeeded else "Failed", stamp)
        self._write(vmi, ended(status, bool(pods), stamp))
        return None

    def _clean_up(self, vmi: Object, pods: list[Object]) -> float | None:
        """A final instance loses its pods; its own finalizer goes when they are gone, the machine's by the machine."""
        vmi = self._write(vmi, ended(dict(vmi["status"]), bool(pods), self.cluster.clock.stamp()))
        for pod in pods:
            if not being_deleted(pod):
                metadata = pod["metadata"]
                self.delete("pods", metadata["namespace"], metadata["name"])
                text = f"Deleted virtual machine pod {metadata['name']}"
                self.event(vmi, "SuccessfulDelete", text, component="virtualmachine-controller")
        self._guests.forget(vmi)
        if self.launchers(vmi) or not being_deleted(vmi):
            return None
        finalizers = vmi["metadata"].get("finalizers") or ()
        own = next((item for item in VMI_FINALIZERS if item in finalizers), None)
        if own is not None:
            self.drop_finalizer(VMIS, vmi, own)
        elif VM_FINALIZER in finalizers and controller_of(vmi, "VirtualMachine") is None:
            self.drop_finalizer(VMIS, vmi, VM_FINALIZER)
        return None


def image_trouble(pod: Object) -> Object | None:
    """reason and message of an image that cannot be pulled."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff"):
            return {"reason": waiting["reason"], "message": waiting.get("message", "")}
    return None
