"""Pods that attach hot-plugged volumes, and the states such a volume passes. Pure functions.

watch/vmi/storage.go of virt-controller and virt-handler's vm.go: phases, reasons and wording.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from virtlab.controllers.kubevirt.live_update import hotpluggable
from virtlab.controllers.kubevirt.names import LAUNCHER_IMAGE
from virtlab.controllers.kubevirt.volumes import claim_name
from virtlab.controllers.ownership import owner_reference
from virtlab.resource import Object

LABEL = "hotplug-disk"
PENDING, BOUND, ATTACHED, MOUNTED, READY = "Pending", "Bound", "AttachedToNode", "MountedToPod", "Ready"
UNMOUNTED, DETACHING = "UnMountedFromPod", "Detaching"


def hot_volumes(spec: Object) -> list[Object]:
    return [volume for volume in spec.get("volumes") or () if hotpluggable(volume) or "memoryDump" in volume]


def is_attachment(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get("kubevirt.io") == LABEL


def attachment_pod(vmi: Object, launcher: Object, volumes: Iterable[Object]) -> Object:
    """The pod on the launcher's node whose volumes virt-handler mounts into the launcher."""
    names = [(volume["name"], claim_name(volume)) for volume in volumes]
    seed = f"{launcher['metadata']['uid']}/{'/'.join(name for name, _claim in names)}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"hp-volume-{crc32(seed.encode()):08x}",
            "namespace": vmi["metadata"]["namespace"],
            "labels": {"kubevirt.io": LABEL},
            "annotations": {"kubevirt.io/domain": vmi["metadata"]["name"]},
            "ownerReferences": [owner_reference(launcher)],
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": LABEL, "image": LAUNCHER_IMAGE, "command": ["/usr/bin/container-disk"]}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {
                                        "key": "kubernetes.io/hostname",
                                        "operator": "In",
                                        "values": [launcher["spec"]["nodeName"]],
                                    }
                                ]
                            }
                        ]
                    }
                }
            },
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in names],
        },
    }


def _told(status: Object, phase: str, reason: str, message: str) -> Object:
    return {**status, "phase": phase, "reason": reason, "message": message}


def next_status(
    status: Object, volume: Object, claim: Object | None, pod: Object | None, *, ready: bool, mounted: bool
) -> Object:
    """The status of a volume of the spec, given the claim behind it, the pod that attaches it, and whether that is
    ready and the volume mounted."""
    name, now = volume["name"], status.get("phase")
    hot = dict(status.get("hotplugVolume") or {})
    if pod is not None:
        hot["attachPodName"] = pod["metadata"]["name"]
        hot.pop("attachPodUID", None)
        if ready:
            hot["attachPodUID"] = pod["metadata"]["uid"]
    status = {**status, "hotplugVolume": hot}
    if str(now).startswith("MemoryDump"):
        return status
    if now == READY or (now == MOUNTED and status.get("target")):
        return _told(status, READY, "VolumeReady", f"Successfully attach hotplugged volume {name} to VM")
    if now == MOUNTED:
        return status
    if mounted:
        return _told(status, MOUNTED, "VolumeMountedToPod", f"Volume {name} has been mounted in virt-launcher pod")
    if pod is not None and now != DETACHING:
        text = f"Created hotplug attachment pod {pod['metadata']['name']}, for volume {name}"
        return _told(status, ATTACHED, "SuccessfulCreate", text)
    if claim is None:
        return _told(status, PENDING, "FailedPvcNotFound", f"PVC {claim_name(volume)} not found")
    phase = (claim.get("status") or {}).get("phase") or PENDING
    return _told(status, BOUND if phase == BOUND else PENDING, "PVCNotReady", f"PVC is in phase {phase}")


def detached(status: Object, *, unmounted: bool) -> Object:
    """The status of a volume that has left the spec."""
    name = status["name"]
    if unmounted:
        text = f"Volume {name} has been unmounted from virt-launcher pod"
        return _told(status, UNMOUNTED, "VolumeUnMountedFromPod", text)
    return _told(status, DETACHING, "Detaching", f"Deleted hotplug attachment pod, for volume {name}")
