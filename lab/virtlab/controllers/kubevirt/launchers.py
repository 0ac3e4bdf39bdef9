"""The virt-launcher pod of an instance. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from virtlab.controllers.kubevirt.live_update import hotpluggable
from virtlab.controllers.kubevirt.names import CREATED_BY, LAUNCHER, LAUNCHER_IMAGE, VM_NAME
from virtlab.controllers.kubevirt.volumes import claim_name
from virtlab.controllers.ownership import owner_reference
from virtlab.resource import Object
from virtlab.schema.quantity import parse

OVERHEAD = 218 * 2**20  # bytes, of virt-launcher and QEMU; with 8 MiB a vCPU
PER_CPU = 8 * 2**20
CONSOLE_LOG = "guest-console-log"
SCHEDULABLE = {"kubevirt.io/schedulable": "true"}


def vcpus(spec: Object) -> int:
    cpu = spec["domain"].get("cpu") or {}
    asked = (spec["domain"].get("resources") or {}).get("requests") or {}
    count = (cpu.get("cores") or 1) * (cpu.get("sockets") or 1) * (cpu.get("threads") or 1)
    if not cpu and asked.get("cpu"):
        return max(1, int(-(-parse(asked["cpu"]) // 1)))
    return int(count)


def guest_memory(spec: Object) -> int:
    """Bytes that the guest sees."""
    domain = spec["domain"]
    guest = (domain.get("memory") or {}).get("guest")
    asked = (domain.get("resources") or {}).get("requests") or {}
    limits = (domain.get("resources") or {}).get("limits") or {}
    return int(parse(guest or asked.get("memory") or limits.get("memory") or "1Gi"))


def cpu_ratio(kubevirts: Iterable[Object]) -> int:
    """How many vCPUs share a CPU, as KubeVirt is configured."""
    for kubevirt in kubevirts:
        developer = (kubevirt["spec"].get("configuration") or {}).get("developerConfiguration") or {}
        return int(developer.get("cpuAllocationRatio") or 10)
    return 10


def pod_resources(spec: Object, cpu_ratio: int) -> dict[str, Any]:
    """What the compute container asks for; C(cpu_ratio) vCPUs share one CPU unless they are dedicated."""
    domain = spec["domain"]
    asked = (domain.get("resources") or {}).get("requests") or {}
    cpus = vcpus(spec)
    dedicated = bool((domain.get("cpu") or {}).get("dedicatedCPUPlacement"))
    cpu = str(cpus) if dedicated else asked.get("cpu") or f"{max(1, cpus * 1000 // cpu_ratio)}m"
    memory = int(parse(asked["memory"])) if asked.get("memory") else guest_memory(spec)
    devices = {"devices.kubevirt.io/kvm": "1", "devices.kubevirt.io/tun": "1", "devices.kubevirt.io/vhost-net": "1"}
    requests = {"cpu": cpu, "memory": str(memory + OVERHEAD + PER_CPU * cpus), **devices}
    limits: dict[str, str] = dict(devices)
    if dedicated:
        limits.update(cpu=cpu, memory=requests["memory"])
    return {"requests": requests, "limits": limits}


def _networks(spec: Object) -> str | None:
    absent = {
        item["name"]
        for item in (spec.get("domain") or {}).get("devices", {}).get("interfaces") or ()
        if item.get("state") == "absent"
    }
    chosen = [
        {"name": network["multus"]["networkName"].rpartition("/")[2], "interface": f"pod{network['name']}"}
        for network in spec.get("networks") or ()
        if network.get("multus") and not network["multus"].get("default") and network["name"] not in absent
    ]
    return orjson.dumps(chosen).decode() if chosen else None


def _logs_console(spec: Object) -> bool:
    """Whether what the serial console says can be read as the log of a container; it can unless it is turned off."""
    devices = spec["domain"].get("devices") or {}
    return devices.get("autoattachSerialConsole") is not False and devices.get("logSerialConsole") is not False


def launcher_pod(vmi: Object, cpu_ratio: int = 10) -> Object:
    """The pod in which the instance is to run."""
    metadata, spec = vmi["metadata"], vmi["spec"]
    annotations = {
        **{
            name: value
            for name, value in (metadata.get("annotations") or {}).items()
            if not name.startswith("kubevirt.io/")
        },
        "kubevirt.io/domain": metadata["name"],
        "kubevirt.io/migrationTransportUnix": "true",
        "kubectl.kubernetes.io/default-container": "compute",
    }
    networks = _networks(spec)
    if networks:
        annotations["k8s.v1.cni.cncf.io/networks"] = networks
    images = [
        {"name": f"volume{volume['name']}", "image": volume["containerDisk"]["image"]}
        for volume in spec.get("volumes") or ()
        if volume.get("containerDisk")
    ]
    pod: Object = {
        "automountServiceAccountToken": False,
        "containers": [
            {"name": "compute", "image": LAUNCHER_IMAGE, "resources": pod_resources(spec, cpu_ratio)},
            *images,
        ],
        "nodeSelector": {
            **SCHEDULABLE,
            "kubernetes.io/arch": spec.get("architecture", "amd64"),
            **(spec.get("nodeSelector") or {}),
        },
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": (spec.get("terminationGracePeriodSeconds") or 30) + 15,
        "volumes": [
            {"name": volume["name"], "persistentVolumeClaim": {"claimName": claim_name(volume)}}
            for volume in spec.get("volumes") or ()
            if claim_name(volume) and not hotpluggable(volume)
        ],
    }
    if _logs_console(spec):
        pod["initContainers"] = [
            {"name": CONSOLE_LOG, "image": LAUNCHER_IMAGE, "command": ["/usr/bin/virt-tail"], "restartPolicy": "Always"}
        ]
    for field in ("affinity", "tolerations", "priorityClassName", "schedulerName"):
        if spec.get(field):
            pod[field] = spec[field]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{LAUNCHER}-{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": {
                **(metadata.get("labels") or {}),
                "kubevirt.io": LAUNCHER,
                CREATED_BY: metadata["uid"],
                VM_NAME: metadata["name"],
            },
            "annotations": annotations,
            "ownerReferences": [owner_reference(vmi)],
        },
        "spec": pod,
    }
