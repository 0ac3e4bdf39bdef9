"""Nodes: three workers, their labels and devices while KubeVirt is deployed, and the taint of a cordoned one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from virtlab.controllers.conditions import condition, find_condition, merged
from virtlab.controllers.outages import GRACE, outage_taints, silent_conditions
from virtlab.controllers.ownership import being_deleted
from virtlab.controllers.runtime import Controller, Key, Manager
from virtlab.resource import Object
from virtlab.store import Event

KUBEVIRTS = "kubevirts.kubevirt.io"
DEVICES = {"devices.kubevirt.io/kvm": "1k", "devices.kubevirt.io/tun": "1k", "devices.kubevirt.io/vhost-net": "1k"}
CPU_MODELS = ("Cascadelake-Server", "Haswell", "IvyBridge", "Nehalem", "Penryn", "SandyBridge", "Skylake-Server")
CPU_FEATURES = ("aes", "avx", "avx2", "bmi1", "bmi2", "erms", "fma", "pcid", "rdtscp", "vmx", "x2apic", "xsave")
UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def node_manifest(number: int) -> Object:
    """Worker C(number)."""
    name = f"worker-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": name,
                "node-role.kubernetes.io/worker": "",
                "node.openshift.io/os_id": "rhel",
                "topology.kubernetes.io/zone": f"zone-{number}",
            },
        },
        "spec": {"podCIDR": f"10.128.{number * 4}.0/22"},
    }


def node_status(name: str) -> Object:
    """Of worker C(name): 1024 CPUs, 64 TiB of memory, room for 10000 pods, so that it holds what a load asks for."""
    number = zlib.crc32(name.encode()) % 100 if not name[-1].isdigit() else int(name[-1])
    capacity = {"cpu": "1024", "memory": "64Ti", "pods": "10000", "ephemeral-storage": "2Ti", "hugepages-2Mi": "0"}
    return {
        "addresses": [
            {"type": "InternalIP", "address": f"192.168.126.{11 + number}"},
            {"type": "Hostname", "address": name},
        ],
        "allocatable": dict(capacity),
        "capacity": capacity,
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": f"00000000-0000-4000-8000-00000000{number:04d}",
            "containerRuntimeVersion": "cri-o://1.35.0",
            "kernelVersion": "5.14.0-570.el9.x86_64",
            "kubeProxyVersion": "v1.35.0",
            "kubeletVersion": "v1.35.0",
            "machineID": f"0000000000000000000000000000{number:04d}",
            "operatingSystem": "linux",
            "osImage": "virtlab (simulated node)",
            "systemUUID": f"00000000-0000-4000-8000-00000000{number:04d}",
        },
    }


def kubevirt_labels(schedulable: bool) -> dict[str, str]:
    """The labels virt-handler and its node labeller put on a node."""
    labels = {
        "kubevirt.io/schedulable": "true" if schedulable else "false",
        "cpumanager": "true",
        "cpu-vendor.node.kubevirt.io/Intel": "true",
        "cpu-timer.node.kubevirt.io/tsc-frequency": "2593906000",
        "cpu-timer.node.kubevirt.io/tsc-scalable": "true",
        "host-model-cpu.node.kubevirt.io/Cascadelake-Server": "true",
        "machine-type.node.kubevirt.io/q35": "true",
        "machine-type.node.kubevirt.io/pc-q35-rhel9.6.0": "true",
        "hyperv.node.kubevirt.io/base": "true",
    }
    labels.update({f"cpu-model.node.kubevirt.io/{model}": "true" for model in CPU_MODELS})
    labels.update({f"cpu-model-migration.node.kubevirt.io/{model}": "true" for model in CPU_MODELS})
    labels.update({f"cpu-feature.node.kubevirt.io/{feature}": "true" for feature in CPU_FEATURES})
    return labels


def is_kubevirt_label(name: str) -> bool:
    return name in ("cpumanager",) or name.partition("/")[0].endswith("kubevirt.io")


def node_conditions() -> list[Object]:
    absent = (
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    )
    return [
        *(condition(kind, False, reason, message) for kind, reason, message in absent),
        condition("Ready", True, "KubeletReady", "kubelet is posting ready status"),
    ]


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])


class NodeController(Controller):
    """Keeps a node's status, virtualization labels and the taints of one that is cordoned or silent."""

    manager_name = "kubelet"
    watches = ("nodes", KUBEVIRTS)

    def __init__(self, manager: Manager) -> None:
        super().__init__(manager)
        self.cluster.power.follow(lambda node: manager.enqueue(self, ("", node)))

    def keys(self, event: Event) -> Iterable[Key]:
        if event.key == ("", "nodes"):
            return () if event.type == "DELETED" else super().keys(event)
        return [("", node["metadata"]["name"]) for node in self.list("nodes")]

    def reconcile(self, key: Key) -> float | None:
        node = self.find("nodes", None, key[1])
        if node is None:
            return None
        deployed = any(
            (kubevirt.get("status") or {}).get("phase") == "Deployed" and not being_deleted(kubevirt)
            for kubevirt in self.list(KUBEVIRTS)
        )
        node = self._label(node, deployed)
        down = self.cluster.power.down(key[1])
        wait = self.remaining(node["metadata"]["uid"], "grace", GRACE) if down else 0.0
        if not down:
            self.forget(node["metadata"]["uid"], "grace")
        silent = down and not wait
        node = self._taint(node, silent=silent)
        status = dict(node.get("status") or {})
        if "capacity" not in status:
            status = {**node_status(node["metadata"]["name"]), **status}
        status["nodeInfo"] = {**status["nodeInfo"], "osImage": f"virtlab ({self.cluster.guests.node})"}
        wanted = silent_conditions() if silent else node_conditions()
        if not wait:
            before = list(status.get("conditions") or ())
            status["conditions"] = merged(before, wanted, self.cluster.clock.stamp())
        for field in ("capacity", "allocatable"):
            plain = {name: value for name, value in (status.get(field) or {}).items() if name not in DEVICES}
            status[field] = {**plain, **DEVICES} if deployed else plain
        self._tell(node, silent=silent)
        self.write_status("nodes", node, status)
        return wait or None

    def _tell(self, node: Object, *, silent: bool) -> None:
        """An event where a node falls silent, and where it is heard of again."""
        was = (find_condition(node, "Ready") or {}).get("status")
        if was not in ("True", "Unknown") or silent is (was == "Unknown"):
            return
        reason, component = ("NodeNotReady", "node-controller") if silent else ("NodeReady", "kubelet")
        self.event(node, reason, f"Node {_name(node)} status is now: {reason}", component=component)

    def _label(self, node: Object, deployed: bool) -> Object:
        labels = dict(node["metadata"].get("labels") or {})
        if deployed:
            wanted = {**kubevirt_labels(True), **labels}
        else:
            wanted = {name: value for name, value in labels.items() if not is_kubevirt_label(name)}
        if wanted == labels:
            return node
        return self.update("nodes", {**node, "metadata": {**node["metadata"], "labels": wanted}})

    def _taint(self, node: Object, *, silent: bool) -> Object:
        spec = node.get("spec") or {}
        taints = [taint for taint in spec.get("taints") or () if taint["key"] != UNSCHEDULABLE["key"]]
        taints = outage_taints(taints, silent=silent, stamp=self.cluster.clock.stamp())
        if spec.get("unschedulable"):
            taints.append(dict(UNSCHEDULABLE))
        if taints == list(spec.get("taints") or ()):
            return node
        wanted = {name: value for name, value in spec.items() if name != "taints"}
        if taints:
            wanted["taints"] = taints
        return self.update("nodes", {**node, "spec": wanted})
