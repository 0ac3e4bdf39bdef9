"""Instance types and preferences: found, inferred from a volume, kept as a revision, applied to an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtlab.controllers.kubevirt.machine_status import SyncError
from virtlab.controllers.kubevirt.names import DATA_SOURCES, DATA_VOLUMES, PVCS, REVISIONS
from virtlab.controllers.kubevirt.volumes import claim_name, template_volumes
from virtlab.controllers.ownership import owner_reference
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.schema.quantity import parse

if TYPE_CHECKING:
    from virtlab.controllers.runtime import Controller

PREFIX = "instancetype.kubevirt.io"
# matcher in the spec: (kinds by lower-case name, default kind, label of a default, reference in the status, words)
MATCHERS: dict[str, Any] = {
    "instancetype": {
        "kinds": {
            "virtualmachineinstancetype": ("virtualmachineinstancetypes", True),
            "virtualmachineclusterinstancetype": ("virtualmachineclusterinstancetypes", False),
        },
        "default": "virtualmachineclusterinstancetype",
        "label": f"{PREFIX}/default-instancetype",
        "reference": "instancetypeRef",
        "reason": "FailedFindInstancetype",
    },
    "preference": {
        "kinds": {
            "virtualmachinepreference": ("virtualmachinepreferences", True),
            "virtualmachineclusterpreference": ("virtualmachineclusterpreferences", False),
        },
        "default": "virtualmachineclusterpreference",
        "label": f"{PREFIX}/default-preference",
        "reference": "preferenceRef",
        "reason": "FailedFindPreference",
    },
}


class MatchError(Exception):
    """The matcher names what is not there; carries what the machine's Failure condition says."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.error = SyncError(reason, message)


def find(controller: Controller, vm: Object, matcher_name: str) -> Object | None:
    """The object a matcher of the VM means; None without one. Raises MatchError."""
    matcher = vm["spec"].get(matcher_name)
    if not matcher or not matcher.get("name"):
        return None
    table = MATCHERS[matcher_name]
    plural, namespaced = table["kinds"].get((matcher.get("kind") or table["default"]).lower(), ("", False))
    qualified = f"{plural}.{PREFIX}"
    found = controller.find(qualified, vm["metadata"]["namespace"] if namespaced else None, matcher["name"])
    if found is None:
        raise MatchError(table["reason"], f'{qualified} "{matcher["name"]}" not found')
    return found


def inferred_name(controller: Controller, vm: Object, matcher_name: str) -> str | None:
    """The name that C(inferFromVolume) leads to; None when nothing is to be inferred yet. Raises MatchError."""
    matcher = vm["spec"].get(matcher_name) or {}
    volume_name = matcher.get("inferFromVolume")
    if not volume_name or matcher.get("name"):
        return None
    label, namespace = MATCHERS[matcher_name]["label"], vm["metadata"]["namespace"]
    volume = next((item for item in template_volumes(vm) if item["name"] == volume_name), None)
    if volume is None:
        text = f"unable to find volume {volume_name} to infer defaults"
        raise MatchError("FailedInferFromVolume", text)
    claim = claim_name(volume)
    for labels in _label_sources(controller, vm, namespace, claim):
        if label in labels:
            found: str = labels[label]
            return found
    if matcher.get("inferFromVolumeFailurePolicy") == "Ignore":
        return None
    text = f"unable to find required {label} label on the volume"
    raise MatchError("FailedInferFromVolume", text)


def _label_sources(controller: Controller, vm: Object, namespace: str, claim: str) -> list[dict[str, str]]:
    """Labels of the claim, of its data volume (or the template of it), and of what that is made from."""
    found = [controller.find(PVCS, namespace, claim), controller.find(DATA_VOLUMES, namespace, claim)]
    templates = vm["spec"].get("dataVolumeTemplates") or ()
    template = next((item for item in templates if item["metadata"].get("name") == claim), None)
    origin = found[1] or template
    if template is not None:
        found.append(template)
    spec = (origin or {}).get("spec") or {}
    reference = spec.get("sourceRef")
    if reference:
        place = reference.get("namespace") or namespace
        found.append(controller.find(DATA_SOURCES, place, reference["name"]))
    pvc = (spec.get("source") or {}).get("pvc")
    if pvc:
        found.append(controller.find(PVCS, pvc.get("namespace") or namespace, pvc["name"]))
    return [item["metadata"].get("labels") or {} for item in found if item is not None]


def store_revision(controller: Controller, vm: Object, matcher_name: str, found: Object) -> str:
    """The name of the ControllerRevision that keeps C(found) as the machine uses it; created when needed."""
    metadata = found["metadata"]
    version = found["apiVersion"].rpartition("/")[2]
    name = f"{vm['metadata']['name']}-{metadata['name']}-{version}-{metadata['uid']}-{metadata.get('generation', 1)}"
    namespace = vm["metadata"]["namespace"]
    if controller.find(REVISIONS, namespace, name) is None:
        data = {key: value for key, value in found.items() if key != "status"}
        data["metadata"] = {key: value for key, value in metadata.items() if key != "managedFields"}
        controller.create(
            REVISIONS,
            {
                "apiVersion": "apps/v1",
                "kind": "ControllerRevision",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {
                        f"{PREFIX}/object-generation": str(metadata.get("generation", 1)),
                        f"{PREFIX}/object-kind": found["kind"],
                        f"{PREFIX}/object-name": metadata["name"],
                        f"{PREFIX}/object-uid": metadata["uid"],
                        f"{PREFIX}/object-version": version,
                    },
                    "ownerReferences": [owner_reference(vm)],
                },
                "data": data,
                "revision": 0,
            },
        )
    return name


def stored(controller: Controller, vm: Object, matcher_name: str) -> Object | None:
    """The instance type or preference as the machine's revision keeps it, or as it is now where there is none yet."""
    status = (vm.get("status") or {}).get(MATCHERS[matcher_name]["reference"]) or {}
    name = (status.get("controllerRevisionRef") or {}).get("name") or (vm["spec"].get(matcher_name) or {}).get(
        "revisionName"
    )
    revision = controller.find(REVISIONS, vm["metadata"]["namespace"], name) if name else None
    if revision is None:
        return find(controller, vm, matcher_name)
    data: Object | None = revision.get("data")
    return data


# Applying: pure


def topology(cpus: int, preference: Object | None) -> dict[str, int]:
    """Sockets, cores and threads for C(cpus) vCPUs as the preference wants them; sockets without one."""
    wanted = ((preference or {}).get("spec") or {}).get("cpu", {}).get("preferredCPUTopology", "sockets")
    if wanted in ("cores", "preferCores"):
        return {"cores": cpus, "sockets": 1, "threads": 1}
    if wanted in ("threads", "preferThreads"):
        return {"cores": 1, "sockets": 1, "threads": cpus}
    if wanted in ("spread", "preferSpread") and cpus % 2 == 0:
        return {"cores": 2, "sockets": cpus // 2, "threads": 1}
    return {"cores": 1, "sockets": cpus, "threads": 1}


def apply(spec: Object, instancetype: Object | None, preference: Object | None) -> Object:
    """The instance's spec with the instance type's resources and the preference's defaults where it says nothing."""
    result: Object = copied(spec)
    domain = result.setdefault("domain", {})
    domain.setdefault("devices", {})
    if instancetype is not None:
        _apply_instancetype(result, domain, instancetype["spec"], preference)
    if preference is not None:
        _apply_preference(result, domain, preference["spec"])
    return result


def _apply_instancetype(spec: Object, domain: Object, wanted: Object, preference: Object | None) -> None:
    cpu, memory = wanted["cpu"], wanted["memory"]
    domain["cpu"] = {**(domain.get("cpu") or {}), **topology(cpu["guest"], preference)}
    for field in ("dedicatedCPUPlacement", "isolateEmulatorThread", "maxSockets", "model", "numa", "realtime"):
        if cpu.get(field) is not None:
            domain["cpu"][field] = cpu[field]
    domain["memory"] = {**(domain.get("memory") or {}), "guest": memory["guest"]}
    for field in ("hugepages", "maxGuest"):
        if memory.get(field):
            domain["memory"][field] = memory[field]
    if memory.get("overcommitPercent"):
        part = parse(memory["guest"]) * (100 - memory["overcommitPercent"]) / 100
        requests = domain.setdefault("resources", {}).setdefault("requests", {})
        requests.setdefault("memory", f"{int(part) // 2**20}Mi")
    for field in ("ioThreadsPolicy", "launchSecurity"):
        if wanted.get(field) and not domain.get(field):
            domain[field] = wanted[field]
    for field in ("gpus", "hostDevices"):
        if wanted.get(field):
            domain["devices"][field] = [*wanted[field], *(domain["devices"].get(field) or ())]
    for field in ("nodeSelector", "schedulerName"):
        if wanted.get(field) and not spec.get(field):
            spec[field] = wanted[field]


def _apply_preference(spec: Object, domain: Object, wanted: Object) -> None:
    devices, preferred = domain["devices"], wanted.get("devices") or {}
    for disk in devices.get("disks") or ():
        target = disk.get("disk") or disk.get("cdrom") or disk.get("lun")
        field = "preferredCdromBus" if "cdrom" in disk else "preferredLunBus" if "lun" in disk else "preferredDiskBus"
        if target is not None and not target.get("bus") and preferred.get(field):
            target["bus"] = preferred[field]
    for interface in devices.get("interfaces") or ():
        if not interface.get("model") and preferred.get("preferredInterfaceModel") and "sriov" not in interface:
            interface["model"] = preferred["preferredInterfaceModel"]
    for field, name in (("rng", "preferredRng"), ("tpm", "preferredTPM")):
        if name in preferred and field not in devices:
            devices[field] = preferred[name]
    if preferred.get("preferredInputType") and not devices.get("inputs"):
        bus = preferred.get("preferredInputBus", "usb")
        devices["inputs"] = [{"name": "default-0", "bus": bus, "type": preferred["preferredInputType"]}]
    features = wanted.get("features") or {}
    for field, name in (
        ("acpi", "preferredAcpi"),
        ("apic", "preferredApic"),
        ("hyperv", "preferredHyperv"),
        ("smm", "preferredSmm"),
    ):
        if name in features:
            domain.setdefault("features", {}).setdefault(field, features[name])
    efi = (wanted.get("firmware") or {}).get("preferredEfi")
    firmware = domain.setdefault("firmware", {})
    if efi is not None and not firmware.get("bootloader"):
        firmware["bootloader"] = {"efi": efi}
    machine = (wanted.get("machine") or {}).get("preferredMachineType")
    if machine and not (domain.get("machine") or {}).get("type"):
        domain["machine"] = {"type": machine}
    clock = wanted.get("clock")
    if clock and not domain.get("clock"):
        domain["clock"] = {**(clock.get("preferredClockOffset") or {}), "timer": clock.get("preferredTimer") or {}}
    grace = wanted.get("preferredTerminationGracePeriodSeconds")
    if grace is not None and spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = grace
