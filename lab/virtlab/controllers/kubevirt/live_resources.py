"""Processors that a running instance gains with its machine's template (virt-controller's handleCPUChangeRequest).

KubeVirt plugs them in by a migration; here the guest gets them where it is.
"""

from __future__ import annotations

from virtlab.admission.kubevirt.settings import settings
from virtlab.controllers.kubevirt import instancetypes
from virtlab.controllers.kubevirt.names import VMIS, VMS
from virtlab.controllers.kubevirt.volumes import phase
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key
from virtlab.resource import Object


def with_sockets(template: Object, spec: Object) -> Object:
    """The instance's C(spec) with the template's sockets where a guest can have them: more, up to its limit."""
    wanted, cpu = (template["domain"].get("cpu") or {}).get("sockets"), spec["domain"].get("cpu") or {}
    if not wanted or not (cpu.get("sockets") or 1) < wanted <= (cpu.get("maxSockets") or 0):
        return spec
    return {**spec, "domain": {**spec["domain"], "cpu": {**cpu, "sockets": wanted}}}


class LiveProcessorController(Controller):
    manager_name = "virt-controller"
    watches = (VMS, VMIS)

    def reconcile(self, key: Key) -> float | None:
        vm, vmi = self.find(VMS, *key), self.find(VMIS, *key)
        if vm is None or vmi is None or being_deleted(vm) or being_deleted(vmi) or phase(vmi) != "Running":
            return None
        moving = vmi["status"].get("migrationState") or {}
        if not settings(self.cluster.store).live_update or (moving and not moving.get("completed")):
            return None
        found = {name: instancetypes.stored(self, vm, name) for name in instancetypes.MATCHERS}
        template = instancetypes.apply(vm["spec"]["template"]["spec"], found["instancetype"], found["preference"])
        spec = with_sockets(template, vmi["spec"])
        if spec is not vmi["spec"]:
            self.update(VMIS, {**vmi, "spec": spec})
        return None
