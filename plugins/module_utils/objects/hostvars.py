# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory tells of a guest: the host variables that a VirtualMachine and its instance come to.

Only what is listed in C(docs/inventory.md) is copied. Volume contents, cloud-init data, access credentials and the
manifest that kubectl keeps in an annotation are never among it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from sys import intern
from typing import Any

from ..cluster.resource import Object
from ..inventory.guests import os_family

PREFIX = "virtstack_"

_NOT_ANNOTATED = frozenset(
    {
        # kubectl apply copies the whole manifest into it, cloud-init passwords included.
        "kubectl.kubernetes.io/last-applied-configuration",
        # KubeVirt's own bookkeeping, on every machine.
        "kubevirt.io/latest-observed-api-version",
        "kubevirt.io/storage-observed-api-version",
    }
)

_OS_ANNOTATIONS = ("vm.kubevirt.io/os", "kubevirt.io/cluster-preference-name", "kubevirt.io/preference-name")
_OS_LABEL_PREFIX = "os.template.kubevirt.io/"

_DEVICES = ("disk", "cdrom", "lun")
_GUEST_OS = {"prettyName": "name", "versionId": "version", "kernelRelease": "kernel"}
_CONDITION_STATUS = {"True": True, "False": False}
# How a volume's source says which object it is.
_SOURCE_NAMES = {
    "dataVolume": "name",
    "persistentVolumeClaim": "claimName",
    "containerDisk": "image",
    "configMap": "name",
    "secret": "secretName",
    "serviceAccount": "serviceAccountName",
    "memoryDump": "claimName",
}


@dataclass(slots=True)
class Guest:
    """A machine as the inventory knows it: its variables, and what finding its address needs beside them.

    C(pod_labels) are those by which a Service selects it, C(ports) the named ports of its interfaces.
    """

    variables: dict[str, Any]
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.variables["virtstack_namespace"], self.variables["virtstack_name"]


def of_machine(vm: Object) -> Guest:
    """A VirtualMachine that has no instance at the moment."""
    spec = vm.get("spec") or {}
    template = spec.get("template") or {}
    status = vm.get("status") or {}
    guest = _guest(vm, template.get("spec") or {}, _sizes(spec))
    guest.variables |= {
        "virtstack_status": status.get("printableStatus") or "Unknown",
        "virtstack_ready": bool(status.get("ready")),
        "virtstack_run_strategy": _run_strategy(spec),
        "virtstack_instancetype": _matched(spec, status, "instancetype"),
        "virtstack_preference": _matched(spec, status, "preference"),
    }
    guest.variables["virtstack_os"] = _os(vm, template, guest.variables["virtstack_preference"])
    return guest


def of_instance(vmi: Object) -> Guest:
    """A VirtualMachineInstance without a VirtualMachine, or that of one (see C(running))."""
    status = vmi.get("status") or {}
    guest = _guest(vmi, vmi.get("spec") or {}, {})
    annotations = (vmi.get("metadata") or {}).get("annotations") or {}
    variables = guest.variables
    variables |= {
        "virtstack_status": status.get("phase") or "Unknown",
        "virtstack_ready": variables["virtstack_conditions"].get("Ready") is True,
        "virtstack_run_strategy": None,
        "virtstack_instancetype": _annotated(annotations, "instancetype"),
        "virtstack_preference": _annotated(annotations, "preference"),
        "virtstack_node": _interned(status.get("nodeName")),
        "virtstack_guest_os": {
            ours: _interned(str(value)) for theirs, ours in _GUEST_OS.items() if (value := _guest_os(status, theirs))
        },
        "virtstack_agent_connected": variables["virtstack_conditions"].get("AgentConnected") is True,
    }
    guest.pod_labels = variables["virtstack_labels"]
    variables["virtstack_os"] = _os(vmi, {}, variables["virtstack_preference"])
    _observe_cpu_and_memory(variables, status)
    _observe_disks(variables["virtstack_disks"], status.get("volumeStatus") or ())
    _observe_networks(variables["virtstack_networks"], status.get("interfaces") or ())
    return guest


def running(machine: Guest, instance: Guest) -> Guest:
    """A VirtualMachine together with its instance: the VM's word on what it is, the instance's on how it runs."""
    ours, theirs = machine.variables, instance.variables
    for name in ("node", "guest_os", "agent_connected", "vcpus", "cpu", "memory"):
        ours[PREFIX + name] = theirs[PREFIX + name]
    ours["virtstack_os"] = theirs["virtstack_os"] or ours["virtstack_os"]
    # What was edited since the start is not in the instance yet; what the guest has now is.
    for name in ("virtstack_disks", "virtstack_networks"):
        ours[name] = {**ours[name], **{item: ours[name].get(item, {}) | seen for item, seen in theirs[name].items()}}
    ours["virtstack_conditions"] = theirs["virtstack_conditions"] | ours["virtstack_conditions"]
    return Guest(ours, instance.pod_labels, instance.ports)


def size_by(guest: Guest, instancetypes: Mapping[tuple[str, str], Object]) -> None:
    """Take CPU and memory of a stopped machine from its instance type.

    C(instancetypes) is keyed by (namespace, name); the cluster-wide ones have the namespace "".
    """
    variables = guest.variables
    name = variables["virtstack_instancetype"]
    if name is None or variables["virtstack_memory"] is not None:
        return
    found = instancetypes.get((guest.key[0], name)) or instancetypes.get(("", name))
    if found is None:
        return
    spec = found.get("spec") or {}
    variables["virtstack_vcpus"] = (spec.get("cpu") or {}).get("guest")
    variables["virtstack_memory"] = _interned((spec.get("memory") or {}).get("guest"))


def _guest(obj: Object, spec: Mapping[str, Any], sizes: Mapping[str, str]) -> Guest:
    metadata = obj["metadata"]
    domain = spec.get("domain") or {}
    devices = domain.get("devices") or {}
    cpu, vcpus = _cpu(domain)
    variables: dict[str, Any] = {
        "virtstack_kind": obj.get("kind"),
        "virtstack_name": metadata["name"],
        "virtstack_namespace": intern(metadata["namespace"]),
        "virtstack_uid": metadata.get("uid"),
        "virtstack_created": metadata.get("creationTimestamp"),
        "virtstack_labels": _strings(metadata.get("labels")),
        "virtstack_annotations": _strings(metadata.get("annotations"), without=_NOT_ANNOTATED),
        "virtstack_vcpus": vcpus,
        "virtstack_cpu": cpu,
        "virtstack_memory": _memory(domain),
        "virtstack_disks": _disks(devices, spec.get("volumes") or (), sizes),
        "virtstack_networks": _networks(devices, spec.get("networks") or ()),
        "virtstack_conditions": _conditions((obj.get("status") or {}).get("conditions") or ()),
        "virtstack_node": None,
        "virtstack_guest_os": {},
        "virtstack_agent_connected": False,
    }
    return Guest(variables, ports=_ports(devices.get("interfaces") or ()))


def _strings(values: Mapping[str, str] | None, without: frozenset[str] = frozenset()) -> dict[str, str]:
    return {intern(key): value for key, value in (values or {}).items() if key not in without}


def _interned(value: Any) -> Any:
    return intern(value) if isinstance(value, str) else value


def _run_strategy(spec: Mapping[str, Any]) -> str | None:
    if "runStrategy" in spec:
        return _optional(spec["runStrategy"])
    running = spec.get("running")
    return None if running is None else ("Always" if running else "Halted")


def _optional(value: Any) -> str | None:
    return intern(str(value)) if value else None


def _matched(spec: Mapping[str, Any], status: Mapping[str, Any], kind: str) -> str | None:
    """The name of the instance type or preference; one that is inferred from a volume stands in the status only."""
    return _optional((spec.get(kind) or {}).get("name") or (status.get(f"{kind}Ref") or {}).get("name"))


def _annotated(annotations: Mapping[str, str], kind: str) -> str | None:
    return _optional(annotations.get(f"kubevirt.io/cluster-{kind}-name") or annotations.get(f"kubevirt.io/{kind}-name"))


def _guest_os(status: Mapping[str, Any], key: str) -> Any:
    return (status.get("guestOSInfo") or {}).get(key)


def _os(obj: Object, template: Mapping[str, Any], preference: str | None) -> str | None:
    reported = _guest_os(obj.get("status") or {}, "id")
    if reported:
        return os_family(str(reported))
    if preference:
        return os_family(preference)
    for metadata in (template.get("metadata") or {}, obj.get("metadata") or {}):
        annotations = metadata.get("annotations") or {}
        for annotation in _OS_ANNOTATIONS:
            if annotations.get(annotation):
                return os_family(annotations[annotation])
        for label in metadata.get("labels") or {}:
            if label.startswith(_OS_LABEL_PREFIX):
                return os_family(label.removeprefix(_OS_LABEL_PREFIX))
    return None


def _cpu(domain: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    cpu = domain.get("cpu") or {}
    topology = {part: cpu[part] for part in ("sockets", "cores", "threads", "model") if cpu.get(part)}
    if any(part in topology for part in ("sockets", "cores", "threads")):
        return topology, _product(topology)
    resources = domain.get("resources") or {}
    for kind in ("limits", "requests"):
        quantity = (resources.get(kind) or {}).get("cpu")
        if quantity is not None:
            return topology, _whole_cpus(str(quantity))
    return topology, None


def _product(topology: Mapping[str, Any]) -> int:
    return int(topology.get("sockets", 1) * topology.get("cores", 1) * topology.get("threads", 1))


def _whole_cpus(quantity: str) -> int | None:
    try:
        return ceil(int(quantity[:-1]) / 1000) if quantity.endswith("m") else ceil(float(quantity))
    except ValueError:
        return None


def _memory(domain: Mapping[str, Any]) -> str | None:
    resources = domain.get("resources") or {}
    for holder, key in (
        (domain.get("memory"), "guest"),
        (resources.get("requests"), "memory"),
        (resources.get("limits"), "memory"),
    ):
        if holder and holder.get(key) is not None:
            return intern(str(holder[key]))
    return None


def _sizes(spec: Mapping[str, Any]) -> dict[str, str]:
    """The size that each data volume template of a VirtualMachine asks for."""
    sizes = {}
    for template in spec.get("dataVolumeTemplates") or ():
        wanted = template.get("spec") or {}
        for holder in ("storage", "pvc"):
            requests = ((wanted.get(holder) or {}).get("resources") or {}).get("requests") or {}
            if "storage" in requests:
                sizes[template["metadata"]["name"]] = intern(str(requests["storage"]))
    return sizes


def _disks(
    devices: Mapping[str, Any], volumes: Iterable[Mapping[str, Any]], sizes: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    disks: dict[str, dict[str, Any]] = {}
    for volume in volumes:
        disk: dict[str, Any] = {}
        for source, value in volume.items():
            if source == "name":
                continue
            disk["volume"] = intern(source)
            named = value.get(_SOURCE_NAMES.get(source, "")) if isinstance(value, Mapping) else None
            if source == "ephemeral":
                named = (value.get("persistentVolumeClaim") or {}).get("claimName")
            if named is not None:
                disk["source"] = named
            size = sizes.get(named) if named is not None else (value or {}).get("capacity")
            if size is not None:
                disk["size"] = str(size)
        disks[intern(volume["name"])] = disk
    for device in devices.get("disks") or ():
        disk = disks.setdefault(intern(device["name"]), {})
        for kind in _DEVICES:
            if kind in device:
                disk["device"] = kind
                if (device[kind] or {}).get("bus"):
                    disk["bus"] = intern(device[kind]["bus"])
        if device.get("bootOrder"):
            disk["boot_order"] = device["bootOrder"]
    return disks


def _networks(devices: Mapping[str, Any], networks: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for network in networks:
        multus = network.get("multus")
        found[intern(network["name"])] = {"network": _interned(multus["networkName"]) if multus else "pod"}
    for interface in devices.get("interfaces") or ():
        entry = found.setdefault(intern(interface["name"]), {})
        if interface.get("macAddress"):
            entry["mac"] = interface["macAddress"]
    return found


def _ports(interfaces: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The named ports of a machine's interfaces, which a Service's C(targetPort) may mean."""
    return {
        port["name"]: int(port["port"])
        for interface in interfaces
        for port in interface.get("ports") or ()
        if port.get("name")
    }


def _conditions(conditions: Iterable[Mapping[str, Any]]) -> dict[str, bool | None]:
    """Whether each condition holds; None where that is unknown. Reasons are for C(vm_info) to tell."""
    return {intern(condition["type"]): _CONDITION_STATUS.get(condition["status"]) for condition in conditions}


def _observe_cpu_and_memory(variables: dict[str, Any], status: Mapping[str, Any]) -> None:
    topology = status.get("currentCPUTopology")
    if topology:
        variables["virtstack_cpu"] = variables["virtstack_cpu"] | topology
        variables["virtstack_vcpus"] = _product(topology)
    current = (status.get("memory") or {}).get("guestCurrent")
    if current is not None:
        variables["virtstack_memory"] = intern(str(current))


def _observe_disks(disks: dict[str, dict[str, Any]], seen: Iterable[Mapping[str, Any]]) -> None:
    for volume in seen:
        disk = disks.setdefault(intern(volume["name"]), {})
        capacity = ((volume.get("persistentVolumeClaimInfo") or {}).get("capacity") or {}).get("storage")
        if capacity is not None:
            disk["size"] = intern(str(capacity))


def _observe_networks(networks: dict[str, dict[str, Any]], seen: Iterable[Mapping[str, Any]]) -> None:
    for interface in seen:
        # A bond or bridge that the guest made itself has no name in the spec: the guest's own name stands in.
        name = interface.get("name") or interface.get("interfaceName")
        if not name:
            continue
        entry = networks.setdefault(intern(name), {})
        if interface.get("mac"):
            entry["mac"] = interface["mac"]
        if interface.get("interfaceName"):
            entry["device"] = intern(interface["interfaceName"])
        addresses = interface.get("ipAddresses") or ([interface["ipAddress"]] if interface.get("ipAddress") else [])
        if addresses:
            entry["ips"] = list(addresses)
