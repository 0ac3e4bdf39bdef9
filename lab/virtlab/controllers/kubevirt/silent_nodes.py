"""Nodes whose virt-handler says nothing any more: virt-controller's node controller."""

from __future__ import annotations

from collections.abc import Iterable

from virtlab.controllers.kubevirt.names import FINAL, VMIS
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import controller_of, owner_uids
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event

HEARTBEAT = 300.0  # seconds that virt-handler may say nothing
SCHEDULABLE = "kubevirt.io/schedulable"
REASON = "NodeUnresponsive"


def on_node(vmi: Object) -> list[str]:
    node = (vmi.get("status") or {}).get("nodeName")
    return [node] if node and phase(vmi) not in FINAL else []


class SilentNodeController(Controller):
    """Takes silent nodes out of use, and fails their instances once no pod of these is left that could be alive."""

    manager_name = "virt-controller"
    watches = ("nodes", "pods", VMIS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self._instances = manager.index(VMIS, on_node)
        self._pods = manager.index("pods", owner_uids)
        self.cluster.power.follow(lambda node: manager.enqueue(self, ("", node)))

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "nodes"):
            return super().keys(event)
        if event.key[1] == "pods":
            node = event.object["spec"].get("nodeName")
        else:
            node = (event.object.get("status") or {}).get("nodeName")
        return [("", node)] if node and self._unheard(node) else ()

    def _unheard(self, name: str) -> bool:
        return self.cluster.power.down(name) or self.find("nodes", None, name) is None

    def reconcile(self, key: Key) -> float | None:
        name = key[1]
        node = self.find("nodes", None, name)
        if not self._unheard(name):
            self.forget(name, "heartbeat")
            if node is not None:
                self._mark(node, schedulable=True)
            return None
        wait = self.remaining(name, "heartbeat", HEARTBEAT) if node is not None else 0.0
        if wait:
            return wait
        if node is not None:
            self._mark(node, schedulable=False)
        for place in self._instances.keys(name):
            vmi = self.find(VMIS, *place)
            if vmi is not None and not self._may_be_alive(vmi):
                text = f"virt-handler on node {name} is not responsive, marking VMI as failed"
                self.event(vmi, REASON, text, component="node-controller")
                self.write_status(VMIS, vmi, {**vmi["status"], "phase": "Failed", "reason": REASON})
        return None

    def _mark(self, node: Object, *, schedulable: bool) -> None:
        labels, wanted = node["metadata"].get("labels") or {}, "true" if schedulable else "false"
        if SCHEDULABLE not in labels or labels[SCHEDULABLE] == wanted:
            return
        self.update("nodes", {**node, "metadata": {**node["metadata"], "labels": {**labels, SCHEDULABLE: wanted}}})
        if not schedulable:
            text = "virt-handler is not responsive, marking node as unresponsive"
            self.event(node, REASON, text, component="node-controller")

    def _may_be_alive(self, vmi: Object) -> bool:
        """Is there a pod of the instance on its node of which nobody knows that it has ended?"""
        node = vmi["status"].get("nodeName")
        pods = (self.find("pods", *key) for key in self._pods.keys(vmi["metadata"]["uid"]))
        return any(
            pod is not None
            and pod["spec"].get("nodeName") == node
            and phase(pod) not in FINAL
            and controller_of(pod, "VirtualMachineInstance") is not None
            for pod in pods
        )
