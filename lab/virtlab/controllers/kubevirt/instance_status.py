"""Parts of an instance's status: addresses, volumes, conditions, processor and memory. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from virtlab.controllers.conditions import with_condition
from virtlab.controllers.kubevirt.launchers import guest_memory
from virtlab.controllers.kubevirt.volumes import claim_name
from virtlab.resource import Object
from virtlab.schema.quantity import parse

MACHINE = "pc-q35-rhel9.6.0"
NOT_SHARED = (
    "cannot migrate VMI: PVC {} is not shared, live migration requires that all PVCs must be shared "
    "(using ReadWriteMany access mode)"
)
BRIDGED = "cannot migrate VMI which does not use masquerade or a migratable plugin to connect to the pod network"
HOST_DEVICE = "VMI uses a PCI host devices"
PREFIXES = {"virtio": "vd", "sata": "sd", "scsi": "sd", "usb": "sd"}


def generated_mac(seed: str) -> str:
    """A locally administered MAC address, the same for the same seed."""
    digits = f"{crc32(seed.encode()):08x}"
    return f"02:00:{digits[0:2]}:{digits[2:4]}:{digits[4:6]}:{digits[6:8]}"


def secondary_address(network: str, uid: str) -> str:
    """The address that the played DHCP server of a secondary network gives: 10.<network>.x.y."""
    host = crc32(f"{network}/{uid}".encode())
    return f"10.{64 + crc32(network.encode()) % 128}.{host % 254}.{2 + (host >> 8) % 252}"


def interfaces(vmi: Object, pod_address: str, agent: bool) -> list[Object]:
    """status.interfaces: the pod network's first address is the pod's, the others' come with the agent."""
    uid, spec = vmi["metadata"]["uid"], vmi["spec"]
    networks = {network["name"]: network for network in spec.get("networks") or ()}
    status = vmi.get("status") or {}
    shown = {item["name"]: item for item in status.get("interfaces") or ()}
    result = []
    for number, interface in enumerate(spec["domain"]["devices"].get("interfaces") or ()):
        name = interface["name"]
        network = networks.get(name, {})
        primary = "pod" in network
        if interface.get("state") == "absent":
            # The guest has let it go; the launcher's pod still has it until the instance migrates.
            result += [_in_pod_only(shown[name])] if name in shown else []
            continue
        if status.get("phase") == "Running" and "multus" in network and name not in shown:
            # Plugged while the guest runs: it comes when the launcher's pod has it.
            continue
        entry: Object = {
            "name": name,
            "mac": interface.get("macAddress") or generated_mac(f"{uid}/{name}"),
            "infoSource": "domain, guest-agent" if agent else "domain",
            "queueCount": 1,
            "linkState": "down" if interface.get("state") == "down" else "up",
        }
        if network.get("multus"):
            entry["infoSource"] += ", multus-status"
        if agent:
            entry["interfaceName"] = f"eth{number}"
        entry["podInterfaceName"] = "eth0" if primary else f"pod{crc32(name.encode()):08x}"
        address = pod_address if primary else ""
        if not primary and agent:
            reference = (network.get("multus") or {}).get("networkName", name)
            if "/" not in reference:
                reference = f"{vmi['metadata']['namespace']}/{reference}"
            address = secondary_address(reference, f"{uid}/{name}")
        if address:
            entry.update(ipAddress=address, ipAddresses=[address])
        result.append(entry)
    return result


def _in_pod_only(shown: Object) -> Object:
    kept: Object = {key: shown[key] for key in ("name", "mac", "podInterfaceName") if key in shown}
    return {**kept, "infoSource": "multus-status"}


def _targets(spec: Object) -> dict[str, str]:
    """The device each disk has in the guest: vda, vdb, sda ..."""
    count: dict[str, int] = {}
    found = {}
    for disk in spec["domain"]["devices"].get("disks") or ():
        target = disk.get("disk") or disk.get("cdrom") or disk.get("lun") or {}
        prefix = PREFIXES.get(target.get("bus") or "sata", "sd")
        found[disk["name"]] = f"{prefix}{chr(ord('a') + count.get(prefix, 0))}"
        count[prefix] = count.get(prefix, 0) + 1
    return found


def volume_status(vmi: Object, find_claim: Callable[[str], Object | None]) -> list[Object]:
    """status.volumeStatus; how far a hot-plugged volume is, it has from before."""
    targets = _targets(vmi["spec"])
    before = {item["name"]: item for item in (vmi.get("status") or {}).get("volumeStatus") or ()}
    result = []
    for volume in vmi["spec"].get("volumes") or ():
        name = volume["name"]
        entry: Object = {"name": name, "target": targets.get(name, "")}
        claim = find_claim(claim_name(volume)) if claim_name(volume) else None
        if claim is not None:
            spec = claim["spec"]
            entry["persistentVolumeClaimInfo"] = {
                "accessModes": spec.get("accessModes") or [],
                "capacity": (claim.get("status") or {}).get("capacity") or {},
                "claimName": claim["metadata"]["name"],
                "filesystemOverhead": "0" if spec.get("volumeMode") == "Block" else "0.055",
                "requests": (spec.get("resources") or {}).get("requests") or {},
                "volumeMode": spec.get("volumeMode", "Filesystem"),
            }
        size = _size(volume, claim)
        if size:
            entry["size"] = size
        if volume.get("containerDisk"):
            entry["containerDiskVolume"] = {"checksum": crc32(volume["containerDisk"]["image"].encode()) & 0x7FFFFFFF}
        if _hot(volume):
            known = before.get(name) or {}
            entry.update({key: known[key] for key in _CARRIED if key in known})
            entry.setdefault("hotplugVolume", {})
            if known.get("phase") not in ("MountedToPod", "Ready"):
                entry["target"] = ""
        result.append(entry)
    names = {item["name"] for item in result}
    # What is being unplugged has left the guest, and is still attached to its pod.
    result += [
        {**item, "target": ""}
        for name, item in before.items()
        if name not in names and item.get("hotplugVolume") is not None
    ]
    return sorted(result, key=lambda item: str(item["name"]))


_CARRIED = ("phase", "reason", "message", "hotplugVolume", "memoryDumpVolume")


def _hot(volume: Object) -> bool:
    return "memoryDump" in volume or any(
        (volume.get(kind) or {}).get("hotpluggable") for kind in ("dataVolume", "persistentVolumeClaim")
    )


def _size(volume: Object, claim: Object | None) -> int:
    """Bytes of the disks that the claim does not tell of."""
    if claim is not None:
        return 0
    if volume.get("emptyDisk"):
        return int(parse(volume["emptyDisk"]["capacity"]))
    if volume.get("cloudInitNoCloud") or volume.get("cloudInitConfigDrive") or volume.get("sysprep"):
        return 2**20
    return 0


def migratable(vmi: Object, find_claim: Callable[[str], Object | None]) -> tuple[bool, str, str]:
    """Whether the instance can live-migrate, with reason and message when it cannot."""
    spec = vmi["spec"]
    devices = spec["domain"]["devices"]
    for volume in spec.get("volumes") or ():
        name = claim_name(volume)
        claim = find_claim(name) if name else None
        if claim is not None and "ReadWriteMany" not in (claim["spec"].get("accessModes") or ()):
            return False, "DisksNotLiveMigratable", NOT_SHARED.format(name)
    networks = {network["name"] for network in spec.get("networks") or () if "pod" in network}
    for interface in devices.get("interfaces") or ():
        if interface["name"] in networks and "bridge" in interface:
            return False, "InterfaceNotLiveMigratable", BRIDGED
    if devices.get("gpus") or devices.get("hostDevices"):
        return False, "HostDeviceNotLiveMigratable", HOST_DEVICE
    return True, "", ""


def running_conditions(vmi: Object, find_claim: Callable[[str], Object | None], stamp: str) -> list[Object]:
    """The instance's conditions once its guest runs; what others wrote stays."""
    existing = list((vmi.get("status") or {}).get("conditions") or ())
    able, reason, message = migratable(vmi, find_claim)
    live: Object = {"type": "LiveMigratable", "status": "True" if able else "False", "lastProbeTime": None}
    storage: Object = {"type": "StorageLiveMigratable", "status": "True", "lastProbeTime": None}
    if not able:
        live.update(reason=reason, message=message)
        if reason != "DisksNotLiveMigratable":
            storage.update(status="False", reason="NotMigratable", message=message)
    ready = {"type": "Ready", "status": "True", "lastProbeTime": None}
    for wanted in (ready, live, storage):
        existing = with_condition(existing, wanted, stamp)
    return existing


def hardware(vmi: Object) -> Object:
    """currentCPUTopology, memory and machine of a running instance."""
    cpu = vmi["spec"]["domain"].get("cpu") or {}
    size = guest_memory(vmi["spec"])
    text = binary(size)
    return {
        "currentCPUTopology": {name: cpu.get(name) or 1 for name in ("cores", "sockets", "threads")},
        "memory": {"guestAtBoot": text, "guestCurrent": text, "guestRequested": text},
        "machine": {"type": MACHINE},
    }


def binary(size: int) -> str:
    """C(size) bytes as a quantity."""
    for power, unit in ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki")):
        if size % power == 0 and size >= power:
            return f"{size // power}{unit}"
    return str(size)


def with_agent(status: Object, info: Object, interfaces: list[Object], stamp: str) -> Object:
    """C(status) once the guest agent is connected and tells C(info) of the system."""
    connected = {"type": "AgentConnected", "status": "True", "lastProbeTime": stamp}
    return {
        **status,
        "conditions": with_condition(list(status.get("conditions") or ()), connected, stamp),
        "guestOSInfo": dict(info),
        "interfaces": interfaces,
    }


def enter(status: Object, phase: str, stamp: str) -> Object:
    """C(status) in C(phase), with the time of the transition."""
    transitions = list(status.get("phaseTransitionTimestamps") or ())
    transitions.append({"phase": phase, "phaseTransitionTimestamp": stamp})
    return {**status, "phase": phase, "phaseTransitionTimestamps": transitions}
