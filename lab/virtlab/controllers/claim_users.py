"""Who uses a claim: pods, and the machines that run in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtlab.controllers.kubevirt.names import VM_NAME
from virtlab.resource import Object

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller, Manager


def claim_names(pod: Object) -> list[str]:
    """The claims that a pod mounts."""
    return [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("spec", {}).get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    ]


def pod_claims(pod: Object) -> list[str]:
    """The claims of a pod that is not over yet, as C(namespace/name)."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return []
    return [f"{pod['metadata'].get('namespace')}/{name}" for name in claim_names(pod)]


class ClaimUsers:
    """Kept up to date by events; to be made when a controller is."""

    def __init__(self, controller: Controller, manager: Manager) -> None:
        self._controller = controller
        self._users = manager.index("pods", pod_claims)

    def pods(self, namespace: str, claim: str) -> list[tuple[str, str]]:
        """(namespace, name) of the pods that use the claim and are not over."""
        return self._users.keys(f"{namespace}/{claim}")

    def guests(self, namespace: str, claim: str) -> list[tuple[str, str]]:
        """(namespace, name) of the instances that may be writing to the claim."""
        found = []
        for place, name in self.pods(namespace, claim):
            machine = self._machine(place, name)
            if machine and (place, machine) not in found:
                found.append((place, machine))
        return found

    def _machine(self, namespace: str, pod_name: str) -> str | None:
        """The instance of a launcher, or of the launcher that a pod attaches a volume to."""
        pod = self._controller.find("pods", namespace, pod_name)
        if pod is None:
            return None
        label: str | None = (pod["metadata"].get("labels") or {}).get(VM_NAME)
        if label:
            return label
        for owner in pod["metadata"].get("ownerReferences") or ():
            if owner["kind"] == "Pod" and owner["name"] != pod_name:
                return self._machine(namespace, owner["name"])
        return None
