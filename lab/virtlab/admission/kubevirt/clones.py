"""VirtualMachineClone, VirtualMachinePool, instance types and preferences: what virt-api fills in and refuses."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator

from virtlab.admission.kubevirt.instances import selector_mismatch
from virtlab.admission.kubevirt.network import mac_problem
from virtlab.admission.kubevirt.preferences import DEPRECATED_TOPOLOGIES, TOPOLOGIES, spread_options
from virtlab.admission.kubevirt.settings import is_kubevirt, settings
from virtlab.admission.kubevirt.virtual_machines import machine_problems
from virtlab.admission.registry import mutating, validating
from virtlab.admission.webhook import INVALID, REQUIRED, at, failed, refuse
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.status import Cause

CLONES = "virtualmachineclones.clone.kubevirt.io"
CLONE_VALIDATOR = "vm-clone-validator.kubevirt.io"
POOL_VALIDATOR = "virtualmachinepool-validator.kubevirt.io"
SOURCES = ("VirtualMachine", "VirtualMachineSnapshot")
SUFFIX = string.ascii_lowercase + string.digits
STRATEGIES = ("unmanaged", "opportunistic", "proactive")
SPREADS = ("SocketsCores", "CoresThreads", "SocketsCoresThreads")

Found = Iterator[Cause]


# Clones


@mutating(CLONES, "CREATE")
def name_target(operation: Operation) -> None:
    assert operation.object is not None
    spec = operation.object.get("spec")
    if not spec or not spec.get("source"):
        return
    target = spec.get("target") or {"apiGroup": "kubevirt.io", "kind": "VirtualMachine"}
    if not target.get("name"):
        suffix = "".join(operation.cluster.random.choices(SUFFIX, k=5))
        spec["target"] = {**target, "name": f"clone-{spec['source'].get('name')}-{suffix}"}


@validating(CLONES, "CREATE", "UPDATE")
def check_clone(operation: Operation) -> None:
    spec = at(operation.object, "spec") or {}
    if operation.verb == "CREATE" and not settings(operation.cluster.store).gate("Snapshot"):
        raise failed(CLONE_VALIDATOR, "snapshot feature gate is not enabled")
    template = spec.get("template") or {}
    filters = (
        ("spec.annotations", spec.get("annotationFilters")),
        ("spec.labels", spec.get("labelFilters")),
        ("spec.template.annotations", template.get("annotationFilters")),
        ("spec.template.labels", template.get("labelFilters")),
    )
    causes = [cause for field, listed in filters for cause in _filters(field, listed or ())]
    refuse(CLONE_VALIDATOR, [*causes, *_ends(spec), *_details(spec)])


def _filters(field: str, filters: list[str] | tuple[()]) -> Found:
    for text in filters:
        if text == "!":
            yield Cause("a negation character is not a valid filter", field, INVALID)
        if len(text) < 2:
            continue
        invalid = f"{field} filter {text} is invalid: cannot contain a"
        if "!" in text[1:]:
            rule = "NegationChar can be only used at the beginning of the filter"
            yield Cause(f"{invalid} negation character (!); FilterRules: {rule}", field, INVALID)
        if "*" in text[:-1]:
            rule = "WildcardChar can be only at the end of the filter"
            yield Cause(f"{invalid} wildcard character (*); FilterRules: {rule}", field, INVALID)


def _ends(spec: Object) -> Found:
    source, target = spec.get("source") or {}, spec.get("target")
    if source.get("kind") not in SOURCES:
        yield Cause("Source kind is not supported", "spec.Source.Kind", INVALID)
    if target is not None and target.get("kind") != "VirtualMachine":
        yield Cause("Target kind is not supported", "spec.Target.Kind", INVALID)
    if not source.get("apiGroup"):
        yield Cause("Source's APIGroup cannot be empty", "spec.Source.APIGroup", INVALID)
    if not source.get("kind"):
        yield Cause("Source's Kind cannot be empty", "spec.Source", INVALID)
    if not source.get("name"):
        yield Cause("Source's name cannot be empty", "spec.Source.Name", INVALID)
    same = target is not None and all(source.get(key) == target.get(key) for key in ("kind", "name"))
    if same and source.get("kind") == "VirtualMachine":
        message = "Target name cannot be equal to source name when both are VirtualMachines"
        yield Cause(message, "spec.target.name", INVALID)


def _details(spec: Object) -> Found:
    for interface, address in (spec.get("newMacAddresses") or {}).items():
        if mac_problem(address):
            message = f"interface {interface} has malformed MAC address ({address})."
            yield Cause(message, f"spec.newMacAddresses.{interface}", INVALID)
    for index, patch in enumerate(spec.get("patches") or ()):
        try:
            json.loads(patch)
        except ValueError:
            yield Cause(f"patch is not valid JSON ({patch})", f"spec.patches[{index}]", INVALID)


# Pools


@validating("virtualmachinepools.pool.kubevirt.io", "CREATE", "UPDATE")
def check_pool(operation: Operation) -> None:
    spec = at(operation.object, "spec") or {}
    template = spec.get("virtualMachineTemplate")
    if template is None:
        refuse(POOL_VALIDATOR, [Cause("missing virtual machine template.", "spec.template", REQUIRED)])
    assert template is not None
    config, trusted = settings(operation.cluster.store), is_kubevirt(operation.user)
    causes = [
        *machine_problems("spec.virtualMachineTemplate.spec", template["spec"], config, trusted=trusted),
        *selector_mismatch(spec, at(template, "metadata", "labels")),
        *_max_unavailable(spec.get("maxUnavailable")),
    ]
    for name in ("updateStrategy", "scaleInStrategy"):
        chosen = [strategy for strategy in STRATEGIES if at(spec, name, strategy) is not None]
        if len(chosen) > 1:
            message = f"only one strategy can be configured at a time: but found {', '.join(chosen)} strategies"
            causes.append(Cause(message, f"spec.{name}", INVALID))
    if operation.verb == "UPDATE" and spec.get("selector") != at(operation.old, "spec", "selector"):
        causes.append(Cause("selector is immutable after creation.", "spec.selector", INVALID))
    refuse(POOL_VALIDATOR, causes)


def _max_unavailable(value: int | str | None) -> Found:
    message = ""
    if isinstance(value, int) and value <= 0:
        message = "maxUnavailable must be greater than 0"
    elif isinstance(value, str) and not value.endswith("%"):
        message = "maxUnavailable percentage must end with %"
    elif isinstance(value, str):
        number = value[:-1]
        if not number.lstrip("+-").isdigit():
            why = f'strconv.Atoi: parsing "{number}": invalid syntax'
            message = f'maxUnavailable percentage value "{number}" is invalid: {why}'
        elif not 0 < int(number) <= 100:
            message = f"maxUnavailable percentage value {int(number)} must be between 1 and 100"
    if message:
        yield Cause(message, "spec.maxUnavailable", INVALID)


# Instance types and preferences


def _check_instancetype(operation: Operation) -> None:
    memory = at(operation.object, "spec", "memory") or {}
    percent, field = memory.get("overcommitPercent") or 0, "spec.memory.overcommitPercent"
    causes = []
    if not 0 <= percent <= 100:
        causes.append(Cause(f"{field} '{percent}': must be in range between 0 and 100.", field, INVALID))
    if percent and memory.get("hugepages") is not None:
        message = f"{field} and spec.memory.hugepages should not be requested together."
        causes.append(Cause(message, field, INVALID))
    kind = operation.resource.kind.lower()
    refuse(f"{kind}-validator.instancetype.kubevirt.io", causes)


def _check_preference(operation: Operation) -> None:
    spec = at(operation.object, "spec") or {}
    topology = at(spec, "cpu", "preferredCPUTopology")
    webhook = f"{operation.resource.kind.lower()}-validator.instancetype.kubevirt.io"
    if topology is not None and topology not in (*TOPOLOGIES, *DEPRECATED_TOPOLOGIES):
        message = f"unknown preferredCPUTopology {topology}"
        refuse(webhook, [Cause(message, "spec.cpu.preferredCPUTopology", INVALID)])
    if topology in ("spread", "preferSpread"):
        ratio, across = spread_options(spec)
        if across not in SPREADS:
            refuse(webhook, [Cause(f"across {across} is not supported", "spec.cpu.spreadOptions.across", INVALID)])
        if across == "CoresThreads" and ratio != 2:
            message = "only a ratio of 2 (1 core 2 threads) is allowed when spreading vCPUs over cores and threads"
            refuse(webhook, [Cause(message, "spec.cpu.spreadOptions.ratio", INVALID)])
    if topology in DEPRECATED_TOPOLOGIES:
        operation.warnings.append(
            f"PreferredCPUTopology {topology} is deprecated for removal in a future release, please use "
            f"{DEPRECATED_TOPOLOGIES[topology]} instead"
        )


for _scope in ("", "cluster"):
    validating(f"virtualmachine{_scope}instancetypes.instancetype.kubevirt.io", "CREATE", "UPDATE")(_check_instancetype)
    validating(f"virtualmachine{_scope}preferences.instancetype.kubevirt.io", "CREATE", "UPDATE")(_check_preference)
