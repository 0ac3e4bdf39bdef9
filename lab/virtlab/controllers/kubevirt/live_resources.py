"""Processors and memory of a running instance that change with its machine's template.

virt-controller's handleCPUChangeRequest and handleMemoryHotplugRequest (pkg/virt-controller/watch/vm): the instance's
spec takes what its guest can have, the rest waits for a restart. The guest gets it with the next migration. Pure
functions.
"""

from __future__ import annotations

from collections.abc import Callable

from virtlab.admission.kubevirt.amounts import resource, vcpus, whole
from virtlab.admission.kubevirt.defaults import binary, memory_hotplug_problem
from virtlab.controllers.conditions import find_condition, is_true, with_condition
from virtlab.resource import Object
from virtlab.schema.quantity import canonical, parse

CPU, MEMORY = "HotVCPUChange", "HotMemoryChange"
ASKED = ("requests", "limits")
MEMORY_FAILED = {
    "type": MEMORY,
    "status": "False",
    "reason": "Memory Hotplug Failed",
    "message": "memory hotplug failed, the VM configuration is not supported",
    "lastProbeTime": None,
}


def cpu_refusal(template: Object, vmi: Object) -> str | None:
    """Why the template's sockets wait for a restart; None when they are the instance's, or it can have them."""
    wanted, has = template["domain"].get("cpu"), vmi["spec"]["domain"].get("cpu")
    if not wanted or not has or not wanted.get("sockets") or wanted["sockets"] == has.get("sockets"):
        return None
    if wanted["sockets"] > (has.get("maxSockets") or 0):
        return "CPU sockets updated in template spec to a value higher than what's available"
    if wanted["sockets"] < (has.get("sockets") or 1):
        return "Reduction of CPU socket count requires a restart"
    return "ARM doesn't support CPU hotplug" if template.get("architecture") == "arm64" else None


def memory_refusal(template: Object, vmi: Object) -> str | None:
    """Why the template's memory waits for a restart; None when it is the instance's, or it can have it."""
    wanted = (template["domain"].get("memory") or {}).get("guest")
    has, told = vmi["spec"]["domain"].get("memory") or {}, (vmi.get("status") or {}).get("memory") or {}
    if not wanted or not has.get("guest") or not told.get("guestCurrent"):
        return None
    subject = "memory updated in template spec"
    if (find_condition(vmi, MEMORY) or {}).get("status") == "False":
        return f"{subject}. Memory-hotplug failed and is not available for this VM configuration"
    if parse(wanted) == parse(has["guest"]):
        return None
    if not is_true(vmi, "LiveMigratable"):
        return f"{subject}. Memory-hotplug is only available for migratable VMs"
    if not has.get("maxGuest"):
        return f"{subject}. Memory-hotplug is not available for this VM configuration"
    described = {**template, "architecture": template.get("architecture") or vmi["spec"].get("architecture", "amd64")}
    problem = memory_hotplug_problem(described, has["maxGuest"])
    if problem is not None:
        return f"memory hotplug not supported, {problem}"
    if told.get("guestAtBoot") and parse(wanted) < parse(told["guestAtBoot"]):
        return f"{subject} to a value lower than what the VM started with"
    if parse(wanted) > parse(has["maxGuest"]):
        return f"{subject} to a value higher than what's available"
    return None


def refusal(template: Object, vmi: Object) -> str | None:
    """Why processors or memory wait for a restart; of two reasons the memory's, which KubeVirt writes last."""
    return memory_refusal(template, vmi) or cpu_refusal(template, vmi)


def resized(template: Object, vmi: Object, ratio: int) -> Object:
    """The instance's spec with the template's processors and memory where it can have them; else the spec itself.

    C(ratio) vCPUs share a CPU in what the instance asks of its node.
    """
    spec: Object = vmi["spec"]
    if cpu_refusal(template, vmi) is None and find_condition(vmi, CPU) is None:
        spec = _with_sockets(template, spec, ratio)
    if memory_refusal(template, vmi) is None and find_condition(vmi, MEMORY) is None:
        spec = _with_memory(template, spec, vmi)
    return spec


def _with_sockets(template: Object, spec: Object, ratio: int) -> Object:
    sockets = (template["domain"].get("cpu") or {}).get("sockets")
    cpu = spec["domain"].get("cpu")
    if not sockets or not cpu or sockets == cpu.get("sockets"):
        return spec
    domain = {**spec["domain"], "cpu": {**cpu, "sockets": sockets}}
    more = (vcpus({"domain": domain}) - vcpus(spec)) * (1000 // ratio)
    asked = [kind for kind in ASKED if resource(template, kind, "cpu")]
    return {**spec, "domain": _asking(domain, asked, "cpu", lambda old: f"{int(parse(old) * 1000) + more}m")}


def _with_memory(template: Object, spec: Object, vmi: Object) -> Object:
    guest = (template["domain"].get("memory") or {}).get("guest")
    memory = spec["domain"].get("memory") or {}
    current = ((vmi.get("status") or {}).get("memory") or {}).get("guestCurrent")
    if not guest or not current or not memory.get("guest") or parse(guest) == parse(memory["guest"]):
        return spec
    more = whole(guest) - whole(current)
    domain = {**spec["domain"], "memory": {**memory, "guest": guest}}
    asked = ["requests", *(["limits"] if resource(template, "limits", "memory") else [])]
    return {
        **spec,
        "domain": _asking(domain, asked, "memory", lambda old: binary(max(whole(old) + more, whole(guest)))),
    }


def _asking(domain: Object, kinds: list[str], name: str, changed: Callable[[str], str]) -> Object:
    """C(domain) with what it asks of its node of one resource changed, where it asks anything."""
    resources = dict(domain.get("resources") or {})
    for kind in kinds:
        own = resources.get(kind) or {}
        if own.get(name):
            resources[kind] = {**own, name: canonical(changed(own[name]))}
    return {**domain, "resources": resources} if resources else domain


def pending(vmi: Object) -> list[str]:
    """The conditions of what the instance's spec has and its guest has not, which its next migration brings."""
    status, domain = vmi.get("status") or {}, vmi["spec"]["domain"]
    found = []
    topology, cpu = status.get("currentCPUTopology"), domain.get("cpu") or {}
    if topology and cpu.get("maxSockets") and vcpus(vmi["spec"]) != vcpus({"domain": {"cpu": topology}}):
        found.append(CPU)
    memory, told = domain.get("memory") or {}, status.get("memory") or {}
    pluggable = memory.get("guest") and memory.get("maxGuest") and told.get("guestRequested")
    if pluggable and parse(memory["guest"]) != parse(told["guestRequested"]):
        found.append(MEMORY)
    return found


def with_pending(conditions: list[Object], vmi: Object, stamp: str) -> list[Object]:
    """C(conditions) with those of a change that waits; the ones that are there stay (virt-controller)."""
    for kind in pending(vmi):
        if not any(item["type"] == kind for item in conditions):
            conditions = with_condition(conditions, {"type": kind, "status": "True", "lastProbeTime": None}, stamp)
    return conditions


def migrating(vmi: Object) -> bool:
    state = (vmi.get("status") or {}).get("migrationState") or {}
    return bool(state) and not state.get("completed")
