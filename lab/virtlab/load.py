"""Fills a lab with finished machines, as controllers would leave them: what `virtlab load` asks for."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from virtlab.cluster import Cluster
from virtlab.controllers.hco.common_types import PREFERENCES, TYPES, WANTED
from virtlab.controllers.kubelet import POD_NETWORK, running_status
from virtlab.controllers.kubevirt.guests import guest_of
from virtlab.controllers.kubevirt.instance_from import instance_of
from virtlab.controllers.kubevirt.instance_status import (
    enter,
    hardware,
    interfaces,
    running_conditions,
    volume_status,
    with_agent,
)
from virtlab.controllers.kubevirt.instancetypes import apply
from virtlab.controllers.kubevirt.launchers import launcher_pod
from virtlab.controllers.kubevirt.machine_status import conditions, printable_status
from virtlab.controllers.kubevirt.names import (
    LATEST_VERSION,
    LAUNCHER_IMAGE,
    NODE_NAME,
    STORAGE_VERSION,
    VM_FINALIZER,
    VMI_FINALIZERS,
    VMIS,
    VMS,
)
from virtlab.resource import Object, Resource

SERVICES_EVERY = 10  # one machine in so many has a service
NETWORK = "lan"


class LoadError(ValueError):
    """The lab cannot be filled as asked; the text says what to do."""


@dataclass(frozen=True)
class System:
    """A guest system: its preference, the image it boots, and how often it occurs."""

    name: str
    preference: str
    image: str
    weight: int


SYSTEMS = (
    System("rhel9", "rhel.9", "registry.redhat.io/rhel9/rhel-guest-image:latest", 40),
    System("rhel8", "rhel.8", "registry.redhat.io/rhel8/rhel-guest-image:latest", 15),
    System("fedora", "fedora", "quay.io/containerdisks/fedora:latest", 15),
    System("centos-stream9", "centos.stream9", "quay.io/containerdisks/centos-stream:9", 10),
    System("ubuntu", "ubuntu", "quay.io/containerdisks/ubuntu:24.04", 10),
    System("win2k22", "windows.2k22.virtio", "registry.lab/windows/win2k22:latest", 10),
)
SIZES = {"u1.small": 40, "u1.medium": 30, "u1.large": 20, "u1.xlarge": 10}
ROLES = ("web", "db", "app", "cache", "batch")
STAGES = ("prod", "test", "dev")


@dataclass
class Loader:
    """Makes the objects of one load; C(seed) decides everything but uids' uniqueness and times."""

    cluster: Cluster
    seed: int

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.stamp = self.cluster.clock.stamp()
        self.count = 0
        self.nodes = [entry.object["metadata"]["name"] for entry in self.cluster.store.entries(("", "nodes"))]

    def resource(self, qualified: str) -> Resource:
        found = self.cluster.resource(qualified)
        if found is None:
            raise LoadError(f"{qualified} is not served: install the operator before loading machines")
        return found

    def put(self, qualified: str, obj: Object) -> Object:
        """Store C(obj) as created now by nobody in particular."""
        resource = self.resource(qualified)
        self.count += 1
        metadata = {
            "generation": 1,
            **obj["metadata"],
            "uid": obj["metadata"].get("uid") or self.uid(),
            "creationTimestamp": self.stamp,
        }
        body = {**obj, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return self.cluster.store.put(resource.key, body)

    def uid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    # Parts of a load

    def namespace(self, name: str) -> None:
        resource = self.resource("namespaces")
        if self.cluster.store.find(resource.key, None, name) is None:
            labels = {"virtlab/load": "true", "stage": self.random.choice(STAGES)}
            self.cluster.create(resource, {"metadata": {"name": name, "labels": labels}})
            self.count += 1
        attachment = self.resource("network-attachment-definitions.k8s.cni.cncf.io")
        if self.cluster.store.find(attachment.key, name, NETWORK) is None:
            config = '{"cniVersion":"0.3.1","name":"lan","type":"bridge","bridge":"br1","vlan":93}'
            self.put(
                attachment.qualified, {"metadata": {"name": NETWORK, "namespace": name}, "spec": {"config": config}}
            )

    def machine(self, namespace: str, number: int, running: bool) -> None:
        system = self.random.choices(SYSTEMS, [item.weight for item in SYSTEMS])[0]
        size = self.random.choices(list(SIZES), list(SIZES.values()))[0]
        vm = self.manifest(namespace, f"{system.name}-{number:05d}", system, size, running)
        vm["metadata"]["uid"] = self.uid()
        vmi = self.instance(vm, system, size, number) if running else None
        vm["status"] = self.machine_status(vm, vmi)
        self.put(VMS, vm)
        if self.random.randrange(SERVICES_EVERY) == 0:
            self.service(vm)

    def manifest(self, namespace: str, name: str, system: System, size: str, running: bool) -> Object:
        role, stage = self.random.choice(ROLES), self.random.choice(STAGES)
        labels = {"app": role, "stage": stage, "os": system.name}
        nics: list[Object] = [{"name": "default", "masquerade": {}, "macAddress": self.mac()}]
        networks: list[Object] = [{"name": "default", "pod": {}}]
        if self.random.randrange(3) == 0:
            nics.append({"name": NETWORK, "bridge": {}, "macAddress": self.mac()})
            networks.append({"name": NETWORK, "multus": {"networkName": NETWORK}})
        template = {
            "metadata": {
                "annotations": {"kubevirt.io/pci-topology-version": "v3"},
                "labels": {**labels, "kubevirt.io/domain": name},
            },
            "spec": {
                "architecture": "amd64",
                "domain": {
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}], "interfaces": nics},
                    "firmware": {"serial": self.uid(), "uuid": self.uid()},
                    "machine": {"type": "q35"},
                    "resources": {},
                },
                "networks": networks,
                "volumes": [{"name": "root", "containerDisk": {"image": system.image}}],
            },
        }
        return {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": labels,
                "annotations": {LATEST_VERSION: "v1", STORAGE_VERSION: "v1"},
                "finalizers": [VM_FINALIZER],
                "generation": 1,
            },
            "spec": {
                "runStrategy": "Always" if running else "Halted",
                "instancetype": {"kind": "virtualmachineclusterinstancetype", "name": size},
                "preference": {"kind": "virtualmachineclusterpreference", "name": system.preference},
                "template": template,
            },
        }

    def mac(self) -> str:
        """From KubeMacPool's range."""
        return "02:" + ":".join(f"{self.random.randrange(256):02x}" for _ in range(5))

    def instance(self, vm: Object, system: System, size: str, number: int) -> Object:
        """The running instance of C(vm) and its launcher pod, both stored."""
        spec = apply(vm["spec"]["template"]["spec"], WANTED[TYPES][size], WANTED[PREFERENCES][system.preference])
        revision = f"revision-start-vm-{vm['metadata']['uid']}-1"
        vmi = instance_of(vm, spec, revision, self.stamp)
        vmi["metadata"]["uid"] = self.uid()
        vmi["metadata"]["finalizers"] = [VM_FINALIZER, VMI_FINALIZERS[0]]
        node = self.nodes[number % len(self.nodes)]
        address = str(POD_NETWORK[4096 + number])
        pod = self.put("pods", self.launcher(vmi, node, address))
        vmi["metadata"]["labels"][NODE_NAME] = node
        status = vmi["status"]
        for phase in ("Scheduling", "Scheduled", "Running"):
            status = enter(status, phase, self.stamp)
        status.update(
            nodeName=node,
            activePods={pod["metadata"]["uid"]: node},
            qosClass="Burstable",
            interfaces=interfaces(vmi, address, agent=False),
            volumeStatus=volume_status(vmi, _no_claim),
            launcherContainerImageVersion=LAUNCHER_IMAGE,
            runtimeUser=107,
            migrationTransport="Unix",
            migrationMethod="LiveMigration",
            **hardware(vmi),
        )
        status["conditions"] = running_conditions({**vmi, "status": status}, _no_claim, self.stamp)
        guest = guest_of(vmi)
        if guest.info is not None:
            status = with_agent(status, guest.info, interfaces(vmi, address, agent=True), self.stamp)
        return self.put(VMIS, {**vmi, "status": status})

    def launcher(self, vmi: Object, node: str, address: str) -> Object:
        pod = launcher_pod(vmi)
        metadata = pod["metadata"]
        del metadata["generateName"]
        metadata["name"] = f"virt-launcher-{vmi['metadata']['name']}-{vmi['metadata']['uid'][:5]}"
        pod["spec"]["nodeName"] = node
        pod["status"] = running_status({**pod, "status": {}}, self.uid(), "192.168.126.11", address, self.stamp)
        return pod

    def machine_status(self, vm: Object, vmi: Object | None) -> Object:
        """What the machine controller would leave."""
        spec = vm["spec"]
        status: Object = {
            "instancetypeRef": {"kind": spec["instancetype"]["kind"], "name": spec["instancetype"]["name"]},
            "preferenceRef": {"kind": spec["preference"]["kind"], "name": spec["preference"]["name"]},
        }
        for name, reference in (("instancetype", "instancetypeRef"), ("preference", "preferenceRef")):
            revision = f"{vm['metadata']['name']}-{spec[name]['name']}-v1beta1-{vm['metadata']['uid']}-1"
            status[reference]["controllerRevisionRef"] = {"name": revision}
        if vmi is not None:
            status.update(created=True, ready=True, runStrategy="Always", desiredGeneration=1, observedGeneration=1)
        status["conditions"] = conditions({**vm, "status": status}, vmi, None, None, self.stamp)
        status["printableStatus"] = printable_status(vm, vmi, _no_claim, _no_claim)
        reason = "Snapshot is not supported for this volumeSource type [root]"
        status["volumeSnapshotStatuses"] = [{"enabled": False, "name": "root", "reason": reason}]
        return status

    def service(self, vm: Object) -> None:
        """A NodePort to the guest's ssh or, on Windows, WinRM."""
        resource = self.resource("services")
        windows = vm["metadata"]["labels"]["os"].startswith("win")
        port = 5986 if windows else 22
        name = f"{vm['metadata']['name']}-{'winrm' if windows else 'ssh'}"
        if self.cluster.store.find(resource.key, vm["metadata"]["namespace"], name) is not None:
            return
        spec = {
            "type": "NodePort",
            "selector": {"kubevirt.io/domain": vm["metadata"]["name"]},
            "ports": [{"name": "winrm" if windows else "ssh", "port": port, "targetPort": port, "protocol": "TCP"}],
        }
        manifest = {"metadata": {"name": name, "labels": dict(vm["metadata"]["labels"])}, "spec": spec}
        self.cluster.create(resource, manifest, namespace=vm["metadata"]["namespace"])
        self.count += 1


def _no_claim(name: str) -> Object | None:
    return None


def fill(
    cluster: Cluster,
    *,
    vms: int = 10_000,
    running: int = 5_000,
    namespaces: int = 200,
    seed: int = 1,
    progress: Callable[[int], None] = lambda made: None,
) -> dict[str, Any]:
    """Add C(vms) machines, C(running) of them running, over C(namespaces); what was made, and in how many seconds.

    The same seed makes the same machines. Raises LoadError when that cannot be.
    """
    if running and not cluster.guests.simulated:
        raise LoadError("running machines are loaded into a lab with simulated guests only; --running 0 loads others")
    if running > vms:
        raise LoadError(f"{running} running machines of {vms}: at most all of them can run")
    if vms < 0 or running < 0 or namespaces < 1:
        raise LoadError("vms and running must not be negative, namespaces must be at least 1")
    begun = time.monotonic()
    loader = Loader(cluster, seed)
    loader.resource(VMS)
    names = [f"load-{number:03d}" for number in range(namespaces)]
    for name in names:
        loader.namespace(name)
    for number in range(vms):
        # Spread evenly: running machines are in every namespace and in every part of a list.
        runs = (number + 1) * running // vms > number * running // vms
        loader.machine(names[number % namespaces], number, runs)
        if number % 1000 == 999:
            progress(number + 1)
    return {
        "vms": vms,
        "running": running,
        "namespaces": namespaces,
        "objects": loader.count,
        "seconds": round(time.monotonic() - begun, 2),
    }
