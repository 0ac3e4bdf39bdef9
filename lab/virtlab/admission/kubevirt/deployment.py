"""The KubeVirt object: what virt-operator refuses. pkg/virt-operator/webhooks."""

from __future__ import annotations

from virtlab.admission.registry import validating
from virtlab.admission.webhook import at, failed
from virtlab.operation import Operation

RESOURCE = "kubevirts.kubevirt.io"
CREATE_VALIDATOR = "kubevirt-create-validator.kubevirt.io"
DELETE_VALIDATOR = "kubevirt-validator.kubevirt.io"
WORKLOADS = (
    ("virtualmachineinstances", "Virtual Machine Instances"),
    ("virtualmachines", "Virtual Machines"),
    ("virtualmachineinstancereplicasets", "Virtual Machine Instance Replica Sets"),
)


@validating(RESOURCE, "CREATE")
def only_one(operation: Operation) -> None:
    if operation.cluster.store.entries(("kubevirt.io", "kubevirts")):
        raise failed(CREATE_VALIDATOR, "Kubevirt is already created")


@validating(RESOURCE, "DELETE")
def without_workloads(operation: Operation) -> None:
    kubevirt = operation.old or {}
    strategy = at(kubevirt, "spec", "uninstallStrategy")
    if strategy in (None, "", "RemoveWorkloads") or at(kubevirt, "status", "phase") != "Deployed":
        return
    for plural, title in WORKLOADS:
        if operation.cluster.store.count(("kubevirt.io", plural)):
            message = (
                f"Rejecting the uninstall request, since there are still {title} present. Either delete all KubeVirt "
                "related workloads or change the uninstall strategy before uninstalling KubeVirt."
            )
            raise failed(DELETE_VALIDATOR, message)
