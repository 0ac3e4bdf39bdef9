"""Instance types: finding them, applying them to an instance's spec, and what they conflict with.

pkg/instancetype of KubeVirt. The spec given to C(apply) is changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virtlab.admission.kubevirt.preferences import THREADS_PER_CORE, preferred_topology, spread_options
from virtlab.admission.webhook import INVALID, at
from virtlab.patches import copied
from virtlab.resource import Object
from virtlab.schema.quantity import parse
from virtlab.status import Cause
from virtlab.store import Store

GROUP = "instancetype.kubevirt.io"
REVISIONS = ("apps", "controllerrevisions")
VIRTUAL_MACHINE_SPEC = "spec.template.spec"

# Matcher field in spec: (status field, namespaced resource, cluster-wide resource).
MATCHERS = {
    "instancetype": ("instancetypeRef", "virtualmachineinstancetypes", "virtualmachineclusterinstancetypes"),
    "preference": ("preferenceRef", "virtualmachinepreferences", "virtualmachineclusterpreferences"),
}


class NotFound(Exception):
    """The message is the API server's 404."""


class Conflict(Exception):
    """C(fields) are set in the VM as well as by the instance type."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(f"VM field(s) {', '.join(fields)} conflicts with selected instance type")
        self.fields = fields

    def causes(self) -> list[Cause]:
        return [
            Cause(f"VM field(s) {name} conflicts with selected instance type", name, INVALID) for name in self.fields
        ]


def _singular(resource: str) -> str:
    return resource.removesuffix("s")


def find(store: Store, vm: Object, field: str, namespace: str | None) -> Object | None:
    """The spec of the instance type or preference (C(field)) of a VM, None when it names none. Raises NotFound.

    The revision that the VM was pinned to goes before the object as it is now.
    """
    matcher = vm["spec"].get(field)
    if not matcher:
        return None
    reference, namespaced, cluster_wide = MATCHERS[field]
    revision = at(vm, "status", reference, "controllerRevisionRef", "name") or matcher.get("revisionName")
    if revision and (not at(vm, "status", reference) or at(vm, "status", reference, "name") == matcher.get("name")):
        entry = store.find(REVISIONS, namespace, revision)
        if entry is None:
            raise NotFound(f'controllerrevisions.apps "{revision}" not found')
        pinned: Object = copied(at(entry.object, "data", "spec") or {})
        return pinned
    kind = str(matcher.get("kind") or "").lower()
    if kind in (namespaced, _singular(namespaced)):
        resource, home = namespaced, namespace
    elif kind in (cluster_wide, _singular(cluster_wide), ""):
        resource, home = cluster_wide, None
    else:
        raise NotFound(f"got unexpected kind in {field.capitalize()}Matcher: {matcher.get('kind')}")
    name = matcher.get("name") or ""
    entry = store.find((GROUP, resource), home, name)
    if entry is None:
        raise NotFound(f'{resource}.{GROUP} "{name}" not found')
    found: Object = copied(entry.object.get("spec") or {})
    return found


def spread_problem(instancetype: Object | None, preference: Object | None) -> str | None:
    """Why the instance type's vCPUs cannot be spread as the preference wants it."""
    if instancetype is None or preferred_topology(preference) != "spread":
        return None
    ratio, across = spread_options(preference)
    count = at(instancetype, "cpu", "guest") or 0
    provided = f"{count} vCPUs provided by the instance type are not divisible by"
    if across == "SocketsCores" and count % ratio:
        return (
            f"{provided} the Spec.PreferSpreadSocketToCoreRatio or Spec.CPU.PreferSpreadOptions.Ratio of {ratio} "
            "provided by the preference"
        )
    if across == "CoresThreads" and count % ratio:
        return f"{provided} the number of threads per core {ratio}"
    if across == "SocketsCoresThreads" and (count % THREADS_PER_CORE or count // THREADS_PER_CORE % ratio):
        return (
            f"{provided} the number of threads per core {THREADS_PER_CORE} and Spec.PreferSpreadSocketToCoreRatio or "
            f"Spec.CPU.PreferSpreadOptions.Ratio of {ratio}"
        )
    return None


# Applying

# What an instance type and the VM may not both set: (instance type's path, VM's path).
EXCLUSIVE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("nodeSelector",), ("nodeSelector",)),
    (("schedulerName",), ("schedulerName",)),
)
CPU_OPTIONS = ("model", "dedicatedCPUPlacement", "isolateEmulatorThread", "numa", "realtime", "maxSockets")
CPU_OPTION_FIELDS = {"dedicatedCPUPlacement": "dedicatedCpuPlacement"}
TRAILING: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("ioThreads", "supplementalPoolThreadCount"), ("domain", "ioThreads", "supplementalPoolThreadCount")),
    (("ioThreadsPolicy",), ("domain", "ioThreadsPolicy")),
    (("launchSecurity",), ("domain", "launchSecurity")),
    (("gpus",), ("domain", "devices", "gpus")),
    (("hostDevices",), ("domain", "devices", "hostDevices")),
)


def apply(
    instancetype: Object, preference: Object | None, spec: Object, metadata: Object, path: str = VIRTUAL_MACHINE_SPEC
) -> None:
    """Puts the instance type into C(spec) and C(metadata). Raises Conflict, which names fields below C(path)."""
    conflicts = [
        *_exclusive(EXCLUSIVE, instancetype, spec, path),
        *_cpu(instancetype, preference, spec, path),
        *_memory(instancetype, spec, path),
        *_exclusive(TRAILING, instancetype, spec, path),
        *_annotations(instancetype, metadata),
    ]
    if conflicts:
        raise Conflict(conflicts)


def _set(spec: Object, keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        spec = spec.setdefault(key, {})
    spec[keys[-1]] = value


def _exclusive(
    pairs: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...], instancetype: Object, spec: Object, path: str
) -> Iterator[str]:
    for theirs, ours in pairs:
        value = at(instancetype, *theirs)
        if not value:
            continue
        if at(spec, *ours):
            yield f"{path}.{'.'.join(ours)}"
        else:
            _set(spec, ours, copied(value))


def _cpu(instancetype: Object, preference: Object | None, spec: Object, path: str) -> list[str]:
    wanted = instancetype.get("cpu") or {}
    cpu = spec.setdefault("domain", {}).setdefault("cpu", {})
    conflicts = [
        f"{path}.domain.resources.{kind}.cpu"
        for kind in ("requests", "limits")
        if at(spec, "domain", "resources", kind, "cpu") is not None
    ]
    conflicts += [f"{path}.domain.cpu.{name}" for name in ("sockets", "cores", "threads") if cpu.get(name)]
    conflicts += [
        f"{path}.domain.cpu.{name}"
        for name in CPU_OPTIONS[:-1]
        if wanted.get(name) is not None and cpu.get(CPU_OPTION_FIELDS.get(name, name))
    ]
    if conflicts:
        return conflicts
    for name in CPU_OPTIONS:
        if wanted.get(name) is not None:
            cpu[CPU_OPTION_FIELDS.get(name, name)] = copied(wanted[name])
    cpu.update(topology(wanted.get("guest") or 0, preference))
    return []


def topology(count: int, preference: Object | None) -> dict[str, int]:
    """Sockets, cores and threads that C(count) vCPUs become."""
    result = {"cores": 1, "sockets": 1, "threads": 1}
    if count <= 1:
        return result
    preferred = preferred_topology(preference)
    if preferred == "spread":
        ratio, across = spread_options(preference)
        spread = {
            "SocketsCores": {"cores": ratio, "sockets": count // ratio},
            "CoresThreads": {"threads": ratio, "cores": count // ratio},
            "SocketsCoresThreads": {
                "threads": THREADS_PER_CORE,
                "cores": ratio,
                "sockets": count // THREADS_PER_CORE // ratio,
            },
        }
        return result | spread.get(across, {})
    return result | {"sockets" if preferred == "any" else preferred: count}


def _memory(instancetype: Object, spec: Object, path: str) -> list[str]:
    wanted = instancetype.get("memory") or {}
    domain = spec.setdefault("domain", {})
    memory = domain.setdefault("memory", {})
    resources = domain.get("resources") or {}
    checks = (
        ("memory.guest", memory.get("guest") is not None),
        ("memory.hugepages", memory.get("hugepages") is not None and wanted.get("hugepages") is not None),
        ("memory.maxGuest", memory.get("maxGuest") is not None and wanted.get("maxGuest") is not None),
        ("resources.requests.memory", at(resources, "requests", "memory") is not None),
        ("resources.limits.memory", at(resources, "limits", "memory") is not None),
    )
    for name, conflicting in checks:
        if conflicting:
            return [f"{path}.domain.{name}"]
    memory["guest"] = wanted.get("guest")
    percent = wanted.get("overcommitPercent") or 0
    if percent > 0:
        requested = int(parse(wanted["guest"]) * (100 - percent) / 100)
        domain.setdefault("resources", {}).setdefault("requests", {})["memory"] = str(requested)
    for name in ("hugepages", "maxGuest"):
        if wanted.get(name) is not None:
            memory[name] = copied(wanted[name])
    return []


def _annotations(instancetype: Object, metadata: Object) -> Iterator[str]:
    wanted = instancetype.get("annotations") or {}
    if not wanted:
        return
    annotations = metadata.setdefault("annotations", {})
    for key, value in wanted.items():
        if annotations.setdefault(key, value) != value:
            yield f"annotations.{key}"
